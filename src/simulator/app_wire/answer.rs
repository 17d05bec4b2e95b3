//! Reading what providers answer, in every shape that was seen: four error envelopes, errors under 200, numbers where texts
//! are meant, members that came and went.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::super::registry::Kept;
use crate::clock::Timestamp;
use crate::fetch::{FetchError, Incoming};

/// The longest text of a provider that is passed on, in characters.
const LONGEST: usize = 500;

/// A provider said no, or something that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderFailure {
    /// HTTP status.
    pub status: u16,
    /// The provider's code; `http_<status>` when it gave none.
    pub code: String,
    /// The provider's words, without control characters.
    pub message: String,
}

/// Why a call had no good end.
#[derive(Debug, thiserror::Error)]
pub(in crate::simulator) enum WireError {
    /// The provider said no.
    #[error("{} ({}): {}", .0.code, .0.status, .0.message)]
    Failure(ProviderFailure),
    /// It was never reached.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// It may have been done.
    #[error("the provider's answer was lost: {0}")]
    Unknown(String),
    /// The answer is none of the shapes.
    #[error("the provider's answer is not understood: {0}")]
    Shape(String),
    /// This side is broken.
    #[error("the call could not be made: {0}")]
    Ours(String),
}

impl WireError {
    /// Whether it may have been done all the same: no answer, one that is not understood, or a server's error.
    pub(in crate::simulator) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Shape(_) => true,
            Self::Failure(failure) => failure.status >= 500,
            Self::Unreachable(_) | Self::Ours(_) => false,
        }
    }
}

impl From<FetchError> for WireError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Refused(..) | FetchError::NotSent(..) => Self::Unreachable(error.to_string()),
            FetchError::AnswerLost(..) | FetchError::TooLarge(..) => Self::Unknown(error.to_string()),
            FetchError::NotJson(..) => Self::Shape(error.to_string()),
        }
    }
}

/// Text of others without what a terminal would obey: controls and marks that turn the direction of writing.
pub(in crate::simulator) fn clean(text: &str) -> String {
    let harmless = |c: &char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).filter(harmless).take(LONGEST).collect()
}

fn text<'v>(value: &'v Value, member: &str) -> Option<&'v str> {
    value.get(member).and_then(Value::as_str)
}

/// A text, or a number that stands for one.
fn named(value: &Value, member: &str) -> Option<String> {
    match value.get(member)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The body of an answer that is no failure, or the failure it is.
pub(super) fn judged(answer: &Incoming) -> Result<Value, WireError> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let said = body.as_ref();
    let says_error = said.is_some_and(|body| ["status", "type"].iter().any(|name| text(body, name) == Some("error")));
    if (200..300).contains(&answer.status) && !says_error {
        return body.filter(Value::is_object).ok_or_else(|| WireError::Shape("it is no JSON object".to_owned()));
    }
    let error = said.and_then(|body| body.get("error"));
    let code = error.and_then(|error| text(error, "code").or(error.as_str()));
    let message = error
        .and_then(|error| text(error, "message"))
        .or(said.and_then(|body| text(body, "error_description")))
        .or(said.and_then(|body| text(body, "detail").or(text(body, "message"))));
    let raw = || String::from_utf8_lossy(&answer.body).into_owned();
    Err(WireError::Failure(ProviderFailure {
        status: answer.status,
        code: code.map_or_else(|| format!("http_{}", answer.status), clean),
        message: clean(&message.map_or_else(raw, str::to_owned)),
    }))
}

/// Tokens as a provider says them.
#[derive(Debug)]
pub(in crate::simulator) struct TokensSaid {
    pub(in crate::simulator) access_token: Kept,
    pub(in crate::simulator) refresh_token: Option<Kept>,
    pub(in crate::simulator) expires_in: Option<i64>,
    pub(in crate::simulator) account_id: Option<String>,
    pub(in crate::simulator) payment_credentials: Option<String>,
}

impl TokensSaid {
    pub(super) fn read(said: &Value) -> Result<Self, WireError> {
        let access = text(said, "access_token").filter(|token| !token.is_empty());
        let account = said.get("account");
        Ok(Self {
            access_token: Kept::from(access.ok_or_else(|| missing("access_token"))?.to_owned()),
            refresh_token: text(said, "refresh_token").map(|token| Kept::from(token.to_owned())),
            expires_in: said.get("expires_in").and_then(Value::as_i64),
            account_id: account.and_then(|account| named(account, "id")).map(|id| clean(&id)),
            payment_credentials: account.and_then(|account| text(account, "payment_credentials")).map(clean),
        })
    }
}

fn missing(member: &str) -> WireError {
    WireError::Shape(format!("`{member}` is missing or of another form"))
}

/// What became of an account request.
#[derive(Debug)]
pub(in crate::simulator) enum AccountAnswer {
    Code(Kept),
    Tokens(Box<TokensSaid>),
    RequiresAuth(Url),
    NeedsInformation(Value),
}

