//! What an exchange found about a person: what the next one about them, for the same client, is prepared with, so that it
//! need not look first.
//!
//! Promises nothing, and nothing is given for it: the transaction looks itself, and where it finds anything else, what was
//! prepared is thrown away and looked up. Says nothing of people without an account.

use std::fmt;

use moka::future::Cache;

use super::scope::Scopes;
use crate::attestation::Attestation;
use crate::ids::{AccountId, OrchestratorId};

/// How many bytes of names are remembered; those whom nobody asks about any more go first.
const MOST: u64 = 8 * 1024 * 1024;
/// What one of them takes beside its names.
const EACH: usize = 256;

/// Who, for which client.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Person {
    orchestrator_id: OrchestratorId,
    tenant: String,
    subject: String,
    client: String,
}

impl Person {
    fn of(attestation: &Attestation, client: &str) -> Self {
        Self {
            orchestrator_id: attestation.orchestrator_id.clone(),
            tenant: attestation.tenant.clone(),
            subject: attestation.subject.clone(),
            client: client.to_owned(),
        }
    }

    fn weight(&self) -> u32 {
        let names = [&self.tenant, &self.subject, &self.client].map(String::len);
        u32::try_from(names.into_iter().fold(EACH, usize::saturating_add)).unwrap_or(u32::MAX)
    }
}

/// What was found about somebody with an account that can be used.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) account_id: AccountId,
    pub(super) claimed: bool,
    /// What of everything may be given to the client; everything when absent.
    pub(super) allowed: Option<Scopes>,
}

/// The people with accounts about whom this process exchanged assertions. Cheap to clone; all clones share one memory.
#[derive(Clone)]
pub struct FamiliarPeople(Cache<Person, Found>);

impl fmt::Debug for FamiliarPeople {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FamiliarPeople({})", self.0.entry_count())
    }
}

impl Default for FamiliarPeople {
    fn default() -> Self {
        let memory = Cache::builder().max_capacity(MOST).weigher(|person: &Person, _: &Found| person.weight());
        Self(memory.build())
    }
}

impl FamiliarPeople {
    pub(super) async fn get(&self, attestation: &Attestation, client: &str) -> Option<Found> {
        self.0.get(&Person::of(attestation, client)).await
    }

    pub(super) async fn remember(&self, attestation: &Attestation, client: &str, found: Found) {
        self.0.insert(Person::of(attestation, client), found).await;
    }

    pub(super) async fn forget(&self, attestation: &Attestation, client: &str) {
        self.0.invalidate(&Person::of(attestation, client)).await;
    }
}
