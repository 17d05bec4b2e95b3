//! Sidecars: separate accounts, opened for the agent of somebody whose proven address has an account already.
//!
//! Nobody sees that one exists but the owner of that address, from inside an account that they claimed: an account whose
//! own the address is, or where they proved just now that they read the mailbox. They decide once; of two who decide at
//! the same moment one does.

use serde_json::json;

use super::{Account, AccountState, LinkError, LinkedBy, ceiling_of, link, sidecar_store, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::orchestrator::Orchestrator;
use crate::outbox;

/// A separate account, not decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// The separate account.
    pub account_id: AccountId,
    /// Who attested the person.
    pub orchestrator_id: OrchestratorId,
    /// The person's tenant there; empty where there is none.
    pub tenant: String,
    /// The person there.
    pub subject: String,
    /// When.
    pub opened_at: Timestamp,
}

/// What its owner decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything came to the owner's account, the agent too.
    Merged,
    /// It ended.
    Discarded,
}

impl Outcome {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Discarded => "discarded",
        }
    }
}

/// Somebody in their own account, as far as sidecars are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Their account.
    pub account: &'a AccountId,
    /// Whether they proved just now that they read its mailbox.
    pub reads_mailbox: bool,
}

/// Why nothing was changed. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// There is none (any more) that this owner may decide on.
    #[error("there is no such separate account for this owner")]
    Gone,
    /// The person of the orchestrator could not be linked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for SidecarError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The address by which an owner finds sidecars: their account is claimed, and the address is proven to be theirs.
fn address_of(conn: &mut DbConnection, owner: Owner<'_>) -> Result<Option<String>, DbError> {
    let account = store::by_id(conn, owner.account)?;
    if !account.is_some_and(|account| matches!(account.state, AccountState::Active { .. })) {
        return Ok(None);
    }
    let found = sidecar_store::address(conn, owner.account)?;
    Ok(found.and_then(|(index, own)| (own || owner.reads_mailbox).then_some(index)))
}

/// Whether the address of a claimed account is proven to be the owner's: whether they would see a sidecar.
///
/// # Errors
/// When the database fails.
pub fn address_is_proven(conn: &mut DbConnection, owner: Owner<'_>) -> Result<bool, DbError> {
    Ok(address_of(conn, owner)?.is_some())
}

/// The sidecars that the owner may decide on, oldest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn sidecars_for(conn: &mut DbConnection, owner: Owner<'_>, limit: i64) -> Result<Vec<Sidecar>, DbError> {
    let Some(index) = address_of(conn, owner)? else { return Ok(Vec::new()) };
    Ok(sidecar_store::waiting(conn, (&index, owner.account), None, limit)?)
}

/// One of them.
///
/// # Errors
/// [`SidecarError::Gone`] for every other account, whatever it is; or the database's.
pub fn sidecar_for(conn: &mut DbConnection, owner: Owner<'_>, id: &AccountId) -> Result<Sidecar, SidecarError> {
    let index = address_of(conn, owner)?.ok_or(SidecarError::Gone)?;
    sidecar_store::waiting(conn, (&index, owner.account), Some(id), 1)?.pop().ok_or(SidecarError::Gone)
}

/// The same, with both accounts locked until the end of the transaction, in the order of their ids: nothing is bought or
/// decided meanwhile, here or there. Call it inside `Db::write`, before anything else is locked.
///
/// # Errors
/// As [`sidecar_for`].
pub fn lock_sidecar(conn: &mut DbConnection, owner: Owner<'_>, id: &AccountId) -> Result<Sidecar, SidecarError> {
    let mut both = [owner.account, id];
    both.sort();
    for account in both {
        sidecar_store::lock(conn, account)?;
    }
    sidecar_for(conn, owner, id)
}

/// Remembers that an account is a sidecar.
pub(super) fn record(
    conn: &mut DbConnection,
    sidecar: &Sidecar,
    email_index: &str,
) -> Result<(), diesel::result::Error> {
    sidecar_store::insert(conn, sidecar, email_index)
}

/// Gives an account a budget at an orchestrator, if it has none: what comes to it from there is counted there. Call it
/// inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn ensure_budget(
    conn: &mut DbConnection,
    account: &Account,
    orchestrator: &Orchestrator,
    now: Timestamp,
) -> Result<(), DbError> {
    if !store::has_budget(conn, &account.id, &orchestrator.id)? {
        let limit = (orchestrator.currency, ceiling_of(account, orchestrator));
        store::insert_budget(conn, (&account.id, &orchestrator.id), limit, now)?;
    }
    Ok(())
}

/// The owner takes the sidecar's person into their account, where they may do `allowed` (as scopes are written). Every
/// other link of the sidecar ends. Call it inside `Db::write`, after [`lock_sidecar`].
///
/// # Errors
/// See [`SidecarError`].
pub fn relink(
    conn: &mut DbConnection,
    (sidecar, orchestrator): (&Sidecar, &Orchestrator),
    (owner, allowed): (&AccountId, &str),
    now: Timestamp,
) -> Result<(), SidecarError> {
    sidecar_store::unlink_all(conn, &sidecar.account_id)?;
    let person = (sidecar.tenant.as_str(), sidecar.subject.as_str());
    let actor = format!("user:{owner}");
    Ok(link(conn, (orchestrator, person), (owner, Some(allowed)), (LinkedBy::Consent, &actor), now)?)
}

/// Decides on a sidecar and closes it: nothing works there any more, its ledger stays. Call it inside `Db::write`, after
/// [`lock_sidecar`].
///
/// # Errors
/// [`SidecarError::Gone`] when somebody decided before; or the database's.
pub fn close_sidecar(
    conn: &mut DbConnection,
    (sidecar, outcome): (&Sidecar, Outcome),
    owner: &AccountId,
    now: Timestamp,
) -> Result<(), SidecarError> {
    let id = &sidecar.account_id;
    let closed = AccountState::Closed { since: now };
    if !sidecar_store::decide(conn, (id, outcome), owner, now)?
        || !store::change_state(conn, id, AccountState::Provisional, closed, now)?
    {
        return Err(SidecarError::Gone);
    }
    let fact = Fact {
        actor: format!("user:{owner}"),
        action: "account.closed",
        account_id: Some(id),
        subject: id.to_string(),
        detail: json!({"from": "provisional", "reason": outcome.as_str(), "owner": owner}),
    };
    audit::append(conn, &fact, now)?;
    let told = json!({"account": {"id": id, "state": "closed"}});
    Ok(outbox::notify(conn, "account.closed", &sidecar.orchestrator_id, id, &told, now)?)
}
