//! The table `distrusts`.

use diesel::dsl::exists;
use diesel::prelude::*;

use super::{Depth, Distrust, Phase, WhoseDistrust};
use crate::clock::Timestamp;
use crate::db::schema::{distrusts, identity_links, orchestrators};
use crate::db::{DbConnection, DbError, directly};
use crate::ids::{AccountId, DistrustId, OrchestratorId};

/// The most keys of one orchestrator that are distrusted at once.
const MAX_KEYS: i64 = 256;

#[derive(Queryable, Insertable)]
#[diesel(table_name = distrusts)]
struct Row {
    id: DistrustId,
    orchestrator_id: OrchestratorId,
    since: Timestamp,
    key_id: Option<String>,
    tenant: Option<String>,
    subject: Option<String>,
    depth: String,
    cause: String,
    suspended: bool,
    phase: String,
    done_to: String,
    begun_at: Timestamp,
    tokens_dead_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    lifted_at: Option<Timestamp>,
    event_at: Option<Timestamp>,
}

impl TryFrom<Row> for Distrust {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let impossible = |error: super::UnknownWord| {
            let text = format!("table `distrusts`, row {}: {error}", row.id);
            DbError::from(diesel::result::Error::DeserializationError(text.into()))
        };
        let whose = match (row.key_id, row.subject) {
            (Some(key), _) => WhoseDistrust::Key(key),
            (None, Some(subject)) => WhoseDistrust::Subject { tenant: row.tenant, subject },
            (None, None) => WhoseDistrust::Issuer,
        };
        Ok(Self {
            depth: row.depth.parse().map_err(impossible)?,
            phase: row.phase.parse().map_err(impossible)?,
            whose,
            id: row.id,
            orchestrator_id: row.orchestrator_id,
            since: row.since,
            cause: row.cause,
            suspended: row.suspended,
            done_to: row.done_to,
            begun_at: row.begun_at,
            tokens_dead_at: row.tokens_dead_at,
            finished_at: row.finished_at,
            lifted_at: row.lifted_at,
            event_at: row.event_at,
        })
    }
}

pub(super) fn insert(conn: &mut DbConnection, new: &Distrust) -> QueryResult<()> {
    let (key_id, tenant, subject) = match &new.whose {
        WhoseDistrust::Issuer => (None, None, None),
        WhoseDistrust::Key(key) => (Some(key.clone()), None, None),
        WhoseDistrust::Subject { tenant, subject } => (None, tenant.clone(), Some(subject.clone())),
    };
    let row = Row {
        id: new.id.clone(),
        orchestrator_id: new.orchestrator_id.clone(),
        since: new.since,
        key_id,
        tenant,
        subject,
        depth: new.depth.as_str().to_owned(),
        cause: new.cause.clone(),
        suspended: new.suspended,
        phase: new.phase.as_str().to_owned(),
        done_to: new.done_to.clone(),
        begun_at: new.begun_at,
        tokens_dead_at: None,
        finished_at: None,
        lifted_at: None,
        event_at: new.event_at,
    };
    diesel::insert_into(distrusts::table).values(&row).execute(conn).map(drop)
}

/// The distrust with this id.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_id(conn: &mut DbConnection, id: &DistrustId) -> Result<Option<Distrust>, DbError> {
    let row: Option<Row> = distrusts::table.find(id).first(conn).optional()?;
    row.map(Distrust::try_from).transpose()
}

/// Distrusts of an orchestrator, newest first, older than `before`, at most `limit`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn of_orchestrator(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    before: Option<&DistrustId>,
    limit: i64,
) -> Result<Vec<Distrust>, DbError> {
    let mut query = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .order(distrusts::id.desc())
        .limit(limit)
        .into_boxed();
    if let Some(before) = before {
        query = query.filter(distrusts::id.lt(before.as_str()));
    }
    query.load::<Row>(conn)?.into_iter().map(Distrust::try_from).collect()
}

/// Distrusts of one person that a security event caused and that are in force, oldest first, at most 64.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn of_cause(
    conn: &mut DbConnection,
    (orchestrator, tenant, subject): (&OrchestratorId, &str, &str),
) -> Result<Vec<Distrust>, DbError> {
    let rows: Vec<Row> = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .filter(distrusts::tenant.eq(tenant))
        .filter(distrusts::subject.eq(subject))
        // What an operator or the human behind the account began is not for an orchestrator to end.
        .filter(distrusts::cause.like("event:%"))
        .filter(distrusts::lifted_at.is_null())
        .order(distrusts::id)
        .limit(64)
        .load(conn)?;
    rows.into_iter().map(Distrust::try_from).collect()
}

/// Distrusts of one person for this cause that are in force, oldest first, at most 64.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_cause(
    conn: &mut DbConnection,
    (orchestrator, tenant, subject): (&OrchestratorId, &str, &str),
    cause: &str,
) -> Result<Vec<Distrust>, DbError> {
    let rows: Vec<Row> = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .filter(distrusts::tenant.eq(tenant))
        .filter(distrusts::subject.eq(subject))
        .filter(distrusts::cause.eq(cause))
        .filter(distrusts::lifted_at.is_null())
        .order(distrusts::id)
        .limit(64)
        .load(conn)?;
    rows.into_iter().map(Distrust::try_from).collect()
}

/// Distrusts whose work is not done, oldest first, at most `limit`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn unfinished(conn: &mut DbConnection, limit: i64) -> Result<Vec<Distrust>, DbError> {
    let rows: Vec<Row> =
        distrusts::table.filter(distrusts::finished_at.is_null()).order(distrusts::id).limit(limit).load(conn)?;
    rows.into_iter().map(Distrust::try_from).collect()
}

