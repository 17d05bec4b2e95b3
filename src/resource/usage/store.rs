//! The tables `usage_events` and `usage_totals`.

use diesel::prelude::*;
use diesel::result::Error as QueryError;
use rust_decimal::Decimal;

use super::UsageEvent;
use crate::clock::Timestamp;
use crate::db::schema::{resources, usage_events, usage_totals};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ResourceId};
use crate::money::Amount;
use crate::resource::{Resource, ResourceState};

/// A stored text that is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not understood")]
struct Corrupt(&'static str);

fn corrupt(column: &'static str) -> QueryError {
    QueryError::DeserializationError(Corrupt(column).into())
}

/// The fingerprint and cost of an event that was recorded.
pub(super) fn event(conn: &mut DbConnection, source: &str, id: &str) -> QueryResult<Option<(String, Amount)>> {
    usage_events::table
        .find((source, id))
        .select((usage_events::fingerprint, usage_events::cost))
        .first(conn)
        .optional()
}

/// What an event is judged by.
pub(super) struct Locked {
    pub(super) state: ResourceState,
    pub(super) service: String,
    pub(super) plan: String,
    /// How often the credentials were replaced.
    pub(super) generation: i64,
    /// Until when the credentials before work.
    pub(super) old_credentials_until: Option<Timestamp>,
}

/// State, service, plan, generation, until when old credentials count, since when it is held back.
type LockedRow = (String, String, String, i64, Option<Timestamp>, Option<Timestamp>);

/// The resource, locked, so that usage and removal, and two reports, do not pass each other. `None`: it belongs to another
/// account since it was looked up.
pub(super) fn lock(conn: &mut DbConnection, resource: &Resource) -> QueryResult<Option<Locked>> {
    let row: Option<LockedRow> = diesel::update(resources::table.find((&resource.account_id, &resource.id)))
        .set(resources::changed_at.eq(resources::changed_at))
        .returning((
            resources::state,
            resources::service,
            resources::plan,
            resources::generation,
            resources::old_credentials_until,
            resources::quarantined_at,
        ))
        .get_result(conn)
        .optional()?;
    let Some((word, service, plan, generation, old_credentials_until, quarantined_at)) = row else { return Ok(None) };
    let state = ResourceState::from_word(&word).ok_or_else(|| corrupt("resources.state"))?;
    let state = if quarantined_at.is_some() { ResourceState::Suspended } else { state };
    Ok(Some(Locked { state, service, plan, generation, old_credentials_until }))
}

/// Another plan counts what is used from nothing, at its own prices.
pub(in crate::resource) fn forget_totals(conn: &mut DbConnection, resource: &Resource) -> QueryResult<()> {
    let totals = usage_totals::table
        .filter(usage_totals::account_id.eq(&resource.account_id))
        .filter(usage_totals::resource_id.eq(&resource.id));
    diesel::delete(totals).execute(conn).map(drop)
}

/// How much was used and charged in a month so far.
pub(super) fn total(
    conn: &mut DbConnection,
    resource: &Resource,
    meter: &str,
    month: Timestamp,
) -> QueryResult<(Decimal, Amount)> {
    let found = usage_totals::table
        .find((&resource.account_id, &resource.id, meter, month))
        .select((usage_totals::quantity, usage_totals::charged))
        .first::<(String, Amount)>(conn)
        .optional()?;
    let Some((quantity, charged)) = found else { return Ok((Decimal::ZERO, Amount::ZERO)) };
    Ok((Decimal::from_str_exact(&quantity).map_err(|_not_decimal| corrupt("usage_totals.quantity"))?, charged))
}

#[derive(Insertable)]
#[diesel(table_name = usage_totals)]
struct NewTotal<'a> {
    account_id: &'a AccountId,
    resource_id: &'a ResourceId,
    meter: &'a str,
    period_start: Timestamp,
    quantity: &'a str,
    charged: Amount,
}

/// Writes the new total; the lock of [`lock`] is held.
pub(super) fn set_total(
    conn: &mut DbConnection,
    resource: &Resource,
    meter: &str,
    month: Timestamp,
    (quantity, charged): (Decimal, Amount),
) -> QueryResult<()> {
    let quantity = quantity.to_string();
    let row = usage_totals::table.find((&resource.account_id, &resource.id, meter, month));
    let set = (usage_totals::quantity.eq(&quantity), usage_totals::charged.eq(charged));
    if diesel::update(row).set(set).execute(conn)? == 1 {
        return Ok(());
    }
    let row = NewTotal {
        account_id: &resource.account_id,
        resource_id: &resource.id,
        meter,
        period_start: month,
        quantity: &quantity,
        charged,
    };
    diesel::insert_into(usage_totals::table).values(&row).execute(conn).map(drop)
}

#[derive(Insertable)]
#[diesel(table_name = usage_events)]
struct NewEvent<'a> {
    source: &'a str,
    event_id: &'a str,
    fingerprint: &'a str,
    account_id: &'a AccountId,
    resource_id: &'a ResourceId,
    meter: &'a str,
    quantity: String,
    cost: Amount,
    at: Timestamp,
    recorded_at: Timestamp,
}

/// Records the event under its key.
pub(super) fn insert_event(
    conn: &mut DbConnection,
    resource: &Resource,
    event: &UsageEvent,
    fingerprint: &str,
    cost: Amount,
    now: Timestamp,
) -> QueryResult<()> {
    let row = NewEvent {
        source: &event.source,
        event_id: &event.id,
        fingerprint,
        account_id: &resource.account_id,
        resource_id: &resource.id,
        meter: &event.meter,
        quantity: event.quantity.to_string(),
        cost,
        at: event.at,
        recorded_at: now,
    };
    diesel::insert_into(usage_events::table).values(&row).execute(conn).map(drop)
}

/// What was used of one meter in one month.
#[derive(Debug, Clone, Queryable)]
pub struct Total {
    /// Of which resource.
    pub resource_id: ResourceId,
    /// Of which meter.
    pub meter: String,
    /// When the month began.
    pub period_start: Timestamp,
    /// How much, as a decimal number.
    pub quantity: String,
    /// What was charged for it, in minor units.
    pub charged: i64,
}

/// What an account used: `limit` rows after the first `skip`, in a fixed order.
///
/// # Errors
/// When the database fails.
pub fn totals_of(
    conn: &mut DbConnection,
    account: &AccountId,
    (skip, limit): (i64, i64),
) -> Result<Vec<Total>, DbError> {
    Ok(usage_totals::table
        .filter(usage_totals::account_id.eq(account))
        .order((usage_totals::resource_id, usage_totals::meter, usage_totals::period_start))
        .offset(skip)
        .limit(limit)
        .select((
            usage_totals::resource_id,
            usage_totals::meter,
            usage_totals::period_start,
            usage_totals::quantity,
            usage_totals::charged,
        ))
        .load(conn)?)
}
