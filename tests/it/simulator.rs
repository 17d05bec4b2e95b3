//! The simulated orchestrator as a provider and an agent meet it: over its own HTTP surface, against a provider that is as
//! small as can be.

mod acme;
mod typed;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use acme::Acme;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::signing::{SignatureAlgorithm, Unverified};
use portreeve::simulator::{Kept, NewProvider, OrchestratorSettings, Simulator, SimulatorSettings, StartError, User};
use serde_json::{Value, json};

use crate::harness::client::Client;

/// An orchestrator that knows Acme, its operator, and Ada's agent.
struct Sim {
    simulator: Simulator,
    acme: Acme,
    operator: Client,
    agent: Client,
    token: Kept,
}

fn open(data: Option<&Path>, bind: SocketAddr) -> Result<Simulator, StartError> {
    let settings = OrchestratorSettings {
        name: "Harbour".to_owned(),
        bind,
        issuer: None,
        data: data.map(Path::to_owned),
        clock: Arc::new(SystemClock),
    };
    Simulator::open(settings)
}

impl Sim {
    fn start() -> Self {
        Self::with(None, |_new| {})
    }

    fn with(data: Option<&Path>, change: impl FnOnce(&mut NewProvider)) -> Self {
        let simulator = open(data, "127.0.0.1:0".parse().unwrap()).unwrap();
        let acme = Acme::start();
        let mut new = NewProvider::new("acme", acme.base.parse().unwrap());
        change(&mut new);
        acme.desk().told = simulator.add_provider(new).unwrap();
        let (_subject, token) = simulator.add_user("ada@example.test", Some("Ada")).unwrap();
        let anybody = Client::new(&simulator.issuer_url);
        let operator = anybody.with_token(simulator.operator_token().expose());
        let agent = anybody.with_token(token.expose());
        Self { simulator, acme, operator, agent, token }
    }

    async fn linked() -> Self {
        let sim = Self::start();
        sim.agent.post("/agent/links", &json!({"provider": "acme"})).await.expect_status(200);
        sim
    }

    async fn fault(&self, order: Value) {
        self.operator.post("/test/faults", &order).await.expect_status(204);
    }

    async fn wrong(&self, wrong: Value) {
        self.fault(json!({"calls": [wrong]})).await;
    }

    /// The whole answer to an `add`, and its status.
    async fn try_add(&self, service: &str, more: Value) -> (u16, Value) {
        let mut order = json!({"provider": "acme", "service": service});
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.agent.post("/agent/resources", &order).await;
        (answer.status(), answer.json())
    }

    async fn add(&self, service: &str) -> Value {
        let (status, said) = self.try_add(service, json!({})).await;
        assert_eq!(status, 200, "{said}");
        said["data"].clone()
    }

    async fn refused(&self, service: &str, more: Value, code: &str) -> Value {
        let (status, said) = self.try_add(service, more).await;
        assert!(status >= 400, "{said}");
        assert_eq!(said["error"]["code"], code, "{said}");
        said
    }
}

