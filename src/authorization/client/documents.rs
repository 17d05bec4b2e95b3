//! Clients whose id is the URL of their metadata (draft-ietf-oauth-client-id-metadata-document), and keys that stand at a
//! client's `jwks_uri`. Strangers choose these addresses: they are https, and never lead to special addresses, not even to
//! those that the operator's own calls may reach.

use chrono::TimeDelta;
use serde_json::Value;
use url::Url;

use super::metadata::{AuthMethod, ClientMetadata, MetadataError, read_set};
use super::{Client, ClientOrigin};
use crate::clock::Timestamp;
use crate::fetch::{self, Bounds, Documents, Fetch, FetchSettings};
use crate::signing::{VerifyingKey, parse_strict};

/// The longest document that is read, in bytes (the draft's §6.6 recommends 5 KiB).
const MAX_DOCUMENT: usize = 5 * 1024;
/// The longest set of keys that is read, in bytes.
const MAX_SET: usize = 64 * 1024;
/// The longest id that is an address, in bytes.
const MAX_URL: usize = 512;
/// Hosts that are the developer's own machine.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Why a document cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DocumentError {
    /// The id is not written as the URL of a document is.
    #[error("a client that is a URL has https, a path without `.` and `..`, no fragment and no credentials")]
    Url,
    /// There is no document, or it is not right.
    #[error(transparent)]
    Document(#[from] fetch::DocumentError),
}

impl DocumentError {
    /// Whether the same document may be had later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Document(error) if error.is_passing())
    }
}

/// What is wrong with a document.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("it is not a JSON object in which every name stands once")]
    Form,
    #[error("it is that of another client")]
    Other,
    #[error("it has a shared secret, which anybody could read")]
    Secret,
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// All documents that were fetched of late. Cheap to clone; all clones share one memory.
#[derive(Debug, Clone)]
pub struct ClientDocuments {
    clients: Documents<ClientMetadata>,
    keys: Documents<Vec<VerifyingKey>>,
    loopback: bool,
}

/// Whether a client id is an address at all. Ids that we give out never are.
#[must_use]
pub fn is_document_url(client_id: &str) -> bool {
    client_id.starts_with("https://") || client_id.starts_with("http://")
}

/// The address of a client's document, if it is written in the one way. Plain HTTP is for the developer's own machine.
fn document_url(client_id: &str, loopback: bool) -> Option<Url> {
    let url: Url = client_id.parse().ok()?;
    let own = loopback && url.scheme() == "http" && url.host_str().is_some_and(|host| LOOPBACK.contains(&host));
    // Reading a URL resolves dots and writes it anew: what is not the same afterwards had something to hide.
    let plain = url.as_str() == client_id && url.path() != "/" && url.fragment().is_none();
    let open = url.username().is_empty() && url.password().is_none();
    (client_id.len() <= MAX_URL && (own || url.scheme() == "https") && plain && open).then_some(url)
}

/// What is kept of such documents, and how often strangers' hosts are asked.
fn bounds(max_body: usize) -> Bounds {
    Bounds {
        max_body,
        kept: (TimeDelta::minutes(1), TimeDelta::hours(1)),
        pause: TimeDelta::seconds(5),
        max_kept: 1024,
        ..Bounds::default()
    }
}

impl ClientDocuments {
    /// An empty memory with an outgoing client of its own: the operator's special hosts are not for strangers to name.
    /// `loopback` lets documents be on the developer's own machine, by plain HTTP.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(settings: &FetchSettings, loopback: bool) -> Result<Self, reqwest::Error> {
        let special_hosts = if loopback { LOOPBACK.map(str::to_owned).to_vec() } else { Vec::new() };
        let fetch = Fetch::new(&FetchSettings { special_hosts, ..settings.clone() })?;
        let clients = Documents::new(fetch.clone(), bounds(MAX_DOCUMENT), |url, bytes| {
            judge(bytes, url.as_str()).map_err(|wrong| wrong.to_string())
        });
        let keys =
            Documents::new(fetch, bounds(MAX_SET), |_url, bytes| read_keys(bytes).map_err(|wrong| wrong.to_string()));
        Ok(Self { clients, keys, loopback })
    }

    /// The client whose metadata stands at its id.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub async fn client(&self, client_id: &str, now: Timestamp) -> Result<Client, DocumentError> {
        let url = document_url(client_id, self.loopback).ok_or(DocumentError::Url)?;
        let metadata = self.clients.get(&url, now).await?;
        Ok(Client {
            id: client_id.to_owned(),
            origin: ClientOrigin::Document,
            metadata: (*metadata).clone(),
            secret_hash: None,
            account_id: None,
            introspects: false,
            created_at: now,
            last_used_at: now,
        })
    }

    /// The keys at a client's `jwks_uri`.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub async fn keys(&self, url: &Url, now: Timestamp) -> Result<Vec<VerifyingKey>, DocumentError> {
        Ok(self.keys.get(url, now).await?.to_vec())
    }
}

