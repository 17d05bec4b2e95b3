//! Resources that come to another account of the same owner, or end with the account that they are in: all at once, in
//! one transaction, with both accounts locked by the caller.

use std::collections::{BTreeMap, BTreeSet};

use super::constraints::{self, Candidate, ConstraintError};
use super::read::credentials_place;
use super::remove::begin_removal;
use super::{Resource, ResourceState, rehome_store as rows, store};
use crate::catalog::Edition;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency;
use crate::ids::{AccountId, OperationId, OrchestratorId, PaymentTokenId, ResourceId};
use crate::signing::{SealError, Sealer};

/// More than this does not move or end at once.
pub const MAX_AT_ONCE: i64 = 200;

/// Why nothing was moved or removed. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum RehomeError {
    /// Work on it is not finished.
    #[error("`{0}` is being made, changed or removed")]
    Busy(String),
    /// A human has to look first.
    #[error("`{0}` needs attention")]
    NeedsAttention(String),
    /// One payment token pays for both, and a token pays in one account.
    #[error("`{0}` is paid with the same payment token")]
    PaidTogether(String),
    /// The catalog does not allow them beside what the other account has, or needs what stays behind.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// There are more than can be moved at once.
    #[error("more than {MAX_AT_ONCE} resources at once")]
    TooMany,
    /// Something changed since it was looked at: look again.
    #[error("a resource changed at the same moment")]
    Changed,
    /// The rows contradict each other.
    #[error("the rows of a resource contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for RehomeError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A resource on its way to another account, its credentials sealed for their new place.
#[derive(Debug, Clone)]
pub struct Coming {
    /// Which.
    pub id: ResourceId,
    /// The token that pays for it.
    pub token: Option<PaymentTokenId>,
    orchestrator: OrchestratorId,
    seen: Option<String>,
    sealed: Option<String>,
}

impl Coming {
    /// Seals a resource's credentials anew for `to`. Do it before the transaction.
    ///
    /// # Errors
    /// When they cannot be opened or sealed.
    pub fn seal(resource: &Resource, to: &AccountId, sealer: &Sealer) -> Result<Self, SealError> {
        let place = credentials_place(&Resource { account_id: to.clone(), ..resource.clone() });
        let anew = |seen: &String| sealer.seal(&place, &sealer.open(&credentials_place(resource), seen)?);
        let seen = resource.sealed_credentials.clone();
        let new = seen.as_ref().map(anew).transpose()?;
        let (id, token) = (resource.id.clone(), resource.payment_token_id.clone());
        Ok(Self { id, token, orchestrator: resource.orchestrator_id.clone(), seen, sealed: new })
    }
}

/// Whether a resource is there for its owner: neither gone nor failed.
#[must_use]
pub fn is_in_use(resource: &Resource) -> bool {
    !matches!(resource.state, ResourceState::Removed | ResourceState::Failed)
}

/// Takes `coming` over from one account to the other, with what was used of it and the keys that found it. What stays
/// behind, and what comes, must be allowed where it then is; from where it came is remembered. Call it inside `Db::write`, with both accounts locked.
///
/// # Errors
/// See [`RehomeError`].
pub fn take_over(
    conn: &mut DbConnection,
    edition: &Edition,
    (from, to): (&AccountId, &AccountId),
    coming: &[Coming],
    now: Timestamp,
) -> Result<(), RehomeError> {
    let staying = settled(conn, from, coming)?;
    let ids: Vec<ResourceId> = coming.iter().map(|one| one.id.clone()).collect();
    let tokens: BTreeSet<PaymentTokenId> = coming.iter().filter_map(|one| one.token.clone()).collect();
    let tokens: Vec<PaymentTokenId> = tokens.into_iter().collect();
    if let Some(name) = rows::paid_together(conn, from, &ids, &tokens)? {
        return Err(RehomeError::PaidTogether(name));
    }
    let before = forbidden(conn, edition, from, &staying)?;
    for one in coming {
        let seals = (one.seen.as_deref(), one.sealed.as_deref());
        if !rows::move_resource(conn, (from, to), &one.id, seals)? {
            return Err(RehomeError::Changed);
        }
        rows::note_origin(conn, (from, to), (&one.id, &one.orchestrator), now)?;
    }
    let done = rows::move_what_hangs_on(conn, (from, to), &ids)?;
    let made = ids.iter().map(ResourceId::as_str).chain(done.iter().map(OperationId::as_str));
    let made: Vec<String> = made.map(str::to_owned).collect();
    idempotency::move_keys(conn, (from, to), &made)?;
    // What the catalog forbade already is not this owner's doing.
    let after = forbidden(conn, edition, from, &staying)?.into_iter().find(|(id, _)| !before.contains_key(id));
    let comes = forbidden(conn, edition, to, &ids)?.into_iter().next();
    after.or(comes).map_or(Ok(()), |(_, error)| Err(error.into()))
}

