//! An orchestrator that speaks the provisioning wire: it signs each call, says its version, opens accounts and exchanges
//! codes. Everything that it signs can be bent by the test.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portreeve::app::HOUSE;
use portreeve::fetch::Outgoing;
use portreeve::ids::{OrchestratorId, WireSecretId};
use portreeve::orchestrator::{self, AccountAnswer, SignatureMode, WireSecret, WireSettings};
use portreeve::simulator::User;
use serde_json::{Value, json};

use super::app::TestApp;
use super::client::{Answer, Client};

/// The form's content type.
const FORM: &str = "application/x-www-form-urlencoded";

/// An orchestrator with a secret.
pub(crate) struct WireAgent<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) client: Client,
    /// Whose settings were registered.
    pub(crate) orchestrator: OrchestratorId,
    /// What it signs with; `whsec_…`.
    pub(crate) secret: String,
    /// The name of that secret at the provider.
    pub(crate) secret_id: WireSecretId,
    /// `orchestrator.type`.
    pub(crate) kind: String,
    /// Signs by the second scheme as well.
    pub(crate) v2: Option<V2Signer>,
    /// Under which prefix it calls: empty, or `/api/agentic`.
    pub(crate) prefix: String,
    /// The bearer of resource calls.
    pub(crate) bearer: Option<String>,
}

/// An Ed25519 key of the second scheme.
pub(crate) struct V2Signer {
    pub(crate) kid: String,
    key: Ed25519KeyPair,
}

impl V2Signer {
    pub(crate) fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), key: Ed25519KeyPair::generate().expect("a key") }
    }

    /// Its entry in `public_keys`.
    pub(crate) fn public(&self, expires_at: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({"kid": self.kid, "kty": "OKP", "crv": "Ed25519", "x": x, "expires_at": expires_at})
    }

    /// A compact JWS with exactly these parts.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    /// What a good orchestrator sends.
    pub(crate) fn token(&self, method: &str, url: &str, body: &[u8], now: i64) -> String {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid});
        self.sign(&header, &v2_claims(method, url, body, now))
    }
}

/// The claims of the second scheme.
pub(crate) fn v2_claims(method: &str, url: &str, body: &[u8], now: i64) -> Value {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    json!({
        "version": 1, "htm": method, "htu": url, "digest": body_digest(body), "iat": now, "exp": now + 300,
        "jti": format!("jti-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
    })
}

/// base64url of SHA-256.
pub(crate) fn body_digest(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, body).as_ref())
}

