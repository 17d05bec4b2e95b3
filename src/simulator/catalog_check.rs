//! Believing a catalog: signatures over the exact bytes, canonical form, expiry, name. Written against the standards
//! (RFC 7515, 7518, 8037, 8785) on bare primitives, so that it does not share the provider's mistakes.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::secret::sha256_base64url;
use crate::signing::{canonical_json, parse_strict};

/// A catalog that may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCatalog {
    /// Grows by one with each revision.
    pub version: u64,
    /// The provider's name, where the document says it.
    pub title: Option<String>,
    /// The ids of the services.
    pub services: Vec<String>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Why a catalog is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogRefused {
    /// The signed document is not the one that was served.
    #[error("what was signed is not what was served")]
    OtherBytes,
    /// There is no good signature with this algorithm.
    #[error("no good {0} signature: {1}")]
    Signature(&'static str, &'static str),
    /// Not canonical JSON.
    #[error("the document is not canonical JSON")]
    NotCanonical,
    /// A member is missing or of another form.
    #[error("`{0}` is missing or of another form")]
    Member(&'static str),
    /// Of another provider.
    #[error("the document was issued by `{0}`")]
    OtherIssuer(String),
    /// Too old.
    #[error("the document expired at {0}")]
    Expired(Timestamp),
}

/// Checks `bytes` as they were served, with the general JWS and the key set of the same provider.
///
/// # Errors
/// See [`CatalogRefused`].
pub fn check_catalog(
    bytes: &[u8],
    jws: &Value,
    keys: &Value,
    issuer: &str,
    now: Timestamp,
) -> Result<CheckedCatalog, CatalogRefused> {
    let payload = jws.get("payload").and_then(Value::as_str).ok_or(CatalogRefused::Member("payload"))?;
    if URL_SAFE_NO_PAD.decode(payload).ok().as_deref() != Some(bytes) {
        return Err(CatalogRefused::OtherBytes);
    }
    for algorithm in ["ES256", "EdDSA"] {
        check_signature(algorithm, payload, jws, keys).map_err(|why| CatalogRefused::Signature(algorithm, why))?;
    }
    let document: Value = parse_strict(bytes).map_err(|_not_json| CatalogRefused::NotCanonical)?;
    if canonical_json(&document).ok().as_deref() != Some(bytes) {
        return Err(CatalogRefused::NotCanonical);
    }
    read(&document, issuer, now)
}

fn check_signature(algorithm: &str, payload: &str, jws: &Value, keys: &Value) -> Result<(), &'static str> {
    let signatures = jws.get("signatures").and_then(Value::as_array).ok_or("there are no signatures")?;
    for signature in signatures {
        let (Some(protected), Some(value)) = (text(signature, "protected"), text(signature, "signature")) else {
            return Err("a signature lacks its header or its value");
        };
        let header = URL_SAFE_NO_PAD.decode(protected).map_err(|_bad| "a header is not base64url")?;
        let header: Value = parse_strict(&header).map_err(|_bad| "a header is not strict JSON")?;
        if text(&header, "alg") != Some(algorithm) {
            continue;
        }
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err("a header asks for what we do not do");
        }
        let kid = text(&header, "kid").ok_or("a header names no key")?;
        let published = keys.get("keys").and_then(Value::as_array).ok_or("there are no keys")?;
        let key = published.iter().find(|key| text(key, "kid") == Some(kid)).ok_or("the key is not published")?;
        let value = URL_SAFE_NO_PAD.decode(value).map_err(|_bad| "a signature is not base64url")?;
        return verify(algorithm, key, kid, format!("{protected}.{payload}").as_bytes(), &value);
    }
    Err("there is none")
}

fn verify(algorithm: &str, key: &Value, kid: &str, message: &[u8], signature: &[u8]) -> Result<(), &'static str> {
    let x_text = text(key, "x").ok_or("the key has no `x`")?;
    let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_bad| "the key is not base64url");
    let (primitive, public, named): (&'static dyn VerificationAlgorithm, Vec<u8>, String) =
        match (algorithm, text(key, "kty"), text(key, "crv")) {
            ("ES256", Some("EC"), Some("P-256")) => {
                let y_text = text(key, "y").ok_or("the key has no `y`")?;
                let public = [vec![4], coordinate(x_text)?, coordinate(y_text)?].concat();
                let named = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x_text}","y":"{y_text}"}}"#);
                (&ECDSA_P256_SHA256_FIXED, public, named)
            }
            ("EdDSA", Some("OKP"), Some("Ed25519")) => {
                let named = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x_text}"}}"#);
                (&ED25519, coordinate(x_text)?, named)
            }
            _ => return Err("the key is of another kind"),
        };
    // RFC 7638: the name of a key is its thumbprint.
    if sha256_base64url(named.as_bytes()) != kid {
        return Err("`kid` is not the key's thumbprint");
    }
    UnparsedPublicKey::new(primitive, public).verify(message, signature).map_err(|_false| "it does not fit")
}

