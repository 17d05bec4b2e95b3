//! The table `idempotency_keys`.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::{Done, Keyed};
use crate::clock::Timestamp;
use crate::db::schema::idempotency_keys;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

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
