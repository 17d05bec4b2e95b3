//! Driving the work on a resource, one repeatable step after another. The request that began it and the worker that
//! finds it left over run this same code.
//!
//! Steps: `authorize` (the issuer sets the money aside), `create` (the driver makes the thing, still without giving out
//! its credentials), `capture` (the issuer takes the money), `change` (the driver moves it to another plan or
//! configuration), `rotate`, `remove`; and for what was refused, `void` (the issuer sets the money free), `unmake` (the
//! driver takes back what was made), `revert` (the driver moves it back) and `withdraw` (it takes back what was made,
//! although the money is not free). Each step speaks to the outside first, and then writes what it learned and the next
//! step in one transaction.
//!
//! What follows `void` says what to do in either case. `void unmake`: something was made; unmake it, or hand it over
//! when the issuer took the money after all. `void revert`: the same for a change. `void create`: nothing was made yet;
//! fail, or make it when it is paid.

use std::sync::Arc;

use chrono::TimeDelta;

use super::change_store::{self, PlanChange};
use super::drivers::{Credentials, Driver, Outcome, Rotated, Work};
use super::quarantine_store::{self, Halt};
use super::read::credentials_place;
use super::store::{self, Operation};
use super::{Desk, Resource, ResourceState, usage};
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

/// What a step made.
#[derive(Default)]
struct Made {
    credentials: Option<Credentials>,
    /// How long the credentials before work on.
    overlap: Option<TimeDelta>,
}

/// An operation, and what it is about.
#[derive(Clone)]
struct Job {
    operation: Operation,
    resource: Resource,
    /// What the resource becomes, where it becomes something else.
    change: Option<PlanChange>,
}

impl Job {
    /// The hold that pays for this work.
    fn hold(&self) -> Option<&HoldId> {
        match &self.change {
            Some(change) => change.hold_id.as_ref(),
            None => self.resource.hold_id.as_ref(),
        }
    }

    fn needed_hold(&self) -> Result<&HoldId, AdvanceError> {
        self.hold().ok_or(AdvanceError::Inconsistent("a paid resource without a hold"))
    }
}

/// What a step led to.
enum Step {
    /// On to the next one, with what this one made.
    Done(Made),
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
        // What left the account did so with its resource, and at rest.
        let Some(job) = load(desk, account, operation).await? else { return Ok(Progress::Finished) };
        if job.operation.finished {
            return Ok(Progress::Finished);
        }
        if job.resource.quarantined_at.is_some() && !quarantine_store::is_halt(&job.operation) {
            let operation = job.operation;
            let park = move |conn: &mut DbConnection| {
                Ok::<_, AdvanceError>(quarantine_store::park_one(conn, &operation, now)?)
            };
            desk.cashier.db.write(account.as_str(), park).await?;
            return Ok(Progress::Waiting);
        }
        let step = match withdrawn(&job) {
            Some(step) => step,
            None => run(desk, &job, now).await?,
        };
        if matches!(step, Step::Wait) {
            wait(desk, job, now).await?;
            return Ok(Progress::Waiting);
        }
        write(desk, job, step, now).await?;
    }
    Ok(Progress::Waiting)
}

async fn load(desk: &Desk, account: &AccountId, operation: &OperationId) -> Result<Option<Job>, AdvanceError> {
    let (account, operation) = (account.clone(), operation.clone());
    desk.cashier
        .db
        .read(move |conn| {
            let Some(operation) = store::operation(conn, &account, &operation)? else { return Ok(None) };
            // It may leave between these two looks.
            let Some(resource) = store::by_id(conn, &account, &operation.resource_id)? else { return Ok(None) };
            let change = match operation.verb.as_str() {
                "change" => change_store::change_of(conn, &account, &operation.id)?,
                _ => None,
            };
            Ok(Some(Job { operation, resource, change }))
        })
        .await
}

fn first(steps: &str) -> &str {
    steps.split(' ').next().unwrap_or("")
}

fn rest(steps: &str) -> &str {
    steps.split_once(' ').map_or("", |(_, rest)| rest)
}

/// A purchase that its owner does not want any more goes back where money is only set aside. What is paid is made all the
/// same, and removed after that.
fn withdrawn(job: &Job) -> Option<Step> {
    let unwanted = job.resource.unwanted_at.is_some() && job.operation.verb == "create" && job.hold().is_some();
    let steps = &job.operation.steps;
    let pays_later = rest(steps).split(' ').any(|step| step == "capture");
    let then = match first(steps) {
        "capture" => after_refusal(job),
        // The platform may have begun: it is told to take back what there is, if there is anything.
        "create" if pays_later => "unmake",
        _ => return None,
    };
    unwanted.then(|| Step::Undo { why: "its owner took it back".to_owned(), then })
}