#[actix_web::test]
async fn a_user_links_adds_upgrades_rotates_opens_and_removes() {
    let sim = Sim::start();
    let status = sim.agent.post("/agent/resources", &json!({"provider": "acme", "service": "free"})).await;
    assert_eq!(status.json()["error"]["code"], "PROVIDER_NOT_LINKED");
    let linked = sim.agent.post("/agent/links", &json!({"provider": "acme"})).await.expect_status(200).json();
    assert_eq!((&linked["data"]["account"], &linked["data"]["was_linked"]), (&json!("51"), &json!(false)));

    let offer = sim.try_add("free", json!({"preview": true})).await.1;
    assert_eq!((&offer["data"]["price"], &offer["data"]["paid"]), (&json!("free"), &json!(false)));
    assert!(sim.acme.desk().resources.is_empty(), "a preview makes nothing");
    sim.add("free").await;
    let (_, said) =
        sim.try_add("postgres", json!({"name": "app-db", "configuration": {"region": "eu", "size": "3"}})).await;
    assert_eq!((&said["data"]["state"], &said["data"]["price"]), (&json!("complete"), &json!("free")));
    let sent: Value = serde_json::from_str(&sim.acme.calls("/resources").last().unwrap().body).unwrap();
    assert_eq!(sent["configuration"], json!({"region": "eu", "size": 3}), "typed as the schema says");

    let path = "/agent/resources/free/upgrade";
    let offer = sim.agent.post(path, &json!({"service": "pro", "preview": true})).await.json();
    assert_eq!(
        (&offer["data"]["price"], &offer["data"]["monthly_limit"]),
        (&json!("$25 per month"), &json!("$100.00"))
    );
    let refused = sim.agent.post(path, &json!({"service": "pro", "agreed": "$20 per month"})).await.json();
    assert_eq!(refused["error"]["code"], "PRICE_CHANGED");
    sim.agent.post(path, &json!({"service": "pro", "agreed": "$25 per month"})).await.expect_status(200);
    let billing = sim.agent.get("/agent/billing").await.json();
    assert_eq!(billing["data"]["providers"][0]["text"], "$25.00 of $100.00 used");

    let before = sim.agent.get("/agent/env").await.json();
    assert_eq!(before["data"]["variables"][2]["name"], "APP_DB_CONNECTION_STRING");
    sim.agent.post("/agent/resources/app-db/rotate", &json!({})).await.expect_status(200);
    let after = sim.agent.get("/agent/env").await.json();
    assert_ne!(before["data"]["variables"][2]["value"], after["data"]["variables"][2]["value"]);

    let link = sim.agent.post("/agent/deep-links", &json!({"provider": "acme"})).await.expect_status(200).json();
    assert!(link["data"]["url"].as_str().unwrap().ends_with("/login?token=x"));
    sim.agent.delete("/agent/resources/app-db").await.expect_status(200);
    let status = sim.agent.get("/agent/status").await.json();
    assert_eq!(status["data"]["resources"].as_array().unwrap().len(), 1);
    assert_eq!(status["data"]["connections"][0]["state"], "linked");
}

#[actix_web::test]
async fn every_call_is_signed_twice_and_its_second_signature_fits_the_published_key() {
    let sim = Sim::linked().await;
    let told = sim.acme.desk().told.clone();
    let anybody = Client::new(&sim.simulator.issuer_url);
    anybody.get("/v2/provisioning/public_keys").await.expect_status(401);
    anybody.with_token("guessed").get("/v2/provisioning/public_keys").await.expect_status(401);
    let provider = anybody.with_token(told["public_keys_token"].as_str().unwrap());
    let keys = provider.get("/v2/provisioning/public_keys").await.expect_status(200).json();
    let key = &keys["public_keys"][0];
    let key =
        serde_json::from_value(json!({"kty": "OKP", "crv": "Ed25519", "x": key["x"], "kid": key["kid"]})).unwrap();
    let call = sim.acme.calls("/account_requests").pop().unwrap();
    assert_eq!(call.headers["api-version"], "0.1d");
    assert!(!call.headers["idempotency-key"].is_empty());
    let token = Unverified::parse(&call.headers["stripe-signature-v2"]).unwrap();
    let claims = token.verify::<Value>(&key, &[SignatureAlgorithm::EdDsa]).unwrap().claims;
    assert_eq!((&claims["htm"], &claims["version"]), (&json!("POST"), &json!(1)));
    assert_eq!(claims["htu"], format!("{}/provisioning/account_requests", sim.acme.base));
    assert_eq!(claims["digest"], portreeve::secret::sha256_base64url(call.body.as_bytes()));
    let body: Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!(body["orchestrator"]["type"], "stripe");
    assert!(body["orchestrator"]["stripe"]["account"].as_str().unwrap().starts_with("acct_"));

    sim.fault(json!({"v2_keys": "rotate"})).await;
    let rotated = provider.get("/v2/provisioning/public_keys").await.json();
    assert_eq!(rotated["public_keys"].as_array().unwrap().len(), 2);
    sim.fault(json!({"v2_keys": "expire", "public_keys": "down"})).await;
    provider.get("/v2/provisioning/public_keys").await.expect_status(503);
}