/// Reads leniently: only what the agent relies on.
fn read(document: &Value, issuer: &str, now: Timestamp) -> Result<CheckedCatalog, CatalogRefused> {
    let said = text(document, "iss").ok_or(CatalogRefused::Member("iss"))?;
    if said != issuer {
        return Err(CatalogRefused::OtherIssuer(said.to_owned()));
    }
    let version = document.get("version").and_then(Value::as_u64).ok_or(CatalogRefused::Member("version"))?;
    let expires_at = text(document, "expires_at").and_then(|text| Timestamp::parse_rfc3339(text).ok());
    let expires_at = expires_at.ok_or(CatalogRefused::Member("expires_at"))?;
    if expires_at <= now {
        return Err(CatalogRefused::Expired(expires_at));
    }
    let services = document.get("services").and_then(Value::as_array).ok_or(CatalogRefused::Member("services"))?;
    let services: Option<Vec<String>> = services.iter().map(|service| text(service, "id").map(str::to_owned)).collect();
    let title = text(document, "title")
        .or_else(|| document.get("provider").and_then(|provider| text(provider, "title").or(text(provider, "name"))))
        .map(str::to_owned);
    Ok(CheckedCatalog { version, title, services: services.ok_or(CatalogRefused::Member("services"))?, expires_at })
}

fn text<'v>(value: &'v Value, member: &str) -> Option<&'v str> {
    value.get(member).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{KeyPurpose, KeyRing};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn signed(document: &Value) -> (Vec<u8>, Value, Value) {
        let ring = KeyRing::generate().unwrap();
        let bytes = canonical_json(document).unwrap();
        let jws = ring.sign_general(KeyPurpose::Catalog, "catalog+jws", &bytes).unwrap();
        (bytes, jws, ring.jwks())
    }

    fn document() -> Value {
        let until = Timestamp::from_seconds(NOW.seconds() + 60);
        json!({"iss": "http://p", "version": 3, "expires_at": until, "services": [{"id": "weather"}], "title": "Acme"})
    }

    #[test]
    fn a_well_signed_catalog_is_believed() {
        let (bytes, jws, keys) = signed(&document());
        let checked = check_catalog(&bytes, &jws, &keys, "http://p", NOW).unwrap();
        assert_eq!((checked.version, checked.services), (3, vec!["weather".to_owned()]));
        let later = Timestamp::from_seconds(NOW.seconds() + 61);
        assert!(matches!(check_catalog(&bytes, &jws, &keys, "http://p", later), Err(CatalogRefused::Expired(_))));
        assert!(matches!(check_catalog(&bytes, &jws, &keys, "http://q", NOW), Err(CatalogRefused::OtherIssuer(_))));
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let (bytes, jws, keys) = signed(&document());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(
                check_catalog(&changed, &jws, &keys, "http://p", NOW),
                Err(CatalogRefused::OtherBytes),
                "byte {at}"
            );
            // Changed in both places: now only the signature can tell.
            let mut forged = jws.clone();
            forged["payload"] = json!(URL_SAFE_NO_PAD.encode(&changed));
            let refused = check_catalog(&changed, &forged, &keys, "http://p", NOW);
            assert!(matches!(refused, Err(CatalogRefused::Signature("ES256", _))), "byte {at}: {refused:?}");
        }
    }

    #[test]
    fn both_signatures_by_published_keys_are_needed() {
        let (bytes, jws, keys) = signed(&document());
        let (_, _, other_keys) = signed(&document());
        assert!(check_catalog(&bytes, &jws, &other_keys, "http://p", NOW).is_err());
        for left in [0, 1] {
            let mut one = jws.clone();
            one["signatures"].as_array_mut().unwrap().remove(left);
            let refused = check_catalog(&bytes, &one, &keys, "http://p", NOW);
            assert!(matches!(refused, Err(CatalogRefused::Signature(_, "there is none"))));
        }
    }
}
