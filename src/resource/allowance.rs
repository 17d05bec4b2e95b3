//! Allowances: within which limits an agent may buy, as its human allowed it. What it spends in a month is a ceiling like
//! any other; the rest is judged here, in the transaction of the purchase.

use super::allowance_store;
use crate::catalog::PlanRef;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::money::{Amount, Money};
use crate::payment::budget::AgentLimit;

/// What a human allowed an agent to buy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The most in a calendar month.
    pub per_month: Option<Money>,
    /// The most at once, in the same money.
    pub single: Option<Amount>,
    /// Until when anything may be bought or used.
    pub ends_at: Option<Timestamp>,
    /// What may be bought: service and plan; anything when `None`.
    pub offers: Option<Vec<(String, String)>>,
    /// How many in all.
    pub max_count: Option<u32>,
}

/// Why an agent may not buy. Nothing was held, charged or made.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    /// The plan is none of those that the human allowed.
    #[error("the human did not allow this plan")]
    Plan,
    /// It costs more than the human allowed at once.
    #[error("the human did not allow this much at once")]
    Single,
    /// There are as many as the human allowed.
    #[error("the human did not allow more resources than there were")]
    Count,
    /// The time is over.
    #[error("the time for which the human allowed it is over")]
    Ended,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for AllowanceError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Writes an allowance down under `id`. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn allow(conn: &mut DbConnection, account: &AccountId, id: &str, allowance: &Allowance) -> Result<(), DbError> {
    Ok(allowance_store::insert(conn, account, id, allowance)?)
}

/// Takes one purchase of `due` off an allowance, or says why not.
pub(super) fn take(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &str),
    (plan, due): (&PlanRef, Amount),
    now: Timestamp,
) -> Result<(), AllowanceError> {
    let allowance = allowance_store::find(conn, account, id)?;
    if allowance.ends_at.is_some_and(|end| end <= now) {
        return Err(AllowanceError::Ended);
    }
    let named = |offers: &Vec<(String, String)>| {
        offers.iter().any(|(service, known)| service == plan.service.as_str() && known == plan.plan.as_str())
    };
    if !allowance.offers.as_ref().is_none_or(named) {
        return Err(AllowanceError::Plan);
    }
    if allowance.single.is_some_and(|single| single < due) {
        return Err(AllowanceError::Single);
    }
    if allowance_store::count_one(conn, account, id)? { Ok(()) } else { Err(AllowanceError::Count) }
}

/// The ceiling that an allowance is, if it is one and its time is not over.
pub(super) fn ceiling(
    conn: &mut DbConnection,
    account: &AccountId,
    id: Option<&str>,
    now: Timestamp,
) -> Result<Option<AgentLimit>, DbError> {
    let Some(id) = id else { return Ok(None) };
    let allowance = allowance_store::find(conn, account, id)?;
    let over = allowance.ends_at.is_some_and(|end| end <= now);
    Ok(allowance.per_month.map(|limit| AgentLimit {
        id: id.to_owned(),
        currency: limit.currency,
        per_month: if over { Amount::ZERO } else { limit.amount },
    }))
}
