//! The column `resources.quarantined_at`, and the operations that wait because of it.

use chrono::TimeDelta;
use diesel::dsl::{exists, not};
use diesel::prelude::*;

use super::ResourceState;
use super::store::{NewOperation, Operation, insert_operation};
use crate::clock::Timestamp;
use crate::db::schema::{brought_resources, distrust_items, operations, resources};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId, OperationId, OrchestratorId, ResourceId};

/// What the driver is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Halt {
    /// Make it unusable.
    Suspend,
    /// Make it usable again.
    Resume,
}

impl Halt {
    /// The verb and its only step.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }
}

/// Whether an operation goes on although its resource is held back.
pub(super) fn is_halt(operation: &Operation) -> bool {
    matches!(operation.verb.as_str(), "suspend" | "resume")
}

/// Whether a resource is held back.
pub(super) fn is_quarantined(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> QueryResult<bool> {
    let held = resources::table.find((account, id)).filter(resources::quarantined_at.is_not_null());
    Ok(held.count().get_result::<i64>(conn)? > 0)
}

/// Whether this call did it.
pub(super) fn set_quarantined(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &ResourceId,
    now: Timestamp,
) -> QueryResult<bool> {
    let free = resources::table.find((account, id)).filter(resources::quarantined_at.is_null());
    Ok(diesel::update(free).set(resources::quarantined_at.eq(Some(now))).execute(conn)? == 1)
}

/// Whether this call did it.
pub(super) fn clear_quarantined(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> QueryResult<bool> {
    let held = resources::table.find((account, id)).filter(resources::quarantined_at.is_not_null());
    Ok(diesel::update(held).set(resources::quarantined_at.eq(None::<Timestamp>)).execute(conn)? == 1)
}

/// Whether there is something at the platform, as far as we know.
pub(super) fn is_made(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> QueryResult<bool> {
    let states = [ResourceState::Ready, ResourceState::Changing, ResourceState::Suspended].map(ResourceState::as_str);
    let made = resources::table.find((account, id)).filter(resources::state.eq_any(states));
    Ok(made.count().get_result::<i64>(conn)? > 0)
}

/// Work on the resource waits until it is given back.
pub(super) fn park(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> QueryResult<()> {
    let open = operations::table
        .filter(operations::account_id.eq(account))
        .filter(operations::resource_id.eq(id))
        .filter(operations::finished_at.is_null());
    let parked = (operations::state.eq("quarantined"), operations::next_try_at.eq(None::<Timestamp>));
    diesel::update(open).set(parked).execute(conn).map(drop)
}

/// One operation waits until its resource is given back; if it was a moment ago, it is due at once.
pub(super) fn park_one(conn: &mut DbConnection, operation: &Operation, now: Timestamp) -> QueryResult<()> {
    let held = is_quarantined(conn, &operation.account_id, &operation.resource_id)?;
    let row = operations::table.find((&operation.account_id, &operation.id)).filter(operations::finished_at.is_null());
    let (state, next) = if held { ("quarantined", None) } else { ("running", Some(now)) };
    diesel::update(row).set((operations::state.eq(state), operations::next_try_at.eq(next))).execute(conn).map(drop)
}

/// Work on the resource goes on, with a day more; what the driver was still to suspend it need not.
pub(super) fn unpark(conn: &mut DbConnection, account: &AccountId, id: &ResourceId, now: Timestamp) -> QueryResult<()> {
    let open = || {
        operations::table
            .filter(operations::account_id.eq(account))
            .filter(operations::resource_id.eq(id))
            .filter(operations::finished_at.is_null())
    };
    diesel::update(open().filter(operations::verb.eq(Halt::Suspend.as_str())))
        .set((
            operations::state.eq("finished"),
            operations::step.eq(""),
            operations::next_try_at.eq(None::<Timestamp>),
            operations::finished_at.eq(Some(now)),
        ))
        .execute(conn)?;
    diesel::update(open())
        .set((
            operations::state.eq("running"),
            operations::next_try_at.eq(Some(now)),
            operations::deadline_at.eq(now.plus(TimeDelta::hours(24))),
        ))
        .execute(conn)
        .map(drop)
}

/// Asks the driver, as soon as a worker gets to it.
pub(super) fn insert_halt(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    halt: Halt,
    now: Timestamp,
) -> QueryResult<()> {
    let row = NewOperation {
        account_id: account,
        id: &OperationId::new(now),
        resource_id: id,
        verb: halt.as_str(),
        state: "running",
        step: halt.as_str(),
        attempts: 0,
        created_at: now,
        deadline_at: now.plus(TimeDelta::hours(24)),
        next_try_at: Some(now),
    };
    insert_operation(conn, &row)
}

/// Where things of an account come from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// It does not matter.
    Any,
    /// They were made there.
    Here,
    /// They were made in one of these accounts, and came from there.
    From(&'a [AccountId]),
}

/// What these accounts have through the orchestrator that comes from `origin` and was made since `since`, or got other
/// credentials since then; at most `limit`, without what the distrust `except` holds back already.
///
/// # Errors
/// When the database fails.
pub fn made_or_renewed(
    conn: &mut DbConnection,
    (orchestrator, accounts): (&OrchestratorId, &[AccountId]),
    (since, origin): (Timestamp, Origin<'_>),
    except: Option<&DistrustId>,
    limit: i64,
) -> Result<Vec<(AccountId, ResourceId)>, DbError> {
    let gone = [ResourceState::Removed, ResourceState::Failed].map(ResourceState::as_str);
    let renewed = operations::table
        .filter(operations::account_id.eq(resources::account_id))
        .filter(operations::resource_id.eq(resources::id))
        .filter(operations::verb.eq_any(["rotate", "change"]))
        .filter(operations::created_at.ge(since));
    let held = distrust_items::table
        .filter(distrust_items::distrust_id.eq(except.map_or("", DistrustId::as_str)))
        .filter(distrust_items::kind.eq("resource"))
        .filter(distrust_items::account_id.eq(resources::account_id))
        .filter(distrust_items::subject.eq(resources::id));
    let brought = brought_resources::table
        .filter(brought_resources::account_id.eq(resources::account_id))
        .filter(brought_resources::resource_id.eq(resources::id));
    let mut made = resources::table
        .filter(resources::account_id.eq_any(accounts))
        .filter(resources::orchestrator_id.eq(orchestrator))
        .filter(resources::state.ne_all(gone))
        .filter(resources::created_at.ge(since).or(exists(renewed)))
        .filter(not(exists(held)))
        .order((resources::account_id, resources::id))
        .limit(limit)
        .select((resources::account_id, resources::id))
        .into_boxed();
    made = match origin {
        Origin::Any => made,
        Origin::Here => made.filter(not(exists(brought))),
        Origin::From(others) => made.filter(exists(brought.filter(brought_resources::from_account.eq_any(others)))),
    };
    Ok(made.load(conn)?)
}
