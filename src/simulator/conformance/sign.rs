//! The runner's own signatures: HMAC over the raw body, and the JWT that binds method and body too. Written from the
//! protocol, without a line of the provider's verification.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::secret::{Secret, sha256_base64url};
use crate::signing::{Algorithm, KeyPurpose, SigningError, SigningKey};

/// The 64 hexadecimal digits over `{seconds}.{body}`.
pub(super) fn digits(secret: &Secret, seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    hexadecimal(context.sign().as_ref())
}

/// The digits over anything at all.
pub(super) fn digits_over(secret: &Secret, message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hexadecimal(hmac::sign(&key, message).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The whole header.
pub(super) fn header(secret: &Secret, seconds: i64, body: &[u8]) -> String {
    format!("t={seconds},v1={}", digits(secret, seconds, body))
}

/// The key with which the runner signs the second scheme, and what its claims say.
#[derive(Debug, Clone)]
pub(super) struct V2Key(SigningKey);

impl V2Key {
    /// From PKCS #8, as DER or PEM.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, SigningError> {
        let der = std::str::from_utf8(bytes).ok().and_then(pem).unwrap_or_else(|| bytes.to_vec());
        SigningKey::from_pkcs8(KeyPurpose::ClientAssertion, Algorithm::EdDsa, &der).map(Self)
    }

    pub(super) fn generate() -> Result<Self, SigningError> {
        SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::EdDsa).map(|(key, _)| Self(key))
    }

    pub(super) fn kid(&self) -> &str {
        self.0.kid()
    }

    /// The public half as the key endpoint tells it.
    pub(super) fn published(&self, expires_at: Timestamp) -> Value {
        let mut key = serde_json::to_value(self.0.public()).unwrap_or_default();
        if let Some(members) = key.as_object_mut() {
            members.insert("expires_at".to_owned(), json!(expires_at.to_rfc3339()));
        }
        key
    }

    pub(super) fn sign(&self, claims: &Value) -> Result<String, SigningError> {
        self.0.sign_compact("JWT", claims)
    }
}

/// The claims of a right token.
pub(super) fn claims(verb: &str, url: &str, body: &[u8], now: Timestamp, id: &str) -> Value {
    json!({
        "version": 1,
        "htm": verb,
        "htu": url,
        "digest": sha256_base64url(body),
        "iat": now.seconds(),
        "exp": now.seconds() + 60,
        "jti": id,
    })
}

/// A token that nobody signed, or that is signed with a public text: `alg` is one that must never be believed.
pub(super) fn forged(algorithm: &str, kid: &str, claims: &Value, signature: impl FnOnce(&str) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": algorithm, "typ": "JWT", "kid": kid})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(signature(&message));
    format!("{message}.{signature}")
}

fn pem(text: &str) -> Option<Vec<u8>> {
    let body = text.split_once("-----BEGIN PRIVATE KEY-----")?.1.split_once("-----END PRIVATE KEY-----")?.0;
    let digits: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_those_of_any_webhook_library() {
        // HMAC-SHA256("whsec_test", "1700000000.{}"), computed with `openssl dgst -sha256 -hmac`.
        let header = header(&Secret::presented("whsec_test"), 1_700_000_000, b"{}");
        assert_eq!(header, "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91");
    }
}
