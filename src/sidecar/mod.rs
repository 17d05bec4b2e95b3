//! What a human does with a sidecar: a separate account that was opened for an agent of theirs, although they had an
//! account. From inside their own, claimed account they *merge* it (everything comes over, the agent too, as far as they
//! allow), *move* some of its things, or *discard* it.
//!
//! Promises: each is one transaction, done once; money stays exact: what was spent stays in the ledger where it was spent,
//! what is spent from then on counts where the thing then is, and a token or plan never pays more than it says. Refuses:
//! everybody but the owner of the address, and anything while money is held or work is going on.

mod bring;
mod discard;
mod look;

pub use bring::{Bring, Brought, bring};
pub use discard::discard;
pub use look::{Found, MAX_SHOWN, look, waiting};

use crate::account::{self, SidecarError};
use crate::db::DbError;
use crate::ids::AccountId;
use crate::resource::RehomeError;
use crate::signing::SealError;

/// Who decides, and on what.
#[derive(Debug, Clone)]
pub struct Deciding {
    /// The account that the human is logged in to.
    pub owner: AccountId,
    /// Whether they proved just now that they read its mailbox.
    pub reads_mailbox: bool,
    /// The separate account.
    pub sidecar: AccountId,
}

impl Deciding {
    fn owner(&self) -> account::Owner<'_> {
        account::Owner { account: &self.owner, reads_mailbox: self.reads_mailbox }
    }
}

/// Why nothing was done: everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is none (any more) that this human may decide on.
    #[error("there is no such separate account for this human")]
    Gone,
    /// The orchestrator of its agent or their person is distrusted, or something of the account is held back.
    #[error("nothing may leave the account now")]
    Suspended,
    /// The person of the orchestrator is linked elsewhere.
    #[error(transparent)]
    Link(#[from] account::LinkError),
    /// Money is held, and nobody knows yet what becomes of it.
    #[error("money is held")]
    MoneyHeld,
    /// Nothing was chosen.
    #[error("nothing was chosen")]
    NothingChosen,
    /// A resource is in the way.
    #[error(transparent)]
    Resource(RehomeError),
    /// Others changed it again and again while it was looked at.
    #[error("others changed it at the same moment")]
    Contended,
    /// A secret could not be sealed for its new place.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<SidecarError> for DecideError {
    fn from(error: SidecarError) -> Self {
        match error {
            SidecarError::Gone => Self::Gone,
            SidecarError::Link(error) => Self::Link(error),
            SidecarError::Db(error) => Self::Db(error),
        }
    }
}

impl From<RehomeError> for DecideError {
    fn from(error: RehomeError) -> Self {
        match error {
            RehomeError::Db(error) => Self::Db(error),
            other => Self::Resource(other),
        }
    }
}

impl From<diesel::result::Error> for DecideError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl DecideError {
    /// Whether to look again and try it once more.
    fn may_pass(&self) -> bool {
        match self {
            Self::Resource(RehomeError::Changed) => true,
            Self::Db(error) => error.is_unique_violation(),
            _ => false,
        }
    }
}
