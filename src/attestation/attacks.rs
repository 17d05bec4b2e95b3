//! What must not be believed, by attack.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Jose, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::ids::OrchestratorId;
use crate::money::{Amount, Currency};
use crate::orchestrator::{ExistingAccount, Orchestrator, Origin};
use crate::signing::{SignatureAlgorithm, VerifyingKey};

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

pub(crate) fn orchestrator() -> Orchestrator {
    Orchestrator {
        id: OrchestratorId::new(now()),
        name: "Example".parse().unwrap(),
        issuer: "https://id.example".parse().unwrap(),
        client_id: "portreeve-here".to_owned(),
        algorithms: vec![SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa, SignatureAlgorithm::Rs256],
        existing_account: ExistingAccount::UserConsent,
        may_open_accounts: true,
        email_domains: vec!["example.com".parse().unwrap()],
        settlement_url: None,
        currency: Currency::USD,
        monthly_ceiling: Amount::from_minor(10_000).unwrap(),
        provisional_ceiling: Amount::from_minor(10_000).unwrap(),
        origin: Origin::Operator,
        created_at: now(),
        suspended_at: None,
        distrusted_keys: Vec::new(),
    }
}

struct Signer {
    private: EncodingKey,
    public: VerifyingKey,
    algorithm: Jose,
}

impl Signer {
    fn of(private: EncodingKey, algorithm: Jose) -> Self {
        let mut public = Jwk::from_encoding_key(&private, algorithm).unwrap();
        public.common.key_id = Some("k1".to_owned());
        Self { private, public, algorithm }
    }

    fn es256() -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::of(EncodingKey::from_ec_der(pkcs8.as_ref()), Jose::ES256)
    }

    fn ed25519() -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();
        Self::of(EncodingKey::from_ed_der(pkcs8.as_ref()), Jose::EdDSA)
    }

    fn rsa() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // The PKCS #1 form stands in the PKCS #8 form after 26 bytes of header.
        Self::of(EncodingKey::from_rsa_der(&der.as_ref()[26..]), Jose::RS256)
    }

    fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": format!("{:?}", self.algorithm), "kid": "k1", "typ": "JWT"});
        self.sign(&header.to_string(), &claims.to_string())
    }
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "portreeve-here", "sub": "user-1", "jti": "a1",
        "iat": now().seconds() - 5, "exp": now().seconds() + 300, "auth_time": now().seconds() - 60, "acr": "phr",
        "email": "Ada@Example.com", "email_verified": true,
    })
}

pub(crate) fn with(claim: &str, value: Value) -> Value {
    let mut changed = claims();
    changed[claim] = value;
    changed
}

fn without(claim: &str) -> Value {
    let mut changed = claims();
    changed.as_object_mut().unwrap().remove(claim);
    changed
}

fn judge(token: &str, key: &VerifyingKey) -> Result<Attestation, AttestationError> {
    Unverified::parse(token)?.believe(&orchestrator(), key, now())
}

pub(crate) fn told(claims: &Value) -> Attestation {
    let signer = Signer::es256();
    judge(&signer.token(claims), &signer.public).unwrap()
}

fn refused(claims: &Value) -> AttestationError {
    let signer = Signer::es256();
    judge(&signer.token(claims), &signer.public).unwrap_err()
}

#[test]
fn an_id_token_for_us_is_believed_with_every_allowed_algorithm() {
    for signer in [Signer::es256(), Signer::ed25519(), Signer::rsa()] {
        let attestation = judge(&signer.token(&claims()), &signer.public).unwrap();
        assert_eq!((attestation.subject.as_str(), attestation.tenant.as_str()), ("user-1", ""));
        assert_eq!(attestation.assertion_key, "jti:a1");
        assert_eq!(attestation.auth_time, Some(now().minus(TimeDelta::seconds(60))));
        assert_eq!(attestation.acr.as_deref(), Some("phr"));
        let email = attestation.email.unwrap();
        assert_eq!((email.original.as_str(), email.canonical.as_str()), ("Ada@Example.com", "ada@example.com"));
    }
    assert!(told(&with("aud", json!(["portreeve-here"]))).email.is_some());
    assert!(told(&with("azp", json!("portreeve-here"))).email.is_some());
    assert_eq!(told(&with("tenant", json!("t1"))).tenant, "t1");
    let unnamed = told(&without("jti"));
    assert_eq!(unnamed.assertion_key, format!("hash:{}", unnamed.assertion_hash));
    let signer = Signer::es256();
    assert!(judge(&signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, &claims().to_string()), &signer.public).is_ok());
}

