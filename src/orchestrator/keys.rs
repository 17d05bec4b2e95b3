//! The keys of registered issuers: by OpenID Connect discovery, kept for a while, asked for again when a key is unknown.
//!
//! One fetch per issuer at a time, and at most one in [`PAUSE`] whatever tokens say; an issuer that does not answer
//! leaves the keys that were last seen in force for [`LAST_GOOD`], and after that nothing of it is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use openidconnect::core::CoreProviderMetadata;
use openidconnect::http::header::CACHE_CONTROL;
use openidconnect::{DiscoveryError, HttpRequest, IssuerUrl};

use super::{Issuer, Orchestrator};
use crate::clock::Timestamp;
use crate::fetch::Fetch;
use crate::openid::{self, CarryError};
use crate::signing::VerifyingKey;

/// Between two fetches of one issuer's keys, whether the first succeeded or not.
const PAUSE: TimeDelta = TimeDelta::seconds(10);
/// Keys are fresh for at least this long, whatever the issuer says.
const FRESH_AT_LEAST: TimeDelta = TimeDelta::minutes(5);
/// Keys are fresh for at most this long, whatever the issuer says.
const FRESH_AT_MOST: TimeDelta = TimeDelta::hours(1);
/// How long keys are fresh when the issuer says nothing.
const FRESH_BY_DEFAULT: TimeDelta = TimeDelta::minutes(15);
/// For how long the last keys stay in force while the issuer does not answer.
const LAST_GOOD: TimeDelta = TimeDelta::hours(24);
/// The most keys of one issuer that are looked at.
const MAX_KEYS: usize = 64;

/// Why no key decides. The token that asked for it is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The issuer's set has no such key.
    #[error("the issuer has no such key")]
    Unknown,
    /// The operator distrusts it.
    #[error("the key is distrusted")]
    Distrusted,
    /// The issuer's keys cannot be had: worth trying again later.
    #[error("the issuer's keys cannot be had: {0}")]
    Unavailable(String),
}

/// The keys of all registered issuers. Cheap to clone; all clones share one memory.
#[derive(Debug, Clone)]
pub struct KeyCache {
    fetch: Fetch,
    shelves: Arc<Mutex<HashMap<Issuer, Arc<Shelf>>>>,
}

/// What is known of one issuer.
#[derive(Debug, Default)]
struct Shelf {
    known: Mutex<Known>,
    /// Held by whoever fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Option<KeySet>,
    tried_at: Option<Timestamp>,
    failure: Option<String>,
}

#[derive(Debug)]
struct KeySet {
    keys: Vec<VerifyingKey>,
    fetched_at: Timestamp,
    fresh_for: TimeDelta,
}

impl KeyCache {
    /// An empty cache that fetches with `fetch`.
    #[must_use]
    pub fn new(fetch: Fetch) -> Self {
        Self { fetch, shelves: Arc::default() }
    }

    /// The key that decides about a token of `orchestrator` which names `kid`; without a name, its only key.
    ///
    /// # Errors
    /// When the issuer has no such key, or its keys cannot be had.
    pub async fn find(
        &self,
        orchestrator: &Orchestrator,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Result<VerifyingKey, KeyError> {
        let key = self.look_up(orchestrator, kid, now).await?;
        // A key is named by the issuer's set, whatever the token says.
        match key.common.key_id.as_deref() {
            Some(named) if orchestrator.distrusts_key(named) => Err(KeyError::Distrusted),
            _ => Ok(key),
        }
    }

    async fn look_up(
        &self,
        orchestrator: &Orchestrator,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Result<VerifyingKey, KeyError> {
        let known = self.shelf(&orchestrator.issuer);
        if let Some(key) = known.fresh(kid, now) {
            return Ok(key);
        }
        let _flight = known.flight.lock().await;
        // Somebody may have fetched while we waited.
        if let Some(key) = known.fresh(kid, now) {
            return Ok(key);
        }
        if known.may_try(now) {
            let outcome = discover(&self.fetch, &orchestrator.issuer).await;
            known.record(outcome, now);
        }
        known.in_force(kid, now)
    }

    fn shelf(&self, issuer: &Issuer) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shelves.entry(issuer.clone()).or_default())
    }
}

