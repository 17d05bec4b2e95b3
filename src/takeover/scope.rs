//! Whose accounts are meant.

use crate::clock::Timestamp;
use crate::ids::OrchestratorId;
use crate::orchestrator::{Distrust, WhoseDistrust};

/// By what an account is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// By anything of the orchestrator.
    All,
    /// By what this key signed: a `kid`, or the id of a wire secret.
    Key(String),
    /// By one person there.
    Subject {
        /// The tenant; `None` for every tenant.
        tenant: Option<String>,
        /// The person.
        subject: String,
    },
    /// By the grants of one client.
    Client(String),
}

/// The accounts that somebody reaches through an orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Through whom.
    pub orchestrator_id: OrchestratorId,
    /// By what.
    pub whom: Whom,
    /// For a key: only what it signed since then. For everybody: from when on something counts as new.
    pub since: Option<Timestamp>,
}

impl From<&Distrust> for Scope {
    fn from(distrust: &Distrust) -> Self {
        let whom = match &distrust.whose {
            WhoseDistrust::Issuer => Whom::All,
            WhoseDistrust::Key(key) => Whom::Key(key.clone()),
            WhoseDistrust::Subject { tenant, subject } => {
                Whom::Subject { tenant: tenant.clone(), subject: subject.clone() }
            }
        };
        Self { orchestrator_id: distrust.orchestrator_id.clone(), whom, since: Some(distrust.since) }
    }
}
