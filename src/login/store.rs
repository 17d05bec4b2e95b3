//! The tables `deep_links` and `sessions`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{deep_links, sessions};
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
    hash: &SecretHash,
    account: &AccountId,
    now: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<()> {
    let values = (
        sessions::token_hash.eq(hash),
        sessions::account_id.eq(account),
        sessions::created_at.eq(now),
        sessions::expires_at.eq(expires_at),
    );
    diesel::insert_into(sessions::table).values(values).execute(conn).map(drop)
}

pub(super) fn session_owner(
    conn: &mut DbConnection,
    hash: &SecretHash,
    now: Timestamp,
) -> QueryResult<Option<AccountId>> {
    sessions::table
        .filter(sessions::token_hash.eq(hash))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .select(sessions::account_id)
        .first(conn)
        .optional()
}

pub(super) fn end_session(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<()> {
    let row = sessions::table.filter(sessions::token_hash.eq(hash)).filter(sessions::ended_at.is_null());
    diesel::update(row).set(sessions::ended_at.eq(now)).execute(conn).map(drop)
}
