//! The table `wire_resources`.

use diesel::prelude::*;

use super::placement::Placement;
use crate::clock::Timestamp;
use crate::db::schema::{resources, wire_resources};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId, ResourceId};

/// Notes what an orchestrator calls a resource. A unique violation: one already has it.
pub(super) fn insert(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    orchestrator: &OrchestratorId,
    placement: &Placement,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(wire_resources::table)
        .values((
            wire_resources::account_id.eq(account),
            wire_resources::resource_id.eq(id),
            wire_resources::orchestrator_id.eq(orchestrator),
            wire_resources::orchestrator_resource_id.eq(placement.orchestrator_resource_id.as_deref()),
            wire_resources::environment.eq(placement.environment.as_str()),
            wire_resources::created_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// The orchestrator that bought or linked a resource on its wire. `None`: nobody did.
///
/// # Errors
/// When the database fails.
pub fn holder(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &ResourceId,
) -> Result<Option<OrchestratorId>, DbError> {
    let row = wire_resources::table.find((account, id)).select(wire_resources::orchestrator_id);
    Ok(row.first(conn).optional()?)
}

/// Puts a resource into a project.
pub(super) fn set_project(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    project: Option<&str>,
) -> QueryResult<()> {
    diesel::update(resources::table.find((account, id))).set(resources::project_id.eq(project)).execute(conn).map(drop)
}
