//! The write lanes: what is promised about batches, commits, panics, queues and lost connections.

use std::io::{BufRead, BufReader, Write as _};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::DatabaseError;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use portreeve::db::{Backend, Db, DbConnection, DbError, SetVerb};

use crate::harness::databases::{self, TestDb};
use crate::harness::on_four_threads;
use secrecy::ExposeSecret as _;

diesel::table! { things (id) { id -> Text, n -> BigInt, } }

const TABLES: &str = "CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL); \
     CREATE TABLE parents (id TEXT NOT NULL PRIMARY KEY); \
     CREATE TABLE children (id TEXT NOT NULL PRIMARY KEY, \
      parent TEXT NOT NULL REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)";

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

async fn with_tables(database: &TestDb) -> Db {
    with_queue(database, 1_000).await
}

async fn with_queue(database: &TestDb, queue: usize) -> Db {
    let db = Db::open(&portreeve::db::DbSettings { lanes: 1, queue, ..database.settings().clone() }).unwrap();
    db.write("", |conn| conn.batch_execute(TABLES).map_err(DbError::from)).await.unwrap();
    db
}

fn insert(conn: &mut DbConnection, id: &str) -> QueryResult<()> {
    diesel::insert_into(things::table).values((things::id.eq(id), things::n.eq(1))).execute(conn).map(drop)
}

async fn ids(db: &Db) -> Vec<String> {
    db.read(|conn| Ok::<_, DbError>(things::table.select(things::id).order(things::id).load(conn)?)).await.unwrap()
}

/// Queues `work` now, and answers its future.
pub(crate) fn queued<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Waiting<T> {
    let mut waiting: Waiting<T> = Box::pin(work);
    assert!(waiting.as_mut().now_or_never().is_none(), "queued, not answered");
    waiting
}

fn write(
    db: &Db,
    work: impl Fn(&mut DbConnection) -> Result<(), DbError> + Send + 'static,
) -> Waiting<Result<(), DbError>> {
    let db = db.clone();
    queued(async move { db.write("", work).await })
}

fn writes_row(db: &Db, id: &'static str) -> Waiting<Result<(), DbError>> {
    write(db, move |conn| Ok(insert(conn, id)?))
}

/// Keeps the (only) lane busy until it is opened, so that everything queued meanwhile becomes one batch.
pub(crate) struct Gate {
    open: mpsc::Sender<()>,
    held: Waiting<Result<(), DbError>>,
}

impl Gate {
    pub(crate) fn close(db: &Db) -> Self {
        let (open, opened) = mpsc::channel::<()>();
        let (enter, entered) = mpsc::channel();
        let held = write(db, move |_| {
            enter.send(()).unwrap();
            opened.recv().unwrap();
            Ok(())
        });
        entered.recv().unwrap();
        Self { open, held }
    }

    pub(crate) async fn open(self) {
        self.open.send(()).unwrap();
        self.held.await.unwrap();
    }
}

