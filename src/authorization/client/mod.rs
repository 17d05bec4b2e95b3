//! OAuth clients: what is known of the programs that ask for tokens. Three kinds, one model: the operator registered it,
//! it registered itself (RFC 7591), or its id is the URL of its metadata (draft-ietf-oauth-client-id-metadata-document).

mod assertion;
mod authenticate;
mod documents;
mod metadata;
mod redirect_uri;
mod register;
mod store;

use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;

use super::scope::Scopes;
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::secret::SecretHash;

pub use assertion::{AssertionError, CLIENT_ALGORITHMS};
pub use authenticate::{Authenticated, ClientError, ClientParts, PresentedClient, authenticate_client, resolve_client};
pub use documents::{ClientDocuments, DocumentError, is_document_url};
pub use metadata::{AuthMethod, ClientKeys, ClientMetadata, GrantType, MetadataError};
pub use redirect_uri::{InvalidRedirectUri, RedirectUri};
pub use register::{
    MAX_DYNAMIC, NewClient, RegisterError, Registered, UNUSED_LIFETIME, forget_unused, list, register, registered,
    remove, rotate,
};
pub(super) use store::{touch, used};

/// Where what is known of a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOrigin {
    /// The operator wrote it.
    Operator,
    /// The client wrote it itself. Nobody checked it.
    Registration,
    /// It stands at the URL that is the client's id: whoever controls that URL wrote it.
    Document,
}

/// A stored word that is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the origin of a client is one of: operator, registration")]
pub struct UnknownOrigin;

impl ClientOrigin {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Registration => "registration",
            Self::Document => "document",
        }
    }
}

impl FromStr for ClientOrigin {
    type Err = UnknownOrigin;

    fn from_str(text: &str) -> Result<Self, UnknownOrigin> {
        [Self::Operator, Self::Registration].into_iter().find(|known| known.as_str() == text).ok_or(UnknownOrigin)
    }
}

/// How far a human's decision about a client can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Its name is registered by the operator, or its domain is proven.
    Known,
    /// It registered itself: nobody checked anything.
    Unverified,
    /// The answer goes to the human's own machine, where any program can take its name.
    Local,
}

/// A client.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name on the wire: `client_…`, or the URL of its metadata.
    pub id: String,
    /// Who says all this.
    pub origin: ClientOrigin,
    /// What it says of itself.
    pub metadata: ClientMetadata,
    /// Of its secret, when it has one.
    pub secret_hash: Option<SecretHash>,
    /// For which account it acts without a human (RFC 6749 §4.4).
    pub account_id: Option<AccountId>,
    /// Whether it may ask about tokens of others: an API of the provider's own.
    pub introspects: bool,
    /// When it was registered, or its document fetched.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Timestamp,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Client {
    /// The redirect URI that a request names, as it was sent, if it is one of the client's: byte for byte, but for the
    /// port of a loopback address (RFC 8252 §7.3). Without a name, its only one.
    #[must_use]
    pub fn redirect_uri(&self, asked: Option<&str>) -> Option<String> {
        match (asked, self.metadata.redirect_uris.as_slice()) {
            (Some(asked), known) => known.iter().any(|uri| uri.admits(asked)).then(|| asked.to_owned()),
            (None, [only]) => Some(only.as_str().to_owned()),
            (None, _) => None,
        }
    }

    /// Whether it proves who it is at the token endpoint.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.metadata.auth_method != AuthMethod::None
    }

    /// Whether it may use this grant.
    #[must_use]
    pub fn may(&self, grant: GrantType) -> bool {
        self.metadata.grant_types.contains(&grant)
    }

    /// What it may be given of what it asks for; without a wish, everything that it may have.
    #[must_use]
    pub fn scopes(&self, asked: Option<&str>) -> Scopes {
        let wanted = asked.map_or_else(Scopes::all, Scopes::known_of);
        self.metadata.scope.as_deref().map_or(wanted.clone(), |own| Scopes::known_of(own).intersection(&wanted))
    }

    /// The domain that is proven to be the client's: that of its metadata URL.
    #[must_use]
    pub fn proven_host(&self) -> Option<String> {
        let url: url::Url = (self.origin == ClientOrigin::Document).then(|| self.id.parse().ok())??;
        url.host_str().map(str::to_owned)
    }

    /// What people are told that it is called: its own word, or else its domain, or else its id.
    #[must_use]
    pub fn called(&self) -> String {
        self.metadata.name.clone().or_else(|| self.proven_host()).unwrap_or_else(|| self.id.clone())
    }

    /// Whether its answers go to programs on the human's own machine only: then nobody can know which program it is.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !self.metadata.redirect_uris.is_empty() && self.metadata.redirect_uris.iter().all(|uri| !uri.is_web())
    }

    /// How far a human's decision about a request that is answered at `redirect_uri` can be kept for the next one.
    #[must_use]
    pub fn trust(&self, redirect_uri: &str) -> Trust {
        if self.is_local() || !redirect_uri.starts_with("https://") {
            Trust::Local
        } else if self.origin == ClientOrigin::Registration {
            Trust::Unverified
        } else {
            Trust::Known
        }
    }

    /// Whether a human may be sent to `redirect_uri` before they did anything here: if the operator knows the client, or the
    /// address is the human's own machine. Anybody else would have a link of ours that leads wherever they like (RFC 9700
    /// §4.11.2).
    #[must_use]
    pub fn may_be_sent_to_unasked(&self, redirect_uri: &str) -> bool {
        self.origin == ClientOrigin::Operator || !redirect_uri.starts_with("https://")
    }

    /// Names what a human's decision about it rests on. Another digest is another client.
    #[must_use]
    pub fn digest(&self) -> String {
        self.metadata.digest()
    }
}

