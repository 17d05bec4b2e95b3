//! An identity assertion authorization grant (ID-JAG, draft-ietf-oauth-identity-assertion-authz-grant): an orchestrator
//! states for which person a client of ours may act. Made for us, for one client, once.
//!
//! In this order: form and size, `typ`, registered issuer, suspension, algorithm, key, signature, audience, times. Whose
//! client it names, which key it is bound to, and what it allows is for whoever asked to judge.

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::Value;

use super::id_token::{Audience, MAX_AGE, SKEW, asserted_email, is_to_come, key_name, named};
use super::{Attestation, AttestationError, Unverified};
use crate::clock::Timestamp;
use crate::orchestrator::{KeyCache, Orchestrator};
use crate::secret::sha256_base64url;
use crate::signing::{self, JwsError, VerifyingKey};

/// How long such an assertion may be good for.
const MAX_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// An assertion as it arrived, of the kind that its type says.
#[derive(Debug)]
pub enum Assertion {
    /// An ID token.
    IdToken(Unverified),
    /// An ID-JAG.
    IdJag(UnverifiedJag),
}

impl Assertion {
    /// Takes an assertion apart. The type decides before any key is looked up.
    ///
    /// # Errors
    /// When it is malformed, or of a type that is neither.
    pub fn parse(token: &str) -> Result<Self, AttestationError> {
        let jws = signing::Unverified::parse(token)?;
        if jws.expect_type(&["oauth-id-jag+jwt"]).is_ok() {
            return Ok(Self::IdJag(UnverifiedJag { token: token.to_owned(), jws }));
        }
        Unverified::of(token, jws).map(Self::IdToken)
    }

    /// The issuer that it claims, to find whose keys decide.
    ///
    /// # Errors
    /// When it claims none.
    pub fn issuer(&self) -> Result<&str, AttestationError> {
        match self {
            Self::IdToken(token) => token.issuer(),
            Self::IdJag(jag) => jag.jws.issuer().ok_or(AttestationError::NoIssuer),
        }
    }
}

/// An ID-JAG that is not believed.
pub struct UnverifiedJag {
    token: String,
    jws: signing::Unverified,
}

impl std::fmt::Debug for UnverifiedJag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("attestation::UnverifiedJag")
    }
}

/// What a believed ID-JAG says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdJag {
    /// About whom.
    pub attestation: Attestation,
    /// To which client of ours it was given.
    pub client_id: String,
    /// What it allows at most; everything when absent.
    pub scope: Option<String>,
    /// For which of our APIs; any when empty.
    pub resources: Vec<String>,
    /// RFC 7638 thumbprint of the key that must be proven with it.
    pub bound_to: Option<String>,
    /// Within which limits (`authorization_details`, RFC 9396); none when absent or an empty list.
    pub details: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audience,
    client_id: String,
    jti: String,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    resource: Option<Resources>,
    scope: Option<String>,
    authorization_details: Option<Value>,
    tenant: Option<String>,
    email: Option<Value>,
    email_verified: Option<Value>,
    auth_time: Option<i64>,
    acr: Option<String>,
    cnf: Option<Confirmation>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Resources {
    One(String),
    Many(Vec<String>),
}

/// A confirmation that we do not know binds to something that nobody here checks: it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jkt: String,
}

impl UnverifiedJag {
    /// Believes it, or says why not. `orchestrator` is the one registered under its issuer; `us` is our issuer identifier.
    ///
    /// # Errors
    /// See [`AttestationError`]. Nothing was written: an assertion that does not hold burns nothing.
    pub async fn verify(
        self,
        orchestrator: &Orchestrator,
        keys: &KeyCache,
        us: &str,
        now: Timestamp,
    ) -> Result<IdJag, AttestationError> {
        if self.jws.issuer() != Some(orchestrator.issuer.as_str()) {
            return Err(AttestationError::UnknownIssuer);
        }
        if orchestrator.suspended_at.is_some() {
            return Err(AttestationError::Suspended);
        }
        if !orchestrator.algorithms.contains(&self.jws.algorithm()) {
            return Err(JwsError::Algorithm.into());
        }
        let key = keys.find(orchestrator, self.jws.kid(), now).await?;
        self.believe(orchestrator, &key, us, now)
    }

    fn believe(
        self,
        orchestrator: &Orchestrator,
        key: &VerifyingKey,
        us: &str,
        now: Timestamp,
    ) -> Result<IdJag, AttestationError> {
        let claims: Claims = self.jws.verify(key, &orchestrator.algorithms)?.claims;
        if !claims.aud.is_only(us) {
            return Err(AttestationError::Audience);
        }
        judge_times(&claims, now)?;
        read(claims, &self.token, orchestrator, key)
    }
}

fn judge_times(claims: &Claims, now: Timestamp) -> Result<(), AttestationError> {
    let (issued, ends) = (Timestamp::from_seconds(claims.iat), Timestamp::from_seconds(claims.exp));
    if ends <= now.minus(SKEW) {
        return Err(AttestationError::Expired);
    }
    let starts = claims.nbf.map_or(issued, |nbf| Timestamp::from_seconds(nbf).max(issued));
    if starts > now.plus(SKEW) || is_to_come(claims.auth_time, now) {
        return Err(AttestationError::NotYet);
    }
    if ends.since(issued) > MAX_LIFETIME {
        return Err(AttestationError::TooLong);
    }
    if now.since(issued) > MAX_AGE { Err(AttestationError::TooOld) } else { Ok(()) }
}

fn read(
    claims: Claims,
    token: &str,
    orchestrator: &Orchestrator,
    key: &VerifyingKey,
) -> Result<IdJag, AttestationError> {
    let tenant = claims.tenant.filter(|tenant| !tenant.is_empty());
    let issued_at = Timestamp::from_seconds(claims.iat);
    let attestation = Attestation {
        orchestrator_id: orchestrator.id.clone(),
        tenant: tenant.map(|tenant| named(tenant, "tenant")).transpose()?.unwrap_or_default(),
        subject: named(claims.sub, "sub")?,
        email: asserted_email(claims.email.as_ref(), claims.email_verified.as_ref(), orchestrator),
        auth_time: claims.auth_time.map(Timestamp::from_seconds),
        acr: claims.acr.map(|acr| named(acr, "acr")).transpose()?,
        assertion_key: format!("jti:{}", named(claims.jti, "jti")?),
        assertion_hash: sha256_base64url(token.as_bytes()),
        issued_at,
        refused_from: Timestamp::from_seconds(claims.exp).plus(SKEW).min(issued_at.plus(MAX_AGE)),
        key_id: Some(key_name(key)),
    };
    Ok(IdJag {
        attestation,
        client_id: claims.client_id,
        scope: claims.scope,
        resources: match claims.resource {
            None => Vec::new(),
            Some(Resources::One(resource)) => vec![resource],
            Some(Resources::Many(resources)) => resources,
        },
        bound_to: claims.cnf.map(|cnf| cnf.jkt),
        details: claims.authorization_details.filter(|details| details.as_array().is_none_or(|list| !list.is_empty())),
    })
}