#[test]
fn an_unsigned_token_is_refused_in_every_spelling() {
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    for alg in ["none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "HS256", "HS512", "RS384", "ES256K"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
        for signature in ["", "AAAA"] {
            let error = Unverified::parse(&format!("{header}.{payload}.{signature}")).unwrap_err();
            assert_eq!(error, AttestationError::Jws(JwsError::Algorithm), "{alg}");
        }
    }
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let signer = Signer::es256();
    let secret = serde_json::to_vec(&signer.public).unwrap();
    let forger = EncodingKey::from_secret(&secret);
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"k1","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &forger, Jose::HS256).unwrap();
    assert!(judge(&format!("{message}.{signature}"), &signer.public).is_err());
}

#[test]
fn keys_named_by_the_token_itself_are_ignored() {
    let (ours, attacker) = (Signer::es256(), Signer::es256());
    for member in ["jwk", "jku", "x5u", "x5c"] {
        let named = if member == "jwk" { json!(attacker.public) } else { json!("https://attacker.example/jwks") };
        let header = json!({"alg": "ES256", "kid": "k1", "typ": "JWT", member: named});
        let error = judge(&attacker.sign(&header.to_string(), &claims().to_string()), &ours.public).unwrap_err();
        assert_eq!(error, AttestationError::Jws(JwsError::Signature), "{member}");
    }
}

#[test]
fn the_key_of_another_issuer_or_kind_decides_nothing() {
    let (ours, other) = (Signer::es256(), Signer::es256());
    assert_eq!(judge(&other.token(&claims()), &ours.public).unwrap_err(), AttestationError::Jws(JwsError::Signature));
    let error = judge(&ours.token(&claims()), &Signer::ed25519().public).unwrap_err();
    assert_eq!(error, AttestationError::Jws(JwsError::Key));
    // An algorithm in the token that its key does not have.
    let header = r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#;
    assert!(judge(&ours.sign(header, &claims().to_string()), &ours.public).is_err());
}

#[test]
fn a_token_of_another_type_is_refused_before_any_key() {
    let signer = Signer::es256();
    for typ in ["at+jwt", "payment-token+jwt", "oauth-id-jag+jwt", "logout+jwt", "dpop+jwt", "JOSE", "JWT ", "jwt;x=1"]
    {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": typ});
        let error = Unverified::parse(&signer.sign(&header.to_string(), &claims().to_string())).unwrap_err();
        assert_eq!(error, AttestationError::Jws(JwsError::Type), "{typ}");
    }
}