/// What a client sent of itself to a token endpoint.
#[derive(Debug, Clone, Default)]
pub struct SentClient {
    /// `client_id`, from the form or from HTTP Basic.
    pub id: Option<String>,
    /// `client_secret`, from either.
    pub secret: Option<SecretString>,
    /// `client_assertion` (RFC 7523 §2.2).
    pub assertion: Option<String>,
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "the documents are made where it is called")]
pub(super) fn example(metadata: serde_json::Value) -> Client {
    let now = Timestamp::from_seconds(1_800_000_000);
    Client {
        id: "client_x".to_owned(),
        origin: ClientOrigin::Operator,
        metadata: ClientMetadata::read(&metadata).unwrap(),
        secret_hash: None,
        account_id: None,
        introspects: false,
        created_at: now,
        last_used_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_redirect_uri_is_one_of_the_clients_own_or_none() {
        let client = example(json!({"redirect_uris": ["https://a.example/cb", "http://127.0.0.1/cb"]}));
        let asked = |uri: &str| client.redirect_uri(Some(uri)).is_some();
        assert!(asked("https://a.example/cb") && asked("http://127.0.0.1/cb") && asked("http://127.0.0.1:4711/cb"));
        for bad in [
            "https://a.example/cb/",
            "https://a.example/cb?x=1",
            "https://a.example/cb#x",
            "https://a.example/CB",
            "https://A.example/cb",
            "https://a.example:443/cb",
            "https://a.example:8443/cb",
            "https://a.example.evil.example/cb",
            "https://a.example/cb/../evil",
            "https://evil@a.example/cb",
            "https://a.example@evil.example/cb",
            "http://a.example/cb",
            "http://127.0.0.1:4711/other",
            "http://127.0.0.1:4711@evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:80a/cb",
            "http://127.0.0.1:/cb",
            "http://localhost:4711/cb",
            "",
        ] {
            assert!(!asked(bad), "{bad}");
        }
        assert_eq!(client.redirect_uri(None), None, "there are two");
        let one = example(json!({"redirect_uris": ["https://a.example/cb"]}));
        assert_eq!(one.redirect_uri(None).as_deref(), Some("https://a.example/cb"));
    }

    #[test]
    fn a_client_gets_no_scope_beyond_its_own() {
        let client = example(json!({"redirect_uris": ["https://a.example/cb"], "scope": "budget:read"}));
        assert_eq!(client.scopes(None).to_string(), "budget:read");
        assert!(client.scopes(Some("resources:write")).is_empty());
        assert_eq!(client.scopes(Some("resources:write budget:read")).to_string(), "budget:read");
    }
}
