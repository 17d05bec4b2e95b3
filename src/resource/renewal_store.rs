//! The table `renewals`.

use diesel::prelude::*;

use super::renewal::Renewal;
use super::{Resource, ResourceState};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::renewals::{self, table};
use crate::ids::{AccountId, ResourceId};

pub(super) fn insert(conn: &mut DbConnection, resource: &Resource, now: Timestamp) -> QueryResult<()> {
    // What somebody asked for before is not the last word, although it is not there yet.
    let unfinished = i64::from(resource.state == ResourceState::Changing);
    diesel::insert_into(table)
        .values((
            renewals::account_id.eq(&resource.account_id),
            renewals::resource_id.eq(&resource.id),
            renewals::generation.eq(resource.generation + unfinished),
            renewals::attempts.eq(0_i64),
            renewals::next_try_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

pub(super) fn due(conn: &mut DbConnection, now: Timestamp, limit: i64) -> QueryResult<Vec<Renewal>> {
    let rows: Vec<(AccountId, ResourceId, i64, i64, Timestamp)> =
        table.filter(renewals::next_try_at.le(now)).order(renewals::next_try_at).limit(limit).load(conn)?;
    let renewal = |(account_id, resource_id, generation, attempts, next_try_at)| Renewal {
        account_id,
        resource_id,
        generation,
        attempts,
        next_try_at,
    };
    Ok(rows.into_iter().map(renewal).collect())
}

/// Whether it is ours until `again`: check and change in one statement.
pub(super) fn claim(conn: &mut DbConnection, seen: &Renewal, again: Timestamp) -> QueryResult<bool> {
    let row = table
        .find((&seen.account_id, &seen.resource_id))
        .filter(renewals::next_try_at.eq(seen.next_try_at))
        .filter(renewals::attempts.eq(seen.attempts));
    let changed = diesel::update(row)
        .set((renewals::next_try_at.eq(again), renewals::attempts.eq(seen.attempts + 1)))
        .execute(conn)?;
    Ok(changed == 1)
}

pub(super) fn delete(conn: &mut DbConnection, renewal: &Renewal) -> QueryResult<()> {
    diesel::delete(table.find((&renewal.account_id, &renewal.resource_id))).execute(conn).map(drop)
}
