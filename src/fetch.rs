//! The only outgoing HTTP client: https only, no redirects, no proxies, limits on time and size, and no special
//! addresses (loopback, private, link-local, …) except for hosts that the configuration names.
//!
//! Addresses are judged inside the resolver that the connection uses, so that a name cannot answer one address to the
//! check and another to the connection.

mod documents;

pub use documents::{Bounds, DocumentError, Documents, Read};

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use url::{Host, Url};

/// The limits of the outgoing client.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// Hosts (names or literal addresses, without port) that may be special addresses and may be reached by plain HTTP.
    pub special_hosts: Vec<String>,
    /// From the first byte sent to the last byte read.
    pub timeout: Duration,
    /// The longest body that is read, in bytes.
    pub max_body: usize,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self { special_hosts: Vec::new(), timeout: Duration::from_secs(5), max_body: 256 * 1024 }
    }
}

/// Why a fetch gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL or the address it leads to is not allowed. Nothing was sent.
    #[error("refused to call `{0}`: {1}")]
    Refused(String, &'static str),
    /// No connection. Nothing was sent.
    #[error("could not connect to `{0}`")]
    NotSent(String, #[source] reqwest::Error),
    /// The request may have arrived; its answer did not, or not in time.
    #[error("the answer of `{0}` was lost")]
    AnswerLost(String, #[source] reqwest::Error),
    /// The answer is longer than the limit.
    #[error("the answer of `{0}` is longer than {1} bytes")]
    TooLarge(String, usize),
    /// The answer is not the JSON that was expected.
    #[error("the answer of `{0}` is not the expected JSON")]
    NotJson(String, #[source] serde_json::Error),
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

impl Outgoing {
    /// GET.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: None }
    }

    /// POST of a JSON body.
    #[must_use]
    pub fn post_json(url: Url, body: &serde_json::Value) -> Self {
        Self::post(url, "application/json", body.to_string().into_bytes())
    }

    /// POST of any body.
    #[must_use]
    pub fn post(url: Url, content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self { method: Method::POST, url, headers, body: Some(body) }
    }

    /// DELETE.
    #[must_use]
    pub fn delete(url: Url) -> Self {
        Self { method: Method::DELETE, url, headers: Vec::new(), body: None }
    }

    /// HEAD.
    #[must_use]
    pub fn head(url: Url) -> Self {
        Self { method: Method::HEAD, url, headers: Vec::new(), body: None }
    }

    /// With a header. The value must be visible ASCII.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Where it came from, without query.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    headers: reqwest::header::HeaderMap,
    /// The body, within the limit.
    pub body: Vec<u8>,
}

impl Incoming {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All values of a header.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        serde_json::from_slice(&self.body).map_err(|error| FetchError::NotJson(self.url.clone(), error))
    }
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetch {
    client: Client,
    special_hosts: Arc<HashSet<String>>,
    max_body: usize,
}

/// Where the addresses of a name come from: the edge of the process, so that tests can play a resolver that lies.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of a name.
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl Fetch {
    /// Builds the client.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(settings: &FetchSettings) -> Result<Self, reqwest::Error> {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    /// Builds the client over a resolver.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    #[expect(clippy::disallowed_methods, reason = "the one place that builds an outgoing client")]
    pub fn with_lookup(settings: &FetchSettings, lookup: Arc<dyn Lookup>) -> Result<Self, reqwest::Error> {
        let special_hosts = Arc::new(settings.special_hosts.iter().cloned().collect::<HashSet<_>>());
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(3)))
            .dns_resolver(Arc::new(JudgingResolver { special_hosts: special_hosts.clone(), lookup }))
            .user_agent(concat!("portreeve/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, special_hosts, max_body: settings.max_body })
    }

    /// Whether the configuration lets a host be a special address.
    pub(crate) fn may_be_special(&self, host: &str) -> bool {
        self.special_hosts.contains(host)
    }

    /// Sends one request and reads the whole answer. Statuses are not judged; redirects are not followed.
    ///
    /// # Errors
    /// See [`FetchError`]: `Refused` and `NotSent` had no effect; after `AnswerLost` and `TooLarge` nobody knows.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Incoming, FetchError> {
        self.send_within(outgoing, self.max_body).await
    }

    /// As [`Self::send`], with a limit of its own on the answer's body, in bytes.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_within(&self, outgoing: Outgoing, max_body: usize) -> Result<Incoming, FetchError> {
        let shown = shown(&outgoing.url);
        self.judge(&outgoing.url, &shown)?;
        let mut request = self.client.request(outgoing.method, outgoing.url);
        for (name, value) in outgoing.headers {
            request = request.header(name, value);
        }
        if let Some(body) = outgoing.body {
            request = request.body(body);
        }
        let answer = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                FetchError::NotSent(shown.clone(), error)
            } else {
                FetchError::AnswerLost(shown.clone(), error)
            }
        })?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| FetchError::AnswerLost(shown.clone(), error))?;
            if body.len() + chunk.len() > max_body {
                return Err(FetchError::TooLarge(shown, max_body));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Incoming { url: shown, status, headers, body })
    }

    /// Scheme, userinfo and literal addresses; names are judged where they are resolved.
    fn judge(&self, url: &Url, shown: &str) -> Result<(), FetchError> {
        let refused = |why| Err(FetchError::Refused(shown.to_owned(), why));
        let special = url.host_str().is_some_and(|host| self.special_hosts.contains(host));
        if !url.username().is_empty() || url.password().is_some() {
            return refused("credentials do not belong in a URL");
        }
        match url.scheme() {
            "https" => {}
            "http" if special => {}
            _ => return refused("only https is allowed, but for the hosts in `outgoing.special_hosts`"),
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return refused("it has no host"),
        };
        if !special && address.is_some_and(is_special) {
            return refused(
                "the address is special (loopback, private, link-local or the like), and not named in `outgoing.special_hosts`",
            );
        }
        Ok(())
    }
}

