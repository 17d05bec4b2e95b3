//! PostgreSQL: one statement locks everything that a batch names, one writes everything that was decided.
//!
//! Both are fragments with a static id, so that they are prepared once per connection. Locked rows are read in their
//! newest version even when the lock had to be waited for; a row that another process inserted meanwhile is not seen,
//! and its key then refuses our insert.
//!
//! `LATERAL` with a fence (`FOR UPDATE`, `OFFSET 0`) leaves the planner one way only: for each key, one look into the
//! index. A plain join that was planned while the table was empty would walk the whole index for as long as the plan lives.

use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::{CounterRow, HoldRow, Named, add_counter, add_hold, is_stopped, read};
use crate::clock::Timestamp;
use crate::payment::decide::{Changes, Facts, Head};
use crate::payment::hold::Hold;
use crate::payment::ledger_entry::LedgerEntry;

/// One column of rows, sent as an array.
enum Column<'a> {
    Texts(Vec<&'a str>),
    MaybeTexts(Vec<Option<&'a str>>),
    Numbers(Vec<i64>),
    MaybeNumbers(Vec<Option<i64>>),
}

/// `unnest($1, $2, …)`.
fn unnest<'b>(out: &mut AstPass<'_, 'b, Pg>, columns: &'b [Column<'_>]) -> QueryResult<()> {
    out.push_sql("unnest(");
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push_sql(", ");
        }
        match column {
            Column::Texts(values) => out.push_bind_param::<Array<Text>, _>(values)?,
            Column::MaybeTexts(values) => out.push_bind_param::<Array<Nullable<Text>>, _>(values)?,
            Column::Numbers(values) => out.push_bind_param::<Array<BigInt>, _>(values)?,
            Column::MaybeNumbers(values) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(values)?,
        }
    }
    out.push_sql(")");
    Ok(())
}

