//! Movements and the database: lock what they name, let [`decide`] speak, write what it says.
//!
//! The head of an account's chain is locked first, in the order of accounts: it is the account's mutex for money. Then
//! holds, then counters in the order of (account, id).

mod entry_row;
mod marks;
mod postgres;
mod sqlite;

use std::collections::BTreeSet;

use diesel::prelude::*;

use self::entry_row::EntryRow;
use super::decide::{Facts, decide};
use super::hold::{Ceilings, Counter, CounterKind, Hold, Movement, Outcome};
use super::ledger_entry::LedgerEntry;
use crate::clock::{Period, Timestamp};
use crate::db::schema::{counters, holds, ledger_entries, ledger_heads};
use crate::db::{DbConnection, SetVerb};
use crate::ids::{AccountId, CounterId, HoldId, ResourceId};
use crate::money::{Amount, Currency};

/// Decides and writes `movements`, in order, in the open transaction of a [`crate::db::Db::write`].
///
/// # Errors
/// When a statement fails; return `Err` from the piece of work then. On PostgreSQL a unique violation can mean that
/// another process made the same hold at this moment: run the whole piece again.
pub fn apply(conn: &mut DbConnection, movements: &[Movement]) -> QueryResult<Vec<Outcome>> {
    let named = Named::of(movements);
    let facts = match conn {
        DbConnection::Postgres(conn) => postgres::lock(conn, &named)?,
        DbConnection::Sqlite(conn) => sqlite::load(conn, &named)?,
    };
    let before = marks::before(&facts);
    let (outcomes, changes) = decide(facts, movements);
    if !changes.entries.is_empty() {
        match conn {
            DbConnection::Postgres(conn) => postgres::write(conn, &changes)?,
            DbConnection::Sqlite(conn) => sqlite::write(conn, &changes)?,
        }
        marks::tell(conn, &before, &changes)?;
    }
    Ok(outcomes)
}

impl SetVerb for Movement {
    type Outcome = Outcome;

    fn run(conn: &mut DbConnection, items: &[Self]) -> QueryResult<Vec<Outcome>> {
        apply(conn, items)
    }
}

/// A ceiling for a new period.
#[derive(Debug, Clone)]
pub struct NewCounter {
    /// Whose.
    pub account_id: AccountId,
    /// Its name.
    pub id: CounterId,
    /// What it limits.
    pub kind: CounterKind,
    /// Which one of that kind: the id of an orchestrator, payment token or agent.
    pub subject: String,
    /// Of what.
    pub currency: Currency,
    /// When it counts.
    pub period: Period,
    /// The most that may be held and spent in it.
    pub ceiling: Amount,
}

/// Makes the row of a ceiling for a period, with nothing held or spent.
///
/// # Errors
/// A unique violation when the period's row is already there; on PostgreSQL the transaction is then dead.
pub fn open_counter(conn: &mut DbConnection, counter: &NewCounter) -> QueryResult<()> {
    let values = (
        counters::account_id.eq(&counter.account_id),
        counters::id.eq(&counter.id),
        counters::kind.eq(counter.kind.as_str()),
        counters::subject.eq(&counter.subject),
        counters::currency.eq(counter.currency),
        counters::period_start.eq(counter.period.start),
        counters::period_end.eq(counter.period.end),
        counters::ceiling.eq(counter.ceiling),
        counters::held.eq(Amount::ZERO),
        counters::spent.eq(Amount::ZERO),
    );
    diesel::insert_into(counters::table).values(values).execute(conn).map(drop)
}

/// Everything that a batch of movements names, each once and in order.
#[derive(Default)]
struct Named<'a> {
    accounts: BTreeSet<&'a AccountId>,
    counters: BTreeSet<(&'a AccountId, &'a CounterId)>,
    holds: BTreeSet<(&'a AccountId, &'a HoldId)>,
}

impl<'a> Named<'a> {
    fn of(movements: &'a [Movement]) -> Self {
        let mut named = Self::default();
        for movement in movements {
            let account = movement.account_id();
            named.accounts.insert(account);
            named.holds.extend(movement.hold_id().map(|id| (account, id)));
            named.counters.extend(movement.ceilings().into_iter().flat_map(Ceilings::iter).map(|id| (account, id)));
        }
        named
    }
}

/// Whether an account in this state may not spend.
fn is_stopped(state: &str, spending_stopped_at: Option<i64>) -> bool {
    spending_stopped_at.is_some() || matches!(state, "frozen" | "closed")
}

/// `counters` as stored.
#[derive(Queryable)]
struct CounterRow {
    account_id: String,
    id: String,
    kind: String,
    currency: String,
    period_end: i64,
    ceiling: i64,
    held: i64,
    spent: i64,
}

/// `holds` as stored.
#[derive(Queryable)]
struct HoldRow {
    account_id: String,
    id: String,
    counter_ids: String,
    resource_id: Option<String>,
    currency: String,
    amount: i64,
    captured: i64,
    state: String,
    description: String,
    created_at: i64,
    expires_at: i64,
    settled_at: Option<i64>,
}

/// A stored text or number that is none of ours is an error, never a default.
fn read<T, E: std::error::Error + Send + Sync + 'static>(value: Result<T, E>) -> QueryResult<T> {
    value.map_err(|error| diesel::result::Error::DeserializationError(error.into()))
}

