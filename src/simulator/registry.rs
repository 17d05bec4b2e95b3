//! Who the orchestrator knows: its users and the providers whose services they may add.

use serde::{Deserialize, Serialize};
use url::Url;

use super::tokens::User;
use crate::clock::Timestamp;
use crate::money::{Amount, Currency};
use crate::secret::{NoRandomness, Secret, SecretHash};

/// A secret that this side must send or sign with, and so keeps readable in its own file. Does not print.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Kept(Secret);

impl Kept {
    /// The text, to be sent or signed with.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<String> for Kept {
    fn from(text: String) -> Self {
        Self(Secret::presented(&text))
    }
}

impl From<Kept> for String {
    fn from(kept: Kept) -> Self {
        kept.0.expose().to_owned()
    }
}

impl From<Secret> for Kept {
    fn from(secret: Secret) -> Self {
        Self(secret)
    }
}

/// What a provider may take from one user in a calendar month (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// In what it counts. Nothing can be taken in a currency without a cap.
    pub currency: Currency,
    /// Minor units.
    pub amount: Amount,
}

impl Cap {
    /// 100 USD.
    #[must_use]
    pub fn usual() -> Self {
        Self { currency: Currency::USD, amount: Amount::from_minor(10_000).unwrap_or_default() }
    }
}

/// A user, as she is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) subject: String,
    pub(super) email: String,
    pub(super) email_verified: bool,
    pub(super) name: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) country: Option<String>,
    pub(super) tenant: Option<String>,
    /// SHA-256 of the token that her agent holds.
    pub(super) agent: String,
    pub(super) created_at: Timestamp,
}

impl Member {
    pub(super) fn user(&self) -> User {
        User {
            subject: self.subject.clone(),
            email: self.email.clone(),
            email_verified: self.email_verified,
            tenant: self.tenant.clone(),
        }
    }

    pub(super) fn holds(&self, presented: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.agent.as_bytes().ct_eq(SecretHash::of(presented).as_str().as_bytes()).into()
    }

    /// What the user's side knows of the fields that a provider may ask for.
    pub(super) fn knows(&self, field: &str) -> bool {
        match field {
            "email" => true,
            "name" => self.name.is_some(),
            "phone" => self.phone.is_some(),
            "country" => self.country.is_some(),
            _ => false,
        }
    }
}

/// What is known of a catalog that was believed: the next one may not be older.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) version: u64,
    pub(super) digest: String,
}

/// A provider, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Provider {
    pub(super) name: String,
    /// Of the signed catalog and the key set.
    pub(super) base_url: Url,
    /// Under which `provisioning/…` hangs; ends with a slash.
    pub(super) wire_url: Url,
    pub(super) token_url: Url,
    /// The provider's name at this issuer: `aud` of tokens, `iss` of its client assertions.
    pub(super) client_id: String,
    /// The newest first; calls are signed with each.
    pub(super) signing_secrets: Vec<Kept>,
    pub(super) notification_secret: Kept,
    /// SHA-256 of the token with which the provider reads the public keys.
    pub(super) keys_token: String,
    /// The word in `orchestrator.type`.
    pub(super) orchestrator_type: String,
    pub(super) organization: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) sign_v2: bool,
    pub(super) pkce: bool,
    /// A date of old request shapes, such as `2026-03-30`.
    pub(super) shapes: Option<String>,
    pub(super) signed_catalog: bool,
    pub(super) caps: Option<Vec<Cap>>,
    pub(super) oauth_client: Option<(String, Kept)>,
    pub(super) seen: Option<Seen>,
}

