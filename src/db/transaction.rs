//! One batch, one transaction: savepoints, commit, and the truth about how it ended. Broken connections are replaced.
//!
//! The savepoint costs a PostgreSQL lane one round trip a piece, not two: opening, closing and the next opening travel
//! together. Releasing it also finds a piece that swallowed a database error: PostgreSQL would otherwise answer `COMMIT`
//! with a silent rollback.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::TransactionDepthChange;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager, TransactionManagerStatus};
use diesel::r2d2::R2D2Connection;
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{QueryResult, RunQueryDsl as _};
use secrecy::SecretString;

use super::connection::Deadlock;
use super::piece::{Piece, Ran};
use super::{DbConnection, DbError, connection, prepared};

/// Waits before each attempt to get a transaction started.
const BACK_OFF: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

/// Why a whole batch failed.
pub(super) enum Failure {
    /// Another process holds the database's write lock. Nothing was done.
    Locked,
    /// The connection was lost before the commit was sent, or none could be had. Nothing was done.
    Lost(Arc<dyn std::error::Error + Send + Sync>),
    /// The database said no. Everything was undone.
    Undone(Error),
    /// The connection was lost at the commit, or its answer is not to be trusted.
    Unknown(Arc<dyn std::error::Error + Send + Sync>),
}

/// One cause, told to everybody in the batch.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl Failure {
    /// The error that one piece of the batch is answered.
    pub(super) fn error(&self) -> DbError {
        match self {
            Self::Locked => DbError::Busy,
            Self::Lost(cause) => DbError::Connection(Shared(cause.clone()).into()),
            Self::Undone(error) => DbError::Query(copy(error)),
            Self::Unknown(cause) => DbError::Unknown(Shared(cause.clone()).into()),
        }
    }
}

/// A diesel error told twice. Only what the database itself said keeps its kind.
fn copy(error: &Error) -> Error {
    match error {
        Error::DatabaseError(kind, said) => Error::DatabaseError(*kind, Box::new(said.message().to_owned())),
        other => Error::QueryBuilderError(other.to_string().into()),
    }
}

/// Pieces in the order in which they run.
type Pieces = Vec<Box<dyn Piece>>;

/// How often work is run again that PostgreSQL ends in a deadlock.
const AGAIN: u32 = 4;

/// A lane's connection, replaced when it breaks.
pub(super) struct Link {
    url: SecretString,
    conn: Option<DbConnection>,
    deadlock: Deadlock,
}

impl Link {
    pub(super) fn open(url: SecretString) -> Result<Self, DbError> {
        let deadlock = Deadlock::default();
        let conn = connection::connect_lane(&url, &deadlock)?;
        Ok(Self { url, conn: Some(conn), deadlock })
    }

    /// Runs the batch and answers every piece of it, after its commit. At a deadlock what was done is committed at once, so
    /// that nobody waits for it any more; the piece that was ended runs again, by itself, so that it locks in its own order and
    /// holds nothing that others before it locked; and then the rest.
    pub(super) fn run(&mut self, pieces: Pieces) {
        let mut waiting = pieces;
        while !waiting.is_empty() {
            let (mut again, mut rest) = self.attempt(waiting, true);
            for left in (0..AGAIN).rev() {
                let Some(ended) = again.take() else { break };
                let (ended, parts) = self.attempt(vec![ended], left > 0);
                again = ended;
                // It was split meanwhile: those behind the one that was ended come next.
                rest.splice(0..0, parts);
            }
            waiting = rest;
        }
    }

    /// Runs pieces in one transaction and answers them. If they may run `again`, it stops at the first that is ended in a
    /// deadlock, and gives that one and those after it back.
    fn attempt(&mut self, pieces: Pieces, again: bool) -> (Option<Box<dyn Piece>>, Pieces) {
        let deadlock = self.deadlock.clone();
        let _of_another_batch = deadlock.happened();
        let (pieces, left, failure) = match self.begin() {
            Ok(conn) => {
                let deadlock = again.then_some(&deadlock);
                let done = Vec::with_capacity(pieces.len());
                let mut batch = Batch { conn, done, ended: None, rest: Vec::new(), kept: 0, deadlock };
                let failure = batch.run(pieces.into()).err();
                (batch.done, (batch.ended, batch.rest), failure)
            }
            Err(failure) => (pieces, (None, Vec::new()), Some(failure)),
        };
        let doubtful = matches!(failure, Some(Failure::Lost(_) | Failure::Unknown(_)));
        if doubtful || self.conn.as_mut().is_some_and(R2D2Connection::is_broken) {
            self.conn = None;
        }
        for piece in pieces {
            // What a caller's own types do while they are dropped is not ours to trust.
            drop(catch_unwind(AssertUnwindSafe(|| piece.answer(failure.as_ref()))));
        }
        left
    }

