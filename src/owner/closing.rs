//! Closing an account. One transaction ends everything that could still act; workers note that everything in it is to go,
//! remove and settle; when nothing is left, the account is closed and its orchestrators are told.

use crate::account::{self, CloseError};
use crate::authorization;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::AccountId;
use crate::payment::{self, budget};
use crate::{login, resource};

/// How many accounts are looked at in one turn.
const BATCH: i64 = 64;
/// How many of its resources are noted in one turn.
const PIECE: i64 = 200;

/// Why an account does not close.
#[derive(Debug, thiserror::Error)]
pub enum CloseAccountError {
    /// Its state.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// New spending could not be stopped.
    #[error(transparent)]
    Budget(#[from] budget::ChangeBudgetError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What would end, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Resources that are not gone.
    pub resources: i64,
    /// Agents that may do something.
    pub agents: i64,
    /// Holds whose money is set aside now.
    pub holds: i64,
}

/// What would end if the account were closed now.
///
/// # Errors
/// When the database fails.
pub fn ending(conn: &mut DbConnection, account: &AccountId) -> Result<Ending, DbError> {
    Ok(Ending {
        resources: resource::count_present(conn, account)?,
        agents: account::count_agents(conn, account)?,
        holds: payment::count_held(conn, account)?,
    })
}

/// Begins to close an account. From its commit on nobody logs in, no token works, nothing is spent; what was bought
/// goes: [`close_due`]. Call it inside `Db::write`.
///
/// # Errors
/// See [`CloseAccountError`]; the transaction must then be undone.
pub fn close(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<(), CloseAccountError> {
    // First the account: it is locked before agents, as everywhere.
    account::begin_closing(conn, account, now)?;
    budget::stop_spending(conn, account, "closing", now)?;
    authorization::revoke_all_agents(conn, account, "closing", now)?;
    Ok(login::end_all(conn, account, now)?)
}

/// Notes that everything in accounts that are closing is to go, and closes those in which nothing is left to settle. Answers how many.
///
/// # Errors
/// When the database fails.
pub async fn close_due(db: &Db, now: Timestamp) -> Result<usize, DbError> {
    let (mut closed, mut after) = (0, None);
    loop {
        let from = after.clone();
        let waiting = db.read(move |conn| account::closing(conn, from.as_ref(), BATCH)).await?;
        let full = i64::try_from(waiting.len()).is_ok_and(|count| count == BATCH);
        after = waiting.last().cloned();
        for id in waiting {
            match one(db, id.clone(), now).await {
                Ok(done) => closed += usize::from(done),
                // The others do not wait for it.
                Err(error) => tracing::error!(account.id = %id, error = %error, "an account could not be closed"),
            }
        }
        if !full {
            return Ok(closed);
        }
    }
}

async fn one(db: &Db, id: AccountId, now: Timestamp) -> Result<bool, DbError> {
    let owner = id.clone();
    let there = db.read(move |conn| resource::wanted_of_account(conn, &owner, PIECE)).await?;
    resource::unwant(db, &id, there, now).await?;
    let lane = id.to_string();
    db.write(&lane, move |conn| finish(conn, &id, now)).await
}

fn finish(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<bool, DbError> {
    if !resource::all_ended(conn, account)? || payment::count_held(conn, account)? > 0 {
        return Ok(false);
    }
    account::finish_closing(conn, account, now)
}
