//! One call: signed, sent, repeated while that can help, and done wrong when that was ordered.

use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use super::super::mischief::{CallSeen, Verb, Wrong, shaped};
use super::super::registry::{Kept, Provider};
use super::super::state::State;
use super::super::tokens::unique;
use super::answer::WireError;
use super::signature::{stripe_signature, stripe_signature_v2};
use crate::fetch::{Fetch, FetchError, Incoming, Outgoing};

/// How often a call is made at most.
const ATTEMPTS: u32 = 3;
/// The longest that a provider's `Retry-After` is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The version that this side speaks.
const API_VERSION: &str = "0.1d";

/// What a call carries.
pub(super) enum Body {
    Nothing,
    Json(Value),
    Form(String),
}

/// A call before it is signed.
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) url: Url,
    pub(super) body: Body,
    pub(super) bearer: Option<Kept>,
    pub(super) key: Option<String>,
    /// `Authorization: Basic` of our client, at the token endpoint.
    pub(super) basic: Option<String>,
}

impl Call {
    fn bytes(&self, provider: &Provider, wrong: Option<&Wrong>) -> Vec<u8> {
        match &self.body {
            Body::Nothing => Vec::new(),
            Body::Json(body) => shaped(self.verb, body, wrong, provider.shapes.as_deref()).to_string().into_bytes(),
            Body::Form(form) => form.clone().into_bytes(),
        }
    }
}

/// Makes the call until there is an answer that another attempt would not better.
pub(super) async fn send(state: &State, provider: &Provider, call: &Call) -> Result<Incoming, WireError> {
    let fetch = state.fetch(&call.url).map_err(|error| WireError::Ours(error.to_string()))?;
    let mut attempt = 1;
    // Once an answer was lost, a later failure to connect says nothing about what was done.
    let mut lost = false;
    loop {
        let outcome = once(state, provider, &fetch, call, attempt).await;
        lost |= match &outcome {
            Ok(answer) => answer.status >= 500,
            Err(error) => matches!(error, WireError::Unknown(_)),
        };
        let wait = match &outcome {
            Ok(answer) => worth_repeating(answer),
            Err(WireError::Unreachable(_) | WireError::Unknown(_)) => Some(Duration::ZERO),
            Err(_) => None,
        };
        match wait {
            Some(wait) if attempt < ATTEMPTS => {
                tokio::time::sleep(wait.max(Duration::from_millis(100 << attempt))).await;
                attempt += 1;
            }
            _ => return if lost { unknown(outcome) } else { outcome },
        }
    }
}

fn unknown(outcome: Result<Incoming, WireError>) -> Result<Incoming, WireError> {
    match outcome {
        Err(WireError::Unreachable(why)) => Err(WireError::Unknown(why)),
        other => other,
    }
}

/// How long to wait first; `None` when the answer is final.
fn worth_repeating(answer: &Incoming) -> Option<Duration> {
    let asked = answer.header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
    match answer.status {
        429 => asked.filter(|wait| *wait <= PATIENCE),
        408 | 500 | 502..=504 => Some(asked.unwrap_or_default()).filter(|wait| *wait <= PATIENCE),
        _ => None,
    }
}

