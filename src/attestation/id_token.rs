//! An OpenID Connect ID token whose audience is our client id at the issuer (OpenID Connect Core 1.0 §3.1.3.7).
//!
//! In this order: form and size, `typ`, registered issuer, suspension, key, signature, then audience and times. Two
//! readers must agree on the same bytes: our strict one (no repeated members, whole seconds) and `openidconnect`.

use std::str::FromStr as _;

use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{ClientId, IssuerUrl, Nonce};
use serde::Deserialize;
use serde_json::Value;

use super::{AssertedEmail, Attestation, AttestationError, CanonicalEmail, EmailTrust};
use crate::clock::Timestamp;
use crate::orchestrator::{KeyCache, Orchestrator};
use crate::secret::sha256_base64url;
use crate::signing::{self, JwsError, SignatureAlgorithm, VerifyingKey};

/// How far two clocks may differ.
pub(super) const SKEW: TimeDelta = TimeDelta::seconds(60);
/// How old an ID token may be as an attestation, whatever its `exp` says.
pub(super) const MAX_AGE: TimeDelta = TimeDelta::minutes(10);
/// The longest subject, tenant or `jti`, in bytes.
const MAX_NAME: usize = 255;

/// An assertion as it arrived: can say who claims to have issued it, and nothing else.
pub struct Unverified {
    token: String,
    jws: signing::Unverified,
}

impl std::fmt::Debug for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("attestation::Unverified")
    }
}

#[derive(Deserialize)]
struct Claims {
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    auth_time: Option<i64>,
    acr: Option<String>,
    sub: String,
    tenant: Option<String>,
    jti: Option<String>,
    // Any JSON: what is no address, or not literally `true`, is less trust and no error.
    email: Option<Value>,
    email_verified: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Exactly one audience, and it is `wanted`.
    pub(super) fn is_only(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => matches!(audiences.as_slice(), [audience] if audience == wanted),
        }
    }
}

impl Unverified {
    /// Takes an assertion apart: form, size, and that its type is that of an ID token (`JWT`, or none).
    ///
    /// # Errors
    /// When the token is malformed or of another type. No key was looked up.
    pub fn parse(token: &str) -> Result<Self, AttestationError> {
        Self::of(token, signing::Unverified::parse(token)?)
    }

    /// The same, taken apart already.
    pub(super) fn of(token: &str, jws: signing::Unverified) -> Result<Self, AttestationError> {
        jws.expect_type(&["jwt", ""])?;
        Ok(Self { token: token.to_owned(), jws })
    }

    /// The issuer that it claims, to find whose keys decide.
    ///
    /// # Errors
    /// When it claims none.
    pub fn issuer(&self) -> Result<&str, AttestationError> {
        self.jws.issuer().ok_or(AttestationError::NoIssuer)
    }

    /// Believes it, or says why not. `orchestrator` is the one registered under [`Unverified::issuer`].
    ///
    /// # Errors
    /// See [`AttestationError`]. Nothing was written: an assertion that does not hold burns nothing.
    pub async fn verify(
        self,
        orchestrator: &Orchestrator,
        keys: &KeyCache,
        now: Timestamp,
    ) -> Result<Attestation, AttestationError> {
        if self.issuer()? != orchestrator.issuer.as_str() {
            return Err(AttestationError::UnknownIssuer);
        }
        if orchestrator.suspended_at.is_some() {
            return Err(AttestationError::Suspended);
        }
        if !orchestrator.algorithms.contains(&self.jws.algorithm()) {
            return Err(JwsError::Algorithm.into());
        }
        let key = keys.find(orchestrator, self.jws.kid(), now).await?;
        self.believe(orchestrator, &key, now)
    }

    /// Everything but finding the key.
    pub(super) fn believe(
        self,
        orchestrator: &Orchestrator,
        key: &VerifyingKey,
        now: Timestamp,
    ) -> Result<Attestation, AttestationError> {
        let claims: Claims = self.jws.verify(key, &orchestrator.algorithms)?.claims;
        if !claims.aud.is_only(&orchestrator.client_id) {
            return Err(AttestationError::Audience);
        }
        if claims.azp.as_ref().is_some_and(|party| *party != orchestrator.client_id) {
            return Err(AttestationError::Audience);
        }
        judge_times(&claims, now)?;
        judge_with_openidconnect(&self.token, orchestrator, key, now)?;
        attest(claims, &self.token, orchestrator, key)
    }
}

fn judge_times(claims: &Claims, now: Timestamp) -> Result<(), AttestationError> {
    let issued = Timestamp::from_seconds(claims.iat);
    if Timestamp::from_seconds(claims.exp) <= now.minus(SKEW) {
        return Err(AttestationError::Expired);
    }
    let starts = claims.nbf.map_or(issued, |nbf| Timestamp::from_seconds(nbf).max(issued));
    if starts > now.plus(SKEW) || is_to_come(claims.auth_time, now) {
        return Err(AttestationError::NotYet);
    }
    if now.since(issued) > MAX_AGE { Err(AttestationError::TooOld) } else { Ok(()) }
}

