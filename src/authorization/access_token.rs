//! Access tokens: signed statements in the JWT profile of RFC 9068, ES256, for one API and ten minutes.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::grant::Grant;
use super::request::{Detail, DetailError, limits_name};
use super::scope::Scopes;
use crate::account::AgentKey;
use crate::clock::Timestamp;
use crate::ids::{AccountId, ConsentId, GrantId, OrchestratorId};
use crate::secret::sha256_base64url;
use crate::signing::{Algorithm, JwsError, KeyPurpose, KeyRing, SignatureAlgorithm, SigningError, Unverified};

/// How long an access token works.
pub const ACCESS_TOKEN_LIFETIME: TimeDelta = TimeDelta::seconds(600);
/// How far the clocks of our own processes may differ.
const OWN_SKEW: TimeDelta = TimeDelta::seconds(5);

/// RFC 9068 §2.2.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: AccountId,
    client_id: String,
    iat: i64,
    exp: i64,
    jti: GrantId,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    /// Ours: through whom, so that a use of the token needs no look into the database.
    orchestrator: OrchestratorId,
    /// Ours: what the human allowed, if it came of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<ConsentId>,
    /// RFC 9396 §9.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<Value>,
}

/// RFC 9449 §6.1.
#[derive(Serialize, Deserialize)]
struct Confirmation {
    jkt: String,
}

/// How the person logged in: at the orchestrator, as its ID token said, or here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogIn {
    /// When.
    pub at: Option<Timestamp>,
    /// In which authentication context class.
    pub acr: Option<String>,
}

/// What a believed token says. Whether its grant still stands is to be asked of [`super::Revocations`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Its grant.
    pub grant_id: GrantId,
    /// For whom.
    pub account_id: AccountId,
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// What the human allowed, if it came of that.
    pub consent_id: Option<ConsentId>,
    /// To whom it was given.
    pub client: String,
    /// What it allows.
    pub scopes: Scopes,
    /// RFC 7638 thumbprint of the key that whoever uses it must prove to hold.
    pub bound_to: Option<String>,
    /// How the person had logged in.
    pub log_in: LogIn,
    /// The limits of what the human allowed, or of what an assertion stated (RFC 9396).
    pub details: Option<Value>,
    /// Since when it works.
    pub issued_at: Timestamp,
    /// From when on it no longer works.
    pub expires_at: Timestamp,
}

impl VerifiedToken {
    /// The agent that it was given to.
    #[must_use]
    pub fn agent(&self) -> AgentKey {
        AgentKey {
            account_id: self.account_id.clone(),
            orchestrator_id: self.orchestrator_id.clone(),
            client: self.client.clone(),
        }
    }

    /// Within which limits it buys, if it has some, and under which name they are counted: that of the consent; or, when an
    /// assertion stated them, one that is the same for every assertion that gives this agent these limits, so that a new
    /// token is no new allowance.
    ///
    /// # Errors
    /// When they cannot be read: nothing may be bought then.
    pub fn limits(&self) -> Result<Option<TokenLimits>, DetailError> {
        let Some(stated) = &self.details else { return Ok(None) };
        let details: Vec<Detail> =
            serde_json::from_value(stated.clone()).map_err(|error| DetailError(error.to_string()))?;
        let name = if let Some(consent) = &self.consent_id {
            consent.to_string()
        } else {
            let agent = json!([self.orchestrator_id, self.client, limits_name(&details)?]);
            format!("stated-{}", sha256_base64url(agent.to_string().as_bytes()))
        };
        Ok(Some(TokenLimits { name, details, allowed: self.consent_id.is_some() }))
    }
}

/// Within which limits a token buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLimits {
    /// Under which name they are counted, for the account.
    pub name: String,
    /// What they are.
    pub details: Vec<Detail>,
    /// Whether a human allowed them; else an assertion stated them, and nobody wrote them down yet.
    pub allowed: bool,
}

/// What else a token says.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    /// RFC 7638 thumbprint of the key that it is bound to.
    pub(super) bound_to: Option<String>,
    /// How the person logged in.
    pub(super) log_in: LogIn,
    /// RFC 9396.
    pub(super) details: Option<Value>,
}

/// Why a token is not believed. For the log: a caller hears `invalid_token`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Form, type, algorithm or signature.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// We have no such key.
    #[error("the token was not signed with a key of ours")]
    Key,
    /// Another issuer.
    #[error("the token has another issuer")]
    Issuer,
    /// For another API.
    #[error("the token is for another audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It begins in the future.
    #[error("the token is from the future")]
    NotYet,
    /// It allows something unknown.
    #[error("the token has an unknown scope")]
    Scope,
}

/// Signs the token of `grant`.
pub(super) fn issue(
    ring: &KeyRing,
    issuer: &str,
    audience: &str,
    grant: &Grant,
    extra: &Extra,
) -> Result<String, SigningError> {
    let claims = Claims {
        iss: issuer.to_owned(),
        aud: audience.to_owned(),
        sub: grant.account_id.clone(),
        client_id: grant.client.clone(),
        iat: grant.issued_at.seconds(),
        exp: grant.expires_at.seconds(),
        jti: grant.id.clone(),
        scope: grant.scopes.to_string(),
        cnf: extra.bound_to.as_ref().map(|jkt| Confirmation { jkt: jkt.clone() }),
        auth_time: extra.log_in.at.map(Timestamp::seconds),
        acr: extra.log_in.acr.clone(),
        orchestrator: grant.orchestrator_id.clone(),
        consent: grant.consent_id.clone(),
        authorization_details: extra.details.clone(),
    };
    ring.key(KeyPurpose::AccessToken, Algorithm::Es256)?.sign_compact("at+jwt", &claims)
}

