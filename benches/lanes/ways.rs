//! The ways of writing a hold under a cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use portreeve::clock::{Period, Timestamp};
use portreeve::db::schema::{accounts, counters, ledger_entries, orchestrators};
use portreeve::db::{Backend, Db, DbConnection, DbError};
use portreeve::ids::{AccountId, CounterId, HoldId, LedgerEntryId, OrchestratorId};
use portreeve::money::{Amount, Currency, Money};
use portreeve::payment::hold::{Ceilings, CounterKind, HoldRequest, Movement, Outcome, move_money};
use portreeve::payment::{self, audit_chain};

use crate::pgbench::pgbench;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ROWS: usize = 1_000;

/// How a hold is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A pool of 16 connections, one plain transaction each: guarded update, insert.
    Pool,
    /// The same statements as a closure in a lane.
    Closures,
    /// The real hold, as a set verb: also the hold's row, the chained ledger and its head.
    Set,
    /// The same hold as a plain transaction of its own, on a pool of 16 connections set up like lanes.
    PoolHold,
    /// `pgbench -M prepared`: update and insert in one statement.
    Pgbench,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool of 16, plain transactions",
            Self::Closures => "lanes, closures",
            Self::Set => "lanes, set verb",
            Self::PoolHold => "pool of 16, the set verb's hold",
            Self::Pgbench => "pgbench, one statement",
        }
    }
}

/// One run of one way. Times in milliseconds.
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// An account with its counter. Family 0 is written by bare statements, family 1 by the set verb (whose chain they would break).
#[derive(Clone)]
struct Purse {
    account: AccountId,
    counter: CounterId,
}

fn purse(family: usize, row: usize) -> Purse {
    Purse {
        account: format!("acct_{family}{row:025}").parse().unwrap(),
        counter: format!("ctr_{family}{row:025}").parse().unwrap(),
    }
}

type Bare = Pool<ConnectionManager<DbConnection>>;

pub(crate) struct Scene {
    pub(crate) backend: Backend,
    url: String,
    db: Db,
    pool: Bare,
    sequence: Arc<AtomicI64>,
}

#[derive(Debug)]
struct Pragmas;

impl diesel::r2d2::CustomizeConnection<DbConnection, diesel::r2d2::Error> for Pragmas {
    fn on_acquire(&self, conn: &mut DbConnection) -> Result<(), diesel::r2d2::Error> {
        match conn {
            DbConnection::Sqlite(conn) => conn.batch_execute(
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            ),
            DbConnection::Postgres(conn) => {
                conn.batch_execute("SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off")
            }
        }
        .map_err(diesel::r2d2::Error::QueryError)
    }
}

impl Scene {
    pub(crate) fn new(db: Db, backend: Backend, url: &str) -> Self {
        let address = url.strip_prefix("sqlite:").unwrap_or(url);
        let pool = Pool::builder().max_size(16).test_on_check_out(false).connection_customizer(Box::new(Pragmas));
        let pool = pool.build(ConnectionManager::new(address)).unwrap();
        Self { backend, url: url.to_owned(), db, pool, sequence: Arc::new(AtomicI64::new(1_000)) }
    }

    pub(crate) async fn seed(&self) {
        for family in 0..2 {
            self.db
                .write("", move |conn| {
                    (0..ROWS).try_for_each(|row| seed(conn, &purse(family, row)))?;
                    Ok::<_, DbError>(())
                })
                .await
                .unwrap();
        }
        if self.backend == Backend::Postgres {
            let prepare = "CREATE SEQUENCE bench_sequence START 1000000000000 CACHE 1000; ANALYZE";
            self.db.write("", move |conn| Ok::<_, DbError>(conn.batch_execute(prepare)?)).await.unwrap();
        }
    }