#[actix_web::test]
async fn what_the_catalog_forbids_is_refused_before_the_provider_is_called() {
    let sim = Sim::linked().await;
    let region = json!({"configuration": {"region": "eu"}});
    let refused = sim.refused("postgres", region.clone(), "PLAN_REQUIRED").await;
    assert_eq!(refused["error"]["plans"], json!(["free", "pro"]));
    sim.add("free").await;
    sim.refused("free", json!({"name": "again"}), "resource_count_constraint_exceeded").await;
    sim.refused("pro", json!({}), "mutual_exclusion_constraint").await;
    sim.refused("postgres", json!({}), "invalid_fields").await;
    sim.refused("postgres", json!({"configuration": {"region": "mars"}}), "invalid_fields").await;
    sim.refused("nothing", json!({}), "SERVICE_UNKNOWN").await;
    sim.refused("postgres", json!({"name": "free", "configuration": {"region": "eu"}}), "NAME_TAKEN").await;
    let refused = sim.agent.post("/agent/resources/free/upgrade", &json!({"service": "cache"})).await.json();
    assert_eq!(refused["error"]["code"], "UPDATE_NOT_ALLOWED");
    assert_eq!(sim.acme.calls("/resources").len(), 1);
}

#[actix_web::test]
async fn a_lost_answer_a_500_after_the_effect_and_duplicates_make_one_thing() {
    let sim = Sim::linked().await;
    for (name, wrong) in [
        ("a", json!({"do": "lose_answer", "on": "create"})),
        ("b", json!({"do": "duplicate", "on": "create"})),
        ("c", json!({"do": "duplicate_at_once", "on": "get"})),
        ("d", json!({"do": "lose_request", "on": "create"})),
    ] {
        sim.wrong(wrong).await;
        let (status, said) = sim.try_add("cache", json!({"name": name})).await;
        assert_eq!(status, 200, "{name}: {said}");
    }
    sim.acme.desk().fail_after = 1;
    assert_eq!(sim.try_add("cache", json!({"name": "e"})).await.0, 200);
    assert_eq!(sim.acme.desk().resources.len(), 5);
    assert_eq!(sim.simulator.books().totals["USD"].captured, 4500);
    let calls = sim.operator.get("/test/calls").await.json();
    let creates = calls["data"].as_array().unwrap().iter().filter(|call| call["verb"] == "create");
    assert_eq!(creates.count(), 8, "{calls}");
}

#[actix_web::test]
async fn an_outcome_that_stays_unknown_is_found_by_the_same_command() {
    let sim = Sim::linked().await;
    sim.wrong(json!({"do": "lose_answer", "on": "create", "count": 3})).await;
    sim.refused("cache", json!({}), "outcome_unknown").await;
    assert_eq!(sim.agent.get("/agent/status").await.json()["data"]["resources"][0]["outcome_unknown"], true);
    let offer = sim.try_add("cache", json!({"preview": true})).await.1;
    assert_eq!(offer["data"]["resumes"], true);
    sim.add("cache").await;
    assert_eq!((sim.acme.desk().resources.len(), sim.simulator.books().totals["USD"].captured), (1, 900));
    sim.acme.desk().fail_after = 3;
    let removed = sim.agent.delete("/agent/resources/cache").await;
    assert_eq!(removed.json()["error"]["provider"]["status"], 500);
    sim.agent.delete("/agent/resources/cache").await.expect_status(200);
    assert!(sim.acme.desk().resources.is_empty());
}

#[actix_web::test]
async fn wrong_signatures_versions_and_bearers_are_sent_on_order_and_shown_as_the_providers_failure() {
    let sim = Sim::linked().await;
    for (wrong, code) in [
        (json!({"do": "skew", "seconds": -400, "on": "create"}), "invalid_signature"),
        (json!({"do": "skew", "seconds": 400, "on": "create"}), "invalid_signature"),
        (json!({"do": "wrong_secret", "on": "create"}), "invalid_signature"),
        (json!({"do": "other_body", "on": "create"}), "invalid_signature"),
        (json!({"do": "no_signature", "on": "create"}), "invalid_signature"),
        (json!({"do": "version", "version": "", "on": "create"}), "invalid_api_version"),
        (json!({"do": "revoked_token", "on": "create"}), "requires_payment_credentials"),
        (json!({"do": "tiny_token", "on": "create"}), "requires_payment_credentials"),
    ] {
        sim.wrong(wrong.clone()).await;
        let refused = sim.refused("cache", json!({}), "provider_failure").await;
        assert_eq!(refused["error"]["provider"]["code"], code, "{wrong}");
        assert!(refused["error"]["provider"]["status"].as_u64().unwrap() >= 400);
    }
    assert!(sim.acme.desk().resources.is_empty());
    sim.wrong(json!({"do": "wrong_bearer", "on": "create"})).await;
    sim.add("cache").await;
    assert_eq!(sim.acme.desk().generation, 1, "a refused bearer is refreshed, and the call made once more");
    sim.wrong(json!({"do": "hold", "ms": 50, "on": "deep_link"})).await;
    sim.agent.post("/agent/deep-links", &json!({"provider": "acme"})).await.expect_status(200);
    sim.wrong(json!({"do": "late_duplicate", "on": "rotate"})).await;
    sim.agent.post("/agent/resources/cache/rotate", &json!({})).await.expect_status(200);
    sim.agent.post("/agent/deep-links", &json!({"provider": "acme"})).await.expect_status(200);
    assert_eq!(sim.acme.calls("rotate_credentials").len(), 2, "the copy came after the next call");
    assert_eq!(sim.acme.desk().rotations, 1);
}

