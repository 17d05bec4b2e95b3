//! The second scheme: a compact JWS (EdDSA) that names method and body. What is known of its claims is demanded; what may
//! be there (`htu`, `aud`, `iat`, `nbf`) is checked when it is. One with a `jti` is good for one request.

use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::public_keys::{PublicKeyCache, PublicKeySource};
use super::uses::NamedSignature;
use super::{SignatureError, SignedRequest, TOLERANCE_SECONDS, UnverifiedRequest};
use crate::clock::Timestamp;
use crate::secret::sha256_base64url;
use crate::signing::{SignatureAlgorithm, Unverified, VerifyingKey};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// The longest that a token may still be good for: it signs one request, not a day's.
const MAX_LIFETIME_SECONDS: i64 = 3600;

/// The claims. All times in seconds since 1970, whole.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    version: i64,
    htm: String,
    digest: String,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    htu: Option<String>,
    jti: Option<String>,
    aud: Option<Value>,
}

/// A token of the second scheme, decoded and not believed.
#[derive(Debug)]
pub(super) struct Token(Unverified);

impl Token {
    /// Form, type and algorithm; all before any key is looked up.
    pub(super) fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.len() > MAX_TOKEN {
            return Err(SignatureError::Malformed("it is too long"));
        }
        let token = Unverified::parse(text)?;
        token.expect_type(&["jwt"])?;
        if token.algorithm() != SignatureAlgorithm::EdDsa {
            return Err(crate::signing::JwsError::Algorithm.into());
        }
        Ok(Self(token))
    }

    pub(super) fn kid(&self) -> Result<&str, SignatureError> {
        self.0.kid().filter(|kid| !kid.is_empty() && kid.len() <= 255).ok_or(SignatureError::Claim("kid"))
    }

    /// Signature first, then the claims against the request.
    pub(super) fn verify(
        self,
        key: &VerifyingKey,
        request: &UnverifiedRequest<'_>,
        now: Timestamp,
    ) -> Result<Claims, SignatureError> {
        let claims: Claims = self.0.verify(key, &[SignatureAlgorithm::EdDsa])?.claims;
        judge(&claims, request, now.seconds())?;
        Ok(claims)
    }
}

impl UnverifiedRequest<'_> {
    /// Checks the second signature of a request whose first one fits: it must be of the same orchestrator. One with a
    /// `jti` is named: [`NamedSignature::use_for`] says whether it is still good.
    ///
    /// # Errors
    /// When it is missing, does not hold, or its key cannot be had.
    pub async fn verify_v2(
        &self,
        signed: &SignedRequest,
        source: &PublicKeySource<'_>,
        keys: &PublicKeyCache,
        now: Timestamp,
    ) -> Result<Option<NamedSignature>, SignatureError> {
        let token = Token::parse(self.signature_v2.ok_or(SignatureError::Missing)?)?;
        let key = keys.find(signed.orchestrator_id(), source, token.kid()?, now).await?;
        let claims = token.verify(&key, self, now)?;
        let named = |jti: &String| NamedSignature::new(signed.orchestrator_id(), jti, claims.exp);
        Ok(claims.jti.as_ref().map(named))
    }

    /// The same when the key is known.
    ///
    /// # Errors
    /// When the signature is missing or does not hold.
    #[cfg(fuzzing)]
    pub fn verify_v2_under(&self, key: &crate::signing::VerifyingKey, now: Timestamp) -> Result<(), SignatureError> {
        Token::parse(self.signature_v2.ok_or(SignatureError::Missing)?)?.verify(key, self, now).map(drop)
    }
}

fn judge(claims: &Claims, request: &UnverifiedRequest<'_>, now: i64) -> Result<(), SignatureError> {
    let demand = |holds: bool, claim| if holds { Ok(()) } else { Err(SignatureError::Claim(claim)) };
    demand(claims.version == 1, "version")?;
    demand(claims.htm == request.method, "htm")?;
    let digest = sha256_base64url(request.body);
    demand(digest.as_bytes().ct_eq(claims.digest.as_bytes()).into(), "digest")?;
    demand(claims.exp > now && claims.exp <= now.saturating_add(MAX_LIFETIME_SECONDS), "exp")?;
    let near = |at: i64| now.abs_diff(at) <= TOLERANCE_SECONDS.unsigned_abs();
    demand(claims.iat.is_none_or(near), "iat")?;
    demand(claims.nbf.is_none_or(|from| from <= now.saturating_add(TOLERANCE_SECONDS)), "nbf")?;
    demand(claims.htu.as_deref().is_none_or(|htu| is_here(htu, request)), "htu")?;
    demand(claims.jti.as_deref().is_none_or(|jti| (1..=255).contains(&jti.len())), "jti")?;
    demand(claims.aud.as_ref().is_none_or(|aud| is_us(aud, request.base_url)), "aud")
}

/// Whether `htu` is the path or the URL of this request. Without a query it stands for every query (RFC 9449 §4.3).
fn is_here(htu: &str, request: &UnverifiedRequest<'_>) -> bool {
    let target = if htu.starts_with('/') && !htu.starts_with("//") {
        htu.to_owned()
    } else {
        let (Ok(named), Ok(ours)) = (htu.parse::<Url>(), request.base_url.parse::<Url>()) else { return false };
        let plain = named.username().is_empty() && named.password().is_none() && named.fragment().is_none();
        if !plain || named.origin() != ours.origin() || !named.origin().is_tuple() {
            return false;
        }
        match named.query() {
            Some(query) => format!("{}?{query}", named.path()),
            None => named.path().to_owned(),
        }
    };
    let path = request.target.split('?').next().unwrap_or("");
    if target.contains('?') { target == request.target } else { target == path }
}

/// Whether one of the audiences is this provider: our address, or the wire below it.
fn is_us(aud: &Value, base_url: &str) -> bool {
    let ours = |text: &str| {
        let text = text.strip_suffix('/').unwrap_or(text);
        text == base_url || text.strip_prefix(base_url).is_some_and(|rest| rest == "/provisioning")
    };
    match aud {
        Value::String(text) => ours(text),
        Value::Array(all) => all.iter().filter_map(Value::as_str).any(ours),
        _ => false,
    }
}
