//! An account becomes its human's own. What was believed about it on somebody's word alone ends here: an address that
//! nobody proved, and what orchestrators may do without having been allowed to.

use super::claim_store as rows;
use super::freeze::tell;
use super::{Account, AccountState, store};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::orchestrator;
use crate::orchestrator::security_event::AccountEvent;

/// Why an account was not claimed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody claimed it before, or at this moment; or it is frozen or closed.
    #[error("the account is {0} and cannot be claimed")]
    State(&'static str),
    /// There is no such account.
    #[error("there is no such account")]
    Unknown,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for ClaimError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// An orchestrator through which an account is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Which.
    pub orchestrator_id: OrchestratorId,
    /// Since when.
    pub since: Timestamp,
    /// What the owner allowed, as it is written. `None`: nobody was asked.
    pub scopes: Option<String>,
}

/// A provisional account becomes active, claimed by `method` at `now`: of many who try, one. Call it first in the
/// transaction: whoever gives anything on the account waits for it, or it for them.
///
/// # Errors
/// See [`ClaimError`].
pub fn claim(conn: &mut DbConnection, id: &AccountId, method: &str, now: Timestamp) -> Result<(), ClaimError> {
    let active = AccountState::Active { since: now };
    if !store::change_state(conn, id, AccountState::Provisional, active, now)? {
        let account = store::by_id(conn, id)?.ok_or(ClaimError::Unknown)?;
        return Err(ClaimError::State(account.state.as_str()));
    }
    rows::insert(conn, id, method, now)?;
    Ok(tell(conn, id, AccountEvent::Claimed, now)?)
}

/// When the account was claimed. `None`: never, or before that was recorded.
///
/// # Errors
/// When the database fails.
pub fn claimed_at(conn: &mut DbConnection, id: &AccountId) -> Result<Option<Timestamp>, DbError> {
    Ok(rows::claimed_at(conn, id)?)
}

/// When the account was claimed by somebody who did not prove to read its mailbox. `None`: it was not.
///
/// # Errors
/// When the database fails.
pub fn claimed_without_mailbox_at(conn: &mut DbConnection, id: &AccountId) -> Result<Option<Timestamp>, DbError> {
    Ok(rows::claimed_without_mailbox_at(conn, id)?)
}

/// Whether whoever claimed the account proved that they read its mailbox.
///
/// # Errors
/// When the database fails.
pub fn is_mailbox_proved(conn: &mut DbConnection, id: &AccountId) -> Result<bool, DbError> {
    Ok(claimed_at(conn, id)?.is_some() && claimed_without_mailbox_at(conn, id)?.is_none())
}

/// Whether the account still is in the state in which it was seen: before something is given on an account that nobody
/// has claimed, so that a claim at this moment comes before, or after and ends it. A claimed account is not locked.
///
/// # Errors
/// When the database fails.
pub fn is_as_seen(conn: &mut DbConnection, id: &AccountId, claimed: bool) -> Result<bool, DbError> {
    if claimed { Ok(true) } else { Ok(rows::hold_provisional(conn, id)?) }
}

/// Whether an account that was read in this transaction is in the state in which it was seen before, and stays in it.
pub(super) fn stays_as_seen(conn: &mut DbConnection, account: &Account, claimed: bool) -> Result<bool, DbError> {
    if account.is_claimed() != claimed {
        return Ok(false);
    }
    match conn {
        DbConnection::Postgres(_) => is_as_seen(conn, &account.id, claimed),
        // It has one writer, and this is a part of what it does.
        DbConnection::Sqlite(_) => Ok(true),
    }
}

/// The account that the issuer, as an orchestrator that is believed, named for a person of its own (of no tenant).
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn named_by(conn: &mut DbConnection, issuer: &str, subject: &str) -> Result<Option<Account>, DbError> {
    match orchestrator::by_issuer(conn, issuer)?.filter(|known| known.suspended_at.is_none()) {
        Some(known) => store::by_link(conn, &known.id, "", subject),
        None => Ok(None),
    }
}

/// Through whom the account is reached, oldest first; at most 64.
///
/// # Errors
/// When the database fails.
pub fn reached_through(conn: &mut DbConnection, id: &AccountId) -> Result<Vec<Reach>, DbError> {
    Ok(rows::reached_through(conn, id)?)
}

/// From now on an orchestrator may do on the account what its owner allows: `scopes`, as scopes are written. Nothing when
/// empty.
///
/// # Errors
/// When the database fails.
pub fn allow_through(
    conn: &mut DbConnection,
    (id, orchestrator): (&AccountId, &OrchestratorId),
    scopes: &str,
) -> Result<(), DbError> {
    Ok(rows::allow_through(conn, (id, orchestrator), scopes)?)
}

/// Takes the address off an account: nobody proved that it is its human's, and a mailbox opens accounts.
///
/// # Errors
/// When the database fails.
pub fn drop_address(conn: &mut DbConnection, id: &AccountId) -> Result<(), DbError> {
    Ok(rows::drop_address(conn, id)?)
}

impl Account {
    /// Whether its human has claimed it: only then anything that lasts may be given or added.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        matches!(self.state, AccountState::Active { .. })
    }
}
