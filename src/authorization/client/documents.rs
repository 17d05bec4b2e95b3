//! Clients whose id is the URL of their metadata (draft-ietf-oauth-client-id-metadata-document), and keys that stand at a
//! client's `jwks_uri`. Fetched through the one outgoing client, kept for a while, never kept when they are wrong.
//!
//! One fetch per address at a time, and at most one in [`PAUSE`]; the memory is bounded. Whoever is not remembered is
//! fetched again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use serde_json::Value;
use url::{Host, Url};

use super::metadata::{AuthMethod, ClientMetadata, MetadataError, read_set};
use super::{Client, ClientOrigin};
use crate::clock::Timestamp;
use crate::fetch::{Fetch, FetchError, Incoming, Outgoing};
use crate::signing::{VerifyingKey, parse_strict};

/// The longest document that is read, in bytes (the draft's §6.6 recommends 5 KiB).
const MAX_DOCUMENT: usize = 5 * 1024;
/// The longest set of keys that is read, in bytes.
const MAX_SET: usize = 64 * 1024;
/// The most addresses that are remembered.
const MAX_REMEMBERED: usize = 1024;
/// Between two fetches of one address, after one that failed.
const PAUSE: TimeDelta = TimeDelta::seconds(5);
/// A document is fresh for at least this long, whatever its host says.
const FRESH_AT_LEAST: TimeDelta = TimeDelta::seconds(60);
/// A document is fresh for at most this long, whatever its host says.
const FRESH_AT_MOST: TimeDelta = TimeDelta::hours(1);
/// For how long a document is fresh when its host says nothing.
const FRESH_BY_DEFAULT: TimeDelta = TimeDelta::minutes(5);

/// Why a document cannot be had. For the log; a caller hears that the client is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The id is not written as the URL of a document is.
    #[error("the URL has a path without `.` and `..`, no fragment and no credentials, and is https")]
    Url,
    /// The address is not one that we call.
    #[error("the address may not be called: {0}")]
    Refused(String),
    /// No answer came.
    #[error("the document cannot be fetched: {0}")]
    Unavailable(String),
    /// The answer is not a small JSON document.
    #[error("the answer is not a JSON document of at most {MAX_DOCUMENT} bytes, with status 200")]
    Answer,
    /// The document names another client.
    #[error("the document is that of another client")]
    Other,
    /// The document has a shared secret, which anybody could read.
    #[error("a document that anybody can read holds no secret")]
    Secret,
    /// The document itself.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// What stands at an address.
#[derive(Debug, Clone)]
enum Found {
    Client(Box<Client>),
    Keys(Vec<VerifyingKey>),
}

#[derive(Debug, Clone)]
struct Kept {
    found: Result<Found, DocumentError>,
    until: Timestamp,
}

/// All documents that were fetched of late. Cheap to clone; all clones share one memory.
#[derive(Debug, Clone)]
pub struct ClientDocuments {
    fetch: Fetch,
    kept: Arc<Mutex<HashMap<String, Kept>>>,
    flights: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

/// Whether a client id is an address at all. Ids that we give out never are.
#[must_use]
pub fn is_document_url(client_id: &str) -> bool {
    client_id.starts_with("https://") || client_id.starts_with("http://")
}

/// The address of a client's document, if it is written in the one way. Plain HTTP is for this machine alone, and only
/// where the configuration lets outgoing calls reach it.
fn document_url(client_id: &str) -> Option<Url> {
    let url: Url = client_id.parse().ok()?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    // Reading a URL resolves dots and writes it anew: what is not the same afterwards had something to hide.
    let plain = url.as_str() == client_id && url.path() != "/" && url.fragment().is_none();
    (client_id.len() <= 512 && scheme && plain && url.username().is_empty() && url.password().is_none()).then_some(url)
}

impl ClientDocuments {
    /// An empty memory that fetches with `fetch`.
    #[must_use]
    pub fn new(fetch: Fetch) -> Self {
        Self { fetch, kept: Arc::default(), flights: Arc::default() }
    }

    /// The client whose metadata stands at its id.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub async fn client(&self, client_id: &str, now: Timestamp) -> Result<Client, DocumentError> {
        let url = document_url(client_id).ok_or(DocumentError::Url)?;
        match self.at(client_id, url, false, now).await? {
            Found::Client(client) => Ok(*client),
            Found::Keys(_) => Err(DocumentError::Other),
        }
    }