    /// Opens the transaction and the first savepoint, on a new connection if the old one does not answer.
    fn begin(&mut self) -> Result<&mut DbConnection, Failure> {
        let mut cause: Arc<dyn std::error::Error + Send + Sync> = Arc::new(Error::BrokenTransactionManager);
        for wait in BACK_OFF {
            if self.conn.is_none() {
                std::thread::sleep(wait);
                match connection::connect_lane(&self.url, &self.deadlock) {
                    Ok(conn) => self.conn = Some(conn),
                    Err(error) => cause = Arc::new(error),
                }
            }
            let Some(mut conn) = self.conn.take() else { continue };
            match begin(&mut conn) {
                Ok(()) => return Ok(self.conn.insert(conn)),
                Err(error) if is_locked(&error) => {
                    self.conn = Some(conn);
                    return Err(Failure::Locked);
                }
                Err(error) => cause = Arc::new(error),
            }
        }
        Err(Failure::Lost(cause))
    }
}

/// An open transaction with an open savepoint.
struct Batch<'a> {
    conn: &'a mut DbConnection,
    done: Pieces,
    /// What was ended in a deadlock, and undone.
    ended: Option<Box<dyn Piece>>,
    /// What was not begun because of that.
    rest: Pieces,
    kept: usize,
    /// Where such ends are seen, if they are to be told apart.
    deadlock: Option<&'a Deadlock>,
}

