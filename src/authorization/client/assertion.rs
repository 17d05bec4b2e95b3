//! `private_key_jwt`: a client proves who it is by a statement signed with its key (RFC 7523 §2.2, §3). Its audience is
//! our issuer and nothing else: one that names an endpoint could have been made for somebody who pretends to be us.

use chrono::TimeDelta;
use serde::Deserialize;

use crate::authorization::dpop::SingleUse;
use crate::clock::Timestamp;
use crate::signing::{JwsError, SignatureAlgorithm, Unverified, VerifyingKey};

/// The algorithms with which a client may sign.
pub const CLIENT_ALGORITHMS: [SignatureAlgorithm; 4] =
    [SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa, SignatureAlgorithm::Ps256, SignatureAlgorithm::Rs256];

/// How far the client's clock may differ from ours.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// How long a statement may be good for.
const MAX_LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// The longest `jti`, in bytes.
const MAX_ID: usize = 255;

/// Why a statement is not believed. For the log; a caller hears `invalid_client`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Form, type, algorithm, signature.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// It names nobody, or two.
    #[error("`iss` and `sub` are not both the client")]
    Subject,
    /// The client has no such key.
    #[error("the client has no such key")]
    Key,
    /// It is for somebody else.
    #[error("`aud` is not our issuer identifier")]
    Audience,
    /// It has expired, begins in the future, or is good for too long.
    #[error("its times do not hold")]
    Times,
    /// Its name is missing or too long.
    #[error("`jti` has 1 to 255 bytes")]
    Id,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    jti: String,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// A statement as it arrived: can say whose it claims to be, and nothing else.
pub(super) struct UnverifiedAssertion(Unverified);

impl UnverifiedAssertion {
    /// Form, size and type: a token of another kind is refused before any key is looked up.
    pub(super) fn parse(text: &str) -> Result<Self, AssertionError> {
        let jws = Unverified::parse(text)?;
        jws.expect_type(&["", "jwt", "client-authentication+jwt"])?;
        Ok(Self(jws))
    }

    /// The client that it claims to be of.
    pub(super) fn client(&self) -> Result<&str, AssertionError> {
        self.0.issuer().ok_or(AssertionError::Subject)
    }

    /// Believes it, or says why not. It is good once: the answer is to be used up.
    pub(super) fn verify(
        self,
        client: &str,
        keys: &[VerifyingKey],
        issuer: &str,
        now: Timestamp,
    ) -> Result<SingleUse, AssertionError> {
        let kid = self.0.kid().map(str::to_owned);
        let key = match (&kid, keys) {
            (Some(kid), keys) => keys.iter().find(|key| key.common.key_id.as_ref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let claims: Claims = self.0.verify(key.ok_or(AssertionError::Key)?, &CLIENT_ALGORITHMS)?.claims;
        if claims.iss != client || claims.sub != client {
            return Err(AssertionError::Subject);
        }
        let for_us = match &claims.aud {
            Audience::One(audience) => audience == issuer,
            Audience::Many(audiences) => matches!(audiences.as_slice(), [audience] if audience == issuer),
        };
        if !for_us {
            return Err(AssertionError::Audience);
        }
        let ends = Timestamp::from_seconds(claims.exp);
        let begins = [claims.iat, claims.nbf].into_iter().flatten().map(Timestamp::from_seconds).max();
        let begun = begins.is_none_or(|begins| begins <= now.plus(SKEW));
        if ends <= now.minus(SKEW) || ends > now.plus(MAX_LIFETIME) || !begun {
            return Err(AssertionError::Times);
        }
        if !(1..=MAX_ID).contains(&claims.jti.len()) {
            return Err(AssertionError::Id);
        }
        Ok(SingleUse::of("client assertion", &[client, &claims.jti], ends.plus(SKEW)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{Algorithm, KeyPurpose, SigningKey};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    const US: &str = "https://p.example";

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn judge(text: &str, keys: &[VerifyingKey]) -> Result<SingleUse, AssertionError> {
        UnverifiedAssertion::parse(text)?.verify("client_x", keys, US, now())
    }

    fn good() -> Value {
        json!({"iss": "client_x", "sub": "client_x", "aud": US, "jti": "a", "exp": now().seconds() + 60, "iat": now().seconds()})
    }

    #[test]
    fn a_statement_is_believed_with_the_clients_own_key_for_us_alone_and_now() {
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let other = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let keys = [key.public().clone()];
        let with = |claim: &str, value: Value| {
            let mut claims = good();
            claims[claim] = value;
            judge(&key.sign_compact("JWT", &claims).unwrap(), &keys)
        };
        assert!(with("aud", json!([US])).is_ok());
        for aud in [json!("https://p.example/"), json!("https://p.example/oauth/token"), json!([US, "x"]), json!([])] {
            assert_eq!(with("aud", aud.clone()).unwrap_err(), AssertionError::Audience, "{aud}");
        }
        assert_eq!(with("iss", json!("other")).unwrap_err(), AssertionError::Subject);
        assert_eq!(with("sub", json!("other")).unwrap_err(), AssertionError::Subject);
        for (claim, value) in [
            ("exp", now().seconds() - 60),
            ("exp", now().seconds() + 601),
            ("iat", now().seconds() + 61),
            ("nbf", now().seconds() + 61),
        ] {
            assert_eq!(with(claim, json!(value)).unwrap_err(), AssertionError::Times, "{claim}");
        }
        assert_eq!(with("jti", json!("")).unwrap_err(), AssertionError::Id);
        for claim in ["iss", "sub", "aud", "jti", "exp"] {
            assert!(with(claim, Value::Null).is_err(), "{claim}");
        }
        let forged = other.sign_compact("JWT", &good()).unwrap();
        assert!(judge(&forged, &keys).is_err());
        assert_eq!(judge(&key.sign_compact("JWT", &good()).unwrap(), &[]).unwrap_err(), AssertionError::Key);
    }

    #[test]
    fn a_token_of_another_kind_and_a_shared_key_are_no_statement() {
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let keys = [key.public().clone()];
        for typ in ["at+jwt", "oauth-id-jag+jwt", "dpop+jwt", "payment-token+jwt"] {
            let refused = judge(&key.sign_compact(typ, &good()).unwrap(), &keys);
            assert_eq!(refused.unwrap_err(), AssertionError::Jws(JwsError::Type), "{typ}");
        }
        let claims = URL_SAFE_NO_PAD.encode(good().to_string());
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#] {
            let text = format!("{}.{claims}.AAAA", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(judge(&text, &keys).unwrap_err(), AssertionError::Jws(JwsError::Algorithm), "{header}");
        }
    }
}
