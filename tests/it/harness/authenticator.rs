//! A program that pretends to be an authenticator: it makes a passkey (Web Authentication Level 3 §6.5, "none" attestation).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Flags of the authenticator data: user present, user verified, attested credential data.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;

/// Answers what a page asks `navigator.credentials.create`. `verified`: the human showed a face, a finger or a code.
pub(crate) fn makes_passkey(origin: &str, options: &Value, verified: bool) -> Value {
    let asked = &options["publicKey"];
    let client_data = json!({
        "type": "webauthn.create", "challenge": asked["challenge"], "origin": origin, "crossOrigin": false,
    })
    .to_string();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).expect("a key");
    let point = key.public_key().as_ref();
    let named = digest(&SHA256, point);
    let id = &named.as_ref()[..16];
    let mut data = digest(&SHA256, asked["rp"]["id"].as_str().expect("an id").as_bytes()).as_ref().to_vec();
    data.push(PRESENT | ATTESTED | if verified { VERIFIED } else { 0 });
    data.extend([0; 4 + 16]);
    data.extend([0, 16]);
    data.extend(id);
    data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
    data.extend(&point[1..33]);
    data.extend([0x22, 0x58, 0x20]);
    data.extend(&point[33..]);
    let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
    object.push(u8::try_from(data.len()).expect("a short one"));
    object.extend(&data);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "id": text(id), "rawId": text(id), "type": "public-key", "clientExtensionResults": {},
        "response": {"attestationObject": text(&object), "clientDataJSON": text(client_data.as_bytes())},
    })
}
