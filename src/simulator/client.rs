//! Who calls the settlement: the provider, by a client assertion (RFC 7523 §2.2) that its published keys verify.

use std::collections::HashMap;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::Deserialize;
use url::Url;

use super::state::State;
use crate::clock::Timestamp;
use crate::fetch::Outgoing;
use crate::signing::{SignatureAlgorithm, Unverified};

/// The longest life of an assertion, in seconds.
const LONGEST: i64 = 300;
/// How far clocks may differ, in seconds.
const SKEW: i64 = 60;

/// Why a caller is not the provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTheClient {
    /// It does not say who it is, or not truly.
    #[error("{0}")]
    Untrue(&'static str),
    /// The provider's keys cannot be fetched.
    #[error("the provider's keys cannot be fetched")]
    NoKeys,
}

/// What the issuer remembers of a provider until it stops: its keys, and which assertions were used.
#[derive(Default)]
pub(super) struct ClientSeen {
    keys: Vec<Jwk>,
    used: HashMap<String, Timestamp>,
}

impl ClientSeen {
    fn key(&self, kid: &str) -> Option<Jwk> {
        self.keys.iter().find(|key| key.common.key_id.as_deref() == Some(kid)).cloned()
    }

    /// Whether the assertion is used for the first time.
    fn first_use(&mut self, jti: String, until: Timestamp, now: Timestamp) -> bool {
        self.used.retain(|_, until| *until >= now);
        self.used.insert(jti, until).is_none()
    }
}

#[derive(Deserialize)]
struct Asserted {
    iss: String,
    sub: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Believes the bearer of `assertion` to be a provider, and says which by its client id; or says why not.
pub(super) async fn authenticate(state: &State, assertion: &str) -> Result<String, NotTheClient> {
    use NotTheClient::Untrue;
    let unverified =
        Unverified::parse(assertion).map_err(|_bad| Untrue("the client assertion is not a compact JWS"))?;
    unverified
        .expect_type(&["client-authentication+jwt"])
        .map_err(|_other| Untrue("the client assertion has another `typ`"))?;
    let client_id = unverified.issuer().unwrap_or_default().to_owned();
    let base_url = state.world().provider_of(&client_id).map(|provider| provider.base_url.clone());
    let base_url = base_url.ok_or(Untrue("the client is unknown"))?;
    let kid = unverified.kid().ok_or(Untrue("the client assertion names no key"))?.to_owned();
    let key = find_key(state, &client_id, &base_url, &kid).await?;
    let asserted = unverified
        .verify::<Asserted>(&key, &[SignatureAlgorithm::Es256])
        .map_err(|_false| Untrue("the client assertion does not verify"))?
        .claims;
    judge(state, &client_id, asserted)?;
    Ok(client_id)
}

fn judge(state: &State, client_id: &str, asserted: Asserted) -> Result<(), NotTheClient> {
    let now = state.clock.now();
    let wrong = if asserted.iss != client_id || asserted.sub != client_id {
        Some("`iss` and `sub` of the client assertion must be the client")
    } else if asserted.aud != state.issuer {
        Some("the client assertion is for another issuer")
    } else if asserted.exp <= now.seconds() {
        Some("the client assertion has expired")
    } else if asserted.iat > now.seconds() + SKEW || asserted.exp - asserted.iat > LONGEST {
        Some("the client assertion is from the future or good for too long")
    } else if !first_use(state, client_id, asserted.jti, asserted.exp) {
        Some("the client assertion was used before")
    } else {
        None
    };
    wrong.map_or(Ok(()), |why| Err(NotTheClient::Untrue(why)))
}

fn first_use(state: &State, client_id: &str, jti: String, exp: i64) -> bool {
    let now = state.clock.now();
    let mut world = state.world();
    world.clients.entry(client_id.to_owned()).or_default().first_use(jti, Timestamp::from_seconds(exp), now)
}

/// The provider's key, from memory or from `{provider}/oauth/jwks`.
async fn find_key(state: &State, client_id: &str, base_url: &Url, kid: &str) -> Result<Jwk, NotTheClient> {
    if let Some(key) = state.world().clients.get(client_id).and_then(|client| client.key(kid)) {
        return Ok(key);
    }
    let url = base_url.join("oauth/jwks").map_err(|_bad_url| NotTheClient::NoKeys)?;
    let answer = state
        .fetch(base_url)
        .map_err(|_no_client| NotTheClient::NoKeys)?
        .send(Outgoing::get(url))
        .await
        .map_err(|_unreachable| NotTheClient::NoKeys)?;
    if answer.status != 200 {
        return Err(NotTheClient::NoKeys);
    }
    let fetched: JwkSet = answer.json().map_err(|_not_a_set| NotTheClient::NoKeys)?;
    let mut world = state.world();
    let client = world.clients.entry(client_id.to_owned()).or_default();
    client.keys = fetched.keys;
    client.key(kid).ok_or(NotTheClient::Untrue("the client assertion is signed with an unknown key"))
}
