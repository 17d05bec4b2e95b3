//! The keys of the second scheme: asked for where the orchestrator publishes them, with the token that it gave us, and
//! kept for five minutes. When they cannot be had, nothing is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::clock::Timestamp;
use crate::fetch::{Fetch, Outgoing};
use crate::ids::OrchestratorId;
use crate::signing::{Sealer, VerifyingKey};

/// How long a set is in force.
const FRESH: TimeDelta = TimeDelta::seconds(300);
/// Between two fetches, whatever tokens say and however the first ended.
const PAUSE: TimeDelta = TimeDelta::seconds(10);
/// The longest that a fetch may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The most keys of a set that are looked at.
const MAX_KEYS: usize = 64;

/// Why no key decides. The signature that asked for it is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The set has no such key that is in force.
    #[error("the orchestrator has no such key")]
    Unknown,
    /// The set cannot be had.
    #[error("the orchestrator's keys cannot be had: {0}")]
    Unavailable(String),
    /// The operator said nowhere where the keys are.
    #[error("no address of the orchestrator's keys is set")]
    NotSet,
}

/// Where an orchestrator publishes its keys.
#[derive(Debug, Clone, Copy)]
pub struct PublicKeySource<'a> {
    /// The address.
    pub url: Option<&'a Url>,
    /// The token that it gave us, sealed for [`PublicKeySource::place`].
    pub sealed_token: Option<&'a str>,
}

impl PublicKeySource<'_> {
    /// Where the token is kept: it opens nowhere else.
    #[must_use]
    pub fn place(orchestrator: &OrchestratorId) -> String {
        format!("wire_settings/{orchestrator}/public_keys_token")
    }
}

/// The keys of all orchestrators.
#[derive(Debug)]
pub struct PublicKeyCache {
    fetch: Fetch,
    sealer: Arc<Sealer>,
    shelves: Mutex<HashMap<OrchestratorId, Arc<Shelf>>>,
}

/// What is known of one orchestrator.
#[derive(Debug, Default)]
struct Shelf {
    known: Mutex<Known>,
    /// Held by whoever fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    url: Option<Url>,
    keys: Vec<PublicKey>,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    failure: Option<String>,
}

/// A key, and until when it signs.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    pub(super) kid: String,
    pub(super) key: VerifyingKey,
    expires_at: Option<Timestamp>,
}

/// The answer.
#[derive(Deserialize)]
struct Answer {
    public_keys: Vec<Value>,
}

impl PublicKeyCache {
    /// An empty cache that fetches with `fetch` and opens tokens with `sealer`.
    #[must_use]
    pub fn new(fetch: Fetch, sealer: Arc<Sealer>) -> Self {
        Self { fetch, sealer, shelves: Mutex::default() }
    }

    /// The key `kid` of this orchestrator, if it is in force.
    ///
    /// # Errors
    /// When there is none, or the keys cannot be had.
    pub async fn find(
        &self,
        orchestrator: &OrchestratorId,
        source: &PublicKeySource<'_>,
        kid: &str,
        now: Timestamp,
    ) -> Result<VerifyingKey, PublicKeyError> {
        let url = source.url.ok_or(PublicKeyError::NotSet)?;
        let known = self.shelf(orchestrator);
        if let Some(key) = known.in_force(url, kid, now) {
            return Ok(key);
        }
        let _flight = known.flight.lock().await;
        // Somebody may have fetched while we waited.
        if let Some(key) = known.in_force(url, kid, now) {
            return Ok(key);
        }
        if known.may_try(url, now) {
            let outcome = self.ask(orchestrator, url, source.sealed_token).await;
            known.record(outcome, now);
        }
        known.in_force(url, kid, now).ok_or_else(|| known.why_not())
    }