/// What stays behind. All that comes is at rest, and still in use.
fn settled(conn: &mut DbConnection, from: &AccountId, coming: &[Coming]) -> Result<Vec<ResourceId>, RehomeError> {
    let there = rows::lock_in_use(conn, from, MAX_AT_ONCE + 1)?;
    let there_too = i64::try_from(there.len()).unwrap_or(i64::MAX);
    if there_too > MAX_AT_ONCE && coming.len() >= there.len() {
        return Err(RehomeError::TooMany);
    }
    for one in coming {
        if !there.contains(&one.id) {
            return Err(RehomeError::Changed);
        }
        at_rest(conn, from, &one.id)?;
    }
    Ok(there.into_iter().filter(|id| !coming.iter().any(|one| one.id == *id)).collect())
}

/// Nothing is done on it at this moment, and nobody has to look at it.
fn at_rest(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> Result<Resource, RehomeError> {
    let resource = store::by_id(conn, account, id)?.ok_or(RehomeError::Changed)?;
    match resource.state {
        // Held back by a distrust: it stays with the account that it is about.
        _ if resource.quarantined_at.is_some() => Err(RehomeError::NeedsAttention(resource.name)),
        ResourceState::Ready | ResourceState::Suspended if !store::is_worked_on(conn, account, id)? => Ok(resource),
        ResourceState::NeedsAttention => Err(RehomeError::NeedsAttention(resource.name)),
        _ => Err(RehomeError::Busy(resource.name)),
    }
}

/// Which of `ids` the catalog does not allow where they are, and why.
fn forbidden(
    conn: &mut DbConnection,
    edition: &Edition,
    account: &AccountId,
    ids: &[ResourceId],
) -> Result<BTreeMap<ResourceId, ConstraintError>, RehomeError> {
    let mut found = BTreeMap::new();
    for id in ids {
        let resource = store::by_id(conn, account, id)?.ok_or(RehomeError::Changed)?;
        let plan = format!("{}/{}", resource.service, resource.plan).parse();
        let plan = plan.map_err(|_bad| RehomeError::Inconsistent("a resource of no plan"))?;
        let project = resource.project_id.as_deref();
        let candidate = Candidate { account, edition, plan: &plan, project, itself: Some(id) };
        if let Err(error) = constraints::check(conn, &candidate)? {
            found.insert(id.clone(), error);
        }
    }
    Ok(found)
}

/// Begins the removal of everything that an account has: the workers carry it out. What is being removed already goes on.
/// Answers how many. Call it inside `Db::write`, with the account locked.
///
/// # Errors
/// See [`RehomeError`].
pub fn remove_all(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<usize, RehomeError> {
    let (mut begun, owner) = (0, format!("user:{account}"));
    for id in rows::lock_in_use(conn, account, i64::MAX)? {
        let resource = store::by_id(conn, account, &id)?.ok_or(RehomeError::Changed)?;
        if resource.state == ResourceState::Removing {
            continue;
        }
        at_rest(conn, account, &id)?;
        let operation = OperationId::new(now);
        if !begin_removal(conn, &resource, (&operation, &owner), (now, now))? {
            return Err(RehomeError::Changed);
        }
        begun += 1;
    }
    Ok(begun)
}