on_both! {
    async fn one_failing_piece_in_a_batch_is_undone_alone(database: TestDb) {
        let db = with_tables(&database).await;
        let gate = Gate::close(&db);
        let batch = vec![
            writes_row(&db, "a"),
            write(&db, |conn| {
                insert(conn, "b")?;
                Err(DbError::Busy)
            }),
            writes_row(&db, "a"),
            writes_row(&db, "c"),
        ];
        gate.open().await;
        let answers = join_all(batch).await;
        assert!(answers[0].is_ok() && answers[3].is_ok());
        assert!(matches!(answers[1], Err(DbError::Busy)), "its own error");
        assert!(matches!(answers[2], Err(DbError::Query(DatabaseError(UniqueViolation, _)))));
        assert_eq!(ids(&db).await, ["a", "c"]);
    }

    async fn a_failed_commit_fails_its_whole_batch_and_nothing_of_it_is_visible(database: TestDb) {
        let db = with_tables(&database).await;
        let gate = Gate::close(&db);
        let batch = vec![
            writes_row(&db, "a"),
            // The database looks at this only when it commits.
            write(&db, |conn| Ok(conn.batch_execute("INSERT INTO children VALUES ('x', 'nobody')")?)),
            write(&db, |_| Err(DbError::Busy)),
            writes_row(&db, "c"),
        ];
        gate.open().await;
        for answer in join_all(batch).await {
            // The database said no and still answers: this is certain, not unknown.
            assert!(matches!(answer, Err(DbError::Query(_))), "{answer:?}");
        }
        assert_eq!(ids(&db).await, [""; 0]);
        db.write("", |conn| Ok::<_, DbError>(insert(conn, "next")?)).await.unwrap();
        assert_eq!(ids(&db).await, ["next"]);
    }

    async fn a_panic_neither_kills_the_lane_nor_leaks(database: TestDb) {
        let db = with_tables(&database).await;
        let kept = Arc::new(());
        for _ in 0..3 {
            let gate = Gate::close(&db);
            let (first, second) = (kept.clone(), kept.clone());
            let batch = vec![
                write(&db, move |conn| {
                    assert!(Arc::strong_count(&first) > 1, "held by this piece too");
                    insert(conn, "a")?;
                    panic!("on purpose")
                }),
                // Inside a transaction of its own, which diesel then counts as open.
                write(&db, move |conn| {
                    assert!(Arc::strong_count(&second) > 1, "held by this piece too");
                    conn.transaction(|conn| {
                        insert(conn, "b")?;
                        if true { panic!("on purpose") } else { Ok(()) }
                    })
                }),
            ];
            let good = write(&db, |conn| {
                conn.transaction(|conn| {
                    diesel::delete(things::table).execute(conn)?;
                    Ok(insert(conn, "good")?)
                })
            });
            gate.open().await;
            for answer in join_all(batch).await {
                assert!(matches!(answer, Err(DbError::Panicked)), "{answer:?}");
            }
            good.await.unwrap();
        }
        assert_eq!(ids(&db).await, ["good"]);
        assert_eq!(Arc::strong_count(&kept), 1, "what the pieces held was given back");
        // A lone piece that panics leaves no transaction open either.
        let alone = db.write("", |conn| {
            insert(conn, "alone")?;
            if true { panic!("on purpose") } else { Ok::<(), DbError>(()) }
        });
        assert!(matches!(alone.await, Err(DbError::Panicked)));
        db.write("", |conn| Ok::<_, DbError>(insert(conn, "next")?)).await.unwrap();
        assert_eq!(ids(&db).await, ["good", "next"]);
    }

    async fn more_readers_than_connections_all_get_their_turn_though_some_panic_or_stop_waiting(database: TestDb) {
        let db = with_tables(&database).await;
        let reads = (0..64).map(|number| {
            let db = db.clone();
            async move {
                let read = db.read(move |_| if number % 2 == 0 { panic!("a read that panics") } else { Ok::<_, DbError>(number) });
                // One in eight gives up before it was answered.
                if number % 8 == 1 { read.now_or_never() } else { Some(read.await) }
            }
        });
        for (number, answer) in join_all(reads).await.into_iter().enumerate() {
            match answer {
                Some(Ok(read)) => assert_eq!(read, number),
                Some(Err(error)) => assert!(number % 2 == 0 && matches!(error, DbError::Panicked), "{number}: {error:?}"),
                None => assert_eq!(number % 8, 1),
            }
        }
        assert_eq!(ids(&db).await, [""; 0]);
    }

    async fn a_full_queue_answers_at_once(database: TestDb) {
        let db = with_queue(&database, 2).await;
        let gate = Gate::close(&db);
        let waiting = vec![writes_row(&db, "a"), writes_row(&db, "b")];
        let third = db.write("", |conn| Ok::<_, DbError>(insert(conn, "c")?));
        assert!(matches!(third.now_or_never(), Some(Err(DbError::Busy))), "answered while the lane is held");
        gate.open().await;
        assert!(join_all(waiting).await.iter().all(Result::is_ok));
        assert_eq!(ids(&db).await, ["a", "b"]);
    }

    async fn a_piece_that_hides_a_database_error_is_answered_the_truth(database: TestDb) {
        let db = with_tables(&database).await;
        let hides = |id: &'static str| {
            move |conn: &mut DbConnection| {
                insert(conn, id)?;
                drop(insert(conn, id));
                Ok::<_, DbError>(())
            }
        };
        let gate = Gate::close(&db);
        let batch = vec![write(&db, hides("a")), writes_row(&db, "b"), write(&db, hides("c"))];
        gate.open().await;
        let answers = join_all(batch).await;
        let alone = db.write("", hides("d")).await;
        // PostgreSQL has undone the piece by then; SQLite has undone only the statement.
        let expected = if database.backend() == Backend::Postgres { vec!["b"] } else { vec!["a", "b", "c", "d"] };
        assert_eq!(ids(&db).await, expected);
        assert!(answers[1].is_ok());
        for answer in [&answers[0], &answers[2], &alone] {
            assert_eq!(answer.is_ok(), database.backend() == Backend::Sqlite, "{answer:?}");
        }
    }

    async fn a_guarded_update_never_oversells_with_64_callers(database: TestDb) {
        on_four_threads(async move {
            let db = with_tables(&database).await;
            // Two handles are two processes, as far as the database can tell.
            let other = Db::open(database.settings()).unwrap();
            db.write("", |conn| Ok::<_, DbError>(insert(conn, "counter")?)).await.unwrap();
            let callers = (0..64).map(|caller| {
                let db = if caller % 2 == 0 { db.clone() } else { other.clone() };
                tokio::spawn(async move {
                    db.write("counter", |conn| {
                        let room = things::table.filter(things::id.eq("counter")).filter(things::n.le(41 - 2));
                        Ok::<_, DbError>(diesel::update(room).set(things::n.eq(things::n + 2)).execute(conn)?)
                    })
                    .await
                    .unwrap()
                })
            });
            let taken: usize = join_all(callers).await.into_iter().map(Result::unwrap).sum();
            assert_eq!(taken, 20);
            let n: i64 = db.read(|conn| Ok::<_, DbError>(things::table.select(things::n).first(conn)?)).await.unwrap();
            assert_eq!(n, 41);
        })
        .await;
    }
}