    fn shelf(&self, orchestrator: &OrchestratorId) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shelves.entry(orchestrator.clone()).or_default())
    }

    async fn ask(
        &self,
        orchestrator: &OrchestratorId,
        url: &Url,
        sealed_token: Option<&str>,
    ) -> Result<Vec<PublicKey>, String> {
        let mut outgoing = Outgoing::get(url.clone()).header("accept", "application/json");
        if let Some(sealed) = sealed_token {
            let opened = self.sealer.open(&PublicKeySource::place(orchestrator), sealed).map_err(|e| e.to_string())?;
            let token = std::str::from_utf8(&opened).map_err(|_not_text| "the token for it is no text".to_owned())?;
            outgoing = outgoing.bearer(token);
        }
        let answer = tokio::time::timeout(LIMIT, self.fetch.send(outgoing)).await;
        let answer = answer.map_err(|_elapsed| "it did not answer in time".to_owned())?.map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(format!("it answered {}", answer.status));
        }
        answer.json::<Answer>().map(|answer| read_keys(&answer.public_keys)).map_err(|e| e.to_string())
    }
}

/// Of a set, the keys that we can use: an unusable one does not spoil the others.
pub(super) fn read_keys(listed: &[Value]) -> Vec<PublicKey> {
    listed.iter().take(MAX_KEYS).filter_map(read_key).collect()
}

fn read_key(listed: &Value) -> Option<PublicKey> {
    let text = |name: &str| listed.get(name).and_then(Value::as_str);
    let (kid, x) = (text("kid")?, text("x")?);
    let ours =
        text("crv") == Some("Ed25519") && matches!(listed.get("kty"), None | Some(Value::Null)) || is_okp(listed);
    if !ours || kid.is_empty() || URL_SAFE_NO_PAD.decode(x).ok()?.len() != 32 {
        return None;
    }
    let expires_at = match listed.get("expires_at") {
        None | Some(Value::Null) => None,
        // An end that cannot be read is an end.
        Some(end) => Some(Timestamp::parse_rfc3339(end.as_str()?).ok()?),
    };
    let key = serde_json::from_value(json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid})).ok()?;
    Some(PublicKey { kid: kid.to_owned(), key, expires_at })
}

fn is_okp(listed: &Value) -> bool {
    listed.get("kty").and_then(Value::as_str) == Some("OKP")
        && listed.get("crv").and_then(Value::as_str) == Some("Ed25519")
}

impl Shelf {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(&self, url: &Url, kid: &str, now: Timestamp) -> Option<VerifyingKey> {
        let known = self.known();
        let fresh = known.fetched_at.is_some_and(|at| at <= now && now.since(at) < FRESH);
        if !fresh || known.url.as_ref() != Some(url) {
            return None;
        }
        let good = |key: &&PublicKey| key.kid == kid && key.expires_at.is_none_or(|end| now < end);
        known.keys.iter().find(good).map(|key| key.key.clone())
    }

    /// Whether a fetch is due; if so, it counts as tried from now on, however it ends. Another address is another set.
    fn may_try(&self, url: &Url, now: Timestamp) -> bool {
        let mut known = self.known();
        let same = known.url.as_ref() == Some(url);
        let due = !same || known.tried_at.is_none_or(|tried| now.since(tried) >= PAUSE || now < tried);
        if due {
            known.tried_at = Some(now);
        }
        if !same {
            *known = Known { url: Some(url.clone()), tried_at: Some(now), ..Known::default() };
        }
        due
    }

    fn record(&self, outcome: Result<Vec<PublicKey>, String>, now: Timestamp) {
        let mut known = self.known();
        match outcome {
            Ok(keys) => {
                known.keys = keys;
                known.fetched_at = Some(now);
                known.failure = None;
            }
            Err(reason) => {
                tracing::warn!(reason, "the keys of an orchestrator's second signature could not be fetched");
                known.failure = Some(reason);
            }
        }
    }

    fn why_not(&self) -> PublicKeyError {
        match &self.known().failure {
            Some(reason) => PublicKeyError::Unavailable(reason.clone()),
            None => PublicKeyError::Unknown,
        }
    }
}
