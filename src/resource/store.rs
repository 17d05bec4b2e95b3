//! The tables `resources` and `operations`.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::result::Error as QueryError;
use serde_json::json;

use super::{Resource, ResourceState};
use crate::clock::Timestamp;
use crate::db::schema::{accounts, operations, resources};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, HoldId, OperationId, OrchestratorId, PaymentTokenId, ResourceId};
use crate::outbox;

#[derive(Insertable, Debug)]
#[diesel(table_name = resources)]
pub(super) struct NewResource<'a> {
    pub(super) account_id: &'a AccountId,
    pub(super) id: &'a ResourceId,
    pub(super) orchestrator_id: &'a OrchestratorId,
    pub(super) service: &'a str,
    pub(super) plan: &'a str,
    pub(super) name: &'a str,
    pub(super) catalog_version: i64,
    pub(super) catalog_digest: &'a str,
    pub(super) state: &'a str,
    pub(super) hold_id: Option<&'a HoldId>,
    pub(super) payment_token_id: Option<&'a PaymentTokenId>,
    pub(super) configuration: &'a str,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) project_id: Option<&'a str>,
    pub(super) price_parent: Option<&'a str>,
    pub(super) allowance_id: Option<&'a str>,
    pub(super) client: Option<&'a str>,
}

pub(super) fn insert(conn: &mut DbConnection, row: &NewResource<'_>) -> QueryResult<()> {
    diesel::insert_into(resources::table).values(row).execute(conn).map(drop)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = resources)]
struct ResourceRow {
    account_id: AccountId,
    id: ResourceId,
    orchestrator_id: OrchestratorId,
    service: String,
    plan: String,
    name: String,
    catalog_version: i64,
    state: String,
    state_reason: Option<String>,
    hold_id: Option<HoldId>,
    payment_token_id: Option<PaymentTokenId>,
    configuration: String,
    sealed_credentials: Option<String>,
    created_at: Timestamp,
    changed_at: Timestamp,
    project_id: Option<String>,
    price_parent: Option<String>,
    generation: i64,
    quarantined_at: Option<Timestamp>,
    allowance_id: Option<String>,
    client: Option<String>,
    unwanted_at: Option<Timestamp>,
}

/// Why a resource that is held back is not to be used.
const QUARANTINED: &str = "quarantined";

/// A stored word that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("{column} of {id} is not understood")]
struct Corrupt {
    column: &'static str,
    id: String,
}

fn corrupt(column: &'static str, id: &impl ToString) -> DbError {
    DbError::Query(QueryError::DeserializationError(Corrupt { column, id: id.to_string() }.into()))
}

impl TryFrom<ResourceRow> for Resource {
    type Error = DbError;

    fn try_from(row: ResourceRow) -> Result<Self, DbError> {
        let state = ResourceState::from_word(&row.state).ok_or_else(|| corrupt("resources.state", &row.id))?;
        // Held back, it is what it was to its workers, and suspended to everybody else.
        let (state, state_reason) = match (row.quarantined_at, state) {
            (Some(_), ResourceState::Ready | ResourceState::Changing) => (ResourceState::Suspended, QUARANTINED),
            (Some(_), state) => (state, QUARANTINED),
            (None, state) => (state, ""),
        };
        let state_reason = if state_reason.is_empty() { row.state_reason } else { Some(state_reason.to_owned()) };
        Ok(Self {
            account_id: row.account_id,
            id: row.id,
            orchestrator_id: row.orchestrator_id,
            service: row.service,
            plan: row.plan,
            name: row.name,
            catalog_version: row.catalog_version,
            state,
            state_reason,
            hold_id: row.hold_id,
            payment_token_id: row.payment_token_id,
            configuration: row.configuration,
            sealed_credentials: row.sealed_credentials,
            created_at: row.created_at,
            changed_at: row.changed_at,
            project_id: row.project_id,
            price_parent: row.price_parent,
            generation: row.generation,
            quarantined_at: row.quarantined_at,
            allowance_id: row.allowance_id,
            client: row.client,
            unwanted_at: row.unwanted_at,
        })
    }
}

