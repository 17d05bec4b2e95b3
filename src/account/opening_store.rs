//! The tables `account_openings` and `address_openings`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::account_openings::{self, table};
use crate::db::schema::address_openings;
use crate::ids::OrchestratorId;

/// Counts one more in this hour. `false`: there are as many as there may be. A unique violation: somebody began the hour
/// at the same moment.
pub(super) fn count(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    hour: Timestamp,
    at_most: i64,
) -> QueryResult<bool> {
    let row = || table.find((orchestrator, hour));
    let room = row().filter(account_openings::opened.lt(at_most));
    if diesel::update(room).set(account_openings::opened.eq(account_openings::opened + 1)).execute(conn)? == 1 {
        return Ok(true);
    }
    if row().select(account_openings::opened).first::<i64>(conn).optional()?.is_some() {
        return Ok(false);
    }
    let first = (
        account_openings::orchestrator_id.eq(orchestrator),
        account_openings::hour_start.eq(hour),
        account_openings::opened.eq(1_i64),
    );
    diesel::insert_into(table).values(first).execute(conn).map(|_| true)
}

/// The same for the addresses that fold into one.
pub(super) fn count_address(
    conn: &mut DbConnection,
    (orchestrator, fold): (&OrchestratorId, &str),
    hour: Timestamp,
    at_most: i64,
) -> QueryResult<bool> {
    let row = || address_openings::table.find((orchestrator, fold, hour));
    let room = row().filter(address_openings::opened.lt(at_most));
    if diesel::update(room).set(address_openings::opened.eq(address_openings::opened + 1)).execute(conn)? == 1 {
        return Ok(true);
    }
    if row().select(address_openings::opened).first::<i64>(conn).optional()?.is_some() {
        return Ok(false);
    }
    let first = (
        address_openings::orchestrator_id.eq(orchestrator),
        address_openings::address_fold.eq(fold),
        address_openings::hour_start.eq(hour),
        address_openings::opened.eq(1_i64),
    );
    diesel::insert_into(address_openings::table).values(first).execute(conn).map(|_| true)
}

/// Deletes the hours that began before `end`.
pub(super) fn delete_before(conn: &mut DbConnection, end: Timestamp) -> QueryResult<usize> {
    diesel::delete(address_openings::table.filter(address_openings::hour_start.lt(end))).execute(conn)?;
    diesel::delete(table.filter(account_openings::hour_start.lt(end))).execute(conn)
}