/// A URL as it may stand in a log: without query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

struct JudgingResolver {
    special_hosts: Arc<HashSet<String>>,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let special = self.special_hosts.contains(name.as_str());
        let found = self.lookup.lookup(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await?;
            // One bad address rejects the whole answer.
            if !special && found.iter().copied().any(is_special) {
                return Err("the name leads to a special address".into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Whether an address is for special use (RFC 6890) and so never a stranger's public service.
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => is_special_v6(address),
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, ..] = segments;
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_special_v4(v4);
    }
    // Only 2000::/3 is global unicast; of it, 6to4, Teredo and documentation lead elsewhere.
    (first & 0xe000) != 0x2000
        || first == 0x2002
        || (first == 0x2001 && second < 0x0200)
        || (first == 0x2001 && second == 0x0db8)
        || (first == 0x3fff && second < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> bool {
        let fetch = Fetch::new(&FetchSettings::default()).unwrap();
        let url: Url = url.parse().unwrap();
        fetch.judge(&url, "").is_err()
    }

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a00:1]/",
            "https://10.1.2.3/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[fe80::1]/",
            "https://[fc00::1]/",
            "https://[2002:7f00:1::]/",
            "https://[64:ff9b::7f00:1]/",
            "https://255.255.255.255/",
            "http://93.184.216.34/",
            "ftp://93.184.216.34/",
            "https://user@93.184.216.34/",
        ] {
            assert!(refused(url), "{url}");
        }
        assert!(!refused("https://93.184.216.34/"));
        assert!(!refused("https://[2606:2800:220:1::1]/"));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_special_address_is_refused() {
        let fetch = Fetch::new(&FetchSettings::default()).unwrap();
        let refused = fetch.send(Outgoing::get("https://localhost:1/".parse().unwrap())).await.unwrap_err();
        assert!(matches!(refused, FetchError::NotSent(..)));
        assert!(format!("{refused:?}").contains("special address"));
    }
}
