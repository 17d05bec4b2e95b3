//! The provider's own OpenID provider: authorization code flow with PKCE, `nonce` and `state` (OpenID Connect Core 1.0
//! §3.1, RFC 7636), and the issuer named in the answer (RFC 9207).

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGrantType, CoreIdToken, CoreIdTokenClaims, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    HttpRequest, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, Scope,
    SignatureVerificationError, TokenResponse as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::session::LIFETIME as SESSION_LIFETIME;
use super::who::Upstreamer;
use crate::attestation::CanonicalEmail;
use crate::clock::Timestamp;
use crate::fetch::Fetch;
use crate::ids::AccountId;
use crate::openid;
use crate::secret::{NoRandomness, Secret};

/// How far the issuer's clock may differ from ours.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// How long what the issuer says about itself is kept.
const FRESH: TimeDelta = TimeDelta::minutes(15);
/// How often, at most, it is asked again because it signed with a key that is not known.
const NEW_KEYS_EVERY: TimeDelta = TimeDelta::minutes(1);
/// The longest subject, in bytes (OpenID Connect Core 1.0 §2).
const MAX_SUBJECT: usize = 255;

/// Whether the issuer names itself in its answers (RFC 9207 §3).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NamesItself {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for NamesItself {}

type Metadata = ProviderMetadata<
    NamesItself,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Why nobody came from the issuer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The issuer cannot be reached, or its documents cannot be used.
    #[error("the log-in server cannot be used: {0}")]
    Unavailable(String),
    /// The answer names another issuer, or none where it should (RFC 9207 §2.4).
    #[error("the answer is not the log-in server's")]
    OtherIssuer,
    /// The code or the ID token does not hold.
    #[error("the log-in server's answer does not hold: {0}")]
    Refused(String),
    /// Randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Whether it was signed with a key that the issuer's document did not have when it was read.
fn is_of_unknown_key<Claims>(verified: &Result<Claims, ClaimsVerificationError>) -> bool {
    use SignatureVerificationError::{CryptoError, NoMatchingKey};
    matches!(verified, Err(ClaimsVerificationError::SignatureVerification(NoMatchingKey | CryptoError(_))))
}

/// What the way to the issuer and back must not forget.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journey {
    /// The page of ours that the log-in leads to.
    pub onward: String,
    nonce: String,
    verifier: String,
    max_age: i64,
    /// The account that the person is to be connected to, for its human who is logged in there.
    #[serde(default)]
    pub connects: Option<AccountId>,
}

/// The provider's own OpenID provider.
pub struct Upstream {
    fetch: Fetch,
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: SecretString,
    redirect: RedirectUrl,
    known: Mutex<Option<(Arc<Metadata>, Timestamp)>>,
    /// When it was asked for new keys.
    renewed_at: Mutex<Option<Timestamp>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("issuer", &self.issuer.as_str()).finish_non_exhaustive()
    }
}

impl Upstream {
    /// The issuer that knows us as `client_id`; it sends browsers back to `redirect`.
    ///
    /// # Errors
    /// When one of the addresses is none.
    pub fn new(
        fetch: Fetch,
        issuer: &str,
        (client_id, client_secret): (&str, SecretString),
        redirect: String,
    ) -> Result<Self, openidconnect::url::ParseError> {
        Ok(Self {
            fetch,
            issuer: IssuerUrl::new(issuer.to_owned())?,
            client_id: ClientId::new(client_id.to_owned()),
            client_secret,
            redirect: RedirectUrl::new(redirect)?,
            known: Mutex::default(),
            renewed_at: Mutex::default(),
        })
    }

