//! Stopping what is spent through one orchestrator, on the operator's word or on a security event. What is spent through
//! others goes on.

use serde_json::json;

use super::store;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};

/// Nothing new is spent through the orchestrator: its counters admit nothing more, and neither will new ones. What is held
/// may still be captured. Answers whether this call did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn stop_through(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    actor: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    store::lock_account(conn, account)?;
    let done = store::set_stopped_through(conn, account, orchestrator, now)?;
    if done {
        record(conn, (account, orchestrator), ("spending.stopped_through", actor), now)?;
    }
    Ok(done)
}

/// It is allowed again, up to the cap. Answers whether this call did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn resume_through(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    actor: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    store::lock_account(conn, account)?;
    let done = store::set_going_through(conn, account, orchestrator, now)?;
    if done {
        record(conn, (account, orchestrator), ("spending.resumed_through", actor), now)?;
    }
    Ok(done)
}

fn record(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    (action, actor): (&'static str, &str),
    now: Timestamp,
) -> Result<(), DbError> {
    let fact = Fact {
        actor: actor.to_owned(),
        action,
        account_id: Some(account),
        subject: orchestrator.to_string(),
        detail: json!({"orchestrator_id": orchestrator}),
    };
    Ok(audit::append(conn, &fact, now)?)
}