async fn run(desk: &Desk, job: &Job, now: Timestamp) -> Result<Step, AdvanceError> {
    let account = &job.operation.account_id;
    match first(&job.operation.steps) {
        "authorize" => Ok(match desk.cashier.authorize(account, job.needed_hold()?, now).await? {
            Cash::Done => Step::Done(Made::default()),
            Cash::Refused(code) => Step::Failed(code),
            Cash::Unknown => Step::Wait,
        }),
        "capture" => Ok(match desk.cashier.capture(account, job.needed_hold()?, now).await? {
            Cash::Done => Step::Done(Made::default()),
            Cash::Refused(why) => Step::Undo { why, then: after_refusal(job) },
            Cash::Unknown => Step::Wait,
        }),
        "void" => Ok(given_back(desk.cashier.void(account, job.needed_hold()?, now).await?, &job.operation)),
        "create" => create(desk, job).await,
        "change" => change(desk, job).await,
        "rotate" => rotate(desk, job).await,
        "remove" => remove(desk, job).await,
        "unmake" => unmake(desk, job).await,
        "revert" => revert(desk, job).await,
        "withdraw" => withdraw(desk, job).await,
        "suspend" => halt(desk, job, Halt::Suspend).await,
        "resume" => halt(desk, job, Halt::Resume).await,
        _ => Err(AdvanceError::Inconsistent("an operation with an unknown step")),
    }
}

fn reason(operation: &Operation) -> String {
    operation.reason.clone().unwrap_or_else(|| "refused".to_owned())
}

/// What is left to do after a refused capture's money was given back, or was taken after all: something to unmake when
/// it was made, something to move back when it was changed, something to make when that comes only after the capture.
fn after_refusal(job: &Job) -> &'static str {
    if job.change.is_some() {
        return "revert";
    }
    if rest(&job.operation.steps).split(' ').any(|step| step == "create") { "create" } else { "unmake" }
}

fn given_back(given: GivenBack, operation: &Operation) -> Step {
    let then = rest(&operation.steps);
    let made = matches!(then, "unmake" | "revert");
    match given {
        GivenBack::Done if made => Step::Done(Made::default()),
        GivenBack::Done => Step::Failed(reason(operation)),
        GivenBack::Taken if made => Step::Paid,
        GivenBack::Taken if then == "create" => Step::Done(Made::default()),
        GivenBack::Taken => Step::Attention(format!("paid, and not made: {}", reason(operation))),
        GivenBack::Refused(code) => {
            let why = format!("the money could not be given back: {code}");
            if then == "unmake" { Step::Withdraw(why) } else { Step::Attention(why) }
        }
        GivenBack::Unknown => Step::Wait,
    }
}

/// The issuer keeps money that is not ours: what was made is unmade, and a human settles the rest.
async fn withdraw(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let why = reason(&job.operation);
    Ok(match remove(desk, job).await? {
        Step::Done(_) => Step::Withdrawn(why),
        Step::Wait => Step::Wait,
        _ => Step::Attention(format!("{why}, and the platform does not remove what it made")),
    })
}

/// The money cannot be had after the thing was made: it is unmade, as far as the driver can.
async fn unmake(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let code = reason(&job.operation);
    Ok(match remove(desk, job).await? {
        Step::Done(_) => Step::Failed(code),
        Step::Wait => Step::Wait,
        _ => Step::Attention(format!("unpaid ({code}), and the platform does not remove it")),
    })
}

/// The money cannot be had after the plan was changed: it is changed back. What was handed out before still works.
async fn revert(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let code = reason(&job.operation);
    let Some((driver, work)) = bound(desk, job, &Is::Now)? else {
        return Ok(Step::Attention(format!("unpaid ({code}), and the catalog's files no longer say how it was made")));
    };
    Ok(match driver.change_plan(&work).await {
        Outcome::Done(_) => Step::Failed(code),
        Outcome::Refused(why) => Step::Attention(format!("unpaid ({code}), and it cannot be changed back: {why}")),
        Outcome::Pending => Step::Wait,
        Outcome::Unknown(why) => unknown(job, &why),
    })
}

const NOT_SOLD: &str = "the catalog's files no longer say how this is made";

fn undo(why: impl Into<String>) -> Step {
    Step::Undo { why: why.into(), then: "" }
}

fn unknown(job: &Job, why: &str) -> Step {
    tracing::warn!(resource.id = %job.resource.id, why, "a driver's answer is missing");
    Step::Wait
}

