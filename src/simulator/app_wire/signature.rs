//! The two signatures of a call, made on bare primitives.

use aws_lc_rs::hmac;
use serde_json::json;
use url::Url;

use crate::secret::sha256_base64url;
use crate::signing::{SigningError, SigningKey};

/// `Stripe-Signature`: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`, one `v1` for each secret. The secret is used as
/// the bytes of its text.
#[must_use]
pub fn stripe_signature(secrets: &[&str], at: i64, body: &[u8]) -> String {
    let signed = [at.to_string().as_bytes(), b".", body].concat();
    let mut header = format!("t={at}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        header.push_str(",v1=");
        header.extend(hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")));
    }
    header
}

/// `Stripe-Signature-V2`: a JWT by an Ed25519 key with `version` 1, `htm`, `htu`, `digest` (base64url SHA-256 of the body),
/// `iat`, `exp` five minutes later, and `jti`.
///
/// # Errors
/// When signing fails.
pub fn stripe_signature_v2(
    key: &SigningKey,
    method: &str,
    url: &Url,
    body: &[u8],
    at: i64,
    jti: &str,
) -> Result<String, SigningError> {
    let mut htu = url.clone();
    htu.set_query(None);
    htu.set_fragment(None);
    let claims = json!({
        "version": 1,
        "htm": method,
        "htu": htu.as_str(),
        "digest": sha256_base64url(body),
        "iat": at,
        "exp": at + 300,
        "jti": jti,
    });
    key.sign_compact("JWT", &claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{Algorithm, KeyPurpose, SignatureAlgorithm, Unverified};
    use serde_json::Value;

    #[test]
    fn the_hmac_is_that_of_the_scheme() {
        // Computed with `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test`.
        let one = stripe_signature(&["whsec_test"], 1_700_000_000, b"{}");
        assert_eq!(one, "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91");
        let two = stripe_signature(&["whsec_new", "whsec_test"], 1_700_000_000, b"{}");
        assert!(two.ends_with(one.rsplit(',').next().unwrap()) && two.matches("v1=").count() == 2);
        assert_ne!(stripe_signature(&["whsec_test"], 1_700_000_000, b""), one);
    }

    #[test]
    fn the_second_signature_binds_method_address_and_body() {
        let (key, _) = SigningKey::generate(KeyPurpose::AccessToken, Algorithm::EdDsa).unwrap();
        let url: Url = "http://127.0.0.1:1/provisioning/services?cursor=a".parse().unwrap();
        let token = stripe_signature_v2(&key, "GET", &url, b"", 1_700_000_000, "j").unwrap();
        let read = Unverified::parse(&token).unwrap();
        let claims = read.verify::<Value>(key.public(), &[SignatureAlgorithm::EdDsa]).unwrap().claims;
        assert_eq!(claims["htm"], "GET");
        assert_eq!(claims["htu"], "http://127.0.0.1:1/provisioning/services");
        assert_eq!(claims["digest"], "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
        assert_eq!((&claims["version"], &claims["exp"]), (&1.into(), &1_700_000_300_i64.into()));
    }
}