async fn once(
    state: &State,
    provider: &Provider,
    fetch: &Fetch,
    call: &Call,
    attempt: u32,
) -> Result<Incoming, WireError> {
    let wrong = state.world().mischief.take(&provider.name, call.verb);
    if let Some(Wrong::Hold { ms }) = wrong {
        // The wait is over when another call was answered, or when nobody else calls.
        let _ = tokio::time::timeout(Duration::from_millis(ms), state.answered.notified()).await;
    }
    let outgoing = signed(state, provider, call, wrong.as_ref())?;
    let (at, begun) = (state.clock.now(), Instant::now());
    let outcome = match &wrong {
        Some(Wrong::LoseRequest) => Err(WireError::Unreachable("the line is down on order".to_owned())),
        Some(Wrong::Duplicate) => {
            let first = fetch.send(outgoing.clone()).await;
            let _second: Result<Incoming, FetchError> = fetch.send(outgoing).await;
            first.map_err(WireError::from)
        }
        Some(Wrong::DuplicateAtOnce) => {
            let (first, _second) = tokio::join!(fetch.send(outgoing.clone()), fetch.send(outgoing));
            first.map_err(WireError::from)
        }
        Some(Wrong::LateDuplicate) => {
            let answer = fetch.send(outgoing.clone()).await;
            state.world().mischief.late.push((provider.name.clone(), outgoing));
            answer.map_err(WireError::from)
        }
        _ => fetch.send(outgoing).await.map_err(WireError::from),
    };
    if wrong != Some(Wrong::LateDuplicate) {
        let late = state.world().mischief.late_for(&provider.name);
        for copy in late {
            let _late: Result<Incoming, FetchError> = fetch.send(copy).await;
        }
    }
    state.answered.notify_waiters();
    let status = outcome.as_ref().map_or(0, |answer| answer.status);
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let lost = wrong == Some(Wrong::LoseAnswer);
    let (provider, path) = (provider.name.clone(), call.url.path().to_owned());
    state.world().remember(CallSeen { at, provider, verb: call.verb, attempt, path, status, millis, wrong });
    if lost { Err(WireError::Unknown("the answer is thrown away on order".to_owned())) } else { outcome }
}

/// The request with everything that a right one carries, unless it is to be wrong.
fn signed(state: &State, provider: &Provider, call: &Call, wrong: Option<&Wrong>) -> Result<Outgoing, WireError> {
    let body = call.bytes(provider, wrong);
    let mut outgoing = match &call.body {
        Body::Nothing => Outgoing::get(call.url.clone()),
        Body::Json(_) => Outgoing::post(call.url.clone(), "application/json", body.clone()),
        Body::Form(_) => Outgoing::post(call.url.clone(), "application/x-www-form-urlencoded", body.clone()),
    };
    match wrong {
        Some(Wrong::Version { version }) if version.is_empty() => {}
        Some(Wrong::Version { version }) => outgoing = outgoing.header("api-version", version.clone()),
        _ => outgoing = outgoing.header("api-version", API_VERSION),
    }
    if let Some(bearer) = &call.bearer {
        let sent = if wrong == Some(&Wrong::WrongBearer) { "nobody-issued-this" } else { bearer.expose() };
        outgoing = outgoing.bearer(sent);
    }
    if let Some(basic) = &call.basic {
        outgoing = outgoing.header("authorization", format!("Basic {basic}"));
    }
    if let (Some(key), true) = (&call.key, wrong != Some(&Wrong::NoKey)) {
        outgoing = outgoing.header("idempotency-key", key.clone());
    }
    with_signatures(state, provider, call, wrong, outgoing, &body)
}

fn with_signatures(
    state: &State,
    provider: &Provider,
    call: &Call,
    wrong: Option<&Wrong>,
    mut outgoing: Outgoing,
    body: &[u8],
) -> Result<Outgoing, WireError> {
    if wrong == Some(&Wrong::NoSignature) {
        return Ok(outgoing);
    }
    let skew = if let Some(Wrong::Skew { seconds }) = wrong { *seconds } else { 0 };
    let at = state.clock.now().seconds().saturating_add(skew);
    let other: &[u8] = b"{\"another\":\"body\"}";
    let secrets: Vec<&str> = match wrong {
        Some(Wrong::WrongSecret) => vec!["whsec_of_somebody_else"],
        _ => provider.signing_secrets.iter().map(Kept::expose).collect(),
    };
    let covered = if wrong == Some(&Wrong::OtherBody) { other } else { body };
    outgoing = outgoing.header("stripe-signature", stripe_signature(&secrets, at, covered));
    if provider.sign_v2 && wrong != Some(&Wrong::NoV2) {
        let ours = |error: &dyn std::error::Error| WireError::Ours(error.to_string());
        let key = state.v2_key().map_err(|error| ours(&error))?;
        let jti = unique("sig").map_err(|error| ours(&error))?;
        let method = if matches!(call.body, Body::Nothing) { "GET" } else { "POST" };
        let covered = if wrong == Some(&Wrong::BadV2) { other } else { covered };
        let token = stripe_signature_v2(&key, method, &call.url, covered, at, &jti).map_err(|error| ours(&error))?;
        outgoing = outgoing.header("stripe-signature-v2", token);
    }
    Ok(outgoing)
}