/// Distrusts of an orchestrator that are in force and whose work is not done, oldest first, at most 256.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn under_way(conn: &mut DbConnection, orchestrator: &OrchestratorId) -> Result<Vec<Distrust>, DbError> {
    let rows: Vec<Row> = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .filter(distrusts::finished_at.is_null())
        .filter(distrusts::lifted_at.is_null())
        .order(distrusts::id)
        .limit(MAX_KEYS)
        .load(conn)?;
    rows.into_iter().map(Distrust::try_from).collect()
}

/// Moves the work on from where it was seen. `false`: somebody else did.
///
/// # Errors
/// When the database fails.
pub fn advance(
    conn: &mut DbConnection,
    seen: &Distrust,
    (phase, done_to): (Phase, &str),
    now: Timestamp,
) -> QueryResult<bool> {
    let row = distrusts::table
        .find(&seen.id)
        .filter(distrusts::phase.eq(seen.phase.as_str()))
        .filter(distrusts::done_to.eq(&seen.done_to))
        .filter(distrusts::finished_at.is_null());
    let dead = if seen.phase < Phase::Things && phase >= Phase::Things { Some(now) } else { seen.tokens_dead_at };
    let changed = diesel::update(row)
        .set((
            distrusts::phase.eq(phase.as_str()),
            distrusts::done_to.eq(done_to),
            distrusts::tokens_dead_at.eq(dead),
            distrusts::finished_at.eq((phase == Phase::Done).then_some(now)),
        ))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Waits for every transaction that wrote something for this orchestrator and is not done: what they wrote refers to its
/// row. SQLite has one writer, and nothing to wait for. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails, or it took longer than a lock may be waited for: try again.
pub fn barrier(conn: &mut DbConnection, orchestrator: &OrchestratorId) -> QueryResult<()> {
    let DbConnection::Postgres(conn) = conn else { return Ok(()) };
    let row = orchestrators::table.find(orchestrator).select(orchestrators::id).for_update();
    row.first::<OrchestratorId>(conn).map(drop)
}

/// Since when an orchestrator is suspended, which of its keys are distrusted, as that is written, and whether a distrust in force
/// names this person: one look for every assertion.
pub(super) fn trust_in(
    conn: &mut DbConnection,
    (orchestrator, tenant, subject): (&OrchestratorId, &str, &str),
) -> QueryResult<Option<(Option<Timestamp>, String, bool)>> {
    let named = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .filter(distrusts::subject.eq(subject))
        .filter(distrusts::tenant.is_null().or(distrusts::tenant.eq(tenant)))
        .filter(distrusts::depth.ne(Depth::Spending.as_str()))
        .filter(distrusts::lifted_at.is_null());
    let columns = (orchestrators::suspended_at, orchestrators::distrusted_keys, exists(named));
    let row = orchestrators::table.find(orchestrator).select(columns);
    directly!(conn, |conn| row.get_result(conn)).optional()
}

/// Since when an orchestrator is suspended, and whether a distrust in force names somebody by whom it reaches the account:
/// one look for every token.
pub(super) fn trust_about(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    account: &AccountId,
) -> QueryResult<Option<(Option<Timestamp>, bool)>> {
    let same_tenant = distrusts::tenant.is_null().or(distrusts::tenant.eq(identity_links::tenant.nullable()));
    let the_same = distrusts::orchestrator_id
        .eq(identity_links::orchestrator_id)
        .and(distrusts::subject.eq(identity_links::subject.nullable()))
        .and(same_tenant);
    let named = identity_links::table
        .inner_join(distrusts::table.on(the_same))
        .filter(identity_links::account_id.eq(account))
        .filter(identity_links::orchestrator_id.eq(orchestrator))
        .filter(distrusts::depth.ne(Depth::Spending.as_str()))
        .filter(distrusts::lifted_at.is_null());
    let row = orchestrators::table.find(orchestrator).select((orchestrators::suspended_at, exists(named)));
    directly!(conn, |conn| row.get_result(conn)).optional()
}

/// The keys of an orchestrator that are distrusted now.
pub(super) fn keys(conn: &mut DbConnection, orchestrator: &OrchestratorId) -> QueryResult<Vec<String>> {
    let keys: Vec<Option<String>> = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .filter(distrusts::key_id.is_not_null())
        .filter(distrusts::lifted_at.is_null())
        .select(distrusts::key_id)
        .distinct()
        .order(distrusts::key_id)
        .limit(MAX_KEYS)
        .load(conn)?;
    Ok(keys.into_iter().flatten().collect())
}

/// Whether a distrust that suspended the orchestrator is in force.
pub(super) fn keeps_suspended(conn: &mut DbConnection, orchestrator: &OrchestratorId) -> QueryResult<bool> {
    let found = distrusts::table
        .filter(distrusts::orchestrator_id.eq(orchestrator))
        .filter(distrusts::suspended.eq(true))
        .filter(distrusts::lifted_at.is_null());
    Ok(found.count().get_result::<i64>(conn)? > 0)
}

/// Whether this call lifted it.
pub(super) fn set_lifted(conn: &mut DbConnection, id: &DistrustId, now: Timestamp) -> QueryResult<bool> {
    let row = distrusts::table.find(id).filter(distrusts::lifted_at.is_null());
    Ok(diesel::update(row).set(distrusts::lifted_at.eq(Some(now))).execute(conn)? == 1)
}