fn read_keys(bytes: &[u8]) -> Result<Vec<VerifyingKey>, Wrong> {
    let document: Value = parse_strict(bytes).map_err(|_not_json| Wrong::Form)?;
    Ok(read_set(&document)?)
}

/// `client_id` is where the document stands.
fn judge(bytes: &[u8], client_id: &str) -> Result<ClientMetadata, Wrong> {
    let document: Value = parse_strict(bytes).map_err(|_not_json| Wrong::Form)?;
    let members = document.as_object().ok_or(Wrong::Form)?;
    if members.get("client_id").and_then(Value::as_str) != Some(client_id) {
        return Err(Wrong::Other);
    }
    let metadata = ClientMetadata::read(&document)?;
    let shared = matches!(metadata.auth_method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost);
    if shared || members.keys().any(|name| name.starts_with("client_secret")) {
        return Err(Wrong::Secret);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_that_is_a_url_is_https_and_written_in_the_one_way() {
        assert!(document_url("https://agent.example/client.json", false).is_some());
        for bad in [
            "https://agent.example",
            "https://agent.example/",
            "https://agent.example/a/../b",
            "https://agent.example/./b",
            "https://agent.example/a#b",
            "https://user@agent.example/a",
            "https://AGENT.example/a",
            "https://agent.example:443/a",
            "https://agent.example/a b",
            "http://agent.example/a",
            "http://localhost.evil.example/a",
            "ftp://agent.example/a",
            "ftp://localhost/a",
            "client",
        ] {
            assert!(document_url(bad, false).is_none() && document_url(bad, true).is_none(), "{bad}");
        }
        // On the developer's own machine, and nowhere else.
        for own in ["http://127.0.0.1:8080/c", "http://localhost/c", "http://[::1]:1/c"] {
            assert!(document_url(own, true).is_some() && document_url(own, false).is_none(), "{own}");
        }
    }

    #[test]
    fn a_document_says_who_it_is_and_holds_no_secret() {
        let id = "https://a.example/c";
        let good = json!({"client_id": id, "client_name": "A", "redirect_uris": ["https://a.example/cb"]});
        let judged = |member: &str, value: Value| {
            let mut document = good.clone();
            document[member] = value;
            judge(document.to_string().as_bytes(), id)
        };
        assert!(judged("client_uri", json!("https://a.example")).is_ok());
        assert_eq!(judged("client_id", json!("https://a.example/c/")).unwrap_err(), Wrong::Other);
        assert_eq!(judged("client_id", json!("https://A.example/c")).unwrap_err(), Wrong::Other);
        for member in ["client_secret", "client_secret_expires_at"] {
            assert_eq!(judged(member, json!("x")).unwrap_err(), Wrong::Secret);
        }
        let shared = judged("token_endpoint_auth_method", json!("client_secret_basic"));
        assert_eq!(shared.unwrap_err(), Wrong::Secret);
        assert!(matches!(judged("redirect_uris", json!(["x"])).unwrap_err(), Wrong::Metadata(_)));
        assert!(judged("redirect_uris", json!([])).is_ok(), "it gets no codes");
        assert_eq!(judge(br#"{"client_id":"https://a.example/c","client_id":"x"}"#, id).unwrap_err(), Wrong::Form);
        assert_eq!(judge(b"[]", id).unwrap_err(), Wrong::Form);
    }
}
