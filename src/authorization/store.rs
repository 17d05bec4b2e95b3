//! The tables `grants` and `dpop_proofs`.

use diesel::prelude::*;

use super::grant::Grant;
use crate::clock::Timestamp;
use crate::db::schema::{dpop_proofs, grants};
use crate::db::{DbConnection, directly};
use crate::ids::{AccountId, ConsentId, GrantId, OrchestratorId};

/// What is asked of a grant on every use.
#[derive(Queryable)]
pub(super) struct GrantRow {
    pub(super) account_id: AccountId,
    pub(super) orchestrator_id: OrchestratorId,
    pub(super) revoked_at: Option<Timestamp>,
}

/// A grant as it is written: values by their types, so that the statement is prepared once.
#[derive(Insertable)]
#[diesel(table_name = grants)]
#[diesel(treat_none_as_default_value = false)]
struct NewGrant<'a> {
    id: &'a GrantId,
    account_id: &'a AccountId,
    orchestrator_id: &'a OrchestratorId,
    client: &'a str,
    scope: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
    consent_id: Option<ConsentId>,
}

pub(super) fn insert(conn: &mut DbConnection, grant: &Grant) -> QueryResult<()> {
    let row = NewGrant {
        id: &grant.id,
        account_id: &grant.account_id,
        orchestrator_id: &grant.orchestrator_id,
        client: &grant.client,
        scope: grant.scopes.to_string(),
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        consent_id: grant.consent_id.clone(),
    };
    directly!(conn, |conn| diesel::insert_into(grants::table).values(row).execute(conn)).map(drop)
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