fn add_counter(facts: &mut Facts, row: &CounterRow) -> QueryResult<()> {
    let counter = Counter {
        account_id: read(row.account_id.parse())?,
        id: read(row.id.parse())?,
        kind: read(row.kind.parse())?,
        currency: read(row.currency.parse())?,
        period_end: Timestamp::from_micros(row.period_end),
        ceiling: read(Amount::from_minor(row.ceiling))?,
        held: read(Amount::from_minor(row.held))?,
        spent: read(Amount::from_minor(row.spent))?,
    };
    facts.counters.insert((counter.account_id.clone(), counter.id.clone()), counter);
    Ok(())
}

fn add_hold(facts: &mut Facts, row: HoldRow) -> QueryResult<()> {
    let hold = Hold {
        account_id: read(row.account_id.parse())?,
        id: read(row.id.parse())?,
        ceilings: read(row.counter_ids.parse())?,
        resource_id: read(row.resource_id.as_deref().map(str::parse::<ResourceId>).transpose())?,
        currency: read(row.currency.parse())?,
        amount: read(Amount::from_minor(row.amount))?,
        captured: read(Amount::from_minor(row.captured))?,
        state: read(row.state.parse())?,
        description: row.description,
        created_at: Timestamp::from_micros(row.created_at),
        expires_at: Timestamp::from_micros(row.expires_at),
        settled_at: row.settled_at.map(Timestamp::from_micros),
    };
    facts.holds.insert((hold.account_id.clone(), hold.id.clone()), hold);
    Ok(())
}

/// Up to `limit` entries of the account after `sequence`, in order.
pub(super) fn entries_after(
    conn: &mut DbConnection,
    account: &AccountId,
    sequence: i64,
    limit: i64,
) -> QueryResult<Vec<LedgerEntry>> {
    let rows: Vec<EntryRow> = ledger_entries::table
        .filter(ledger_entries::account_id.eq(account))
        .filter(ledger_entries::sequence.gt(sequence))
        .order(ledger_entries::sequence)
        .limit(limit)
        .load(conn)?;
    Ok(rows.into_iter().map(LedgerEntry::from).collect())
}

/// The end of the account's chain, as stored.
pub(super) fn head(conn: &mut DbConnection, account: &AccountId) -> QueryResult<Option<(i64, String)>> {
    ledger_heads::table
        .filter(ledger_heads::account_id.eq(account))
        .select((ledger_heads::sequence, ledger_heads::hash))
        .first(conn)
        .optional()
}

/// Id, held and spent of up to `limit` counters of the account after `id`, in order.
pub(super) fn counters_after(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &str,
    limit: i64,
) -> QueryResult<Vec<(String, i64, i64)>> {
    counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::id.gt(id))
        .order(counters::id)
        .limit(limit)
        .select((counters::id, counters::held, counters::spent))
        .load(conn)
}

/// Up to `limit` holds of the account after `id`, in order, as stored.
pub(super) fn holds_after(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &str,
    limit: i64,
) -> QueryResult<Vec<StoredHold>> {
    holds::table
        .filter(holds::account_id.eq(account))
        .filter(holds::id.gt(id))
        .order(holds::id)
        .limit(limit)
        .select((
            holds::id,
            holds::state,
            holds::amount,
            holds::captured,
            holds::counter_ids,
            holds::currency,
            holds::resource_id,
        ))
        .load(conn)
}

/// What a check compares of a hold: the texts as stored, so that a bad one is a finding and not a failure.
#[derive(Queryable)]
pub(super) struct StoredHold {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) amount: i64,
    pub(super) captured: i64,
    pub(super) counter_ids: String,
    pub(super) currency: String,
    pub(super) resource_id: Option<String>,
}

/// What people read about a hold.
pub(super) fn description(conn: &mut DbConnection, account: &AccountId, hold: &HoldId) -> QueryResult<String> {
    holds::table.find((account, hold)).select(holds::description).first(conn)
}

/// Up to `limit` entries of the account before `sequence`, newest first: a page of the ledger.
///
/// # Errors
/// When the database fails.
pub fn entries_before(
    conn: &mut DbConnection,
    account: &AccountId,
    sequence: i64,
    limit: i64,
) -> QueryResult<Vec<LedgerEntry>> {
    let rows: Vec<EntryRow> = ledger_entries::table
        .filter(ledger_entries::account_id.eq(account))
        .filter(ledger_entries::sequence.lt(sequence))
        .order(ledger_entries::sequence.desc())
        .limit(limit)
        .load(conn)?;
    Ok(rows.into_iter().map(LedgerEntry::from).collect())
}

/// What was spent on each resource, and when, in the entries since `since`, oldest first, at most 5,000 rows.
///
/// # Errors
/// When the database fails.
pub fn spent_since(
    conn: &mut DbConnection,
    account: &AccountId,
    since: Timestamp,
) -> QueryResult<Vec<(Option<String>, i64, Timestamp)>> {
    ledger_entries::table
        .filter(ledger_entries::account_id.eq(account))
        .filter(ledger_entries::at.ge(since))
        .filter(ledger_entries::spent_change.ne(0))
        .order(ledger_entries::sequence)
        .limit(5_000)
        .select((ledger_entries::resource_id, ledger_entries::spent_change, ledger_entries::at))
        .load(conn)
}
