//! The tables `deep_links` and `sessions`.

use diesel::prelude::*;

use super::session::{Authentication, NewSession, UnknownMethod};
use crate::clock::Timestamp;
use crate::db::schema::{deep_links, sessions};
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::SecretHash;

pub(super) fn insert_link(
    conn: &mut DbConnection,
    hash: &SecretHash,
    account: &AccountId,
    now: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<()> {
    let values = (
        deep_links::token_hash.eq(hash),
        deep_links::account_id.eq(account),
        deep_links::created_at.eq(now),
        deep_links::expires_at.eq(expires_at),
    );
    diesel::insert_into(deep_links::table).values(values).execute(conn).map(drop)
}

pub(super) fn link_is_usable(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let usable: i64 = deep_links::table
        .filter(deep_links::token_hash.eq(hash))
        .filter(deep_links::used_at.is_null())
        .filter(deep_links::expires_at.gt(now))
        .count()
        .get_result(conn)?;
    Ok(usable == 1)
}

/// Uses the link up: check and change in one statement, so that two cannot both win.
pub(super) fn use_link(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<Option<AccountId>> {
    let usable = deep_links::table
        .filter(deep_links::token_hash.eq(hash))
        .filter(deep_links::used_at.is_null())
        .filter(deep_links::expires_at.gt(now));
    diesel::update(usable)
        .set(deep_links::used_at.eq(now))
        .returning(deep_links::account_id)
        .get_result(conn)
        .optional()
}

pub(super) fn insert_session(
    conn: &mut DbConnection,
    new: &NewSession,
    now: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<()> {
    let values = (
        sessions::token_hash.eq(&new.hash),
        sessions::account_id.eq(&new.account),
        sessions::created_at.eq(now),
        sessions::expires_at.eq(expires_at),
        sessions::method.eq(new.authentication.method.as_str()),
        sessions::authenticated_at.eq(new.authentication.at),
    );
    diesel::insert_into(sessions::table).values(values).execute(conn).map(drop)
}

/// A session that goes on: whose, and how its human logged in.
pub(super) fn session(
    conn: &mut DbConnection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<(AccountId, Authentication)>, DbError> {
    let found: Option<(AccountId, String, Timestamp)> = sessions::table
        .filter(sessions::token_hash.eq(hash))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .select((sessions::account_id, sessions::method, sessions::authenticated_at))
        .first(conn)
        .optional()?;
    let Some((account, method, at)) = found else { return Ok(None) };
    let method =
        method.parse().map_err(|error: UnknownMethod| diesel::result::Error::DeserializationError(Box::new(error)))?;
    Ok(Some((account, Authentication { method, at })))
}

pub(super) fn end_session(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<()> {
    let row = sessions::table.filter(sessions::token_hash.eq(hash)).filter(sessions::ended_at.is_null());
    diesel::update(row).set(sessions::ended_at.eq(now)).execute(conn).map(drop)
}
