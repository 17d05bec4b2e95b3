//! Closing an account, by its owner. It ends at once for everybody, and is `closed` when all that was in it has ended.
//!
//! The rule for coming back: nobody takes a closed account up again. What names its person here, the address, log-in
//! methods and what orchestrators passed on, is forgotten when it is closed; the links to orchestrators only
//! [`KEPT_LINKS`] later. Until then an attestation of the same person is refused, so that an agent does not open at once
//! what its human has closed; after that it opens a new, empty account like a stranger's. Ledger and audit trail stay.

use chrono::TimeDelta;
use serde_json::json;

use super::{AccountState, InvalidTransition, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::outbox;

/// For how long after closing the same person opens no new account.
pub const KEPT_LINKS: TimeDelta = TimeDelta::days(30);

/// Why an account does not begin to close.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// There is no such account.
    #[error("there is no account `{0}`")]
    Unknown(AccountId),
    /// It is closed, or closing, already.
    #[error(transparent)]
    State(#[from] InvalidTransition),
    /// Somebody changed it at the same moment; nothing was done.
    #[error("the account was changed at the same moment")]
    Changed,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for CloseError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The account begins to close: from now on it cannot be used. What is in it is for the caller to end. Call it inside
/// `Db::write`.
///
/// # Errors
/// See [`CloseError`].
pub fn begin_closing(conn: &mut DbConnection, id: &AccountId, now: Timestamp) -> Result<(), CloseError> {
    let account = store::by_id(conn, id)?.ok_or_else(|| CloseError::Unknown(id.clone()))?;
    let closing = account.state.begin_closing(now)?;
    if !store::change_state(conn, id, account.state, closing, now)? {
        return Err(CloseError::Changed);
    }
    Ok(record(conn, id, "account.closing", now)?)
}

/// Everything in it has ended: it is closed, and its orchestrators are told. `false`: it was not closing. Call it inside
/// `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn finish_closing(conn: &mut DbConnection, id: &AccountId, now: Timestamp) -> Result<bool, DbError> {
    let Some(account) = store::by_id(conn, id)? else { return Ok(false) };
    let AccountState::Closing { .. } = account.state else { return Ok(false) };
    let Ok(closed) = account.state.close(now) else { return Ok(false) };
    if !store::change_state(conn, id, account.state, closed, now)? {
        return Ok(false);
    }
    let told = json!({"account": {"id": id, "state": closed.as_str()}});
    for orchestrator in store::linked_orchestrators(conn, id)? {
        outbox::notify(conn, "account.closed", &orchestrator, id, &told, now)?;
    }
    store::forget_address(conn, id)?;
    super::information_store::forget(conn, id)?;
    record(conn, id, "account.closed", now)?;
    Ok(true)
}

/// Accounts that are closing, by id, at most `limit`, after `after`: one that waits for somebody is in nobody's way.
///
/// # Errors
/// When the database fails.
pub fn closing(conn: &mut DbConnection, after: Option<&AccountId>, limit: i64) -> Result<Vec<AccountId>, DbError> {
    Ok(store::in_state(conn, "closing", after, limit)?)
}

/// Forgets who the closed accounts were at their orchestrators, [`KEPT_LINKS`] after they were closed; at most `limit`
/// links. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn release_closed(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<usize, DbError> {
    Ok(store::delete_links_closed_before(conn, now.minus(KEPT_LINKS), limit)?)
}

fn record(conn: &mut DbConnection, id: &AccountId, action: &'static str, now: Timestamp) -> Result<(), DbError> {
    let actor = if action == "account.closing" { format!("user:{id}") } else { "system".to_owned() };
    let fact = Fact { actor, action, account_id: Some(id), subject: id.to_string(), detail: json!({}) };
    Ok(audit::append(conn, &fact, now)?)
}
