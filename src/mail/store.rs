//! The table `mails`: letters on their way, each for an event of the outbox.

use diesel::prelude::*;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{mails, outbox_events};
use crate::ids::{AccountId, OutboxEventId};
use crate::outbox::{self, CLAIM, DeliveryState, Try};

/// A letter to be sent: what it says is composed when it is.
#[derive(Debug, Clone, Queryable)]
pub struct Letter {
    /// Names it.
    pub event_id: OutboxEventId,
    /// The event's kind: `mail.log_in`.
    pub kind: String,
    /// What the event says.
    pub payload: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    pub next_try_at: Option<Timestamp>,
}

/// Asks for a letter of `kind`. Call it inside the transaction that makes it due.
///
/// # Errors
/// When the database fails; the caller's transaction is then undone.
pub fn post(
    conn: &mut DbConnection,
    kind: &'static str,
    account: Option<&AccountId>,
    payload: &Value,
    now: Timestamp,
) -> QueryResult<()> {
    let event = outbox::append_for(conn, kind, account, payload, now)?;
    diesel::insert_into(mails::table)
        .values((
            mails::event_id.eq(&event),
            mails::state.eq(DeliveryState::Pending.as_str()),
            mails::attempts.eq(0_i64),
            mails::next_try_at.eq(Some(now)),
            mails::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Letters that are due, the longest due first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn due(conn: &mut DbConnection, now: Timestamp, limit: i64) -> QueryResult<Vec<Letter>> {
    mails::table
        .inner_join(outbox_events::table)
        .filter(mails::next_try_at.le(now))
        .order(mails::next_try_at)
        .limit(limit)
        .select((mails::event_id, outbox_events::kind, outbox_events::payload, mails::attempts, mails::next_try_at))
        .load(conn)
}

/// Claims a due letter for one try. `false`: somebody else has it.
///
/// # Errors
/// When the database fails.
pub fn claim(conn: &mut DbConnection, seen: &Letter, now: Timestamp) -> QueryResult<bool> {
    let row = mails::table
        .find(&seen.event_id)
        .filter(mails::state.eq(DeliveryState::Pending.as_str()))
        .filter(mails::attempts.eq(seen.attempts))
        .filter(mails::next_try_at.eq(seen.next_try_at));
    let claimed = (
        mails::next_try_at.eq(Some(now.plus(CLAIM))),
        mails::attempts.eq(seen.attempts + 1),
        mails::changed_at.eq(now),
    );
    Ok(diesel::update(row).set(claimed).execute(conn)? == 1)
}

/// Records how the try of a claimed letter ended. A claim that ended meanwhile is left to whoever has it now.
///
/// # Errors
/// When the database fails.
pub fn record(conn: &mut DbConnection, claimed: &Letter, ended: &Try, now: Timestamp) -> QueryResult<()> {
    let after = ended.after(claimed.attempts, now);
    let row = mails::table
        .find(&claimed.event_id)
        .filter(mails::attempts.eq(claimed.attempts + 1))
        .filter(mails::state.eq(DeliveryState::Pending.as_str()));
    diesel::update(row)
        .set((
            mails::state.eq(after.state.as_str()),
            mails::next_try_at.eq(after.next_try_at),
            mails::last_error.eq(after.last_error),
            mails::attempts.eq(after.attempts),
            mails::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}
