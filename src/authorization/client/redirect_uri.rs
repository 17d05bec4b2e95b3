//! Where a client lets answers be sent: compared byte for byte (RFC 9700 §2.1), but for the port of a loopback address,
//! which a program on the human's machine learns only when it runs (RFC 8252 §7.3).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The longest one, in bytes.
const MAX_LENGTH: usize = 1024;

/// What an answer carries.
const OURS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

/// An address where answers may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUri {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `https://…`.
    Web,
    /// `http://127.0.0.1…`, `http://[::1]…`, `http://localhost…`.
    Loopback,
    /// `com.example.app:/…` (RFC 8252 §7.1).
    Private,
}

/// Not an address where answers may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a redirect URI is https, or http on a loopback address, or a private scheme with a dot; without fragment, \
     credentials, `*` and parameters of an answer, written as a URL parser writes it"
)]
pub struct InvalidRedirectUri;

impl FromStr for RedirectUri {
    type Err = InvalidRedirectUri;

    fn from_str(text: &str) -> Result<Self, InvalidRedirectUri> {
        let plain = text.len() <= MAX_LENGTH && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        let odd = ['#', '*', '\\', '"', '<', '>'];
        let url: Url = text.parse().map_err(|_no_url| InvalidRedirectUri)?;
        let whole = plain && !text.contains(odd) && url.username().is_empty() && url.password().is_none();
        let kind = match (url.scheme(), is_loopback(&url)) {
            ("https", _) => Kind::Web,
            ("http", true) => Kind::Loopback,
            (scheme, _) if scheme.contains('.') => Kind::Private,
            _ => return Err(InvalidRedirectUri),
        };
        // What a parser writes differently had something to hide. An empty path may be left out.
        let same = url.as_str() == text || url.as_str() == format!("{text}/");
        // Beside a parameter of ours of the same name, nobody knows which one its program reads (RFC 9207 §2.4).
        let answers = url.query_pairs().any(|(name, _)| OURS.contains(&name.as_ref()));
        if whole && same && !answers { Ok(Self { text: text.to_owned(), kind }) } else { Err(InvalidRedirectUri) }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A loopback address taken apart: everything before the port, everything after it. A port that is none spoils it.
fn around_port(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(end)?;
    let host = ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|host| authority.starts_with(host))?;
    let port = authority.strip_prefix(host)?;
    let good = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|digit| digit.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(good)).then_some((host, after))
}

impl RedirectUri {
    /// As it was registered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it leads into the web, not to a program on the human's own machine.
    #[must_use]
    pub fn is_web(&self) -> bool {
        self.kind == Kind::Web
    }

    /// Whether a request that names `asked` names this one.
    #[must_use]
    pub fn admits(&self, asked: &str) -> bool {
        if self.text == asked {
            return true;
        }
        let loopback = self.kind == Kind::Loopback && asked.len() <= MAX_LENGTH && asked.parse::<Self>().is_ok();
        loopback && around_port(asked).is_some_and(|asked| Some(asked) == around_port(&self.text))
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = InvalidRedirectUri;

    fn try_from(text: String) -> Result<Self, InvalidRedirectUri> {
        text.parse()
    }
}

impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> Self {
        uri.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_nobody_else_can_take_are_redirect_uris() {
        for good in [
            "https://a.example/cb",
            "https://a.example",
            "https://a.example:8443/cb?x=1",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:4711/cb",
            "http://[::1]:4711/cb",
            "http://localhost:4711/cb",
            "com.example.app:/cb",
        ] {
            assert!(good.parse::<RedirectUri>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/cb",
            "http://a.example/cb",
            "http://127.0.0.2/cb",
            "https://a.example/cb#x",
            "https://a.example/cb#",
            "https://*.a.example/cb",
            "https://u@a.example/cb",
            "https://A.example/cb",
            "https://a.example/../cb",
            "https://a.example/c b",
            "https://a.example\\@b.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "app:/cb",
            "urn:ietf:wg:oauth:2.0:oob",
        ] {
            assert!(bad.parse::<RedirectUri>().is_err(), "{bad}");
        }
    }
}
