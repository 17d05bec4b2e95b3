//! The table of resources.

use super::format;
use crate::clock::Timestamp;
use crate::money::{Amount, Currency};

/// What a resource cost in the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceCharge {
    /// Captured in this period.
    Spent(Amount),
    /// The outcome of a charge is not known yet; the hold stands until it is.
    BeingConfirmed {
        /// Captured in this period besides.
        spent: Amount,
        /// Held until the outcome is known.
        held: Amount,
    },
}

/// One resource.
#[derive(Debug, Clone)]
pub struct ResourceRow {
    /// Its id: the address of its page is made of it.
    pub id: String,
    /// Its name, as the agent gave it; may be empty.
    pub name: String,
    /// The service of the catalog.
    pub service: String,
    /// The plan of that service.
    pub plan: String,
    /// `requested`, `provisioning`, `ready`, `suspended`, `removing`, `removed`, `failed`, `needs_attention`.
    pub state: String,
    /// Why, when the state needs a reason; plain words.
    pub reason: Option<String>,
    /// What it cost.
    pub charge: ResourceCharge,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A page of resources.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// In the order to show.
    pub rows: Vec<ResourceRow>,
    /// How many more there are that this page does not show; the API lists them all.
    pub more: usize,
}

impl ResourceRow {
    pub(super) fn title(&self) -> &str {
        if self.name.is_empty() { &self.service } else { &self.name }
    }

    /// The colour of the chip: plain, good, waiting, bad. The word itself always stands in it.
    pub(super) fn tone(&self) -> &'static str {
        match self.state.as_str() {
            "ready" => "good",
            "requested" | "provisioning" | "removing" | "suspended" => "amber",
            "failed" | "needs_attention" => "red",
            _ => "plain",
        }
    }

    pub(super) fn state_text(&self) -> String {
        self.state.replace('_', " ")
    }

    pub(super) fn spent_text(&self, currency: Currency) -> String {
        let (ResourceCharge::Spent(spent) | ResourceCharge::BeingConfirmed { spent, .. }) = self.charge;
        format::money(spent, currency)
    }

    pub(super) fn being_confirmed(&self, currency: Currency) -> Option<String> {
        match self.charge {
            ResourceCharge::Spent(_) => None,
            ResourceCharge::BeingConfirmed { held, .. } => Some(format::money(held, currency)),
        }
    }

    pub(super) fn created(&self) -> format::Moment {
        format::day(self.created_at)
    }
}
