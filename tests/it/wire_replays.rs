//! The same bytes again: a retry gets its answer, and nothing is done twice. A signature of the second scheme that names
//! itself is good for one request.

use diesel::prelude::*;
use portreeve::attestation::request_signature::forget_signatures;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, deep_links, grants, resources, signature_uses};
use portreeve::fetch::Outgoing;
use portreeve::orchestrator::SignatureMode;
use portreeve::simulator::User;
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::client::Answer;
use crate::harness::receiver::Receiver;
use crate::harness::wire::{V2Signer, WireAgent, v2_claims};
use crate::wire_signature::with_keys;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Sends exactly the same bytes and headers twice.
async fn twice(agent: &WireAgent<'_>, path: &str, content_type: &str, body: &str) -> (Answer, Answer) {
    let outgoing = Outgoing::post(agent.client.url(&agent.path(path)), content_type, body.as_bytes().to_vec());
    let outgoing = agent.signed(outgoing, "POST", path, body.as_bytes());
    (agent.client.send(outgoing.clone()).await, agent.client.send(outgoing).await)
}

/// The same, when both answers must be one good answer.
async fn same(agent: &WireAgent<'_>, path: &str, body: &Value) -> Value {
    let (one, two) = twice(agent, path, JSON, &body.to_string()).await;
    let (one, two) = (one.expect_status(200).json(), two.expect_status(200).json());
    assert_eq!(one, two, "{path}");
    one
}

/// Accounts, grants, resources, log-in links.
async fn rows(app: &TestApp) -> [i64; 4] {
    let counted = app.app().db.read(|conn| {
        Ok::<_, DbError>([
            accounts::table.count().get_result(conn)?,
            grants::table.count().get_result(conn)?,
            resources::table.count().get_result(conn)?,
            deep_links::table.count().get_result(conn)?,
        ])
    });
    counted.await.unwrap()
}

/// An orchestrator in this mode, whose second signatures hold.
async fn signer<'a>(app: &'a TestApp, keys: &Receiver, mode: SignatureMode) -> WireAgent<'a> {
    let signer = V2Signer::new("pk_1");
    keys.answers(200, &json!({"public_keys": [signer.public("2027-01-31T00:00:00Z")]}));
    let mut agent = with_keys(app, keys, mode).await;
    agent.v2 = Some(signer);
    agent
}

/// A signed call whose second signature is named `jti`; its first one was made `later` seconds from now.
async fn named(agent: &WireAgent<'_>, jti: &str, path: &str, body: &Value, key: Option<&str>, later: i64) -> Answer {
    let (now, body) = (agent.app.now().seconds(), body.to_string());
    let url = agent.client.url(path);
    let mut claims = v2_claims("POST", url.as_str(), body.as_bytes(), now);
    claims["jti"] = json!(jti);
    let v2 = agent.v2.as_ref().unwrap();
    let token = v2.sign(&json!({"alg": "EdDSA", "typ": "JWT", "kid": v2.kid}), &claims);
    let signature = crate::harness::wire::stripe_signature(&agent.secret, now + later, body.as_bytes());
    let mut outgoing = Outgoing::post(url, JSON, body.into_bytes())
        .header("stripe-signature", signature)
        .header("stripe-signature-v2", token)
        .header("api-version", "0.1d")
        .bearer(agent.bearer.as_deref().unwrap());
    if let Some(key) = key {
        outgoing = outgoing.header("idempotency-key", key);
    }
    agent.client.send(outgoing).await
}

fn api_key(answer: &Value) -> String {
    answer["complete"]["access_configuration"]["API_KEY"].as_str().expect("a key").to_owned()
}

