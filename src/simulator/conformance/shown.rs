//! How calls and answers are shown in a report: readable, bounded, and without secrets, so that it can be passed on.

use std::fmt::Write as _;

use serde_json::Value;

use super::call::{Call, Verb};
use crate::fetch::Incoming;

/// The longest body in a report, in characters.
const LONGEST: usize = 4000;
/// What stands for a secret.
const HIDDEN: &str = "(hidden)";
/// Members whose text is a secret.
const SECRET_MEMBERS: &[&str] = &[
    "access_token",
    "refresh_token",
    "code",
    "code_verifier",
    "stripe_payment_token",
    "payment_token",
    "url",
    "deep_link",
];

/// The request line, the headers that matter, and the body.
pub(super) fn request(url: &str, call: &Call, headers: &[(&'static str, String)], secrets: &[&str]) -> String {
    let verb = match call.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Delete => "DELETE",
    };
    let mut text = format!("{verb} {url}\n");
    for (name, value) in headers {
        let value = match *name {
            "authorization" => value.split(' ').next().map_or(HIDDEN.to_owned(), |kind| format!("{kind} {HIDDEN}")),
            _ => cut(value, 200),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    if !call.body.is_empty() {
        let form = call.content_type.as_deref() == Some("application/x-www-form-urlencoded");
        text.push('\n');
        text.push_str(&if form { shown_form(&call.body) } else { shown_body(&call.body) });
    }
    without(&text, secrets)
}

/// The status, the headers that matter, and the body.
pub(super) fn answer(incoming: &Incoming, secrets: &[&str]) -> String {
    let mut text = format!("{}\n", incoming.status);
    for name in [
        "content-type",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "cache-control",
        "location",
        "www-authenticate",
    ] {
        if let Some(value) = incoming.header(name) {
            let value = if name == "location" { value.split('?').next().unwrap_or("") } else { value };
            let _ = writeln!(text, "{name}: {}", cut(value, 200));
        }
    }
    if !incoming.body.is_empty() {
        text.push('\n');
        text.push_str(&shown_body(&incoming.body));
    }
    without(&text, secrets)
}

fn shown_body(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) => {
            hide(&mut value);
            cut(&serde_json::to_string_pretty(&value).unwrap_or_default(), LONGEST)
        }
        Err(_) => cut(&String::from_utf8_lossy(body), LONGEST),
    }
}

fn shown_form(body: &[u8]) -> String {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(body).unwrap_or_default();
    let shown = fields.iter().map(|(name, value)| {
        let secret = SECRET_MEMBERS.contains(&name.as_str());
        format!("{name}={}", if secret { HIDDEN } else { value })
    });
    shown.collect::<Vec<_>>().join("&")
}

/// Hides what would let the reader of a report in.
fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    // The error's code is no secret, and is what the reader looks for.
                    Value::String(text) if name == "code" && text.len() < 40 && text.contains('_') => {}
                    Value::String(text) if SECRET_MEMBERS.contains(&name.as_str()) => {
                        let kept = text.split(['?', '#']).next().filter(|_| name == "url").unwrap_or("").to_owned();
                        *text = if kept.is_empty() { HIDDEN.to_owned() } else { format!("{kept}?{HIDDEN}") };
                    }
                    Value::Object(values) if name == "access_configuration" => {
                        values.values_mut().for_each(|value| *value = HIDDEN.into());
                    }
                    other => hide(other),
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(hide),
        _ => {}
    }
}

/// A provider may send our own secrets back; they are hidden wherever they stand.
fn without(text: &str, secrets: &[&str]) -> String {
    secrets.iter().filter(|secret| secret.len() > 5).fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}

/// At most `longest` characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… ({} bytes)", text.get(..at).unwrap_or(""), text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_no_secret_whatever_the_provider_sends() {
        let body = br#"{"access_token":"at_1","complete":{"access_configuration":{"API_KEY":"sk_1"}},"x":"whsec_123"}"#;
        let shown = without(&shown_body(body), &["whsec_123"]);
        for secret in ["at_1", "sk_1", "whsec_123"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown_body(br#"{"error":{"code":"invalid_signature"}}"#).contains("invalid_signature"));
        assert!(!shown_form(b"grant_type=refresh_token&refresh_token=rt_1").contains("rt_1"));
    }
}
