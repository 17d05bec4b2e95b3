//! Browser sessions, in the database, so that ending one works at once and on every process.

use chrono::TimeDelta;

use super::store;
use crate::account::{self, Account};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::{Secret, SecretHash};

/// How long a session lasts.
pub const LIFETIME: TimeDelta = TimeDelta::hours(8);

/// A human at a browser, whose session was checked.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whose.
    pub account: Account,
    /// Names the session; its secret is in the cookie.
    pub hash: SecretHash,
}

pub(super) fn begin(
    conn: &mut DbConnection,
    hash: &SecretHash,
    account: &AccountId,
    expires_at: Timestamp,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    store::insert_session(conn, hash, account, now, expires_at)
}

/// The session of a cookie, if it is good and its account may be used.
///
/// # Errors
/// When the database fails.
pub fn find(conn: &mut DbConnection, presented: &Secret, now: Timestamp) -> Result<Option<Session>, DbError> {
    let hash = presented.hash();
    let Some(owner) = store::session_owner(conn, &hash, now)? else { return Ok(None) };
    let account = account::by_id(conn, &owner)?;
    Ok(account.filter(|account| account.state.is_usable()).map(|account| Session { account, hash }))
}

/// Ends a session. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end(conn: &mut DbConnection, session: &SecretHash, now: Timestamp) -> Result<(), DbError> {
    Ok(store::end_session(conn, session, now)?)
}