/// Whether a log-in is said to happen later (OpenID Connect Core 1.0 §2): it would look fresh for as long as anybody likes.
pub(super) fn is_to_come(auth_time: Option<i64>, now: Timestamp) -> bool {
    auth_time.is_some_and(|at| Timestamp::from_seconds(at) > now.plus(SKEW))
}

fn judge_with_openidconnect(
    token: &str,
    orchestrator: &Orchestrator,
    key: &VerifyingKey,
    now: Timestamp,
) -> Result<(), AttestationError> {
    let refused = |error: &dyn std::fmt::Display| AttestationError::IdToken(error.to_string());
    let issuer = IssuerUrl::new(orchestrator.issuer.as_str().to_owned()).map_err(|error| refused(&error))?;
    let key = serde_json::to_value(key).and_then(serde_json::from_value).map_err(|error| refused(&error))?;
    let latest: DateTime<Utc> = now.minus(SKEW).to_datetime().ok_or(AttestationError::Expired)?;
    let verifier = CoreIdTokenVerifier::new_public_client(
        ClientId::new(orchestrator.client_id.clone()),
        issuer,
        CoreJsonWebKeySet::new(vec![key]),
    )
    .set_allowed_algs(orchestrator.algorithms.iter().copied().map(openid_algorithm))
    .set_time_fn(move || latest);
    let token = CoreIdToken::from_str(token).map_err(|error| refused(&error))?;
    // No nonce: the token answers no request of ours. Single use takes its place.
    let claims = token.claims(&verifier, |_: Option<&Nonce>| Ok(()));
    claims.map(drop).map_err(|error| refused(&error))
}

fn openid_algorithm(algorithm: SignatureAlgorithm) -> CoreJwsSigningAlgorithm {
    match algorithm {
        SignatureAlgorithm::Es256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        SignatureAlgorithm::Es384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
        SignatureAlgorithm::EdDsa => CoreJwsSigningAlgorithm::EdDsa,
        SignatureAlgorithm::Rs256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        SignatureAlgorithm::Ps256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    }
}

fn attest(
    claims: Claims,
    token: &str,
    orchestrator: &Orchestrator,
    key: &VerifyingKey,
) -> Result<Attestation, AttestationError> {
    let assertion_hash = sha256_base64url(token.as_bytes());
    let assertion_key = match claims.jti {
        Some(jti) => format!("jti:{}", named(jti, "jti")?),
        None => format!("hash:{assertion_hash}"),
    };
    let tenant = claims.tenant.filter(|tenant| !tenant.is_empty());
    let issued_at = Timestamp::from_seconds(claims.iat);
    let expires_at = Timestamp::from_seconds(claims.exp).plus(SKEW);
    Ok(Attestation {
        orchestrator_id: orchestrator.id.clone(),
        tenant: tenant.map(|tenant| named(tenant, "tenant")).transpose()?.unwrap_or_default(),
        subject: named(claims.sub, "sub")?,
        email: asserted_email(claims.email.as_ref(), claims.email_verified.as_ref(), orchestrator),
        auth_time: claims.auth_time.map(Timestamp::from_seconds),
        acr: claims.acr.map(|acr| named(acr, "acr")).transpose()?,
        assertion_key,
        assertion_hash,
        issued_at,
        refused_from: expires_at.min(issued_at.plus(MAX_AGE)),
        key_id: Some(key_name(key)),
    })
}

/// How a key is named by its issuer; one that has no name, by its thumbprint (RFC 7638).
pub(super) fn key_name(key: &VerifyingKey) -> String {
    let named = key.common.key_id.clone().filter(|kid| (1..=MAX_NAME).contains(&kid.len()));
    named.unwrap_or_else(|| key.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap_or_default())
}

/// A name within its bounds.
pub(super) fn named(text: String, claim: &'static str) -> Result<String, AttestationError> {
    let plain = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    if plain { Ok(text) } else { Err(AttestationError::Claim(claim)) }
}

/// An address that we would not keep is none: the person is who they are without it.
pub(super) fn asserted_email(
    email: Option<&Value>,
    verified: Option<&Value>,
    orchestrator: &Orchestrator,
) -> Option<AssertedEmail> {
    let original = email?.as_str()?;
    let canonical: CanonicalEmail = match original.parse() {
        Ok(canonical) => canonical,
        Err(_) => return None,
    };
    let trust = match verified {
        Some(Value::Bool(true)) if orchestrator.vouches_for(canonical.domain().as_str()) => EmailTrust::Verified,
        Some(Value::Bool(true)) => EmailTrust::Asserted,
        _ => EmailTrust::Unverified,
    };
    AssertedEmail::new(original, canonical, trust)
}
