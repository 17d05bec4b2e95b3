//! Driving the work on a resource, one repeatable step after another. The request that began it and the worker that
//! finds it left over run this same code.
//!
//! Steps: `authorize` (the issuer sets the money aside), `create` (the driver makes the thing, still without giving out
//! its credentials), `capture` (the issuer takes the money), `remove`; and for what was refused, `void` (the issuer sets
//! the money free), `unmake` (the driver takes back what was made) and `withdraw` (it does, although the money is not
//! free). Each step speaks to the outside first, and then writes what it learned and the next step in one transaction.
//!
//! What follows `void` says what to do in either case. `void unmake`: something was made; unmake it, or hand it over
//! when the issuer took the money after all. `void create`: nothing was made yet; fail, or make it when it is paid.

use std::sync::Arc;

use chrono::TimeDelta;

use super::drivers::{Credentials, Driver, Outcome, Work};
use super::read::credentials_place;
use super::store::{self, Operation};
use super::{Desk, Resource, ResourceState};
use crate::clock::{Clock, Timestamp};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, HoldId, OperationId};
use crate::payment::cashier::{Cash, CashierError, GivenBack};
use crate::signing::SealError;

/// How often one call may go from step to step.
const MAX_STEPS: u32 = 8;

/// How many operations a worker takes up at once.
const BATCH: i64 = 32;

/// How long a claim lasts.
const CLAIM: TimeDelta = TimeDelta::seconds(60);

/// Where the work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All steps are done, or what was refused is undone.
    Finished,
    /// Something outside has not answered yet; a worker goes on.
    Waiting,
}

