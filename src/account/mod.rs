//! Accounts: the customer records, opened by attestation and found again by identity link alone.
//!
//! Promises: one account per (orchestrator, tenant, subject), however many ask at once; an assertion works once; an address
//! that already has an account links only by its owner's consent, or by the operator's word for one orchestrator, or leads
//! to a separate account that only its owner sees. Refuses:
//! frozen and closed accounts, and orchestrators that may not open.

mod agent;
mod agent_store;
mod claim;
mod claim_store;
mod close;
mod decide;
mod freeze;
mod information;
mod information_store;
mod link;
mod open;
mod opening_limit;
mod opening_store;
mod sidecar;
mod sidecar_store;
mod state;
mod store;

use crate::attestation::EmailTrust;
use crate::clock::Timestamp;
use crate::ids::{AccountId, OrchestratorId};

pub use agent::{
    AdmitError, Agent, AgentKey, Barred, NOTICE as AGENT_NOTICE, act, admit, begin_undo, end_agent, end_undo,
    lower_agent_cap, narrow_agent, pause, resume, welcome,
};
pub use agent_store::{agent_by_id, agent_by_key, agent_of_link, agents_of, count_agents, paused_since, undoing};
pub use claim::{
    ClaimError, Reach, allow_through, claim, claimed_at, claimed_without_mailbox_at, drop_address, is_as_seen,
    is_mailbox_proved, named_by, reached_through,
};
pub use close::{CloseError, KEPT_LINKS, begin_closing, closing, finish_closing, release_closed};
pub use decide::{Decision, EmailUse, Facts, Flags, decide};
pub use freeze::{FreezeError, freeze, thaw};
pub use information::{
    InvalidFact, PersonalFact, PersonalField, SealedFact, UnknownField, information, lacking, remember,
};
pub use link::{LinkError, LinkedBy, ceiling_of, link, set_allowed};
pub use open::{
    AssertionUse, OPENED_LETTER, OpenError, Opening, PastUse, facts, forget_uses, note_delegation, open, past_use,
    record_replay,
};
pub use opening_limit::{CountError, count_opening, forget_openings};
pub use sidecar::{
    Outcome as SidecarOutcome, Owner, Sidecar, SidecarError, address_is_proven, close_sidecar, ensure_budget,
    lock_sidecar, relink, sidecar_for, sidecars_for,
};
pub use state::{AccountState, InvalidTransition};
pub use store::{
    IdentityLink, allowed, by_id, by_link, distrust_email, ids_after, linked_orchestrators, links_of, lock, mailbox,
    reached_at, subjects, unusable_since, with_address, with_email_through,
};

/// The customer record at the provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id, the `sub` of access tokens.
    pub id: AccountId,
    /// Where in its life it is.
    pub state: AccountState,
    /// Whose attestation opened it.
    pub opened_by: OrchestratorId,
    /// The address that was asserted, as it was written.
    pub email: Option<String>,
    /// How far that address is trusted; absent when there is none.
    pub email_trust: Option<EmailTrust>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// Since when its owner lets nothing new be spent.
    pub spending_stopped_at: Option<Timestamp>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}