/// What a driver's answer with credentials means. Every call may be repeated with the same operation, so a crash before
/// the driver heard of it is no special case.
fn made(job: &Job, outcome: Outcome<Credentials>) -> Step {
    match outcome {
        Outcome::Done(credentials) => Step::Done(Made { credentials: Some(credentials), overlap: None }),
        Outcome::Pending => Step::Wait,
        Outcome::Refused(why) => undo(why),
        Outcome::Unknown(why) => unknown(job, &why),
    }
}

async fn create(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let Some((driver, work)) = bound(desk, job, &Is::Now)? else { return Ok(undo(NOT_SOLD)) };
    Ok(made(job, driver.create(&work).await))
}

async fn change(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let Some(change) = &job.change else { return Err(AdvanceError::Inconsistent("a change to nothing")) };
    let Some((driver, work)) = bound(desk, job, &Is::Becoming(change))? else { return Ok(undo(NOT_SOLD)) };
    Ok(made(job, driver.change_plan(&work).await))
}

async fn rotate(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let Some((driver, work)) = bound(desk, job, &Is::Renewed)? else { return Ok(undo(NOT_SOLD)) };
    Ok(match driver.rotate(&work).await {
        Outcome::Done(Rotated { credentials, overlap }) => {
            // What is renewed is for whoever knew the old ones to know nothing any more.
            let overlap = overlap.filter(|_| job.operation.verb != "renew");
            let overlap = overlap.map(|time| time.min(super::rotate::LONGEST_OVERLAP));
            Step::Done(Made { credentials: Some(credentials), overlap })
        }
        Outcome::Pending => Step::Wait,
        Outcome::Refused(why) => undo(why),
        Outcome::Unknown(why) => unknown(job, &why),
    })
}

async fn remove(desk: &Desk, job: &Job) -> Result<Step, AdvanceError> {
    let Some((driver, work)) = bound(desk, job, &Is::Now)? else {
        return Ok(Step::Attention("the catalog's files no longer say how this is unmade".to_owned()));
    };
    Ok(match driver.remove(&work).await {
        Outcome::Done(()) => Step::Done(Made::default()),
        Outcome::Pending => Step::Wait,
        Outcome::Refused(why) => Step::Attention(why),
        Outcome::Unknown(why) => unknown(job, &why),
    })
}

/// What a driver cannot suspend stays held back here all the same.
async fn halt(desk: &Desk, job: &Job, halt: Halt) -> Result<Step, AdvanceError> {
    let Some((driver, work)) = bound(desk, job, &Is::Now)? else { return Ok(Step::Failed(NOT_SOLD.to_owned())) };
    let outcome = match halt {
        Halt::Suspend => driver.suspend(&work).await,
        Halt::Resume => driver.resume(&work).await,
    };
    Ok(match outcome {
        Outcome::Done(()) => Step::Done(Made::default()),
        Outcome::Pending => Step::Wait,
        Outcome::Refused(why) => Step::Failed(why),
        Outcome::Unknown(why) => unknown(job, &why),
    })
}

/// A driver and what it is told.
type Bound = (Arc<dyn Driver>, Work);

/// As what the driver meets the resource.
enum Is<'a> {
    /// As it is recorded.
    Now,
    /// As what it becomes.
    Becoming(&'a PlanChange),
    /// With its next credentials.
    Renewed,
}

/// How the resource is made. `None`: the catalog's files no longer have the service.
fn bound(desk: &Desk, job: &Job, is: &Is<'_>) -> Result<Option<Bound>, AdvanceError> {
    let (operation, resource) = (&job.operation, &job.resource);
    let (service, plan, configuration) = match is {
        Is::Becoming(change) => (&change.service, &change.plan, &change.configuration),
        Is::Now | Is::Renewed => (&resource.service, &resource.plan, &resource.configuration),
    };
    let Some(binding) = (desk.bindings)(service) else { return Ok(None) };
    let Some(driver) = desk.drivers.get(&binding.driver).cloned() else { return Ok(None) };
    let work = Work {
        operation_id: operation.id.clone(),
        resource_id: resource.id.clone(),
        account_id: resource.account_id.clone(),
        service: service.clone(),
        plan: plan.clone(),
        settings: binding.settings,
        configuration: serde_json::from_str(configuration)
            .map_err(|_not_json| AdvanceError::Inconsistent("a configuration that is no JSON"))?,
        generation: resource.generation + i64::from(matches!(is, Is::Renewed)),
    };
    Ok(Some((driver, work)))
}

