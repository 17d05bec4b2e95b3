//! The keys of `Stripe-Signature-V2`: Ed25519, named, with an end; read by providers at `/v2/provisioning/public_keys`.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::JwksState;
use super::state::State;
use crate::clock::Timestamp;
use crate::signing::{Algorithm, KeyPurpose, SigningError, SigningKey};

/// How long a key signs.
const SIGNS_FOR: TimeDelta = TimeDelta::days(30);
/// How long a key stays published after it was replaced: longer than anybody may cache the set.
const STAYS_FOR: TimeDelta = TimeDelta::minutes(15);

/// As it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct KeptKey {
    pkcs8: String,
    expires_at: Timestamp,
}

/// The newest signs.
#[derive(Default)]
pub(super) struct V2Keys {
    keys: Vec<(SigningKey, KeptKey)>,
}

/// What is to be done to the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum V2Order {
    /// Sign with a new key; the one before stays published for 15 minutes.
    Rotate,
    /// Go on signing with a key that is published as expired.
    Expire,
    /// Sign with a new key and publish no other: what is cached is wrong.
    Replace,
    /// Sign with a new key that is never published.
    Hide,
}

impl V2Keys {
    /// Reads what [`Self::kept`] wrote.
    pub(super) fn restore(kept: &Value) -> Result<Self, SigningError> {
        let kept: Vec<KeptKey> = serde_json::from_value(kept.clone())?;
        let keys = kept.into_iter().map(|kept| {
            let pkcs8 = URL_SAFE_NO_PAD.decode(&kept.pkcs8).map_err(|_bad| SigningError::Key)?;
            Ok((SigningKey::from_pkcs8(KeyPurpose::AccessToken, Algorithm::EdDsa, &pkcs8)?, kept))
        });
        Ok(Self { keys: keys.collect::<Result<_, SigningError>>()? })
    }

    pub(super) fn kept(&self) -> Result<Value, SigningError> {
        Ok(serde_json::to_value(self.keys.iter().map(|(_, kept)| kept).collect::<Vec<_>>())?)
    }

    /// The key that signs; `None` before the first [`V2Order::Rotate`], or when it expired.
    pub(super) fn signing(&self) -> Option<&SigningKey> {
        self.keys.last().map(|(key, _)| key)
    }

    /// Whether there is a key that signs for some time yet, or one that was expired on order.
    pub(super) fn lasts(&self, now: Timestamp) -> bool {
        let on_order = |at: Timestamp| at.seconds() <= 1;
        self.keys.last().is_some_and(|(_, kept)| kept.expires_at > now || on_order(kept.expires_at))
    }

    pub(super) fn carry_out(&mut self, order: V2Order, now: Timestamp) -> Result<(), SigningError> {
        if order == V2Order::Expire {
            if let Some((_, kept)) = self.keys.last_mut() {
                kept.expires_at = Timestamp::from_seconds(0);
            }
            return Ok(());
        }
        // The purposes are those of the provider's ring, in which this key never is.
        let (key, pkcs8) = SigningKey::generate(KeyPurpose::AccessToken, Algorithm::EdDsa)?;
        for (_, kept) in &mut self.keys {
            kept.expires_at = kept.expires_at.min(now.plus(STAYS_FOR));
        }
        if order != V2Order::Rotate {
            self.keys.clear();
        }
        self.keys.retain(|(_, kept)| kept.expires_at > now);
        let expires_at = if order == V2Order::Hide { Timestamp::from_seconds(1) } else { now.plus(SIGNS_FOR) };
        self.keys.push((key, KeptKey { pkcs8: URL_SAFE_NO_PAD.encode(pkcs8), expires_at }));
        Ok(())
    }

    /// The set as providers read it.
    pub(super) fn published(&self) -> Value {
        let hidden = Timestamp::from_seconds(1);
        let shown = self.keys.iter().filter(|(_, kept)| kept.expires_at != hidden).map(|(key, kept)| {
            let public = serde_json::to_value(key.public()).unwrap_or_default();
            let x = public.get("x").cloned().unwrap_or_default();
            json!({"kid": key.kid(), "kty": "OKP", "crv": "Ed25519", "x": x, "expires_at": kept.expires_at})
        });
        json!({"public_keys": shown.collect::<Vec<_>>()})
    }
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/v2/provisioning/public_keys", web::get().to(public_keys));
}

/// With the token that the provider was given.
async fn public_keys(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let world = state.world();
    let token = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !world.providers.values().any(|provider| provider.reads_keys_with(token)) {
        let body =
            json!({"error": {"code": "unauthorized", "message": "The token is none that a provider was given."}});
        return HttpResponse::Unauthorized().insert_header(("www-authenticate", "Bearer")).json(body);
    }
    match world.faults.public_keys {
        JwksState::Working => HttpResponse::Ok().json(world.v2.published()),
        JwksState::Broken => HttpResponse::Ok().content_type("application/json").body("{\"public_keys\": [{"),
        JwksState::Down => HttpResponse::ServiceUnavailable().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn kids(keys: &V2Keys) -> Vec<String> {
        let published = keys.published();
        let listed = published["public_keys"].as_array().unwrap();
        listed.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_replaced_key_stays_published_for_a_while_and_a_restart_keeps_both() {
        let mut keys = V2Keys::default();
        keys.carry_out(V2Order::Rotate, NOW).unwrap();
        let first = keys.signing().unwrap().kid().to_owned();
        keys.carry_out(V2Order::Rotate, NOW).unwrap();
        assert_eq!(kids(&keys)[0], first);
        assert_ne!(keys.signing().unwrap().kid(), first);
        let restored = V2Keys::restore(&keys.kept().unwrap()).unwrap();
        assert_eq!(kids(&restored), kids(&keys));
        keys.carry_out(V2Order::Rotate, NOW.plus(TimeDelta::hours(1))).unwrap();
        assert!(!kids(&keys).contains(&first));
    }

    #[test]
    fn a_hidden_key_signs_and_is_not_published_and_an_expired_one_is_published_as_such() {
        let mut keys = V2Keys::default();
        keys.carry_out(V2Order::Hide, NOW).unwrap();
        assert!(kids(&keys).is_empty() && keys.signing().is_some());
        keys.carry_out(V2Order::Replace, NOW).unwrap();
        keys.carry_out(V2Order::Expire, NOW).unwrap();
        assert_eq!(keys.published()["public_keys"][0]["expires_at"], "1970-01-01T00:00:00Z");
        assert!(keys.lasts(NOW), "it goes on signing on order");
    }
}