/// What an operator says of a provider. Only `name` and `base_url` are needed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProvider {
    /// 1 to 40 of `a-z 0-9 -`; how agents write it.
    pub name: String,
    /// Where the provider answers.
    pub base_url: Url,
    /// Where `provisioning/…` hangs, when not at the base URL.
    #[serde(default)]
    pub wire_url: Option<Url>,
    /// The token endpoint, when not `oauth/token` beside it.
    #[serde(default)]
    pub token_url: Option<Url>,
    /// Its client id here; the name when absent.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The secret of `Stripe-Signature`; made when absent.
    #[serde(default)]
    pub signing_secret: Option<Kept>,
    /// The word in `orchestrator.type`; `stripe` when absent.
    #[serde(default)]
    pub orchestrator_type: Option<String>,
    /// `orchestrator.<type>.organization`.
    #[serde(default)]
    pub organization: Option<String>,
    /// `scopes` of account requests.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether calls also carry `Stripe-Signature-V2`; they do when absent.
    #[serde(default)]
    pub sign_v2: Option<bool>,
    /// Whether account requests carry a PKCE challenge.
    #[serde(default)]
    pub pkce: bool,
    /// A date of old request shapes.
    #[serde(default)]
    pub shapes: Option<String>,
    /// Whether it serves a signed catalog that must verify; it does when absent.
    #[serde(default)]
    pub signed_catalog: Option<bool>,
    /// What it may take per user and month; 100 USD when absent.
    #[serde(default)]
    pub caps: Option<Vec<Cap>>,
    /// Our OAuth client there, when it gave us one.
    #[serde(default)]
    pub oauth_client_id: Option<String>,
    /// Its secret.
    #[serde(default)]
    pub oauth_client_secret: Option<Kept>,
}

impl NewProvider {
    /// A provider of which nothing else is said.
    #[must_use]
    pub fn new(name: &str, base_url: Url) -> Self {
        Self {
            name: name.to_owned(),
            base_url,
            wire_url: None,
            token_url: None,
            client_id: None,
            signing_secret: None,
            orchestrator_type: None,
            organization: None,
            scopes: Vec::new(),
            sign_v2: None,
            pkce: false,
            shapes: None,
            signed_catalog: None,
            caps: None,
            oauth_client_id: None,
            oauth_client_secret: None,
        }
    }
}

/// Why a provider cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProvider {
    /// The name.
    #[error("`{0}` is no name of a provider: 1 to 40 of a-z, 0-9 and -")]
    Name(String),
    /// An address.
    #[error("`{0}` is no address of a provider: https, or http on this machine, without query or user")]
    Url(String),
    /// A word that goes into a header or a member's name.
    #[error("`{0}` must be 1 to 100 visible ASCII characters")]
    Word(&'static str),
    /// No randomness for its secrets.
    #[error("a secret could not be made")]
    NoRandomness,
    /// Another provider has this client id.
    #[error("the client id `{0}` is taken")]
    ClientIdTaken(String),
}

impl From<NoRandomness> for BadProvider {
    fn from(_: NoRandomness) -> Self {
        Self::NoRandomness
    }
}

/// What the provider must be told. Secrets are there only when they were made now.
#[derive(Debug, Default)]
pub(super) struct Introduced {
    pub(super) signing_secret: Option<Kept>,
    pub(super) notification_secret: Option<Kept>,
    pub(super) keys_token: Option<Secret>,
}

impl Provider {
    /// The record of `new`; what `before` had of secrets and memory stays.
    pub(super) fn register(new: NewProvider, before: Option<&Self>) -> Result<(Self, Introduced), BadProvider> {
        let named = (1..=40).contains(&new.name.len())
            && new.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !named {
            return Err(BadProvider::Name(new.name.chars().take(60).flat_map(char::escape_debug).collect()));
        }
        let base_url = folder(new.base_url)?;
        let wire_url = new.wire_url.map_or_else(|| Ok(base_url.clone()), folder)?;
        let token_url = match new.token_url {
            Some(url) => checked(url)?,
            None => wire_url.join("oauth/token").map_err(|_bad| BadProvider::Url(wire_url.to_string()))?,
        };
        let client_id = word("client_id", new.client_id.or(before.map(|before| before.client_id.clone())), &new.name)?;
        let orchestrator_type = word("orchestrator_type", new.orchestrator_type, "stripe")?;
        let mut told = Introduced::default();
        let signing_secrets = match (new.signing_secret, before) {
            (Some(given), _) => vec![given],
            (None, Some(before)) => before.signing_secrets.clone(),
            (None, None) => vec![told.make_signing_secret()?],
        };
        let (notification_secret, keys_token) = match before {
            Some(before) => (before.notification_secret.clone(), before.keys_token.clone()),
            None => told.make()?,
        };
        let oauth_client = new.oauth_client_id.zip(new.oauth_client_secret);
        let provider = Self {
            name: new.name,
            base_url,
            wire_url,
            token_url,
            client_id,
            signing_secrets,
            notification_secret,
            keys_token,
            orchestrator_type,
            organization: new.organization,
            scopes: new.scopes,
            sign_v2: new.sign_v2.unwrap_or(true),
            pkce: new.pkce,
            shapes: new.shapes,
            signed_catalog: new.signed_catalog.unwrap_or(true),
            caps: Some(new.caps.unwrap_or_else(|| vec![Cap::usual()])),
            oauth_client,
            seen: before.and_then(|before| before.seen.clone()),
        };
        Ok((provider, told))
    }

