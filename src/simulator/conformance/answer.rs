//! An answer, and the sentences that a case expects of it.

use serde_json::Value;

use super::case::{Finding, Stop, Verdict};
use crate::fetch::Incoming;

/// The form of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envelope {
    /// `{"error": {"code", "message"}}`.
    Flat,
    /// `{"type": "error", "error": {…}}`.
    Typed,
    /// `{"status": "error", "id", "error": {…}}`.
    Status,
    /// RFC 6749 §5.2.
    OAuth,
    /// Any of them.
    Any,
}

impl Envelope {
    fn shape(self) -> &'static str {
        match self {
            Self::Flat => r#"{"error":{"code","message"}}"#,
            Self::Typed => r#"{"type":"error","error":{"code","message"}}"#,
            Self::Status => r#"{"status":"error","id","error":{"code","message"}}"#,
            Self::OAuth => r#"{"error":"…","error_description":"…"}"#,
            Self::Any => "an error object of the protocol",
        }
    }

    /// The code, when the body has this form. Other members are allowed.
    fn code(self, body: &Value) -> Option<&str> {
        let nested = || {
            let code = body.pointer("/error/code")?.as_str().filter(|code| !code.is_empty())?;
            body.pointer("/error/message")?.as_str().map(|_| code)
        };
        match self {
            Self::Flat => nested(),
            Self::Typed => nested().filter(|_| body.get("type").and_then(Value::as_str) == Some("error")),
            Self::Status => nested().filter(|_| {
                // One known provider sends null or nothing where there is no id to name.
                let id_is_well = body.get("id").is_none_or(|id| id.is_string() || id.is_null());
                id_is_well && body.get("status").and_then(Value::as_str) == Some("error")
            }),
            Self::OAuth => body.get("error")?.as_str().filter(|code| !code.is_empty()),
            Self::Any => nested().or_else(|| Self::OAuth.code(body)),
        }
    }
}

/// A whole answer with the request it answers, both shown without secrets.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) json: Value,
    pub(super) incoming: Incoming,
    pub(super) request: String,
    pub(super) shown: String,
    /// Whether known differences between providers are accepted.
    pub(super) tolerant: bool,
}

impl Answer {
    /// What is wrong: `expected` did not hold.
    pub(super) fn wrong(&self, expected: impl Into<String>) -> Stop {
        let code = Envelope::Any.code(&self.json);
        let found = match (code, self.kind()) {
            (Some(code), _) => format!("{} with the code `{}`", self.status, super::shown::cut(code, 80)),
            (None, Some(kind)) => format!("{} with `{}`", self.status, super::shown::cut(kind, 80)),
            (None, None) => self.status.to_string(),
        };
        self.otherwise(expected, found)
    }

    /// The same, with what was found in words of the case's own.
    pub(super) fn otherwise(&self, expected: impl Into<String>, found: impl Into<String>) -> Stop {
        Stop::Finding(Box::new(Finding {
            preparing: false,
            expected: expected.into(),
            found: found.into(),
            request: self.request.clone(),
            answer: self.shown.clone(),
        }))
    }

    pub(super) fn expect(&self, holds: bool, expected: impl Into<String>) -> Verdict {
        if holds { Ok(()) } else { Err(self.wrong(expected)) }
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.json.pointer(pointer)?.as_str()
    }

    /// A text that must be there and not be empty.
    pub(super) fn need(&self, pointer: &str) -> Result<String, Stop> {
        let found = self.text(pointer).filter(|text| !text.is_empty());
        found
            .map(str::to_owned)
            .ok_or_else(|| self.wrong(format!("a text in `{}`", pointer.trim_start_matches('/').replace('/', "."))))
    }

    /// `status` or `type`: what kind of answer it says that it is.
    pub(super) fn kind(&self) -> Option<&str> {
        self.text("/status").or_else(|| self.text("/type"))
    }

    /// Succeeded, as far as the body says too.
    pub(super) fn succeeded(&self) -> bool {
        (200..300).contains(&self.status) && self.kind() != Some("error")
    }

    pub(super) fn success(&self) -> Verdict {
        self.expect(self.succeeded(), "an answer of success (2xx, no error in the body)")
    }

    pub(super) fn is(&self, status: u16) -> Verdict {
        self.expect(self.status == status && self.kind() != Some("error"), format!("HTTP {status}"))
    }

    /// One of `kinds` as `status` or `type`.
    pub(super) fn kind_is(&self, kinds: &[&str]) -> Verdict {
        let right = self.succeeded() && self.kind().is_some_and(|kind| kinds.contains(&kind));
        self.expect(right, format!("HTTP 200 with {}", alternatives(kinds)))
    }

    /// Refused with one of `statuses` and one of `codes` (any, when there are none) in `envelope`.
    pub(super) fn refused(&self, envelope: Envelope, statuses: &[u16], codes: &[&str]) -> Verdict {
        // One known provider answers 200 with an error in the body.
        let business = self.tolerant && self.status == 200 && !statuses.contains(&401) && self.kind() == Some("error");
        let status = statuses.contains(&self.status) || business;
        let code = envelope.code(&self.json);
        let right = status && code.is_some_and(|code| codes.is_empty() || codes.contains(&code));
        let statuses: Vec<_> = statuses.iter().map(u16::to_string).collect();
        let with = if codes.is_empty() { String::new() } else { format!(" and the code {}", alternatives(codes)) };
        self.expect(right, format!("{}{with}, as {}", statuses.join(" or "), envelope.shape()))
    }

    /// Refused somehow: 4xx in the envelope.
    pub(super) fn refused_somehow(&self, envelope: Envelope, codes: &[&str]) -> Verdict {
        self.refused(envelope, &[400, 401, 402, 403, 404, 405, 409, 410, 413, 415, 422], codes)
    }

    /// Served or refused, but never broken: no 5xx, and a refusal is JSON in an envelope of the protocol.
    pub(super) fn survives(&self) -> Verdict {
        self.expect(self.status < 500, "no 5xx: nothing that can be sent may break the provider")?;
        let told = self.status < 400 || Envelope::Any.code(&self.json).is_some();
        self.expect(told, "a refusal as JSON in an envelope of the protocol, also from the framework")
    }

    /// The names and values that let a program in.
    pub(super) fn access(&self) -> Vec<(String, String)> {
        let map = self.json.pointer("/complete/access_configuration").and_then(Value::as_object);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        map.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
    }
}

fn alternatives(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}
