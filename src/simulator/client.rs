//! Who calls the settlement: the provider, by a client assertion (RFC 7523 §2.2) that its published keys verify.

use std::collections::HashMap;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::Deserialize;

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

/// What the issuer remembers of the provider: its keys, and which assertions were used.
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

/// Believes the bearer of `assertion` to be the provider, or says why not.
pub(super) async fn authenticate(state: &State, assertion: &str) -> Result<(), NotTheClient> {
    use NotTheClient::Untrue;
    let unverified =
        Unverified::parse(assertion).map_err(|_bad| Untrue("the client assertion is not a compact JWS"))?;
    unverified
        .expect_type(&["client-authentication+jwt"])
        .map_err(|_other| Untrue("the client assertion has another `typ`"))?;
    if unverified.issuer() != Some(&state.client_id) {
        return Err(Untrue("the client is unknown"));
    }
    let kid = unverified.kid().ok_or(Untrue("the client assertion names no key"))?.to_owned();
    let key = find_key(state, &kid).await?;
    let asserted = unverified
        .verify::<Asserted>(&key, &[SignatureAlgorithm::Es256])
        .map_err(|_false| Untrue("the client assertion does not verify"))?
        .claims;
    judge(state, asserted)
}

fn judge(state: &State, asserted: Asserted) -> Result<(), NotTheClient> {
    let now = state.clock.now();
    let wrong = if asserted.iss != state.client_id || asserted.sub != state.client_id {
        Some("`iss` and `sub` of the client assertion must be the client")
    } else if asserted.aud != state.issuer {
        Some("the client assertion is for another issuer")
    } else if asserted.exp <= now.seconds() {
        Some("the client assertion has expired")
    } else if asserted.iat > now.seconds() + SKEW || asserted.exp - asserted.iat > LONGEST {
        Some("the client assertion is from the future or good for too long")
    } else if !state.world().client.first_use(asserted.jti, Timestamp::from_seconds(asserted.exp), now) {
        Some("the client assertion was used before")
    } else {
        None
    };
    wrong.map_or(Ok(()), |why| Err(NotTheClient::Untrue(why)))
}

/// The provider's key, from memory or from `{provider}/oauth/jwks`.
async fn find_key(state: &State, kid: &str) -> Result<Jwk, NotTheClient> {
    if let Some(key) = state.world().client.key(kid) {
        return Ok(key);
    }
    let url = state.provider_base.join("/oauth/jwks").map_err(|_bad_url| NotTheClient::NoKeys)?;
    let answer = state.fetch.send(Outgoing::get(url)).await.map_err(|_unreachable| NotTheClient::NoKeys)?;
    if answer.status != 200 {
        return Err(NotTheClient::NoKeys);
    }
    let fetched: JwkSet = answer.json().map_err(|_not_a_set| NotTheClient::NoKeys)?;
    let mut world = state.world();
    world.client.keys = fetched.keys;
    world.client.key(kid).ok_or(NotTheClient::Untrue("the client assertion is signed with an unknown key"))
}