struct Insert(&'static str);

impl SetVerb for Insert {
    type Outcome = usize;

    fn run(conn: &mut DbConnection, items: &[Self]) -> QueryResult<Vec<usize>> {
        assert!(items.len() > 1 || items[0].0 != "panics", "on purpose");
        items.iter().map(|item| insert(conn, item.0).map(|()| items.len())).collect()
    }
}

on_both! {
    async fn items_of_a_verb_run_together_and_a_duplicate_fails_alone(database: TestDb) {
        let db = with_tables(&database).await;
        let submit = |id: &'static str| {
            let db = db.clone();
            queued(async move { db.submit("", Insert(id)).await })
        };
        let gate = Gate::close(&db);
        let batch = vec![submit("a"), submit("b"), submit("c")];
        gate.open().await;
        assert!(join_all(batch).await.into_iter().all(|size| size.unwrap() == 3), "three at once");

        let gate = Gate::close(&db);
        let before = writes_row(&db, "closure");
        let batch = vec![submit("d"), submit("a"), submit("panics"), submit("e")];
        gate.open().await;
        before.await.unwrap();
        let answers = join_all(batch).await;
        assert!(matches!(answers[0], Ok(1)) && matches!(answers[3], Ok(1)), "redone one by one");
        assert!(matches!(answers[1], Err(DbError::Query(DatabaseError(UniqueViolation, _)))));
        assert!(matches!(answers[2], Err(DbError::Panicked)));
        assert_eq!(ids(&db).await, ["a", "b", "c", "closure", "d", "e"]);
    }
}

#[actix_web::test]
async fn a_lost_connection_is_replaced_and_never_answered_as_success() {
    if let Some(database) = databases::postgres() {
        let db = with_tables(&database).await;
        let gate = Gate::close(&db);
        let batch = vec![
            writes_row(&db, "a"),
            write(&db, |conn| Ok(conn.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())")?)),
            writes_row(&db, "b"),
        ];
        gate.open().await;
        for answer in join_all(batch).await {
            assert!(matches!(answer, Err(DbError::Connection(_))), "{answer:?}");
        }
        db.write("", |conn| Ok::<_, DbError>(insert(conn, "c")?)).await.unwrap();
        // Also one that breaks while the lane is idle costs nobody anything.
        db.read(|conn| {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
            Ok::<_, DbError>(conn.batch_execute(others)?)
        })
        .await
        .unwrap();
        db.write("", |conn| Ok::<_, DbError>(insert(conn, "d")?)).await.unwrap();
        assert_eq!(ids(&db).await, ["c", "d"]);
    }
}

fn adds(conn: &mut DbConnection, id: &str) -> QueryResult<()> {
    diesel::update(things::table.find(id.to_owned())).set(things::n.eq(things::n + 1)).execute(conn).map(drop)
}

/// Adds one to `b`, and tells when it begins.
struct AddToB(mpsc::Sender<()>, Arc<AtomicU32>);

impl AddToB {
    fn add(&self, conn: &mut DbConnection) -> QueryResult<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.send(()).ok();
        adds(conn, "b")
    }
}

