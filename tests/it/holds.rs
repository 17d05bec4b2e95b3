//! Moving money: the same in batches as one at a time, never over a ceiling, and recomputable.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::clock::{Period, Timestamp};
use portreeve::db::schema::{accounts, counters, holds, ledger_entries, orchestrators};
use portreeve::db::{Db, DbError, DbSettings};
use portreeve::ids::{AccountId, CounterId, HoldId, LedgerEntryId, OrchestratorId};
use portreeve::money::{Amount, Currency, Money};
use portreeve::payment::audit_chain::{self, Difference, Verified, VerifyError};
use portreeve::payment::hold::{
    CaptureRequest, Ceilings, CounterKind, HoldRequest, Movement, Outcome, ReleaseRequest, SpendRequest, move_money,
};
use portreeve::payment::{self, NewCounter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::databases::{self, TestDb};
use crate::harness::on_four_threads;
use crate::lanes::{Gate, queued};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn minor(amount: i64) -> Amount {
    Amount::from_minor(amount).unwrap()
}

fn usd(amount: i64) -> Money {
    Money { amount: minor(amount), currency: Currency::USD }
}

/// An account with counters of the given ceilings.
struct Purse {
    account: AccountId,
    counters: Vec<CounterId>,
}

impl Purse {
    fn new(ceilings: usize) -> Self {
        Self { account: AccountId::new(NOW), counters: (0..ceilings).map(|_| CounterId::new(NOW)).collect() }
    }

    async fn open(&self, db: &Db, ceilings: &[i64]) {
        let account = self.account.clone();
        let rows: Vec<NewCounter> = self
            .counters
            .iter()
            .zip(ceilings)
            .zip([CounterKind::Budget, CounterKind::PaymentToken, CounterKind::Agent])
            .map(|((id, ceiling), kind)| NewCounter {
                account_id: account.clone(),
                id: id.clone(),
                kind,
                subject: OrchestratorId::new(NOW).to_string(),
                currency: Currency::USD,
                period: Period::month_of(NOW),
                ceiling: minor(*ceiling),
            })
            .collect();
        db.write("", move |conn| {
            insert_account(conn, &account)?;
            rows.iter().try_for_each(|row| payment::open_counter(conn, row))?;
            Ok::<_, DbError>(())
        })
        .await
        .unwrap();
    }

    fn ceilings(&self) -> Ceilings {
        Ceilings::new(self.counters.iter().cloned()).unwrap()
    }

    fn hold(&self, hold_id: &HoldId, amount: i64) -> Movement {
        Movement::Hold(HoldRequest {
            account_id: self.account.clone(),
            hold_id: hold_id.clone(),
            ceilings: self.ceilings(),
            money: usd(amount),
            resource_id: None,
            description: "a plan \"with\" quotes, commas {and} braces\\".to_owned(),
            entry_id: LedgerEntryId::new(NOW),
            now: NOW,
            expires_at: NOW,
        })
    }

    fn spend(&self, amount: i64) -> Movement {
        Movement::Spend(SpendRequest {
            account_id: self.account.clone(),
            ceilings: self.ceilings(),
            money: usd(amount),
            resource_id: None,
            description: "requests".to_owned(),
            entry_id: LedgerEntryId::new(NOW),
            now: NOW,
        })
    }

    fn capture(&self, hold_id: &HoldId, amount: i64) -> Movement {
        Movement::Capture(CaptureRequest {
            account_id: self.account.clone(),
            hold_id: hold_id.clone(),
            amount: minor(amount),
            entry_id: LedgerEntryId::new(NOW),
            now: NOW,
        })
    }

    fn release(&self, hold_id: &HoldId) -> Movement {
        Movement::Release(ReleaseRequest {
            account_id: self.account.clone(),
            hold_id: hold_id.clone(),
            entry_id: LedgerEntryId::new(NOW),
            now: NOW,
        })
    }
}

fn insert_account(conn: &mut portreeve::db::DbConnection, account: &AccountId) -> QueryResult<()> {
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
            orchestrators::origin.eq("test"),
            orchestrators::created_at.eq(NOW),
        ))
        .execute(conn)?;
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(account),
            accounts::state.eq("active"),
            accounts::opened_by.eq(&orchestrator),
            accounts::email_trust.eq("none"),
            accounts::created_at.eq(NOW),
            accounts::changed_at.eq(NOW),
        ))
        .execute(conn)
        .map(drop)
}

