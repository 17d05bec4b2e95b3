//! Ending the sessions and links of many accounts at once.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::schema::{deep_links, sessions};
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

/// Ends the sessions of these accounts that began since `since`, and the links made since then that nobody used. Answers
/// how many. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end_since(
    conn: &mut DbConnection,
    accounts: &[AccountId],
    since: Timestamp,
    now: Timestamp,
) -> Result<usize, DbError> {
    let links = deep_links::table
        .filter(deep_links::account_id.eq_any(accounts))
        .filter(deep_links::created_at.ge(since))
        .filter(deep_links::used_at.is_null());
    let links = diesel::update(links).set(deep_links::used_at.eq(Some(now))).execute(conn)?;
    let open = sessions::table
        .filter(sessions::account_id.eq_any(accounts))
        .filter(sessions::created_at.ge(since))
        .filter(sessions::ended_at.is_null());
    let ended = diesel::update(open).set(sessions::ended_at.eq(Some(now))).execute(conn)?;
    Ok(links + ended)
}