impl SetVerb for AddToB {
    type Outcome = ();

    fn run(conn: &mut DbConnection, items: &[Self]) -> QueryResult<Vec<()>> {
        items.iter().map(|item| item.add(conn)).collect()
    }
}

/// Whether somebody waits for a lock in this database.
fn somebody_waits(conn: &mut PgConnection) -> bool {
    let waits =
        "EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>(waits)).get_result(conn).unwrap()
}

#[actix_web::test]
async fn work_that_waits_in_a_circle_with_another_process_is_done_all_the_same() {
    if databases::postgres().is_none() {
        return;
    }
    for way in ["own error", "hidden", "set", "last"] {
        let database = databases::postgres().unwrap();
        let db = with_tables(&database).await;
        db.write("", |conn| Ok::<_, DbError>(["a", "b"].iter().try_for_each(|id| insert(conn, id))?)).await.unwrap();
        // All in one transaction: what the first one locked is still locked while the second one waits.
        let gate = Gate::close(&db);
        let (begin, begun) = mpsc::channel();
        let runs = Arc::new(AtomicU32::new(0));
        let item = AddToB(begin, Arc::clone(&runs));
        let mut batch = vec![write(&db, move |conn| Ok(adds(conn, "a")?))];
        let ended = match way {
            // A use-case may have an error of its own for it, or take no notice of it.
            "own error" => write(&db, move |conn| item.add(conn).map_err(|_deadlock| DbError::Busy)),
            "hidden" => write(&db, move |conn| {
                drop(item.add(conn));
                Ok(())
            }),
            "set" => {
                let db = db.clone();
                queued(async move { db.submit("", item).await })
            }
            _ => write(&db, move |conn| Ok(item.add(conn)?)),
        };
        batch.push(ended);
        if way != "last" {
            // Pieces of one key keep their order: what was ended is done by now. Items of a verb come after all pieces.
            let before = if way == "set" { 1 } else { 12 };
            batch.push(write(&db, move |conn| {
                let b: i64 = things::table.find("b").select(things::n).first(conn)?;
                assert_eq!(b, before);
                Ok(adds(conn, "a")?)
            }));
        }
        let url = database.settings().url.expose_secret().to_owned();
        let more = i64::from(way != "last");
        let (held, holds) = mpsc::channel();
        let other = std::thread::spawn(move || {
            let mut conn = databases::connect(&url);
            conn.batch_execute("BEGIN; UPDATE things SET n = n + 10 WHERE id = 'b'").unwrap();
            held.send(()).unwrap();
            begun.recv().unwrap();
            // Whoever waited longer is ended: the lane.
            while !somebody_waits(&mut conn) {
                std::thread::sleep(Duration::from_millis(5));
            }
            conn.batch_execute("UPDATE things SET n = n + 10 WHERE id = 'a'; COMMIT").unwrap();
        });
        holds.recv().unwrap();
        gate.open().await;
        for answer in join_all(batch).await {
            answer.unwrap_or_else(|error| panic!("{way}: {error}"));
        }
        other.join().unwrap();
        let counts = things::table.order(things::id).select(things::n);
        let counts: Vec<i64> = db.read(move |conn| Ok::<_, DbError>(counts.load(conn)?)).await.unwrap();
        assert_eq!(counts, [12 + more, 12], "{way}");
        assert!(runs.load(Ordering::Relaxed) > 1, "{way}: it was ended, and run again");
    }
}

