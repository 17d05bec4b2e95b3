//! Plain transactions, an update and an insert each, by nothing but the database.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::peer::postgres;

const ROWS: i64 = 1_000;

const TABLES: &str = "CREATE TABLE plain_counters (id BIGINT PRIMARY KEY, spent BIGINT NOT NULL);
    CREATE TABLE plain_entries (counter_id BIGINT NOT NULL, change BIGINT NOT NULL, description TEXT NOT NULL);";

const SCRIPT: &str = r"\set row random(0, 999)
BEGIN;
UPDATE plain_counters SET spent = spent + 1 WHERE id = :row;
INSERT INTO plain_entries (counter_id, change, description) VALUES (:row, 1, 'a plan');
COMMIT;
";

diesel::table! {
    plain_counters (id) {
        id -> BigInt,
        spent -> BigInt,
    }
}

diesel::table! {
    plain_entries (counter_id) {
        counter_id -> BigInt,
        change -> BigInt,
        description -> Text,
    }
}

/// Who writes them.
pub(crate) enum Plain {
    /// One connection to a file of its own: SQLite has one writer, and more of them only wait for each other.
    Sqlite { file: PathBuf, _folder: tempfile::TempDir },
    /// `pgbench -M prepared`, a session for each agent, on the provider's database.
    Postgres { url: String },
}

impl Plain {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plain.db");
        let mut conn = open(&file);
        conn.batch_execute(TABLES).unwrap();
        for row in 0..ROWS {
            let values = (plain_counters::id.eq(row), plain_counters::spent.eq(0));
            diesel::insert_into(plain_counters::table).values(values).execute(&mut conn).unwrap();
        }
        Self::Sqlite { file, _folder: folder }
    }

    pub(crate) fn postgres(url: &str) -> Self {
        let mut conn = PgConnection::establish(url).unwrap();
        conn.batch_execute(TABLES).unwrap();
        conn.batch_execute("INSERT INTO plain_counters SELECT row, 0 FROM generate_series(0, 999) row").unwrap();
        Self::Postgres { url: url.to_owned() }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "one writer's plain transactions",
            Self::Postgres { .. } => "pgbench's plain transactions in as many sessions",
        }
    }

    /// Transactions per second.
    pub(crate) fn measure(&self, callers: usize, time: Duration) -> f64 {
        match self {
            Self::Sqlite { file, .. } => write(&mut open(file), time),
            Self::Postgres { url } => postgres::pgbench(url, SCRIPT, callers, time),
        }
    }
}

fn open(file: &std::path::Path) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").unwrap();
    conn
}

fn write(conn: &mut SqliteConnection, time: Duration) -> f64 {
    let (start, mut done) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        let row = i64::from(done) * 389 % ROWS;
        let work = |conn: &mut SqliteConnection| {
            diesel::update(plain_counters::table.find(row))
                .set(plain_counters::spent.eq(plain_counters::spent + 1))
                .execute(conn)?;
            let entry = plain_entries::description.eq("a plan");
            diesel::insert_into(plain_entries::table)
                .values((plain_entries::counter_id.eq(row), plain_entries::change.eq(1), entry))
                .execute(conn)
        };
        conn.immediate_transaction(work).unwrap();
        done += 1;
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}
