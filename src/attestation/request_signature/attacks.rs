//! Whatever an attacker may try with a signed request.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::hmac::Header;
use super::public_keys::read_keys;
use super::v2::Token;
use super::{SignatureError, SignedRequest, SigningSecret, UnverifiedRequest};
use crate::clock::Timestamp;
use crate::ids::{OrchestratorId, WireSecretId};
use crate::secret::sha256_base64url;

const NOW: i64 = 1_790_000_000;
const BODY: &[u8] = br#"{"email":"dana@example.com"}"#;

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

fn secret(text: &str) -> SigningSecret {
    let at = Timestamp::from_seconds(1);
    SigningSecret::new(OrchestratorId::new(at), WireSecretId::new(at), text.as_bytes())
}

/// Written apart from the verifier: the signature as the scheme describes it.
fn hex(secret: &str, t: &str, body: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let message = [t.as_bytes(), b".", body].concat();
    aws_lc_rs::hmac::sign(&key, &message).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn header(t: i64) -> String {
    format!("t={t},v1={}", hex("whsec_a", &t.to_string(), BODY))
}

fn judged(header: Option<&str>, body: &[u8]) -> Result<SignedRequest, SignatureError> {
    let request = UnverifiedRequest {
        method: "POST",
        target: "/provisioning/account_requests",
        base_url: "https://desk.example",
        signature: header,
        signature_v2: None,
        body,
    };
    request.verify(&[secret("whsec_other"), secret("whsec_a")], now())
}

#[test]
fn a_fitting_signature_is_believed_within_five_minutes_both_ways() {
    for t in [NOW - 300, NOW - 1, NOW, NOW + 1, NOW + 300] {
        assert_eq!(judged(Some(&header(t)), BODY).unwrap().signed_at(), t);
    }
    for t in [NOW - 301, NOW + 301, 0, 1, 999_999_999_999] {
        assert_eq!(judged(Some(&header(t)), BODY).unwrap_err(), SignatureError::Stale, "{t}");
    }
}

#[test]
fn the_vector_of_the_scheme_is_believed() {
    // HMAC-SHA256("whsec_vector", "1790000000.{}"), computed with another implementation.
    let vector = hex("whsec_vector", "1790000000", b"{}");
    let request = UnverifiedRequest {
        method: "GET",
        target: "/",
        base_url: "https://desk.example",
        signature: Some(&format!("t=1790000000,v1={vector}")),
        signature_v2: None,
        body: b"{}",
    };
    assert!(request.verify(&[secret("whsec_vector")], now()).is_ok());
}

#[test]
fn any_of_several_signatures_and_secrets_may_fit_and_case_does_not_matter() {
    let (good, bad) = (hex("whsec_a", &NOW.to_string(), BODY), "0".repeat(64));
    for text in [
        format!("t={NOW},v1={bad},v1={good}"),
        format!("v1={good},t={NOW}"),
        format!("t={NOW},v0={bad},v1={good}"),
        format!("t={NOW}, v1={good}"),
        format!("t={NOW},v1=,v1=zz,v1={good}"),
        format!("t={NOW},v1={}", good.to_ascii_uppercase()),
    ] {
        assert!(judged(Some(&text), BODY).is_ok(), "{text}");
    }
}

#[test]
fn nothing_else_is_believed() {
    let good = hex("whsec_a", &NOW.to_string(), BODY);
    assert_eq!(judged(None, BODY).unwrap_err(), SignatureError::Missing);
    assert_eq!(judged(Some(&header(NOW)), b"{}").unwrap_err(), SignatureError::Mismatch, "another body");
    assert_eq!(judged(Some(&header(NOW)), b"").unwrap_err(), SignatureError::Mismatch, "no body");
    let shifted = format!("t={},v1={good}", NOW + 1);
    assert_eq!(judged(Some(&shifted), BODY).unwrap_err(), SignatureError::Mismatch, "another time");
    let foreign = format!("t={NOW},v1={}", hex("whsec_b", &NOW.to_string(), BODY));
    assert_eq!(judged(Some(&foreign), BODY).unwrap_err(), SignatureError::Mismatch, "another secret");
    let empty_key = format!("t={NOW},v1={}", hex("", &NOW.to_string(), BODY));
    assert_eq!(judged(Some(&empty_key), BODY).unwrap_err(), SignatureError::Mismatch, "the empty secret");
    let signed = format!("t=+{NOW},v1={}", hex("whsec_a", &format!("+{NOW}"), BODY));
    assert!(matches!(judged(Some(&signed), BODY), Err(SignatureError::Malformed(_))));
    for text in [
        String::new(),
        ",".to_owned(),
        "=".to_owned(),
        good.clone(),
        format!("t={NOW}"),
        format!("v1={good}"),
        format!("t=,v1={good}"),
        format!("t=-{NOW},v1={good}"),
        format!("t=0{NOW},v1={good}"),
        format!("t={NOW}.0,v1={good}"),
        format!("t=1e9,v1={good}"),
        format!("t=99999999999999999999999999,v1={good}"),
        format!("t={NOW},t={NOW},v1={good}"),
        format!("T={NOW},v1={good}"),
        format!("t={NOW},V1={good}"),
        format!("t={NOW};v1={good}"),
        format!("t={NOW},v1={good}00"),
        format!("t={NOW},v1={}", &good[..62]),
        format!("t={NOW},v1=0x{}", &good[..62]),
        format!("t={NOW},v1=+{}", &good[..63]),
        format!("t={NOW},v1={}", "é".repeat(32)),
        format!("t={NOW},v2={good}"),
        format!("t={NOW},{}", vec![format!("v1={good}"); 17].join(",")),
        format!("t={NOW},v1={good},{}", "x=y,".repeat(600)),
    ] {
        assert!(matches!(judged(Some(&text), BODY), Err(SignatureError::Malformed(_))), "{text}");
    }
}

proptest! {
    #[test]
    fn no_header_breaks_the_reader(text in ".{0,300}") {
        let _ = Header::parse(&text);
        let _ = Token::parse(&text);
    }

    #[test]
    fn headers_near_the_good_one_do_not_break_it_either(text in "(t=[0-9+-]{0,14}|v[01]=[0-9a-fA-F]{60,66}|,|=| ){0,8}") {
        prop_assert!(judged(Some(&text), BODY).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed(body in proptest::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let text = format!("t={NOW},v1={}", hex("whsec_a", &NOW.to_string(), &body));
        prop_assert!(judged(Some(&text), &body).is_ok());
        let mut changed = body.clone();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        prop_assert_eq!(judged(Some(&text), &changed).unwrap_err(), SignatureError::Mismatch);
    }
}

/// A signer of the second scheme, on another library than the verifier.
struct Signer(aws_lc_rs::signature::Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        Self(aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap())
    }

    fn listed(&self) -> Value {
        use aws_lc_rs::signature::KeyPair as _;
        json!({"kid": "k1", "kty": "OKP", "crv": "Ed25519", "x": base64(self.0.public_key().as_ref())})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let signature = base64(self.0.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn good_header() -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"})
}

fn good_claims() -> Value {
    json!({"version": 1, "htm": "POST", "digest": sha256_base64url(BODY), "exp": NOW + 60})
}

fn v2(signer: &Signer, header: &Value, claims: &Value) -> Result<(), SignatureError> {
    let request = UnverifiedRequest {
        method: "POST",
        target: "/provisioning/services?cursor=a",
        base_url: "https://desk.example",
        signature: None,
        signature_v2: None,
        body: BODY,
    };
    let token = Token::parse(&signer.sign(header, claims))?;
    let keys = read_keys(&[signer.listed()]);
    let kid = token.kid()?.to_owned();
    let key = keys.iter().find(|key| key.kid == kid).ok_or(super::PublicKeyError::Unknown)?;
    token.verify(&key.key, &request, now()).map(drop)
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

#[test]
fn a_good_token_is_believed_with_and_without_what_may_be_there() {
    let signer = Signer::new();
    v2(&signer, &good_header(), &good_claims()).unwrap();
    for (name, value) in [
        ("htu", json!("/provisioning/services")),
        ("htu", json!("/provisioning/services?cursor=a")),
        ("htu", json!("https://desk.example/provisioning/services")),
        ("htu", json!("https://desk.example:443/provisioning/services?cursor=a")),
        ("aud", json!("https://desk.example")),
        ("aud", json!("https://desk.example/")),
        ("aud", json!(["https://other.example", "https://desk.example/provisioning"])),
        ("iat", json!(NOW)),
        ("iat", json!(NOW - 300)),
        ("nbf", json!(NOW)),
        ("jti", json!("anything")),
        ("exp", json!(NOW + 3600)),
    ] {
        let told = v2(&signer, &good_header(), &with(good_claims(), name, value.clone()));
        assert_eq!(told, Ok(()), "{name}: {value}");
    }
}

#[test]
fn each_bad_claim_is_named() {
    let signer = Signer::new();
    for (name, value) in [
        ("version", json!(2)),
        ("version", json!(0)),
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("digest", json!(sha256_base64url(b"{}"))),
        ("digest", json!(format!("{}=", sha256_base64url(BODY)))),
        ("digest", json!("")),
        ("exp", json!(NOW)),
        ("exp", json!(NOW - 1)),
        ("exp", json!(NOW + 3601)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(i64::MIN)),
        ("iat", json!(NOW + 301)),
        ("iat", json!(NOW - 301)),
        ("iat", json!(i64::MIN)),
        ("nbf", json!(NOW + 301)),
        ("htu", json!("/provisioning/health")),
        ("htu", json!("/provisioning/services?cursor=b")),
        ("htu", json!("/provisioning/services/")),
        ("htu", json!("//desk.example/provisioning/services")),
        ("htu", json!("http://desk.example/provisioning/services")),
        ("htu", json!("https://desk.example.evil.example/provisioning/services")),
        ("htu", json!("https://desk.example@evil.example/provisioning/services")),
        ("htu", json!("https://user@desk.example/provisioning/services")),
        ("htu", json!("data:/provisioning/services")),
        ("htu", json!("")),
        ("aud", json!("https://other.example")),
        ("aud", json!("https://desk.example.evil.example")),
        ("aud", json!([])),
        ("aud", json!(1)),
    ] {
        let told = v2(&signer, &good_header(), &with(good_claims(), name, value.clone()));
        assert_eq!(told, Err(SignatureError::Claim(name)), "{name}: {value}");
    }
}

#[test]
fn claims_of_another_form_are_refused() {
    let signer = Signer::new();
    for (name, value) in [
        ("version", json!("1")),
        ("version", json!(1.5)),
        ("version", Value::Null),
        ("exp", json!("1790000060")),
        ("exp", Value::Null),
        ("exp", json!(1.5)),
        ("htm", json!(["POST"])),
        ("digest", Value::Null),
    ] {
        assert!(v2(&signer, &good_header(), &with(good_claims(), name, value.clone())).is_err(), "{name}: {value}");
    }
    for missing in ["version", "htm", "digest", "exp"] {
        let mut claims = good_claims();
        claims.as_object_mut().unwrap().remove(missing);
        assert!(v2(&signer, &good_header(), &claims).is_err(), "{missing}");
    }
}

#[test]
fn hostile_token_headers_are_refused() {
    let signer = Signer::new();
    for header in [
        json!({"alg": "none", "typ": "JWT", "kid": "k1"}),
        json!({"alg": "HS256", "typ": "JWT", "kid": "k1"}),
        json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}),
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}),
        json!({"alg": "EdDSA", "kid": "k1"}),
        json!({"alg": "EdDSA", "typ": "JWT"}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": ""}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "k2"}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "k".repeat(256)}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1", "crit": ["b64"], "b64": false}),
    ] {
        assert!(v2(&signer, &header, &good_claims()).is_err(), "{header}");
    }
    let other = Signer::new();
    let forged = other.sign(&good_header(), &good_claims());
    let keys = read_keys(&[signer.listed()]);
    let request = UnverifiedRequest {
        method: "POST",
        target: "/",
        base_url: "https://desk.example",
        signature: None,
        signature_v2: None,
        body: BODY,
    };
    let told = Token::parse(&forged).unwrap().verify(&keys[0].key, &request, now());
    assert!(matches!(told, Err(SignatureError::Token(crate::signing::JwsError::Signature))), "{told:?}");
    assert!(Token::parse(&format!("{forged}.{}", "a".repeat(9000))).is_err());
    // The key in the token's own header proves nothing.
    let own = with(good_header(), "jwk", other.listed());
    let told = Token::parse(&other.sign(&own, &good_claims())).unwrap().verify(&keys[0].key, &request, now());
    assert!(told.is_err());
}

#[test]
fn of_a_published_set_only_good_keys_count() {
    let good = Signer::new().listed();
    assert_eq!(read_keys(std::slice::from_ref(&good)).len(), 1);
    for bad in [
        with(good.clone(), "crv", json!("X25519")),
        with(good.clone(), "crv", json!("P-256")),
        with(good.clone(), "kty", json!("EC")),
        with(good.clone(), "kid", json!("")),
        with(good.clone(), "kid", json!(1)),
        with(good.clone(), "x", json!("AAAA")),
        with(good.clone(), "x", json!("not base64 at all, but of some length ....")),
        with(good.clone(), "expires_at", json!("soon")),
        with(good.clone(), "expires_at", json!(1)),
        json!("k1"),
        Value::Null,
    ] {
        assert_eq!(read_keys(&[bad.clone(), good.clone()]).len(), 1, "{bad}");
    }
    let without_type = {
        let mut key = good.clone();
        key.as_object_mut().unwrap().remove("kty");
        key
    };
    assert_eq!(read_keys(&[without_type, with(good, "expires_at", Value::Null)]).len(), 2);
}