/// Why the work could not go on. It is taken up again.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The money's side.
    #[error(transparent)]
    Cashier(#[from] CashierError),
    /// Credentials could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The rows contradict each other.
    #[error("the rows of a resource contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for AdvanceError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What a step led to.
enum Step {
    /// On to the next one; with credentials, where the step made some.
    Done(Option<Credentials>),
    /// For good: why. The money is free again.
    Failed(String),
    /// For good, while money is set aside: give it back first, and then go on with these steps.
    Undo { why: String, then: &'static str },
    /// What was to be undone is paid after all: it stays.
    Paid,
    /// The money cannot be given back, for good: what was made is taken back all the same.
    Withdraw(String),
    /// Not without a human.
    Attention(String),
    /// What was made is taken back; its money needs a human.
    Withdrawn(String),
    /// Not yet.
    Wait,
}

/// Drives an operation as far as it goes now.
///
/// # Errors
/// See [`AdvanceError`]; what was done stays done, and a worker takes the rest up.
pub async fn advance(
    desk: &Desk,
    account: &AccountId,
    operation: &OperationId,
    now: Timestamp,
) -> Result<Progress, AdvanceError> {
    for _ in 0..MAX_STEPS {
        let (operation, resource) = load(desk, account, operation).await?;
        if operation.finished {
            return Ok(Progress::Finished);
        }
        let step = run(desk, &operation, &resource, now).await?;
        if matches!(step, Step::Wait) {
            wait(desk, operation, resource, now).await?;
            return Ok(Progress::Waiting);
        }
        write(desk, operation, resource, step, now).await?;
    }
    Ok(Progress::Waiting)
}

async fn load(
    desk: &Desk,
    account: &AccountId,
    operation: &OperationId,
) -> Result<(Operation, Resource), AdvanceError> {
    let (account, operation) = (account.clone(), operation.clone());
    desk.cashier
        .db
        .read(move |conn| {
            let operation = store::operation(conn, &account, &operation)?;
            let resource = store::by_id(conn, &account, &operation.resource_id)?;
            Ok((operation, resource.ok_or(AdvanceError::Inconsistent("an operation without its resource"))?))
        })
        .await
}

fn first(steps: &str) -> &str {
    steps.split(' ').next().unwrap_or("")
}

fn rest(steps: &str) -> &str {
    steps.split_once(' ').map_or("", |(_, rest)| rest)
}

async fn run(desk: &Desk, operation: &Operation, resource: &Resource, now: Timestamp) -> Result<Step, AdvanceError> {
    let account = &operation.account_id;
    match first(&operation.steps) {
        "authorize" => Ok(match desk.cashier.authorize(account, hold(resource)?, now).await? {
            Cash::Done => Step::Done(None),
            Cash::Refused(code) => Step::Failed(code),
            Cash::Unknown => Step::Wait,
        }),
        "capture" => Ok(match desk.cashier.capture(account, hold(resource)?, now).await? {
            Cash::Done => Step::Done(None),
            Cash::Refused(why) => Step::Undo { why, then: after_refusal(&operation.steps) },
            Cash::Unknown => Step::Wait,
        }),
        "void" => Ok(given_back(desk.cashier.void(account, hold(resource)?, now).await?, operation)),
        "create" => create(desk, operation, resource).await,
        "remove" => remove(desk, operation, resource).await,
        "unmake" => unmake(desk, operation, resource).await,
        "withdraw" => withdraw(desk, operation, resource).await,
        _ => Err(AdvanceError::Inconsistent("an operation with an unknown step")),
    }
}

fn hold(resource: &Resource) -> Result<&HoldId, AdvanceError> {
    resource.hold_id.as_ref().ok_or(AdvanceError::Inconsistent("a paid resource without a hold"))
}

fn reason(operation: &Operation) -> String {
    operation.reason.clone().unwrap_or_else(|| "refused".to_owned())
}

/// What is left to do after a refused capture's money was given back, or was taken after all: something to unmake when
/// it was made, something to make when that comes only after the capture.
fn after_refusal(steps: &str) -> &'static str {
    if rest(steps).split(' ').any(|step| step == "create") { "create" } else { "unmake" }
}

fn given_back(given: GivenBack, operation: &Operation) -> Step {
    let then = rest(&operation.steps);
    match given {
        GivenBack::Done if then == "unmake" => Step::Done(None),
        GivenBack::Done => Step::Failed(reason(operation)),
        GivenBack::Taken if then == "unmake" => Step::Paid,
        GivenBack::Taken if then == "create" => Step::Done(None),
        GivenBack::Taken => Step::Attention(format!("paid, and not made: {}", reason(operation))),
        GivenBack::Refused(code) => {
            let why = format!("the money could not be given back: {code}");
            if then == "unmake" { Step::Withdraw(why) } else { Step::Attention(why) }
        }
        GivenBack::Unknown => Step::Wait,
    }
}

/// The issuer keeps money that is not ours: what was made is unmade, and a human settles the rest.
async fn withdraw(desk: &Desk, operation: &Operation, resource: &Resource) -> Result<Step, AdvanceError> {
    let why = reason(operation);
    Ok(match remove(desk, operation, resource).await? {
        Step::Done(_) => Step::Withdrawn(why),
        Step::Wait => Step::Wait,
        _ => Step::Attention(format!("{why}, and the platform does not remove what it made")),
    })
}

/// The money cannot be had after the thing was made: it is unmade, as far as the driver can.
async fn unmake(desk: &Desk, operation: &Operation, resource: &Resource) -> Result<Step, AdvanceError> {
    let code = reason(operation);
    Ok(match remove(desk, operation, resource).await? {
        Step::Done(_) => Step::Failed(code),
        Step::Wait => Step::Wait,
        _ => Step::Attention(format!("unpaid ({code}), and the platform does not remove it")),
    })
}

async fn create(desk: &Desk, operation: &Operation, resource: &Resource) -> Result<Step, AdvanceError> {
    let undo = |why: String| Step::Undo { why, then: "" };
    let Some((driver, work)) = work(desk, operation, resource)? else {
        return Ok(undo("the catalog's files no longer say how this is made".to_owned()));
    };
    // Every call may be repeated with the same operation, so a crash before the driver heard of it is no special case.
    Ok(match driver.create(&work).await {
        Outcome::Done(credentials) => Step::Done(Some(credentials)),
        Outcome::Pending => Step::Wait,
        Outcome::Refused(why) => undo(why),
        Outcome::Unknown(why) => {
            tracing::warn!(resource.id = %resource.id, why, "a driver's answer is missing");
            Step::Wait
        }
    })
}

async fn remove(desk: &Desk, operation: &Operation, resource: &Resource) -> Result<Step, AdvanceError> {
    let Some((driver, work)) = work(desk, operation, resource)? else {
        return Ok(Step::Attention("the catalog's files no longer say how this is unmade".to_owned()));
    };
    Ok(match driver.remove(&work).await {
        Outcome::Done(()) => Step::Done(None),
        Outcome::Pending => Step::Wait,
        Outcome::Refused(why) => Step::Attention(why),
        Outcome::Unknown(why) => {
            tracing::warn!(resource.id = %resource.id, why, "a driver's answer is missing");
            Step::Wait
        }
    })
}

/// A driver and what it is told.
type Bound = (Arc<dyn Driver>, Work);

/// How the resource is made. `None`: the catalog's files no longer have the service.
fn work(desk: &Desk, operation: &Operation, resource: &Resource) -> Result<Option<Bound>, AdvanceError> {
    let Some(binding) = (desk.bindings)(&resource.service) else { return Ok(None) };
    let Some(driver) = desk.drivers.get(&binding.driver).cloned() else { return Ok(None) };
    let work = Work {
        operation_id: operation.id.clone(),
        resource_id: resource.id.clone(),
        account_id: resource.account_id.clone(),
        service: resource.service.clone(),
        plan: resource.plan.clone(),
        settings: binding.settings,
        configuration: serde_json::from_str(&resource.configuration)
            .map_err(|_not_json| AdvanceError::Inconsistent("a configuration that is no JSON"))?,
    };
    Ok(Some((driver, work)))
}

/// What is not answered yet is asked again, later each time; past the deadline a human is called as well.
async fn wait(desk: &Desk, operation: Operation, resource: Resource, now: Timestamp) -> Result<(), AdvanceError> {
    let doubled = 2_i64.saturating_pow(u32::try_from(operation.attempts.clamp(0, 10)).unwrap_or(0));
    let again = now.plus(TimeDelta::seconds(doubled.clamp(1, 600)));
    let late = operation.deadline_at <= now;
    let account = operation.account_id.clone();
    let work = move |conn: &mut DbConnection| {
        store::try_again_at(conn, &operation, again)?;
        if late {
            let from = [ResourceState::Provisioning, ResourceState::Removing];
            let why = Some("the outcome is unknown past the deadline");
            let whose = (&operation.account_id, &resource.id);
            store::set_state(conn, whose, &from, ResourceState::NeedsAttention, why, now)?;
        }
        Ok(())
    };
    desk.cashier.db.write(account.as_str(), work).await
}

/// Writes what a step led to. Nothing when somebody else wrote it first.
async fn write(
    desk: &Desk,
    operation: Operation,
    resource: Resource,
    step: Step,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let sealed = match &step {
        Step::Done(Some(credentials)) => Some(seal(desk, &resource, credentials)?),
        _ => None,
    };
    let account = operation.account_id.clone();
    let work = move |conn: &mut DbConnection| {
        let left = match &step {
            Step::Done(_) => rest(&operation.steps).to_owned(),
            Step::Undo { then, .. } if resource.hold_id.is_some() => format!("void {then}").trim_end().to_owned(),
            Step::Withdraw(_) => "withdraw".to_owned(),
            _ => String::new(),
        };
        let why = match &step {
            Step::Failed(why)
            | Step::Undo { why, .. }
            | Step::Withdraw(why)
            | Step::Withdrawn(why)
            | Step::Attention(why) => Some(why.as_str()),
            Step::Done(_) | Step::Paid | Step::Wait => None,
        };
        if !store::set_steps(conn, &operation, &left, why, now)? {
            return Ok(());
        }
        let whose = (&operation.account_id, &resource.id);
        if let Some(sealed) = &sealed {
            store::set_credentials(conn, whose, Some(sealed))?;
        }
        if left.is_empty() {
            finish(conn, &operation, &resource, &step, why, now)?;
        }
        Ok(())
    };
    desk.cashier.db.write(account.as_str(), work).await
}

fn seal(desk: &Desk, resource: &Resource, credentials: &Credentials) -> Result<String, AdvanceError> {
    let json = serde_json::to_vec(&credentials.expose())
        .map_err(|_not_json| AdvanceError::Inconsistent("credentials that are no JSON"))?;
    let json = zeroize::Zeroizing::new(json);
    Ok(desk.credential_sealer.seal(&credentials_place(resource), &json)?)
}

/// The last step is done: the resource arrives where it was going.
fn finish(
    conn: &mut DbConnection,
    operation: &Operation,
    resource: &Resource,
    step: &Step,
    why: Option<&str>,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let to = match step {
        Step::Done(_) if first(&operation.steps) == "remove" => ResourceState::Removed,
        Step::Done(_) | Step::Paid => ResourceState::Ready,
        Step::Failed(_) | Step::Undo { .. } => ResourceState::Failed,
        Step::Withdraw(_) | Step::Withdrawn(_) | Step::Attention(_) | Step::Wait => ResourceState::NeedsAttention,
    };
    let from = [ResourceState::Provisioning, ResourceState::Removing, ResourceState::NeedsAttention];
    let whose = (&operation.account_id, &resource.id);
    store::set_state(conn, whose, &from, to, why, now)?;
    if matches!(to, ResourceState::Removed | ResourceState::Failed) || matches!(step, Step::Withdrawn(_)) {
        store::set_credentials(conn, whose, None)?;
    }
    Ok(super::remove::record(conn, resource, to, why, now)?)
}

/// Takes up what is due: at start, and then again and again. All of a batch at once, each at its own time: an issuer
/// that does not answer keeps only its own operations waiting. Answers how many moved.
///
/// # Errors
/// When the database fails. What goes wrong with one operation is logged and does not keep the others waiting.
pub async fn resume_due(desk: &Desk, clock: &dyn Clock) -> Result<usize, AdvanceError> {
    let now = clock.now();
    let due = desk.cashier.db.read(move |conn| store::due(conn, now, BATCH)).await?;
    let moved = due.into_iter().map(|(operation, seen)| resume(desk, operation, seen, clock));
    Ok(futures_util::future::join_all(moved).await.into_iter().filter(|moved| *moved).count())
}

/// Claims one operation and drives it. `false`: another worker has it, or it could not go on.
async fn resume(desk: &Desk, operation: Operation, seen: Option<Timestamp>, clock: &dyn Clock) -> bool {
    let (account, id, now) = (operation.account_id.clone(), operation.id.clone(), clock.now());
    let work =
        move |conn: &mut DbConnection| Ok::<_, AdvanceError>(store::claim(conn, &operation, seen, now.plus(CLAIM))?);
    let driven = match desk.cashier.db.write(account.as_str(), work).await {
        Ok(true) => advance(desk, &account, &id, clock.now()).await.map(|_| true),
        Ok(false) => Ok(false),
        Err(error) => Err(error),
    };
    driven.unwrap_or_else(|error| {
        tracing::error!(operation.id = %id, error = %error, "an operation could not go on");
        false
    })
}
