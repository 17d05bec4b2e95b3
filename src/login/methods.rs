//! Who logs in to an account and who did, for its owner to take along.

use super::store::{self, KnownSession};
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

/// The upstream log-ins of an account, oldest first, at most 100.
///
/// # Errors
/// When the database fails.
pub fn upstream_links(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<UpstreamLink>, DbError> {
    let rows = store::upstream_links(conn, account)?;
    Ok(rows.into_iter().map(|(issuer, subject, created_at)| UpstreamLink { issuer, subject, created_at }).collect())
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
