//! Entry points of the fuzz targets in `fuzz/`: what strangers send is read by the same code as in the product. Only in
//! builds of cargo-fuzz.

use crate::attestation::request_signature::{SigningSecret, UnverifiedRequest};
use crate::clock::Timestamp;
use crate::ids::{OrchestratorId, WireSecretId};

/// The instant of every run.
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// The first line is a header, the rest a body.
fn parts(bytes: &[u8]) -> (Option<&str>, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (header, body) = bytes.split_at(end);
    (std::str::from_utf8(header).ok(), body.get(1..).unwrap_or_default())
}

fn request<'a>(header: Option<&'a str>, v2: Option<&'a str>, body: &'a [u8]) -> UnverifiedRequest<'a> {
    let (method, target, base_url) = ("POST", "/provisioning/health", "https://p.example");
    UnverifiedRequest { method, target, base_url, signature: header, signature_v2: v2, body }
}

/// `Stripe-Signature`: nothing that was not signed is believed.
///
/// # Panics
/// When something is believed.
pub fn signature(bytes: &[u8]) {
    let (header, body) = parts(bytes);
    let secret = SigningSecret::new(OrchestratorId::new(NOW), WireSecretId::new(NOW), b"whsec_fuzzing");
    assert!(request(header, None, body).verify(&[secret], NOW).is_err(), "a forged signature was believed");
}

/// `Stripe-Signature-V2`: nothing that was not signed is believed.
///
/// # Panics
/// When something is believed.
pub fn signature_v2(bytes: &[u8]) {
    let (header, body) = parts(bytes);
    let key = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    let Ok(key) = serde_json::from_value(key) else { return };
    assert!(request(None, header, body).verify_v2_under(&key, NOW).is_err(), "a forged signature was believed");
}

/// The body of a request to the token endpoint.
pub fn token_request(bytes: &[u8]) {
    crate::http::fuzz_token_request(bytes);
}
