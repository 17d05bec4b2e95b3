//! Our signing keys: one purpose each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, Signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// What a key signs. A key never signs anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// The published catalog.
    Catalog,
    /// Access tokens of `/v1`.
    AccessToken,
    /// Discovery documents (`signed_metadata`).
    Metadata,
    /// Our own assertions as a client of orchestrators.
    ClientAssertion,
    /// Security events that we tell orchestrators.
    SecurityEvent,
    /// What was known when a case was opened.
    Evidence,
}

impl KeyPurpose {
    /// Every purpose with the algorithms it needs.
    pub const ALL: [(Self, Algorithm); 7] = [
        (Self::Catalog, Algorithm::Es256),
        (Self::Catalog, Algorithm::EdDsa),
        (Self::AccessToken, Algorithm::Es256),
        (Self::Metadata, Algorithm::Es256),
        (Self::ClientAssertion, Algorithm::Es256),
        (Self::SecurityEvent, Algorithm::Es256),
        (Self::Evidence, Algorithm::Es256),
    ];

    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::AccessToken => "access_token",
            Self::Metadata => "metadata",
            Self::ClientAssertion => "client_assertion",
            Self::SecurityEvent => "security_event",
            Self::Evidence => "evidence",
        }
    }
}

impl FromStr for KeyPurpose {
    type Err = SigningError;

    fn from_str(text: &str) -> Result<Self, SigningError> {
        let known = Self::ALL.into_iter().map(|(purpose, _)| purpose).find(|purpose| purpose.as_str() == text);
        known.ok_or(SigningError::UnknownPurpose)
    }
}

/// What we sign with. RSA is only ever verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// The JOSE `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl FromStr for Algorithm {
    type Err = SigningError;

    fn from_str(text: &str) -> Result<Self, SigningError> {
        match text {
            "ES256" => Ok(Self::Es256),
            "EdDSA" => Ok(Self::EdDsa),
            _ => Err(SigningError::UnknownAlgorithm),
        }
    }
}

/// Who made a key, so that `serve` can refuse the keys of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Made by `init` or the first start of `serve`.
    Instance,
    /// Made by `demo`.
    Demo,
}

impl KeyOrigin {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Demo => "demo",
        }
    }
}

/// Why something was not signed, or a key not made.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A stored purpose that this program does not know.
    #[error("a stored key has an unknown purpose")]
    UnknownPurpose,
    /// A stored algorithm that this program does not know.
    #[error("a stored key has an unknown algorithm")]
    UnknownAlgorithm,
    /// The ring has no key for the purpose.
    #[error("there is no key for {purpose} with {algorithm}")]
    NoKey {
        /// Of the wanted key.
        purpose: &'static str,
        /// Of the wanted key.
        algorithm: &'static str,
    },
    /// A key could not be made or read.
    #[error("a key could not be made or read")]
    Key,
    /// The public half could not be written as a JWK.
    #[error("a public key could not be written")]
    Public(#[from] jsonwebtoken::errors::Error),
    /// The signature failed.
    #[error("signing failed")]
    Sign,
    /// The payload is no JSON.
    #[error("the payload cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// A private key, read once: reading one costs nearly as much as a signature.
#[derive(Clone)]
enum Private {
    Es256(Arc<EcdsaKeyPair>),
    EdDsa(Arc<Ed25519KeyPair>),
}

impl Private {
    fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, SigningError> {
        let read = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .map(|pair| Self::Es256(Arc::new(pair))),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).map(|pair| Self::EdDsa(Arc::new(pair))),
        };
        read.map_err(|_rejected| SigningError::Key)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SigningError> {
        match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).map_err(|_unspecified| SigningError::Sign),
            Self::EdDsa(pair) => Ok(pair.sign(message)),
        }
    }
}