fn one_lane(database: &TestDb) -> Db {
    Db::open(&DbSettings { lanes: 1, ..database.settings().clone() }).unwrap()
}

/// Gives the movements to the lane so that they become one set.
async fn together(db: &Db, movements: &[Movement]) -> Vec<Outcome> {
    let gate = Gate::close(db);
    let submit = |movement: &Movement| {
        let (db, movement) = (db.clone(), movement.clone());
        queued(async move { move_money(&db, movement).await })
    };
    let waiting: Vec<_> = movements.iter().map(submit).collect();
    gate.open().await;
    join_all(waiting).await.into_iter().map(Result::unwrap).collect()
}

async fn verify(db: &Db, account: &AccountId) -> Result<Verified, Difference> {
    let account = account.clone();
    let found = db.read(move |conn| {
        Ok::<_, DbError>(match audit_chain::verify(conn, &account) {
            Ok(verified) => Ok(verified),
            Err(VerifyError::Different(difference)) => Err(difference),
            Err(VerifyError::Db(error)) => return Err(error.into()),
        })
    });
    found.await.unwrap()
}

type Rows = (
    Vec<(String, i64, i64)>,
    Vec<(String, i64, i64, String, Option<i64>)>,
    Vec<(i64, String, String, Option<String>, i64, i64, String)>,
);

async fn rows(db: &Db, account: &AccountId) -> Rows {
    let account = account.clone();
    db.read(move |conn| {
        let counters = counters::table
            .filter(counters::account_id.eq(&account))
            .order(counters::id)
            .select((counters::id, counters::held, counters::spent))
            .load(conn)?;
        let holds = holds::table
            .filter(holds::account_id.eq(&account))
            .order(holds::id)
            .select((holds::id, holds::amount, holds::captured, holds::state, holds::settled_at))
            .load(conn)?;
        let entries = ledger_entries::table
            .filter(ledger_entries::account_id.eq(&account))
            .order(ledger_entries::sequence)
            .select((
                ledger_entries::sequence,
                ledger_entries::id,
                ledger_entries::kind,
                ledger_entries::hold_id,
                ledger_entries::held_change,
                ledger_entries::spent_change,
                ledger_entries::hash,
            ))
            .load(conn)?;
        Ok::<_, DbError>((counters, holds, entries))
    })
    .await
    .unwrap()
}

/// One step of a random story: whose purse, which hold, what, how much.
type Step = (usize, usize, u8, i64);

fn stories() -> impl Strategy<Value = (Vec<[i64; 3]>, Vec<Vec<Step>>)> {
    let ceilings = prop::collection::vec([0_i64..120, 0_i64..120, 0_i64..120], 2);
    let step = (0..2_usize, 0..6_usize, 0..8_u8, 0..40_i64);
    (ceilings, prop::collection::vec(prop::collection::vec(step, 1..14), 1..5))
}

/// What a person with paper and pencil would say: counters per purse, holds, and the answer to each step.
#[derive(Default)]
struct Paper {
    used: [[i64; 3]; 2],
    holds: std::collections::BTreeMap<(usize, usize), (usize, i64, Option<i64>)>,
}

impl Paper {
    /// How many of the purse's ceilings a step passes: some holds name only the first.
    fn step(&mut self, ceilings: &[[i64; 3]], (purse, hold, verb, amount): Step) -> &'static str {
        let count = if hold % 2 == 0 { 3 } else { 1 };
        let fits = (0..count).all(|one| self.used[purse][one] + amount <= ceilings[purse][one]);
        let mut add =
            |count: usize, amount: i64| self.used[purse].iter_mut().take(count).for_each(|used| *used += amount);
        match (verb, self.holds.get_mut(&(purse, hold))) {
            (0..=2, Some(_)) => "duplicate",
            (0..=3, _) if !fits => "refused",
            (0..=2, None) => {
                add(count, amount);
                self.holds.insert((purse, hold), (count, amount, None));
                "held"
            }
            (3, _) => {
                add(count, amount);
                "spent"
            }
            (_, None) => "no such hold",
            (4..=5, Some((_, kept, None))) if amount > *kept => "more than held",
            (4..=5, Some((count, kept, paid @ None))) => {
                add(*count, amount - *kept);
                *paid = Some(amount);
                "captured"
            }
            (4..=5, Some((_, _, Some(captured)))) => {
                if *captured == amount {
                    "captured"
                } else {
                    "settled"
                }
            }
            (_, Some((count, kept, paid @ None))) => {
                add(*count, -*kept);
                *paid = Some(-1);
                "released"
            }
            (_, Some((_, _, Some(captured)))) => {
                if *captured == -1 {
                    "released"
                } else {
                    "settled"
                }
            }
        }
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Held(_) => "held",
        Outcome::Captured(..) => "captured",
        Outcome::Released(..) => "released",
        Outcome::Spent(_) => "spent",
        Outcome::Duplicate(_) => "duplicate",
        Outcome::Settled(_) => "settled",
        Outcome::Refused(_) => "refused",
        Outcome::NoSuchHold => "no such hold",
        Outcome::MoreThanHeld(_) => "more than held",
        other => panic!("{other:?} was not to be expected"),
    }
}