#[test]
fn a_header_that_asks_for_more_is_refused() {
    let signer = Signer::es256();
    for header in [
        r#"{"alg":"ES256","kid":"k1","typ":"JWT","crit":["exp"]}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"JWT","crit":[]}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"JWT","b64":false}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"JWT","cty":"JWT"}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"JWT","kid":"k2"}"#,
        r#"{"alg":"ES256","alg":"ES256","kid":"k1","typ":"JWT"}"#,
        r#"{"alg":"ES256","kid":7,"typ":"JWT"}"#,
    ] {
        assert!(judge(&signer.sign(header, &claims().to_string()), &signer.public).is_err(), "{header}");
    }
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let signer = Signer::es256();
    let twice = claims().to_string().replacen('{', r#"{"sub":"somebody-else","#, 1);
    let header = r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#;
    assert!(matches!(judge(&signer.sign(header, &twice), &signer.public), Err(AttestationError::Jws(_))));
}

#[test]
fn a_token_that_is_not_exactly_three_canonical_segments_is_refused() {
    let signer = Signer::es256();
    let token = signer.token(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    // 64 bytes leave four bits of the last character unused: they must be zero.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let uncanonical = format!("{message}.{}{next}", &signature[..signature.len() - 1]);
    let zeroes = format!("{message}.{}", URL_SAFE_NO_PAD.encode([0_u8; 64]));
    for bad in [
        format!("{token}\n"),
        format!("{token}="),
        format!("{token}.x"),
        format!("{token}.."),
        format!(" {token}"),
        format!("{token}A"),
        message.to_owned(),
        format!("{message}."),
        uncanonical,
        zeroes,
        format!("a.b.c.d.{signature}"),
        format!("{}.{}", "A".repeat(1024 * 1024), token),
        signer.token(&with("padding", json!("x".repeat(1024 * 1024)))),
    ] {
        let shown = &bad[bad.len().saturating_sub(40)..];
        assert!(judge(&bad, &signer.public).is_err(), "{shown}");
    }
}

#[test]
fn times_are_whole_seconds_and_bounded() {
    let second = now().seconds();
    for (claim, value, error) in [
        ("exp", json!(second - 60), AttestationError::Expired),
        ("exp", json!(-1), AttestationError::Expired),
        ("iat", json!(second + 61), AttestationError::NotYet),
        ("nbf", json!(second + 61), AttestationError::NotYet),
        ("iat", json!(second - 601), AttestationError::TooOld),
        ("iat", json!(-1), AttestationError::TooOld),
    ] {
        assert_eq!(refused(&with(claim, value)), error, "{claim}");
    }
    for (claim, value) in
        [("exp", json!(second - 59)), ("iat", json!(second + 60)), ("nbf", json!(second)), ("iat", json!(second - 600))]
    {
        told(&with(claim, value));
    }
    for claim in ["exp", "iat", "nbf", "auth_time"] {
        for value in [json!(second.to_string()), json!(1.8e9 + 0.5), json!(1e300), json!([second]), json!(true)] {
            let error = refused(&with(claim, value.clone()));
            assert!(matches!(error, AttestationError::Jws(JwsError::Claims(_))), "{claim} {value}");
        }
    }
    for claim in ["exp", "iat", "aud", "sub"] {
        assert!(matches!(refused(&without(claim)), AttestationError::Jws(JwsError::Claims(_))), "{claim}");
    }
}

#[test]
fn only_we_are_the_audience() {
    for aud in [
        json!("another-client"),
        json!(["portreeve-here", "another-client"]),
        json!(["another-client"]),
        json!(["portreeve-here", "portreeve-here"]),
        json!([]),
        json!(""),
        json!("https://id.example"),
        json!("PORTREEVE-HERE"),
    ] {
        assert_eq!(refused(&with("aud", aud.clone())), AttestationError::Audience, "{aud}");
    }
    assert_eq!(refused(&with("azp", json!("another-client"))), AttestationError::Audience);
}

#[test]
fn an_issuer_is_compared_byte_for_byte() {
    for issuer in ["https://id.example/", "https://ID.example", "https://id.example:443", "http://id.example"] {
        assert!(matches!(refused(&with("iss", json!(issuer))), AttestationError::IdToken(_)), "{issuer}");
    }
}

#[test]
fn a_subject_is_1_to_255_bytes_without_control_characters() {
    for sub in ["", "a\u{1}b", "a\nb", &"a".repeat(256)] {
        assert_eq!(refused(&with("sub", json!(sub))), AttestationError::Claim("sub"));
    }
    for sub in ["A", "a", " a", &"a".repeat(255)] {
        assert_eq!(told(&with("sub", json!(sub))).subject, sub);
    }
    assert!(matches!(refused(&with("sub", json!(7))), AttestationError::Jws(JwsError::Claims(_))));
    assert_eq!(refused(&with("jti", json!(""))), AttestationError::Claim("jti"));
    assert_eq!(refused(&with("tenant", json!("a\u{1}"))), AttestationError::Claim("tenant"));
    // U+0000 stands in no document that is read, whatever its place.
    for name in ["sub", "tenant"] {
        assert!(matches!(refused(&with(name, json!("a\0"))), AttestationError::Jws(JwsError::Malformed(_))), "{name}");
    }
}

#[test]
fn an_address_is_trusted_only_when_literally_verified_by_an_authority() {
    let trust = |claims: &Value| told(claims).email.map(|email| email.trust);
    assert_eq!(trust(&claims()), Some(EmailTrust::Verified));
    assert_eq!(trust(&with("email", json!("ada@EXAMPLE.com"))), Some(EmailTrust::Verified));
    assert_eq!(trust(&with("email", json!("ada@sub.example.com"))), Some(EmailTrust::Asserted));
    assert_eq!(trust(&with("email", json!("ada@other.example"))), Some(EmailTrust::Asserted));
    for verified in [json!("true"), json!(false), json!(null)] {
        assert_eq!(trust(&with("email_verified", verified)), Some(EmailTrust::Unverified));
    }
    assert_eq!(trust(&without("email_verified")), Some(EmailTrust::Unverified));
    assert_eq!(trust(&without("email")), None);
    for address in [
        "mi\u{212a}e@example.com",
        "mike\u{ff20}example.com",
        "\"m\"@example.com",
        "a@b@example.com",
        "ada@example.com.",
    ] {
        assert_eq!(trust(&with("email", json!(address))), None, "{address}");
    }
    // Of a form that OpenID Connect does not know: the whole token is refused.
    for (claim, value) in [("email", json!(["ada@example.com"])), ("email_verified", json!(1))] {
        assert!(matches!(refused(&with(claim, value)), AttestationError::IdToken(_)), "{claim}");
    }
}
