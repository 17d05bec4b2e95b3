//! What stands in a sidecar, for the human who may decide on it.

use crate::account::{self, Account, Owner, Sidecar};
use crate::clock::{Period, Timestamp};
use crate::db::{DbConnection, DbError};
use crate::money::{Amount, Money};
use crate::orchestrator::{self, Orchestrator};
use crate::payment;
use crate::payment::budget::{self, Budget};
use crate::resource::{self, Resource};

use super::{DecideError, Deciding};

/// How many sidecars of one human are shown at once; the others follow when these are decided on.
pub const MAX_SHOWN: i64 = 20;
/// How many resources of one are shown.
const MAX_RESOURCES: i64 = 100;

/// A sidecar, and what is in it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Whose agent opened it, and when.
    pub sidecar: Sidecar,
    /// The separate account itself.
    pub account: Account,
    /// Who attested the person.
    pub orchestrator: Orchestrator,
    /// Its money in this month.
    pub budget: Budget,
    /// What is in use, newest first, at most 100; with what each cost in this month.
    pub resources: Vec<(Resource, Money)>,
    /// What it may spend in a month in the human's own account, with what it spends there already.
    pub own_cap: Money,
}

/// How many sidecars wait for the human in this account, at most [`MAX_SHOWN`].
///
/// # Errors
/// When the database fails.
pub fn waiting(conn: &mut DbConnection, owner: Owner<'_>) -> Result<usize, DbError> {
    Ok(account::sidecars_for(conn, owner, MAX_SHOWN)?.len())
}

/// One sidecar with everything in it, or all that wait for the human, at most [`MAX_SHOWN`].
///
/// # Errors
/// [`DecideError::Gone`] for every account that is no sidecar of this human; or the database's.
pub fn look(
    conn: &mut DbConnection,
    owner: Owner<'_>,
    only: Option<&Deciding>,
    now: Timestamp,
) -> Result<Vec<Found>, DecideError> {
    let sidecars = match only {
        Some(deciding) => vec![account::sidecar_for(conn, owner, &deciding.sidecar)?],
        None => account::sidecars_for(conn, owner, MAX_SHOWN)?,
    };
    sidecars.into_iter().map(|sidecar| found(conn, owner, sidecar, now)).collect()
}

fn found(conn: &mut DbConnection, owner: Owner<'_>, sidecar: Sidecar, now: Timestamp) -> Result<Found, DecideError> {
    let missing = || DbError::Query(diesel::result::Error::NotFound);
    let id = &sidecar.account_id;
    let account = account::by_id(conn, id)?.ok_or_else(missing)?;
    let own = account::by_id(conn, owner.account)?.ok_or_else(missing)?;
    let orchestrator = orchestrator::by_id(conn, &sidecar.orchestrator_id)?.ok_or_else(missing)?;
    let budget = budget::view(conn, id, &orchestrator.id, now)?;
    let spent = payment::spent_since(conn, id, Period::month_of(now).start)?;
    let currency = budget.own.currency;
    let cost = |resource: &Resource| {
        let of_it = spent.iter().filter(|(of, ..)| of.as_deref() == Some(resource.id.as_str()));
        let minor: i64 = of_it.map(|(_, spent, _)| spent).sum();
        Money { amount: Amount::from_minor(minor).unwrap_or_default(), currency }
    };
    let there = resource::list(conn, id, None, MAX_RESOURCES)?.into_iter().filter(resource::is_in_use);
    let resources = there.map(|resource| (resource.clone(), cost(&resource))).collect();
    let own_cap = match budget::view(conn, &own.id, &orchestrator.id, now) {
        Ok(known) => Money { amount: known.own.ceiling, currency: known.own.currency },
        Err(DbError::Query(diesel::result::Error::NotFound)) => {
            Money { amount: account::ceiling_of(&own, &orchestrator), currency: orchestrator.currency }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Found { sidecar, account, orchestrator, budget, resources, own_cap })
}
