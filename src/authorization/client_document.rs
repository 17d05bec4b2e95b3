//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a public client that is the address of
//! its own description. Strangers choose these addresses: they are https, never lead to special addresses, and what was
//! found there is kept for a bounded time in bounded room.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use serde_json::{Map, Value};
use url::Url;

use crate::clock::Timestamp;
use crate::fetch::{Fetch, FetchError, FetchSettings, Incoming, Outgoing};
use crate::signing::parse_strict;

/// The longest document that is read, in bytes.
const MAX_DOCUMENT: usize = 64 * 1024;
/// The most documents that are kept.
const MAX_KEPT: usize = 1024;
/// The longest that one is kept, whatever its server says.
const LONGEST: TimeDelta = TimeDelta::hours(1);
/// How long one is kept whose server says nothing.
const USUAL: TimeDelta = TimeDelta::minutes(5);

/// Why a client is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum ClientDocumentError {
    /// Its address cannot be one.
    #[error("a client that is a URL has https, a path without `.` and `..`, no fragment and no credentials")]
    Url,
    /// Its document may not be fetched, or is too long.
    #[error("the client's document cannot be read")]
    Refused(#[source] FetchError),
    /// Its document cannot be fetched now.
    #[error("the client's document cannot be fetched")]
    Unavailable(#[source] FetchError),
    /// There is no JSON document at the address itself; redirects are not followed.
    #[error("the client's document is not a JSON document of at most 64 KiB at its own address")]
    NoDocument,
    /// The document names another client, or is not that of a public one.
    #[error("the client's document names another client, or is not that of a public one")]
    Other,
}

/// The documents of public clients.
#[derive(Debug)]
pub struct ClientDocuments {
    fetch: Fetch,
    loopback: bool,
    /// Until when each client may be believed without looking again.
    good_until: Mutex<HashMap<String, Timestamp>>,
}

/// Hosts that are the developer's own machine.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

impl ClientDocuments {
    /// Looks with an outgoing client of its own: the operator's special hosts are not for strangers to name. `loopback`
    /// lets documents be on the developer's own machine, by plain HTTP.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(settings: &FetchSettings, loopback: bool) -> Result<Self, reqwest::Error> {
        let special_hosts = if loopback { LOOPBACK.map(str::to_owned).to_vec() } else { Vec::new() };
        let fetch = Fetch::new(&FetchSettings { special_hosts, max_body: MAX_DOCUMENT, ..settings.clone() })?;
        Ok(Self { fetch, loopback, good_until: Mutex::new(HashMap::new()) })
    }

    /// Believes that a public client is what it says, or says why not.
    ///
    /// # Errors
    /// See [`ClientDocumentError`]. What failed is looked at again the next time.
    pub async fn verify(&self, client_id: &str, now: Timestamp) -> Result<(), ClientDocumentError> {
        let url = address(client_id, self.loopback).ok_or(ClientDocumentError::Url)?;
        if self.known(client_id, now) {
            return Ok(());
        }
        let answer = self.fetch.send(Outgoing::get(url).header("accept", "application/json")).await;
        let answer = answer.map_err(|error| match error {
            FetchError::Refused(..) | FetchError::TooLarge(..) => ClientDocumentError::Refused(error),
            error => ClientDocumentError::Unavailable(error),
        })?;
        judge(&answer, client_id)?;
        self.keep(client_id, lifetime(answer.header("cache-control")), now);
        Ok(())
    }

    fn known(&self, client_id: &str, now: Timestamp) -> bool {
        let kept = self.good_until.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(client_id).is_some_and(|until| now < *until)
    }

    fn keep(&self, client_id: &str, lifetime: TimeDelta, now: Timestamp) {
        if lifetime <= TimeDelta::zero() {
            return;
        }
        let mut kept = self.good_until.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, until| now < *until);
        }
        if kept.len() >= MAX_KEPT {
            let next = kept.iter().min_by_key(|(_, until)| **until).map(|(client, _)| client.clone());
            next.and_then(|client| kept.remove(&client));
        }
        kept.insert(client_id.to_owned(), now.plus(lifetime));
    }
}

/// How long an answer may be kept, by its `Cache-Control` (RFC 9111 §5.2), within our own bounds.
fn lifetime(cache_control: Option<&str>) -> TimeDelta {
    let words: Vec<String> =
        cache_control.unwrap_or("").split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
    if words.iter().any(|word| word == "no-store" || word == "no-cache" || word == "private") {
        return TimeDelta::zero();
    }
    let age = words.iter().find_map(|word| word.strip_prefix("max-age=")?.trim_matches('"').parse::<u32>().ok());
    age.map_or(USUAL, |seconds| TimeDelta::seconds(i64::from(seconds)).min(LONGEST))
}

