//! Resources on the provisioning wire: made, looked at, linked; in which order a call is judged, and what the catalog
//! allows beside what there is.

use futures_util::future::join_all;
use portreeve::fetch::Outgoing;
use portreeve::ids::ResourceId;
use portreeve::orchestrator::ExistingAccount;
use portreeve::simulator::{Fault, SettlementVerb, User};
use serde_json::{Value, json};

use crate::coverage::documented;
use crate::harness::app::{TestApp, fresh_key, usd};
use crate::harness::client::Answer;
use crate::harness::tenant::{Tenant, UNLIMITED, id_of, paid_with, refused, wire_token};
use crate::harness::wire::{WireAgent, stripe_signature};
use crate::wire_accounts::another;

on_both! {
    async fn a_resource_is_complete_under_the_catalogs_names_and_a_look_repeats_no_secret(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let plan = ada.makes("team:free").await.expect_status(200).json();
        assert_eq!(plan["complete"], json!({"access_configuration": {}}), "a tier yields nothing: {plan}");
        let made = ada.makes("bucket").await;
        assert_eq!(made.header("cache-control"), "no-store");
        let made = made.expect_status(200).json();
        let id = id_of(&made, "complete");
        assert_eq!(made["service_id"], "bucket");
        let access = made["complete"]["access_configuration"].as_object().unwrap();
        assert_eq!(access.keys().collect::<Vec<_>>(), ["bucket", "secret_key", "url"]);
        assert!(access["secret_key"].as_str().unwrap().starts_with(&format!("bk_{id}.")), "{made}");
        let seen = ada.looks_at(&id).await.expect_status(200).json();
        let public = json!({"bucket": id, "url": format!("https://s3.acme.example/{id}")});
        assert_eq!(seen["complete"]["access_configuration"], public);
        assert_eq!((&seen["id"], &seen["service_id"], &seen["status"]), (&made["id"], &made["service_id"], &made["status"]));
        assert_eq!(ada.agent.spent_and_held().await, (0, 0), "free under the free team");
        app.stop().await;
    }

    async fn a_paid_service_needs_a_token_and_is_charged_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let message = refused(&ada.sends(&json!({"service_id": "postgres:small"})).await, 400, "requires_payment_credentials", "");
        assert!(message.contains("token"), "{message}");
        assert_eq!((ada.count().await, ada.agent.spent_and_held().await), (0, (0, 0)));
        let made = ada.makes("postgres:small").await.expect_status(200).json();
        assert!(made["complete"]["access_configuration"]["DATABASE_URL"].as_str().unwrap().starts_with("postgres://"), "{made}");
        assert_eq!(made["service_id"], "postgres:small");
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        app.stop().await;
    }

    async fn a_payment_that_fails_leaves_nothing_usable_and_asks_for_another_token(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let mut order = ada.order("postgres:small");
        order["orchestrator_resource_id"] = json!("fres_1");
        for verb in [SettlementVerb::Authorize, SettlementVerb::Capture] {
            app.fails(verb, Fault::Decline, 1);
            let answer = ada.wire.post("/provisioning/resources", &order).await;
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            refused(&answer, 400, "requires_payment_credentials", &id);
            refused(&ada.looks_at(&id).await, 400, "requires_payment_credentials", &id);
            assert_eq!((ada.count().await, ada.agent.spent_and_held().await, app.issuer_says()), (0, (0, 0), (0, 0)), "{verb:?}");
        }
        // The orchestrator sends the same again with another token, and it is made.
        order["payment_credentials"] = paid_with(&app.pays(&usd(5000)));
        let made = ada.wire.post("/provisioning/resources", &order).await.expect_status(200).json();
        let again = ada.wire.post("/provisioning/resources", &order).await.expect_status(200).json();
        assert_eq!(made, again);
        assert_eq!((ada.count().await, app.issuer_says()), (1, (0, 900)));
        app.stop().await;
    }

    async fn every_token_that_does_not_pay_is_refused_as_one_that_is_missing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        for token in [
            "spt_unknown".to_owned(),
            app.pays(&usd(5000).expires_at(app.now())),
            app.pays(&usd(5000).signed_by_a_stranger()),
            app.pays(&usd(5000).of(&crate::harness::app::user("bob"))),
            app.pays(&usd(899)),
            app.pays(&portreeve::simulator::PaymentTokenSpec::new(
                "EUR".parse().unwrap(),
                portreeve::money::Amount::from_minor(5000).unwrap(),
            )),
        ] {
            let body = json!({"service_id": "postgres:small", "payment_credentials": paid_with(&token)});
            refused(&ada.sends(&body).await, 400, "requires_payment_credentials", "");
        }
        app.simulator.revoke_payment_token("ptok_gone").unwrap();
        let gone = app.pays(&usd(5000).claim("jti", json!("ptok_gone")));
        let answer = ada.sends(&json!({"service_id": "domain", "configuration": {"domain_name": "a.dev"}, "payment_credentials": paid_with(&gone)})).await;
        assert_eq!(answer.json()["error"]["code"], "requires_payment_credentials");
        // Another way to pay is refused, also where nothing is to be paid.
        for credentials in [json!({"type": "card", "card": "4242"}), json!({}), json!({"type": "stripe_payment_token"})] {
            let body = json!({"service_id": "sandbox", "payment_credentials": credentials});
            let message = refused(&ada.sends(&body).await, 400, "invalid_request", "");
            assert!(message.contains("payment_credentials"), "{message}");
        }
        assert_eq!((ada.count().await, app.issuer_says()), (0, (0, 0)));
        app.stop().await;
    }

    async fn parallel_copies_of_one_request_make_one_resource(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let mut placed = ada.order("postgres:small");
        placed["project_id"] = json!("proj_1");
        let mut named = placed.clone();
        named["orchestrator_resource_id"] = json!("fres_7");
        let order = ada.order("postgres:small");
        let path = "/provisioning/resources";
        one_of(join_all((0..64).map(|_| ada.wire.post_once("one", path, &order))).await);
        one_of(join_all((0..64).map(|_| ada.wire.post(path, &placed))).await);
        one_of(join_all((0..64).map(|_| ada.wire.post(path, &named))).await);
        assert_eq!((ada.count().await, ada.agent.spent_and_held().await), (3, (2700, 0)));
        assert_eq!((app.issuer_says(), app.simulator.books().authorizations.len()), ((0, 2700), 3));
        app.stop().await;
    }

    async fn a_key_belongs_to_one_request_and_a_place_to_one_thing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let path = "/provisioning/resources";
        let body = json!({"service_id": "sandbox", "project_id": "p", "actor": {"email": "a@example.test"}});
        let first = ada.wire.post_once("k", path, &body).await.expect_status(200).json();
        let other_actor = json!({"service_id": "sandbox", "project_id": "p", "unheard_of": [1]});
        assert_eq!(ada.wire.post_once("k", path, &other_actor).await.expect_status(200).json(), first);
        let other = json!({"service_id": "sandbox", "project_id": "q"});
        refused(&ada.wire.post_once("k", path, &other).await, 422, "invalid_request", "");
        for bad in ["", "two words"] {
            let bytes = body.to_string().into_bytes();
            let call = Outgoing::post(ada.wire.client.url(path), "application/json", bytes.clone());
            let call = ada.wire.signed(call, "POST", path, &bytes).header("idempotency-key", bad.to_owned());
            refused(&ada.wire.client.send(call).await, 400, "invalid_request", "");
        }
        // A place: the first thing stays in it, until it is gone.
        let placed = ada.wire.post(path, &body).await.expect_status(200).json();
        assert_ne!(placed["id"], first["id"]);
        assert_eq!(ada.wire.post(path, &body).await.expect_status(200).json(), placed);
        let mut dev = body.clone();
        dev["environment"] = json!("dev");
        let message = refused(&ada.wire.post(path, &dev).await, 409, "invalid_state", "");
        assert!(message.contains("project_id"), "{message}");
        let elsewhere = json!({"service_id": "sandbox", "project_id": "another"});
        assert_ne!(ada.wire.post(path, &elsewhere).await.expect_status(200).json()["id"], placed["id"]);
        ada.does("remove", placed["id"].as_str().unwrap(), &json!({})).await.expect_status(200);
        let anew = ada.wire.post(path, &dev).await.expect_status(200).json();
        assert_ne!(anew["id"], placed["id"], "{anew}");
        // Without a place or a key, the signed request is its own.
        let plain = json!({"service_id": "sandbox"});
        let alone = ada.wire.post(path, &plain).await.expect_status(200).json();
        assert_eq!(ada.wire.post(path, &plain).await.expect_status(200).json(), alone, "the same signed bytes");
        app.pass(chrono::TimeDelta::seconds(1));
        assert_ne!(ada.wire.post(path, &plain).await.expect_status(200).json()["id"], alone["id"]);
        app.stop().await;
    }

    async fn of_parallel_requests_as_many_come_through_as_the_catalog_allows(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let answers = join_all((0..64).map(|_| ada.makes("team:free"))).await;
        let made = answers.iter().filter(|answer| answer.status() == 200).count();
        assert_eq!(made, 1);
        for answer in answers.iter().filter(|answer| answer.status() != 200) {
            refused(answer, 409, "invalid_state", "");
        }
        // Ten buckets in each project, whoever asks first.
        let bucket = |project: &str| json!({"service_id": "bucket", "project_id": project});
        let (one, two) = (bucket("one"), bucket("two"));
        let answers = join_all((0..32).map(|index| ada.sends(if index % 2 == 0 { &one } else { &two }))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status() == 200).count(), 20);
        let full = refused(&ada.sends(&one).await, 409, "invalid_state", "");
        assert!(full.contains("at most 10"), "{full}");
        ada.sends(&bucket("three")).await.expect_status(200);
        // Both tiers at once: one of them, and nothing is charged for the other.
        let bob = ada.bob().await;
        let answers = join_all((0..32).map(|index| bob.makes(if index % 2 == 0 { "team:free" } else { "team:pro" }))).await;
        let made: Vec<_> = answers.iter().filter(|answer| answer.status() == 200).map(Answer::json).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let paid = if made[0]["service_id"] == "team:pro" { 2000 } else { 0 };
        assert_eq!((bob.agent.spent_and_held().await, app.issuer_says()), ((paid, 0), (0, paid)));
        app.stop().await;
    }

    async fn a_plan_is_sold_beside_its_parent_only_and_at_its_price(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let message = refused(&ada.makes("bucket").await, 409, "invalid_state", "");
        assert!(message.contains("team/free") && message.contains("team/pro"), "{message}");
        let pro = ada.gets("team:pro").await;
        let beside = refused(&ada.makes("team:free").await, 409, "invalid_state", "");
        assert!(beside.contains("team/pro"), "{beside}");
        refused(&ada.sends(&json!({"service_id": "bucket"})).await, 400, "requires_payment_credentials", "");
        let bucket = ada.gets("bucket").await;
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((2500, 0), (0, 2500)));
        ada.does("remove", &bucket, &json!({})).await.expect_status(200);
        ada.does("remove", &pro, &json!({})).await.expect_status(200);
        refused(&ada.makes("bucket").await, 409, "invalid_state", "");
        // A parent whose payment is open is none yet.
        app.fails(SettlementVerb::Capture, Fault::TimeOutBeforeEffect, 1);
        let pending = ada.makes("team:pro").await.expect_status(200).json();
        assert_eq!(pending["status"], "pending");
        refused(&ada.makes("bucket").await, 409, "invalid_state", "");
        // The same rules hold over `/v1`.
        let order = ada.agent.order("bucket", "standard");
        ada.agent.sends(&order).await.problem(409, "plan_constraint");
        ada.waits_for(&id_of(&pending, "pending"), "ready").await;
        ada.agent.sends(&order).await.expect_status(201);
        assert_eq!(ada.agent.spent_and_held().await, (5000, 0));
        app.stop().await;
    }

    async fn what_is_missing_is_asked_for_and_what_is_wrong_is_refused_by_its_name(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let mut order = ada.order("cache");
        order["configuration"] = json!({"region": "us-east", "memory_mb": null});
        let asked = ada.sends(&order).await.expect_status(200).json();
        assert_eq!(asked["status"], "needs_information");
        let schema = &asked["needs_information"]["schema"];
        assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["memory_mb", "region"])), "{schema}");
        assert_eq!((ada.count().await, app.issuer_says()), (0, (0, 0)), "nothing was made");
        order["submitted_information"] = json!({"memory_mb": 512});
        let made = ada.sends(&order).await.expect_status(200).json();
        assert!(made["complete"]["access_configuration"]["url"].as_str().unwrap().starts_with("rediss://"), "{made}");
        for (wrong, named) in [
            (json!({"region": "mars", "memory_mb": 1}), "region"),
            (json!({"region": "us-east", "memory_mb": "much"}), "memory_mb"),
            (json!({"region": "us-east", "memory_mb": 1, "speed": 9}), "speed"),
        ] {
            order["configuration"] = wrong;
            order["submitted_information"] = Value::Null;
            let message = refused(&ada.sends(&order).await, 400, "invalid_request", "");
            assert!(message.contains(named), "{message}");
        }
        app.stop().await;
    }

    async fn null_is_nothing_unknown_members_are_passed_over_and_wrong_types_are_named(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let all_null = json!({
            "service_id": "sandbox", "configuration": null, "project_id": null, "orchestrator_resource_id": null,
            "environment": null, "actor": null, "payment_credentials": null, "submitted_information": null,
            "label_prefix": null, "something_new": {"deep": true},
        });
        ada.sends(&all_null).await.expect_status(200);
        for (member, wrong) in [
            ("service_id", json!(7)),
            ("configuration", json!([])),
            ("project_id", json!({})),
            ("project_id", json!("a\nb")),
            ("orchestrator_resource_id", json!("x".repeat(256))),
            ("environment", json!("staging")),
            ("actor", json!("dana")),
            ("payment_credentials", json!("spt_1")),
            ("submitted_information", json!(true)),
        ] {
            let mut body = json!({"service_id": "sandbox"});
            body[member] = wrong;
            let message = refused(&ada.sends(&body).await, 400, "invalid_request", "");
            assert!(message.contains(member), "{message}");
        }
        for prefix in ["x".repeat(26), "a\u{202e}b".to_owned()] {
            let body = json!({"service_id": "sandbox", "label_prefix": prefix});
            refused(&ada.sends(&body).await, 400, "invalid_label_prefix", "");
        }
        for bytes in ["", "{", "[]", "{\"service_id\":\"sandbox\",\"service_id\":\"sandbox\"}"] {
            let answer = ada.wire.post_bytes("/provisioning/resources", "application/json", bytes.as_bytes()).await;
            assert_eq!((answer.status(), &answer.json()["status"]), (400, &json!("error")), "{bytes:?}");
        }
        refused(&ada.sends(&json!({"service_id": ""})).await, 400, "missing_service_id", "");
        for unknown in ["nothing", "postgres", "postgres:huge", "../x"] {
            refused(&ada.sends(&json!({"service_id": unknown})).await, 400, "unknown_service", "");
        }
        assert_eq!(ada.count().await, 1);
        app.stop().await;
    }

    async fn a_call_is_judged_in_one_order(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let unknown = ResourceId::new(app.now()).to_string();
        let path = format!("/provisioning/resources/{unknown}");
        let send = |outgoing: Outgoing| ada.wire.client.send(outgoing);
        let bare = || Outgoing::get(ada.wire.client.url(&path));
        let bearer = ada.wire.bearer.clone().unwrap();
        // Nothing at all: the token comes first.
        refused(&send(bare()).await, 401, "unauthorized", "");
        refused(&send(bare().bearer(&ada.agent.token)).await, 401, "unauthorized", "");
        // A token without a signature is worth nothing.
        let flat = |answer: &Answer, status: u16, code: &str| {
            assert_eq!((answer.status(), &answer.json()["error"]["code"]), (status, &json!(code)), "{}", answer.text());
            assert!(answer.json().get("status").is_none(), "{}", answer.text());
        };
        flat(&send(bare().bearer(&bearer)).await, 401, "invalid_signature");
        let signature = stripe_signature(&ada.wire.secret, app.now().seconds(), b"");
        flat(&send(bare().bearer(&bearer).header("stripe-signature", signature)).await, 400, "invalid_api_version");
        // The form of the id, then what the token allows, then whether there is such a thing, then whose it is.
        let reader = ada.wire.with_bearer(&wire_token(&app, &ada.agent.token, "resources:read"));
        let writer = ada.wire.with_bearer(&wire_token(&app, &ada.agent.token, "resources:write"));
        refused(&writer.get("/provisioning/resources/42").await, 400, "invalid_resource_id", "");
        refused(&writer.get(&path).await, 403, "forbidden", "");
        for verb in ["update_service", "rotate_credentials", "remove"] {
            refused(&reader.post(&format!("{path}/{verb}"), &json!({})).await, 403, "forbidden", "");
            refused(&ada.wire.post(&format!("{path}/{verb}"), &json!([])).await, 404, "not_found", &unknown);
        }
        refused(&reader.post("/provisioning/resources", &json!({"service_id": "sandbox"})).await, 403, "forbidden", "");
        refused(&ada.looks_at(&unknown).await, 404, "not_found", &unknown);
        let bob = ada.bob().await;
        let hers = ada.gets("sandbox").await;
        for verb in ["update_service", "rotate_credentials", "remove"] {
            refused(&bob.does(verb, &hers, &json!([])).await, 403, "forbidden", &hers);
        }
        refused(&bob.looks_at(&hers).await, 403, "forbidden", &hers);
        // What nobody provisioned on this wire is not the orchestrator's.
        let bought = ada.agent.buys("sandbox", "free").await.expect_status(201).json();
        let bought = bought["resource"]["id"].as_str().unwrap().to_owned();
        refused(&ada.looks_at(&bought).await, 403, "forbidden", &bought);
        ada.looks_at(&hers).await.expect_status(200);
        app.stop().await;
    }

    async fn each_documented_operation_on_resources_refuses_a_stranger_in_its_envelope(db: TestDb) {
        let app = TestApp::start(&db).await;
        let wire = WireAgent::register(&app).await;
        let mut count = 0;
        for (method, path, _) in documented() {
            if !path.starts_with("/provisioning/resources") {
                continue;
            }
            let path = path.replace("{id}", "res_x");
            let answer = if method == "GET" { wire.get(&path).await } else { wire.post(&path, &json!({})).await };
            refused(&answer, 401, "unauthorized", "");
            count += 1;
        }
        assert_eq!(count, 6);
        app.stop().await;
    }

    async fn a_lost_answer_of_the_issuer_is_pending_until_a_worker_knows(db: TestDb) {
        let app = TestApp::start(&db).await;
        let wire = WireAgent::register(&app).await;
        for verb in [SettlementVerb::Authorize, SettlementVerb::Capture] {
            let ada = Tenant::of(&wire, &crate::harness::app::user(&fresh_key())).await;
            let before = app.issuer_says().1;
            app.fails(verb, Fault::TimeOutAfterEffect, 1);
            let order = ada.order("postgres:small");
            let key = fresh_key();
            let answer = ada.wire.post_once(&key, "/provisioning/resources", &order).await.expect_status(200).json();
            let id = id_of(&answer, "pending");
            assert!(answer.get("complete").is_none(), "{answer}");
            assert_eq!(ada.looks_at(&id).await.expect_status(200).json()["status"], "pending");
            ada.waits_for(&id, "ready").await;
            assert_eq!(ada.looks_at(&id).await.expect_status(200).json()["status"], "complete");
            let again = ada.wire.post_once(&key, "/provisioning/resources", &order).await.expect_status(200).json();
            assert!(again["complete"]["access_configuration"]["DATABASE_URL"].is_string(), "{again}");
            assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, before + 900)), "{verb:?}");
        }
        app.stop().await;
    }

    async fn a_profile_decides_what_is_echoed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let wire = WireAgent::register_with(&app, |settings| settings.profile = "2026-04-01".parse().unwrap()).await;
        let ada = Tenant::of(&wire, &User::ada()).await;
        let made = ada.makes("sandbox").await.expect_status(200).json();
        assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["complete", "id", "status"]);
        app.stop().await;
    }

    async fn an_existing_resource_is_linked_by_whoever_owns_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let path = "/provisioning/resources/link";
        let bought = ada.agent.buys("postgres", "small").await.expect_status(201).json();
        let id = bought["resource"]["id"].as_str().unwrap().to_owned();
        let mut body = json!({"service_id": "postgres:small", "project_id": "p"});
        let asked = ada.wire.post(path, &body).await.expect_status(200).json();
        assert_eq!(asked["status"], "needs_information");
        assert_eq!(asked["needs_information"]["schema"]["required"], json!(["resource_id"]));
        // Unknown, another's, of another service, no id at all: one answer.
        let bob = ada.bob().await;
        let his = bob.gets("postgres:small").await;
        let mut answers = Vec::new();
        for (service, wrong) in [
            ("postgres:small", ResourceId::new(app.now()).to_string()),
            ("postgres:small", his),
            ("sandbox", id.clone()),
            ("postgres:small", "42".to_owned()),
        ] {
            let body = json!({"service_id": service, "submitted_information": {"resource_id": wrong}});
            let answer = ada.wire.post(path, &body).await;
            answers.push((answer.status(), answer.json()));
        }
        assert_eq!((answers[0].0, &answers[0].1["error"]["code"]), (404, &json!("not_found")));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        body["submitted_information"] = json!({"resource_id": id});
        let linked = ada.wire.post(path, &body).await.expect_status(200).json();
        assert_eq!(id_of(&linked, "complete"), id);
        assert_eq!(linked["complete"]["access_configuration"], json!({}), "no secret is repeated");
        assert_eq!(ada.wire.post(path, &body).await.expect_status(200).json(), linked);
        ada.looks_at(&id).await.expect_status(200);
        let rotated = ada.does("rotate_credentials", &id, &json!({})).await.expect_status(200).json();
        assert!(rotated["complete"]["access_configuration"]["DATABASE_URL"].is_string(), "{rotated}");
        app.stop().await;
    }

    async fn a_second_orchestrator_of_the_account_takes_up_nothing_that_another_one_pays_for(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let held = ada.gets("sandbox").await;
        let unheld = ada.agent.buys("sandbox", "free").await.expect_status(201).json()["resource"]["id"].clone();
        let other = another(&app, "Own", ExistingAccount::LinkSilently, &["example.test"]).await;
        let second = WireAgent::register_as(&app, &other.id, |_| ()).await;
        let (second, tokens) = second.opens_account(&User::ada()).await;
        assert_eq!(tokens["account"]["id"].as_str(), Some(ada.agent.account.as_str()), "one account, two orchestrators");
        let path = "/provisioning/resources/link";
        let unknown = ResourceId::new(app.now()).to_string();
        let link = |id: &str| json!({"service_id": "sandbox", "submitted_information": {"resource_id": id}});
        let expected = second.post(path, &link(&unknown)).await;
        assert_eq!((expected.status(), &expected.json()["error"]["code"]), (404, &json!("not_found")));
        for id in [held.as_str(), unheld.as_str().unwrap()] {
            assert_eq!(second.post(path, &link(id)).await.json(), expected.json(), "who asks does not learn why");
            refused(&second.get(&format!("/provisioning/resources/{id}")).await, 403, "forbidden", id);
            for verb in ["remove", "rotate_credentials"] {
                let answer = second.post(&format!("/provisioning/resources/{id}/{verb}"), &json!({})).await;
                refused(&answer, 403, "forbidden", id);
            }
        }
        // Whoever sold it takes it up, however many copies ask at once.
        let body = link(unheld.as_str().unwrap());
        for answer in join_all((0..8).map(|_| ada.wire.post(path, &body))).await {
            assert_eq!(answer.expect_status(200).json()["id"], unheld);
        }
        ada.looks_at(&held).await.expect_status(200);
        app.stop().await;
    }

    async fn new_resources_are_limited_by_the_hour(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.resource_creates_per_hour", "2")]).await;
        let ada = Tenant::ada(&app).await;
        for left in ["1", "0"] {
            let answer = ada.makes("sandbox").await.expect_status(200);
            assert!(answer.header("ratelimit").contains(&format!("\"resource-creates\";r={left}")), "{left}");
        }
        let answer = ada.makes("sandbox").await;
        refused(&answer, 429, "rate_limited", "");
        assert_eq!(answer.header("retry-after"), "1800");
        app.stop().await;
    }
}

/// All answers name one resource, and the last word is that it is complete.
fn one_of(answers: Vec<Answer>) {
    let mut ids: Vec<Value> = Vec::new();
    for answer in answers {
        assert_eq!(answer.status(), 200, "{}", answer.text());
        // Pending: a copy that asked while the first was still being carried out.
        assert!(["complete", "pending"].contains(&answer.json()["status"].as_str().unwrap()), "{}", answer.text());
        ids.push(answer.json()["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}
