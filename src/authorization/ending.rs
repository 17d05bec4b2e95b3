//! The end of everything that was ever given for one account.

use super::ending_store as rows;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

/// Ends every consent, grant, refresh token, code and open question of an account. Access tokens end with their grants,
/// on every process within a second. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end_everything_of(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<(), DbError> {
    rows::revoke_consents(conn, account, now)?;
    rows::revoke_refresh_tokens(conn, account, now)?;
    rows::use_up_codes(conn, account, now)?;
    rows::revoke_grants(conn, account, now)?;
    Ok(rows::close_questions(conn, account, now)?)
}