/// What is not answered yet is asked again, later each time; past the deadline a human is called as well. A resource that
/// is being changed stays usable: its human reads of it in the log.
async fn wait(desk: &Desk, job: Job, now: Timestamp) -> Result<(), AdvanceError> {
    let Job { operation, resource, .. } = job;
    let doubled = 2_i64.saturating_pow(u32::try_from(operation.attempts.clamp(0, 10)).unwrap_or(0));
    let again = now.plus(TimeDelta::seconds(doubled.clamp(1, 600)));
    let late = operation.deadline_at <= now;
    if late {
        tracing::error!(operation.id = %operation.id, resource.id = %resource.id, "unfinished past its deadline");
    }
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
async fn write(desk: &Desk, job: Job, step: Step, now: Timestamp) -> Result<(), AdvanceError> {
    let sealed = match &step {
        Step::Done(Made { credentials: Some(credentials), .. }) => Some(seal(desk, &job.resource, credentials)?),
        _ => None,
    };
    let account = job.operation.account_id.clone();
    let work = move |conn: &mut DbConnection| {
        let operation = &job.operation;
        let left = match &step {
            Step::Done(_) => rest(&operation.steps).to_owned(),
            Step::Undo { then, .. } if first(&operation.steps) != "rotate" && job.hold().is_some() => {
                format!("void {then}").trim_end().to_owned()
            }
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
        if !store::set_steps(conn, operation, &left, why, now)? {
            return Ok(());
        }
        match (&sealed, &job.change, operation.verb.as_str()) {
            (Some(sealed), Some(change), _) => change_store::set_credentials(conn, change, sealed)?,
            (Some(sealed), None, "create") => {
                store::set_credentials(conn, (&operation.account_id, &job.resource.id), Some(sealed))?;
            }
            _ => {}
        }
        if left.is_empty() {
            finish(conn, &job, &step, (sealed.as_deref(), why), now)?;
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
    job: &Job,
    step: &Step,
    (sealed, why): (Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let resource = &job.resource;
    let action = match (job.operation.verb.as_str(), step) {
        ("suspend", Step::Done(_)) => "resource.suspended",
        ("suspend", _) => "resource.suspension_refused",
        ("resume", Step::Done(_)) => "resource.resumed",
        ("resume", _) => "resource.resumption_refused",
        (_, Step::Withdrawn(_)) => {
            arrive(conn, resource, ResourceState::NeedsAttention, why, now)?;
            store::set_credentials(conn, (&resource.account_id, &resource.id), None)?;
            "resource.needs_attention"
        }
        (_, Step::Attention(_) | Step::Withdraw(_) | Step::Wait) => {
            arrive(conn, resource, ResourceState::NeedsAttention, why, now)?;
            "resource.needs_attention"
        }
        ("change", Step::Done(_) | Step::Paid) => {
            let change = job.change.as_ref().ok_or(AdvanceError::Inconsistent("a change to nothing"))?;
            change_store::apply(conn, resource, change, sealed.or(change.sealed_credentials.as_deref()))?;
            if (&resource.service, &resource.plan) != (&change.service, &change.plan) {
                usage::forget_totals(conn, resource)?;
            }
            change_store::end(conn, resource, now)?;
            "resource.changed"
        }
        ("change", _) => {
            change_store::end(conn, resource, now)?;
            "resource.change_refused"
        }
        ("rotate" | "renew", Step::Done(made)) => {
            let sealed = sealed.ok_or(AdvanceError::Inconsistent("a rotation without credentials"))?;
            change_store::replace_credentials(conn, resource, sealed, made.overlap.map(|time| now.plus(time)))?;
            change_store::end(conn, resource, now)?;
            "resource.credentials_rotated"
        }
        ("rotate" | "renew", _) => {
            change_store::end(conn, resource, now)?;
            "resource.rotation_refused"
        }
        ("remove", Step::Done(_)) => {
            arrive(conn, resource, ResourceState::Removed, why, now)?;
            "resource.removed"
        }
        (_, Step::Done(_) | Step::Paid) => {
            arrive(conn, resource, ResourceState::Ready, why, now)?;
            "resource.ready"
        }
        (_, Step::Failed(_) | Step::Undo { .. }) => {
            arrive(conn, resource, ResourceState::Failed, why, now)?;
            "resource.failed"
        }
    };
    Ok(super::remove::record(conn, resource, action, why, now)?)
}

fn arrive(
    conn: &mut DbConnection,
    resource: &Resource,
    to: ResourceState,
    why: Option<&str>,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let from =
        [ResourceState::Provisioning, ResourceState::Removing, ResourceState::NeedsAttention, ResourceState::Changing];
    let whose = (&resource.account_id, &resource.id);
    store::set_state(conn, whose, &from, to, why, now)?;
    // It was held back while it was being made.
    if to == ResourceState::Ready && quarantine_store::is_quarantined(conn, whose.0, whose.1)? {
        quarantine_store::insert_halt(conn, whose, Halt::Suspend, now)?;
    }
    if matches!(to, ResourceState::Removed | ResourceState::Failed) {
        store::set_credentials(conn, whose, None)?;
    }
    Ok(())
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