    /// Lets `callers` callers write for `time`, each its next hold when its last is answered, spread over `rows` rows.
    pub(crate) async fn measure(&self, way: Way, rows: usize, callers: usize, time: Duration) -> Measured {
        if way == Way::Pgbench {
            return pgbench(&self.url, rows, callers, time);
        }
        let start = Instant::now();
        let callers = (0..callers).map(|caller| {
            let (db, pool, sequence) = (self.db.clone(), self.pool.clone(), self.sequence.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                // A stride that visits all rows, differently for each caller.
                let mut row = caller * 37;
                while start.elapsed() < time {
                    row = (row + 389) % rows;
                    let begun = Instant::now();
                    match way {
                        Way::Set => set(&db, &purse(1, row)).await,
                        Way::Closures => closure(&db, purse(0, row), &sequence).await,
                        Way::PoolHold => plain_hold(&pool, hold(&purse(1, row))).await,
                        Way::Pool | Way::Pgbench => plain(&pool, purse(0, row), &sequence).await,
                    }
                    took.push(begun.elapsed());
                }
                took
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut took = Vec::new();
        for caller in callers {
            took.extend(caller.await.unwrap());
        }
        let elapsed = start.elapsed();
        took.sort();
        let count = f64::from(u32::try_from(took.len()).unwrap());
        let at = |hundredth: usize| took[(took.len() - 1) * hundredth / 100].as_secs_f64() * 1_000.0;
        Measured { rate: count / elapsed.as_secs_f64(), p50: at(50), p99: at(99), max: at(100) }
    }

    /// What the set verb wrote must be a real ledger.
    pub(crate) async fn verify(&self) {
        self.db
            .read(|conn| {
                let mut entries = 0;
                for row in 0..ROWS {
                    entries += audit_chain::verify(conn, &purse(1, row).account).unwrap().entries;
                }
                assert!(entries > 0);
                Ok::<_, DbError>(())
            })
            .await
            .unwrap();
    }
}

fn seed(conn: &mut DbConnection, purse: &Purse) -> QueryResult<()> {
    let orchestrator = OrchestratorId::new(NOW);
    let unique = orchestrator.to_string();
    diesel::insert_into(orchestrators::table)
        .values((
            orchestrators::id.eq(&orchestrator),
            orchestrators::name.eq(&unique),
            orchestrators::issuer.eq(&unique),
            orchestrators::client_id.eq("client"),
            orchestrators::algorithms.eq("ES256"),
            orchestrators::existing_account.eq("consent"),
            orchestrators::may_open_accounts.eq(true),
            orchestrators::email_domains.eq(""),
            orchestrators::currency.eq(Currency::USD),
            orchestrators::monthly_ceiling.eq(0_i64),
            orchestrators::provisional_ceiling.eq(0_i64),
            orchestrators::origin.eq("bench"),
            orchestrators::created_at.eq(NOW),
        ))
        .execute(conn)?;
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(&purse.account),
            accounts::state.eq("active"),
            accounts::opened_by.eq(&orchestrator),
            accounts::email_trust.eq("none"),
            accounts::created_at.eq(NOW),
            accounts::changed_at.eq(NOW),
        ))
        .execute(conn)?;
    let counter = payment::NewCounter {
        account_id: purse.account.clone(),
        id: purse.counter.clone(),
        kind: CounterKind::Budget,
        subject: orchestrator.to_string(),
        currency: Currency::USD,
        period: Period::month_of(NOW),
        ceiling: Amount::from_minor(i64::MAX / 2).unwrap(),
    };
    payment::open_counter(conn, &counter)?;
    // The account's first entry, so that plain transactions do not race to make the head of its chain.
    payment::apply(conn, &[hold(purse)]).map(drop)
}

/// The guarded update and the insert.
fn statements(conn: &mut DbConnection, purse: &Purse, sequence: i64) -> QueryResult<usize> {
    let room = counters::table
        .filter(counters::account_id.eq(&purse.account))
        .filter(counters::id.eq(&purse.counter))
        .filter((counters::held + counters::spent + 1).le(counters::ceiling));
    let passed = diesel::update(room).set(counters::held.eq(counters::held + 1)).execute(conn)?;
    assert_eq!(passed, 1);
    diesel::insert_into(ledger_entries::table)
        .values((
            ledger_entries::account_id.eq(&purse.account),
            ledger_entries::sequence.eq(sequence),
            ledger_entries::id.eq(LedgerEntryId::new(NOW)),
            ledger_entries::kind.eq("hold"),
            ledger_entries::hold_id.eq(Some(HoldId::new(NOW))),
            ledger_entries::counter_ids.eq(&purse.counter),
            ledger_entries::currency.eq(Currency::USD),
            ledger_entries::held_change.eq(1_i64),
            ledger_entries::spent_change.eq(0_i64),
            ledger_entries::description.eq("a plan"),
            ledger_entries::at.eq(NOW),
            ledger_entries::previous_hash.eq(""),
            ledger_entries::hash.eq(""),
        ))
        .execute(conn)
}

async fn closure(db: &Db, purse: Purse, sequence: &AtomicI64) {
    let sequence = sequence.fetch_add(1, Ordering::Relaxed);
    let key = purse.account.as_str().to_owned();
    db.write(&key, move |conn| Ok::<_, DbError>(statements(conn, &purse, sequence)?)).await.unwrap();
}

async fn plain(pool: &Bare, purse: Purse, sequence: &AtomicI64) {
    let sequence = sequence.fetch_add(1, Ordering::Relaxed);
    transaction(pool, move |conn| statements(conn, &purse, sequence).map(drop)).await;
}

async fn plain_hold(pool: &Bare, movement: Movement) {
    transaction(pool, move |conn| {
        let outcomes = payment::apply(conn, std::slice::from_ref(&movement))?;
        assert!(matches!(outcomes.as_slice(), [Outcome::Held(_)]));
        Ok(())
    })
    .await;
}

async fn transaction(pool: &Bare, work: impl Fn(&mut DbConnection) -> QueryResult<()> + Send + 'static) {
    let pool = pool.clone();
    let run = move || {
        let mut conn = pool.get().unwrap();
        let conn: &mut DbConnection = &mut conn;
        loop {
            let done = match conn {
                DbConnection::Postgres(_) => conn.transaction(&work),
                // Immediate, so that it is the best that a pool can do.
                DbConnection::Sqlite(_) => immediate(conn, &work),
            };
            match done {
                Ok(()) => return,
                Err(error) if error.to_string().contains("locked") => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

fn immediate<T>(conn: &mut DbConnection, work: impl FnOnce(&mut DbConnection) -> QueryResult<T>) -> QueryResult<T> {
    conn.batch_execute("BEGIN IMMEDIATE")?;
    match work(conn) {
        Ok(value) => conn.batch_execute("COMMIT").map(|()| value),
        Err(error) => conn.batch_execute("ROLLBACK").and(Err(error)),
    }
}

fn hold(purse: &Purse) -> Movement {
    Movement::Hold(HoldRequest {
        account_id: purse.account.clone(),
        hold_id: HoldId::new(NOW),
        ceilings: Ceilings::new([purse.counter.clone()]).unwrap(),
        money: Money { amount: Amount::from_minor(1).unwrap(), currency: Currency::USD },
        resource_id: None,
        description: "a plan".to_owned(),
        entry_id: LedgerEntryId::new(NOW),
        now: NOW,
        expires_at: NOW,
    })
}

async fn set(db: &Db, purse: &Purse) {
    assert!(matches!(move_money(db, hold(purse)).await.unwrap(), Outcome::Held(_)));
}