mod batches_come_to_the_same_as_one_at_a_time {
    use super::*;

    #[test]
    fn sqlite() {
        same_in_batches(&databases::sqlite(), &databases::sqlite());
    }

    #[test]
    fn postgres() {
        if let (Some(grouped), Some(single)) = (databases::postgres(), databases::postgres()) {
            same_in_batches(&grouped, &single);
        }
    }
}

fn same_in_batches(grouped: &TestDb, single: &TestDb) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (grouped, single) = (one_lane(grouped), one_lane(single));
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let told = runner.run(&stories(), |(ceilings, batches)| {
        runtime.block_on(story(&grouped, &single, &ceilings, &batches));
        Ok(())
    });
    told.unwrap();
}

async fn story(grouped: &Db, single: &Db, ceilings: &[[i64; 3]], batches: &[Vec<Step>]) {
    let purses = [Purse::new(3), Purse::new(3)];
    for (purse, ceilings) in purses.iter().zip(ceilings) {
        purse.open(grouped, ceilings).await;
        purse.open(single, ceilings).await;
    }
    // Ids of one millisecond have no order of their own, but ceilings are taken in the order of ids.
    let sorted = |purse: &Purse, count: usize| Ceilings::new(purse.counters.iter().take(count).cloned()).unwrap();
    let hold_ids: Vec<HoldId> = (0..6).map(|_| HoldId::new(NOW)).collect();
    let mut paper = Paper::default();
    for batch in batches {
        let movements: Vec<Movement> = batch
            .iter()
            .map(|&(purse, hold, verb, amount)| {
                let (purse, id) = (&purses[purse], &hold_ids[hold]);
                let ceilings = sorted(purse, if hold % 2 == 0 { 3 } else { 1 });
                match verb {
                    0..=2 => match purse.hold(id, amount) {
                        Movement::Hold(request) => Movement::Hold(HoldRequest { ceilings, ..request }),
                        other => other,
                    },
                    3 => match purse.spend(amount) {
                        Movement::Spend(request) => Movement::Spend(SpendRequest { ceilings, ..request }),
                        other => other,
                    },
                    4..=5 => purse.capture(id, amount),
                    _ => purse.release(id),
                }
            })
            .collect();
        let in_a_batch = together(grouped, &movements).await;
        let mut one_by_one = Vec::new();
        for movement in &movements {
            let movement = movement.clone();
            let alone =
                single.write("", move |conn| Ok::<_, DbError>(payment::apply(conn, std::slice::from_ref(&movement))?));
            one_by_one.extend(alone.await.unwrap());
        }
        assert_eq!(in_a_batch, one_by_one);
        let on_paper: Vec<_> = batch.iter().map(|step| paper.step(ceilings, *step)).collect();
        assert_eq!(in_a_batch.iter().map(name).collect::<Vec<_>>(), on_paper);
    }
    for (purse, used) in purses.iter().zip(paper.used) {
        let found = rows(grouped, &purse.account).await;
        assert_eq!(found, rows(single, &purse.account).await);
        for (id, held, spent) in &found.0 {
            let index = purse.counters.iter().position(|known| known.as_str() == id).unwrap();
            assert_eq!(held + spent, used[index], "as on paper");
        }
        assert_eq!(verify(grouped, &purse.account).await.unwrap().entries, i64::try_from(found.2.len()).unwrap());
    }
}

