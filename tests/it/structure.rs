//! The house rules that the compiler does not know: who may know whom, what a file may be called, and where HTTP and
//! SQL may stand. One crate stays one crate; this test is its compiler.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::databases::{migrations_folder, walk};
use portreeve::db::Backend;

/// Who may import whom. Each module stands below those that may know it; a module that is missing here has no place.
const MAY_KNOW: &[(&str, &[&str])] = &[
    // Ground.
    ("clock", &[]),
    ("ids", &["clock"]),
    ("money", &[]),
    ("secret", &[]),
    ("unseen", &[]),
    ("db", GROUND),
    // Mechanisms.
    ("signing", &["ground", "db"]),
    ("fetch", &["ground", "db"]),
    ("audit", &["ground", "db"]),
    ("outbox", &["ground", "db"]),
    ("openid", &["ground", "fetch"]),
    ("mail", &["ground", "db", "outbox"]),
    ("idempotency", &["ground", "db"]),
    ("config", &["ground", "db"]),
    ("telemetry", &["ground", "config"]),
    // Features.
    ("catalog", MECHANISMS),
    ("orchestrator", MECHANISMS),
    ("attestation", &["mechanisms", "orchestrator"]),
    ("account", &["mechanisms", "orchestrator", "attestation"]),
    ("authorization", &["mechanisms", "orchestrator", "attestation", "account"]),
    ("login", &["mechanisms", "attestation", "account"]),
    ("payment", &["mechanisms", "orchestrator", "account"]),
    ("resource", &["mechanisms", "catalog", "account", "authorization", "payment"]),
    (
        "takeover",
        &["mechanisms", "orchestrator", "attestation", "account", "authorization", "login", "payment", "resource"],
    ),
    ("onboarding", &["mechanisms", "account", "payment", "resource"]),
    (
        "claim",
        &[
            "mechanisms",
            "orchestrator",
            "attestation",
            "account",
            "authorization",
            "login",
            "payment",
            "resource",
            "takeover",
        ],
    ),
    (
        "sidecar",
        &[
            "mechanisms",
            "catalog",
            "orchestrator",
            "account",
            "authorization",
            "login",
            "payment",
            "resource",
            "takeover",
        ],
    ),
    (
        "owner",
        &[
            "mechanisms",
            "catalog",
            "orchestrator",
            "attestation",
            "account",
            "authorization",
            "login",
            "payment",
            "resource",
        ],
    ),
    // Above the features.
    ("app", &["mechanisms", "config", "telemetry", "features"]),
    ("http", &["mechanisms", "config", "telemetry", "features", "app"]),
    // The other side: it must not share the provider's mistakes.
    ("simulator", &["ground", "signing", "fetch", "catalog"]),
    ("main", &["mechanisms", "config", "telemetry", "features", "app", "http", "simulator"]),
    // Builds of cargo-fuzz only.
    ("fuzzing", &["mechanisms", "features", "http"]),
];

const GROUND: &[&str] = &["ground"];
const MECHANISMS: &[&str] = &["mechanisms"];

/// Names for several modules at once, in [`MAY_KNOW`].
const GROUPS: &[(&str, &[&str])] = &[
    ("ground", &["clock", "ids", "money", "secret", "unseen"]),
    (
        "mechanisms",
        &[
            "clock",
            "ids",
            "money",
            "secret",
            "unseen",
            "db",
            "signing",
            "fetch",
            "audit",
            "outbox",
            "idempotency",
            "openid",
            "mail",
        ],
    ),
    (
        "features",
        &[
            "catalog",
            "orchestrator",
            "attestation",
            "account",
            "authorization",
            "login",
            "payment",
            "resource",
            "takeover",
            "onboarding",
            "claim",
            "sidecar",
            "owner",
        ],
    ),
];

/// Files named after nothing collect everything.
const FORBIDDEN_FILES: &[&str] = &["util", "utils", "helper", "helpers", "common", "types", "prelude"];

/// Where actix and HTTP statuses may stand.
const KNOWS_HTTP: &[&str] = &["http", "simulator", "main"];

/// Where queries may stand besides `db` and the `store.rs` of each feature: each of these is its own store.
const OWN_STORE: &[&str] = &["src/audit.rs", "src/outbox.rs"];

/// What any file may use of diesel: its error, and what a type needs to be a column.
const DIESEL_FOR_TYPES: &[&str] =
    &["result", "QueryResult", "sql_types", "serialize", "deserialize", "backend", "expression", "AsExpression"];

