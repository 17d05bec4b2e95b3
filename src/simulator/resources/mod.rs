//! What users have added: the orchestrator's own record of each resource, and the verbs that change it.
//!
//! Promises: a name is one resource; the record is written before the provider is called, so that a lost answer is found
//! again under the same key; a token for a resource that did not come to be is taken back.

mod add;
mod change;
mod finish;
mod look;
mod order;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::mischief::Verb;
use super::refusal::Refusal;
use super::registry::{Kept, Member, Provider};
use super::state::State;
use crate::clock::Timestamp;

pub(super) use add::add;
pub(super) use change::{remove, rotate, upgrade};
pub(super) use look::look;
pub(super) use order::{Order, usual_project};

/// As it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Resource {
    /// The orchestrator's own.
    pub(super) id: String,
    pub(super) user: String,
    pub(super) project: String,
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) service: String,
    /// The provider's own; nothing before it answered.
    pub(super) provider_id: Option<String>,
    pub(super) state: Stage,
    pub(super) access: BTreeMap<String, Kept>,
    /// As it was shown when it was bought.
    pub(super) price: String,
    pub(super) configuration: Value,
    /// The `jti` of the token that pays for it.
    pub(super) token: Option<String>,
    /// A request whose outcome is not known, to be repeated to the letter.
    pub(super) unanswered: Option<Unanswered>,
    /// Grows with each change; part of its idempotency key.
    pub(super) serial: u32,
    pub(super) created_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unanswered {
    pub(super) verb: Verb,
    pub(super) key: String,
    /// The body as text; it may hold a payment token.
    pub(super) body: Kept,
    /// What the resource becomes when it is done.
    service: String,
    price: String,
    configuration: Value,
    token: Option<String>,
}

/// Where a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The provider was asked; nothing is known yet.
    Requested,
    Pending,
    Complete,
    PendingRemoval,
    Removed,
}

impl Resource {
    pub(super) fn is_there(&self) -> bool {
        self.state != Stage::Removed
    }

    /// Without the values of its credentials.
    pub(super) fn shown(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "project": self.project, "provider": self.provider,
            "service": self.service, "provider_id": self.provider_id, "state": self.state, "price": self.price,
            "credentials": self.access.keys().collect::<Vec<_>>(), "created_at": self.created_at,
            "outcome_unknown": self.unanswered.is_some(),
        })
    }
}

pub(super) fn provider(state: &State, name: &str) -> Result<Provider, Refusal> {
    state.world().providers.get(name).cloned().ok_or_else(|| {
        let text = format!("no provider `{}` is known here", super::app_wire::clean(name));
        Refusal::new(404, "PROVIDER_UNKNOWN", text).next("catalog")
    })
}

pub(super) fn named(state: &State, user: &Member, project: &str, name: &str) -> Result<Resource, Refusal> {
    let world = state.world();
    let is =
        |held: &&Resource| held.is_there() && held.user == user.subject && held.project == project && held.name == name;
    world.resources.values().find(is).cloned().ok_or_else(|| {
        let text = format!("you have no `{}` in this project", super::app_wire::clean(name));
        Refusal::new(404, "RESOURCE_UNKNOWN", text).next("status")
    })
}
