//! Credentials as a `.env` file: names, quoting, and a file in which only our lines change.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Our lines stand between these.
const BEGIN: &str = "# >>> portreeve agent";
const END: &str = "# <<< portreeve agent";

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// `UPPER_SNAKE`, beginning with the resource's name.
    pub name: String,
    /// As the provider said it.
    pub value: String,
    /// Of which resource.
    pub resource: String,
}

/// Names for credentials `(resource, credential, value)` in order: the resource's name and the credential's in
/// `UPPER_SNAKE`. A name that is taken gets a number; the warning says so.
pub(super) fn variables<'h>(held: impl Iterator<Item = (&'h str, &'h str, &'h str)>) -> (Vec<Variable>, Vec<String>) {
    let (mut taken, mut found, mut warnings) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (resource, credential, value) in held {
        if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            warnings.push(format!("`{credential}` of `{resource}` has control characters and was left out"));
            continue;
        }
        let wanted = full_name(resource, credential);
        let numbered = (2_u32..).map(|number| format!("{wanted}_{number}"));
        let free = std::iter::once(wanted.clone()).chain(numbered).find(|name| !taken.contains(name));
        let name = free.unwrap_or(wanted.clone());
        if name != wanted {
            warnings.push(format!("{wanted} is there already: `{credential}` of `{resource}` became {name}"));
        }
        taken.insert(name.clone());
        found.push(Variable { name, value: value.to_owned(), resource: resource.to_owned() });
    }
    (found, warnings)
}

fn full_name(resource: &str, credential: &str) -> String {
    let (prefix, name) = (upper_snake(resource), upper_snake(credential));
    let already = name == prefix || name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('_'));
    let full = if already { name } else { format!("{prefix}_{name}") };
    if full.starts_with(|c: char| c.is_ascii_digit()) { format!("_{full}") } else { full }
}

/// `apiKey`, `api-key` and `API_KEY` are all `API_KEY`.
fn upper_snake(text: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            let hump = c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
            if hump && before != '_' {
                out.push('_');
            }
            out.push(c.to_ascii_uppercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        before = c;
    }
    out.trim_end_matches('_').to_owned()
}

/// A value that shells and readers of `.env` files both take literally: in single quotes, or, when it has one, in double
/// quotes with what they would expand escaped.
fn quoted(value: &str) -> String {
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The file's text with our variables: what others wrote into it stays as it was.
#[must_use]
pub fn env_text(before: &str, variables: &[Variable]) -> String {
    let (head, tail) = match (before.find(BEGIN), before.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            let after = before.get(end..).and_then(|rest| rest.split_once('\n')).map_or("", |(_, rest)| rest);
            (before.get(..begin).unwrap_or_default(), after)
        }
        _ => (before, ""),
    };
    let gap = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    let mut text = format!("{head}{gap}{BEGIN}\n");
    for variable in variables {
        text.extend([variable.name.as_str(), "=", &quoted(&variable.value), "\n"]);
    }
    text.extend([END, "\n", tail]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(held: &[(&'static str, &'static str)]) -> (Vec<String>, usize) {
        let (found, warnings) = variables(held.iter().map(|(resource, credential)| (*resource, *credential, "v")));
        (found.into_iter().map(|variable| variable.name).collect(), warnings.len())
    }

    #[test]
    fn names_are_upper_snake_with_the_resource_in_front_and_clashes_are_renamed() {
        let held = [("app-db", "connectionString"), ("app-db", "connection_string"), ("resend", "RESEND_API_KEY")];
        let (found, warnings) = names(&held);
        assert_eq!(found, ["APP_DB_CONNECTION_STRING", "APP_DB_CONNECTION_STRING_2", "RESEND_API_KEY"]);
        assert_eq!(warnings, 1);
        assert_eq!(names(&[("db", "API_KEY"), ("db", "url")]).0, ["DB_API_KEY", "DB_URL"]);
    }

    #[test]
    fn only_our_lines_change() {
        let variable = |value: &str| Variable { name: "DB_URL".into(), value: value.into(), resource: "db".into() };
        let first = env_text("PORT=1", &[variable("a")]);
        assert_eq!(first, format!("PORT=1\n{BEGIN}\nDB_URL='a'\n{END}\n"));
        let second = env_text(&format!("{first}LAST=2\n"), &[variable("b")]);
        assert_eq!(second, format!("PORT=1\n{BEGIN}\nDB_URL='b'\n{END}\nLAST=2\n"));
        assert_eq!(env_text(&second, &[variable("b")]), second);
    }

    proptest! {
        #[test]
        fn a_shell_reads_back_what_was_quoted(value in "[ -~\n]{0,40}") {
            let script = format!("X={}\nprintf %s \"$X\"", quoted(&value));
            let out = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            prop_assert_eq!(String::from_utf8(out.stdout).unwrap(), value);
        }
    }
}