fn may_know(from: &str) -> Option<BTreeSet<&'static str>> {
    let (_, named) = MAY_KNOW.iter().find(|(module, _)| *module == from)?;
    let members = |name: &&'static str| match GROUPS.iter().find(|(group, _)| group == name) {
        Some((_, members)) => members.to_vec(),
        None => vec![*name],
    };
    Some(named.iter().flat_map(members).collect())
}

/// What is wrong with one file, one line each.
fn complaints(file: &str, text: &str) -> Vec<String> {
    let from = module_of(file);
    let code = Code::read(text);
    let mut found = wrong_name(file);
    match may_know(from) {
        None if from == "lib" => {}
        None => found.push(format!("{file}: `{from}` has no place in MAY_KNOW")),
        Some(known) => found.extend(wrong_arrows(file, from, &known, &code)),
    }
    if !KNOWS_HTTP.contains(&from) {
        let http = |word: &&str| word.contains("actix") || *word == "StatusCode";
        found.extend(code.words().filter(http).map(|word| format!("{file}: `{word}` below http")));
    }
    if from != "db" && !is_store(file) && !is_tests(file) && !OWN_STORE.contains(&file) {
        found.extend(wrong_queries(file, &code.without_tests()));
    }
    found.sort();
    found.dedup();
    found
}

fn wrong_name(file: &str) -> Vec<String> {
    let forbidden = |part: &str| FORBIDDEN_FILES.contains(&part.trim_end_matches(".rs"));
    let wrong = file == "src/error.rs" || file.split('/').any(forbidden);
    if wrong { vec![format!("{file}: a file is named after what it is about")] } else { Vec::new() }
}

fn wrong_arrows(file: &str, from: &str, known: &BTreeSet<&str>, code: &Code) -> Vec<String> {
    let wrong = |path: &Vec<String>| {
        let to = path.first()?.as_str();
        if to == from {
            return None;
        }
        if !known.contains(to) {
            return Some(format!("{file}: `{from}` may not know `{to}`"));
        }
        let inside = path.get(1).is_some_and(|next| next == "store" || next.ends_with("_store"));
        inside.then(|| format!("{file}: `{to}` speaks for itself; its store is its own"))
    };
    code.paths_from_root(file).iter().filter_map(wrong).collect()
}

fn wrong_queries(file: &str, code: &Code) -> Vec<String> {
    let diesel = code.paths_after(&["diesel"]).into_iter().filter_map(|path| {
        let first = path.first()?;
        let allowed = DIESEL_FOR_TYPES.contains(&first.as_str());
        (!allowed).then(|| format!("{file}: `diesel::{first}` outside of a store"))
    });
    let schema = code.paths_from_root(file).into_iter().filter_map(|path| {
        let reads = path.first()? == "db" && path.get(1)? == "schema";
        reads.then(|| format!("{file}: `db::schema` outside of a store"))
    });
    diesel.chain(schema).collect()
}

/// `store.rs`, `hold_store.rs`, or a file in a folder so named.
fn is_store(file: &str) -> bool {
    file.split('/').map(|part| part.trim_end_matches(".rs")).any(|part| part == "store" || part.ends_with("_store"))
}

/// `tests.rs`, or a file in a folder so named: tests that have outgrown the file they test.
fn is_tests(file: &str) -> bool {
    file.split('/').any(|part| part.trim_end_matches(".rs") == "tests")
}

/// The top module that a file belongs to. What stands beside `main.rs` as commands is `main` too.
fn module_of(file: &str) -> &str {
    let first = file.trim_start_matches("src/").split('/').next().expect("a file has a name").trim_end_matches(".rs");
    if first == "commands" || first == "bin" { "main" } else { first }
}

/// Source text as words and marks, without comments and string contents.
struct Code(Vec<String>);