/// Believes a token that we issued for the API `audience`, or says why not (RFC 9068 §4).
///
/// # Errors
/// See [`TokenError`].
pub fn verify_access_token(
    token: &str,
    ring: &KeyRing,
    audience: &str,
    issuer: &str,
    now: Timestamp,
) -> Result<VerifiedToken, TokenError> {
    let unverified = Unverified::parse(token)?;
    unverified.expect_type(&["at+jwt"])?;
    let kid = unverified.kid().ok_or(TokenError::Key)?;
    let key = ring.public(KeyPurpose::AccessToken, kid).ok_or(TokenError::Key)?;
    let claims: Claims = unverified.verify(key, &[SignatureAlgorithm::Es256])?.claims;
    if claims.iss != issuer {
        return Err(TokenError::Issuer);
    }
    if claims.aud != audience {
        return Err(TokenError::Audience);
    }
    let expires_at = Timestamp::from_seconds(claims.exp);
    if expires_at <= now {
        return Err(TokenError::Expired);
    }
    if Timestamp::from_seconds(claims.iat) > now.plus(OWN_SKEW) {
        return Err(TokenError::NotYet);
    }
    let scopes = claims.scope.parse().map_err(|_unknown| TokenError::Scope)?;
    Ok(VerifiedToken {
        grant_id: claims.jti,
        account_id: claims.sub,
        orchestrator_id: claims.orchestrator,
        consent_id: claims.consent,
        client: claims.client_id,
        details: claims.authorization_details,
        issued_at: Timestamp::from_seconds(claims.iat),
        scopes,
        bound_to: claims.cnf.map(|cnf| cnf.jkt),
        log_in: LogIn { at: claims.auth_time.map(Timestamp::from_seconds), acr: claims.acr },
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrchestratorId;
    use serde_json::{Value, json};

    const ISSUER: &str = "https://p.example";
    const API: &str = "https://p.example/v1";

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn grant() -> Grant {
        Grant {
            id: GrantId::new(now()),
            account_id: AccountId::new(now()),
            orchestrator_id: OrchestratorId::new(now()),
            client: "orch_x".to_owned(),
            scopes: Scopes::known_of("budget:read"),
            issued_at: now(),
            expires_at: now().plus(ACCESS_TOKEN_LIFETIME),
            consent_id: None,
        }
    }

    fn refusal(ring: &KeyRing, token: &str, at: Timestamp) -> TokenError {
        verify_access_token(token, ring, API, ISSUER, at).unwrap_err()
    }

    #[test]
    fn a_token_says_what_was_granted_until_it_expires() {
        let (ring, grant) = (KeyRing::generate().unwrap(), grant());
        let token = issue(&ring, ISSUER, API, &grant, &Extra::default()).unwrap();
        let told = verify_access_token(&token, &ring, API, ISSUER, now()).unwrap();
        assert_eq!((told.grant_id, told.account_id, told.scopes), (grant.id, grant.account_id, grant.scopes));
        assert_eq!(refusal(&ring, &token, grant.expires_at), TokenError::Expired);
        assert_eq!(refusal(&ring, &token, now().minus(TimeDelta::seconds(6))), TokenError::NotYet);
        assert_eq!(refusal(&KeyRing::generate().unwrap(), &token, now()), TokenError::Key);
        let elsewhere = verify_access_token(&token, &ring, "https://p.example/mcp", ISSUER, now());
        assert_eq!(elsewhere.unwrap_err(), TokenError::Audience);
        let other = verify_access_token(&token, &ring, API, "https://p.example/", now());
        assert_eq!(other.unwrap_err(), TokenError::Issuer);
    }

    #[test]
    fn a_token_of_another_kind_or_key_is_refused() {
        let ring = KeyRing::generate().unwrap();
        let key = ring.key(KeyPurpose::AccessToken, Algorithm::Es256).unwrap();
        let other_purpose = ring.key(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap();
        let claims = json!({
            "iss": ISSUER, "aud": API, "sub": AccountId::new(now()), "client_id": "c", "iat": now().seconds(),
            "exp": now().seconds() + 60, "jti": GrantId::new(now()), "scope": "budget:read",
            "orchestrator": OrchestratorId::new(now()),
        });
        let sign = |typ: &str, claims: &Value| key.sign_compact(typ, claims).unwrap();
        assert!(verify_access_token(&sign("at+jwt", &claims), &ring, API, ISSUER, now()).is_ok());
        assert!(verify_access_token(&sign("application/AT+JWT", &claims), &ring, API, ISSUER, now()).is_ok());
        assert_eq!(refusal(&ring, &sign("JWT", &claims), now()), TokenError::Jws(JwsError::Type));
        let forged = other_purpose.sign_compact("at+jwt", &claims).unwrap();
        assert_eq!(refusal(&ring, &forged, now()), TokenError::Key);
        for claim in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope", "orchestrator"] {
            let mut without = claims.clone();
            without.as_object_mut().unwrap().remove(claim);
            assert!(matches!(refusal(&ring, &sign("at+jwt", &without), now()), TokenError::Jws(JwsError::Claims(_))));
        }
        for (claim, value) in
            [("exp", json!("9999999999")), ("exp", json!(1e300)), ("aud", json!([API])), ("scope", json!("admin"))]
        {
            let mut bad = claims.clone();
            bad[claim] = value;
            assert!(verify_access_token(&sign("at+jwt", &bad), &ring, API, ISSUER, now()).is_err(), "{claim}");
        }
    }
}
