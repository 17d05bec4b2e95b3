//! What providers tell the orchestrator: Standard Webhooks, verified and written down once.

use actix_web::{HttpRequest, HttpResponse, web};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operator::operator;
use super::registry::Kept;
use super::settlement::problem;
use super::state::State;
use crate::clock::Timestamp;

/// How far the time stamp may be from now, both ways, in seconds.
const TOLERANCE: u64 = 300;
/// The most notices that are kept.
const MOST: usize = 10_000;

/// A notification that was believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Notice {
    /// `webhook-id`.
    pub(super) id: String,
    pub(super) provider: String,
    pub(super) body: Value,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    /// How often it arrived.
    pub(super) deliveries: u32,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/notifications", web::post().to(from_anybody))
        .route("/notifications", web::get().to(list))
        .route("/notifications/{provider}", web::post().to(from_one));
}

async fn from_anybody(state: web::Data<State>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    receive(&state, None, &request, &body)
}

async fn from_one(
    state: web::Data<State>,
    provider: web::Path<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    receive(&state, Some(&provider), &request, &body)
}

fn receive(state: &State, named: Option<&str>, request: &HttpRequest, body: &[u8]) -> HttpResponse {
    let now = state.clock.now();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, at, signatures) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    if id.is_empty() || id.len() > 255 {
        return problem(400, "webhook_id_missing", "`webhook-id` names the notification.");
    }
    let fresh = at.parse::<i64>().is_ok_and(|at| at.abs_diff(now.seconds()) <= TOLERANCE);
    if !fresh {
        return problem(401, "timestamp_invalid", "`webhook-timestamp` is missing or more than five minutes off.");
    }
    let mut world = state.world();
    let signed = |secret: &Kept| fits(secret, id, at, body, signatures);
    let provider = world
        .providers
        .values()
        .find(|provider| named.is_none_or(|named| provider.name == named) && signed(&provider.notification_secret));
    let Some(provider) = provider.map(|provider| provider.name.clone()) else {
        return problem(401, "signature_invalid", "No signature is that of a known provider.");
    };
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return problem(400, "body_invalid", "A notification is JSON.");
    };
    let notice = match world.notices.get(id) {
        Some(known) => Notice { last_at: now, deliveries: known.deliveries.saturating_add(1), ..known.clone() },
        None if world.notices.len() >= MOST => return problem(503, "full", "There are too many notices to keep more."),
        None => Notice { id: id.to_owned(), provider, body, first_at: now, last_at: now, deliveries: 1 },
    };
    if let Err(error) = world.keep_notice(notice) {
        return problem(500, "not_kept", &error.to_string());
    }
    if world.faults.refuse_notifications > 0 {
        world.faults.refuse_notifications -= 1;
        return problem(500, "internal", "It was written down, and this answer does not say so.");
    }
    HttpResponse::NoContent().finish()
}

/// Whether one of the signatures is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. The key is what the
/// secret says in base64 after `whsec_`.
fn fits(secret: &Kept, id: &str, at: &str, body: &[u8], signatures: &str) -> bool {
    let encoded = secret.expose().strip_prefix("whsec_").unwrap_or(secret.expose());
    let Ok(key) = STANDARD.decode(encoded) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
    signatures
        .split_ascii_whitespace()
        .filter_map(|one| one.strip_prefix("v1,"))
        .filter_map(|one| STANDARD.decode(one).ok())
        .any(|mac| hmac::verify(&key, &signed, &mac).is_ok())
}

/// What was told, by id.
async fn list(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
    let world = state.world();
    HttpResponse::Ok().json(json!({"data": world.notices.values().collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_of_the_standard_fits_and_no_other() {
        // The example of the Standard Webhooks specification.
        let secret = Kept::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(fits(&secret, id, at, body, good));
        assert!(fits(&secret, id, at, body, &format!("v1a,x v1,AAAA {good}")));
        for (id, at, signature) in [("msg_other", at, good), (id, "1614265331", good), (id, at, ""), (id, at, "v1,")] {
            assert!(!fits(&secret, id, at, body, signature));
        }
    }
}
