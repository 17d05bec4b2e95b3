//! Connections: one enum over both databases, made ready the same way each time, and the pool for reading.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, InstrumentationEvent, SimpleConnection, TransactionManager as _};
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel::result::Error;
use diesel::{Connection, PgConnection, RunQueryDsl as _, SqliteConnection};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::{DbError, DbSettings};

/// A connection to either database. Feature code writes its queries against this.
#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// SQLite, in this process.
    Sqlite(SqliteConnection),
}

/// Runs a statement on whichever database it is. The enum of both would write the statement's text anew at each use, and
/// twice: for statements by key that every token or every use of one needs.
macro_rules! directly {
    ($conn:expr, |$inner:ident| $statement:expr) => {
        match $conn {
            $crate::db::DbConnection::Postgres($inner) => $statement,
            $crate::db::DbConnection::Sqlite($inner) => $statement,
        }
    };
}
pub(crate) use directly;

impl std::fmt::Debug for DbConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres(_) => "DbConnection::Postgres",
            Self::Sqlite(_) => "DbConnection::Sqlite",
        })
    }
}

/// Which database a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// The URL names neither database. A bare path is refused, so that a mistyped PostgreSQL URL never becomes a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a database URL starts with `sqlite:` or `postgres://`")]
pub struct InvalidDatabaseUrl;

pub(super) fn backend(url: &SecretString) -> Result<Backend, InvalidDatabaseUrl> {
    let url = url.expose_secret();
    if url.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty()) {
        Ok(Backend::Sqlite)
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Backend::Postgres)
    } else {
        Err(InvalidDatabaseUrl)
    }
}

/// What diesel's connection enum dials: SQLite without our scheme; PostgreSQL as written, but that nobody waits longer
/// than five seconds for a host that does not answer.
fn address(url: &SecretString) -> Cow<'_, str> {
    let url = url.expose_secret();
    match url.strip_prefix("sqlite:") {
        Some(path) => path.into(),
        None if url.contains("connect_timeout=") => url.into(),
        None => format!("{url}{}connect_timeout=5", if url.contains('?') { '&' } else { '?' }).into(),
    }
}

/// Makes a new SQLite file that only its owner can read; SQLite gives its log files the same mode.
pub(super) fn create_private(url: &SecretString) -> Result<(), DbError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = &*address(url);
    if path.starts_with(':') || path.starts_with("file:") || std::fs::exists(path).is_ok_and(|there| there) {
        return Ok(());
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(DbError::Connection(format!("{path} cannot be made: {error}").into()))
        }
        _ => Ok(()),
    }
}

/// One connection outside the pool, ready for use.
pub(super) fn connect(url: &SecretString) -> Result<DbConnection, DbError> {
    let refused = |error: diesel::ConnectionError| DbError::Connection(error.into());
    let mut conn = match backend(url).map_err(|error| DbError::Connection(error.into()))? {
        Backend::Sqlite => DbConnection::Sqlite(SqliteConnection::establish(&address(url)).map_err(refused)?),
        Backend::Postgres => DbConnection::Postgres(PgConnection::establish(&address(url)).map_err(refused)?),
    };
    prepare(&mut conn)?;
    Ok(conn)
}

/// Whether PostgreSQL ended a statement because its transaction and another one waited for each other (SQLSTATE 40P01).
#[derive(Debug, Clone, Default)]
pub(super) struct Deadlock(Arc<AtomicBool>);

impl Deadlock {
    /// Whether it did since this was asked the last time.
    pub(super) fn happened(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Listens to a connection: what a use-case makes of the error does not matter then.
    fn listen(&self, conn: &mut PgConnection) {
        let seen = Self(Arc::clone(&self.0));
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            // diesel does not tell the SQLSTATE.
            if let InstrumentationEvent::FinishQuery { error: Some(Error::DatabaseError(_, said)), .. } = event
                && said.message().contains("deadlock detected")
            {
                seen.0.store(true, Ordering::Relaxed);
            }
        });
    }
}

/// Says in the log when PostgreSQL speaks another language than English: deadlocks are known by its word for them.
pub(super) fn warn_of_language(conn: &mut DbConnection) -> Result<(), DbError> {
    let DbConnection::Postgres(conn) = conn else { return Ok(()) };
    let setting = "current_setting('lc_messages', true)";
    let setting = diesel::dsl::sql::<diesel::sql_types::Nullable<diesel::sql_types::Text>>(setting);
    // Whoever does not know the setting speaks English.
    let language: Option<String> = diesel::select(setting).get_result(conn)?;
    let language = language.unwrap_or_default().to_ascii_lowercase();
    if !(matches!(language.as_str(), "" | "c" | "posix") || language.starts_with("c.") || language.starts_with("en")) {
        tracing::warn!(
            lc_messages = language,
            "set `lc_messages` to `C` for this database, or deadlocks are not recognized"
        );
    }
    Ok(())
}

