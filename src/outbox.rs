//! Events for the outside, appended inside the transaction that made them true. Delivery is a worker's task: a delivery is
//! claimed by its row, so that several processes never send it at once, and it is tried again later and later until it
//! is given up (`dead`).

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use diesel::prelude::*;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::db::schema::{outbox_deliveries, outbox_events, wire_settings};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId, OutboxEventId};

/// How long to wait after each try that failed, as Standard Webhooks proposes; after the last one it is given up.
const WAITS: [TimeDelta; 9] = [
    TimeDelta::seconds(5),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(5),
    TimeDelta::hours(10),
    TimeDelta::hours(14),
    TimeDelta::hours(20),
    TimeDelta::hours(24),
];

/// How long a claim holds: longer than a try can take.
pub const CLAIM: TimeDelta = TimeDelta::seconds(60);

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 200;

#[derive(Insertable)]
#[diesel(table_name = outbox_events)]
struct NewEvent<'a> {
    id: OutboxEventId,
    kind: &'a str,
    account_id: Option<&'a AccountId>,
    payload: String,
    created_at: Timestamp,
}

/// What became of telling an orchestrator of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It will be tried.
    Pending,
    /// It was taken.
    Delivered,
    /// It was given up.
    Dead,
    /// There is nobody to tell any more.
    Dropped,
}

/// Telling one orchestrator of one event.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Of what.
    pub event_id: OutboxEventId,
    /// Whom.
    pub orchestrator_id: OrchestratorId,
    /// The event's kind: `resource.ready`.
    pub kind: String,
    /// What the event says.
    pub payload: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    pub next_try_at: Option<Timestamp>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// A word that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of: pending, delivered, dead, dropped")]
pub struct UnknownState(String);