impl Code {
    fn read(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = skipped(rest).unwrap_or_else(|| {
                let length = word_length(rest).max(if rest.starts_with("::") { 2 } else { first.len_utf8() });
                if !first.is_whitespace() {
                    tokens.push(rest[..length].to_owned());
                }
                length
            });
            rest = &rest[length..];
        }
        Self(tokens)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(|token| word_length(token) > 0)
    }

    /// Up to the first `#[cfg(test)] mod`: by custom, tests end a file.
    fn without_tests(&self) -> Self {
        let start = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let end = self.0.windows(start.len()).position(|tokens| tokens.iter().eq(start)).unwrap_or(self.0.len());
        Self(self.0[..end].to_vec())
    }

    /// The paths, from the crate's root, that a file names: by `crate::`, by the crate's own name in the program, or by
    /// climbing `super::` out of its module.
    fn paths_from_root(&self, file: &str) -> Vec<Vec<String>> {
        let mut paths = self.paths_after(&["crate"]);
        if module_of(file) == "main" {
            // In the program `crate::` is the program itself.
            paths = self.paths_after(&["portreeve"]);
        }
        let depth = file.matches('/').count() - usize::from(file.ends_with("/mod.rs"));
        let climb: Vec<&str> = std::iter::repeat_n(["super", "::"], depth).flatten().collect();
        let climbed = self.paths_after(&climb[..climb.len() - 1]).into_iter();
        let is_module = |path: &Vec<String>| path.first().is_some_and(|first| may_know(first).is_some());
        paths.extend(climbed.filter(is_module));
        paths
    }

    /// Every path that goes on after `start` and `::`, with groups taken apart.
    fn paths_after(&self, start: &[&str]) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for (at, tokens) in self.0.windows(start.len() + 1).enumerate() {
            let goes_on_before = at > 0 && self.0[at - 1] == "::";
            if !goes_on_before && tokens[..start.len()].iter().eq(start) && tokens[start.len()] == "::" {
                self.tree(at + start.len() + 1, &[], &mut paths);
            }
        }
        paths
    }

    /// Reads one use-tree; answers where it ends.
    fn tree(&self, mut at: usize, before: &[String], paths: &mut Vec<Vec<String>>) -> usize {
        let token = |at: usize| self.0.get(at).map_or("", String::as_str);
        let mut path = before.to_vec();
        loop {
            if token(at) == "{" {
                at += 1;
                while !["}", ""].contains(&token(at)) {
                    at = self.tree(at, &path, paths);
                    at += usize::from(token(at) == ",");
                }
                return at + 1;
            }
            path.push(token(at).to_owned());
            at += 1;
            if token(at) != "::" {
                break;
            }
            at += 1;
        }
        paths.push(path);
        // `as name`, or whatever else stands before the next member.
        while before.len() < paths[paths.len() - 1].len() && token(at) == "as" {
            at += 2;
        }
        at
    }
}

/// How long the comment or literal is that `text` starts with.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    let hashes = body.map_or(0, |body| body.len() - body.trim_start_matches('#').len());
    if let Some(body) = body.filter(|body| body[hashes..].starts_with('"')) {
        let start = text.len() - body.len() + hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text[start..].find(&end).map_or(text.len(), |found| start + found + end.len()));
    }
    for prefix in ["\"", "b\"", "c\""] {
        if let Some(body) = text.strip_prefix(prefix) {
            return Some(prefix.len() + until_unescaped(body, '"'));
        }
    }
    character(text)
}

/// `'x'` and `'\n'`, but not `'static`.
fn character(text: &str) -> Option<usize> {
    let start = if text.starts_with("b'") { 2 } else { usize::from(text.starts_with('\'')) };
    let body = text.get(start..).filter(|_| start > 0)?;
    let first = body.chars().next()?;
    let closed = body[first.len_utf8()..].starts_with('\'');
    (first == '\\' || closed).then(|| start + until_unescaped(body, '\''))
}

fn until_unescaped(body: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        if character == end && !escaped {
            return at + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    body.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[..=at].ends_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    text.len()
}

fn word_length(text: &str) -> usize {
    text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len())
}

#[test]
fn every_file_keeps_to_its_floor_its_name_and_its_business() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> =
        walk(&root.join("src")).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")).collect();
    assert!(files.len() > 10, "only {} source files were found", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        found.extend(complaints(name, &text));
    }
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}

#[test]
fn both_databases_have_the_same_migrations_each_with_a_way_up_and_down() {
    let files = |backend| {
        let folder = migrations_folder(backend);
        let relative = |file: std::path::PathBuf| file.strip_prefix(&folder).unwrap().to_owned();
        walk(&folder).into_iter().map(relative).collect::<BTreeSet<_>>()
    };
    let sqlite = files(Backend::Sqlite);
    assert_eq!(sqlite, files(Backend::Postgres));
    for file in &sqlite {
        assert!(sqlite.contains(&file.with_file_name("up.sql")) && sqlite.contains(&file.with_file_name("down.sql")));
    }
}

