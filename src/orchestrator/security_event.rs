//! Telling an orchestrator what became of an account of its user: a signed security event (SET, RFC 8417), pushed as RFC
//! 8935 says. Off until the operator sets an address: `portreeve orchestrator stream set`.

use serde_json::{Value, json};

use super::notify::{Courier, SUSPENDED_WAIT};
use super::stream::{StreamSettings, StreamToken};
use super::{Orchestrator, stream_store};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::fetch::{Incoming, Outgoing};
use crate::ids::{AccountId, OrchestratorId};
use crate::outbox::{self, Delivery, Try};
use crate::signing::{Algorithm, KeyPurpose, SigningError};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountEvent {
    /// Nothing works any more (RISC `account-disabled`).
    Frozen,
    /// It works again (RISC `account-enabled`).
    Thawed,
    /// Its human has taken it over; what agents had for it before is void.
    Claimed,
    /// Its human says that they did not ask for it.
    Disputed,
}

impl AccountEvent {
    const ALL: [Self; 4] = [Self::Frozen, Self::Thawed, Self::Claimed, Self::Disputed];

    /// The kind in the outbox.
    fn kind(self) -> &'static str {
        match self {
            Self::Frozen => "security.account_frozen",
            Self::Thawed => "security.account_thawed",
            Self::Claimed => "security.account_claimed",
            Self::Disputed => "security.account_disputed",
        }
    }

    /// The event's identifier in the SET. What RISC has no event for is an URN of ours.
    fn uri(self) -> &'static str {
        match self {
            Self::Frozen => "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
            Self::Thawed => "https://schemas.openid.net/secevent/risc/event-type/account-enabled",
            Self::Claimed => "urn:portreeve:security-event:account-claimed",
            Self::Disputed => "urn:portreeve:security-event:account-disputed",
        }
    }
}

/// Whether an event of the outbox is sent as a SET.
pub(super) fn is_one(kind: &str) -> bool {
    AccountEvent::ALL.into_iter().any(|event| event.kind() == kind)
}

/// Tells an orchestrator of `event`, once for each of its people `subjects` (tenant, subject) behind the account. Where the
/// operator set no address, nothing is appended. Call it inside the transaction that makes it true.
///
/// # Errors
/// When the database fails; the caller's transaction is then undone.
pub fn tell(
    conn: &mut DbConnection,
    event: AccountEvent,
    (orchestrator, subjects): (&OrchestratorId, &[(String, String)]),
    account: &AccountId,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    if !stream_store::sends(conn, orchestrator)? {
        return Ok(());
    }
    for (tenant, subject) in subjects {
        let payload = json!({"event": event.uri(), "tenant": tenant, "subject": subject, "account": account});
        outbox::send_to(conn, event.kind(), orchestrator, account, &payload, now)?;
    }
    Ok(())
}

/// Signs the event and pushes it.
pub(super) async fn send(
    courier: &Courier,
    due: &Delivery,
    known: (Option<Orchestrator>, Option<StreamSettings>),
    now: Timestamp,
) -> Try {
    let (Some(orchestrator), Some(stream)) = known else { return Try::Nobody };
    let Some(url) = stream.send_url.clone() else { return Try::Nobody };
    if orchestrator.suspended_at.is_some() {
        return Try::Later(now.plus(SUSPENDED_WAIT));
    }
    let token = match stream.open_token(&courier.sealer, StreamToken::Send) {
        Ok(token) => token,
        Err(error) => return Try::Failed(error.to_string()),
    };
    let set = match signed(courier, due, &orchestrator) {
        Ok(Some(set)) => set,
        Ok(None) => return Try::Refused("the event says nothing".to_owned()),
        Err(error) => return Try::Failed(error.to_string()),
    };
    let mut outgoing =
        Outgoing::post(url, "application/secevent+jwt", set.into_bytes()).header("accept", "application/json");
    if let Some(token) = token {
        outgoing = outgoing.bearer(&token);
    }
    match courier.fetch.send(outgoing).await {
        Ok(answer) if (200..300).contains(&answer.status) => Try::Delivered,
        Ok(answer) => Try::Failed(refusal(&answer)),
        Err(error) => Try::Failed(error.to_string()),
    }
}

/// RFC 8935 §2.3: a refusal says why in `err`.
fn refusal(answer: &Incoming) -> String {
    let body: Option<Value> = answer.json().ok();
    let err = body.as_ref().and_then(|body| body.get("err")).and_then(Value::as_str).unwrap_or("no reason");
    let err: String = err.chars().filter(char::is_ascii_graphic).take(60).collect();
    format!("it answered {}: {err}", answer.status)
}

fn signed(courier: &Courier, due: &Delivery, orchestrator: &Orchestrator) -> Result<Option<String>, SigningError> {
    let said: Value = serde_json::from_str(&due.payload)?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    let (event, tenant, subject) = (text("event"), text("tenant"), text("subject"));
    if event.is_empty() || subject.is_empty() {
        return Ok(None);
    }
    let user = json!({"format": "iss_sub", "iss": orchestrator.issuer.as_str(), "sub": subject});
    let sub_id = if tenant.is_empty() {
        user
    } else {
        json!({"format": "complex", "user": user, "tenant": {"format": "opaque", "id": tenant}})
    };
    let what = json!({"event_timestamp": due.created_at.seconds()});
    let claims = json!({
        "iss": courier.issuer, "aud": orchestrator.issuer.as_str(), "iat": due.created_at.seconds(),
        "jti": due.event_id, "sub_id": sub_id, "events": {event: what},
    });
    let key = courier.ring.key(KeyPurpose::SecurityEvent, Algorithm::Es256)?;
    key.sign_compact("secevent+jwt", &claims).map(Some)
}