#[actix_web::test]
async fn what_a_provider_may_take_in_a_month_ends_at_the_cap() {
    let sim = Sim::with(None, |new| {
        new.caps = serde_json::from_value(json!([{"currency": "USD", "amount": 3000}])).unwrap();
    });
    sim.agent.post("/agent/links", &json!({"provider": "acme"})).await.expect_status(200);
    sim.add("pro").await;
    let refused = sim.refused("cache", json!({}), "provider_failure").await;
    assert_eq!(refused["error"]["provider"]["code"], "requires_payment_credentials");
    assert_eq!(sim.simulator.books().totals["USD"].captured, 2500);
    let status = sim.agent.get("/agent/status").await.json();
    assert_eq!(status["data"]["resources"].as_array().unwrap().len(), 1, "what did not come to be is not there");
    sim.fault(json!({"settlement": [{"fault": "server_error_after_effect"}]})).await;
}

#[actix_web::test]
async fn a_catalog_that_may_not_be_believed_closes_the_shelf_and_says_why() {
    let sim = Sim::linked().await;
    let anybody = Client::new(&sim.simulator.issuer_url);
    let shelf = async || anybody.get("/catalog").await.expect_status(200).json()["providers"][0].clone();
    sim.acme.desk().version = 5;
    let good = shelf().await;
    assert_eq!((&good["status"], &good["version"]), (&json!("verified"), &json!(5)));
    assert_eq!(good["services"][3]["signed_price"], "9.00 USD per month");
    assert_eq!(good["services"].as_array().unwrap().len(), 4, "of both pages");
    sim.acme.desk().version = 4;
    assert!(shelf().await["reason"].as_str().unwrap().contains("went back from version 5 to 4"));
    sim.refused("cache", json!({}), "catalog_failing").await;
    sim.acme.desk().version = 5;
    sim.acme.desk().expires_in = 7200;
    assert!(
        shelf().await["reason"].as_str().unwrap().contains("version 5 of its catalog was shown with other content")
    );
    sim.acme.desk().version = 6;
    sim.acme.desk().expires_in = -1;
    assert!(shelf().await["reason"].as_str().unwrap().contains("expired"));
    sim.acme.desk().expires_in = 3600;
    sim.acme.desk().other_digest = true;
    assert!(shelf().await["reason"].as_str().unwrap().contains("another revision"));
    sim.acme.desk().other_digest = false;
    assert_eq!(shelf().await["status"], "verified");
}

#[actix_web::test]
async fn an_account_is_opened_by_credentials_by_consent_or_not_at_all() {
    let sim = Sim::start();
    let link = async || sim.agent.post("/agent/links", &json!({"provider": "acme"})).await;
    sim.acme.desk().account = "error";
    let refused = link().await.json();
    assert_eq!(refused["error"]["provider"], json!({"status": 200, "code": "forbidden", "message": "Not [31myou."}));
    sim.acme.desk().account = "needs_information";
    assert_eq!(link().await.json()["error"]["schema"]["required"], json!(["team"]));
    sim.acme.desk().account = "requires_auth";
    let refused = link().await.json();
    assert_eq!(refused["error"]["code"], "BROWSER_AUTH_REQUIRED");
    let url: url::Url = refused["error"]["url"].as_str().unwrap().parse().unwrap();
    let secret = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let browser = Client::new(&sim.simulator.issuer_url);
    browser.get("/callback?code=code_1&state=guessed").await.expect_status(400);
    browser.get(&format!("/callback?code=wrong&state={secret}")).await.expect_status(502);
    let page = browser.get(&format!("/callback?code=code_1&state={secret}")).await.expect_status(200);
    assert!(page.text().contains("acme is linked"));
    browser.get(&format!("/callback?code=code_1&state={secret}")).await.expect_status(400);
    assert_eq!(link().await.json()["data"]["was_linked"], true);

    let sim = Sim::start();
    sim.acme.desk().account = "credentials";
    let linked = sim.agent.post("/agent/links", &json!({"provider": "acme"})).await.expect_status(200).json();
    assert_eq!(linked["data"]["account"], "acc_1");
}

