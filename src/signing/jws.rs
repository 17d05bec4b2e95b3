//! Reading what others signed: decoded first, believed only after [`Unverified::verify`].

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::strict_json::parse_strict;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// An algorithm that we accept from others: asymmetric only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA, P-256.
    Es256,
    /// ECDSA, P-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSA PKCS #1 v1.5 with SHA-256, of 2048 bits or more.
    Rs256,
    /// RSA-PSS with SHA-256, of 2048 bits or more.
    Ps256,
}

impl SignatureAlgorithm {
    const ALL: [Self; 5] = [Self::Es256, Self::Es384, Self::EdDsa, Self::Rs256, Self::Ps256];

    /// The JOSE `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
        }
    }

    /// Whether a key of this shape may be used with this algorithm.
    fn suits(self, key: &Jwk) -> bool {
        use jsonwebtoken::jwk::EllipticCurve;
        match (&key.algorithm, self) {
            (AlgorithmParameters::EllipticCurve(ec), Self::Es256) => ec.curve == EllipticCurve::P256,
            (AlgorithmParameters::EllipticCurve(ec), Self::Es384) => ec.curve == EllipticCurve::P384,
            (AlgorithmParameters::OctetKeyPair(okp), Self::EdDsa) => okp.curve == EllipticCurve::Ed25519,
            // 2048 bits are 256 bytes are 342 characters.
            (AlgorithmParameters::RSA(rsa), Self::Rs256 | Self::Ps256) => rsa.n.len() >= 342,
            _ => false,
        }
    }
}

impl FromStr for SignatureAlgorithm {
    type Err = JwsError;