/// One private key and its public half.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    purpose: KeyPurpose,
    algorithm: Algorithm,
    private: Private,
    public: Jwk,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key and its PKCS #8 form, which is to be sealed.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate(purpose: KeyPurpose, algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), SigningError> {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random),
        }
        .map_err(|_unspecified| SigningError::Key)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        Ok((Self::from_pkcs8(purpose, algorithm, &pkcs8)?, pkcs8))
    }

    /// Reads a key from its PKCS #8 form.
    ///
    /// # Errors
    /// When the bytes are no key of `algorithm`.
    pub fn from_pkcs8(purpose: KeyPurpose, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, SigningError> {
        let encoding = match algorithm {
            Algorithm::Es256 => EncodingKey::from_ec_der(pkcs8),
            Algorithm::EdDsa => EncodingKey::from_ed_der(pkcs8),
        };
        let private = Private::from_pkcs8(algorithm, pkcs8)?;
        let mut public = Jwk::from_encoding_key(&encoding, algorithm.jose())?;
        let kid = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { kid, purpose, algorithm, private, public })
    }

    /// RFC 7638 thumbprint of the public half.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What the key signs.
    #[must_use]
    pub fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    /// With what it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, with `kid`, `alg` and `use`.
    #[must_use]
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    /// A compact JWS (RFC 7515 §3.1) over the JSON of `claims`, with `typ`, `alg` and `kid` in its header.
    ///
    /// # Errors
    /// When the claims are no JSON or signing fails.
    pub fn sign_compact(&self, typ: &str, claims: &impl Serialize) -> Result<String, SigningError> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
        let (protected, signature) = self.sign_payload(typ, &payload)?;
        Ok(format!("{protected}.{payload}.{signature}"))
    }

    /// The protected header and the signature over an already encoded payload.
    fn sign_payload(&self, typ: &str, payload: &str) -> Result<(String, String), SigningError> {
        let header = json!({"alg": self.algorithm.as_str(), "kid": self.kid, "typ": typ});
        let protected = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
        let message = format!("{protected}.{payload}");
        let signature = self.private.sign(message.as_bytes())?;
        Ok((protected, URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// All our keys.
#[derive(Debug, Clone)]
pub struct KeyRing {
    keys: Vec<SigningKey>,
}

impl KeyRing {
    /// A ring of these keys. The first key of a purpose and algorithm signs; all are published.
    #[must_use]
    pub fn new(keys: Vec<SigningKey>) -> Self {
        Self { keys }
    }

    /// A ring of new keys for every purpose, each with its sealed-to-be PKCS #8 form.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Self, SigningError> {
        let keys =
            KeyPurpose::ALL.into_iter().map(|(purpose, alg)| SigningKey::generate(purpose, alg).map(|made| made.0));
        keys.collect::<Result<_, _>>().map(Self::new)
    }

    /// The key that signs for `purpose` with `algorithm`.
    ///
    /// # Errors
    /// When the ring has none.
    pub fn key(&self, purpose: KeyPurpose, algorithm: Algorithm) -> Result<&SigningKey, SigningError> {
        self.keys
            .iter()
            .find(|key| key.purpose == purpose && key.algorithm == algorithm)
            .ok_or(SigningError::NoKey { purpose: purpose.as_str(), algorithm: algorithm.as_str() })
    }

    /// The public key with this `kid` and purpose.
    #[must_use]
    pub fn public(&self, purpose: KeyPurpose, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.purpose == purpose && key.kid == kid).map(|key| &key.public)
    }

    /// The JWK set (RFC 7517 §5) of all public halves.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.keys.iter().map(SigningKey::public).collect::<Vec<_>>()})
    }

    /// A general JWS (RFC 7515 §7.2.1) over `payload` with one signature by each of our keys for `purpose`, ES256 first.
    ///
    /// # Errors
    /// When there is no key or signing fails.
    pub fn sign_general(&self, purpose: KeyPurpose, typ: &str, payload: &[u8]) -> Result<Value, SigningError> {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let mut signatures = Vec::new();
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (protected, signature) = self.key(purpose, algorithm)?.sign_payload(typ, &payload)?;
            signatures.push(json!({"protected": protected, "signature": signature}));
        }
        Ok(json!({"payload": payload, "signatures": signatures}))
    }
}
