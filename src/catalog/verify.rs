//! A published catalog as an outside client sees it: nothing is believed that the issuer's keys did not sign, that is too
//! old, or that goes back behind what was seen before.
//!
//! The steps of [`verify`], in order:
//! 1. every signature is by a key of the set and fits; ES256 and EdDSA are both there (RFC 7515 §5.2, general form);
//! 2. what was signed is, byte for byte, what is served;
//! 3. those bytes are RFC 8785 canonical JSON and read as a catalog, whose plans say nothing untrue about each other;
//! 4. the issuer is the expected one;
//! 5. it is not expired, and not good for longer than 24 hours;
//! 6. it is not older than what was last seen, and a version that was seen before has not changed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::last_seen::LastSeen;
use super::published::{Document, JWS_TYPE, LIFETIME, Version};
use super::references;
use crate::clock::Timestamp;
use crate::secret::sha256_name;
use crate::signing::{canonical_json, parse_strict};

/// The algorithms of which each has to have signed.
const REQUIRED: [(&str, jsonwebtoken::Algorithm); 2] =
    [("ES256", jsonwebtoken::Algorithm::ES256), ("EdDSA", jsonwebtoken::Algorithm::EdDSA)];
/// More signatures than this are not looked at.
const MAX_SIGNATURES: usize = 8;
/// How far two clocks may differ.
const SKEW: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// What was fetched. Nothing of it is believed yet.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The body of `/catalog.jws`.
    pub jws: Vec<u8>,
    /// The body of `/catalog`.
    pub served: Vec<u8>,
}

/// The keys that decide: pinned, or of the issuer's JWK set.
#[derive(Debug, Clone)]
pub struct TrustedKeys(pub(super) Vec<Jwk>);

/// A catalog that can be believed.
#[derive(Debug, Clone)]
pub struct Verified {
    /// As it reads.
    pub document: Document,
    /// Of the served bytes.
    pub digest: String,
    /// The keys that signed, ES256 first.
    pub kids: Vec<String>,
}

impl Verified {
    /// What to remember.
    #[must_use]
    pub fn seen(&self) -> LastSeen {
        LastSeen { version: self.document.version, digest: self.digest.clone() }
    }
}

/// Why a catalog is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a general JWS, or its headers ask for something that is not done here.
    #[error("the signed catalog is not a well-formed general JWS: {0}")]
    Malformed(&'static str),
    /// Signed by a key that is not in the set.
    #[error("the catalog is signed by the key `{0}`, which is not one of the trusted keys")]
    UnknownKey(String),
    /// A signature that does not fit: the payload or the signature was changed, or another key made it.
    #[error("the {0} signature does not fit: the catalog was changed, or another key signed it")]
    Signature(String),
    /// One of the required signatures is missing.
    #[error("there is no {0} signature")]
    Unsigned(&'static str),
    /// The signed bytes are not the served ones.
    #[error("what is served at /catalog is not what was signed")]
    NotServed,
    /// Not the one form whose digest counts.
    #[error("the catalog is not RFC 8785 canonical JSON")]
    NotCanonical,
    /// It does not read as a catalog.
    #[error("the catalog cannot be read: {0}")]
    Unreadable(String),
    /// From another issuer.
    #[error("the catalog is of the issuer `{found}`, not of `{expected}`")]
    Issuer {
        /// In the document.
        found: String,
        /// From the URL.
        expected: String,
    },
    /// Too old.
    #[error("the catalog expired at {0}")]
    Expired(Timestamp),
    /// Good for longer than 24 hours, or issued in the future.
    #[error("the catalog states times that cannot be: issued at {issued_at}, expires at {expires_at}")]
    Times {
        /// As stated.
        issued_at: Timestamp,
        /// As stated.
        expires_at: Timestamp,
    },
    /// Behind what was seen.
    #[error("the catalog went back: version {found} is served, and version {seen} was seen before")]
    WentBack {
        /// Served now.
        found: Version,
        /// Seen before.
        seen: Version,
    },
    /// The same number for something else, or a chain that does not join.
    #[error("version {0} is not what was seen before under that number")]
    Changed(Version),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct General {
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    protected: String,
    signature: String,
}

/// Believes what was fetched, or says why not.
///
/// # Errors
/// See [`VerifyError`]; the steps stand at the top of this file.
pub fn verify(
    fetched: &Fetched,
    keys: &TrustedKeys,
    issuer: &str,
    last_seen: Option<&LastSeen>,
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    // 1
    let general: General = parse_strict(&fetched.jws)
        .map_err(|_not_general| VerifyError::Malformed("not an object with `payload` and `signatures`"))?;
    let kids = signatures(&general, keys)?;
    // 2
    let payload = decoded(&general.payload)?;
    if payload != fetched.served {
        return Err(VerifyError::NotServed);
    }
    // 3
    let value: Value = parse_strict(&payload).map_err(|error| VerifyError::Unreadable(error.to_string()))?;
    if canonical_json(&value).ok().as_ref() != Some(&payload) {
        return Err(VerifyError::NotCanonical);
    }
    let document: Document =
        serde_json::from_value(value).map_err(|error| VerifyError::Unreadable(error.to_string()))?;
    if let Some(bad) = references::check(&document.services).first() {
        return Err(VerifyError::Unreadable(format!("the plan `{}`: {}", bad.plan, bad.why)));
    }
    // 4
    if document.iss != issuer {
        return Err(VerifyError::Issuer { found: document.iss, expected: issuer.to_owned() });
    }
    // 5
    times(&document, now)?;
    // 6
    let digest = sha256_name(&payload);
    last_seen.map_or(Ok(()), |seen| progress(&document, &digest, seen))?;
    Ok(Verified { document, digest, kids })
}

fn times(document: &Document, now: Timestamp) -> Result<(), VerifyError> {
    let (issued_at, expires_at) = (document.issued_at, document.expires_at);
    if expires_at <= now {
        return Err(VerifyError::Expired(expires_at));
    }
    if expires_at.since(issued_at) > LIFETIME || issued_at > now.plus(SKEW) {
        return Err(VerifyError::Times { issued_at, expires_at });
    }
    Ok(())
}

fn progress(document: &Document, digest: &str, seen: &LastSeen) -> Result<(), VerifyError> {
    let found = document.version;
    if found < seen.version {
        return Err(VerifyError::WentBack { found, seen: seen.version });
    }
    if found == seen.version && digest != seen.digest {
        return Err(VerifyError::Changed(found));
    }
    let follows = seen.version.next().is_ok_and(|next| next == found);
    if follows && document.prev.as_ref() != Some(&seen.digest) {
        return Err(VerifyError::Changed(seen.version));
    }
    Ok(())
}

fn decoded(segment: &str) -> Result<Vec<u8>, VerifyError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_not_base64| VerifyError::Malformed("a part is not base64url"))
}

