//! The table `clients`.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::{Client, ClientMetadata, ClientOrigin};
use crate::clock::Timestamp;
use crate::db::schema::clients;
use crate::db::{DbConnection, DbError, directly};
use crate::ids::AccountId;
use crate::secret::SecretHash;

#[derive(Queryable)]
struct ClientRow {
    id: String,
    origin: String,
    metadata: String,
    secret_hash: Option<SecretHash>,
    account_id: Option<AccountId>,
    introspects: bool,
    created_at: Timestamp,
    last_used_at: Timestamp,
}

impl TryFrom<ClientRow> for Client {
    type Error = DbError;

    fn try_from(row: ClientRow) -> Result<Self, DbError> {
        let impossible = |name: &str| {
            let text = format!("table `clients`, row {}: `{name}` holds a value that is none", row.id);
            DbError::from(diesel::result::Error::DeserializationError(text.into()))
        };
        let metadata: ClientMetadata =
            serde_json::from_str(&row.metadata).map_err(|_no_json| impossible("metadata"))?;
        Ok(Self {
            origin: row.origin.parse().map_err(|_unknown| impossible("origin"))?,
            metadata,
            id: row.id,
            secret_hash: row.secret_hash,
            account_id: row.account_id,
            introspects: row.introspects,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
        })
    }
}

/// Metadata as it is kept.
pub(super) fn written(metadata: &ClientMetadata) -> QueryResult<String> {
    serde_json::to_string(metadata).map_err(|error| diesel::result::Error::SerializationError(error.into()))
}

pub(super) fn insert(conn: &mut DbConnection, client: &Client) -> QueryResult<()> {
    let metadata = written(&client.metadata)?;
    diesel::insert_into(clients::table)
        .values((
            clients::id.eq(&client.id),
            clients::origin.eq(client.origin.as_str()),
            clients::metadata.eq(metadata),
            clients::secret_hash.eq(client.secret_hash.as_ref()),
            clients::account_id.eq(client.account_id.as_ref()),
            clients::introspects.eq(client.introspects),
            clients::created_at.eq(client.created_at),
            clients::last_used_at.eq(client.last_used_at),
        ))
        .execute(conn)
        .map(drop)
}

pub(in crate::authorization) fn by_id(conn: &mut DbConnection, id: &str) -> Result<Option<Client>, DbError> {
    // PostgreSQL takes no text with U+0000: no client has such a name.
    if id.contains('\0') {
        return Ok(None);
    }
    let row: Option<ClientRow> = directly!(conn, |conn| clients::table.find(id).get_result(conn)).optional()?;
    row.map(Client::try_from).transpose()
}

pub(super) fn after(conn: &mut DbConnection, after: &str, limit: i64) -> Result<Vec<Client>, DbError> {
    let rows: Vec<ClientRow> =
        clients::table.filter(clients::id.gt(after.to_owned())).order(clients::id).limit(limit).load(conn)?;
    rows.into_iter().map(Client::try_from).collect()
}

pub(super) fn count(conn: &mut DbConnection, origin: ClientOrigin) -> QueryResult<i64> {
    clients::table.filter(clients::origin.eq(origin.as_str())).count().get_result(conn)
}

pub(super) fn delete(conn: &mut DbConnection, id: &str) -> QueryResult<bool> {
    Ok(diesel::delete(clients::table.find(id)).execute(conn)? == 1)
}

pub(super) fn set_secret(conn: &mut DbConnection, id: &str, hash: &SecretHash) -> QueryResult<()> {
    diesel::update(clients::table.find(id)).set(clients::secret_hash.eq(Some(hash))).execute(conn).map(drop)
}

/// How exactly it is known when a client was last used. A client of many users gets many tokens at once: none of them
/// waits for its row.
const USED_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Remembers that a client was used, if that is not known.
pub(in crate::authorization) fn used(conn: &mut DbConnection, client: &Client, now: Timestamp) -> QueryResult<()> {
    if now.since(client.last_used_at).abs() < USED_WITHIN { Ok(()) } else { touch(conn, &client.id, now) }
}

/// Remembers that a client was used.
pub(in crate::authorization) fn touch(conn: &mut DbConnection, id: &str, now: Timestamp) -> QueryResult<()> {
    diesel::update(clients::table.find(id)).set(clients::last_used_at.eq(now)).execute(conn).map(drop)
}

/// At most `limit` of them.
pub(super) fn delete_unused(
    conn: &mut DbConnection,
    origin: ClientOrigin,
    before: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let unused: Vec<String> = clients::table
        .filter(clients::origin.eq(origin.as_str()))
        .filter(clients::last_used_at.lt(before))
        .limit(limit)
        .select(clients::id)
        .load(conn)?;
    let unused = clients::table.filter(clients::id.eq_any(unused)).filter(clients::last_used_at.lt(before));
    diesel::delete(unused).execute(conn)
}

/// The oldest that were never used, of those from before `before`, at most `limit`.
pub(super) fn delete_never_used(
    conn: &mut DbConnection,
    origin: ClientOrigin,
    before: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let oldest: Vec<String> = clients::table
        .filter(clients::origin.eq(origin.as_str()))
        .filter(clients::last_used_at.eq(clients::created_at))
        .filter(clients::last_used_at.lt(before))
        .order((clients::last_used_at, clients::id))
        .limit(limit)
        .select(clients::id)
        .load(conn)?;
    // Whoever is used at this moment stays.
    let oldest =
        clients::table.filter(clients::id.eq_any(oldest)).filter(clients::last_used_at.eq(clients::created_at));
    diesel::delete(oldest).execute(conn)
}