impl Batch<'_> {
    /// After this, every piece is in `done`, `ended` or `rest`.
    fn run(&mut self, pieces: VecDeque<Box<dyn Piece>>) -> Result<(), Failure> {
        let mut waiting = pieces;
        while let Some(piece) = waiting.pop_front() {
            let ran = self.one(piece, &mut waiting);
            if self.ended.is_some() {
                self.rest = waiting.into();
                return ran;
            }
            if let Err(failure) = ran {
                self.done.extend(waiting);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Runs one piece; with the last one, ends the transaction.
    fn one(&mut self, mut piece: Box<dyn Piece>, waiting: &mut VecDeque<Box<dyn Piece>>) -> Result<(), Failure> {
        let ran = piece.run(self.conn);
        let level = level_out(self.conn);
        if self.deadlock.is_some_and(Deadlock::happened) {
            self.ended = Some(piece);
            return self.undo(true);
        }
        match ran {
            Ran::Keep if level => {
                self.done.push(piece);
                self.kept += 1;
                return self.keep(waiting.is_empty());
            }
            Ran::Keep => piece.fail(Error::BrokenTransactionManager.into()),
            Ran::Undo => {}
            Ran::Split => {
                let parts = piece.split();
                let undone = self.undo(false);
                parts.into_iter().rev().for_each(|part| waiting.push_front(part));
                return undone;
            }
        }
        self.done.push(piece);
        self.undo(waiting.is_empty())
    }

    /// Closes the savepoint of the piece that just ran, which is the last of `done`.
    fn keep(&mut self, last: bool) -> Result<(), Failure> {
        let closed = if last { release_and_commit(self.conn) } else { next(self.conn) };
        let Err(error) = closed else { return Ok(()) };
        // Still inside the transaction? Then closing the savepoint failed: the piece had hidden an error.
        if self.conn.batch_execute(UNDO).is_ok() {
            if let Some(piece) = self.done.last_mut() {
                piece.fail(error.into());
            }
            self.kept = self.kept.saturating_sub(1);
            return if last { self.end() } else { Ok(()) };
        }
        Err(if last { self.commit_failed(error) } else { self.dead(error) })
    }

    /// Takes back what ran since the savepoint was opened.
    fn undo(&mut self, last: bool) -> Result<(), Failure> {
        if last && self.kept == 0 {
            return self.end();
        }
        self.conn.batch_execute(UNDO).map_err(|error| self.dead(error))?;
        if last { self.end() } else { Ok(()) }
    }

    /// Commits what was kept; the savepoint is open and empty.
    fn end(&mut self) -> Result<(), Failure> {
        if self.kept > 0 {
            return release_and_commit(self.conn).map_err(|error| self.commit_failed(error));
        }
        // Nothing to commit: whatever becomes of the roll-back, every answer stands. A connection that cannot roll
        // back is seen as broken and replaced.
        drop(DbConnection::rollback_transaction(self.conn));
        Ok(())
    }

    /// The transaction died in the middle: nothing of it was or will be committed.
    fn dead(&mut self, error: Error) -> Failure {
        drop(DbConnection::rollback_transaction(self.conn));
        if self.conn.is_broken() { Failure::Lost(Arc::new(error)) } else { Failure::Undone(error) }
    }

    /// Certain only when the database itself refused, and still answers.
    fn commit_failed(&mut self, error: Error) -> Failure {
        if matches!(self.conn, DbConnection::Sqlite(_)) {
            drop(DbConnection::rollback_transaction(self.conn));
        }
        let answers = !self.conn.is_broken() && self.conn.batch_execute("SELECT 1").is_ok();
        let refused = match self.conn {
            DbConnection::Postgres(_) => matches!(error, Error::DatabaseError(..)),
            DbConnection::Sqlite(_) => is_refusal(&error),
        };
        if answers && refused { Failure::Undone(error) } else { Failure::Unknown(Arc::new(error)) }
    }
}

const UNDO: &str = "ROLLBACK TO SAVEPOINT piece";

/// Closes a savepoint and opens the next one.
fn next(conn: &mut DbConnection) -> QueryResult<()> {
    match conn {
        DbConnection::Postgres(conn) => conn.batch_execute("RELEASE SAVEPOINT piece; SAVEPOINT piece"),
        DbConnection::Sqlite(conn) => {
            Release.execute(conn)?;
            Open.execute(conn).map(drop)
        }
    }
}

prepared! {
    /// Opens a savepoint, on SQLite, which would read the text anew each time.
    Open: "SAVEPOINT piece"
}

prepared! {
    /// Closes it.
    Release: "RELEASE SAVEPOINT piece"
}

fn begin(conn: &mut DbConnection) -> QueryResult<()> {
    match conn {
        DbConnection::Postgres(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN; SAVEPOINT piece"),
        DbConnection::Sqlite(conn) => {
            AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?;
            Open.execute(conn).map(drop)
        }
    }
}

/// PostgreSQL leaves the transaction with the same message; diesel reads its new state from the connection.
fn release_and_commit(conn: &mut DbConnection) -> QueryResult<()> {
    match conn {
        DbConnection::Postgres(conn) => conn.batch_execute("RELEASE SAVEPOINT piece; COMMIT"),
        DbConnection::Sqlite(conn) => {
            Release.execute(conn)?;
            AnsiTransactionManager::commit_transaction(conn)
        }
    }
}

/// Brings diesel's count of nested transactions back to one: a panic inside `conn.transaction` leaves it higher.
/// False when it was not one, or the connection is in doubt.
fn level_out(conn: &mut DbConnection) -> bool {
    let mut level = true;
    loop {
        let TransactionManagerStatus::Valid(status) = DbConnection::transaction_manager_status_mut(conn) else {
            return false;
        };
        match status.transaction_depth().map_or(0, u32::from) {
            0 => return false,
            1 => return level,
            _ => {
                level = false;
                if status.change_transaction_depth(TransactionDepthChange::DecreaseDepth).is_err() {
                    return false;
                }
            }
        }
    }
}

fn is_locked(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(_, said) if said.message().contains("database is locked"))
}

/// What SQLite refuses at the commit for certain; an input or output error there may still surface after a crash.
fn is_refusal(error: &Error) -> bool {
    use DatabaseErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation};
    let constraint = |kind: &DatabaseErrorKind| {
        matches!(kind, CheckViolation | ForeignKeyViolation | NotNullViolation | UniqueViolation)
    };
    is_locked(error) || matches!(error, Error::DatabaseError(kind, _) if constraint(kind))
}
