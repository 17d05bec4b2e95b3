//! The table `idempotency_keys`.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::{Done, Keyed};
use crate::clock::Timestamp;
use crate::db::schema::idempotency_keys;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

/// More keys of one account are not moved at once; what stays behind is a retry that begins anew.
const MAX_MOVED: i64 = 5_000;

/// What a request with this key did before, if it did.
///
/// # Errors
/// When the database fails.
pub fn find(
    conn: &mut DbConnection,
    account: &AccountId,
    keyed: &Keyed,
    now: Timestamp,
) -> Result<Option<Done>, DbError> {
    let found = idempotency_keys::table
        .find((account, &keyed.key_hash))
        .filter(idempotency_keys::expires_at.gt(now))
        .select((idempotency_keys::fingerprint, idempotency_keys::subject, idempotency_keys::sealed_answer))
        .first::<(String, Option<String>, Option<String>)>(conn)
        .optional()?;
    Ok(found.map(|(fingerprint, subject, sealed_answer)| Done { fingerprint, subject, sealed_answer }))
}

/// A key about to be recorded.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// Whose.
    pub account_id: &'a AccountId,
    /// The request.
    pub keyed: &'a Keyed,
    /// What it makes.
    pub subject: Option<&'a str>,
    /// Its answer, sealed.
    pub sealed_answer: Option<&'a str>,
    /// For how long it is remembered.
    pub lifetime: TimeDelta,
}

#[derive(Insertable)]
#[diesel(table_name = idempotency_keys)]
struct KeyRow<'a> {
    account_id: &'a AccountId,
    key_hash: &'a str,
    fingerprint: &'a str,
    subject: Option<&'a str>,
    sealed_answer: Option<&'a str>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

/// Records a key in the transaction that does the work; an expired predecessor makes room. A unique violation (see
/// [`super::lost_race`]) means that the same request is under way.
///
/// # Errors
/// When the database fails.
pub fn insert(conn: &mut DbConnection, key: &NewKey<'_>, now: Timestamp) -> QueryResult<()> {
    let old = idempotency_keys::table
        .find((key.account_id, &key.keyed.key_hash))
        .filter(idempotency_keys::expires_at.le(now));
    diesel::delete(old).execute(conn)?;
    let row = KeyRow {
        account_id: key.account_id,
        key_hash: &key.keyed.key_hash,
        fingerprint: &key.keyed.fingerprint,
        subject: key.subject,
        sealed_answer: key.sealed_answer,
        created_at: now,
        expires_at: now.plus(key.lifetime),
    };
    diesel::insert_into(idempotency_keys::table).values(&row).execute(conn).map(drop)
}

/// Forgets a key, so that it can be used anew. Call it in the transaction that records it again.
///
/// # Errors
/// When the database fails.
pub fn forget(conn: &mut DbConnection, account: &AccountId, keyed: &Keyed) -> QueryResult<()> {
    diesel::delete(idempotency_keys::table.find((account, &keyed.key_hash))).execute(conn).map(drop)
}

/// Keys under which things were made that now belong to another account go with them, so that a retry finds them there. A
/// key that the other account used itself stays where it is. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn move_keys(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    subjects: &[String],
) -> QueryResult<()> {
    let subjects = || subjects.iter().map(Some);
    let keys: Vec<String> = idempotency_keys::table
        .filter(idempotency_keys::account_id.eq(from))
        .filter(idempotency_keys::subject.eq_any(subjects()))
        .select(idempotency_keys::key_hash)
        .limit(MAX_MOVED)
        .load(conn)?;
    let taken: Vec<String> = idempotency_keys::table
        .filter(idempotency_keys::account_id.eq(to))
        .filter(idempotency_keys::key_hash.eq_any(&keys))
        .select(idempotency_keys::key_hash)
        .load(conn)?;
    let free: Vec<&String> = keys.iter().filter(|key| !taken.contains(key)).collect();
    let theirs = idempotency_keys::table
        .filter(idempotency_keys::account_id.eq(from))
        .filter(idempotency_keys::key_hash.eq_any(free));
    diesel::update(theirs).set(idempotency_keys::account_id.eq(to)).execute(conn).map(drop)
}
