//! Who signed: both schemes over HTTP, what is refused, and that nothing about it depends on luck.

use chrono::TimeDelta;
use portreeve::app::HOUSE;
use portreeve::attestation::request_signature::PublicKeySource;
use portreeve::fetch::Outgoing;
use portreeve::ids::WireSecretId;
use portreeve::orchestrator::{self, NewOrchestrator, SignatureMode, WireSecret};
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::client::Answer;
use crate::harness::receiver::Receiver;
use crate::harness::wire::{V2Signer, WireAgent, retire_secret, stripe_signature, v1, v2_claims};

const HEALTH: &str = "/provisioning/health";

/// A call with exactly these headers.
async fn called(agent: &WireAgent<'_>, headers: &[(&'static str, String)]) -> Answer {
    let outgoing = Outgoing::get(agent.client.url(HEALTH));
    let outgoing = headers.iter().fold(outgoing, |outgoing, (name, value)| outgoing.header(name, value.as_str()));
    agent.client.send(outgoing).await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 1, "flat: {body}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

fn version() -> (&'static str, String) {
    ("api-version", "0.1d".to_owned())
}

on_both! {
    async fn a_signed_call_is_answered_and_every_other_is_not(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let told = agent.get(HEALTH).await.expect_status(200).json();
        assert_eq!(told, json!({"supported_versions": ["0.1d"], "status": "ok"}));
        let now = app.now().seconds();
        let good = stripe_signature(&agent.secret, now, b"");
        refused(&called(&agent, &[version()]).await, 401, "invalid_signature");
        refused(&called(&agent, &[("stripe-signature", good.clone())]).await, 400, "invalid_api_version");
        let old = ("api-version", "0.1c".to_owned());
        let told = called(&agent, &[("stripe-signature", good.clone()), old]).await;
        refused(&told, 400, "invalid_api_version");
        assert!(told.text().contains("0.1d"), "the supported version is named");
        for bad in [
            stripe_signature("whsec_another", now, b""),
            stripe_signature(&agent.secret, now - 301, b""),
            stripe_signature(&agent.secret, now + 301, b""),
            stripe_signature(&agent.secret, now, b"{}"),
            format!("t={now},v1={}", "0".repeat(64)),
            format!("t={now}"),
            "nonsense".to_owned(),
            "t=,v1=".to_owned(),
            "x".repeat(6000),
        ] {
            refused(&called(&agent, &[version(), ("stripe-signature", bad)]).await, 401, "invalid_signature");
        }
        let twice = [version(), ("stripe-signature", good.clone()), ("stripe-signature", good.clone())];
        refused(&called(&agent, &twice).await, 401, "invalid_signature");
        let upper = format!("t={now},v1={}", v1(&agent.secret, now, b"").to_ascii_uppercase());
        called(&agent, &[version(), ("stripe-signature", upper)]).await.expect_status(200);
        for skew in [-300, 300] {
            let edge = stripe_signature(&agent.secret, now + skew, b"");
            called(&agent, &[version(), ("stripe-signature", edge)]).await.expect_status(200);
        }
        app.stop().await;
    }

    async fn without_any_secret_the_wire_is_closed_not_open(db: TestDb) {
        let app = TestApp::start(&db).await;
        let call = |agent: &WireAgent<'_>| {
            let (now, secret) = (app.now().seconds(), agent.secret.clone());
            [version(), ("stripe-signature", stripe_signature(&secret, now, b""))]
        };
        let stranger = app.stranger();
        refused(&stranger.get(HEALTH).await, 500, "server_error");
        let agent = WireAgent::register(&app).await;
        called(&agent, &call(&agent)).await.expect_status(200);
        retire_secret(&app, &agent.orchestrator, &agent.secret_id).await;
        app.pass(TimeDelta::seconds(6));
        refused(&called(&agent, &call(&agent)).await, 500, "server_error");
        app.stop().await;
    }

    async fn a_new_secret_counts_within_seconds_and_a_retired_one_no_longer(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        agent.get(HEALTH).await.expect_status(200);
        // As another process adds it: nobody tells this one.
        let (id, text) = (WireSecretId::new(app.now()), "whsec_the_next_one_0123456789");
        let sealed = app.app().wire_sealer.seal(&WireSecret::place(&agent.orchestrator, &id), text.as_bytes()).unwrap();
        let orchestrator_id = agent.orchestrator.clone();
        let secret = WireSecret { orchestrator_id, id, sealed, created_at: app.now(), retired_at: None };
        app.app().db.write(HOUSE, move |conn| orchestrator::add_secret(conn, &secret)).await.unwrap();
        app.pass(TimeDelta::seconds(1));
        let now = app.now().seconds();
        let next = [version(), ("stripe-signature", stripe_signature(text, now, b""))];
        called(&agent, &next).await.expect_status(200);
        let both = format!("t={now},v1={},v1={}", v1("whsec_unknown", now, b""), v1(text, now, b""));
        called(&agent, &[version(), ("stripe-signature", both)]).await.expect_status(200);
        retire_secret(&app, &agent.orchestrator, &agent.secret_id).await;
        app.pass(TimeDelta::seconds(5));
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        let now = app.now().seconds();
        called(&agent, &[version(), ("stripe-signature", stripe_signature(text, now, b""))]).await.expect_status(200);
        app.stop().await;
    }

    async fn a_suspended_orchestrator_is_believed_nothing_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        agent.get(HEALTH).await.expect_status(200);
        let (id, now) = (agent.orchestrator.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await.unwrap();
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        let (id, now) = (agent.orchestrator.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| orchestrator::resume(conn, &id, now)).await.unwrap();
        agent.get(HEALTH).await.expect_status(200);
        app.stop().await;
    }

    async fn several_orchestrators_are_told_apart_by_their_secrets(db: TestDb) {
        let app = TestApp::start(&db).await;
        let first = WireAgent::register_with(&app, |settings| settings.profile = "2026-03-30".parse().unwrap()).await;
        let other = NewOrchestrator::new("Lagoon".parse().unwrap(), "https://lagoon.example".parse().unwrap(), "x");
        let now = app.now();
        let other = app.app().db.write(HOUSE, move |conn| orchestrator::add(conn, &other, now)).await.unwrap();
        let second = WireAgent::register_as(&app, &other.id, |_| ()).await;
        let kinds = |answer: &Value| answer["data"][0].get("kind").is_some();
        assert!(!kinds(&first.get("/provisioning/services").await.expect_status(200).json()));
        assert!(kinds(&second.get("/provisioning/services").await.expect_status(200).json()));
        app.stop().await;
    }

    async fn the_second_scheme_is_demanded_only_of_those_who_must(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (keys, signer) = (Receiver::start(), V2Signer::new("pk_1"));
        keys.answers(200, &json!({"public_keys": [signer.public("2027-01-31T00:00:00Z")]}));
        let mut agent = with_keys(&app, &keys, SignatureMode::V2Required).await;
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        agent.v2 = Some(signer);
        agent.get(HEALTH).await.expect_status(200);
        agent.get(HEALTH).await.expect_status(200);
        let seen = keys.waits_for(1).await;
        assert_eq!(seen[0].header("authorization"), Some("Bearer the-token-for-the-keys"));
        // The same key, but for another method, body, path and time.
        let (now, url) = (app.now().seconds(), agent.client.url(HEALTH).to_string());
        let signer = agent.v2.as_ref().unwrap();
        for claims in [
            v2_claims("POST", &url, b"", now),
            v2_claims("GET", &url, b"{}", now),
            v2_claims("GET", "/provisioning/services", b"", now),
            v2_claims("GET", "https://elsewhere.example/provisioning/health", b"", now),
            v2_claims("GET", &url, b"", now - 400),
        ] {
            let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": signer.kid});
            let forged = ("stripe-signature-v2", signer.sign(&header, &claims));
            let good = ("stripe-signature", stripe_signature(&agent.secret, now, b""));
            refused(&called(&agent, &[version(), good, forged]).await, 401, "invalid_signature");
        }
        // The second alone is worth nothing.
        let alone = ("stripe-signature-v2", signer.token("GET", &url, b"", now));
        refused(&called(&agent, &[version(), alone]).await, 401, "invalid_signature");
        app.stop().await;
    }

    async fn a_bad_second_signature_is_only_advice_where_it_is_advisory(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (keys, signer) = (Receiver::start(), V2Signer::new("pk_1"));
        keys.answers(500, &json!({}));
        let mut agent = with_keys(&app, &keys, SignatureMode::V2Advisory).await;
        agent.get(HEALTH).await.expect_status(200);
        agent.v2 = Some(signer);
        agent.get(HEALTH).await.expect_status(200);
        agent.secret = "whsec_another".to_owned();
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        app.stop().await;
    }

    async fn keys_are_kept_for_five_minutes_and_an_unknown_one_leads_to_one_fetch(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (keys, first, second) = (Receiver::start(), V2Signer::new("pk_1"), V2Signer::new("pk_2"));
        let listed = first.public("2026-11-15T12:20:00Z");
        keys.answers(200, &json!({"public_keys": [listed]}));
        let mut agent = with_keys(&app, &keys, SignatureMode::V2Required).await;
        agent.v2 = Some(first);
        agent.get(HEALTH).await.expect_status(200);
        keys.waits_for(1).await;
        // An unknown key: one more look, and not one for each call.
        let first = agent.v2.replace(second).unwrap();
        app.pass(TimeDelta::seconds(10));
        for _ in 0..5 {
            refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        }
        keys.waits_for(2).await;
        // It is published: the next look, ten seconds later, finds it.
        let both = json!({"public_keys": [listed, agent.v2.as_ref().unwrap().public("2027-01-01T00:00:00Z")]});
        keys.answers(200, &both);
        app.pass(TimeDelta::seconds(10));
        agent.get(HEALTH).await.expect_status(200);
        keys.waits_for(3).await;
        // Five minutes later the set is old; when it cannot be had, nothing is believed.
        keys.answers(503, &json!({}));
        app.pass(TimeDelta::seconds(299));
        agent.get(HEALTH).await.expect_status(200);
        app.pass(TimeDelta::seconds(1));
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        keys.answers(200, &both);
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        app.pass(TimeDelta::seconds(10));
        agent.get(HEALTH).await.expect_status(200);
        // A key that has expired signs nothing, in the middle of a fresh set too.
        agent.v2 = Some(first);
        agent.get(HEALTH).await.expect_status(200);
        app.pass(TimeDelta::seconds(20 * 60));
        refused(&agent.get(HEALTH).await, 401, "invalid_signature");
        app.stop().await;
    }
}

pub(crate) async fn with_keys<'a>(app: &'a TestApp, keys: &Receiver, mode: SignatureMode) -> WireAgent<'a> {
    let sealer = app.app().wire_sealer.clone();
    WireAgent::register_with(app, |settings| {
        let place = PublicKeySource::place(&settings.orchestrator_id);
        settings.signature_mode = mode;
        settings.public_keys_url = Some(keys.url.clone());
        settings.sealed_public_keys_token = Some(sealer.seal(&place, b"the-token-for-the-keys").unwrap());
    })
    .await
}
