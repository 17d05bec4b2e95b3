//! What every refresh changes, by key.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::clock::Timestamp;
use crate::db::{DbConnection, directly, prepared};
use crate::ids::ConsentId;
use crate::secret::SecretHash;

prepared! {
    /// Sets the time of a consent's use, if nobody took it back.
    UseConsent:
    "UPDATE consents SET used_at = " (now: Timestamp as BigInt)
    " WHERE id = " (id: ConsentId as Text)
    " AND revoked_at IS NULL"
}

prepared! {
    /// Marks a refresh token as replaced, if it still is good.
    ReplaceRefresh:
    "UPDATE refresh_tokens SET replaced_at = " (now: Timestamp as BigInt)
    " WHERE token_hash = " (hash: SecretHash as Text)
    " AND replaced_at IS NULL AND revoked_at IS NULL AND expires_at > " (then: Timestamp as BigInt)
}

/// Whether it stands.
pub(super) fn use_consent(conn: &mut DbConnection, id: &ConsentId, now: Timestamp) -> QueryResult<bool> {
    let update = UseConsent { id, now: &now };
    Ok(directly!(conn, |conn| update.execute(conn))? == 1)
}

/// Whether this call replaced it.
pub(super) fn replace_refresh(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let update = ReplaceRefresh { hash, now: &now, then: &now };
    Ok(directly!(conn, |conn| update.execute(conn))? == 1)
}
