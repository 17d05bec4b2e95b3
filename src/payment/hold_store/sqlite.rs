//! SQLite: the lane is the only writer and the database is in this process, so plain statements by key will do.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;

use super::{CounterRow, HoldRow, Named, add_counter, add_hold, entry_row, is_stopped};
use crate::db::schema::{accounts, counters, holds, ledger_heads};
use crate::ids::{AccountId, CounterId};
use crate::payment::decide::{Changes, Facts, Head};
use crate::payment::hold::{Counter, Hold};

pub(super) fn load(conn: &mut SqliteConnection, named: &Named<'_>) -> QueryResult<Facts> {
    let mut facts = Facts::default();
    // `get_result`, not `first`: its bound `LIMIT` makes SQLite prepare the statement anew at each use.
    for account in &named.accounts {
        let head = ledger_heads::table.find(account).select((ledger_heads::sequence, ledger_heads::hash));
        if let Some((sequence, hash)) = head.get_result(conn).optional()? {
            facts.heads.insert((*account).clone(), Head { sequence, hash, stored: true });
        }
        let state = accounts::table.find(account).select((accounts::state, accounts::spending_stopped_at));
        if state.get_result::<(String, Option<i64>)>(conn).optional()?.is_some_and(|(state, at)| is_stopped(&state, at))
        {
            facts.stopped.insert((*account).clone());
        }
    }
    for key in &named.holds {
        if let Some(row) = holds::table.find(*key).get_result::<HoldRow>(conn).optional()? {
            add_hold(&mut facts, row)?;
        }
    }
    for (account, id) in counters_of(named, &facts) {
        let row = counters::table.find((&account, &id)).select((
            counters::account_id,
            counters::id,
            counters::kind,
            counters::currency,
            counters::period_end,
            counters::ceiling,
            counters::held,
            counters::spent,
        ));
        if let Some(row) = row.get_result::<CounterRow>(conn).optional()? {
            add_counter(&mut facts, &row)?;
        }
    }
    Ok(facts)
}

/// The counters that the movements name, and those under which the named holds were made.
fn counters_of(named: &Named<'_>, facts: &Facts) -> BTreeSet<(AccountId, CounterId)> {
    let of_holds = facts.holds.values().flat_map(|hold| hold.ceilings.iter().map(|id| (&hold.account_id, id)));
    named.counters.iter().copied().chain(of_holds).map(|(account, id)| (account.clone(), id.clone())).collect()
}

/// An update by key, prepared once per connection: diesel prepares its own updates anew each time.
struct Update<'a, Of>(&'a Of);

impl<Of: 'static> QueryId for Update<'_, Of> {
    type QueryId = Update<'static, Of>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Of> RunQueryDsl<SqliteConnection> for Update<'_, Of> {}

impl QueryFragment<Sqlite> for Update<'_, Counter> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE counters SET held = ");
        out.push_bind_param::<BigInt, _>(&self.0.held)?;
        out.push_sql(", spent = ");
        out.push_bind_param::<BigInt, _>(&self.0.spent)?;
        out.push_sql(" WHERE account_id = ");
        out.push_bind_param::<Text, _>(&self.0.account_id)?;
        out.push_sql(" AND id = ");
        out.push_bind_param::<Text, _>(&self.0.id)
    }
}

impl QueryFragment<Sqlite> for Update<'_, (AccountId, Head)> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let (account, head) = self.0;
        out.push_sql("UPDATE ledger_heads SET sequence = ");
        out.push_bind_param::<BigInt, _>(&head.sequence)?;
        out.push_sql(", hash = ");
        out.push_bind_param::<Text, _>(&head.hash)?;
        out.push_sql(" WHERE account_id = ");
        out.push_bind_param::<Text, _>(account)
    }
}

pub(super) fn write(conn: &mut SqliteConnection, changes: &Changes) -> QueryResult<()> {
    for counter in &changes.counters {
        Update(counter).execute(conn)?;
    }
    for end in &changes.heads {
        let (account, head) = end;
        if head.stored {
            Update(end).execute(conn)?;
        } else {
            let values = (
                ledger_heads::account_id.eq(account),
                ledger_heads::sequence.eq(head.sequence),
                ledger_heads::hash.eq(&head.hash),
            );
            diesel::insert_into(ledger_heads::table).values(values).execute(conn)?;
        }
    }
    for hold in &changes.new_holds {
        insert_hold(conn, hold)?;
    }
    for hold in &changes.settled_holds {
        let settled = (
            holds::captured.eq(hold.captured),
            holds::state.eq(hold.state.as_str()),
            holds::settled_at.eq(hold.settled_at),
        );
        diesel::update(holds::table.find((&hold.account_id, &hold.id))).set(settled).execute(conn)?;
    }
    for entry in &changes.entries {
        entry_row::insert(conn, entry)?;
    }
    Ok(())
}

fn insert_hold(conn: &mut SqliteConnection, hold: &Hold) -> QueryResult<()> {
    let values = (
        holds::account_id.eq(&hold.account_id),
        holds::id.eq(&hold.id),
        holds::counter_ids.eq(hold.ceilings.to_string()),
        holds::resource_id.eq(hold.resource_id.as_ref()),
        holds::currency.eq(hold.currency),
        holds::amount.eq(hold.amount),
        holds::captured.eq(hold.captured),
        holds::state.eq(hold.state.as_str()),
        holds::description.eq(&hold.description),
        holds::created_at.eq(hold.created_at),
        holds::expires_at.eq(hold.expires_at),
        holds::settled_at.eq(hold.settled_at),
    );
    diesel::insert_into(holds::table).values(values).execute(conn).map(drop)
}