async fn nothing_is_done_twice(app: &TestApp, mut agent: WireAgent<'_>) {
    let ada = app.agent().await;
    let pays = json!({"type": "stripe_payment_token", "stripe_payment_token": ada.payment_token});
    let over_v1 = ada.buys("sandbox", "free").await.expect_status(201).json()["resource"]["id"].clone();
    assert_eq!(rows(app).await, [1, 1, 1, 0]);

    let request = agent.account_request(&User::ada());
    let code = same(&agent, "/provisioning/account_requests", &request).await["oauth"]["code"].clone();
    let form = format!("grant_type=authorization_code&code={}", code.as_str().unwrap());
    let (first, again) = twice(&agent, "/oauth/token", FORM, &form).await;
    let tokens = first.expect_status(200).json();
    assert_eq!((again.status(), &again.json()["error"]), (400, &json!("invalid_grant")));
    assert_eq!(rows(app).await, [1, 2, 1, 0], "one code is one grant");
    agent.bearer = Some(tokens["access_token"].as_str().unwrap().to_owned());

    let link = json!({"service_id": "sandbox", "submitted_information": {"resource_id": over_v1}});
    assert_eq!(same(&agent, "/provisioning/resources/link", &link).await["id"], over_v1);
    let order = json!({"service_id": "postgres:small", "payment_credentials": pays});
    let id = same(&agent, "/provisioning/resources", &order).await["id"].as_str().unwrap().to_owned();
    let of = |verb: &str| format!("/provisioning/resources/{id}/{verb}");
    let up = json!({"service_id": "postgres:medium", "payment_credentials": pays});
    assert_eq!(same(&agent, &of("update_service"), &up).await["service_id"], "postgres:medium");
    assert_eq!((ada.spent_and_held().await, app.issuer_says()), ((3700, 0), (0, 3700)), "each is paid once");
    let rotated = same(&agent, &of("rotate_credentials"), &json!({})).await;
    let url = rotated["complete"]["access_configuration"]["DATABASE_URL"].as_str().unwrap();
    assert!(url.contains(":1."), "the first generation after the first: {url}");
    same(&agent, "/provisioning/deep_links", &json!({"purpose": "dashboard"})).await;
    assert_eq!(rows(app).await, [1, 2, 2, 1], "and each is made once");
    assert_eq!(same(&agent, &of("remove"), &json!({})).await["status"], "removed");

    agent.bearer = None;
    // A refresh token that comes back was copied: it gives nothing, and its family ends.
    let form = format!("grant_type=refresh_token&refresh_token={}", tokens["refresh_token"].as_str().unwrap());
    let (first, again) = twice(&agent, "/oauth/token", FORM, &form).await;
    first.expect_status(200);
    assert_eq!((again.status(), &again.json()["error"]), (400, &json!("invalid_grant")));
    assert_eq!(rows(app).await, [1, 3, 2, 1]);
}

