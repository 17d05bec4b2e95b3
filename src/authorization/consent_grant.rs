//! What a human allowed a client. Every token that came of it ends with it, on every process within a second.

use serde_json::json;

use super::access_token::LogIn;
use super::consent_store;
use super::request::Detail;
use super::scope::Scopes;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ConsentId, OrchestratorId};

/// How many consents are ended in one piece of work.
const PIECE: i64 = 500;

/// What a human allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Names it.
    pub id: ConsentId,
    /// On which account.
    pub account_id: AccountId,
    /// Through whom the account was opened: its payment tokens and its cap are used.
    pub orchestrator_id: OrchestratorId,
    /// To which client.
    pub client: String,
    /// What that client said of itself then: [`super::Client::digest`].
    pub client_digest: String,
    /// For which API.
    pub resource: String,
    /// What.
    pub scopes: Scopes,
    /// Within which limits.
    pub details: Vec<Detail>,
    /// How the human had logged in.
    pub log_in: LogIn,
    /// When.
    pub created_at: Timestamp,
    /// Since when it is taken back.
    pub revoked_at: Option<Timestamp>,
}

/// Takes a consent back, with every token that came of it. Answers whether this call did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn revoke_consent(
    conn: &mut DbConnection,
    id: &ConsentId,
    (actor, reason): (&str, &str),
    now: Timestamp,
) -> Result<bool, DbError> {
    let Some(account) = consent_store::revoke(conn, id, now)? else { return Ok(false) };
    let fact = Fact {
        actor: actor.to_owned(),
        action: "consent.revoked",
        account_id: Some(&account),
        subject: id.to_string(),
        detail: json!({"reason": reason}),
    };
    audit::append(conn, &fact, now)?;
    Ok(true)
}

/// Takes back whatever anybody allowed a client that is gone.
pub(super) fn revoke_client(conn: &mut DbConnection, client: &str, now: Timestamp) -> Result<(), DbError> {
    loop {
        let living = consent_store::living_of(conn, client, PIECE)?;
        for id in &living {
            revoke_consent(conn, id, ("operator", "the client was removed"), now)?;
        }
        if i64::try_from(living.len()).is_ok_and(|count| count < PIECE) {
            break;
        }
    }
    // What it got for itself.
    Ok(consent_store::revoke_grants_of(conn, client, now)?)
}