#[actix_web::test]
async fn a_pending_resource_is_waited_for_and_an_existing_one_is_taken_over() {
    let sim = Sim::linked().await;
    sim.acme.desk().pending = 2;
    assert_eq!(sim.add("cache").await["state"], "complete");
    sim.refused("cache", json!({"name": "old", "existing": true}), "NEEDS_INFORMATION").await;
    let order = json!({"name": "old", "existing": true, "information": {"resource_id": "db_77"}});
    let (status, said) = sim.try_add("cache", order).await;
    assert_eq!((status, &said["data"]["provider_id"]), (200, &json!("db_77")), "{said}");
}

#[actix_web::test]
async fn a_restart_keeps_users_providers_tokens_resources_keys_and_books() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sim.db");
    let sim = Sim::with(Some(&file), |_new| {});
    sim.agent.post("/agent/links", &json!({"provider": "acme"})).await.expect_status(200);
    sim.add("cache").await;
    let asked = json!({"currency": "USD", "max_amount": 500, "subject": "s"});
    let token = sim.operator.post("/test/payment_tokens", &asked).await.expect_status(200).json();
    sim.fault(json!({"revoke_payment_token": token["id"]})).await;
    let keys = sim.agent.get("/jwks").await.json();
    let env = sim.agent.get("/agent/env").await.json();
    let books = sim.operator.get("/books").await.expect_status(200).json();
    let Sim { simulator, acme, token: agent, .. } = sim;
    let (operator, address) = (simulator.operator_token(), simulator.issuer_url.clone());
    simulator.stop().await;
    drop(simulator);
    let bind = address.trim_start_matches("http://").parse().unwrap();
    let mut again = open(Some(&file), bind);
    for _ in 0..50 {
        // The old one lets go of the file when its worker has ended.
        if again.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            again = open(Some(&file), bind);
        }
    }
    let simulator = again.unwrap();
    let agent = Client::new(&simulator.issuer_url).with_token(agent.expose());
    assert_eq!(simulator.operator_token().expose(), operator.expose());
    assert_eq!(agent.get("/jwks").await.json(), keys);
    assert_eq!(agent.get("/agent/env").await.json(), env);
    let operator = agent.with_token(operator.expose());
    assert_eq!(operator.get("/books").await.json(), books);
    assert_eq!(agent.get("/agent/billing").await.json()["data"]["providers"][0]["used"], 900);
    agent.post("/agent/resources/cache/rotate", &json!({})).await.expect_status(200);
    assert_eq!(acme.desk().rotations, 1, "the connection's token is still good");
}