on_both! {
    async fn a_refusal_names_the_ceiling_with_the_least_room_and_changes_nothing(database: TestDb) {
        let db = one_lane(&database);
        let purse = Purse::new(3);
        purse.open(&db, &[100, 60, 80]).await;
        let first = HoldId::new(NOW);
        let held = move_money(&db, purse.hold(&first, 50)).await.unwrap();
        assert!(matches!(held, Outcome::Held(counters) if counters.len() == 3));
        let before = rows(&db, &purse.account).await;
        let Outcome::Refused(refusal) = move_money(&db, purse.spend(11)).await.unwrap() else { panic!("refused") };
        assert_eq!((&refusal.binding, refusal.kind), (&purse.counters[1], CounterKind::PaymentToken));
        let numbers = [refusal.needed, refusal.held, refusal.spent, refusal.ceiling, refusal.remaining];
        assert_eq!(numbers.map(Amount::minor), [11, 50, 0, 60, 10]);
        assert_eq!(refusal.period_end, Period::month_of(NOW).end);
        assert_eq!(rows(&db, &purse.account).await, before);
        // The last unit is sold.
        assert!(matches!(move_money(&db, purse.spend(10)).await.unwrap(), Outcome::Spent(_)));
        assert!(matches!(move_money(&db, purse.spend(1)).await.unwrap(), Outcome::Refused(_)));
    }

    async fn sixty_four_callers_in_two_processes_fill_the_ceiling_and_never_pass_it(database: TestDb) {
        on_four_threads(async move {
            let db = database.db().clone();
            let other = Db::open(database.settings()).unwrap();
            let purse = std::sync::Arc::new(Purse::new(2));
            purse.open(&db, &[100, 1_000]).await;
            let callers = (0..64).map(|caller| {
                let db = if caller % 2 == 0 { db.clone() } else { other.clone() };
                let purse = purse.clone();
                tokio::spawn(async move {
                    let mut held = 0;
                    for _ in 0..4 {
                        match move_money(&db, purse.hold(&HoldId::new(NOW), 1)).await.unwrap() {
                            Outcome::Held(_) => held += 1,
                            Outcome::Refused(refusal) => assert_eq!(refusal.remaining, Amount::ZERO),
                            other => panic!("{other:?}"),
                        }
                    }
                    held
                })
            });
            let held: i64 = join_all(callers).await.into_iter().map(Result::unwrap).sum();
            assert_eq!(held, 100, "filled exactly");
            assert_eq!(verify(&db, &purse.account).await.unwrap().entries, 100);
            assert!(rows(&db, &purse.account).await.0.iter().all(|(_, held, spent)| (*held, *spent) == (100, 0)));
        })
        .await;
    }

    async fn one_hold_asked_for_by_many_at_once_is_made_once(database: TestDb) {
        on_four_threads(async move {
            let db = database.db().clone();
            let others: Vec<Db> = (0..4).map(|_| Db::open(database.settings()).unwrap()).collect();
            for _ in 0..20 {
                let purse = Purse::new(1);
                purse.open(&db, &[100]).await;
                let id = HoldId::new(NOW);
                let asked = others.iter().map(|db| {
                    let (db, movement) = (db.clone(), purse.hold(&id, 10));
                    tokio::spawn(async move { move_money(&db, movement).await.unwrap() })
                });
                let outcomes: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
                assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Held(_))).count(), 1);
                assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Duplicate(_))).count(), 3);
                assert_eq!(rows(&db, &purse.account).await.0[0].1, 10);
            }
        })
        .await;
    }

    async fn a_stopped_account_spends_nothing_but_can_still_settle(database: TestDb) {
        let db = one_lane(&database);
        let purse = Purse::new(1);
        purse.open(&db, &[100]).await;
        let held = HoldId::new(NOW);
        move_money(&db, purse.hold(&held, 10)).await.unwrap();
        let account = purse.account.clone();
        db.write("", move |conn| {
            let stop = diesel::update(accounts::table.find(&account)).set(accounts::spending_stopped_at.eq(Some(NOW)));
            Ok::<_, DbError>(stop.execute(conn)?)
        })
        .await
        .unwrap();
        assert_eq!(move_money(&db, purse.hold(&HoldId::new(NOW), 1)).await.unwrap(), Outcome::SpendingStopped);
        assert_eq!(move_money(&db, purse.spend(1)).await.unwrap(), Outcome::SpendingStopped);
        assert!(matches!(move_money(&db, purse.capture(&held, 4)).await.unwrap(), Outcome::Captured(..)));
        assert_eq!(rows(&db, &purse.account).await.0[0], (purse.counters[0].to_string(), 0, 4));
    }

    async fn what_does_not_fit_together_is_refused_by_name(database: TestDb) {
        let db = one_lane(&database);
        let purse = Purse::new(1);
        purse.open(&db, &[100]).await;
        let stranger = Purse::new(1);
        let missing = Purse { account: purse.account.clone(), counters: stranger.counters.clone() };
        let outcome = move_money(&db, missing.spend(1)).await.unwrap();
        assert_eq!(outcome, Outcome::NoSuchCounter(stranger.counters[0].clone()));
        let Movement::Spend(mut euros) = purse.spend(1) else { panic!("a spend") };
        euros.money.currency = "EUR".parse().unwrap();
        let outcome = move_money(&db, Movement::Spend(euros)).await.unwrap();
        assert_eq!(outcome, Outcome::OtherCurrency(purse.counters[0].clone()));
        // Another account's counter or hold is not there at all.
        let held = HoldId::new(NOW);
        move_money(&db, purse.hold(&held, 1)).await.unwrap();
        assert_eq!(move_money(&db, stranger.release(&held)).await.unwrap(), Outcome::NoSuchHold);
    }

    async fn a_snapshot_reads_one_moment_and_keeps_no_writer_waiting(database: TestDb) {
        let db = one_lane(&database);
        let purse = Purse::new(1);
        purse.open(&db, &[100]).await;
        move_money(&db, purse.spend(1)).await.unwrap();
        let (began, running) = tokio::sync::oneshot::channel();
        let (wrote, written) = std::sync::mpsc::channel::<()>();
        let account = purse.account.clone();
        let reader = db.clone();
        let read = tokio::spawn(async move {
            let work = move |conn: &mut portreeve::db::DbConnection| {
                let first = audit_chain::verify(conn, &account).unwrap().entries;
                began.send(()).unwrap();
                written.recv().unwrap();
                Ok::<_, DbError>((first, audit_chain::verify(conn, &account).unwrap().entries))
            };
            reader.read_snapshot(work).await.unwrap()
        });
        running.await.unwrap();
        assert!(matches!(move_money(&db, purse.spend(1)).await.unwrap(), Outcome::Spent(_)));
        wrote.send(()).unwrap();
        assert_eq!(read.await.unwrap(), (1, 1));
        assert_eq!(verify(&db, &purse.account).await.unwrap().entries, 2, "the connection is an ordinary one again");
    }

    async fn the_command_that_checks_the_books_finds_nothing_wrong_while_money_moves(database: TestDb) {
        on_four_threads(async move {
            let db = database.db().clone();
            let purse = std::sync::Arc::new(Purse::new(2));
            purse.open(&db, &[1_000_000, 1_000_000]).await;
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let spenders = (0..4).map(|_| {
                let (db, purse, stop) = (db.clone(), purse.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        move_money(&db, purse.spend(1)).await.unwrap();
                    }
                })
            });
            let spenders: Vec<_> = spenders.collect();
            let url = secrecy::ExposeSecret::expose_secret(&database.settings().url).to_owned();
            let told = tokio::task::spawn_blocking(move || {
                let folder = tempfile::tempdir().unwrap();
                let verify = || {
                    let mut audit = std::process::Command::new(env!("CARGO_BIN_EXE_portreeve"));
                    audit.args(["audit", "verify"]).current_dir(folder.path()).env("PORTREEVE__DATABASE__URL", &url);
                    let output = audit.output().unwrap();
                    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
                };
                (0..12).map(|_| verify()).collect::<Vec<_>>()
            });
            let told = told.await.unwrap();
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            join_all(spenders).await.into_iter().for_each(Result::unwrap);
            assert!(told.iter().all(|(code, _)| *code == Some(0)), "{told:?}");
        })
        .await;
    }

    async fn tampering_with_a_hold_is_found(database: TestDb) {
        let db = one_lane(&database);
        let purse = Purse::new(2);
        purse.open(&db, &[100, 100]).await;
        let [open, taken, freed] = [(); 3].map(|()| HoldId::new(NOW));
        for hold in [&open, &taken, &freed] {
            move_money(&db, purse.hold(hold, 10)).await.unwrap();
        }
        move_money(&db, purse.capture(&taken, 7)).await.unwrap();
        move_money(&db, purse.release(&freed)).await.unwrap();
        assert_eq!(verify(&db, &purse.account).await.unwrap().entries, 5);

        let change = async |hold: &HoldId, sql: &str| {
            let sql = format!("UPDATE holds SET {sql} WHERE id = '{hold}'");
            db.write("", move |conn| Ok::<_, DbError>(conn.batch_execute(&sql)?)).await.unwrap();
        };
        for (hold, tampered, good) in [
            (&taken, "captured = 6", "captured = 7"),
            (&taken, "state = 'held', captured = 0", "state = 'captured', captured = 7"),
            (&open, "amount = 9", "amount = 10"),
            (&open, "state = 'released'", "state = 'held'"),
            (&open, "state = 'other'", "state = 'held'"),
            (&freed, "state = 'captured', captured = 10", "state = 'released', captured = 0"),
        ] {
            change(hold, tampered).await;
            let found = verify(&db, &purse.account).await;
            assert!(matches!(&found, Err(Difference::Hold { id, .. }) if id == hold.as_str()), "{tampered}: {found:?}");
            change(hold, good).await;
        }
        for (hold, amount) in [(&taken, 10), (&freed, 10)] {
            change(hold, "amount = amount + 1").await;
            let found = verify(&db, &purse.account).await;
            assert_eq!(found, Err(Difference::HoldAmount { id: hold.to_string(), amount: amount + 1, entry: amount }));
            change(hold, "amount = amount - 1").await;
        }
        let one = purse.ceilings().iter().next().unwrap().clone();
        for tampered in [format!("counter_ids = '{one}'"), "currency = 'EUR'".to_owned()] {
            change(&open, &tampered).await;
            assert_eq!(verify(&db, &purse.account).await, Err(Difference::HoldCeilings(open.to_string())));
            change(&open, &format!("counter_ids = '{}', currency = 'USD'", purse.ceilings())).await;
        }
        verify(&db, &purse.account).await.unwrap();
        let sql = format!("DELETE FROM holds WHERE id = '{open}'");
        db.write("", move |conn| Ok::<_, DbError>(conn.batch_execute(&sql)?)).await.unwrap();
        assert_eq!(verify(&db, &purse.account).await, Err(Difference::NoHold(open.to_string())));
    }

    async fn tampering_with_the_ledger_or_a_counter_is_found(database: TestDb) {
        let db = one_lane(&database);
        let purse = Purse::new(1);
        purse.open(&db, &[100]).await;
        for _ in 0..3 {
            move_money(&db, purse.spend(5)).await.unwrap();
        }
        assert_eq!(verify(&db, &purse.account).await.unwrap().entries, 3);
        let sql = |db: &Db, sql: String| {
            let db = db.clone();
            async move { db.write("", move |conn| Ok::<_, DbError>(conn.batch_execute(&sql)?)).await }
        };
        let whose = format!("WHERE account_id = '{}'", purse.account);

        let refused = sql(&db, format!("UPDATE ledger_entries SET spent_change = 1 {whose}")).await;
        assert!(refused.is_err(), "the database itself refuses");

        sql(&db, format!("UPDATE counters SET spent = 14 {whose}")).await.unwrap();
        assert!(matches!(
            verify(&db, &purse.account).await,
            Err(Difference::Counter { spent: 14, entries_spent: 15, .. })
        ));
        sql(&db, format!("UPDATE counters SET spent = 15 {whose}")).await.unwrap();

        sql(&db, format!("UPDATE ledger_heads SET sequence = 2 {whose}")).await.unwrap();
        assert_eq!(verify(&db, &purse.account).await, Err(Difference::Head { entries: 3, head: 2 }));
        sql(&db, format!("UPDATE ledger_heads SET sequence = 3 {whose}")).await.unwrap();

        // An administrator of the database can drop the guard, and is still found out.
        let drop_guard = match database.backend() {
            portreeve::db::Backend::Sqlite => {
                "DROP TRIGGER ledger_entries_no_update; DROP TRIGGER ledger_entries_no_delete"
            }
            portreeve::db::Backend::Postgres => "DROP TRIGGER ledger_entries_append_only ON ledger_entries",
        };
        sql(&db, drop_guard.to_owned()).await.unwrap();
        sql(&db, format!("UPDATE ledger_entries SET description = 'other' {whose} AND sequence = 2")).await.unwrap();
        assert_eq!(verify(&db, &purse.account).await, Err(Difference::Changed(2)));
        sql(&db, format!("DELETE FROM ledger_entries {whose} AND sequence = 2")).await.unwrap();
        assert_eq!(verify(&db, &purse.account).await, Err(Difference::Gap { expected: 2, found: 3 }));
    }
}
