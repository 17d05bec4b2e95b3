//! Who a client at the token endpoint says it is, and whether that is true (RFC 6749 §2.3, RFC 7523 §2.2). On the
//! provisioning wire saying so is optional; what is said must be true.

use secrecy::ExposeSecret as _;

use super::assertion::{AssertionError, UnverifiedAssertion};
use super::documents::{ClientDocuments, DocumentError, is_document_url};
use super::metadata::{AuthMethod, ClientKeys};
use super::{Client, SentClient, store};
use crate::authorization::dpop::SingleUse;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::OrchestratorId;
use crate::orchestrator::{self, WireSettings};
use crate::secret::SecretHash;

/// The longest client id, in bytes.
const MAX_ID: usize = 512;

/// A client, as far as it said who it is and proved it.
#[derive(Debug, Clone)]
pub enum PresentedClient {
    /// It did not say.
    Unnamed,
    /// It gave a name that is no registered client's, and no proof: enough to be refused what is another's.
    Named(String),
    /// It gave the name and the secret of this orchestrator.
    Proven(OrchestratorId),
    /// It is this client.
    Client(Box<Authenticated>),
}

/// A client that is who it says, as far as such a client can prove it.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// The client.
    pub client: Client,
    /// Its statement, still to be used up.
    pub proof: Option<SingleUse>,
}

/// What authenticating reaches.
#[derive(Debug, Clone, Copy)]
pub struct ClientParts<'a> {
    /// The database.
    pub db: &'a Db,
    /// Metadata and keys at addresses of clients; without them, no client is the URL of its metadata.
    pub documents: Option<&'a ClientDocuments>,
    /// Our issuer identifier.
    pub issuer: &'a str,
}

/// Why a client is not who it says.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody here has this name.
    #[error("no client has this id")]
    Unknown,
    /// The secret is not the client's, or something that it must prove was not proven.
    #[error("the client did not prove who it is")]
    Unproven,
    /// Its statement.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// Its metadata or its keys.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl PresentedClient {
    /// Whether this may be the client to whom something was given on the wire: `client` of an orchestrator with
    /// `settings`.
    #[must_use]
    pub fn is(&self, client: &str, settings: &WireSettings) -> bool {
        match self {
            Self::Unnamed => true,
            Self::Named(name) => name == client || settings.client_id.as_ref() == Some(name),
            Self::Proven(id) => *id == settings.orchestrator_id,
            Self::Client(_) => false,
        }
    }
}

/// The client with this id.
///
/// # Errors
/// When there is none, or its metadata cannot be had.
pub async fn resolve_client(parts: ClientParts<'_>, id: &str, now: Timestamp) -> Result<Client, ClientError> {
    if id.is_empty() || id.len() > MAX_ID {
        return Err(ClientError::Unknown);
    }
    if is_document_url(id) {
        let documents = parts.documents.ok_or(ClientError::Unknown)?;
        return Ok(documents.client(id, now).await?);
    }
    let id = id.to_owned();
    parts.db.look_up(move |conn| store::by_id(conn, &id)).await?.ok_or(ClientError::Unknown)
}

/// Verifies what a client says of itself.
///
/// # Errors
/// When what was sent does not prove it, or the database fails.
pub async fn authenticate_client(
    parts: ClientParts<'_>,
    sent: SentClient,
    now: Timestamp,
) -> Result<PresentedClient, ClientError> {
    if let Some(assertion) = &sent.assertion {
        return by_assertion(parts, assertion, sent.id.as_deref(), now).await;
    }
    let Some(id) = sent.id else { return Ok(PresentedClient::Unnamed) };
    let secret = sent.secret.map(|secret| SecretHash::of(secret.expose_secret()));
    parts.db.look_up(move |conn| by_secret(conn, id, secret.as_ref())).await
}

/// An orchestrator on the provisioning wire is looked for only under a name and a secret that are no client's.
fn by_secret(conn: &mut DbConnection, id: String, secret: Option<&SecretHash>) -> Result<PresentedClient, ClientError> {
    let client = store::by_id(conn, &id)?;
    let Some(secret) = secret else {
        return match client {
            None => Ok(PresentedClient::Named(id)),
            Some(client) if client.is_confidential() => Err(ClientError::Unproven),
            Some(client) => Ok(PresentedClient::Client(Box::new(Authenticated { client, proof: None }))),
        };
    };
    if let Some(client) = client.filter(|client| client.secret_hash.as_ref() == Some(secret)) {
        return Ok(PresentedClient::Client(Box::new(Authenticated { client, proof: None })));
    }
    let mut known = orchestrator::wire_by_client_id(conn, &id)?.into_iter();
    let proven = known.find(|settings| settings.client_secret_hash.as_ref() == Some(secret));
    proven.map(|settings| PresentedClient::Proven(settings.orchestrator_id)).ok_or(ClientError::Unproven)
}

async fn by_assertion(
    parts: ClientParts<'_>,
    assertion: &str,
    named: Option<&str>,
    now: Timestamp,
) -> Result<PresentedClient, ClientError> {
    let unverified = UnverifiedAssertion::parse(assertion)?;
    let id = unverified.client()?.to_owned();
    if named.is_some_and(|named| named != id) {
        return Err(AssertionError::Subject.into());
    }
    let client = resolve_client(parts, &id, now).await?;
    if client.metadata.auth_method != AuthMethod::PrivateKeyJwt {
        return Err(ClientError::Unproven);
    }
    let keys = match (&client.metadata.keys, parts.documents) {
        (Some(ClientKeys::Jwks(keys)), _) => keys.clone(),
        (Some(ClientKeys::JwksUri(url)), Some(documents)) => documents.keys(url, now).await?,
        _ => return Err(AssertionError::Key.into()),
    };
    let proof = unverified.verify(&id, &keys, parts.issuer, now)?;
    Ok(PresentedClient::Client(Box::new(Authenticated { client, proof: Some(proof) })))
}

impl PresentedClient {
    /// The OAuth client behind it.
    ///
    /// # Errors
    /// When it is none, or did not prove what it must.
    pub async fn into_client(self, parts: ClientParts<'_>, now: Timestamp) -> Result<Authenticated, ClientError> {
        match self {
            Self::Client(client) => Ok(*client),
            Self::Named(id) => {
                let client = resolve_client(parts, &id, now).await?;
                if client.is_confidential() {
                    return Err(ClientError::Unproven);
                }
                Ok(Authenticated { client, proof: None })
            }
            Self::Unnamed | Self::Proven(_) => Err(ClientError::Unknown),
        }
    }
}