impl DeliveryState {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let all = [Self::Pending, Self::Delivered, Self::Dead, Self::Dropped];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Appends an event of `kind` (`budget.threshold_crossed`). Call it inside the transaction that makes it true.
///
/// # Errors
/// When the insert fails; the caller's transaction is then undone.
pub fn append(
    conn: &mut DbConnection,
    kind: &'static str,
    account_id: Option<&AccountId>,
    payload: &Value,
    now: Timestamp,
) -> QueryResult<()> {
    insert(conn, kind, account_id, payload, now).map(drop)
}

/// The same, for whoever hangs a delivery of their own on the event: its id.
///
/// # Errors
/// When the insert fails; the caller's transaction is then undone.
pub fn append_for(
    conn: &mut DbConnection,
    kind: &'static str,
    account_id: Option<&AccountId>,
    payload: &Value,
    now: Timestamp,
) -> QueryResult<OutboxEventId> {
    insert(conn, kind, account_id, payload, now)
}

/// Appends an event that one orchestrator is to be told of. Where the operator set no address for it, nothing is
/// appended: nobody would ever hear of it. Call it inside the transaction that makes it true.
///
/// # Errors
/// When the database fails; the caller's transaction is then undone.
pub fn notify(
    conn: &mut DbConnection,
    kind: &'static str,
    orchestrator: &OrchestratorId,
    account: &AccountId,
    payload: &Value,
    now: Timestamp,
) -> QueryResult<()> {
    let listening: i64 = wire_settings::table
        .filter(wire_settings::orchestrator_id.eq(orchestrator))
        .filter(wire_settings::notification_url.is_not_null())
        .count()
        .get_result(conn)?;
    if listening == 0 {
        return Ok(());
    }
    send_to(conn, kind, orchestrator, account, payload, now)
}

/// Appends an event that one orchestrator is to be told of, whether or not it listens now. Call it inside the transaction
/// that makes it true.
///
/// # Errors
/// When the database fails; the caller's transaction is then undone.
pub fn send_to(
    conn: &mut DbConnection,
    kind: &'static str,
    orchestrator: &OrchestratorId,
    account: &AccountId,
    payload: &Value,
    now: Timestamp,
) -> QueryResult<()> {
    let event = insert(conn, kind, Some(account), payload, now)?;
    diesel::insert_into(outbox_deliveries::table)
        .values((
            outbox_deliveries::event_id.eq(&event),
            outbox_deliveries::orchestrator_id.eq(orchestrator),
            outbox_deliveries::state.eq(DeliveryState::Pending.as_str()),
            outbox_deliveries::attempts.eq(0_i64),
            outbox_deliveries::next_try_at.eq(Some(now)),
            outbox_deliveries::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

fn insert(
    conn: &mut DbConnection,
    kind: &'static str,
    account_id: Option<&AccountId>,
    payload: &Value,
    now: Timestamp,
) -> QueryResult<OutboxEventId> {
    let id = OutboxEventId::new(now);
    let row = NewEvent { id: id.clone(), kind, account_id, payload: payload.to_string(), created_at: now };
    diesel::insert_into(outbox_events::table).values(&row).execute(conn)?;
    Ok(id)
}

type Row =
    ((OutboxEventId, OrchestratorId, String, i64, Option<Timestamp>, Option<String>), (String, String, Timestamp));

fn delivery(row: Row) -> Result<Delivery, DbError> {
    let ((event_id, orchestrator_id, state, attempts, next_try_at, last_error), (kind, payload, created_at)) = row;
    let state = state
        .parse()
        .map_err(|error: UnknownState| DbError::from(diesel::result::Error::DeserializationError(Box::new(error))))?;
    Ok(Delivery { event_id, orchestrator_id, kind, payload, created_at, state, attempts, next_try_at, last_error })
}

/// Deliveries, newest event first, at most `limit`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn list(conn: &mut DbConnection, state: Option<DeliveryState>, limit: i64) -> Result<Vec<Delivery>, DbError> {
    let mut query = outbox_deliveries::table
        .inner_join(outbox_events::table)
        .order(outbox_deliveries::event_id.desc())
        .limit(limit)
        .select(columns())
        .into_boxed();
    if let Some(state) = state {
        query = query.filter(outbox_deliveries::state.eq(state.as_str()));
    }
    query.load::<Row>(conn)?.into_iter().map(delivery).collect()
}

/// Deliveries that are due, the longest due first, at most `limit`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn due(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<Vec<Delivery>, DbError> {
    let rows: Vec<Row> = outbox_deliveries::table
        .inner_join(outbox_events::table)
        .filter(outbox_deliveries::next_try_at.le(now))
        .order(outbox_deliveries::next_try_at)
        .limit(limit)
        .select(columns())
        .load(conn)?;
    rows.into_iter().map(delivery).collect()
}

type Columns = (
    (
        outbox_deliveries::event_id,
        outbox_deliveries::orchestrator_id,
        outbox_deliveries::state,
        outbox_deliveries::attempts,
        outbox_deliveries::next_try_at,
        outbox_deliveries::last_error,
    ),
    (outbox_events::kind, outbox_events::payload, outbox_events::created_at),
);

fn columns() -> Columns {
    (
        (
            outbox_deliveries::event_id,
            outbox_deliveries::orchestrator_id,
            outbox_deliveries::state,
            outbox_deliveries::attempts,
            outbox_deliveries::next_try_at,
            outbox_deliveries::last_error,
        ),
        (outbox_events::kind, outbox_events::payload, outbox_events::created_at),
    )
}

/// Claims a due delivery for one try. `false`: somebody else has it.
///
/// # Errors
/// When the database fails.
pub fn claim(conn: &mut DbConnection, seen: &Delivery, now: Timestamp) -> QueryResult<bool> {
    let row = outbox_deliveries::table
        .find((&seen.event_id, &seen.orchestrator_id))
        .filter(outbox_deliveries::state.eq(DeliveryState::Pending.as_str()))
        .filter(outbox_deliveries::attempts.eq(seen.attempts))
        .filter(outbox_deliveries::next_try_at.eq(seen.next_try_at));
    let changed = diesel::update(row)
        .set((
            outbox_deliveries::next_try_at.eq(Some(now.plus(CLAIM))),
            outbox_deliveries::attempts.eq(seen.attempts + 1),
            outbox_deliveries::changed_at.eq(now),
        ))
        .execute(conn)?;
    Ok(changed == 1)
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Try {
    /// It was taken.
    Delivered,
    /// It was not, or nobody knows.
    Failed(String),
    /// The receiver wants nothing any more.
    Refused(String),
    /// There is no address any more.
    Nobody,
    /// It may not be sent now; the try does not count.
    Later(Timestamp),
}

/// What becomes of a delivery after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// How it stands.
    pub state: DeliveryState,
    /// When it is tried next.
    pub next_try_at: Option<Timestamp>,
    /// Why the try failed, cut to a bounded length.
    pub last_error: Option<String>,
    /// How often it was tried.
    pub attempts: i64,
}

impl Try {
    /// What becomes of a delivery that was tried `tried_before` times, and now ended like this.
    #[must_use]
    pub fn after(&self, tried_before: i64, now: Timestamp) -> After {
        let wait = usize::try_from(tried_before).ok().and_then(|tried| WAITS.get(tried));
        let tries = tried_before + 1;
        let (state, next_try_at, error, attempts) = match self {
            Self::Delivered => (DeliveryState::Delivered, None, None, tries),
            Self::Failed(reason) => match wait {
                Some(wait) => (DeliveryState::Pending, Some(now.plus(*wait)), Some(reason), tries),
                None => (DeliveryState::Dead, None, Some(reason), tries),
            },
            Self::Refused(reason) => (DeliveryState::Dead, None, Some(reason), tries),
            Self::Nobody => (DeliveryState::Dropped, None, None, tries),
            Self::Later(at) => (DeliveryState::Pending, Some(*at), None, tried_before),
        };
        let last_error = error.map(|reason| reason.chars().take(MAX_REASON).collect::<String>());
        After { state, next_try_at, last_error, attempts }
    }
}

/// Records how the try of a claimed delivery ended. A claim that ended meanwhile is left to whoever has it now.
///
/// # Errors
/// When the database fails.
pub fn record(conn: &mut DbConnection, claimed: &Delivery, ended: &Try, now: Timestamp) -> QueryResult<()> {
    let tries = claimed.attempts + 1;
    let after = ended.after(claimed.attempts, now);
    let row = outbox_deliveries::table
        .find((&claimed.event_id, &claimed.orchestrator_id))
        .filter(outbox_deliveries::attempts.eq(tries))
        .filter(outbox_deliveries::state.eq(DeliveryState::Pending.as_str()));
    diesel::update(row)
        .set((
            outbox_deliveries::state.eq(after.state.as_str()),
            outbox_deliveries::next_try_at.eq(after.next_try_at),
            outbox_deliveries::last_error.eq(after.last_error),
            outbox_deliveries::attempts.eq(after.attempts),
            outbox_deliveries::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Delivers again, from the beginning: one event whatever became of it, or everything that was given up. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn replay(conn: &mut DbConnection, event: Option<&OutboxEventId>, now: Timestamp) -> QueryResult<usize> {
    let anew = (
        outbox_deliveries::state.eq(DeliveryState::Pending.as_str()),
        outbox_deliveries::attempts.eq(0_i64),
        outbox_deliveries::next_try_at.eq(Some(now)),
        outbox_deliveries::changed_at.eq(now),
    );
    if let Some(id) = event {
        let rows = outbox_deliveries::table.filter(outbox_deliveries::event_id.eq(id));
        return diesel::update(rows).set(anew).execute(conn);
    }
    let dead = outbox_deliveries::table.filter(outbox_deliveries::state.eq(DeliveryState::Dead.as_str()));
    diesel::update(dead).set(anew).execute(conn)
}
