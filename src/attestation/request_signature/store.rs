//! The table `signature_uses`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::signature_uses::{self, table};
use crate::ids::OrchestratorId;

/// For which request a signature was used, if it was.
pub(super) fn used_for(conn: &mut DbConnection, id: &OrchestratorId, jti_hash: &str) -> QueryResult<Option<String>> {
    table.find((id, jti_hash)).select(signature_uses::request_hash).first(conn).optional()
}

/// Notes a use. A unique violation: it was used at the same moment.
pub(super) fn insert(
    conn: &mut DbConnection,
    (id, jti_hash): (&OrchestratorId, &str),
    request_hash: &str,
    refused_from: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(table)
        .values((
            signature_uses::orchestrator_id.eq(id),
            signature_uses::jti_hash.eq(jti_hash),
            signature_uses::request_hash.eq(request_hash),
            signature_uses::refused_from.eq(refused_from),
        ))
        .execute(conn)
        .map(drop)
}

/// Deletes at most `limit` uses that end before `now`, oldest first.
pub(super) fn delete_before(conn: &mut DbConnection, now: Timestamp, limit: i64) -> QueryResult<usize> {
    let old: Vec<(OrchestratorId, String)> = table
        .filter(signature_uses::refused_from.lt(now))
        .order(signature_uses::refused_from)
        .limit(limit)
        .select((signature_uses::orchestrator_id, signature_uses::jti_hash))
        .load(conn)?;
    let mut deleted = 0;
    for (id, jti_hash) in &old {
        deleted += diesel::delete(table.find((id, jti_hash))).execute(conn)?;
    }
    Ok(deleted)
}
