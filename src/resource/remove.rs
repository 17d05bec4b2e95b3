//! Removing a resource: it stops costing, its credentials are forgotten. Never by a cap, only because its owner says so.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;

use super::constraints::{self, ConstraintError, Leaving};
use super::store::{self, NewOperation};
use super::{AdvanceError, Desk, Resource, ResourceState, advance};
use crate::account::{self, AdmitError, AgentKey, Barred};
use crate::audit::{self, Fact};
use crate::catalog::Edition;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OperationId, ResourceId};

/// Why a resource is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The account has no such resource.
    #[error("the account has no such resource")]
    NotFound,
    /// Work on it is not finished, or needs a human.
    #[error("the resource is being made or its outcome is unknown: {0:?}")]
    Busy(ResourceState),
    /// The owner barred the agent, or the account was claimed a moment ago.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// Something else needs it.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The rows contradict each other.
    #[error("the rows of a resource contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The work could not go on; a worker takes it up.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<AdmitError> for RemoveError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Barred(barred) => Self::Barred(barred),
            AdmitError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for RemoveError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// On whose word.
#[derive(Debug, Clone)]
pub enum By {
    /// The owner's, here.
    Owner,
    /// A program's.
    Agent(AgentKey),
}

impl By {
    /// Whoever was barred since the token was looked at comes too late.
    fn actor(&self, conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<String, AdmitError> {
        Ok(match self {
            Self::Owner => format!("user:{account}"),
            Self::Agent(key) => format!("agent:{}", account::act(conn, key, now)?.id),
        })
    }
}

/// Removes a resource, unless the catalog (as `edition` has it) says that another one needs it. One that is gone, or never
/// came to be, stays so; repeating it is safe.
///
/// # Errors
/// See [`RemoveError`].
pub async fn remove(
    desk: &Desk,
    edition: Arc<Edition>,
    (account, id): (&AccountId, &ResourceId),
    by: &By,
    now: Timestamp,
) -> Result<(), RemoveError> {
    let operation = OperationId::new(now);
    let work = {
        let (account, id, operation, by) = (account.clone(), id.clone(), operation.clone(), by.clone());
        move |conn: &mut DbConnection| begin(conn, &edition, (&account, &id), (&operation, &by), now)
    };
    if desk.cashier.db.write(account.as_str(), work).await? {
        advance::advance(desk, account, &operation, now).await?;
    }
    Ok(())
}

/// `false`: there is nothing to do.
fn begin(
    conn: &mut DbConnection,
    edition: &Edition,
    (account, id): (&AccountId, &ResourceId),
    (operation, by): (&OperationId, &By),
    now: Timestamp,
) -> Result<bool, RemoveError> {
    // The account before the resource, as everywhere; and what is read before the lock may be another's past.
    store::lock_account(conn, account)?;
    let actor = by.actor(conn, account, now)?;
    let resource = store::by_id(conn, account, id)?.ok_or(RemoveError::NotFound)?;
    if resource.quarantined_at.is_some() {
        return Err(RemoveError::Busy(ResourceState::Suspended));
    }
    if REMOVABLE.contains(&resource.state) {
        let plan = format!("{}/{}", resource.service, resource.plan).parse();
        let plan = plan.map_err(|_bad| RemoveError::Inconsistent("a resource of no plan"))?;
        constraints::may_leave(conn, &Leaving { account, edition, id, plan: &plan }, None)??;
    }
    let taken_up = now.plus(TimeDelta::seconds(30));
    if !begin_removal(conn, &resource, (operation, &actor), (now, taken_up))? {
        let resource = store::by_id(conn, account, id)?.ok_or(RemoveError::NotFound)?;
        return match resource.state {
            ResourceState::Removing | ResourceState::Removed | ResourceState::Failed => Ok(false),
            state => Err(RemoveError::Busy(state)),
        };
    }
    Ok(true)
}

/// States from which a resource can be removed.
const REMOVABLE: [ResourceState; 2] = [ResourceState::Ready, ResourceState::Suspended];

/// Writes down that a resource goes, and the work, which a worker takes up at `taken_up`. `false`: it cannot go as it is.
pub(super) fn begin_removal(
    conn: &mut DbConnection,
    resource: &Resource,
    (operation, actor): (&OperationId, &str),
    (now, taken_up): (Timestamp, Timestamp),
) -> diesel::QueryResult<bool> {
    let (account, id) = (&resource.account_id, &resource.id);
    if !store::set_state(conn, (account, id), &REMOVABLE, ResourceState::Removing, None, now)? {
        return Ok(false);
    }
    let row = NewOperation {
        account_id: account,
        id: operation,
        resource_id: id,
        verb: "remove",
        state: "running",
        step: "remove",
        attempts: 0,
        created_at: now,
        deadline_at: now.plus(TimeDelta::hours(24)),
        next_try_at: Some(taken_up),
    };
    store::insert_operation(conn, &row)?;
    let fact = Fact {
        actor: actor.to_owned(),
        action: "resource.remove_wanted",
        account_id: Some(account),
        subject: id.to_string(),
        detail: json!({"name": resource.name, "service": resource.service, "plan": resource.plan}),
    };
    audit::append(conn, &fact, now)?;
    Ok(true)
}

/// The fact that something came of an operation.
pub(super) fn record(
    conn: &mut DbConnection,
    resource: &Resource,
    action: &'static str,
    why: Option<&str>,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let fact = Fact {
        actor: "system".to_owned(),
        action,
        account_id: Some(&resource.account_id),
        subject: resource.id.to_string(),
        detail: json!({"name": resource.name, "service": resource.service, "plan": resource.plan, "reason": why}),
    };
    audit::append(conn, &fact, now)
}
