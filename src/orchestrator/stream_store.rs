//! The tables `security_streams` and `security_events`.

use diesel::prelude::*;
use url::Url;

use super::StreamSettings;
use crate::clock::Timestamp;
use crate::db::schema::{security_events, security_streams};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::secret::SecretHash;

#[derive(Queryable, Insertable)]
#[diesel(table_name = security_streams)]
struct Row {
    orchestrator_id: OrchestratorId,
    audience: String,
    accepts_push: bool,
    push_token_hash: Option<SecretHash>,
    poll_url: Option<String>,
    sealed_poll_token: Option<String>,
    next_poll_at: Option<Timestamp>,
    send_url: Option<String>,
    sealed_send_token: Option<String>,
    verified_at: Option<Timestamp>,
    changed_at: Timestamp,
}

impl TryFrom<Row> for StreamSettings {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let url = |text: Option<&str>| {
            text.map(str::parse::<Url>).transpose().map_err(|_no_url| {
                let text = format!("table `security_streams`, row {}: an address that is no URL", row.orchestrator_id);
                DbError::from(diesel::result::Error::DeserializationError(text.into()))
            })
        };
        Ok(Self {
            poll_url: url(row.poll_url.as_deref())?,
            send_url: url(row.send_url.as_deref())?,
            orchestrator_id: row.orchestrator_id,
            audience: row.audience,
            accepts_push: row.accepts_push,
            push_token_hash: row.push_token_hash,
            sealed_poll_token: row.sealed_poll_token,
            next_poll_at: row.next_poll_at,
            sealed_send_token: row.sealed_send_token,
            verified_at: row.verified_at,
            changed_at: row.changed_at,
        })
    }
}

/// The stream of an orchestrator; `None` when the operator set none.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn stream_of(conn: &mut DbConnection, id: &OrchestratorId) -> Result<Option<StreamSettings>, DbError> {
    let row: Option<Row> = security_streams::table.find(id).first(conn).optional()?;
    row.map(StreamSettings::try_from).transpose()
}

/// Sets the stream of an orchestrator, whatever was set before. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn set_stream(conn: &mut DbConnection, settings: &StreamSettings) -> Result<(), DbError> {
    let row = Row {
        orchestrator_id: settings.orchestrator_id.clone(),
        audience: settings.audience.clone(),
        accepts_push: settings.accepts_push,
        push_token_hash: settings.push_token_hash.clone(),
        poll_url: settings.poll_url.as_ref().map(ToString::to_string),
        sealed_poll_token: settings.sealed_poll_token.clone(),
        next_poll_at: settings.next_poll_at,
        send_url: settings.send_url.as_ref().map(ToString::to_string),
        sealed_send_token: settings.sealed_send_token.clone(),
        verified_at: settings.verified_at,
        changed_at: settings.changed_at,
    };
    diesel::delete(security_streams::table.find(&settings.orchestrator_id)).execute(conn)?;
    diesel::insert_into(security_streams::table).values(&row).execute(conn)?;
    Ok(())
}

/// Whether an orchestrator hears of events.
pub(super) fn sends(conn: &mut DbConnection, id: &OrchestratorId) -> QueryResult<bool> {
    let there = security_streams::table.find(id).filter(security_streams::send_url.is_not_null());
    Ok(there.count().get_result::<i64>(conn)? > 0)
}

/// Notes that the stream was verified. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn stream_verified(conn: &mut DbConnection, id: &OrchestratorId, now: Timestamp) -> QueryResult<()> {
    let verified = security_streams::verified_at.eq(Some(now));
    diesel::update(security_streams::table.find(id)).set(verified).execute(conn).map(drop)
}

/// Streams that are due to be polled, the longest due first, at most `limit`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn due_polls(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<Vec<StreamSettings>, DbError> {
    let rows: Vec<Row> = security_streams::table
        .filter(security_streams::next_poll_at.le(now))
        .order(security_streams::next_poll_at)
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(StreamSettings::try_from).collect()
}

/// Claims a due poll until `until`. `false`: somebody else has it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn claim_poll(conn: &mut DbConnection, seen: &StreamSettings, until: Timestamp) -> QueryResult<bool> {
    let row = security_streams::table
        .find(&seen.orchestrator_id)
        .filter(security_streams::next_poll_at.eq(seen.next_poll_at));
    Ok(diesel::update(row).set(security_streams::next_poll_at.eq(Some(until))).execute(conn)? == 1)
}

/// A security event that came in, and what it led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEvent {
    /// The last part of its identifier.
    pub event: String,
    /// Whom it was about, if we know them.
    pub account_id: Option<AccountId>,
    /// What it led to.
    pub outcome: String,
}

/// The event with this `jti`, if it came before.
///
/// # Errors
/// When the database fails.
pub fn seen_event(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    jti: &str,
) -> Result<Option<SeenEvent>, DbError> {
    let found: Option<(String, Option<AccountId>, String)> = security_events::table
        .find((orchestrator, jti))
        .select((security_events::event, security_events::account_id, security_events::outcome))
        .first(conn)
        .optional()?;
    Ok(found.map(|(event, account_id, outcome)| SeenEvent { event, account_id, outcome }))
}

/// Remembers an event. A unique violation means that it came at the same moment. Call it in the transaction that acts on it.
///
/// # Errors
/// When the database fails.
pub fn remember_event(
    conn: &mut DbConnection,
    (orchestrator, jti): (&OrchestratorId, &str),
    seen: &SeenEvent,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(security_events::table)
        .values((
            security_events::orchestrator_id.eq(orchestrator),
            security_events::jti.eq(jti),
            security_events::event.eq(&seen.event),
            security_events::account_id.eq(&seen.account_id),
            security_events::outcome.eq(&seen.outcome),
            security_events::received_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Forgets events that came before `end`. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn forget_events(conn: &mut DbConnection, end: Timestamp) -> QueryResult<usize> {
    diesel::delete(security_events::table.filter(security_events::received_at.lt(end))).execute(conn)
}
