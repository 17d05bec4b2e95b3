//! The table `agents`.

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{Agent, AgentKey};
use crate::clock::Timestamp;
use crate::db::schema::agents;
use crate::db::{DbConnection, DbError, directly, prepared};
use crate::ids::{AccountId, AgentId, OrchestratorId};
use crate::money::{Amount, Currency, Money};

#[derive(Queryable)]
struct Row {
    account_id: AccountId,
    orchestrator_id: OrchestratorId,
    client: String,
    id: AgentId,
    name: Option<String>,
    scope: Option<String>,
    currency: Option<Currency>,
    per_month: Option<Amount>,
    created_at: Timestamp,
    used_at: Timestamp,
    paused_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    undo_from: Option<Timestamp>,
}

impl From<Row> for Agent {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            key: AgentKey { account_id: row.account_id, orchestrator_id: row.orchestrator_id, client: row.client },
            name: row.name,
            scope: row.scope,
            cap: row.per_month.zip(row.currency).map(|(amount, currency)| Money { amount, currency }),
            created_at: row.created_at,
            used_at: row.used_at,
            paused_at: row.paused_at,
            revoked_at: row.revoked_at,
            undo_from: row.undo_from,
        }
    }
}

pub(super) fn insert(conn: &mut DbConnection, agent: &Agent) -> QueryResult<()> {
    diesel::insert_into(agents::table)
        .values((
            agents::account_id.eq(&agent.key.account_id),
            agents::orchestrator_id.eq(&agent.key.orchestrator_id),
            agents::client.eq(&agent.key.client),
            agents::id.eq(&agent.id),
            agents::name.eq(agent.name.as_deref()),
            agents::created_at.eq(agent.created_at),
            agents::used_at.eq(agent.used_at),
        ))
        .execute(conn)
        .map(drop)
}

/// Whether anything else stands in the way is told by [`by_key`]; here an agent that is not barred is locked and noted.
pub(super) fn touch(conn: &mut DbConnection, key: &AgentKey, now: Timestamp) -> QueryResult<Option<Agent>> {
    let AgentKey { account_id, orchestrator_id, client } = key;
    let row = agents::table.find((account_id, orchestrator_id, client));
    let found = match conn {
        // One that is barred is not locked: its account is locked first then, as everywhere.
        DbConnection::Postgres(conn) => row
            .filter(agents::paused_at.is_null())
            .filter(agents::revoked_at.is_null())
            .for_no_key_update()
            .get_result::<Row>(conn),
        // It has one writer, and this is a part of what it does.
        DbConnection::Sqlite(conn) => row.get_result::<Row>(conn),
    };
    let found = found.optional()?.map(Agent::from).filter(|agent| agent.barred().is_none());
    let Some(mut agent) = found else { return Ok(None) };
    if USED_WITHIN <= now.since(agent.used_at).abs() {
        let update = Touch { now: &now, account: account_id, orchestrator: orchestrator_id, client };
        directly!(conn, |conn| update.execute(conn))?;
        agent.used_at = now;
    }
    Ok(Some(agent))
}

/// How exactly it is known when an agent was last used.
const USED_WITHIN: TimeDelta = TimeDelta::minutes(1);

prepared! {
    /// Sets the time of an agent's use.
    Touch:
    "UPDATE agents SET used_at = " (now: Timestamp as BigInt)
    " WHERE account_id = " (account: AccountId as Text)
    " AND orchestrator_id = " (orchestrator: OrchestratorId as Text)
    " AND client = " (client: str as Text)
}

pub(super) fn by_key(conn: &mut DbConnection, key: &AgentKey) -> QueryResult<Option<Agent>> {
    let row = agents::table.find((&key.account_id, &key.orchestrator_id, &key.client));
    Ok(directly!(conn, |conn| row.get_result::<Row>(conn)).optional()?.map(Agent::from))
}

/// The agent of an account with this key, as it is now.
///
/// # Errors
/// When the database fails.
pub fn agent_by_key(conn: &mut DbConnection, key: &AgentKey) -> Result<Option<Agent>, DbError> {
    Ok(by_key(conn, key)?)
}

/// The agent of an account with this id.
///
/// # Errors
/// When the database fails.
pub fn agent_by_id(conn: &mut DbConnection, account: &AccountId, id: &AgentId) -> Result<Option<Agent>, DbError> {
    let row = agents::table.filter(agents::id.eq(id)).filter(agents::account_id.eq(account));
    Ok(row.first::<Row>(conn).optional()?.map(Agent::from))
}

/// The agent with this id, whosever it is: for links that name nothing else.
///
/// # Errors
/// When the database fails.
pub fn agent_of_link(conn: &mut DbConnection, id: &AgentId) -> Result<Option<Agent>, DbError> {
    Ok(agents::table.filter(agents::id.eq(id)).first::<Row>(conn).optional()?.map(Agent::from))
}

/// Agents of an account, newest first, at most `limit`, older than `before`.
///
/// # Errors
/// When the database fails.
pub fn agents_of(
    conn: &mut DbConnection,
    account: &AccountId,
    before: Option<&AgentId>,
    limit: i64,
) -> Result<Vec<Agent>, DbError> {
    let mut query =
        agents::table.filter(agents::account_id.eq(account)).order(agents::id.desc()).limit(limit).into_boxed();
    if let Some(before) = before {
        query = query.filter(agents::id.lt(before.as_str()));
    }
    Ok(query.load::<Row>(conn)?.into_iter().map(Agent::from).collect())
}

