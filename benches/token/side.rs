//! What the two sides have in common: clients with a secret, and the three grants that are measured at each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::issuer::Issuer;
use crate::load::{Heap, Script, post};

/// RFC 7523 §2.1.
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Of a client.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A server that gives tokens.
pub(crate) trait Side {
    /// Its issuer identifier.
    fn base(&self) -> String;
    /// The head of a request of this client, but for the length of its body.
    fn head(&self, client: &Credentials) -> String;
    /// Clients that get something for themselves.
    fn machines(&self) -> &[Credentials];
    /// The client that has refresh tokens.
    fn host(&self) -> &Credentials;
    /// The client that ID-JAGs are for.
    fn bearer(&self) -> &Credentials;
    /// New ones, each of another consent.
    fn refresh_tokens(&mut self, count: usize) -> Vec<String>;
    /// The processor time that it has used, in milliseconds.
    fn cpu(&self) -> f64;
}

/// The head of a token request by HTTP Basic. Neither id nor secret has a character that would have to be escaped.
pub(crate) fn token_head(path: &str, client: &Credentials) -> String {
    let basic = STANDARD.encode(format!("{}:{}", client.id, client.secret));
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Basic {basic}\r\n\
         content-type: application/x-www-form-urlencoded\r\n"
    )
}

/// A grant that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    ClientCredentials,
    Refresh,
    IdJag,
}

impl Case {
    pub(crate) const ALL: [Self; 3] = [Self::ClientCredentials, Self::Refresh, Self::IdJag];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Refresh => "refresh_token",
            Self::IdJag => "ID-JAG",
        }
    }

    /// What each of so many connections sends; `at_most` is how many assertions are signed, before the time is taken.
    pub(crate) fn scripts(self, side: &mut dyn Side, issuer: &Issuer, lines: usize, at_most: usize) -> Vec<Script> {
        match self {
            Self::ClientCredentials => {
                let scope = crate::SCOPE.replace(' ', "+");
                let form = format!("grant_type=client_credentials&scope={scope}");
                let clients = side.machines().iter().cycle().take(lines);
                clients.map(|client| Script::Again(post(&side.head(client), &form))).collect()
            }
            Self::Refresh => {
                let (tokens, head) = (side.refresh_tokens(lines), side.head(side.host()));
                tokens.into_iter().map(|token| Script::Chain { head: head.clone(), token }).collect()
            }
            Self::IdJag => {
                let head = side.head(side.bearer());
                let jags = issuer.jags(&side.base(), &side.bearer().id, at_most);
                let form = |jag: &String| post(&head, &format!("grant_type={JWT_BEARER}&assertion={jag}"));
                let all = Heap::of(jags.iter().map(form).collect());
                (0..lines).map(|_| Script::Once(all.clone())).collect()
            }
        }
    }
}