fn address(client_id: &str, loopback: bool) -> Option<Url> {
    let url: Url = client_id.parse().ok()?;
    let https = url.scheme() == "https" || (loopback && url.host_str().is_some_and(|host| LOOPBACK.contains(&host)));
    // Reading a URL resolves dots and writes it anew: what is not the same afterwards had something to hide.
    let plain = url.as_str() == client_id && url.path() != "/" && url.fragment().is_none();
    (https && plain && url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn judge(answer: &Incoming, client_id: &str) -> Result<(), ClientDocumentError> {
    let kind = answer.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if answer.status != 200 || !is_json {
        return Err(ClientDocumentError::NoDocument);
    }
    let document: Map<String, Value> =
        parse_strict(&answer.body).map_err(|_not_json| ClientDocumentError::NoDocument)?;
    if is_public(&document, client_id) { Ok(()) } else { Err(ClientDocumentError::Other) }
}

fn is_public(document: &Map<String, Value>, client_id: &str) -> bool {
    let same = document.get("client_id").and_then(Value::as_str) == Some(client_id);
    let secret = document.keys().any(|name| name.starts_with("client_secret"));
    let public = match document.get("token_endpoint_auth_method") {
        None => true,
        Some(method) => method == "none" || method == "private_key_jwt",
    };
    same && !secret && public
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_that_is_a_url_is_https_and_written_in_the_one_way() {
        assert!(address("https://agent.example/client.json", false).is_some());
        for bad in [
            "http://agent.example/client.json",
            "http://127.0.0.1/client.json",
            "ftp://agent.example/client.json",
            "https://agent.example",
            "https://agent.example/",
            "https://agent.example/a/../b",
            "https://agent.example/./b",
            "https://agent.example/a#b",
            "https://user@agent.example/a",
            "https://AGENT.example/a",
            "https://agent.example:443/a",
            "https://agent.example/a b",
            "client",
        ] {
            assert!(address(bad, false).is_none(), "{bad}");
        }
        // On the developer's own machine, and nowhere else.
        for own in ["http://127.0.0.1:8080/c", "http://localhost/c", "http://[::1]:1/c"] {
            assert!(address(own, true).is_some() && address(own, false).is_none(), "{own}");
        }
        assert!(address("http://agent.example/c", true).is_none());
    }

    #[test]
    fn metadata_says_the_same_and_holds_no_secret() {
        let judge = |document: Value| is_public(document.as_object().unwrap(), "https://a.example/c");
        assert!(judge(json!({"client_id": "https://a.example/c", "client_name": "A"})));
        assert!(judge(json!({"client_id": "https://a.example/c", "token_endpoint_auth_method": "none"})));
        assert!(!judge(json!({"client_id": "https://a.example/c/"})) && !judge(json!({})));
        assert!(!judge(json!({"client_id": "https://a.example/c", "client_secret": "x"})));
        let shared = json!({"client_id": "https://a.example/c", "token_endpoint_auth_method": "client_secret_basic"});
        assert!(!judge(shared));
    }

    #[test]
    fn a_document_is_kept_as_long_as_its_server_says_and_never_longer_than_an_hour() {
        for (said, seconds) in [
            (None, 300),
            (Some("max-age=60"), 60),
            (Some("public, Max-Age=\"90\""), 90),
            (Some("max-age=999999"), 3600),
            (Some("max-age=0"), 0),
            (Some("no-store, max-age=60"), 0),
            (Some("no-cache"), 0),
            (Some("max-age=never"), 300),
        ] {
            assert_eq!(lifetime(said), TimeDelta::seconds(seconds), "{said:?}");
        }
    }

    #[test]
    fn the_room_is_bounded_and_what_ends_first_goes_first() {
        let documents = ClientDocuments::new(&FetchSettings::default(), false).unwrap();
        let now = Timestamp::from_seconds(1_790_000_000);
        let name = |number: usize| format!("https://a.example/{number}");
        documents.keep(&name(0), TimeDelta::seconds(1), now);
        for number in 1..=MAX_KEPT {
            documents.keep(&name(number), TimeDelta::hours(1), now);
        }
        assert_eq!(documents.good_until.lock().unwrap().len(), MAX_KEPT);
        assert!(!documents.known(&name(0), now) && documents.known(&name(MAX_KEPT), now));
        assert!(!documents.known(&name(MAX_KEPT), now.plus(TimeDelta::hours(1))), "and no longer than said");
        documents.keep("https://a.example/x", TimeDelta::zero(), now);
        assert!(!documents.known("https://a.example/x", now));
    }
}
