//! What every refresh changes, by key.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::clock::Timestamp;
use crate::db::schema::consents;
use crate::db::{DbConnection, directly, prepared};
use crate::ids::ConsentId;
use crate::secret::SecretHash;

/// How exactly it is known when a consent was last used.
const USED_WITHIN: TimeDelta = TimeDelta::minutes(1);

prepared! {
    /// Sets the time of a consent's use.
    UseConsent:
    "UPDATE consents SET used_at = " (now: Timestamp as BigInt)
    " WHERE id = " (id: ConsentId as Text)
}

prepared! {
    /// Marks a refresh token as replaced, if it still is good.
    ReplaceRefresh:
    "UPDATE refresh_tokens SET replaced_at = " (now: Timestamp as BigInt)
    " WHERE token_hash = " (hash: SecretHash as Text)
    " AND replaced_at IS NULL AND revoked_at IS NULL AND expires_at > " (then: Timestamp as BigInt)
}

/// Whether it stands; locked then.
pub(super) fn use_consent(conn: &mut DbConnection, id: &ConsentId, now: Timestamp) -> QueryResult<bool> {
    let standing = consents::table.find(id).filter(consents::revoked_at.is_null()).select(consents::used_at);
    let used_at: Option<Timestamp> = match conn {
        DbConnection::Postgres(conn) => standing.for_no_key_update().get_result(conn),
        // It has one writer, and this is a part of what it does.
        DbConnection::Sqlite(conn) => standing.get_result(conn),
    }
    .optional()?;
    let Some(used_at) = used_at else { return Ok(false) };
    if USED_WITHIN <= now.since(used_at).abs() {
        let update = UseConsent { id, now: &now };
        directly!(conn, |conn| update.execute(conn))?;
    }
    Ok(true)
}

/// Whether this call replaced it.
pub(super) fn replace_refresh(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let update = ReplaceRefresh { hash, now: &now, then: &now };
    Ok(directly!(conn, |conn| update.execute(conn))? == 1)
}