    /// The keys at a client's `jwks_uri`.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub async fn keys(&self, url: &Url, now: Timestamp) -> Result<Vec<VerifyingKey>, DocumentError> {
        match self.at(&format!("keys {url}"), url.clone(), true, now).await? {
            Found::Keys(keys) => Ok(keys),
            Found::Client(_) => Err(DocumentError::Other),
        }
    }

    async fn at(&self, name: &str, url: Url, keys: bool, now: Timestamp) -> Result<Found, DocumentError> {
        if let Some(kept) = self.fresh(name, now) {
            return kept;
        }
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(flights.entry(name.to_owned()).or_default())
        };
        let held = flight.lock().await;
        // Somebody may have fetched while we waited.
        if let Some(kept) = self.fresh(name, now) {
            return kept;
        }
        let fetched = self.fetch(name, url, keys, now).await;
        let (found, fresh_for) = match fetched {
            Ok((found, fresh_for)) => (Ok(found), fresh_for),
            Err(error) => (Err(error), PAUSE),
        };
        self.keep(name, Kept { found: found.clone(), until: now.plus(fresh_for) }, now);
        drop(held);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(name);
        found
    }

    fn fresh(&self, name: &str, now: Timestamp) -> Option<Result<Found, DocumentError>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).filter(|kept| now < kept.until).map(|kept| kept.found.clone())
    }

    fn keep(&self, name: &str, found: Kept, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_REMEMBERED {
            kept.retain(|_, old| now < old.until);
        }
        if kept.len() >= MAX_REMEMBERED {
            kept.clear();
        }
        kept.insert(name.to_owned(), found);
    }

    async fn fetch(
        &self,
        name: &str,
        url: Url,
        keys: bool,
        now: Timestamp,
    ) -> Result<(Found, TimeDelta), DocumentError> {
        let answer = self.fetch.send(Outgoing::get(url).header("accept", "application/json")).await;
        let answer = answer.map_err(|error| match error {
            FetchError::Refused(_, why) => DocumentError::Refused(why.to_owned()),
            other => DocumentError::Unavailable(other.to_string()),
        })?;
        let limit = if keys { MAX_SET } else { MAX_DOCUMENT };
        if answer.status != 200 || !is_json(&answer) || answer.body.len() > limit {
            return Err(DocumentError::Answer);
        }
        let document: Value = parse_strict(&answer.body).map_err(|_not_json| DocumentError::Answer)?;
        let found = if keys {
            Found::Keys(read_set(&document)?)
        } else {
            Found::Client(Box::new(judge(&document, name, now)?))
        };
        let stated = answer.header("cache-control").and_then(stated_max_age).unwrap_or(FRESH_BY_DEFAULT);
        Ok((found, stated.clamp(FRESH_AT_LEAST, FRESH_AT_MOST)))
    }
}

fn is_json(answer: &Incoming) -> bool {
    let kind = answer.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || kind == "application/jwk-set+json" || kind.ends_with("+json")
}

/// `max-age` of a `Cache-Control` (RFC 9111 §5.2.2.1); one that may not be stored is fresh for as short as we do.
fn stated_max_age(header: &str) -> Option<TimeDelta> {
    let mut parts = header.split(',').map(str::trim);
    if parts.clone().any(|part| part == "no-store" || part == "no-cache") {
        return Some(TimeDelta::zero());
    }
    let seconds = parts.find_map(|part| part.strip_prefix("max-age="))?;
    TimeDelta::try_seconds(seconds.parse().ok()?)
}

fn judge(document: &Value, client_id: &str, now: Timestamp) -> Result<Client, DocumentError> {
    let members = document.as_object().ok_or(DocumentError::Answer)?;
    if members.get("client_id").and_then(Value::as_str) != Some(client_id) {
        return Err(DocumentError::Other);
    }
    let metadata = ClientMetadata::read(document)?;
    let shared = matches!(metadata.auth_method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost);
    if shared || members.keys().any(|name| name.starts_with("client_secret")) {
        return Err(DocumentError::Secret);
    }
    Ok(Client {
        id: client_id.to_owned(),
        origin: ClientOrigin::Document,
        metadata,
        secret_hash: None,
        account_id: None,
        introspects: false,
        created_at: now,
        last_used_at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_that_is_a_url_is_written_in_the_one_way() {
        assert!(document_url("https://agent.example/client.json").is_some());
        assert!(document_url("http://127.0.0.1:4711/client.json").is_some());
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
            "client",
        ] {
            assert!(document_url(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_document_says_who_it_is_and_holds_no_secret() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let id = "https://a.example/c";
        let good = json!({"client_id": id, "client_name": "A", "redirect_uris": ["https://a.example/cb"]});
        let judged = |member: &str, value: Value| {
            let mut document = good.clone();
            document[member] = value;
            judge(&document, id, now)
        };
        assert_eq!(judged("client_uri", json!("https://a.example")).unwrap().proven_host().unwrap(), "a.example");
        assert_eq!(judged("client_id", json!("https://a.example/c/")).unwrap_err(), DocumentError::Other);
        assert_eq!(judged("client_id", json!("https://A.example/c")).unwrap_err(), DocumentError::Other);
        for member in ["client_secret", "client_secret_expires_at"] {
            assert_eq!(judged(member, json!("x")).unwrap_err(), DocumentError::Secret);
        }
        let shared = judged("token_endpoint_auth_method", json!("client_secret_basic"));
        assert_eq!(shared.unwrap_err(), DocumentError::Secret);
        assert!(matches!(judged("redirect_uris", json!(["x"])).unwrap_err(), DocumentError::Metadata(_)));
        assert_eq!(judged("redirect_uris", json!([])).unwrap().redirect_uri(None), None, "it gets no codes");
    }

    #[test]
    fn a_host_cannot_keep_a_document_fresh_for_ever_nor_have_it_fetched_each_time() {
        let fresh = |header: &str| stated_max_age(header).unwrap_or(FRESH_BY_DEFAULT);
        assert_eq!(fresh("no-store, max-age=9"), TimeDelta::zero());
        assert_eq!(fresh("public, max-age=90"), TimeDelta::seconds(90));
        assert_eq!(fresh("public"), FRESH_BY_DEFAULT);
        assert_eq!(fresh("max-age=99999999999999999999"), FRESH_BY_DEFAULT);
    }
}