/// Checks every signature, and that none is missing. Answers who signed, in the order of [`REQUIRED`].
fn signatures(general: &General, keys: &TrustedKeys) -> Result<Vec<String>, VerifyError> {
    if general.signatures.len() > MAX_SIGNATURES {
        return Err(VerifyError::Malformed("too many signatures"));
    }
    let signed = general.signatures.iter().map(|signature| believed(signature, &general.payload, keys));
    let signed = signed.collect::<Result<Vec<_>, _>>()?;
    let by = |name: &'static str| {
        let found = signed.iter().find(|(algorithm, _)| *algorithm == name);
        found.map(|(_, kid)| kid.clone()).ok_or(VerifyError::Unsigned(name))
    };
    REQUIRED.iter().map(|(name, _)| by(name)).collect()
}

/// The algorithm and key of one signature that fits.
fn believed(one: &Signature, payload: &str, keys: &TrustedKeys) -> Result<(&'static str, String), VerifyError> {
    let header: Map<String, Value> = parse_strict(&decoded(&one.protected)?)
        .map_err(|_not_header| VerifyError::Malformed("a header is not an object that says each thing once"))?;
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(VerifyError::Malformed("a header asks for what is not understood"));
    }
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    if text("typ") != Some(JWS_TYPE) {
        return Err(VerifyError::Malformed("it is signed as something else than a catalog"));
    }
    let alg = text("alg").ok_or(VerifyError::Malformed("a header has no algorithm"))?;
    let (name, algorithm) = REQUIRED
        .into_iter()
        .find(|(name, _)| *name == alg)
        .ok_or(VerifyError::Malformed("a header has an algorithm other than ES256 and EdDSA"))?;
    let kid = text("kid").ok_or(VerifyError::Malformed("a header has no `kid`"))?;
    // Keys that a header brings along (`jwk`, `jku`, `x5u`) are never looked at.
    let key = keys
        .0
        .iter()
        .find(|key| key.common.key_id.as_deref() == Some(kid))
        .ok_or_else(|| VerifyError::UnknownKey(kid.chars().take(64).collect()))?;
    if fits(&format!("{}.{payload}", one.protected), &one.signature, key, algorithm) {
        Ok((name, kid.to_owned()))
    } else {
        Err(VerifyError::Signature(name.to_owned()))
    }
}

fn fits(message: &str, signature: &str, key: &Jwk, algorithm: jsonwebtoken::Algorithm) -> bool {
    let suits = match &key.algorithm {
        AlgorithmParameters::EllipticCurve(key) => {
            key.curve == EllipticCurve::P256 && algorithm == jsonwebtoken::Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && algorithm == jsonwebtoken::Algorithm::EdDSA
        }
        _ => false,
    };
    suits
        && DecodingKey::from_jwk(key).is_ok_and(|key| {
            matches!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm), Ok(true))
        })
}
