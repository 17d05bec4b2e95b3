//! What opens an account, in `sessions`, `deep_links`, `passkeys` and `upstream_links`, taken together.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{deep_links, passkeys, sessions, upstream_links};
use crate::ids::AccountId;
use crate::login::Method;
use crate::secret::SecretHash;

pub(super) fn is_connected(conn: &mut DbConnection, account: &AccountId, issuer: &str) -> QueryResult<bool> {
    let linked: i64 = upstream_links::table
        .filter(upstream_links::account_id.eq(account))
        .filter(upstream_links::issuer.eq(issuer))
        .count()
        .get_result(conn)?;
    Ok(linked > 0)
}

/// How many.
pub(super) fn disconnect(conn: &mut DbConnection, account: &AccountId, issuer: &str) -> QueryResult<usize> {
    let linked =
        upstream_links::table.filter(upstream_links::account_id.eq(account)).filter(upstream_links::issuer.eq(issuer));
    diesel::delete(linked).execute(conn)
}

pub(super) fn end_sessions(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let living = sessions::table.filter(sessions::account_id.eq(account)).filter(sessions::ended_at.is_null());
    diesel::update(living).set(sessions::ended_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn end_links(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let unused = deep_links::table.filter(deep_links::account_id.eq(account)).filter(deep_links::used_at.is_null());
    diesel::update(unused).set(deep_links::used_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn delete_passkeys(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    diesel::delete(passkeys::table.filter(passkeys::account_id.eq(account))).execute(conn).map(drop)
}

pub(super) fn delete_upstream(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    diesel::delete(upstream_links::table.filter(upstream_links::account_id.eq(account))).execute(conn).map(drop)
}

/// Ends the sessions that began with a link of an agent, but for `except`.
pub(super) fn end_linked_sessions(
    conn: &mut DbConnection,
    account: &AccountId,
    except: Option<&SecretHash>,
    now: Timestamp,
) -> QueryResult<()> {
    let mut living = sessions::table
        .filter(sessions::account_id.eq(account))
        .filter(sessions::method.eq(Method::DeepLink.as_str()))
        .filter(sessions::ended_at.is_null())
        .select(sessions::token_hash)
        .into_boxed();
    if let Some(except) = except {
        living = living.filter(sessions::token_hash.ne(except));
    }
    let hashes: Vec<SecretHash> = living.load(conn)?;
    diesel::update(sessions::table.filter(sessions::token_hash.eq_any(hashes)))
        .set(sessions::ended_at.eq(Some(now)))
        .execute(conn)
        .map(drop)
}
