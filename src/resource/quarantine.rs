//! Holding a resource back: at once here, and at its platform as soon as the driver gets to it. Whatever its state is, it is
//! not used, changed or removed, work on it waits, and nothing is lost.

use serde_json::json;

use super::quarantine_store::{self as rows, Halt};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ResourceId};

pub use super::quarantine_store::{Origin, made_or_renewed};

/// Holds a resource back. Answers whether this call did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn quarantine(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    actor: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    if !rows::set_quarantined(conn, account, id, now)? {
        return Ok(false);
    }
    rows::park(conn, account, id)?;
    if rows::is_made(conn, account, id)? {
        rows::insert_halt(conn, (account, id), Halt::Suspend, now)?;
    }
    record(conn, (account, id), ("resource.quarantined", actor), now)?;
    Ok(true)
}

/// Gives a resource back: work on it goes on, and the driver makes it usable again. Answers whether this call did it. Call
/// it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn release(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    actor: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    if !rows::clear_quarantined(conn, account, id)? {
        return Ok(false);
    }
    rows::unpark(conn, account, id, now)?;
    if rows::is_made(conn, account, id)? {
        rows::insert_halt(conn, (account, id), Halt::Resume, now)?;
    }
    record(conn, (account, id), ("resource.released", actor), now)?;
    Ok(true)
}

fn record(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &ResourceId),
    (action, actor): (&'static str, &str),
    now: Timestamp,
) -> Result<(), DbError> {
    let fact =
        Fact { actor: actor.to_owned(), action, account_id: Some(account), subject: id.to_string(), detail: json!({}) };
    Ok(audit::append(conn, &fact, now)?)
}
