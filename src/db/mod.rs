//! The database: SQLite (embedded default) or PostgreSQL, one set of queries.
//!
//! Promises: reads and writes are told apart by name; every write runs in a transaction that happens whole or not at
//! all; what was acknowledged survives. Refuses: a URL without a scheme, and work beyond its queues.

mod connection;
mod lanes;
mod migrate;
mod piece;
mod prepared;
pub mod schema;
mod transaction;

pub(crate) use connection::directly;
pub use connection::{Backend, DbConnection, InvalidDatabaseUrl};
pub use lanes::SetVerb;
pub(crate) use prepared::prepared;

use connection::Readers;
use lanes::Lanes;

/// How to reach the database and how much of it to use.
#[derive(Debug, Clone)]
pub struct DbSettings {
    /// `sqlite:PATH` or `postgres://…`. Secret: it may carry a password.
    pub url: secrecy::SecretString,
    /// Connections for reading.
    pub readers: u32,
    /// Write lanes (PostgreSQL; SQLite always has one).
    pub lanes: usize,
    /// How many pieces of work may wait in one lane.
    pub queue: usize,
}

/// Why a read or a write did not happen, or why nobody can say whether it did.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The lane's queue is full. Nothing was done; try again.
    #[error("the write queue is full")]
    Busy,
    /// No connection could be had. Nothing was done.
    #[error("no database connection could be had")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A statement failed. The work was undone.
    #[error("a database statement failed")]
    Query(#[from] diesel::result::Error),
    /// The work panicked. It was undone.
    #[error("a piece of database work panicked")]
    Panicked,
    /// The commit failed or its answer was lost: whether the work happened is *unknown*. Retry under the same key.
    #[error("the outcome of a commit is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DbError {
    /// Whether a row with such a key was there before.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error};
        matches!(self, Self::Query(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
    }
}

/// The handle to the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    readers: Readers,
    lanes: Lanes,
    url: secrecy::SecretString,
}

/// Whether the URL names a database that we know.
///
/// # Errors
/// When it does not.
pub fn check_url(url: &secrecy::SecretString) -> Result<(), InvalidDatabaseUrl> {
    connection::backend(url).map(drop)
}

impl Db {
    /// Opens the pools and starts the write lanes. Does not migrate.
    ///
    /// # Errors
    /// When the URL is not understood or the database cannot be reached.
    pub fn open(settings: &DbSettings) -> Result<Self, DbError> {
        let backend: Backend = connection::backend(&settings.url).map_err(|error| DbError::Connection(error.into()))?;
        let lanes = match backend {
            Backend::Sqlite => 1,
            Backend::Postgres => settings.lanes.max(1),
        };
        match backend {
            Backend::Sqlite => connection::create_private(&settings.url)?,
            // The pool would try for seconds, and then say only that time is up.
            Backend::Postgres => connection::warn_of_language(&mut connection::connect(&settings.url)?)?,
        }
        Ok(Self {
            readers: Readers::open(settings)?,
            lanes: Lanes::start(settings, backend, lanes)?,
            url: settings.url.clone(),
        })
    }

    /// Brings the schema up to date. Safe to call from several processes at once.
    ///
    /// # Errors
    /// When a migration fails.
    pub async fn migrate(&self) -> Result<Vec<String>, DbError> {
        let url = self.url.clone();
        tokio::task::spawn_blocking(move || migrate::run(&mut connection::connect(&url)?))
            .await
            .unwrap_or(Err(DbError::Panicked))
    }

    /// The names of migrations that this program has and the database has not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbError> {
        self.read(migrate::pending).await
    }

    /// Reads, outside any write lane, on a connection of the read pool.
    ///
    /// # Errors
    /// Whatever `work` answers, or that no connection could be had.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.readers.run(work).await
    }

    /// Looks a few rows up by their keys: the same as [`Db::read`], but for SQLite, which finds them sooner than another
    /// thread would wake, and here does it in the thread that asks. `work` must be short.
    ///
    /// # Errors
    /// Like [`Db::read`].
    pub async fn look_up<T, E>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.readers.look_up(work).await
    }

    /// Reads one moment of the database, however many queries `work` makes and whatever is written meanwhile. Keeps no
    /// writer waiting. `work` must not write.
    ///
    /// # Errors
    /// Like [`Db::read`].
    pub async fn read_snapshot<T, E>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.readers.run_snapshot(work).await
    }

    /// Runs `work` in one transaction of the lane that `key` (an account or budget id) picks: all of it happens, or none.
    /// Answers after the commit. `Err` undoes the work alone, whatever else the lane committed with it.
    ///
    /// Nothing slow belongs in `work`: no network, no password hashing, no signing; and no `BEGIN` or `COMMIT` of its own
    /// (`conn.transaction` is fine: it makes a savepoint). Work that PostgreSQL ends because it and another transaction wait
    /// for each other is undone and run again. Pieces that wait together are run in no promised
    /// order, except that those of one key keep theirs. A future that is dropped after it was first polled does not take
    /// its work back.
    ///
    /// # Errors
    /// Whatever `work` answers; [`DbError::Busy`] when the queue is full; [`DbError::Unknown`] when the commit failed.
    pub async fn write<T, E>(
        &self,
        key: &str,
        work: impl Fn(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.lanes.write(key, work).await
    }

    /// Gives `item` to its lane as data. The lane hands all waiting items of the same verb to [`SetVerb::run`] at once,
    /// after the closures of the same batch; if that fails, each item runs alone once more.
    ///
    /// # Errors
    /// Like [`Db::write`].
    pub async fn submit<S: SetVerb>(&self, key: &str, item: S) -> Result<S::Outcome, DbError> {
        self.lanes.submit(key, item).await
    }
}
