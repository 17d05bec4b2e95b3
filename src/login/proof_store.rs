//! The table `session_proofs`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::session_proofs::{self, table};
use crate::secret::SecretHash;

pub(super) fn of(conn: &mut DbConnection, session: &SecretHash) -> QueryResult<Option<String>> {
    table.find(session).select(session_proofs::proofs).first(conn).optional()
}

pub(super) fn insert(conn: &mut DbConnection, session: &SecretHash, proofs: &str, now: Timestamp) -> QueryResult<()> {
    diesel::insert_into(table)
        .values((
            session_proofs::token_hash.eq(session),
            session_proofs::proofs.eq(proofs),
            session_proofs::created_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

pub(super) fn delete_before(conn: &mut DbConnection, before: Timestamp) -> QueryResult<usize> {
    diesel::delete(table.filter(session_proofs::created_at.lt(before))).execute(conn)
}
