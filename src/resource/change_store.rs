//! The table `plan_changes`, and what a resource takes over from it.

use diesel::prelude::*;

use super::{Resource, ResourceState};
use crate::clock::Timestamp;
use crate::db::schema::{plan_changes, resources};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, HoldId, OperationId, PaymentTokenId, ResourceId};

/// What a resource becomes.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = plan_changes)]
pub(super) struct PlanChange {
    pub(super) account_id: AccountId,
    pub(super) operation_id: OperationId,
    pub(super) service: String,
    pub(super) plan: String,
    pub(super) configuration: String,
    pub(super) catalog_version: i64,
    pub(super) catalog_digest: String,
    pub(super) price_parent: Option<String>,
    pub(super) hold_id: Option<HoldId>,
    pub(super) payment_token_id: Option<PaymentTokenId>,
    pub(super) sealed_credentials: Option<String>,
}

impl PlanChange {
    pub(super) fn insert(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::insert_into(plan_changes::table).values(self).execute(conn).map(drop)
    }
}

pub(super) fn change_of(
    conn: &mut DbConnection,
    account: &AccountId,
    operation: &OperationId,
) -> Result<Option<PlanChange>, DbError> {
    Ok(plan_changes::table.find((account, operation)).first(conn).optional()?)
}

/// Keeps the new plan's credentials until the change is done.
pub(super) fn set_credentials(conn: &mut DbConnection, change: &PlanChange, sealed: &str) -> QueryResult<()> {
    diesel::update(plan_changes::table.find((&change.account_id, &change.operation_id)))
        .set(plan_changes::sealed_credentials.eq(Some(sealed)))
        .execute(conn)
        .map(drop)
}

/// Moves a ready resource into [`ResourceState::Changing`], to `plan` or, without one, to new credentials. `false`: it
/// was not ready.
pub(super) fn begin(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    plan: Option<&str>,
    now: Timestamp,
) -> QueryResult<bool> {
    let ready = resources::table
        .find((account, id))
        .filter(resources::state.eq(ResourceState::Ready.as_str()))
        .filter(resources::quarantined_at.is_null());
    let changed = diesel::update(ready)
        .set((
            resources::state.eq(ResourceState::Changing.as_str()),
            resources::changing_to.eq(plan),
            resources::changed_at.eq(now),
        ))
        .execute(conn)?;
    Ok(changed == 1)
}

/// The change is over, done or not: the resource is ready again.
pub(super) fn end(conn: &mut DbConnection, resource: &Resource, now: Timestamp) -> QueryResult<()> {
    let row = resources::table
        .find((&resource.account_id, &resource.id))
        .filter(resources::state.eq(ResourceState::Changing.as_str()));
    diesel::update(row)
        .set((
            resources::state.eq(ResourceState::Ready.as_str()),
            resources::changing_to.eq(None::<&str>),
            resources::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// The resource becomes what the change says.
pub(super) fn apply(
    conn: &mut DbConnection,
    resource: &Resource,
    change: &PlanChange,
    sealed: Option<&str>,
) -> QueryResult<()> {
    let row = || resources::table.find((&resource.account_id, &resource.id));
    diesel::update(row())
        .set((
            resources::service.eq(&change.service),
            resources::plan.eq(&change.plan),
            resources::configuration.eq(&change.configuration),
            resources::catalog_version.eq(change.catalog_version),
            resources::catalog_digest.eq(&change.catalog_digest),
            resources::price_parent.eq(change.price_parent.as_deref()),
        ))
        .execute(conn)?;
    if let Some(hold) = &change.hold_id {
        diesel::update(row()).set(resources::hold_id.eq(Some(hold))).execute(conn)?;
    }
    if let Some(token) = &change.payment_token_id {
        diesel::update(row()).set(resources::payment_token_id.eq(Some(token))).execute(conn)?;
    }
    if let Some(sealed) = sealed {
        diesel::update(row()).set(resources::sealed_credentials.eq(Some(sealed))).execute(conn)?;
    }
    Ok(())
}

/// The resource takes its next credentials; those before work until `old_until`, or from now on no longer.
pub(super) fn replace_credentials(
    conn: &mut DbConnection,
    resource: &Resource,
    sealed: &str,
    old_until: Option<Timestamp>,
) -> QueryResult<()> {
    diesel::update(resources::table.find((&resource.account_id, &resource.id)))
        .set((
            resources::sealed_credentials.eq(Some(sealed)),
            resources::generation.eq(resource.generation + 1),
            resources::old_credentials_until.eq(old_until),
        ))
        .execute(conn)
        .map(drop)
}