#[actix_web::test]
async fn a_commit_whose_answer_is_lost_is_unknown() {
    if let Some(database) = databases::postgres() {
        let db = with_tables(&database).await;
        db.write("", |conn| {
            Ok::<_, DbError>(conn.batch_execute(
                "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
                 CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW WHEN (NEW.id = 'cut') EXECUTE FUNCTION cut()",
            )?)
        })
        .await
        .unwrap();
        let gate = Gate::close(&db);
        let batch = vec![writes_row(&db, "a"), writes_row(&db, "cut")];
        gate.open().await;
        for answer in join_all(batch).await {
            assert!(matches!(answer, Err(DbError::Unknown(_))), "{answer:?}");
        }
        db.write("", |conn| Ok::<_, DbError>(insert(conn, "b")?)).await.unwrap();
        assert_eq!(ids(&db).await, ["b"]);
    }
}

on_both! {
    async fn what_is_queued_is_finished_when_the_last_handle_goes(database: TestDb) {
        let db = with_tables(&database).await;
        let gate = Gate::close(&db);
        // Whoever asked stops waiting; the work stays queued.
        drop(vec![writes_row(&db, "a"), writes_row(&db, "b")]);
        drop(db);
        gate.open().await;
        let reader = Db::open(database.settings()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while ids(&reader).await != ["a", "b"] {
            assert!(Instant::now() < deadline, "the queued work was not finished");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn sqlite_syncs_every_commit_and_checks_foreign_keys() {
    use diesel::dsl::sql;
    use diesel::sql_types::{BigInt, Text};
    let database = databases::sqlite();
    let db = with_tables(&database).await;
    let found = db.write("", |conn| {
        let synchronous = sql::<BigInt>("(SELECT synchronous FROM pragma_synchronous)");
        let foreign_keys = sql::<BigInt>("(SELECT foreign_keys FROM pragma_foreign_keys)");
        let journal = sql::<Text>("(SELECT journal_mode FROM pragma_journal_mode)");
        Ok::<(i64, i64, String), DbError>(diesel::select((synchronous, foreign_keys, journal)).get_result(conn)?)
    });
    // 2 is FULL: what was acknowledged survives a power cut, which no `kill` can show.
    assert_eq!(found.await.unwrap(), (2, 1, "wal".to_owned()));
}

const CHILD_URL: &str = "PORTREEVE_TEST_CHILD_URL";

on_both! {
    async fn kill_9_loses_no_acknowledged_row(database: TestDb) {
        on_four_threads(async move {
            let db = with_tables(&database).await;
            for round in 0..3 {
                let mut child = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "lanes::child_that_writes_until_killed", "--nocapture", "--test-threads=1"])
                    .env(CHILD_URL, format!("{round} {}", database.settings().url.expose_secret()))
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
                let is_row = |line: String| line.strip_prefix("ack ").map(ToOwned::to_owned);
                let mut acknowledged: Vec<String> =
                    lines.by_ref().map_while(Result::ok).filter_map(is_row).take(300).collect();
                child.kill().unwrap();
                // What still lies in the pipe was acknowledged too; a line cut in half was not.
                let rest: Vec<String> = lines.map_while(Result::ok).filter_map(is_row).collect();
                acknowledged.extend(rest.into_iter().filter(|row| row.ends_with('.')));
                child.wait().unwrap();
                assert!(acknowledged.len() >= 300, "the child wrote");
                let found = ids(&db).await;
                for row in acknowledged {
                    assert!(found.contains(&row), "{row} was acknowledged and is lost");
                }
            }
        })
        .await;
    }
}

/// The other half of the test above: does nothing unless started by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the parent process tells the child what to do")]
    let Ok(told) = std::env::var(CHILD_URL) else { return };
    let (round, url) = told.split_once(' ').unwrap();
    let settings = portreeve::db::DbSettings { url: url.to_owned().into(), readers: 1, lanes: 2, queue: 100 };
    let db = Db::open(&settings).unwrap();
    let writers = (0..16).map(|writer| {
        let db = db.clone();
        let round = round.to_owned();
        tokio::spawn(async move {
            for number in 0.. {
                let id = format!("{round}-{writer}-{number}.");
                let row = id.clone();
                db.write(&id, move |conn| Ok::<_, DbError>(insert(conn, &row)?)).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {id}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    join_all(writers).await;
}
