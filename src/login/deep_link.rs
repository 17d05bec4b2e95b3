//! One-use log-in links.

use chrono::TimeDelta;
use serde_json::json;

use super::session::{self, Authentication, Method, NewSession};
use super::store;
use crate::account::{self, AdmitError, AgentKey, Barred};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency::{self, KeyReused, Keyed, NewKey};
use crate::ids::AccountId;
use crate::secret::{Secret, SecretHash};

/// How long a link works.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Why there is no link, or it does not work.
#[derive(Debug, thiserror::Error)]
pub enum DeepLinkError {
    /// Unknown, used or expired: which of them is nobody's business.
    #[error("the link was used, expired or never existed")]
    Spent,
    /// The owner barred the agent, or the account was claimed a moment ago.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The key belongs to another request.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<AdmitError> for DeepLinkError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Barred(barred) => Self::Barred(barred),
            AdmitError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for DeepLinkError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A link about to be made; secret and sealed answer are made before the transaction.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// For whose dashboard, by whom.
    pub agent: AgentKey,
    /// Of the link's secret.
    pub hash: SecretHash,
    /// The request.
    pub keyed: Keyed,
    /// Its answer, sealed, for retries.
    pub sealed_answer: String,
}

/// Makes a link; a retry under the same key answers the sealed answer of the first. Call it inside `Db::write`.
///
/// # Errors
/// When the agent was barred, the key was used for something else, or the database fails.
pub fn make(conn: &mut DbConnection, link: &NewLink, now: Timestamp) -> Result<Option<String>, DeepLinkError> {
    let account = &link.agent.account_id;
    if let Some(done) = idempotency::find(conn, account, &link.keyed, now)? {
        return Ok(done.same(&link.keyed)?.sealed_answer);
    }
    let key = NewKey {
        account_id: account,
        keyed: &link.keyed,
        subject: None,
        sealed_answer: Some(&link.sealed_answer),
        lifetime: idempotency::LIFETIME,
    };
    idempotency::insert(conn, &key, now)?;
    // Whoever was barred since the token was looked at comes too late.
    let agent = account::act(conn, &link.agent, now)?;
    store::insert_link(conn, &link.hash, account, now, now.plus(LIFETIME))?;
    // Its owner reads it under what this agent did.
    record(conn, (account, format!("agent:{}", agent.id)), "dashboard.link_made", now)?;
    Ok(None)
}

/// Whether a link can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It works, once.
    Usable,
    /// It was used, expired, or never existed.
    Spent,
}

/// Looks at a link without using it: mail scanners and previews open links too.
///
/// # Errors
/// When the database fails.
pub fn state(conn: &mut DbConnection, presented: &Secret, now: Timestamp) -> Result<LinkState, DbError> {
    let usable = store::link_is_usable(conn, &presented.hash(), now)?;
    Ok(if usable { LinkState::Usable } else { LinkState::Spent })
}

/// Uses a link up and begins a session under `session_hash`. Call it inside `Db::write`.
///
/// # Errors
/// When the link does not work, or the database fails.
pub fn redeem(
    conn: &mut DbConnection,
    presented: &SecretHash,
    session_hash: &SecretHash,
    now: Timestamp,
) -> Result<AccountId, DeepLinkError> {
    let account = store::use_link(conn, presented, now)?.ok_or(DeepLinkError::Spent)?;
    let session = NewSession {
        hash: session_hash.clone(),
        account: account.clone(),
        authentication: Authentication { method: Method::DeepLink, at: now },
        replaces: None,
    };
    session::begin(conn, &session, now)?;
    record(conn, (&account, format!("account:{account}")), "dashboard.opened", now)?;
    Ok(account)
}

fn record(
    conn: &mut DbConnection,
    (account, actor): (&AccountId, String),
    action: &'static str,
    now: Timestamp,
) -> Result<(), DeepLinkError> {
    let fact = Fact { actor, action, account_id: Some(account), subject: account.to_string(), detail: json!({}) };
    Ok(audit::append(conn, &fact, now)?)
}
