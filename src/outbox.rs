//! Events for the outside, appended inside the transaction that made them true. Delivery is a worker's task.

use diesel::prelude::*;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::outbox_events;
use crate::ids::{AccountId, OutboxEventId};

#[derive(Insertable)]
#[diesel(table_name = outbox_events)]
struct NewEvent<'a> {
    id: OutboxEventId,
    kind: &'a str,
    account_id: Option<&'a AccountId>,
    payload: String,
    created_at: Timestamp,
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
    let row = NewEvent { id: OutboxEventId::new(now), kind, account_id, payload: payload.to_string(), created_at: now };
    diesel::insert_into(outbox_events::table).values(&row).execute(conn).map(drop)
}