/// One resource of an account.
///
/// # Errors
/// When the database fails.
pub fn by_id(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> Result<Option<Resource>, DbError> {
    let row = resources::table.find((account, id)).select(ResourceRow::as_select()).first::<ResourceRow>(conn);
    row.optional()?.map(Resource::try_from).transpose()
}

/// The digest of the catalog under which a resource was sold.
pub(super) fn digest_of(conn: &mut DbConnection, resource: &Resource) -> QueryResult<String> {
    resources::table.find((&resource.account_id, &resource.id)).select(resources::catalog_digest).first(conn)
}

/// The resource with this id, whosever it is: for the provider's own platform, which knows no accounts.
///
/// # Errors
/// When the database fails.
pub fn owner_of(conn: &mut DbConnection, id: &ResourceId) -> Result<Option<Resource>, DbError> {
    let found = resources::table.filter(resources::id.eq(id)).select(ResourceRow::as_select());
    found.first::<ResourceRow>(conn).optional()?.map(Resource::try_from).transpose()
}

/// The resource that a hold pays for.
pub(super) fn of_hold(
    conn: &mut DbConnection,
    account: &AccountId,
    hold: &HoldId,
) -> Result<Option<Resource>, DbError> {
    let found = resources::table
        .filter(resources::account_id.eq(account))
        .filter(resources::hold_id.eq(hold))
        .select(ResourceRow::as_select());
    found.first::<ResourceRow>(conn).optional()?.map(Resource::try_from).transpose()
}

/// Whether a worker still goes on with something of this resource.
///
/// # Errors
/// When the database fails.
pub fn is_worked_on(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> QueryResult<bool> {
    let open = operations::table
        .filter(operations::account_id.eq(account))
        .filter(operations::resource_id.eq(id))
        .filter(operations::finished_at.is_null());
    Ok(open.count().get_result::<i64>(conn)? > 0)
}

/// Resources of an account, newest first, at most `limit`, older than `before`.
///
/// # Errors
/// When the database fails.
pub fn list(
    conn: &mut DbConnection,
    account: &AccountId,
    before: Option<&ResourceId>,
    limit: i64,
) -> Result<Vec<Resource>, DbError> {
    let mut query = resources::table
        .filter(resources::account_id.eq(account))
        .order(resources::id.desc())
        .limit(limit)
        .select(ResourceRow::as_select())
        .into_boxed();
    if let Some(before) = before {
        query = query.filter(resources::id.lt(before.as_str()));
    }
    query.load::<ResourceRow>(conn)?.into_iter().map(Resource::try_from).collect()
}

/// A write that changes nothing: whoever counts what an account has, to add to it, waits here for the others.
pub(super) fn lock_account(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    diesel::update(accounts::table.find(account))
        .set(accounts::changed_at.eq(accounts::changed_at))
        .execute(conn)
        .map(drop)
}

/// The same; whether anything may still be begun in the account.
pub(super) fn lock_usable(conn: &mut DbConnection, account: &AccountId) -> QueryResult<bool> {
    let state: Option<String> = diesel::update(accounts::table.find(account))
        .set(accounts::changed_at.eq(accounts::changed_at))
        .returning(accounts::state)
        .get_result(conn)
        .optional()?;
    Ok(state.is_some_and(|state| matches!(state.as_str(), "provisional" | "active")))
}

/// Among which resources is counted: those of an account that are not gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Among<'a> {
    pub(super) account: &'a AccountId,
    /// Only in this project; the inner `None` is what is in no project.
    #[expect(clippy::option_option, reason = "everywhere, in no project, and in one are three things")]
    pub(super) project: Option<Option<&'a str>>,
    /// Without this one.
    pub(super) except: Option<&'a ResourceId>,
}

type Boxed<'a> = resources::BoxedQuery<'a, <DbConnection as diesel::Connection>::Backend>;

fn among<'a>(of: &Among<'a>, states: &'a [&'a str]) -> Boxed<'a> {
    let mut query = resources::table
        .filter(resources::account_id.eq(of.account))
        .filter(resources::state.eq_any(states))
        .into_boxed();
    match of.project {
        Some(Some(project)) => query = query.filter(resources::project_id.eq(project)),
        Some(None) => query = query.filter(resources::project_id.is_null()),
        None => {}
    }
    if let Some(except) = of.except {
        query = query.filter(resources::id.ne(except));
    }
    query
}

/// What is neither gone nor failed.
pub(super) const IN_USE: [&str; 7] =
    ["requested", "provisioning", "ready", "changing", "suspended", "removing", "needs_attention"];
/// What can be used at this moment.
const READY: [&str; 2] = ["ready", "changing"];

/// How many of a plan, `service/plan`, are in use, or are becoming it.
pub(super) fn count_in_use(conn: &mut DbConnection, of: &Among<'_>, plan: &str) -> Result<i64, DbError> {
    let Some((service, name)) = plan.split_once('/') else { return Ok(0) };
    let is = resources::service.eq(service).and(resources::plan.eq(name));
    let is_now: i64 = among(of, &IN_USE).filter(is).count().get_result(conn)?;
    let becomes = among(of, &IN_USE)
        .filter(resources::changing_to.eq(plan))
        .filter(resources::service.ne(service).or(resources::plan.ne(name)));
    let becomes: i64 = becomes.count().get_result(conn)?;
    Ok(is_now + becomes)
}

