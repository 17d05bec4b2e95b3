//! The tables `grants` and `dpop_proofs`.

use diesel::prelude::*;

use super::grant::Grant;
use crate::clock::Timestamp;
use crate::db::schema::{dpop_proofs, grants};
use crate::db::{DbConnection, directly};
use crate::ids::{AccountId, GrantId, OrchestratorId};

/// What is asked of a grant on every use.
#[derive(Queryable)]
pub(super) struct GrantRow {
    pub(super) account_id: AccountId,
    pub(super) orchestrator_id: OrchestratorId,
    pub(super) revoked_at: Option<Timestamp>,
}

pub(super) fn insert(conn: &mut DbConnection, grant: &Grant) -> QueryResult<()> {
    let insert = diesel::insert_into(grants::table).values((
        grants::id.eq(&grant.id),
        grants::account_id.eq(&grant.account_id),
        grants::orchestrator_id.eq(&grant.orchestrator_id),
        grants::client.eq(&grant.client),
        grants::scope.eq(grant.scopes.to_string()),
        grants::issued_at.eq(grant.issued_at),
        grants::expires_at.eq(grant.expires_at),
        grants::consent_id.eq(grant.consent_id.as_ref()),
    ));
    directly!(conn, |conn| insert.execute(conn)).map(drop)
}

pub(super) fn grant(conn: &mut DbConnection, id: &GrantId) -> QueryResult<Option<GrantRow>> {
    grants::table
        .find(id)
        .select((grants::account_id, grants::orchestrator_id, grants::revoked_at))
        .get_result(conn)
        .optional()
}

/// Whether this call changed it.
pub(super) fn set_revoked(conn: &mut DbConnection, id: &GrantId, now: Timestamp) -> QueryResult<bool> {
    let changed = diesel::update(grants::table.find(id).filter(grants::revoked_at.is_null()))
        .set(grants::revoked_at.eq(Some(now)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Grants that were revoked and would still work.
pub(super) fn revoked_grants(conn: &mut DbConnection, now: Timestamp, limit: i64) -> QueryResult<Vec<GrantId>> {
    grants::table
        .filter(grants::revoked_at.is_not_null())
        .filter(grants::expires_at.gt(now))
        .select(grants::id)
        .limit(limit)
        .load(conn)
}

pub(super) fn insert_proof(conn: &mut DbConnection, hash: &str, refused_from: Timestamp) -> QueryResult<()> {
    diesel::insert_into(dpop_proofs::table)
        .values((dpop_proofs::proof_hash.eq(hash), dpop_proofs::refused_from.eq(refused_from)))
        .execute(conn)
        .map(drop)
}

pub(super) fn delete_proofs_before(conn: &mut DbConnection, now: Timestamp, limit: i64) -> QueryResult<usize> {
    let old: Vec<String> = dpop_proofs::table
        .filter(dpop_proofs::refused_from.lt(now))
        .order(dpop_proofs::refused_from)
        .select(dpop_proofs::proof_hash)
        .limit(limit)
        .load(conn)?;
    diesel::delete(dpop_proofs::table.filter(dpop_proofs::proof_hash.eq_any(old))).execute(conn)
}
