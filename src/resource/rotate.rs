//! New credentials for a resource. Whether the ones before work on for a while is the driver's word.

use chrono::TimeDelta;
use serde_json::json;

use super::buy::{DEADLINE, HAND_OVER, TRIES};
use super::change::{Changed, done_before};
use super::store::{self, NewOperation};
use super::{AdvanceError, Desk, Resource, ResourceState, advance, change_store, wire_store};
use crate::account::{AgentKey, Barred};
use crate::audit::{self, Fact};
use crate::authorization::{self, EnterError, Scope};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency::{self, KeyReused, Keyed, NewKey};
use crate::ids::{OperationId, ResourceId};

/// How long the credentials before may work on: more than this is no rotation.
pub const LONGEST_OVERLAP: TimeDelta = TimeDelta::days(30);

/// Why nothing is rotated. The credentials are what they were.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The account has no such resource.
    #[error("the account has no such resource")]
    NotFound,
    /// Another program bought it: its credentials, and what is spent with them, are that one's.
    #[error("another program bought the resource")]
    Others,
    /// It is not ready: other work on it is not finished, or it is gone.
    #[error("the resource is {}", .0.as_str())]
    NotReady(ResourceState),
    /// The owner barred the agent, or the account was claimed a moment ago.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The owner took the scope from the agent since the token was looked at.
    #[error("the owner of the account took this from the agent")]
    Narrowed,
    /// The key belongs to another request.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
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

impl From<EnterError> for RotateError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Barred(barred) => Self::Barred(barred),
            EnterError::Narrowed => Self::Narrowed,
            EnterError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for RotateError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Replaces a resource's credentials, for an agent. The same key again never rotates twice.
///
/// # Errors
/// See [`RotateError`].
pub async fn rotate(
    desk: &Desk,
    agent: &AgentKey,
    id: &ResourceId,
    keyed: Keyed,
    now: Timestamp,
) -> Result<Changed, RotateError> {
    let account = &agent.account_id;
    let operation = OperationId::new(now);
    let mut tries = TRIES;
    let changed = loop {
        let (agent, id, keyed, operation) = (agent.clone(), id.clone(), keyed.clone(), operation.clone());
        let key = account.as_str().to_owned();
        let work = move |conn: &mut DbConnection| begin(conn, (&agent, &id), &keyed, &operation, now);
        match desk.cashier.db.write(&key, work).await {
            Err(RotateError::Db(error)) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => break other?,
        }
    };
    if !changed.repeated {
        advance::advance(desk, account, &operation, now).await?;
    }
    Ok(changed)
}

/// Credentials are given to the program that bought, within its own limits: what is used with them is counted there. An
/// orchestrator may also rotate what is linked to it on the wire.
fn is_its_own(conn: &mut DbConnection, agent: &AgentKey, resource: &Resource) -> Result<bool, DbError> {
    let platform = agent.client == agent.orchestrator_id.as_str();
    let bought = resource.client.as_deref().map_or(platform, |client| client == agent.client);
    if bought && resource.orchestrator_id == agent.orchestrator_id {
        return Ok(true);
    }
    let holder = wire_store::holder(conn, &agent.account_id, &resource.id)?;
    Ok(platform && holder.as_ref() == Some(&agent.orchestrator_id))
}

fn begin(
    conn: &mut DbConnection,
    (agent, id): (&AgentKey, &ResourceId),
    keyed: &Keyed,
    operation: &OperationId,
    now: Timestamp,
) -> Result<Changed, RotateError> {
    let account = &agent.account_id;
    if let Some(done) = idempotency::find(conn, account, keyed, now)? {
        return done_before(done, keyed)?.ok_or(RotateError::Inconsistent("a rotation's key names no operation"));
    }
    let (subject, lifetime) = (Some(operation.as_str()), idempotency::LIFETIME);
    let key = NewKey { account_id: account, keyed, subject, sealed_answer: None, lifetime };
    idempotency::insert(conn, &key, now)?;
    // Whoever was barred or narrowed since the token was looked at comes too late.
    let acting = authorization::act(conn, agent, Scope::ResourcesWrite, now)?;
    let resource = store::by_id(conn, account, id)?.ok_or(RotateError::NotFound)?;
    if !is_its_own(conn, agent, &resource)? {
        return Err(RotateError::Others);
    }
    if !change_store::begin(conn, (account, id), None, now)? {
        let resource = store::by_id(conn, account, id)?.ok_or(RotateError::NotFound)?;
        return Err(RotateError::NotReady(resource.state));
    }
    let row = NewOperation {
        account_id: account,
        id: operation,
        resource_id: id,
        verb: "rotate",
        state: "running",
        step: "rotate",
        attempts: 0,
        created_at: now,
        deadline_at: now.plus(DEADLINE),
        next_try_at: Some(now.plus(HAND_OVER)),
    };
    store::insert_operation(conn, &row)?;
    let fact = Fact {
        actor: format!("agent:{}", acting.id),
        action: "resource.rotate_wanted",
        account_id: Some(account),
        subject: id.to_string(),
        detail: json!({"name": resource.name}),
    };
    audit::append(conn, &fact, now)?;
    Ok(Changed { operation: Some(operation.clone()), repeated: false })
}
