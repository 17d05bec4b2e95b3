//! The column `resources.unwanted_at`.

use diesel::prelude::*;

use crate::account::AgentKey;
use crate::clock::Timestamp;
use crate::db::schema::{operations, resources};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ResourceId};

/// What is gone.
const GONE: [&str; 2] = ["removed", "failed"];
/// From where it can be removed.
const REMOVABLE: [&str; 2] = ["ready", "suspended"];

pub(super) fn ids_made_by(
    conn: &mut DbConnection,
    agent: &AgentKey,
    since: Timestamp,
    limit: i64,
) -> QueryResult<Vec<ResourceId>> {
    resources::table
        .filter(resources::account_id.eq(&agent.account_id))
        .filter(resources::orchestrator_id.eq(&agent.orchestrator_id))
        .filter(resources::client.eq(&agent.client))
        .filter(resources::created_at.ge(since))
        .filter(resources::state.ne_all(GONE))
        .order(resources::id.desc())
        .select(resources::id)
        .limit(limit)
        .load(conn)
}

/// How much an agent bought since `since`, whatever became of it.
///
/// # Errors
/// When the database fails.
pub fn made_since(conn: &mut DbConnection, agent: &AgentKey, since: Timestamp) -> Result<i64, DbError> {
    Ok(resources::table
        .filter(resources::account_id.eq(&agent.account_id))
        .filter(resources::orchestrator_id.eq(&agent.orchestrator_id))
        .filter(resources::client.eq(&agent.client))
        .filter(resources::created_at.ge(since))
        .count()
        .get_result(conn)?)
}

pub(super) fn wanted_of_agent(
    conn: &mut DbConnection,
    agent: &AgentKey,
    (since, until): (Timestamp, Timestamp),
    limit: i64,
) -> QueryResult<Vec<ResourceId>> {
    resources::table
        .filter(resources::account_id.eq(&agent.account_id))
        .filter(resources::orchestrator_id.eq(&agent.orchestrator_id))
        .filter(resources::client.eq(&agent.client))
        .filter(resources::created_at.ge(since))
        .filter(resources::created_at.le(until))
        .filter(resources::state.ne_all(GONE))
        .filter(resources::unwanted_at.is_null())
        .order(resources::id.desc())
        .select(resources::id)
        .limit(limit)
        .load(conn)
}

pub(super) fn wanted_of_account(
    conn: &mut DbConnection,
    account: &AccountId,
    limit: i64,
) -> QueryResult<Vec<ResourceId>> {
    resources::table
        .filter(resources::account_id.eq(account))
        .filter(resources::state.ne_all(GONE))
        .filter(resources::unwanted_at.is_null())
        .order(resources::id.desc())
        .select(resources::id)
        .limit(limit)
        .load(conn)
}

/// Notes one, and lets the work on it go on now, not when it is due. The operation comes before its resource, as where it is
/// driven.
pub(super) fn mark(conn: &mut DbConnection, account: &AccountId, id: &ResourceId, now: Timestamp) -> QueryResult<()> {
    let open = operations::table
        .filter(operations::account_id.eq(account))
        .filter(operations::resource_id.eq(id))
        .filter(operations::verb.eq("create"))
        .filter(operations::finished_at.is_null());
    diesel::update(open).set(operations::next_try_at.eq(Some(now))).execute(conn)?;
    let row = resources::table.find((account, id)).filter(resources::unwanted_at.is_null());
    diesel::update(row).set(resources::unwanted_at.eq(Some(now))).execute(conn).map(drop)
}

/// What is unwanted and can be removed, the longest first.
pub(super) fn due(conn: &mut DbConnection, now: Timestamp, limit: i64) -> QueryResult<Vec<(AccountId, ResourceId)>> {
    resources::table
        .filter(resources::unwanted_at.le(now))
        .filter(resources::state.eq_any(REMOVABLE))
        .order(resources::unwanted_at)
        .select((resources::account_id, resources::id))
        .limit(limit)
        .load(conn)
}

/// Later, so that what stands in the way goes first.
pub(super) fn postpone(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &ResourceId,
    until: Timestamp,
) -> QueryResult<()> {
    let row = resources::table.find((account, id)).filter(resources::unwanted_at.is_not_null());
    diesel::update(row).set(resources::unwanted_at.eq(Some(until))).execute(conn).map(drop)
}

/// How many resources of an account are not gone.
///
/// # Errors
/// When the database fails.
pub fn count_present(conn: &mut DbConnection, account: &AccountId) -> Result<i64, DbError> {
    Ok(resources::table
        .filter(resources::account_id.eq(account))
        .filter(resources::state.ne_all(GONE))
        .count()
        .get_result(conn)?)
}

/// Whether everything that an account bought is gone, and no work on it is left.
///
/// # Errors
/// When the database fails.
pub fn all_ended(conn: &mut DbConnection, account: &AccountId) -> Result<bool, DbError> {
    let there = count_present(conn, account)?;
    let open: i64 = operations::table
        .filter(operations::account_id.eq(account))
        .filter(operations::finished_at.is_null())
        .count()
        .get_result(conn)?;
    Ok(there == 0 && open == 0)
}