impl Shelf {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key, if the set is fresh and has it.
    fn fresh(&self, kid: Option<&str>, now: Timestamp) -> Option<VerifyingKey> {
        let known = self.known();
        known.keys.as_ref().filter(|set| now.since(set.fetched_at) < set.fresh_for)?.find(kid).cloned()
    }

    /// Whether a fetch is due; if so, it counts as tried from now on, however it ends.
    fn may_try(&self, now: Timestamp) -> bool {
        let mut known = self.known();
        let due = known.tried_at.is_none_or(|tried| now.since(tried) >= PAUSE || now < tried);
        if due {
            known.tried_at = Some(now);
        }
        due
    }

    fn record(&self, outcome: Result<(Vec<VerifyingKey>, TimeDelta), String>, now: Timestamp) {
        let mut known = self.known();
        match outcome {
            Ok((keys, fresh_for)) => {
                known.keys = Some(KeySet { keys, fetched_at: now, fresh_for });
                known.failure = None;
            }
            Err(reason) => {
                tracing::warn!(reason, "the keys of an issuer could not be fetched");
                known.failure = Some(reason);
            }
        }
    }

    /// After the fetch, if one was due: the key if it is known, fresh or not, within [`LAST_GOOD`].
    fn in_force(&self, kid: Option<&str>, now: Timestamp) -> Result<VerifyingKey, KeyError> {
        let known = self.known();
        let set = known.keys.as_ref().filter(|set| now.since(set.fetched_at) < LAST_GOOD);
        if let Some(key) = set.and_then(|set| set.find(kid)) {
            return Ok(key.clone());
        }
        match &known.failure {
            Some(reason) => Err(KeyError::Unavailable(reason.clone())),
            None => Err(KeyError::Unknown),
        }
    }
}

impl KeySet {
    fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// OpenID Connect Discovery 1.0 §4: the document must name exactly this issuer; keys come from its `jwks_uri` alone.
async fn discover(fetch: &Fetch, issuer: &Issuer) -> Result<(Vec<VerifyingKey>, TimeDelta), String> {
    let url = IssuerUrl::new(issuer.as_str().to_owned()).map_err(|error| error.to_string())?;
    // The last answer is that of `jwks_uri`: its word on freshness counts.
    let max_age = Arc::new(Mutex::new(None));
    let client = |request: HttpRequest| {
        let (fetch, max_age) = (fetch.clone(), Arc::clone(&max_age));
        async move {
            let answer = openid::carry(fetch, request).await?;
            let stated = answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
            *max_age.lock().unwrap_or_else(PoisonError::into_inner) = stated.and_then(stated_max_age);
            Ok::<_, CarryError>(answer)
        }
    };
    let metadata = CoreProviderMetadata::discover_async(url, &client).await.map_err(|error| reason(&error))?;
    let keys = metadata
        .jwks()
        .keys()
        .iter()
        .take(MAX_KEYS)
        // Of a set, only the keys that we can use; an unusable one does not spoil the others.
        .filter_map(|key| serde_json::from_value(serde_json::to_value(key).ok()?).ok())
        .filter(signs)
        .collect::<Vec<VerifyingKey>>();
    if keys.is_empty() {
        return Err("its set has no key that signs".to_owned());
    }
    let stated = *max_age.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((keys, stated.unwrap_or(FRESH_BY_DEFAULT).clamp(FRESH_AT_LEAST, FRESH_AT_MOST)))
}

fn signs(key: &VerifyingKey) -> bool {
    use jsonwebtoken::jwk::{AlgorithmParameters, PublicKeyUse};
    let for_signatures = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    for_signatures && !matches!(key.algorithm, AlgorithmParameters::OctetKey(_))
}

/// What went wrong, without the body that the other side sent.
fn reason(error: &DiscoveryError<CarryError>) -> String {
    match error {
        DiscoveryError::Request(cause) => cause.to_string(),
        DiscoveryError::Response(status, _, _) => format!("it answered {status} or another content type"),
        DiscoveryError::Parse(_) => "its document is not what OpenID Connect Discovery prescribes".to_owned(),
        DiscoveryError::Validation(_) => "its document names another issuer".to_owned(),
        _ => "its document cannot be used".to_owned(),
    }
}

/// `max-age` of a `Cache-Control` (RFC 9111 §5.2.2.1).
fn stated_max_age(header: &str) -> Option<TimeDelta> {
    let seconds = header.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    TimeDelta::try_seconds(seconds.parse().ok()?)
}
