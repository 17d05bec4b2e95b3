//! What an account that nobody has claimed may have: so many resources, and nothing new after so long. What it may spend
//! is a ceiling of its budget. Judged in the transaction of the purchase.

use chrono::TimeDelta;

use super::unclaimed_store as rows;
use crate::account;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

/// The ceilings of accounts that nobody has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unclaimed {
    /// How many resources, not counting those that are gone; any number when `None`.
    pub max_resources: Option<u32>,
    /// How long after it was opened anything may be bought; always when `None`.
    pub buys_for: Option<TimeDelta>,
}

/// Why an account that nobody has claimed may not have more. Nothing was held, charged or made.
#[derive(Debug, thiserror::Error)]
pub enum UnclaimedError {
    /// It has as many resources as it may.
    #[error("the account has {0} resources, as many as one that nobody has claimed may have")]
    Count(u32),
    /// It was opened too long ago.
    #[error("the account was opened more than {0} days ago and nobody has claimed it: nothing new can be bought")]
    Age(i64),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// One more resource.
    Resource,
    /// More of what there is.
    Plan,
}

/// Whether an account may have more. Whoever counts waits here for the others.
pub(super) fn check(
    conn: &mut DbConnection,
    account: &AccountId,
    (limits, more): (Unclaimed, More),
    now: Timestamp,
) -> Result<(), UnclaimedError> {
    if limits == Unclaimed::default() {
        return Ok(());
    }
    let found = account::by_id(conn, account)?;
    let Some(found) = found.filter(|found| !found.is_claimed()) else { return Ok(()) };
    if let Some(buys_for) = limits.buys_for.filter(|buys_for| found.created_at.plus(*buys_for) <= now) {
        return Err(UnclaimedError::Age(buys_for.num_days()));
    }
    let Some(most) = limits.max_resources.filter(|_| more == More::Resource) else { return Ok(()) };
    // Claimed at this moment: no ceiling any more.
    if !account::is_as_seen(conn, account, false)? {
        return Ok(());
    }
    let has = rows::living(conn, account).map_err(DbError::from)?;
    if has < i64::from(most) { Ok(()) } else { Err(UnclaimedError::Count(most)) }
}
