//! The table `authorization_requests`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::authorization_requests;
use crate::ids::AccountId;
use crate::secret::SecretHash;

/// A request as it is kept.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = authorization_requests)]
pub(super) struct RequestRow {
    pub(super) handle_hash: SecretHash,
    pub(super) client: String,
    pub(super) request: String,
    pub(super) state: String,
    pub(super) account_id: Option<AccountId>,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) decided_at: Option<Timestamp>,
}

pub(super) fn insert_request(conn: &mut DbConnection, row: &RequestRow) -> QueryResult<()> {
    diesel::insert_into(authorization_requests::table).values(row).execute(conn).map(drop)
}

/// Whether the human refused it.
pub(in crate::authorization) fn is_denied(conn: &mut DbConnection, hash: &SecretHash) -> QueryResult<bool> {
    let state: Option<String> =
        authorization_requests::table.find(hash).select(authorization_requests::state).first(conn).optional()?;
    Ok(state.as_deref() == Some("denied"))
}

pub(super) fn request(conn: &mut DbConnection, hash: &SecretHash) -> QueryResult<Option<RequestRow>> {
    authorization_requests::table.find(hash).first(conn).optional()
}

/// Whether this call showed it: check and change in one statement.
pub(super) fn show_request(
    conn: &mut DbConnection,
    (hash, client): (&SecretHash, &str),
    until: Timestamp,
    now: Timestamp,
) -> QueryResult<bool> {
    let waiting = authorization_requests::table
        .find(hash)
        .filter(authorization_requests::client.eq(client))
        .filter(authorization_requests::state.eq("pushed"))
        .filter(authorization_requests::expires_at.gt(now));
    let changed = diesel::update(waiting)
        .set((authorization_requests::state.eq("asked"), authorization_requests::expires_at.eq(until)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Whether this call was the first to show it to anybody; from then on it is this account's to answer.
pub(in crate::authorization) fn bind_request(
    conn: &mut DbConnection,
    hash: &SecretHash,
    account: &AccountId,
    now: Timestamp,
) -> QueryResult<bool> {
    let unseen = authorization_requests::table
        .find(hash)
        .filter(authorization_requests::state.eq("asked"))
        .filter(authorization_requests::account_id.is_null())
        .filter(authorization_requests::expires_at.gt(now));
    Ok(diesel::update(unseen).set(authorization_requests::account_id.eq(Some(account))).execute(conn)? == 1)
}

/// Whether it is this account's to answer now.
pub(in crate::authorization) fn is_open_for(
    conn: &mut DbConnection,
    hash: &SecretHash,
    account: &AccountId,
    now: Timestamp,
) -> QueryResult<bool> {
    let own = authorization_requests::table
        .find(hash)
        .filter(authorization_requests::state.eq("asked"))
        .filter(authorization_requests::account_id.eq(Some(account)))
        .filter(authorization_requests::expires_at.gt(now));
    Ok(own.count().get_result::<i64>(conn)? == 1)
}

/// Whether this call decided, for an account whose request it is or can become: check and change in one statement.
pub(in crate::authorization) fn decide_request(
    conn: &mut DbConnection,
    hash: &SecretHash,
    (to, account): (&str, &AccountId),
    now: Timestamp,
) -> QueryResult<bool> {
    let open = authorization_requests::table
        .find(hash)
        .filter(authorization_requests::state.eq("asked"))
        .filter(authorization_requests::expires_at.gt(now))
        .filter(authorization_requests::account_id.is_null().or(authorization_requests::account_id.eq(Some(account))));
    let changed = diesel::update(open)
        .set((
            authorization_requests::state.eq(to),
            authorization_requests::account_id.eq(Some(account)),
            authorization_requests::decided_at.eq(Some(now)),
        ))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Those whose time ended before `undecided` and that nobody decided, and all whose time ended before `end`, which is
/// earlier.
pub(in crate::authorization) fn delete_ended_before(
    conn: &mut DbConnection,
    (undecided, end): (Timestamp, Timestamp),
    limit: i64,
) -> QueryResult<usize> {
    let nobodys = authorization_requests::decided_at.is_null();
    let ended: Vec<SecretHash> = authorization_requests::table
        .filter(authorization_requests::expires_at.lt(undecided))
        .filter(nobodys.or(authorization_requests::expires_at.lt(end)))
        .limit(limit)
        .select(authorization_requests::handle_hash)
        .load(conn)?;
    diesel::delete(authorization_requests::table.filter(authorization_requests::handle_hash.eq_any(ended)))
        .execute(conn)
}
