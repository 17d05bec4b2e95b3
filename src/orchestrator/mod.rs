//! The registry of orchestrators: whom we believe about people, under which name they know us, and how far that goes.
//!
//! Promises: issuers are compared byte for byte; names and issuers are unique; keys come only from the registered
//! issuer's own discovery document. Refuses: an issuer that nobody registered, and everything of a suspended one.

mod change;
mod distrust;
mod distrust_store;
mod issuer;
mod keys;
mod notify;
mod profile;
pub mod security_event;
mod store;
mod stream;
mod stream_store;
mod wire;
mod wire_store;

use std::str::FromStr;

use url::Url;

use crate::clock::Timestamp;
use crate::ids::OrchestratorId;
use crate::money::{Amount, Currency};
use crate::signing::SignatureAlgorithm;

pub use change::{AddError, NewOrchestrator, SuspendError, add, resume, set_existing_account, suspend};
pub use distrust::{
    BeginError, Belief, Depth, Distrust, Distrusted, NewDistrust, Phase, Statement, WhoseDistrust, begin, distrusts,
    is_disbelieved, lift,
};
pub use distrust_store::{
    advance as advance_distrust, barrier, by_cause as distrusts_by, by_id as distrust_by_id,
    of_cause as distrusts_of_cause, of_orchestrator as distrusts_of, under_way as distrusts_under_way,
    unfinished as unfinished_distrusts,
};
pub use issuer::{EmailDomain, InvalidEmailDomain, InvalidIssuer, InvalidName, Issuer, OrchestratorName};
pub use keys::{KeyCache, KeyError};
pub use notify::{Courier, NotificationSecret, deliver_due};
pub use profile::{
    CatalogShape, DeepLinkShape, NextCursor, OrganizationSpelling, PaidShape, Profile, ResourceEcho, UnknownProfile,
    UpdatesShape,
};
pub use store::{by_id, by_issuer, by_name_or_id, list, suspended};
pub use stream::{StreamSettings, StreamToken};
pub use stream_store::{
    SeenEvent, claim_poll, due_polls, forget_events, remember_event, seen_event, set_stream, stream_of, stream_verified,
};
pub use wire::{AccountAnswer, SignatureMode, WireSecret, WireSettings};
pub use wire_store::{
    add_secret, retire_secret, secrets, secrets_of, set_wire, unsigned_wires, wire_by_client_id, wire_of,
};

/// A platform with signed-in users that attests identity and issues payment tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orchestrator {
    /// Our row: identity links hang on it, never on a text that somebody else chose.
    pub id: OrchestratorId,
    /// What people call it. Unique.
    pub name: OrchestratorName,
    /// Its issuer identifier, exactly. Unique.
    pub issuer: Issuer,
    /// Our client id there: the only audience that we answer to.
    pub client_id: String,
    /// The signature algorithms that it may use.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// What happens when it attests an address that already has an account.
    pub existing_account: ExistingAccount,
    /// Whether its attestations may open accounts.
    pub may_open_accounts: bool,
    /// The mail domains over which it is an authority: its word about other addresses is only an assertion.
    pub email_domains: Vec<EmailDomain>,
    /// Where its payment tokens are settled.
    pub settlement_url: Option<Url>,
    /// In which money its ceilings count.
    pub currency: Currency,
    /// The most that one account may spend through it in a calendar month.
    pub monthly_ceiling: Amount,
    /// The most that an unclaimed account may spend through it in a calendar month.
    pub provisional_ceiling: Amount,
    /// Who registered it.
    pub origin: Origin,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Since when nothing of it is believed.
    pub suspended_at: Option<Timestamp>,
    /// Its keys that we believe no longer, by `kid`; and its wire secrets, by id.
    pub distrusted_keys: Vec<String>,
}

impl Orchestrator {
    /// Whether what this key signed is not believed.
    #[must_use]
    pub fn distrusts_key(&self, key: &str) -> bool {
        self.distrusted_keys.iter().any(|known| known == key)
    }

    /// The ceiling of a new, unclaimed account.
    #[must_use]
    pub fn opening_ceiling(&self) -> Amount {
        self.monthly_ceiling.min(self.provisional_ceiling)
    }

    /// Whether its word about addresses of `domain` (an A-label in lower case) is enough.
    #[must_use]
    pub fn vouches_for(&self, domain: &str) -> bool {
        self.email_domains.iter().any(|known| known.as_str() == domain)
    }
}

/// What to do when a verified address already has an account. It is never linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingAccount {
    /// Refuse, and send the human to consent.
    UserConsent,
    /// Open a separate account; the human may merge it later, move things out of it, or discard it, from inside their own.
    /// Whoever asks cannot tell it from an account of somebody new.
    Sidecar,
    /// Link the existing account without asking its owner. Whoever controls the orchestrator then controls every account
    /// whose address it vouches for: only for an orchestrator that is the provider's own.
    LinkSilently,
}

/// Who registered an orchestrator, so that `serve` can refuse those of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An operator of this provider.
    Operator,
    /// `demo`.
    Demo,
}

/// A word that is none of those that may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of: {known}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What may be written.
    pub known: &'static str,
}

impl ExistingAccount {
    /// The word that is stored and written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserConsent => "user_consent",
            Self::Sidecar => "sidecar",
            Self::LinkSilently => "link_silently",
        }
    }
}

impl FromStr for ExistingAccount {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "user_consent" => Ok(Self::UserConsent),
            "sidecar" => Ok(Self::Sidecar),
            "link_silently" => Ok(Self::LinkSilently),
            _ => Err(UnknownWord { word: text.to_owned(), known: "user_consent, sidecar, link_silently" }),
        }
    }
}

impl Origin {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Demo => "demo",
        }
    }
}

impl FromStr for Origin {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "operator" => Ok(Self::Operator),
            "demo" => Ok(Self::Demo),
            _ => Err(UnknownWord { word: text.to_owned(), known: "operator, demo" }),
        }
    }
}
