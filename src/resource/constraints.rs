//! What the catalog says about several resources at once: how many there may be, what may not stand beside what, and
//! what has to be there first. Decided in the transaction that writes, behind a lock on the account's row: of any number
//! of parallel requests, in any number of processes, as many come through as the catalog allows.

use std::collections::BTreeSet;

use super::store::{self, Among};
use crate::catalog::{Edition, PlanRef, Scope};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ResourceId};

/// The catalog forbids it beside what the account has. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// There are as many as there may be.
    #[error("at most {at_most} of `{plan}` may be in use in one {}", .scope.as_str())]
    Count {
        /// Of which plan.
        plan: PlanRef,
        /// How many.
        at_most: u32,
        /// Where they are counted.
        scope: Scope,
    },
    /// Something is in use that may not be in use at the same time.
    #[error("`{plan}` cannot be in use beside `{beside}`: change that one instead")]
    Exclusive {
        /// The plan that was wanted.
        plan: PlanRef,
        /// What is in use.
        beside: PlanRef,
    },
    /// Something in use needs it.
    #[error("`{by}` is in use and needs `{plan}`: remove or change it first")]
    Needed {
        /// What was to go.
        plan: PlanRef,
        /// What needs it.
        by: PlanRef,
    },
    /// One of these has to be in use first.
    #[error("`{plan}` needs one of these to be in use first: {}", .parents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Requires {
        /// The plan that was wanted.
        plan: PlanRef,
        /// What it needs.
        parents: Vec<PlanRef>,
    },
}

/// What is about to be in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) account: &'a AccountId,
    pub(super) edition: &'a Edition,
    pub(super) plan: &'a PlanRef,
    /// In which project of the orchestrator.
    pub(super) project: Option<&'a str>,
    /// The resource that becomes it, where there is one: it does not stand in its own way.
    pub(super) itself: Option<&'a ResourceId>,
}

/// Whether the candidate may be in use, and under which parent. The outer error is the database's.
pub(super) fn check(
    conn: &mut DbConnection,
    candidate: &Candidate<'_>,
) -> Result<Result<Option<PlanRef>, ConstraintError>, DbError> {
    let rivals = rivals(candidate.edition, candidate.plan);
    let limit = candidate.edition.limit(candidate.plan);
    let parents = candidate.edition.parents(candidate.plan);
    if rivals.is_empty() && limit.is_none() && parents.is_empty() {
        return Ok(Ok(None));
    }
    store::lock_account(conn, candidate.account)?;
    if let Some(limit) = limit {
        let at_most = limit.at_most.number();
        let used = store::count_in_use(conn, &among(candidate, limit.scope), &candidate.plan.to_string())?;
        if used >= i64::from(at_most) {
            let plan = candidate.plan.clone();
            return Ok(Err(ConstraintError::Count { plan, at_most, scope: limit.scope }));
        }
    }
    if let Some(beside) = in_use(conn, candidate, &rivals, false)?.into_iter().next() {
        return Ok(Err(ConstraintError::Exclusive { plan: candidate.plan.clone(), beside }));
    }
    let wanted: BTreeSet<_> = parents.iter().map(|parent| parent.plan.clone()).collect();
    let there = in_use(conn, candidate, &wanted, true)?;
    // In the order of the catalog.
    match parents.iter().find(|parent| there.contains(&parent.plan)) {
        Some(parent) => Ok(Ok(Some(parent.plan.clone()))),
        None if parents.is_empty() => Ok(Ok(None)),
        None => {
            let parents = parents.iter().map(|parent| parent.plan.clone()).collect();
            Ok(Err(ConstraintError::Requires { plan: candidate.plan.clone(), parents }))
        }
    }
}

/// What may not be in use beside a plan: what it excludes, and what excludes it.
fn rivals(edition: &Edition, plan: &PlanRef) -> BTreeSet<PlanRef> {
    let mut rivals = edition.exclusive(plan);
    let exclusive = edition.offers().filter(|offer| offer.plan.rules.exclusive).map(crate::catalog::Offer::name);
    rivals.extend(exclusive.filter(|name| name != plan && edition.exclusive(name).contains(plan)));
    rivals
}

/// What is about to go, or to become something else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving<'a> {
    pub(super) account: &'a AccountId,
    pub(super) edition: &'a Edition,
    pub(super) id: &'a ResourceId,
    /// What it is.
    pub(super) plan: &'a PlanRef,
}

/// Whether everything in use can do without it, or with what it `becomes`: nothing is left without a parent that had one.
/// The outer error is the database's.
pub(super) fn may_leave(
    conn: &mut DbConnection,
    leaving: &Leaving<'_>,
    becomes: Option<&PlanRef>,
) -> Result<Result<(), ConstraintError>, DbError> {
    let Leaving { account, edition, id, plan } = *leaving;
    let children: BTreeSet<PlanRef> = edition
        .offers()
        .map(crate::catalog::Offer::name)
        .filter(|child| {
            let is_parent = |of: &PlanRef| edition.parents(child).iter().any(|parent| parent.plan == *of);
            is_parent(plan) && !becomes.is_some_and(is_parent)
        })
        .collect();
    if children.is_empty() {
        return Ok(Ok(()));
    }
    store::lock_account(conn, account)?;
    for (child, project) in store::places_of(conn, account, id)? {
        let Some(by) = children.iter().find(|known| known.to_string() == child) else { continue };
        let parents: BTreeSet<_> = edition.parents(by).iter().map(|parent| parent.plan.clone()).collect();
        let with = Candidate { account, edition, plan: by, project: project.as_deref(), itself: None };
        let without = Candidate { itself: Some(id), ..with };
        if in_use(conn, &without, &parents, true)?.is_empty() && !in_use(conn, &with, &parents, true)?.is_empty() {
            return Ok(Err(ConstraintError::Needed { plan: plan.clone(), by: by.clone() }));
        }
    }
    Ok(Ok(()))
}

fn among<'a>(candidate: &Candidate<'a>, scope: Scope) -> Among<'a> {
    Among {
        account: candidate.account,
        project: match scope {
            Scope::Project => Some(candidate.project),
            Scope::Account => None,
        },
        except: candidate.itself,
    }
}

/// Which of `plans` are in use, each where its own service counts. `ready`: only what can be used at this moment.
fn in_use(
    conn: &mut DbConnection,
    candidate: &Candidate<'_>,
    plans: &BTreeSet<PlanRef>,
    ready: bool,
) -> Result<BTreeSet<PlanRef>, DbError> {
    let mut found = BTreeSet::new();
    if plans.is_empty() {
        return Ok(found);
    }
    let own = candidate.edition.offer(candidate.plan).map_or(Scope::Project, |offer| offer.scope);
    for scope in [Scope::Project, Scope::Account] {
        let used = store::plans_in_use(conn, &among(candidate, scope), ready)?;
        let counts = |plan: &&PlanRef| {
            let theirs = candidate.edition.offer(plan).map_or(Scope::Project, |offer| offer.scope);
            scope == Scope::Project || theirs == Scope::Account || (own == Scope::Account && !ready)
        };
        found.extend(plans.iter().filter(|plan| used.contains(&plan.to_string())).filter(counts).cloned());
    }
    Ok(found)
}
