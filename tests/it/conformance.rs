//! The conformance runner against a double: it finds nothing where nothing is wrong, and every fault that can be
//! switched on. What it found stands in `docs/conformance-faults.md`, which this test holds.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use portreeve::secret::Secret;
use portreeve::simulator::conformance::{self, Group, Options, Report, V2Mode, V2Options};

use crate::broken_provider::{Fault, KEYS_TOKEN, Provider, SECRETS};
use crate::harness::program::free_port;

/// How many doubles run at once.
const AT_ONCE: usize = 8;
/// Cases named in a row of the table; the others are counted.
const NAMED: usize = 6;

fn options(provider: &Provider, v2: V2Options) -> Options {
    let secrets = SECRETS.iter().map(|secret| Secret::presented(secret)).collect();
    Options {
        payment_tokens: Some(format!("{}/test/payment_tokens", provider.url).parse().unwrap()),
        v2: Some(v2),
        timeout: Duration::from_secs(20),
        allow_loopback: true,
        ..Options::new(provider.url.parse().unwrap(), secrets)
    }
}

/// A run against a double that requires the second signature scheme, and fetches its keys from the runner.
async fn report(fault: Option<Fault>) -> Report {
    let listen: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let provider = Provider::start(fault, Some(format!("http://{listen}/v2/provisioning/public_keys")));
    let token = Secret::presented(KEYS_TOKEN);
    let v2 = V2Options { mode: V2Mode::Required, key: None, listen: Some(listen), token };
    let report = conformance::run(options(&provider, v2), |_| {}).await.unwrap();
    provider.stop().await;
    report
}

#[actix_web::test]
async fn nothing_is_found_where_nothing_is_wrong() {
    let report = report(None).await;
    let failed: Vec<_> = report.failed().map(|case| format!("{}: {:#?}", case.id, case.finding())).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let open: Vec<_> = report.not_applicable().map(|case| case.id).collect();
    let expected =
        |id: &&str| id.contains(".dated-") || ["signature.v2-advisory", "accounts.existing-user"].contains(id);
    assert!(open.iter().all(expected), "{open:?}");
    println!("{:#?}", report.groups);
    assert!(report.counts.pass >= 120, "{:?}", report.counts);
    assert_eq!(report.groups.len(), Group::ALL.len());
    assert!(report.resources_left.is_empty(), "{:?}", report.resources_left);
    assert_eq!(report.resources_made, report.resources_removed);
    let shown = [report.to_junit(), report.to_html().unwrap(), serde_json::to_string(&report).unwrap()];
    assert!(shown.iter().all(|text| SECRETS.iter().all(|secret| !text.contains(secret))));
}

#[actix_web::test]
async fn every_fault_is_found() {
    let runs = futures_util::stream::iter(Fault::ALL).map(|(fault, meaning)| async move {
        let report = report(Some(*fault)).await;
        let (prepared, asked): (Vec<_>, Vec<_>) =
            report.failed().partition(|case| case.finding().is_some_and(|finding| finding.preparing));
        let cases: Vec<_> = asked.into_iter().chain(prepared).map(|case| case.id).collect();
        (*fault, *meaning, cases)
    });
    let mut rows: Vec<_> = runs.buffer_unordered(AT_ONCE).collect().await;
    rows.sort_by_key(|(fault, ..)| Fault::ALL.iter().position(|(other, _)| other == fault));
    let missed: Vec<_> = rows.iter().filter(|(_, _, cases)| cases.is_empty()).map(|(fault, ..)| fault).collect();
    assert!(missed.is_empty(), "nobody found {missed:?}");
    println!("{}", table(&rows));
    hold("docs/conformance-faults.md", &rows);
}

#[actix_web::test]
async fn what_a_provider_sends_stays_text_in_the_report() {
    let report = report(Some(Fault::NotFoundPage)).await;
    assert!(report.failed().any(|case| case.finding().is_some_and(|finding| finding.answer.contains("<script>"))));
    let (page, xml) = (report.to_html().unwrap(), report.to_junit());
    assert!(!page.contains("<script") && !xml.contains("<script"));
    for fetched in ["src=", "href=\"http", "@import", "url("] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    // For whoever wants to look at one.
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance.html"), page).unwrap();
}

/// The mutation table as a document.
fn table(rows: &[(Fault, &str, Vec<&str>)]) -> String {
    let mut text = String::from(
        "# What the conformance runner finds\n\n\
         A small provider is wrong in one way at a time; the cases that then fail are named here (at most six, the \
         others are counted). Held by `tests/it/conformance.rs`; `UPDATE=1` writes it again.\n\n\
         | fault | what it means | found by |\n| --- | --- | --- |\n",
    );
    for (fault, meaning, cases) in rows {
        let named: Vec<_> = cases.iter().take(NAMED).map(|case| format!("`{case}`")).collect();
        let more = cases.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        writeln!(text, "| {fault:?} | {} | {}{more} |", meaning.trim(), named.join(", ")).unwrap();
    }
    text
}

/// The document names every fault, and at least one case that found it now. Which others do may differ from run to run:
/// races are races.
fn hold(file: &str, rows: &[(Fault, &str, Vec<&str>)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::vars().any(|(name, value)| name == "UPDATE" && value == "1") {
        std::fs::write(&path, table(rows)).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    let held: Vec<_> = held.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert_eq!(held.len(), rows.len(), "{file} has a row for each fault (UPDATE=1 writes it)");
    for (row, (fault, _, cases)) in held.iter().zip(rows) {
        assert!(row.starts_with(&format!("| {fault:?} |")), "{file}: {fault:?} is missing (UPDATE=1 writes it)");
        let named = cases.iter().any(|case| row.contains(&format!("`{case}`")));
        assert!(named, "{file}: {fault:?} is found by {cases:?} now (UPDATE=1 writes it)");
    }
}