/// Which plans, `service/plan`, are in use, or something is becoming; `ready`: which can be used at this moment.
pub(super) fn plans_in_use(conn: &mut DbConnection, of: &Among<'_>, ready: bool) -> Result<BTreeSet<String>, DbError> {
    let states: &[&str] = if ready { &READY } else { &IN_USE };
    let mut found = among(of, states);
    if ready {
        found = found.filter(resources::quarantined_at.is_null());
    }
    let rows: Vec<(String, String, Option<String>)> =
        found.select((resources::service, resources::plan, resources::changing_to)).distinct().load(conn)?;
    let mut plans = BTreeSet::new();
    for (service, plan, changing_to) in rows {
        plans.insert(format!("{service}/{plan}"));
        plans.extend(changing_to.filter(|_| !ready));
    }
    Ok(plans)
}

/// Which plans, `service/plan`, stay in use or are being made, and in which projects: all but one resource.
pub(super) fn places_of(
    conn: &mut DbConnection,
    account: &AccountId,
    except: &ResourceId,
) -> Result<BTreeSet<(String, Option<String>)>, DbError> {
    let of = Among { account, project: None, except: Some(except) };
    let rows: Vec<(String, String, Option<String>)> = among(&of, &IN_USE)
        .filter(resources::state.ne(ResourceState::Removing.as_str()))
        .select((resources::service, resources::plan, resources::project_id))
        .distinct()
        .load(conn)?;
    Ok(rows.into_iter().map(|(service, plan, project)| (format!("{service}/{plan}"), project)).collect())
}

/// Moves a resource from one of `from` to `to`. `false`: it was in another state.
pub(super) fn set_state(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    from: &[ResourceState],
    to: ResourceState,
    reason: Option<&str>,
    now: Timestamp,
) -> QueryResult<bool> {
    let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
    let changed = diesel::update(resources::table.find((account, id)).filter(resources::state.eq_any(from)))
        .set((resources::state.eq(to.as_str()), resources::state_reason.eq(reason), resources::changed_at.eq(now)))
        .execute(conn)?;
    if changed == 1 {
        tell(conn, (account, id), to, now)?;
    }
    Ok(changed == 1)
}

/// What an orchestrator hears of its resources.
fn tell(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    to: ResourceState,
    now: Timestamp,
) -> QueryResult<()> {
    let kind = match to {
        ResourceState::Ready => "resource.ready",
        ResourceState::Removed => "resource.removed",
        ResourceState::Failed => "resource.failed",
        _ => return Ok(()),
    };
    let (orchestrator, service, plan): (OrchestratorId, String, String) = resources::table
        .find((account, id))
        .select((resources::orchestrator_id, resources::service, resources::plan))
        .first(conn)?;
    let told = json!({
        "account": {"id": account},
        "resource": {"id": id, "service": service, "plan": plan, "state": to.as_str()},
    });
    outbox::notify(conn, kind, &orchestrator, account, &told, now)
}

pub(super) fn set_credentials(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    sealed: Option<&str>,
) -> QueryResult<()> {
    diesel::update(resources::table.find((account, id)))
        .set(resources::sealed_credentials.eq(sealed))
        .execute(conn)
        .map(drop)
}

/// Notes that the credentials were handed out.
pub(super) fn set_shown(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    now: Timestamp,
) -> QueryResult<()> {
    let unseen = resources::table.find((account, id)).filter(resources::credentials_shown_at.is_null());
    diesel::update(unseen).set(resources::credentials_shown_at.eq(now)).execute(conn).map(drop)
}

/// A repeatable piece of work: the steps that are left, first one first.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) account_id: AccountId,
    pub(super) id: OperationId,
    pub(super) resource_id: ResourceId,
    pub(super) verb: String,
    pub(super) steps: String,
    pub(super) attempts: i64,
    pub(super) reason: Option<String>,
    /// The step that could not be done.
    pub(super) failed_step: Option<String>,
    pub(super) deadline_at: Timestamp,
    pub(super) finished: bool,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = operations)]
