//! Telling orchestrators of events: signed as Standard Webhooks prescribes (`webhook-id`, `webhook-timestamp`,
//! `webhook-signature`). The id stays the same however often an event is sent, so that a receiver can tell.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::{Orchestrator, WireSettings, by_id, security_event, stream_of, wire_of};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError};
use crate::fetch::{Fetch, Outgoing};
use crate::ids::OrchestratorId;
use crate::outbox::{self, Delivery, Try};
use crate::secret::NoRandomness;
use crate::signing::{KeyRing, Sealer};

/// How many are sent at once.
const AT_ONCE: i64 = 16;
/// How long a suspended orchestrator is left alone before it is looked at again.
pub(super) const SUSPENDED_WAIT: TimeDelta = TimeDelta::hours(1);

/// The secret that signs notifications to one orchestrator: `whsec_` and base64, as receivers' libraries want it.
#[derive(Debug)]
pub enum NotificationSecret {}

impl NotificationSecret {
    /// A new one, of 32 random bytes.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Zeroizing<String>, NoRandomness> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_unspecified| NoRandomness)?;
        Ok(Zeroizing::new(format!("whsec_{}", STANDARD.encode(bytes.as_slice()))))
    }

    /// Where it is kept: it opens nowhere else.
    #[must_use]
    pub fn place(orchestrator: &OrchestratorId) -> String {
        format!("wire_settings/{orchestrator}/notification_secret")
    }
}

/// What delivering needs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Courier {
    /// The database.
    pub db: Db,
    /// The outgoing client.
    pub fetch: Fetch,
    /// Opens the secrets.
    pub sealer: Arc<Sealer>,
    /// Signs security events.
    pub ring: Arc<KeyRing>,
    /// Our issuer identifier.
    pub issuer: String,
}

/// Sends what is due, each to its orchestrator, and records how it ended. Answers how many were tried.
///
/// # Errors
/// When the database fails; what was sent and could not be recorded is sent again.
pub async fn deliver_due(courier: &Courier, clock: &dyn Clock) -> Result<usize, DbError> {
    let now = clock.now();
    let due = courier.db.read(move |conn| outbox::due(conn, now, AT_ONCE)).await?;
    let tried = futures_util::future::join_all(due.into_iter().map(|one| deliver(courier, one, clock))).await;
    let tried = tried.into_iter().collect::<Result<Vec<bool>, DbError>>()?;
    Ok(tried.into_iter().filter(|claimed| *claimed).count())
}

async fn deliver(courier: &Courier, due: Delivery, clock: &dyn Clock) -> Result<bool, DbError> {
    let now = clock.now();
    let (lane, seen) = (due.orchestrator_id.clone(), due.clone());
    let claimed = courier.db.write(lane.as_str(), move |conn| Ok::<_, DbError>(outbox::claim(conn, &seen, now)?));
    if !claimed.await? {
        return Ok(false);
    }
    let id = due.orchestrator_id.clone();
    let ended = if security_event::is_one(&due.kind) {
        let known = courier.db.read(move |conn| Ok::<_, DbError>((by_id(conn, &id)?, stream_of(conn, &id)?))).await?;
        security_event::send(courier, &due, known, now).await
    } else {
        let known = courier.db.read(move |conn| Ok::<_, DbError>((by_id(conn, &id)?, wire_of(conn, &id)?))).await?;
        send(courier, &due, known, now).await
    };
    if let Try::Failed(reason) | Try::Refused(reason) = &ended {
        tracing::warn!(event = %due.event_id, orchestrator = %due.orchestrator_id, reason, "a notification was not taken");
    }
    let now = clock.now();
    let recorded =
        courier.db.write(lane.as_str(), move |conn| Ok::<_, DbError>(outbox::record(conn, &due, &ended, now)?));
    recorded.await?;
    Ok(true)
}

async fn send(
    courier: &Courier,
    due: &Delivery,
    known: (Option<Orchestrator>, Option<WireSettings>),
    now: Timestamp,
) -> Try {
    let (Some(orchestrator), Some(settings)) = known else { return Try::Nobody };
    let (Some(url), Some(sealed)) = (settings.notification_url, settings.sealed_notification_secret) else {
        return Try::Nobody;
    };
    if orchestrator.suspended_at.is_some() {
        return Try::Later(now.plus(SUSPENDED_WAIT));
    }
    let secret = match courier.sealer.open(&NotificationSecret::place(&orchestrator.id), &sealed) {
        Ok(secret) => secret,
        Err(error) => return Try::Failed(error.to_string()),
    };
    let Some(outgoing) = signed(url, due, &secret, now) else {
        return Try::Failed("the secret is not `whsec_` and base64".to_owned());
    };
    match courier.fetch.send(outgoing).await {
        Ok(answer) if (200..300).contains(&answer.status) => Try::Delivered,
        Ok(answer) if answer.status == 410 => Try::Refused("it answered 410: gone".to_owned()),
        Ok(answer) => Try::Failed(format!("it answered {}", answer.status)),
        Err(error) => Try::Failed(error.to_string()),
    }
}

/// The call. The body is `{"type", "timestamp", "data"}`.
fn signed(url: Url, due: &Delivery, secret: &[u8], now: Timestamp) -> Option<Outgoing> {
    let data: Value = serde_json::from_str(&due.payload).ok()?;
    let body = json!({"type": due.kind, "timestamp": due.created_at, "data": data}).to_string();
    let (id, at) = (due.event_id.as_str(), now.seconds().to_string());
    let signature = signature(secret, id, &at, body.as_bytes())?;
    let outgoing = Outgoing::post(url, "application/json", body.into_bytes());
    Some(outgoing.header("webhook-id", id).header("webhook-timestamp", at).header("webhook-signature", signature))
}

/// `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, under the bytes that the secret's base64 stands for.
fn signature(secret: &[u8], id: &str, at: &str, body: &[u8]) -> Option<String> {
    let key = Zeroizing::new(STANDARD.decode(secret.strip_prefix(b"whsec_")?).ok()?);
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
        context.update(part);
    }
    Some(format!("v1,{}", STANDARD.encode(context.sign().as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_standard_webhooks_is_met() {
        let secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(made.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(signature(b"MfKQ", "a", "1", b""), None);
        let generated = NotificationSecret::generate().unwrap();
        assert!(signature(generated.as_bytes(), "a", "1", b"").is_some());
    }
}