on_both! {
    async fn a_request_that_comes_again_byte_for_byte_does_nothing_twice(db: TestDb) {
        let app = TestApp::start(&db).await;
        nothing_is_done_twice(&app, WireAgent::register(&app).await).await;
        app.stop().await;
    }

    async fn a_request_with_both_signatures_that_comes_again_does_nothing_twice(db: TestDb) {
        let app = TestApp::start(&db).await;
        let keys = Receiver::start();
        let agent = signer(&app, &keys, SignatureMode::V2Required).await;
        nothing_is_done_twice(&app, agent).await;
        app.stop().await;
    }

    async fn another_spelling_of_the_address_makes_no_other_request(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = WireAgent::register(&app).await.opens_account(&User::ada()).await;
        let resources = "/provisioning/resources";
        let order = json!({"service_id": "sandbox"});
        let made = agent.post(resources, &order).await.expect_status(200).json();
        for bent in [format!("{resources}?x=1"), format!("{resources}?"), resources.replace("res", "%72es")] {
            assert_eq!(agent.post(&bent, &order).await.expect_status(200).json(), made, "{bent}");
        }
        assert_eq!(rows(&app).await[2], 1);
        let path = format!("{resources}/{}/rotate_credentials", made["id"].as_str().unwrap());
        let rotated = agent.post(&path, &json!({})).await.expect_status(200).json();
        for bent in [format!("{path}?x=1"), path.replace("res_", "%72es_"), path.replace("rotate", "r%6ftate")] {
            assert_eq!(agent.post(&bent, &json!({})).await.expect_status(200).json(), rotated, "{bent}");
        }
        assert!(api_key(&rotated).contains(".1."), "{rotated}");
        let links = "/provisioning/deep_links";
        let body = json!({"purpose": "dashboard"});
        let link = agent.post(links, &body).await.expect_status(200).json();
        assert_eq!(agent.post(&format!("{links}?x=1"), &body).await.expect_status(200).json(), link);
        app.stop().await;
    }

    async fn a_named_signature_is_good_for_one_request_and_its_repetitions(db: TestDb) {
        let app = TestApp::start(&db).await;
        let keys = Receiver::start();
        let mut agent = signer(&app, &keys, SignatureMode::V2Required).await;
        let (opened, _) = agent.opens_account(&User::ada()).await;
        agent.bearer = opened.bearer;
        let made = agent.post("/provisioning/resources", &json!({"service_id": "sandbox"})).await.expect_status(200);
        let path = format!("/provisioning/resources/{}/rotate_credentials", made.json()["id"].as_str().unwrap());
        let first = named(&agent, "j1", &path, &json!({}), None, 0).await.expect_status(200).json();
        assert!(api_key(&first).contains(".1."), "{first}");
        // Its first signature may be new: it is the same request.
        let again = named(&agent, "j1", &path, &json!({}), None, 1).await.expect_status(200).json();
        assert_eq!(first, again);
        // Another body, another path, another key: another request.
        let links = "/provisioning/deep_links";
        for (path, body, key) in [
            (path.as_str(), json!({"actor": {}}), None),
            (path.as_str(), json!({}), Some("k")),
            (links, json!({}), None),
        ] {
            let refused = named(&agent, "j1", path, &body, key, 0).await;
            assert_eq!((refused.status(), &refused.json()["error"]["code"]), (401, &json!("invalid_signature")), "{path}");
        }
        let next = named(&agent, "j2", &path, &json!({}), None, 0).await.expect_status(200).json();
        assert!(api_key(&next).contains(".2."), "what was refused rotated nothing: {next}");
        app.stop().await;
    }

    async fn where_the_second_signature_is_advice_so_is_its_name(db: TestDb) {
        let app = TestApp::start(&db).await;
        let keys = Receiver::start();
        let mut agent = signer(&app, &keys, SignatureMode::V2Advisory).await;
        let (opened, _) = agent.opens_account(&User::ada()).await;
        agent.bearer = opened.bearer;
        let links = "/provisioning/deep_links";
        let body = json!({"purpose": "dashboard"});
        let first = named(&agent, "j1", links, &body, None, 0).await.expect_status(200).json();
        assert_eq!(named(&agent, "j1", links, &body, None, 0).await.expect_status(200).json(), first);
        let other = named(&agent, "j1", links, &json!({"purpose": "dashboard", "path": "/dashboard"}), None, 0).await;
        assert_ne!(other.expect_status(200).json(), first);
        app.stop().await;
    }

    async fn named_signatures_are_forgotten_when_nobody_would_accept_them(db: TestDb) {
        let app = TestApp::start(&db).await;
        let keys = Receiver::start();
        let mut agent = signer(&app, &keys, SignatureMode::V2Required).await;
        let (opened, _) = agent.opens_account(&User::ada()).await;
        agent.bearer = opened.bearer;
        let left = async || {
            let now = app.now();
            let swept = app.app().db.write("house", move |conn| {
                forget_signatures(conn, now, 100)?;
                Ok::<_, DbError>(signature_uses::table.count().get_result::<i64>(conn)?)
            });
            swept.await.unwrap()
        };
        assert_eq!(left().await, 2, "the account request and the token; looking names nothing");
        agent.get("/provisioning/services").await.expect_status(200);
        app.pass(chrono::TimeDelta::seconds(300 + 120));
        assert_eq!(left().await, 2);
        app.pass(chrono::TimeDelta::seconds(1));
        assert_eq!(left().await, 0);
        app.stop().await;
    }
}
