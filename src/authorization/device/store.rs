//! The table `device_requests`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::device_requests;
use crate::secret::SecretHash;

/// A request as it is kept.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = device_requests)]
pub(super) struct DeviceRow {
    pub(super) device_hash: SecretHash,
    pub(super) user_hash: SecretHash,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) address: String,
    /// `waiting` for the code to be typed, `asked`, `denied` before it was asked, or `used`.
    pub(super) state: String,
    /// The authorization request that it became.
    pub(super) handle_hash: Option<SecretHash>,
    /// That of the code that this request leads to.
    pub(super) code_challenge: Option<String>,
    pub(super) wait_seconds: i64,
    pub(super) next_poll_at: Timestamp,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

pub(super) fn insert(conn: &mut DbConnection, row: &DeviceRow) -> QueryResult<()> {
    diesel::insert_into(device_requests::table).values(row).execute(conn).map(drop)
}

pub(super) fn by_device(conn: &mut DbConnection, hash: &SecretHash) -> QueryResult<Option<DeviceRow>> {
    device_requests::table.find(hash).first(conn).optional()
}

/// A request whose code can still be typed: it began after `since`.
pub(super) fn waiting(
    conn: &mut DbConnection,
    user_hash: &SecretHash,
    since: Timestamp,
) -> QueryResult<Option<DeviceRow>> {
    device_requests::table
        .filter(device_requests::user_hash.eq(user_hash))
        .filter(device_requests::state.eq("waiting"))
        .filter(device_requests::created_at.gt(since))
        .first(conn)
        .optional()
}

/// Whether this call denied it.
pub(super) fn deny(conn: &mut DbConnection, user_hash: &SecretHash, since: Timestamp) -> QueryResult<bool> {
    let open = device_requests::table
        .filter(device_requests::user_hash.eq(user_hash))
        .filter(device_requests::state.eq("waiting"))
        .filter(device_requests::created_at.gt(since));
    Ok(diesel::update(open).set(device_requests::state.eq("denied")).execute(conn)? == 1)
}

/// Whether this call made it the question with this handle, whose code has this challenge.
pub(super) fn ask(
    conn: &mut DbConnection,
    user_hash: &SecretHash,
    (handle, challenge): (&SecretHash, &str),
    since: Timestamp,
) -> QueryResult<bool> {
    let open = device_requests::table
        .filter(device_requests::user_hash.eq(user_hash))
        .filter(device_requests::state.eq("waiting"))
        .filter(device_requests::created_at.gt(since));
    let changed = diesel::update(open)
        .set((
            device_requests::state.eq("asked"),
            device_requests::handle_hash.eq(Some(handle)),
            device_requests::code_challenge.eq(Some(challenge)),
        ))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Whether it was time to ask again; the next time is `next`.
pub(super) fn in_time(
    conn: &mut DbConnection,
    hash: &SecretHash,
    next: Timestamp,
    now: Timestamp,
) -> QueryResult<bool> {
    let due = device_requests::table.find(hash).filter(device_requests::next_poll_at.le(now));
    Ok(diesel::update(due).set(device_requests::next_poll_at.eq(next)).execute(conn)? == 1)
}

/// From now on it waits longer: `seconds`, until `next`.
pub(super) fn slow_down(
    conn: &mut DbConnection,
    hash: &SecretHash,
    (seconds, next): (i64, Timestamp),
) -> QueryResult<()> {
    let slower = (device_requests::wait_seconds.eq(seconds), device_requests::next_poll_at.eq(next));
    diesel::update(device_requests::table.find(hash)).set(slower).execute(conn).map(drop)
}

/// Whether this call used it up.
pub(super) fn take(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let open = device_requests::table
        .find(hash)
        .filter(device_requests::state.eq("asked"))
        .filter(device_requests::expires_at.gt(now));
    Ok(diesel::update(open).set(device_requests::state.eq("used")).execute(conn)? == 1)
}

pub(super) fn delete_ended_before(conn: &mut DbConnection, end: Timestamp, limit: i64) -> QueryResult<usize> {
    let ended: Vec<SecretHash> = device_requests::table
        .filter(device_requests::expires_at.lt(end))
        .limit(limit)
        .select(device_requests::device_hash)
        .load(conn)?;
    diesel::delete(device_requests::table.filter(device_requests::device_hash.eq_any(ended))).execute(conn)
}
