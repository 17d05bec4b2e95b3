//! New credentials for a resource. Whether the ones before work on for a while is the driver's word.

use chrono::TimeDelta;

use super::buy::{DEADLINE, HAND_OVER, TRIES};
use super::change::{Changed, done_before};
use super::store::{self, NewOperation};
use super::{AdvanceError, Desk, ResourceState, advance, change_store};
use crate::account::{self, AdmitError, AgentKey, Barred};
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
    /// It is not ready: other work on it is not finished, or it is gone.
    #[error("the resource is {}", .0.as_str())]
    NotReady(ResourceState),
    /// The owner barred the agent, or the account was claimed a moment ago.
    #[error(transparent)]
    Barred(#[from] Barred),
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

impl From<AdmitError> for RotateError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Barred(barred) => Self::Barred(barred),
            AdmitError::Db(error) => Self::Db(error),
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
    // Whoever was barred since the token was looked at comes too late.
    account::act(conn, agent, now)?;
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
    Ok(Changed { operation: Some(operation.clone()), repeated: false })
}