#[test]
fn the_table_has_no_circle() {
    let mut placed = BTreeSet::new();
    for (module, _) in MAY_KNOW {
        let known = may_know(module).unwrap();
        assert!(known.is_subset(&placed), "`{module}` may know what stands below it in the table, and nothing else");
        placed.insert(*module);
    }
}

#[test]
fn a_forbidden_arrow_is_found_however_it_is_written() {
    for text in [
        "use crate::http::problem::Problem;",
        "use crate::{clock::Timestamp, http};",
        "use crate::{\n    clock::{Clock, Timestamp as T},\n    http::{self, wire},\n};",
        "pub use crate :: http;",
        "fn f() { let x = crate::http::problem(); }",
        "fn f() -> Vec<crate::http::Problem> { Vec::new() }",
        "use super::super::http::Problem;",
        "mod tests { use crate::http::x; }",
        "const A: char = '\"'; use crate::http; const B: &str = \"\";",
        "fn f<'a>(x: &'a str) -> crate::http::P<'a> { g(x) }",
        "const A: &str = r#\"a \" b\"#; use crate::http;",
    ] {
        assert_eq!(
            complaints("src/payment/hold.rs", text),
            ["src/payment/hold.rs: `payment` may not know `http`"],
            "{text}"
        );
    }
    assert_eq!(complaints("src/audit.rs", "use super::http;"), ["src/audit.rs: `audit` may not know `http`"]);
    assert_eq!(complaints("src/simulator/mod.rs", "use crate::attestation::x;").len(), 1);
    assert_eq!(complaints("src/catalog/mod.rs", "use crate::payment::x;").len(), 1);
    assert_eq!(complaints("src/newcomer.rs", "").len(), 1);
    assert_eq!(complaints("src/payment/mod.rs", "use crate::account::store::find;").len(), 1);
    assert_eq!(complaints("src/main.rs", "use portreeve::nobody::x;").len(), 1);
    assert_eq!(complaints("src/catalog/tests/publishing.rs", "use crate::payment::x;").len(), 1);
}

#[test]
fn what_is_allowed_or_only_said_is_not_found() {
    for text in [
        "use crate::{account::Account, clock::{Clock, Timestamp}, db::DbConnection};",
        "use super::budget::Budget;",
        "// use crate::http;\n/* crate::http /* crate::http */ crate::http */",
        "/// See [`crate::http`].\nfn f() {}",
        "const A: &str = \"use crate::http; \\\" crate::http\"; const B: &[u8] = b\"crate::http\";",
        "const A: &str = r##\"crate::http \"# crate::http\"##;",
        "pub(crate) fn http() { payment::http::x() }",
        "use diesel::result::{DatabaseErrorKind, Error};",
        "#[cfg(test)]\nmod tests { use diesel::prelude::*; }",
    ] {
        assert_eq!(complaints("src/payment/hold.rs", text), Vec::<String>::new(), "{text}");
    }
    assert!(
        complaints("src/main.rs", "use portreeve::{app, http, simulator}; use crate::commands; use actix_web::rt;")
            .is_empty()
    );
    assert!(complaints("src/payment/hold_store/sqlite.rs", "use diesel::prelude::*;").is_empty());
    assert!(complaints("src/payment/store.rs", "use diesel::prelude::*; use crate::db::schema::holds;").is_empty());
    assert!(complaints("src/catalog/tests/publishing.rs", "use diesel::prelude::*;").is_empty());
}

#[test]
fn a_bad_name_http_below_http_and_a_query_outside_of_a_store_are_found() {
    for file in ["src/util.rs", "src/payment/helpers.rs", "src/common/mod.rs", "src/http/types.rs", "src/error.rs"] {
        assert!(complaints(file, "").iter().any(|found| found.contains("named after")), "{file}");
    }
    assert!(complaints("src/payment/error.rs", "").is_empty());
    assert_eq!(complaints("src/app.rs", "use actix_web::web;").len(), 1);
    assert_eq!(complaints("src/fetch.rs", "use reqwest::StatusCode;").len(), 1);
    assert_eq!(complaints("src/resource/create.rs", "use diesel::prelude::*;").len(), 1);
    assert_eq!(complaints("src/resource/create.rs", "fn f() { diesel::insert_into(x); }").len(), 1);
    assert_eq!(complaints("src/resource/create.rs", "use crate::db::schema::resources;").len(), 1);
}