    fn from_str(text: &str) -> Result<Self, JwsError> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(JwsError::Algorithm)
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key of somebody else's set.
pub type VerifyingKey = Jwk;

/// Why a token is not believed. The precise reason is for the log; callers hear a coarse one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Not three base64url segments of JSON objects without repeated members, or too long.
    #[error("not a well-formed compact JWS: {0}")]
    Malformed(&'static str),
    /// `alg` is not one we accept here.
    #[error("the signature algorithm is not accepted")]
    Algorithm,
    /// `typ` is that of another kind of token.
    #[error("the token is of another type")]
    Type,
    /// `crit` names something we do not understand.
    #[error("the token has a critical header that is not understood")]
    Critical,
    /// The key does not suit the algorithm, or is no key.
    #[error("the key does not suit the algorithm")]
    Key,
    /// The signature does not fit.
    #[error("the signature does not fit")]
    Signature,
    /// The payload is not of the expected form.
    #[error("the claims are not of the expected form: {0}")]
    Claims(String),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
    jwk: Option<Value>,
}

/// Decoded, not believed. Says only what is needed to find the key that decides.
pub struct Unverified {
    algorithm: SignatureAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
    jwk: Option<Value>,
    claims: Map<String, Value>,
    message: String,
    signature: String,
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A token whose signature fits a key of the expected signer. Its claims are still to be judged.
#[derive(Debug, Clone)]
pub struct Jws<C> {
    /// The `kid` of the key that signed.
    pub kid: Option<String>,
    /// What was signed.
    pub claims: C,
}

impl Unverified {
    /// Takes a compact JWS apart. Checks the form and that the header asks for nothing we do not do; believes nothing.
    ///
    /// # Errors
    /// When the form is wrong, the algorithm is none that anybody may use, or `crit` is present.
    pub fn parse(token: &str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::Malformed("longer than 16 KiB"));
        }
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(JwsError::Malformed("not three segments"));
        };
        let decoded = |segment: &str| {
            URL_SAFE_NO_PAD.decode(segment).map_err(|_not_base64| JwsError::Malformed("a segment is not base64url"))
        };
        decoded(signature)?;
        let head: Header = parse_strict(&decoded(header)?)
            .map_err(|_not_header| JwsError::Malformed("the header is not a JSON object that says each thing once"))?;
        if head.crit.is_some() || head.b64.is_some() {
            return Err(JwsError::Critical);
        }
        let claims = parse_strict(&decoded(payload)?)
            .map_err(|_not_object| JwsError::Malformed("the payload is not a JSON object that says each thing once"))?;
        Ok(Self {
            algorithm: head.alg.parse()?,
            kid: head.kid,
            typ: head.typ,
            jwk: head.jwk,
            claims,
            message: format!("{header}.{payload}"),
            signature: signature.to_owned(),
        })
    }

    /// The claimed issuer, to find whose keys decide.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The claimed key, to find which key decides.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The public key in the header (RFC 7515 §4.1.3). It says that the signer holds that key and nothing about who
    /// they are: for proofs of possession only.
    ///
    /// # Errors
    /// When there is none, it is none, or it holds private or symmetric parts.
    pub fn embedded_key(&self) -> Result<VerifyingKey, JwsError> {
        let jwk = self.jwk.as_ref().and_then(Value::as_object).ok_or(JwsError::Key)?;
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].into_iter().any(|private| jwk.contains_key(private)) {
            return Err(JwsError::Key);
        }
        serde_json::from_value(Value::Object(jwk.clone())).map_err(|_no_key| JwsError::Key)
    }

    /// The claimed algorithm.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Whether `typ` is one of `wanted` (media types compare without case; `application/` may be left out, RFC 7515 §4.1.9).
    /// An absent `typ` is the empty text.
    ///
    /// # Errors
    /// When it is not: a token of another kind.
    pub fn expect_type(&self, wanted: &[&str]) -> Result<(), JwsError> {
        let typ = self.typ.as_deref().unwrap_or("").to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        if wanted.contains(&typ) { Ok(()) } else { Err(JwsError::Type) }
    }

    /// Checks the signature with `key`, and only then hands out the claims.
    ///
    /// # Errors
    /// When the algorithm is not among `accepted`, the key is of another shape, or the signature does not fit.
    pub fn verify<C: DeserializeOwned>(
        self,
        key: &VerifyingKey,
        accepted: &[SignatureAlgorithm],
    ) -> Result<Jws<C>, JwsError> {
        if !accepted.contains(&self.algorithm) {
            return Err(JwsError::Algorithm);
        }
        if !self.algorithm.suits(key) {
            return Err(JwsError::Key);
        }
        let decoding = DecodingKey::from_jwk(key).map_err(|_no_key| JwsError::Key)?;
        let fits =
            jsonwebtoken::crypto::verify(&self.signature, self.message.as_bytes(), &decoding, self.algorithm.jose());
        if !matches!(fits, Ok(true)) {
            return Err(JwsError::Signature);
        }
        let claims =
            serde_json::from_value(Value::Object(self.claims)).map_err(|error| JwsError::Claims(error.to_string()))?;
        Ok(Jws { kid: self.kid, claims })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, KeyPurpose, SigningKey};
    use super::*;
    use serde_json::json;

    fn key() -> SigningKey {
        SigningKey::generate(KeyPurpose::AccessToken, Algorithm::Es256).unwrap().0
    }

    #[test]
    fn what_was_signed_is_believed_with_its_own_key_only() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let ours = SigningKey::generate(KeyPurpose::Catalog, algorithm).unwrap().0;
            let other = SigningKey::generate(KeyPurpose::Catalog, algorithm).unwrap().0;
            let token = ours.sign_compact("at+jwt", &json!({"iss": "https://a"})).unwrap();
            let accepted = [SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa];
            let believed = Unverified::parse(&token).unwrap().verify::<Value>(ours.public(), &accepted).unwrap();
            assert_eq!(believed.claims["iss"], "https://a");
            let refused = Unverified::parse(&token).unwrap().verify::<Value>(other.public(), &accepted);
            assert_eq!(refused.unwrap_err(), JwsError::Signature);
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let key = key();
        let token = key.sign_compact("at+jwt", &json!({"sub": "a"})).unwrap();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(br#"{"sub":"b"}"#);
        let forged = Unverified::parse(&parts.join(".")).unwrap();
        let refused = forged.verify::<Value>(key.public(), &[SignatureAlgorithm::Es256]);
        assert_eq!(refused.unwrap_err(), JwsError::Signature);
    }

    #[test]
    fn hostile_headers_are_refused() {
        let claims = URL_SAFE_NO_PAD.encode(b"{}");
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"ES256","crit":["x"]}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
            r#"["ES256"]"#,
            r#"{"typ":"at+jwt"}"#,
        ] {
            let token = format!("{}.{claims}.AAAA", URL_SAFE_NO_PAD.encode(header));
            assert!(Unverified::parse(&token).is_err(), "{header}");
        }
        for token in ["", "a.b", "a.b.c.d", "=.=.="] {
            assert!(Unverified::parse(token).is_err(), "{token}");
        }
    }
}