    /// A new signing secret; the one before signs beside it until the next time.
    pub(super) fn new_signing_secret(&mut self) -> Result<Kept, BadProvider> {
        let made = Kept::from(Secret::generate("whsec")?);
        self.signing_secrets.insert(0, made.clone());
        self.signing_secrets.truncate(2);
        Ok(made)
    }

    /// The base URL as an issuer writes itself: without a trailing slash.
    pub(super) fn issuer(&self) -> &str {
        self.base_url.as_str().trim_end_matches('/')
    }

    pub(super) fn reads_keys_with(&self, presented: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.keys_token.as_bytes().ct_eq(SecretHash::of(presented).as_str().as_bytes()).into()
    }
}

impl Introduced {
    fn make_signing_secret(&mut self) -> Result<Kept, BadProvider> {
        let made = Kept::from(Secret::generate("whsec")?);
        self.signing_secret = Some(made.clone());
        Ok(made)
    }

    fn make(&mut self) -> Result<(Kept, String), BadProvider> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        // Standard Webhooks: the text after `whsec_` is base64 of the key.
        let random = Secret::generate("n")?;
        let key = random.expose().get(2..34).unwrap_or_default();
        let notification = Kept::from(format!("whsec_{}", STANDARD.encode(key)));
        let keys = Secret::generate("pk")?;
        let hash = keys.hash().as_str().to_owned();
        self.notification_secret = Some(notification.clone());
        self.keys_token = Some(keys);
        Ok((notification, hash))
    }
}

fn checked(url: Url) -> Result<Url, BadProvider> {
    let clean = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.has_host();
    if clean && url.password().is_none() && matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(BadProvider::Url(url.to_string()))
    }
}

/// The URL with a slash at its end, so that paths hang under it.
fn folder(url: Url) -> Result<Url, BadProvider> {
    let mut url = checked(url)?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn word(what: &'static str, given: Option<String>, otherwise: &str) -> Result<String, BadProvider> {
    let word = given.unwrap_or_else(|| otherwise.to_owned());
    let good = (1..=100).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(word) } else { Err(BadProvider::Word(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registering_again_keeps_the_secrets_and_says_none() {
        let new = || NewProvider::new("acme", "http://127.0.0.1:8080/api".parse().unwrap());
        let (first, told) = Provider::register(new(), None).unwrap();
        assert!(told.signing_secret.is_some() && told.notification_secret.is_some() && told.keys_token.is_some());
        assert_eq!(first.token_url.as_str(), "http://127.0.0.1:8080/api/oauth/token");
        let (again, told) = Provider::register(new(), Some(&first)).unwrap();
        assert_eq!(again.signing_secrets[0].expose(), first.signing_secrets[0].expose());
        assert!(told.signing_secret.is_none() && told.notification_secret.is_none() && told.keys_token.is_none());
        assert!(!format!("{first:?}").contains(first.signing_secrets[0].expose()));
    }

    #[test]
    fn a_new_signing_secret_stands_beside_the_one_before() {
        let (mut provider, _) =
            Provider::register(NewProvider::new("acme", "https://a.example".parse().unwrap()), None).unwrap();
        let before = provider.signing_secrets[0].expose().to_owned();
        let now = provider.new_signing_secret().unwrap();
        let kept: Vec<&str> = provider.signing_secrets.iter().map(Kept::expose).collect();
        assert_eq!(kept, [now.expose(), before.as_str()]);
    }

    #[test]
    fn a_bad_name_or_address_is_refused() {
        for (name, url) in [("Acme", "https://a.example"), ("a/b", "https://a.example"), ("a", "ftp://a.example")] {
            assert!(Provider::register(NewProvider::new(name, url.parse().unwrap()), None).is_err(), "{name} {url}");
        }
    }
}