struct OperationRow {
    account_id: AccountId,
    id: OperationId,
    resource_id: ResourceId,
    verb: String,
    step: String,
    attempts: i64,
    reason: Option<String>,
    failed_step: Option<String>,
    deadline_at: Timestamp,
    next_try_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl From<OperationRow> for Operation {
    fn from(row: OperationRow) -> Self {
        Self {
            account_id: row.account_id,
            id: row.id,
            resource_id: row.resource_id,
            verb: row.verb,
            steps: row.step,
            attempts: row.attempts,
            reason: row.reason,
            failed_step: row.failed_step,
            deadline_at: row.deadline_at,
            finished: row.finished_at.is_some(),
        }
    }
}

#[derive(Insertable, Debug)]
#[diesel(table_name = operations)]
pub(super) struct NewOperation<'a> {
    pub(super) account_id: &'a AccountId,
    pub(super) id: &'a OperationId,
    pub(super) resource_id: &'a ResourceId,
    pub(super) verb: &'a str,
    pub(super) state: &'a str,
    pub(super) step: &'a str,
    pub(super) attempts: i64,
    pub(super) created_at: Timestamp,
    pub(super) deadline_at: Timestamp,
    pub(super) next_try_at: Option<Timestamp>,
}

pub(super) fn insert_operation(conn: &mut DbConnection, row: &NewOperation<'_>) -> QueryResult<()> {
    diesel::insert_into(operations::table).values(row).execute(conn).map(drop)
}

pub(super) fn operation(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &OperationId,
) -> Result<Option<Operation>, DbError> {
    let row = operations::table.find((account, id)).select(OperationRow::as_select()).first::<OperationRow>(conn);
    Ok(row.optional()?.map(Operation::from))
}

/// The newest operation of this kind on a resource.
pub(super) fn newest_operation(
    conn: &mut DbConnection,
    (account, resource): (&AccountId, &ResourceId),
    verb: &str,
) -> Result<Option<Operation>, DbError> {
    let row = operations::table
        .filter(operations::account_id.eq(account))
        .filter(operations::resource_id.eq(resource))
        .filter(operations::verb.eq(verb))
        .order(operations::id.desc())
        .select(OperationRow::as_select());
    Ok(row.first::<OperationRow>(conn).optional()?.map(Operation::from))
}

/// Operations that are due, oldest first, each with the instant by which to claim it.
pub(super) fn due(
    conn: &mut DbConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(Operation, Option<Timestamp>)>, DbError> {
    let rows: Vec<OperationRow> = operations::table
        .filter(operations::next_try_at.le(now))
        .order(operations::next_try_at)
        .limit(limit)
        .select(OperationRow::as_select())
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let due = row.next_try_at;
            (row.into(), due)
        })
        .collect())
}

/// Claims a due operation until `until`. `false`: another worker has it.
pub(super) fn claim(
    conn: &mut DbConnection,
    operation: &Operation,
    seen: Option<Timestamp>,
    until: Timestamp,
) -> QueryResult<bool> {
    let row = operations::table.find((&operation.account_id, &operation.id)).filter(operations::next_try_at.eq(seen));
    let changed = diesel::update(row)
        .set((operations::next_try_at.eq(until), operations::attempts.eq(operations::attempts + 1)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Moves an operation from the steps it was seen with to `steps`; no steps means that it is finished. `false`: somebody
/// else moved it.
pub(super) fn set_steps(
    conn: &mut DbConnection,
    operation: &Operation,
    steps: &str,
    reason: Option<&str>,
    now: Timestamp,
) -> QueryResult<bool> {
    let row = operations::table
        .find((&operation.account_id, &operation.id))
        .filter(operations::step.eq(&operation.steps))
        .filter(operations::finished_at.is_null());
    let finished = steps.is_empty();
    let failed = reason.and(operation.steps.split(' ').next());
    let changed = diesel::update(row)
        .set((
            operations::step.eq(steps),
            operations::state.eq(if finished { "finished" } else { "running" }),
            operations::reason.eq(reason.or(operation.reason.as_deref())),
            operations::failed_step.eq(operation.failed_step.as_deref().or(failed)),
            operations::finished_at.eq(finished.then_some(now)),
        ))
        .execute(conn)?;
    if changed == 1 && finished {
        let row = operations::table.find((&operation.account_id, &operation.id));
        diesel::update(row).set(operations::next_try_at.eq(None::<Timestamp>)).execute(conn)?;
    }
    Ok(changed == 1)
}

pub(super) fn try_again_at(conn: &mut DbConnection, operation: &Operation, at: Timestamp) -> QueryResult<()> {
    let row = operations::table.find((&operation.account_id, &operation.id)).filter(operations::finished_at.is_null());
    diesel::update(row).set((operations::next_try_at.eq(at), operations::state.eq("waiting"))).execute(conn).map(drop)
}
