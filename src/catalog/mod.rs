//! The catalog: what is sold, at which price, until when; written by people as TOML, published as signed revisions.
//!
//! Promises: a price that is published is a good one, with a known worst case; everybody gets the same bytes; a revision
//! never changes. Refuses: a file with any mistake, markup in texts, a second revision with the same number.
//!
//! The split: the published [`Document`] carries everything that is needed to *sell* (an [`Edition`] reads its offers from
//! those very bytes). How a resource is *made* ([`Driver`]) stays in the loaded [`Catalog`] and is never published.

mod binding;
mod changes;
mod client;
mod configuration;
mod document;
mod edition;
mod fields;
mod init;
mod last_seen;
mod llm_context;
mod names;
mod plan_document;
mod plan_wire;
mod price;
mod price_words;
mod publish;
mod published;
mod references;
mod rules;
mod rules_document;
mod selling;
mod service;
mod service_document;
mod source;
mod store;
mod text;
mod verify;
mod wire_services;
mod wire_shape;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use changes::{Change, changes};
pub use client::{ReadKeysError, VerifyUrlError, fetch_settings, read_keys, verify_url};
pub use configuration::{Configuration, Field, FieldKind, WrongConfiguration};
pub use document::{mistakes_in, validate};
pub use edition::{BrokenRevision, Edition, Offer};
pub use init::{InitError, init};
pub use last_seen::{LastSeen, LastSeenError};
pub use llm_context::{InvalidLlmContext, LlmContext};
pub use names::{
    AccessName, Category, CredentialName, FieldName, Group, InvalidName, MeterId, Name, PlanId, ServiceId,
};
pub use price::{BadPrice, Meter, Metered, Payable, Price, Quantity};
pub use publish::{PublishError, Published, publish, reissue_if_due, unchanged};
pub use published::{Document, InvalidVersion, Version};
pub use rules::{AtMost, InvalidAtMost, InvalidPlanRef, Limit, Parent, PlanRef, Rules, Update};
pub use selling::ParentNeeded;
pub use service::{BadService, Plan, Provider, Service, ServiceDraft};
pub use source::{MAX_FILE_BYTES, MAX_FILES, Mistake};
pub use store::{LoadError, by_digest, latest, newer_than, revision};
pub use text::{AgentNote, Description, InvalidText, Text, Title, Unit, WebPage};
pub use verify::{Fetched, TrustedKeys, Verified, VerifyError, verify};
pub use wire_services::{AllowedUpdate, ComponentOption, PaidPrice, Pricing, WireService, llm_context_path};
pub use wire_shape::{AllowedUpdatesShape, CatalogShape, InvalidCursor, NextCursor, PaidShape};
pub use words::{Direction, InvalidWord, KycField, PlanKind, Scope, WireCategory};

/// What is published: the same for every caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// Who sells.
    pub provider: Provider,
    /// What, sorted by id.
    pub services: Vec<Service>,
}

/// A catalog as its files say it, without a mistake: what is published, and how each service is made.
#[derive(Clone, PartialEq, Debug)]
pub struct Catalog {
    content: Content,
    drivers: BTreeMap<ServiceId, Driver>,
}

impl Catalog {
    /// What is published.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What is no mistake, and yet may not be meant: one sentence each, for whoever curates the catalog.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        wire_services::notes(&self.content.services)
    }

    /// How a service is made. `None` for a service that the files no longer have.
    #[must_use]
    pub fn driver(&self, service: &str) -> Option<&Driver> {
        self.drivers.get(service)
    }

    /// How each service is made.
    pub fn drivers(&self) -> impl Iterator<Item = (&ServiceId, &Driver)> {
        self.drivers.iter()
    }
}

/// The binding of a service to the provider's platform.
#[derive(Clone, PartialEq)]
pub struct Driver {
    /// Which driver.
    pub kind: DriverKind,
    /// The driver's own settings, as the file says them. Never published.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// The settings stay out of logs: a driver may keep an address or a key there.
impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The drivers that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverKind {
    /// Credentials from templates, nothing to be made elsewhere.
    Static,
}

/// Not a driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a driver: write `static`")]
pub struct InvalidDriver(String);

impl FromStr for DriverKind {
    type Err = InvalidDriver;

    fn from_str(text: &str) -> Result<Self, InvalidDriver> {
        match text {
            "static" => Ok(Self::Static),
            _ => Err(InvalidDriver(text.chars().take(40).flat_map(char::escape_debug).collect())),
        }
    }
}

#[cfg(test)]
mod tests;
