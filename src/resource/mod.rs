//! Resources: what an account bought, from the hold of the money to the credentials and back.
//!
//! Promises: no resource is usable before its money is held; every retry is safe; an unknown outcome is a state that a
//! worker resolves. Refuses: a price other than the one that was shown, and anything over a ceiling.

pub mod drivers;
pub mod usage;

mod advance;
mod allowance;
mod allowance_store;
mod buy;
mod change;
mod change_store;
mod constraints;
mod link;
mod pay;
mod person;
mod placement;
mod progress;
mod quarantine;
mod quarantine_store;
mod read;
mod rehome;
mod rehome_store;
mod remove;
mod renewal;
mod renewal_store;
mod rotate;
mod sale;
mod settle;
mod store;
mod unclaimed;
mod unclaimed_store;
mod unwanted;
mod unwanted_store;
mod wire_store;

pub use advance::{AdvanceError, Progress, advance, resume_due};
pub use allowance::{Allowance, AllowanceError, AllowanceLine, Within, WorstCase, allow};
pub use buy::{BuyError, Purchase, Wanted, buy, charge_of, of_key, paid, standing};
pub use change::{Change, ChangeError, Changed, change_plan, changed_before};
pub use constraints::ConstraintError;
pub use link::{Link, LinkError, link};
pub use pay::PayError;
pub use person::{InformationNeeded, still_needed};
pub use placement::{Environment, InvalidEnvironment, InvalidTheirName, Placement, TheirName};
pub use progress::{Came, came_of, came_of_purchase};
pub use quarantine::{Origin, made_or_renewed, quarantine, release};
pub use read::{OpenCredentialsError, Shown, open_credentials, public_values};
pub use rehome::{Coming, MAX_AT_ONCE, RehomeError, is_in_use, remove_all, take_over};
pub use remove::{By, RemoveError, remove};
pub use renewal::{renew_all, renew_due, renew_these};
pub use rotate::{LONGEST_OVERLAP, RotateError, rotate};
pub use sale::price_under;
pub use settle::{SettleError, Verdict, settle_hold};
pub use store::{by_id, is_worked_on, list, owner_of};
pub use unclaimed::{Unclaimed, UnclaimedError};
pub use unwanted::{Unmaking, made_by, remove_unwanted, unmaking, unwant, wanted_of_account, wanted_of_agent};
pub use unwanted_store::{all_ended, count_present, made_since};
pub use wire_store::holder;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::account::{self, AgentKey};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId, HoldId, OrchestratorId, PaymentTokenId, ResourceId};
use crate::payment::cashier::Cashier;
use crate::signing::Sealer;

/// In which state a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceState {
    /// Asked for; the money is held.
    Requested,
    /// Being made.
    Provisioning,
    /// Usable.
    Ready,
    /// Usable as it was, while it is moved to another plan or gets new credentials.
    Changing,
    /// Not usable, nothing lost.
    Suspended,
    /// Being unmade.
    Removing,
    /// Gone.
    Removed,
    /// Never came to be; the money was given back.
    Failed,
    /// A human has to look.
    NeedsAttention,
}

impl ResourceState {
    const ALL: [Self; 9] = [
        Self::Requested,
        Self::Provisioning,
        Self::Ready,
        Self::Changing,
        Self::Suspended,
        Self::Removing,
        Self::Removed,
        Self::Failed,
        Self::NeedsAttention,
    ];

    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Changing => "changing",
            Self::Suspended => "suspended",
            Self::Removing => "removing",
            Self::Removed => "removed",
            Self::Failed => "failed",
            Self::NeedsAttention => "needs_attention",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A resource as it is recorded.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Whose.
    pub account_id: AccountId,
    /// Ours.
    pub id: ResourceId,
    /// Bought through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// Which service.
    pub service: String,
    /// Which plan.
    pub plan: String,
    /// What its owner calls it.
    pub name: String,
    /// The catalog revision under which it was sold.
    pub catalog_version: i64,
    /// In which state.
    pub state: ResourceState,
    /// Why, where that needs saying.
    pub state_reason: Option<String>,
    /// The hold that paid for it.
    pub hold_id: Option<HoldId>,
    /// The token that pays for it.
    pub payment_token_id: Option<PaymentTokenId>,
    /// What the buyer configured, as JSON.
    pub configuration: String,
    /// Sealed for [`read::credentials_place`].
    sealed_credentials: Option<String>,
    /// When it was bought.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// In which of its orchestrator's projects it is.
    pub project_id: Option<String>,
    /// The parent, `service/plan`, under whose price it was sold.
    pub price_parent: Option<String>,
    /// How often its credentials were replaced.
    pub generation: i64,
    /// Since when it is held back: nobody uses, changes or removes it.
    pub quarantined_at: Option<Timestamp>,
    /// Within whose allowance it was bought: an agent's that may buy only so much.
    pub allowance_id: Option<String>,
    /// The program that bought it, by its name at the orchestrator.
    pub client: Option<String>,
    /// Since when its owner wants it gone.
    pub unwanted_at: Option<Timestamp>,
}

impl Resource {
    /// The agent that bought it.
    fn agent(&self, conn: &mut DbConnection) -> Result<Option<AgentId>, DbError> {
        let Some(client) = &self.client else { return Ok(None) };
        let key = AgentKey {
            account_id: self.account_id.clone(),
            orchestrator_id: self.orchestrator_id.clone(),
            client: client.clone(),
        };
        Ok(account::agent_by_key(conn, &key)?.map(|agent| agent.id))
    }
}

/// The provider's platforms, by the driver's kind.
pub type Drivers = Arc<HashMap<String, Arc<dyn drivers::Driver>>>;

/// Which driver makes a service: asked with its id. `None`: the catalog's files no longer have it.
pub type FindBinding = Arc<dyn Fn(&str) -> Option<Binding> + Send + Sync>;

/// What buying and keeping resources needs to reach.
#[derive(Clone)]
pub struct Desk {
    /// The database, and the way to the issuers of payment tokens.
    pub cashier: Cashier,
    /// The provider's platforms, by the driver's kind.
    pub drivers: Drivers,
    /// Seals credentials.
    pub credential_sealer: Arc<Sealer>,
    /// The driver settings of each service, as the catalog's files have them: they are never published.
    pub bindings: FindBinding,
    /// What accounts that nobody has claimed may have.
    pub unclaimed: Unclaimed,
}

/// Which driver makes a service, and with which settings.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The driver's kind: `static`.
    pub driver: String,
    /// Its settings.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}