/// A connection for a write lane. Everything a lane does is short and goes by key: so on PostgreSQL one plan per statement,
/// never compiled, and never a scan only because the table was empty when the plan was made. On SQLite what a savepoint would
/// bring back stays in memory (it would be a new file for every batch); most of what is written all the time stays in the
/// cache (4 MiB: a commit in which pages of an index were parted walks through the whole cache); and the log is copied into
/// the database every 4,000 pages (16 MiB): most of them are then pages that were written again and again.
pub(super) fn connect_lane(url: &SecretString, deadlock: &Deadlock) -> Result<DbConnection, DbError> {
    let mut conn = connect(url)?;
    match &mut conn {
        DbConnection::Postgres(conn) => {
            deadlock.listen(conn);
            conn.batch_execute("SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off;")?;
        }
        DbConnection::Sqlite(conn) => conn.batch_execute(
            "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 4000;",
        )?,
    }
    Ok(conn)
}

/// `busy_timeout` comes first: switching to WAL needs the lock itself. Without `recursive_triggers`, `INSERT OR REPLACE`
/// would get round the triggers that keep a table append-only.
fn prepare(conn: &mut DbConnection) -> Result<(), diesel::result::Error> {
    match conn {
        DbConnection::Sqlite(conn) => conn.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA recursive_triggers = ON;",
        ),
        DbConnection::Postgres(conn) => conn.batch_execute(
            "SET TIME ZONE 'UTC'; SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
             SET idle_in_transaction_session_timeout = '30s';",
        ),
    }
}

#[derive(Debug)]
struct Prepare;

impl CustomizeConnection<DbConnection, diesel::r2d2::Error> for Prepare {
    fn on_acquire(&self, conn: &mut DbConnection) -> Result<(), diesel::r2d2::Error> {
        prepare(conn).map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The pool for reading. Whoever finds no connection free waits as a task, not as a thread: dozens of threads that wake
/// each other for a few connections take more time than what they read.
#[derive(Clone)]
pub(super) struct Readers {
    pool: Pool<ConnectionManager<DbConnection>>,
    free: Arc<Semaphore>,
    /// Whether the database is a part of this process.
    in_process: bool,
}

/// How long a reader waits for a connection.
const WAIT: Duration = Duration::from_secs(5);

/// Nobody gave a connection back in time.
#[derive(Debug, thiserror::Error)]
#[error("every connection for reading is in use")]
struct AllInUse;

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    pub(super) fn open(settings: &DbSettings) -> Result<Self, DbError> {
        let readers = settings.readers.max(1);
        let pool = Pool::builder()
            .max_size(readers)
            // None is opened ahead: a thread that still connects while the process ends would crash it.
            .min_idle(Some(0))
            // A check on check-out costs a round trip per request; a broken connection shows itself in the query.
            .test_on_check_out(false)
            .connection_timeout(WAIT)
            .connection_customizer(Box::new(Prepare))
            .build(ConnectionManager::new(address(&settings.url)))
            .map_err(|error| DbError::Connection(error.into()))?;
        let in_process = matches!(backend(&settings.url), Ok(Backend::Sqlite));
        Ok(Self { pool, free: Arc::new(Semaphore::new(usize::try_from(readers).unwrap_or(1))), in_process })
    }

    pub(super) async fn run<T, E>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let free = tokio::time::timeout(WAIT, self.free.clone().acquire_owned()).await;
        let Ok(Ok(free)) = free else { return Err(DbError::Connection(AllInUse.into()).into()) };
        let pool = self.pool.clone();
        tokio::task::spawn_blocking(move || {
            let _free = free;
            let mut conn = pool.get().map_err(|error| E::from(DbError::Connection(error.into())))?;
            work(&mut conn)
        })
        .await
        .unwrap_or_else(|_panicked| Err(DbError::Panicked.into()))
    }

    /// Like [`Readers::run`]; on SQLite in this very thread, if a connection is free.
    pub(super) async fn look_up<T, E>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        if self.in_process
            && let Ok(_free) = self.free.try_acquire()
            && let Some(mut conn) = self.pool.try_get()
        {
            // With its connection: one in which work panicked is not used again.
            return catch_unwind(AssertUnwindSafe(move || work(&mut conn)))
                .unwrap_or_else(|_panicked| Err(DbError::Panicked.into()));
        }
        self.run(work).await
    }

    /// Like [`Readers::run`], in a transaction that sees one moment of the database.
    pub(super) async fn run_snapshot<T, E>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.run(|conn| {
            begin_snapshot(conn).map_err(|error| E::from(error.into()))?;
            let done = work(conn);
            // Nothing was written. A connection that cannot roll back is seen as broken, and not used again.
            drop(<DbConnection as Connection>::TransactionManager::rollback_transaction(conn));
            done
        })
        .await
    }
}

/// A SQLite transaction sees the moment of its first read, in the log that writers only append to: nobody waits.
fn begin_snapshot(conn: &mut DbConnection) -> diesel::QueryResult<()> {
    match conn {
        DbConnection::Postgres(conn) => {
            AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        }
        DbConnection::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN DEFERRED"),
    }
}