/// How many agents of an account are not ended.
///
/// # Errors
/// When the database fails.
pub fn count_agents(conn: &mut DbConnection, account: &AccountId) -> Result<i64, DbError> {
    let standing = agents::table.filter(agents::account_id.eq(account)).filter(agents::revoked_at.is_null());
    Ok(standing.count().get_result(conn)?)
}

/// Agents that were paused after `since`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn paused_since(conn: &mut DbConnection, since: Timestamp, limit: i64) -> Result<Vec<AgentKey>, DbError> {
    let rows: Vec<(AccountId, OrchestratorId, String)> = agents::table
        .filter(agents::paused_at.is_not_null())
        .filter(agents::paused_at.gt(since))
        .select((agents::account_id, agents::orchestrator_id, agents::client))
        .limit(limit)
        .load(conn)?;
    let key = |(account_id, orchestrator_id, client)| AgentKey { account_id, orchestrator_id, client };
    Ok(rows.into_iter().map(key).collect())
}

pub(super) fn reset(
    conn: &mut DbConnection,
    key: &AgentKey,
    (name, scope, cap): (Option<&str>, Option<&str>, Option<Money>),
    now: Timestamp,
) -> QueryResult<()> {
    diesel::update(agents::table.find((&key.account_id, &key.orchestrator_id, &key.client)))
        .set((
            agents::name.eq(name),
            agents::scope.eq(scope),
            agents::currency.eq(cap.map(|cap| cap.currency)),
            agents::per_month.eq(cap.map(|cap| cap.amount)),
            agents::paused_at.eq(None::<Timestamp>),
            agents::revoked_at.eq(None::<Timestamp>),
            agents::used_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

pub(super) fn set_paused(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    now: Timestamp,
) -> QueryResult<bool> {
    let going = agents::table
        .filter(agents::id.eq(id))
        .filter(agents::account_id.eq(account))
        .filter(agents::paused_at.is_null())
        .filter(agents::revoked_at.is_null());
    Ok(diesel::update(going).set(agents::paused_at.eq(Some(now))).execute(conn)? == 1)
}

pub(super) fn set_going(conn: &mut DbConnection, account: &AccountId, id: &AgentId) -> QueryResult<bool> {
    let barred = agents::table
        .filter(agents::id.eq(id))
        .filter(agents::account_id.eq(account))
        .filter(agents::paused_at.is_not_null().or(agents::revoked_at.is_not_null()));
    let free = (agents::paused_at.eq(None::<Timestamp>), agents::revoked_at.eq(None::<Timestamp>));
    Ok(diesel::update(barred).set(free).execute(conn)? == 1)
}

pub(super) fn set_revoked(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    now: Timestamp,
) -> QueryResult<bool> {
    let standing = agents::table
        .filter(agents::id.eq(id))
        .filter(agents::account_id.eq(account))
        .filter(agents::revoked_at.is_null());
    let ended = (agents::revoked_at.eq(Some(now)), agents::paused_at.eq(None::<Timestamp>));
    Ok(diesel::update(standing).set(ended).execute(conn)? == 1)
}

/// An undoing that is under way keeps its beginning.
pub(super) fn set_undo(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    from: Timestamp,
) -> QueryResult<bool> {
    let row = agents::table
        .filter(agents::id.eq(id))
        .filter(agents::account_id.eq(account))
        .filter(agents::undo_from.is_null());
    Ok(diesel::update(row).set(agents::undo_from.eq(Some(from))).execute(conn)? == 1)
}

pub(super) fn clear_undo(conn: &mut DbConnection, seen: &Agent) -> QueryResult<()> {
    let row = agents::table.filter(agents::id.eq(&seen.id)).filter(agents::undo_from.eq(seen.undo_from));
    diesel::update(row).set(agents::undo_from.eq(None::<Timestamp>)).execute(conn).map(drop)
}

/// Agents of which not all that is to be undone is noted, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn undoing(conn: &mut DbConnection, limit: i64) -> Result<Vec<Agent>, DbError> {
    let rows: Vec<Row> =
        agents::table.filter(agents::undo_from.is_not_null()).order(agents::undo_from).limit(limit).load(conn)?;
    Ok(rows.into_iter().map(Agent::from).collect())
}

pub(super) fn set_scope(conn: &mut DbConnection, seen: &Agent, to: &str) -> QueryResult<bool> {
    let row = agents::table.filter(agents::id.eq(&seen.id)).filter(agents::account_id.eq(&seen.key.account_id));
    let set = agents::scope.eq(Some(to));
    let changed = match &seen.scope {
        Some(was) => diesel::update(row.filter(agents::scope.eq(was))).set(set).execute(conn)?,
        None => diesel::update(row.filter(agents::scope.is_null())).set(set).execute(conn)?,
    };
    Ok(changed == 1)
}

pub(super) fn lower_cap(conn: &mut DbConnection, account: &AccountId, id: &AgentId, cap: Money) -> QueryResult<bool> {
    let higher = agents::table
        .filter(agents::id.eq(id))
        .filter(agents::account_id.eq(account))
        .filter(agents::per_month.is_null().or(agents::per_month.assume_not_null().gt(cap.amount)));
    let set = (agents::currency.eq(Some(cap.currency)), agents::per_month.eq(Some(cap.amount)));
    Ok(diesel::update(higher).set(set).execute(conn)? == 1)
}