impl AccountAnswer {
    pub(super) fn read(said: &Value) -> Result<Self, WireError> {
        match text(said, "type") {
            Some("oauth") => {
                let code = said.pointer("/oauth/code").and_then(Value::as_str).ok_or_else(|| missing("oauth.code"))?;
                Ok(Self::Code(Kept::from(code.to_owned())))
            }
            Some("credentials") => {
                let tokens = said.pointer("/credentials/bearer").ok_or_else(|| missing("credentials.bearer"))?;
                TokensSaid::read(tokens).map(Box::new).map(Self::Tokens)
            }
            Some("requires_auth") => {
                let url = said.pointer("/requires_auth/redirect/url").and_then(Value::as_str);
                let url = url.and_then(|url| url.parse::<Url>().ok()).filter(|url| url.scheme().starts_with("http"));
                Ok(Self::RequiresAuth(url.ok_or_else(|| missing("requires_auth.redirect.url"))?))
            }
            Some("needs_information") => Ok(Self::NeedsInformation(schema_of(said))),
            _ => Err(missing("type")),
        }
    }
}

fn schema_of(said: &Value) -> Value {
    said.pointer("/needs_information/schema").cloned().unwrap_or_default()
}

/// What became of a resource.
#[derive(Debug, PartialEq)]
pub(in crate::simulator) enum ResourceAnswer {
    Complete { id: String, access: BTreeMap<String, String> },
    Pending { id: String },
    NeedsInformation { schema: Value },
    PendingRemoval { id: String },
    Removed { id: String },
}

impl ResourceAnswer {
    /// `known` is the id that was asked about: some providers do not repeat it.
    pub(super) fn read(said: &Value, known: Option<&str>) -> Result<Self, WireError> {
        let id = || named(said, "id").filter(|id| !id.is_empty()).or(known.map(str::to_owned));
        let id = || id().ok_or_else(|| missing("id"));
        match text(said, "status") {
            Some("complete") => {
                let access = said.pointer("/complete/access_configuration").or(said.get("access_configuration"));
                Ok(Self::Complete {
                    id: id()?,
                    access: access.and_then(Value::as_object).map(flat).unwrap_or_default(),
                })
            }
            Some("pending") => Ok(Self::Pending { id: id()? }),
            Some("needs_information") => Ok(Self::NeedsInformation { schema: schema_of(said) }),
            Some("pending_removal") => Ok(Self::PendingRemoval { id: id()? }),
            Some("removed") => Ok(Self::Removed { id: id()? }),
            _ => Err(missing("status")),
        }
    }
}

/// Plain texts: what is no text is written as JSON, and `null` is nothing.
fn flat(access: &Map<String, Value>) -> BTreeMap<String, String> {
    let plain = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    access.iter().filter_map(|(name, value)| Some((name.clone(), plain(value)?))).collect()
}

/// A log-in link.
#[derive(Debug)]
pub(in crate::simulator) struct DeepLink {
    pub(in crate::simulator) url: Url,
    pub(in crate::simulator) expires_at: Option<Timestamp>,
}

impl DeepLink {
    pub(super) fn read(said: &Value) -> Result<Self, WireError> {
        // The first shape, of March 2026, was `{"deep_link": "…"}`.
        let url = text(said, "url").or(text(said, "deep_link")).and_then(|url| url.parse::<Url>().ok());
        let url = url.filter(|url| url.scheme().starts_with("http")).ok_or_else(|| missing("url"))?;
        let expires_at = text(said, "expires_at").and_then(|at| Timestamp::parse_rfc3339(at).ok());
        Ok(Self { url, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resource_is_read_in_every_state_and_shape() {
        let complete = json!({"status": "complete", "id": 51, "complete": {"access_configuration":
            {"host": "h", "port": 5432, "none": null}}});
        let ResourceAnswer::Complete { id, access } = ResourceAnswer::read(&complete, None).unwrap() else { panic!() };
        assert_eq!((id.as_str(), access["port"].as_str(), access.len()), ("51", "5432", 2));
        let plan = json!({"status": "complete", "complete": {"access_configuration": null}});
        let read = ResourceAnswer::read(&plan, Some("r")).unwrap();
        assert_eq!(read, ResourceAnswer::Complete { id: "r".into(), access: BTreeMap::new() });
        for (status, id) in [("pending", true), ("pending_removal", true), ("removed", true), ("gone", false)] {
            let read = ResourceAnswer::read(&json!({"status": status, "id": "r"}), None);
            assert_eq!(read.is_ok(), id, "{status}");
        }
        assert!(ResourceAnswer::read(&json!({"status": "pending"}), None).is_err());
    }

    #[test]
    fn account_answers_and_links_are_read_in_old_and_new_shapes() {
        let tokens = json!({"type": "credentials", "credentials": {"type": "bearer", "bearer":
            {"access_token": "at", "account": {"id": 7, "payment_credentials": "provider"}}}});
        let AccountAnswer::Tokens(tokens) = AccountAnswer::read(&tokens).unwrap() else { panic!() };
        assert_eq!((tokens.account_id.as_deref(), tokens.refresh_token.is_none()), (Some("7"), true));
        let script = json!({"type": "requires_auth", "requires_auth": {"redirect": {"url": "javascript:alert(1)"}}});
        assert!(AccountAnswer::read(&script).is_err());
        for link in [
            json!({"deep_link": "https://p.example/x"}),
            json!({"purpose": "dashboard",
            "url": "https://p.example/x", "expires_at": "2026-10-03T12:10:00Z"}),
        ] {
            assert_eq!(DeepLink::read(&link).unwrap().url.as_str(), "https://p.example/x");
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d"), "a[31mb cd");
    }
}