    /// Its identifier, exactly.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// Where to send the browser, and what to remember. `state` comes back with it. The person must have logged in at
    /// the issuer at most `within` ago; otherwise it asks them again.
    ///
    /// # Errors
    /// When the issuer cannot be used.
    pub async fn depart(
        &self,
        state: &Secret,
        within: TimeDelta,
        onward: &str,
        now: Timestamp,
    ) -> Result<(Url, Journey), UpstreamError> {
        let metadata = self.metadata(now).await?;
        let (nonce, verifier) = (Secret::generate("n")?, Secret::generate("v")?);
        let max_age = within.min(SESSION_LIFETIME).num_seconds();
        let client = CoreClient::from_provider_metadata((*metadata).clone(), self.client_id.clone(), None)
            .set_redirect_uri(self.redirect.clone());
        let verifier = PkceCodeVerifier::new(verifier.expose().to_owned());
        let (state, asked) = (CsrfToken::new(state.expose().to_owned()), Nonce::new(nonce.expose().to_owned()));
        let (url, _, _) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state.clone(), move || asked.clone())
            .add_scope(Scope::new("email".to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .set_max_age(std::time::Duration::from_secs(u64::try_from(max_age).unwrap_or(0)))
            .url();
        let journey = Journey {
            onward: onward.to_owned(),
            nonce: nonce.expose().to_owned(),
            verifier: verifier.secret().clone(),
            max_age,
            connects: None,
        };
        Ok((url, journey))
    }

    /// Who came back with `code`. `iss` is the issuer that the answer names.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn arrive(
        &self,
        journey: &Journey,
        code: &str,
        iss: Option<&str>,
        now: Timestamp,
    ) -> Result<Upstreamer, UpstreamError> {
        let metadata = self.metadata(now).await?;
        let names_itself = metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match iss {
            Some(iss) if iss != self.issuer.as_str() => return Err(UpstreamError::OtherIssuer),
            None if names_itself => return Err(UpstreamError::OtherIssuer),
            _ => {}
        }
        let refused = |error: &dyn std::fmt::Display| UpstreamError::Refused(error.to_string());
        let secret = self.client_secret.expose_secret();
        let secret = (!secret.is_empty()).then(|| ClientSecret::new(secret.to_owned()));
        let client = CoreClient::from_provider_metadata((*metadata).clone(), self.client_id.clone(), secret)
            .set_redirect_uri(self.redirect.clone());
        let carry = |request: HttpRequest| openid::carry(self.fetch.clone(), request);
        let tokens = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| refused(&error))?
            .set_pkce_verifier(PkceCodeVerifier::new(journey.verifier.clone()))
            .request_async(&carry)
            .await
            // Its body may repeat the code.
            .map_err(|_with_body| UpstreamError::Refused("it did not take the code".to_owned()))?;
        let token = tokens.id_token().ok_or_else(|| refused(&"no ID token"))?;
        let mut verified = self.verified(token, journey, &metadata, now);
        if is_of_unknown_key(&verified)
            && let Some(renewed) = self.renewed(&metadata, now).await
        {
            verified = self.verified(token, journey, &renewed, now);
        }
        let said = verified.map_err(|error| refused(&error))?;
        let auth_time = said.auth_time().ok_or_else(|| refused(&"no `auth_time` although `max_age` was asked"))?;
        let auth_time = Timestamp::from_seconds(auth_time.timestamp());
        if auth_time > now.plus(SKEW) || auth_time < now.minus(TimeDelta::seconds(journey.max_age)).minus(SKEW) {
            return Err(refused(&"the person did not log in when they should have"));
        }
        let subject = said.subject().as_str();
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(refused(&"the subject"));
        }
        let address = said.email().filter(|_| said.email_verified() == Some(true));
        let email = address.and_then(|email| email.as_str().parse::<CanonicalEmail>().ok());
        Ok(Upstreamer {
            issuer: self.issuer.as_str().to_owned(),
            subject: subject.to_owned(),
            email: email.map(|email| email.as_str().to_owned()),
            auth_time: auth_time.seconds(),
        })
    }

    /// What the ID token says, if it holds by these keys.
    fn verified<'token>(
        &self,
        token: &'token CoreIdToken,
        journey: &Journey,
        metadata: &Metadata,
        now: Timestamp,
    ) -> Result<&'token CoreIdTokenClaims, ClaimsVerificationError> {
        let latest: DateTime<Utc> =
            now.minus(SKEW).to_datetime().ok_or_else(|| ClaimsVerificationError::Other("the time".to_owned()))?;
        let client = CoreClient::from_provider_metadata(metadata.clone(), self.client_id.clone(), None);
        let verifier = client.id_token_verifier().set_time_fn(move || latest);
        token.claims(&verifier, &Nonce::new(journey.nonce.clone()))
    }

    /// What the issuer says about itself, with its keys: asked again when it is old.
    async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, UpstreamError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((metadata, _)) = known.filter(|(_, at)| *at <= now && now.since(*at) < FRESH) {
            return Ok(metadata);
        }
        self.discovered(now).await
    }

    /// The same anew, because of a key that is not in `known`: what was asked for meanwhile, or, not more often than
    /// [`NEW_KEYS_EVERY`], what is asked for now.
    async fn renewed(&self, known: &Arc<Metadata>, now: Timestamp) -> Option<Arc<Metadata>> {
        let present = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((newer, _)) = present.filter(|(present, _)| !Arc::ptr_eq(present, known)) {
            return Some(newer);
        }
        {
            let mut renewed_at = self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed_at.is_some_and(|at| at <= now && now.since(at) < NEW_KEYS_EVERY) {
                return None;
            }
            *renewed_at = Some(now);
        }
        let found = self.discovered(now).await;
        found.inspect_err(|error| tracing::warn!(error = %error, "the upstream issuer's new keys cannot be read")).ok()
    }

    async fn discovered(&self, now: Timestamp) -> Result<Arc<Metadata>, UpstreamError> {
        let carry = |request: HttpRequest| openid::carry(self.fetch.clone(), request);
        let found = Metadata::discover_async(self.issuer.clone(), &carry).await;
        let found = Arc::new(found.map_err(|error| UpstreamError::Unavailable(error.to_string()))?);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((found.clone(), now));
        Ok(found)
    }
}
