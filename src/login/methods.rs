//! Ways in to an account that its owner takes away, and all of them at once when the account ends.

use serde_json::json;

use super::passkey::WaysIn;
use super::store::{self, KnownSession};
use crate::account;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

/// A person of an upstream issuer who logs in to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLink {
    /// The issuer.
    pub issuer: String,
    /// The person there.
    pub subject: String,
    /// Since when they are known.
    pub created_at: Timestamp,
}

/// Why a way in was not removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// There is no such way in.
    #[error("the account has no such log-in")]
    Unknown,
    /// Nothing else opens the account.
    #[error("this is the only way in to the account")]
    LastWayIn,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for MethodError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The upstream log-ins of an account, oldest first, at most 100.
///
/// # Errors
/// When the database fails.
pub fn upstream_links(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<UpstreamLink>, DbError> {
    let rows = store::upstream_links(conn, account)?;
    Ok(rows.into_iter().map(|(issuer, subject, created_at)| UpstreamLink { issuer, subject, created_at }).collect())
}

/// Removes an upstream log-in, unless nothing else opens the account. Call it inside `Db::write`.
///
/// # Errors
/// See [`MethodError`].
pub fn remove_upstream(
    conn: &mut DbConnection,
    account: &AccountId,
    (issuer, subject): (&str, &str),
    ways: WaysIn,
    now: Timestamp,
) -> Result<(), MethodError> {
    // Two who remove the last two wait for each other.
    store::lock_account(conn, account)?;
    let found = account::by_id(conn, account)?.ok_or(MethodError::Unknown)?;
    let others = store::upstream_links(conn, account)?;
    let others = others.iter().filter(|(known, person, _)| (known.as_str(), person.as_str()) != (issuer, subject));
    let by_upstream = ways.upstream && others.count() > 0;
    let by_mail = ways.mail && found.email.is_some();
    if !by_mail && !by_upstream && store::passkeys(conn, account)?.is_empty() {
        return Err(MethodError::LastWayIn);
    }
    if !store::delete_upstream(conn, account, issuer, subject)? {
        return Err(MethodError::Unknown);
    }
    let fact = Fact {
        actor: format!("user:{account}"),
        action: "upstream.removed",
        account_id: Some(account),
        subject: account.to_string(),
        detail: json!({"issuer": issuer}),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// Ends every session of an account, and every link to it that was not used. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end_all(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<(), DbError> {
    Ok(store::end_all(conn, account, now)?)
}

/// Forgets passkeys and upstream log-ins of an account that has ended. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn forget_methods(conn: &mut DbConnection, account: &AccountId) -> Result<(), DbError> {
    Ok(store::delete_methods(conn, account)?)
}

/// Sessions of an account, oldest first: `limit` after the first `skip`.
///
/// # Errors
/// When the database fails.
pub fn sessions_of(
    conn: &mut DbConnection,
    account: &AccountId,
    page: (i64, i64),
) -> Result<Vec<KnownSession>, DbError> {
    Ok(store::sessions_of(conn, account, page)?)
}
