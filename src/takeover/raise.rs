//! Raising a cap, unless the account is to be left as it is for a while.

use super::precaution::precautions;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::money::Amount;
use crate::payment::budget::{self, ChangeBudgetError};

/// Why the cap stays.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// The orchestrator told that somebody touched how the account is recovered.
    #[error("no limit is raised until {0}")]
    Cooling(Timestamp),
    /// What budgets say.
    #[error(transparent)]
    Budget(#[from] ChangeBudgetError),
}

impl From<DbError> for RaiseError {
    fn from(error: DbError) -> Self {
        Self::Budget(error.into())
    }
}

impl From<diesel::result::Error> for RaiseError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Budget(DbError::from(error).into())
    }
}

/// Raises the cap as [`budget::raise`] does, unless the account rests. Call it inside `Db::write`.
///
/// # Errors
/// See [`RaiseError`]; the transaction must then be undone.
pub fn raise_cap(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    (ceiling, highest): (Amount, Option<Amount>),
    now: Timestamp,
) -> Result<(), RaiseError> {
    budget::raise(conn, account, orchestrator, (ceiling, highest), now)?;
    match precautions(conn, account, orchestrator)?.cooling_until.filter(|until| now < *until) {
        None => Ok(()),
        Some(until) => Err(RaiseError::Cooling(until)),
    }
}
