//! Who a client at the token endpoint says it is. Saying so is optional; what is said must be true (RFC 6749 §2.3).

use secrecy::{ExposeSecret as _, SecretString};

use crate::db::{DbConnection, DbError};
use crate::ids::OrchestratorId;
use crate::orchestrator::{self, WireSettings};

/// A client, as far as it said who it is and proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresentedClient {
    /// It did not say.
    Unnamed,
    /// It gave a name and no secret: enough to be refused what is another's.
    Named(String),
    /// It gave the name and the secret of this orchestrator.
    Proven(OrchestratorId),
}

/// What a client sent of itself.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: Option<SecretString>,
}

/// Why a client is not who it says.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No orchestrator has this name and this secret.
    #[error("no client has this id and this secret")]
    Unknown,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl PresentedClient {
    /// Whether this may be the client to whom something was given: `client` of an orchestrator with `settings`.
    #[must_use]
    pub fn is(&self, client: &str, settings: &WireSettings) -> bool {
        match self {
            Self::Unnamed => true,
            Self::Named(name) => name == client || settings.client_id.as_ref() == Some(name),
            Self::Proven(id) => *id == settings.orchestrator_id,
        }
    }
}

/// Verifies what a client says of itself.
///
/// # Errors
/// When a secret was sent that is not this client's, or the database fails.
pub fn authenticate_client(conn: &mut DbConnection, sent: &ClientCredentials) -> Result<PresentedClient, ClientError> {
    let Some(secret) = &sent.secret else { return Ok(PresentedClient::Named(sent.id.clone())) };
    let known = orchestrator::wire_by_client_id(conn, &sent.id)?;
    let mut fits = known.into_iter().filter(|settings| {
        settings.client_secret_hash.as_ref().is_some_and(|hash| hash.matches(secret.expose_secret()))
    });
    fits.next().map(|settings| PresentedClient::Proven(settings.orchestrator_id)).ok_or(ClientError::Unknown)
}