/// Locks heads, reads accounts (shared, so that *stop spending* waits for us or we for it), locks holds, then counters.
struct Lock<'a> {
    accounts: [Column<'a>; 1],
    holds: [Column<'a>; 2],
    counters: [Column<'a>; 2],
}

impl QueryId for Lock<'_> {
    type QueryId = Lock<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

/// What it found it in, account, id, five texts, five numbers.
type Found = (
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

impl Query for Lock<'_> {
    type SqlType = (
        Text,
        Text,
        Text,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<BigInt>,
    );
}

impl RunQueryDsl<PgConnection> for Lock<'_> {}

impl QueryFragment<Pg> for Lock<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH w AS MATERIALIZED (SELECT a FROM ");
        unnest(&mut out, &self.accounts)?;
        out.push_sql(
            " AS w(a)), \
             h AS MATERIALIZED (SELECT x.* FROM w CROSS JOIN LATERAL \
              (SELECT t.* FROM ledger_heads t WHERE t.account_id = w.a FOR UPDATE) x), \
             s AS MATERIALIZED (SELECT x.* FROM w CROSS JOIN LATERAL \
              (SELECT t.id, t.state, t.spending_stopped_at FROM accounts t WHERE t.id = w.a FOR SHARE) x), \
             o AS MATERIALIZED (SELECT x.* FROM ",
        );
        unnest(&mut out, &self.holds)?;
        out.push_sql(
            " AS w(a, i) CROSS JOIN LATERAL \
              (SELECT t.* FROM holds t WHERE t.account_id = w.a AND t.id = w.i FOR UPDATE) x), \
             n AS MATERIALIZED (SELECT a, i FROM ",
        );
        unnest(&mut out, &self.counters)?;
        out.push_sql(
            " AS w(a, i) UNION SELECT account_id, unnest(string_to_array(counter_ids, ' ')) FROM o ORDER BY 1, 2), \
             c AS MATERIALIZED (SELECT x.* FROM n CROSS JOIN LATERAL \
              (SELECT t.* FROM counters t WHERE t.account_id = n.a AND t.id = n.i FOR UPDATE) x) \
             SELECT 'head', account_id, '', hash, NULL::text, NULL::text, NULL::text, NULL::text, \
              sequence, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint FROM h \
             UNION ALL SELECT 'account', id, '', state, NULL, NULL, NULL, NULL, \
              spending_stopped_at, NULL, NULL, NULL, NULL FROM s \
             UNION ALL SELECT 'hold', account_id, id, counter_ids, resource_id, currency, state, description, \
              amount, captured, created_at, expires_at, settled_at FROM o \
             UNION ALL SELECT 'counter', account_id, id, kind, currency, NULL, NULL, NULL, \
              period_end, ceiling, held, spent, NULL FROM c",
        );
        Ok(())
    }
}

pub(super) fn lock(conn: &mut PgConnection, named: &Named<'_>) -> QueryResult<Facts> {
    let lock = Lock {
        accounts: [Column::Texts(named.accounts.iter().map(|id| id.as_str()).collect())],
        holds: [
            Column::Texts(named.holds.iter().map(|(account, _)| account.as_str()).collect()),
            Column::Texts(named.holds.iter().map(|(_, id)| id.as_str()).collect()),
        ],
        counters: [
            Column::Texts(named.counters.iter().map(|(account, _)| account.as_str()).collect()),
            Column::Texts(named.counters.iter().map(|(_, id)| id.as_str()).collect()),
        ],
    };
    let mut facts = Facts::default();
    for row in lock.load::<Found>(conn)? {
        add(&mut facts, row)?;
    }
    Ok(facts)
}

/// A column that is never null in the row's table was null.
#[derive(Debug, thiserror::Error)]
#[error("a row of `{0}` misses a value")]
struct Missing(String);

fn add(facts: &mut Facts, row: Found) -> QueryResult<()> {
    let (table, account_id, id, text1, text2, text3, text4, text5, n1, n2, n3, n4, n5) = row;
    let missing = || Missing(table.clone());
    match table.as_str() {
        "head" => {
            let head =
                Head { sequence: read(n1.ok_or_else(missing))?, hash: read(text1.ok_or_else(missing))?, stored: true };
            facts.heads.insert(read(account_id.parse())?, head);
        }
        "account" => {
            if is_stopped(&read(text1.ok_or_else(missing))?, n1) {
                facts.stopped.insert(read(account_id.parse())?);
            }
        }
        "hold" => {
            let row = HoldRow {
                counter_ids: read(text1.ok_or_else(missing))?,
                resource_id: text2,
                currency: read(text3.ok_or_else(missing))?,
                state: read(text4.ok_or_else(missing))?,
                description: read(text5.ok_or_else(missing))?,
                amount: read(n1.ok_or_else(missing))?,
                captured: read(n2.ok_or_else(missing))?,
                created_at: read(n3.ok_or_else(missing))?,
                expires_at: read(n4.ok_or_else(missing))?,
                settled_at: n5,
                account_id,
                id,
            };
            add_hold(facts, row)?;
        }
        _ => {
            let row = CounterRow {
                kind: read(text1.ok_or_else(missing))?,
                currency: read(text2.ok_or_else(missing))?,
                period_end: read(n1.ok_or_else(missing))?,
                ceiling: read(n2.ok_or_else(missing))?,
                held: read(n3.ok_or_else(missing))?,
                spent: read(n4.ok_or_else(missing))?,
                account_id,
                id,
            };
            add_counter(facts, &row)?;
        }
    }
    Ok(())
}

/// Everything that was decided, table by table.
struct Write<'a> {
    counters: [Column<'a>; 4],
    heads: [Column<'a>; 3],
    new_heads: [Column<'a>; 3],
    new_holds: [Column<'a>; 12],
    settled_holds: [Column<'a>; 5],
    entries: [Column<'a>; 14],
}

impl QueryId for Write<'_> {
    type QueryId = Write<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

/// How many rows it wrote.
impl Query for Write<'_> {
    type SqlType = BigInt;
}

impl RunQueryDsl<PgConnection> for Write<'_> {}

impl QueryFragment<Pg> for Write<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH c AS (UPDATE counters t SET held = y.held, spent = y.spent FROM (SELECT x.at, n.* FROM ");
        unnest(&mut out, &self.counters)?;
        out.push_sql(
            " AS n(account_id, id, held, spent) CROSS JOIN LATERAL (SELECT r.ctid AS at FROM counters r \
              WHERE r.account_id = n.account_id AND r.id = n.id OFFSET 0) x) y WHERE t.ctid = y.at RETURNING 1), \
             h AS (UPDATE ledger_heads t SET sequence = y.sequence, hash = y.hash FROM (SELECT x.at, n.* FROM ",
        );
        unnest(&mut out, &self.heads)?;
        out.push_sql(
            " AS n(account_id, sequence, hash) CROSS JOIN LATERAL (SELECT r.ctid AS at FROM ledger_heads r \
              WHERE r.account_id = n.account_id OFFSET 0) x) y WHERE t.ctid = y.at RETURNING 1), \
             s AS (UPDATE holds t SET captured = y.captured, state = y.state, settled_at = y.settled_at \
              FROM (SELECT x.at, n.* FROM ",
        );
        unnest(&mut out, &self.settled_holds)?;
        out.push_sql(
            " AS n(account_id, id, captured, state, settled_at) CROSS JOIN LATERAL (SELECT r.ctid AS at FROM holds r \
              WHERE r.account_id = n.account_id AND r.id = n.id OFFSET 0) x) y WHERE t.ctid = y.at RETURNING 1), \
             f AS (INSERT INTO ledger_heads (account_id, sequence, hash) SELECT * FROM ",
        );
        unnest(&mut out, &self.new_heads)?;
        out.push_sql(
            " RETURNING 1), o AS (INSERT INTO holds (account_id, id, counter_ids, resource_id, currency, amount, captured, \
             state, description, created_at, expires_at, settled_at) SELECT * FROM ",
        );
        unnest(&mut out, &self.new_holds)?;
        out.push_sql(
            " RETURNING 1), e AS (INSERT INTO ledger_entries (account_id, sequence, id, kind, hold_id, resource_id, \
             counter_ids, currency, held_change, spent_change, description, at, previous_hash, hash) SELECT * FROM ",
        );
        unnest(&mut out, &self.entries)?;
        out.push_sql(
            " RETURNING 1) SELECT (SELECT count(*) FROM c) + (SELECT count(*) FROM h) + (SELECT count(*) FROM s) \
             + (SELECT count(*) FROM f) + (SELECT count(*) FROM o) + (SELECT count(*) FROM e)",
        );
        Ok(())
    }
}

/// Fewer rows were written than decided: a locked row was gone. Everything is undone.
#[derive(Debug, thiserror::Error)]
#[error("{written} rows were written where {decided} were decided")]
struct NotAsDecided {
    written: i64,
    decided: usize,
}

pub(super) fn write(conn: &mut PgConnection, changes: &Changes) -> QueryResult<()> {
    let ceilings: Vec<String> = changes.new_holds.iter().map(|hold| hold.ceilings.to_string()).collect();
    let counters = &changes.counters;
    let write = Write {
        counters: [
            Column::Texts(counters.iter().map(|counter| counter.account_id.as_str()).collect()),
            Column::Texts(counters.iter().map(|counter| counter.id.as_str()).collect()),
            Column::Numbers(counters.iter().map(|counter| counter.held.minor()).collect()),
            Column::Numbers(counters.iter().map(|counter| counter.spent.minor()).collect()),
        ],
        heads: heads(changes, true),
        new_heads: heads(changes, false),
        new_holds: new_holds(&changes.new_holds, &ceilings),
        settled_holds: settled_holds(&changes.settled_holds),
        entries: entries(&changes.entries),
    };
    let written: i64 = write.get_result(conn)?;
    let decided = counters.len()
        + changes.heads.len()
        + changes.new_holds.len()
        + changes.settled_holds.len()
        + changes.entries.len();
    if usize::try_from(written) == Ok(decided) {
        Ok(())
    } else {
        Err(diesel::result::Error::QueryBuilderError(NotAsDecided { written, decided }.into()))
    }
}

fn heads(changes: &Changes, stored: bool) -> [Column<'_>; 3] {
    let of = || changes.heads.iter().filter(move |(_, head)| head.stored == stored);
    [
        Column::Texts(of().map(|(account, _)| account.as_str()).collect()),
        Column::Numbers(of().map(|(_, head)| head.sequence).collect()),
        Column::Texts(of().map(|(_, head)| head.hash.as_str()).collect()),
    ]
}

fn new_holds<'a>(holds: &'a [Hold], ceilings: &'a [String]) -> [Column<'a>; 12] {
    [
        Column::Texts(holds.iter().map(|hold| hold.account_id.as_str()).collect()),
        Column::Texts(holds.iter().map(|hold| hold.id.as_str()).collect()),
        Column::Texts(ceilings.iter().map(String::as_str).collect()),
        Column::MaybeTexts(holds.iter().map(|hold| hold.resource_id.as_ref().map(crate::ids::Id::as_str)).collect()),
        Column::Texts(holds.iter().map(|hold| hold.currency.code()).collect()),
        Column::Numbers(holds.iter().map(|hold| hold.amount.minor()).collect()),
        Column::Numbers(holds.iter().map(|hold| hold.captured.minor()).collect()),
        Column::Texts(holds.iter().map(|hold| hold.state.as_str()).collect()),
        Column::Texts(holds.iter().map(|hold| hold.description.as_str()).collect()),
        Column::Numbers(holds.iter().map(|hold| hold.created_at.micros()).collect()),
        Column::Numbers(holds.iter().map(|hold| hold.expires_at.micros()).collect()),
        Column::MaybeNumbers(holds.iter().map(|hold| hold.settled_at.map(Timestamp::micros)).collect()),
    ]
}

fn settled_holds(holds: &[Hold]) -> [Column<'_>; 5] {
    [
        Column::Texts(holds.iter().map(|hold| hold.account_id.as_str()).collect()),
        Column::Texts(holds.iter().map(|hold| hold.id.as_str()).collect()),
        Column::Numbers(holds.iter().map(|hold| hold.captured.minor()).collect()),
        Column::Texts(holds.iter().map(|hold| hold.state.as_str()).collect()),
        Column::MaybeNumbers(holds.iter().map(|hold| hold.settled_at.map(Timestamp::micros)).collect()),
    ]
}

fn entries(entries: &[LedgerEntry]) -> [Column<'_>; 14] {
    [
        Column::Texts(entries.iter().map(|entry| entry.account_id.as_str()).collect()),
        Column::Numbers(entries.iter().map(|entry| entry.sequence).collect()),
        Column::Texts(entries.iter().map(|entry| entry.id.as_str()).collect()),
        Column::Texts(entries.iter().map(|entry| entry.kind.as_str()).collect()),
        Column::MaybeTexts(entries.iter().map(|entry| entry.hold_id.as_deref()).collect()),
        Column::MaybeTexts(entries.iter().map(|entry| entry.resource_id.as_deref()).collect()),
        Column::Texts(entries.iter().map(|entry| entry.counter_ids.as_str()).collect()),
        Column::Texts(entries.iter().map(|entry| entry.currency.as_str()).collect()),
        Column::Numbers(entries.iter().map(|entry| entry.held_change).collect()),
        Column::Numbers(entries.iter().map(|entry| entry.spent_change).collect()),
        Column::Texts(entries.iter().map(|entry| entry.description.as_str()).collect()),
        Column::Numbers(entries.iter().map(|entry| entry.at.micros()).collect()),
        Column::Texts(entries.iter().map(|entry| entry.previous_hash.as_str()).collect()),
        Column::Texts(entries.iter().map(|entry| entry.hash.as_str()).collect()),
    ]
}