#[actix_web::test]
async fn a_notification_is_believed_by_its_signature_and_written_down_once() {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use portreeve::fetch::Outgoing;
    let sim = Sim::start();
    let secret = sim.acme.desk().told["notification_secret"].as_str().unwrap().to_owned();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let anybody = Client::new(&sim.simulator.issuer_url);
    let send = async |path: &str, id: &str, at: i64, signed: &str| {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{id}.{at}.{signed}").as_bytes());
        let outgoing = Outgoing::post(anybody.url(path), "application/json", br#"{"type":"a"}"#.to_vec())
            .header("webhook-id", id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", format!("v1,{}", STANDARD.encode(mac)));
        anybody.send(outgoing).await.status()
    };
    let (now, body) = (SystemClock.now().seconds(), r#"{"type":"a"}"#);
    assert_eq!(send("/notifications/acme", "msg_1", now, body).await, 204);
    sim.fault(json!({"refuse_notifications": 1})).await;
    assert_eq!(send("/notifications", "msg_1", now, body).await, 500);
    assert_eq!(send("/notifications/acme", "msg_2", now, "other").await, 401);
    assert_eq!(send("/notifications/acme", "msg_3", now - 400, body).await, 401);
    assert_eq!(send("/notifications/other", "msg_4", now, body).await, 401);
    let listed = sim.operator.get("/notifications").await.expect_status(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["deliveries"]), (&json!("msg_1"), &json!(2)));
}

#[actix_web::test]
async fn only_the_operator_adds_users_and_providers_mints_tokens_and_orders_faults() {
    let sim = Sim::start();
    for client in [Client::new(&sim.simulator.issuer_url), sim.agent.clone()] {
        for path in ["/users", "/providers", "/books", "/notifications", "/test/calls"] {
            client.get(path).await.expect_status(401);
        }
        client.post("/users", &json!({"email": "a@b"})).await.expect_status(401);
        client.post("/providers", &json!({"name": "x", "base_url": "http://127.0.0.1:1"})).await.expect_status(401);
        client.post("/test/faults", &json!({})).await.expect_status(401);
        client.post("/faults", &json!({})).await.expect_status(401);
        let asked = json!({"currency": "USD", "max_amount": 1});
        client.post("/test/payment_tokens", &asked).await.expect_status(401);
        client.post("/agent/payment-tokens", &asked).await.expect_status(401);
        client.post("/agent/id-token", &json!({})).await.expect_status(401);
    }
    Client::new(&sim.simulator.issuer_url).get("/agent/status").await.expect_status(401);
    let user = sim.operator.post("/users", &json!({"email": "bo@example.test", "country": "DE"})).await;
    let user = user.expect_status(201).json();
    let bo = sim.agent.with_token(user["agent_token"].as_str().unwrap());
    assert_eq!(bo.get("/agent/status").await.expect_status(200).json()["data"]["user"], "bo@example.test");
    let path = format!("/users/{}/id-token", user["subject"].as_str().unwrap());
    let token = sim.operator.post(&path, &json!({})).await.expect_status(200).json();
    assert_eq!(
        Unverified::parse(token["id_token"].as_str().unwrap()).unwrap().issuer(),
        Some(&*sim.simulator.issuer_url)
    );
    let again = json!({"name": "acme", "base_url": sim.acme.base, "client_id": "acme"});
    assert!(sim.operator.post("/providers", &again).await.expect_status(200).json()["signing_secret"].is_null());
    let taken = json!({"name": "other", "base_url": sim.acme.base, "client_id": "acme"});
    sim.operator.post("/providers", &taken).await.expect_status(409);
    let health = sim.operator.get("/providers/acme/health").await.expect_status(200).json();
    assert_eq!(health["status"], "ok");
    let secret = sim.operator.post("/providers/acme/signing-secret", &json!({})).await.expect_status(200).json();
    sim.acme.desk().told["signing_secret"] = secret["signing_secret"].clone();
    sim.operator.get("/providers/acme/health").await.expect_status(200);
    assert_eq!(sim.acme.calls("/health").last().unwrap().headers["stripe-signature"].matches("v1=").count(), 2);
    assert_eq!(sim.acme.calls("/health")[0].method, "GET");
}

#[actix_web::test]
async fn the_simulator_of_the_demo_is_an_orchestrator_too_and_speaks_of_the_same_person() {
    let acme = Acme::start();
    let simulator = Simulator::start(SimulatorSettings {
        provider_base: acme.base.parse().unwrap(),
        client_id: "acme-cloud".to_owned(),
        bind: "127.0.0.1:0".parse().unwrap(),
        clock: Arc::new(SystemClock),
    });
    let simulator = simulator.unwrap();
    acme.desk().told = simulator.introduction().clone();
    let token = simulator.enrol(&User::ada()).unwrap();
    let agent = Client::new(&simulator.issuer_url).with_token(token.expose());
    agent.post("/agent/links", &json!({"provider": "provider"})).await.expect_status(200);
    let sent: Value = serde_json::from_str(&acme.calls("/account_requests")[0].body).unwrap();
    assert_eq!(sent["orchestrator"]["stripe"]["account"], User::ada().subject);
    let order = json!({"provider": "provider", "service": "cache"});
    agent.post("/agent/resources", &order).await.expect_status(200);
    assert_eq!(simulator.books().authorizations[0].subject, User::ada().subject);
    Client::new(&simulator.issuer_url).get("/books").await.expect_status(200);
}