/// `v1` of the first scheme.
pub(crate) fn v1(secret: &str, t: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let message = [t.to_string().as_bytes(), b".", body].concat();
    hmac::sign(&key, &message).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The header of the first scheme.
pub(crate) fn stripe_signature(secret: &str, t: i64, body: &[u8]) -> String {
    format!("t={t},v1={}", v1(secret, t, body))
}

impl<'a> WireAgent<'a> {
    /// The test's orchestrator, now on the wire: newest profile, HMAC, codes.
    pub(crate) async fn register(app: &'a TestApp) -> Self {
        Self::register_with(app, |_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn register_with(app: &'a TestApp, change: impl FnOnce(&mut WireSettings)) -> Self {
        Self::register_as(app, &app.orchestrator.id, change).await
    }

    /// Any registered orchestrator.
    pub(crate) async fn register_as(
        app: &'a TestApp,
        orchestrator: &OrchestratorId,
        change: impl FnOnce(&mut WireSettings),
    ) -> Self {
        let mut settings = WireSettings {
            orchestrator_id: orchestrator.clone(),
            kind: "stripe".to_owned(),
            profile: "2026-06-25".parse().expect("a profile"),
            signature_mode: SignatureMode::Hmac,
            account_answer: AccountAnswer::Code,
            required_information: Vec::new(),
            callback_url: Some("https://orchestrator.example/callback".parse().expect("a URL")),
            public_keys_url: None,
            sealed_public_keys_token: None,
            client_id: None,
            client_secret_hash: None,
            notification_url: None,
            sealed_notification_secret: None,
            changed_at: app.now(),
        };
        change(&mut settings);
        let kind = settings.kind.clone();
        let set = app.app().db.write(HOUSE, move |conn| orchestrator::set_wire(conn, &settings));
        set.await.expect("the settings are stored");
        let (secret_id, secret) = add_secret(app, orchestrator).await;
        let (client, orchestrator) = (app.stranger(), orchestrator.clone());
        Self { app, client, orchestrator, secret, secret_id, kind, v2: None, prefix: String::new(), bearer: None }
    }

    /// The same orchestrator with an access token.
    pub(crate) fn with_bearer(&self, token: &str) -> Self {
        Self {
            app: self.app,
            client: self.client.clone(),
            orchestrator: self.orchestrator.clone(),
            secret: self.secret.clone(),
            secret_id: self.secret_id.clone(),
            kind: self.kind.clone(),
            v2: None,
            prefix: self.prefix.clone(),
            bearer: Some(token.to_owned()),
        }
    }

    /// The same orchestrator without one, as the token endpoint wants it.
    pub(crate) fn bare(&self) -> Self {
        Self { bearer: None, ..self.with_bearer("") }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let outgoing = Outgoing::get(self.client.url(&self.path(path)));
        self.client.send(self.signed(outgoing, "GET", path, b"")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, "application/json", body.to_string().as_bytes()).await
    }

    pub(crate) async fn post_once(&self, key: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        let outgoing = Outgoing::post(self.client.url(&self.path(path)), "application/json", body.clone());
        let outgoing = self.signed(outgoing, "POST", path, &body).header("idempotency-key", key);
        self.client.send(outgoing).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let outgoing = Outgoing::post(self.client.url(&self.path(path)), content_type, body.to_vec());
        self.client.send(self.signed(outgoing, "POST", path, body)).await
    }

    /// The token endpoint: a form, signed over its raw bytes.
    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.post_bytes("/oauth/token", FORM, body.as_bytes()).await
    }

    /// Any call of mine with every header that belongs to it.
    pub(crate) fn signed(&self, outgoing: Outgoing, method: &str, path: &str, body: &[u8]) -> Outgoing {
        let now = self.app.now().seconds();
        let mut outgoing = outgoing
            .header("stripe-signature", stripe_signature(&self.secret, now, body))
            .header("api-version", "0.1d");
        if let Some(v2) = &self.v2 {
            let url = self.client.url(&self.path(path)).to_string();
            outgoing = outgoing.header("stripe-signature-v2", v2.token(method, &url, body, now));
        }
        if let Some(token) = &self.bearer {
            outgoing = outgoing.bearer(token);
        }
        outgoing
    }

    /// The path under my prefix.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A request for an account of `user`; `orchestrator.account` is the user's subject.
    pub(crate) fn account_request(&self, user: &User) -> Value {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let expires_at = self.app.now().plus(chrono::TimeDelta::minutes(10)).to_rfc3339();
        let kind = self.kind.as_str();
        json!({
            "id": format!("acctreq_{count}"), "object": "account_request", "email": user.email, "name": "Ada Example",
            "scopes": [], "client_capabilities": ["browser"], "confirmation_secret": format!("cs_{count}"),
            "expires_at": expires_at, "orchestrator": {"type": kind, kind: {"account": user.subject}},
        })
    }

    /// Asks for an account of `user`.
    pub(crate) async fn asks_for_account(&self, user: &User) -> Answer {
        self.post("/provisioning/account_requests", &self.account_request(user)).await
    }

    /// Asks for an account, exchanges the code if it is one, and comes back with a bearer; the token answer beside it.
    pub(crate) async fn opens_account(&self, user: &User) -> (Self, Value) {
        let answer = self.asks_for_account(user).await.expect_status(200).json();
        let tokens = match answer["type"].as_str() {
            Some("credentials") => answer["credentials"]["bearer"].clone(),
            Some("oauth") => {
                let code = answer["oauth"]["code"].as_str().expect("a code");
                let fields = [("grant_type", "authorization_code"), ("code", code)];
                self.token(&fields).await.expect_status(200).json()
            }
            _ => panic!("no account: {answer}"),
        };
        (self.with_bearer(tokens["access_token"].as_str().expect("an access token")), tokens)
    }
}

/// A new secret of an orchestrator, registered.
pub(crate) async fn add_secret(app: &TestApp, orchestrator: &OrchestratorId) -> (WireSecretId, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (id, now) = (WireSecretId::new(app.now()), app.now());
    let text = format!("whsec_test_{}_0123456789abcdef", COUNT.fetch_add(1, Ordering::Relaxed));
    let place = WireSecret::place(orchestrator, &id);
    let sealed = app.app().wire_sealer.seal(&place, text.as_bytes()).expect("it is sealed");
    let (orchestrator_id, secret_id) = (orchestrator.clone(), id.clone());
    let secret = WireSecret { orchestrator_id, id: secret_id, sealed, created_at: now, retired_at: None };
    let added = app.app().db.write(HOUSE, move |conn| orchestrator::add_secret(conn, &secret));
    added.await.expect("the secret is stored");
    app.app().wire_secrets.forget();
    (id, text)
}

/// The secret is no longer good: at once in the database, within seconds in the process.
pub(crate) async fn retire_secret(app: &TestApp, orchestrator: &OrchestratorId, id: &WireSecretId) {
    let (orchestrator, id, now) = (orchestrator.clone(), id.clone(), app.now());
    let retired = app.app().db.write(HOUSE, move |conn| orchestrator::retire_secret(conn, &orchestrator, &id, now));
    assert!(retired.await.expect("the secret is retired"), "it was retired before");
}
