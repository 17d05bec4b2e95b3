//! Allowances: within which limits an agent may buy, as its human allowed it, or as the assertion stated that it came with.
//! What it spends in a month is a ceiling like any other; the rest is judged here, in the transaction of the purchase.

use super::allowance_store;
use super::sale::Sale;
use crate::authorization::{self, Detail, DetailError, PlanLine, TokenLimits, VerifiedToken};
use crate::catalog::{Offer, PlanRef};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::money::{Amount, Currency, Money};
use crate::payment::budget::AgentLimit;

/// What an agent may buy.
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
    /// A plan: what may be bought line by line, and nothing else. Empty: there is none.
    pub lines: Vec<AllowanceLine>,
}

impl Allowance {
    /// What `details` come to.
    ///
    /// # Errors
    /// When they are none.
    pub fn of(details: &[Detail]) -> Result<Self, DetailError> {
        let authorization::Limits { per_month, single, ends_at, offers, max_count, plan } =
            authorization::limits_of(details)?;
        let lines = plan.iter().map(AllowanceLine::of).collect::<Result<_, _>>()?;
        Ok(Self { per_month, single, ends_at, offers, max_count, lines })
    }
}

/// The allowance of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Within {
    /// Its name, for the account.
    pub name: String,
    /// What an assertion stated, to be written down with the first purchase; `None`: it was written down when a human
    /// allowed it.
    pub stated: Option<Allowance>,
}

impl Within {
    /// Within what a token buys; `None`: it has no limits of its own.
    ///
    /// # Errors
    /// When its limits cannot be read.
    pub fn of(token: &VerifiedToken) -> Result<Option<Self>, DetailError> {
        let Some(TokenLimits { name, details, allowed }) = token.limits()? else { return Ok(None) };
        let stated = if allowed { None } else { Some(Allowance::of(&details)?) };
        Ok(Some(Self { name, stated }))
    }
}

/// Some resources of one kind, with their price as it was when they were allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowanceLine {
    /// Of which service.
    pub service: String,
    /// Which plan.
    pub plan: String,
    /// How many in all.
    pub count: u32,
    /// The most that one may cost in a calendar month.
    pub each: WorstCase,
}

impl AllowanceLine {
    /// A line that nobody priced may cost nothing.
    fn of(line: &PlanLine) -> Result<Self, DetailError> {
        let each = line.most_each()?;
        Ok(Self {
            service: line.service.clone(),
            plan: line.plan.clone(),
            count: line.count,
            each: WorstCase {
                currency: each.and_then(|each| each.currency),
                amount: each.map_or(Amount::ZERO, |each| each.amount),
            },
        })
    }
}

/// What one resource costs at the most in a calendar month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// Nothing for what is free.
    pub currency: Option<Currency>,
    /// How much.
    pub amount: Amount,
}

impl WorstCase {
    /// Of an offer, whatever it is bought beside: a parent can make it dearer.
    #[must_use]
    pub fn of(offer: &Offer) -> Self {
        let parents = offer.plan.rules.parents.iter().filter_map(|parent| parent.price.as_ref());
        let prices = parents.chain([&offer.plan.price]);
        let most = prices.max_by_key(|price| price.worst_case());
        Self {
            currency: most.and_then(crate::catalog::Price::currency),
            amount: most.map_or(Amount::ZERO, crate::catalog::Price::worst_case),
        }
    }
}

/// Why an agent may not buy. Nothing was held, charged or made.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    /// The plan is none of those that were allowed.
    #[error("this plan is none of those that were allowed")]
    Plan,
    /// It costs more than was allowed at once.
    #[error("this is more than was allowed at once")]
    Single,
    /// There are as many as were allowed.
    #[error("no more resources were allowed than were made")]
    Count,
    /// The plan that was allowed has no such line.
    #[error("the plan that was allowed has nothing of this kind")]
    NotPlanned,
    /// As many were made as the plan has.
    #[error("the plan that was allowed has {allowed} of this kind, and all of them were made")]
    PlanUsedUp {
        /// How many it has.
        allowed: i64,
    },
    /// The catalog's price rose above what it was when it was allowed.
    #[error("it costs more now than when it was allowed: {most}")]
    Dearer {
        /// What it cost then.
        most: String,
    },
    /// The time is over.
    #[error("the time for which it was allowed is over")]
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

/// Takes one purchase off an allowance, or says why not.
pub(super) fn take(
    conn: &mut DbConnection,
    (account, within): (&AccountId, &Within),
    sale: &Sale,
    now: Timestamp,
) -> Result<(), AllowanceError> {
    let (plan, due, id) = (&sale.plan, sale.due, within.name.as_str());
    let allowance = match (allowance_store::find(conn, account, id)?, &within.stated) {
        (Some(written), _) => written,
        (None, Some(stated)) => {
            allow(conn, account, id, stated)?;
            stated.clone()
        }
        (None, None) => return Err(diesel::result::Error::NotFound.into()),
    };
    let ends_at = within.stated.as_ref().map_or(allowance.ends_at, |stated| stated.ends_at);
    if ends_at.is_some_and(|end| end <= now) {
        return Err(AllowanceError::Ended);
    }
    if allowance.ends_at.is_some_and(|written| ends_at.is_none_or(|end| written < end)) {
        allowance_store::prolong(conn, (account, id), ends_at)?;
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
    if !allowance_store::count_one(conn, account, id)? {
        return Err(AllowanceError::Count);
    }
    take_line(conn, (account, id), plan, sale.worst_case())
}

/// Takes one off the line of a plan. Without a plan there is nothing to do.
fn take_line(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &str),
    plan: &PlanRef,
    costs: WorstCase,
) -> Result<(), AllowanceError> {
    if allowance_store::count_line(conn, (account, id), plan, costs)? {
        return Ok(());
    }
    match allowance_store::line(conn, (account, id), plan)? {
        None if allowance_store::has_lines(conn, (account, id))? => Err(AllowanceError::NotPlanned),
        None => Ok(()),
        Some((line, made)) if made >= i64::from(line.count) => {
            Err(AllowanceError::PlanUsedUp { allowed: line.count.into() })
        }
        Some((line, _)) => Err(AllowanceError::Dearer {
            most: line.each.currency.map_or_else(
                || "it was free".to_owned(),
                |currency| format!("at most {} a month", Money { amount: line.each.amount, currency }),
            ),
        }),
    }
}

/// The ceiling that an allowance is, if it is one and its time is not over.
pub(super) fn ceiling(
    conn: &mut DbConnection,
    account: &AccountId,
    id: Option<&str>,
    now: Timestamp,
) -> Result<Option<AgentLimit>, DbError> {
    let Some(id) = id else { return Ok(None) };
    let allowance = allowance_store::find(conn, account, id)?.ok_or(diesel::result::Error::NotFound)?;
    let over = allowance.ends_at.is_some_and(|end| end <= now);
    Ok(allowance.per_month.map(|limit| AgentLimit {
        id: id.to_owned(),
        currency: limit.currency,
        per_month: if over { Amount::ZERO } else { limit.amount },
    }))
}
