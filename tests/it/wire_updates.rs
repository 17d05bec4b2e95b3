//! Changes of plan on the provisioning wire: which are allowed, what they cost, and that a refused one leaves everything
//! as it was.

use futures_util::future::join_all;
use portreeve::simulator::{AuthorizationStatus, Fault, SettlementVerb};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, usd};
use crate::harness::tenant::{Tenant, UNLIMITED, id_of, paid_with, refused};

const UPDATE: &str = "update_service";

fn medium(tenant: &Tenant<'_>) -> Value {
    json!({"service_id": "postgres:medium", "payment_credentials": tenant.pays()})
}

on_both! {
    async fn an_upgrade_is_paid_and_hands_over_fresh_access(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let made = ada.makes("postgres:small").await.expect_status(200).json();
        let id = id_of(&made, "complete");
        let changed = ada.does_once("up", UPDATE, &id, &medium(&ada)).await.expect_status(200).json();
        assert_eq!((id_of(&changed, "complete"), &changed["service_id"]), (id.clone(), &json!("postgres:medium")));
        let access = &changed["complete"]["access_configuration"];
        assert!(access["DATABASE_URL"].is_string() && access != &made["complete"]["access_configuration"], "{changed}");
        assert_eq!(ada.plan_and_state(&id).await, ("postgres/medium".to_owned(), "ready".to_owned()));
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((3700, 0), (0, 3700)));
        // A retry does it once, under its key and, as there is nothing left to do, under another; that hands over nothing.
        assert_eq!(ada.does_once("up", UPDATE, &id, &medium(&ada)).await.expect_status(200).json(), changed);
        let mut known = changed.clone();
        known["complete"]["access_configuration"] = json!({});
        assert_eq!(ada.does(UPDATE, &id, &medium(&ada)).await.expect_status(200).json(), known);
        assert_eq!(ada.wire.post(&format!("/provisioning/resources/{id}/{UPDATE}"), &medium(&ada)).await.json(), known);
        let other = json!({"service_id": "postgres:small"});
        refused(&ada.does_once("up", UPDATE, &id, &other).await, 422, "invalid_request", &id);
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((3700, 0), (0, 3700)));
        assert_eq!(ada.looks_at(&id).await.json()["service_id"], "postgres:medium");
        app.stop().await;
    }

    async fn an_update_that_changes_nothing_hands_over_no_secret(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let made = ada.makes("postgres:small").await.expect_status(200).json();
        let id = id_of(&made, "complete");
        assert!(made["complete"]["access_configuration"]["DATABASE_URL"].is_string(), "{made}");
        for _ in 0..2 {
            for body in [json!({"service_id": "postgres:small"}), json!({"configuration": {}})] {
                let answer = ada.does(UPDATE, &id, &body).await.expect_status(200).json();
                assert_eq!((&answer["status"], &answer["complete"]["access_configuration"]), (&json!("complete"), &json!({})));
            }
        }
        app.stop().await;
    }

    async fn a_downgrade_never_charges_and_an_old_retry_does_not_undo_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        ada.does_once("up", UPDATE, &id, &medium(&ada)).await.expect_status(200);
        let down = json!({"service_id": "postgres:small"});
        let changed = ada.does(UPDATE, &id, &down).await.expect_status(200).json();
        assert_eq!(changed["service_id"], "postgres:small");
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((3700, 0), (0, 3700)));
        assert_eq!(ada.does_once("up", UPDATE, &id, &medium(&ada)).await.expect_status(200).json(), changed);
        assert_eq!(ada.plan_and_state(&id).await.0, "postgres/small");
        // From nothing to something costs its price, and back costs nothing.
        let free = ada.gets("team:free").await;
        refused(&ada.does(UPDATE, &free, &json!({"service_id": "team:pro"})).await, 400, "requires_payment_credentials", &free);
        let pro = json!({"service_id": "team:pro", "payment_credentials": ada.pays()});
        assert_eq!(ada.does(UPDATE, &free, &pro).await.expect_status(200).json()["service_id"], "team:pro");
        ada.does(UPDATE, &free, &json!({"service_id": "team:free"})).await.expect_status(200);
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((5700, 0), (0, 5700)));
        app.stop().await;
    }

    async fn only_what_the_catalog_allows_is_changed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("sandbox").await;
        refused(&ada.does(UPDATE, &id, &json!({})).await, 400, "missing_service_id", &id);
        refused(&ada.does(UPDATE, &id, &json!({"service_id": null})).await, 400, "missing_service_id", &id);
        refused(&ada.does(UPDATE, &id, &json!({"service_id": 7})).await, 400, "invalid_request", &id);
        refused(&ada.does(UPDATE, &id, &json!({"service_id": "nothing"})).await, 400, "unknown_service", &id);
        let body = json!({"service_id": "postgres:small", "payment_credentials": ada.pays()});
        refused(&ada.does(UPDATE, &id, &body).await, 400, "destructive_update", &id);
        let odd = json!({"service_id": "sandbox", "payment_credentials": {"type": "card"}});
        refused(&ada.does(UPDATE, &id, &odd).await, 400, "invalid_request", &id);
        assert_eq!((ada.plan_and_state(&id).await.0, app.issuer_says()), ("sandbox/free".to_owned(), (0, 0)));
        // A change does not stand in its own way, but another resource does.
        let team = ada.gets("team:free").await;
        let pro = json!({"service_id": "team:pro", "payment_credentials": ada.pays()});
        ada.does(UPDATE, &team, &pro).await.expect_status(200);
        app.stop().await;
    }

    async fn a_configuration_is_changed_alone_and_for_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        let before = app.issuer_says();
        let changed = ada.does(UPDATE, &id, &json!({"configuration": {"region": "us-east"}})).await;
        assert_eq!(changed.expect_status(200).json()["service_id"], "postgres:small");
        let message = refused(&ada.does(UPDATE, &id, &json!({"configuration": {"region": "mars"}})).await, 400, "invalid_request", &id);
        assert!(message.contains("region"), "{message}");
        refused(&ada.does(UPDATE, &id, &json!({"configuration": {"speed": 1}})).await, 400, "invalid_request", &id);
        assert_eq!((app.issuer_says(), ada.plan_and_state(&id).await.1), (before, "ready".to_owned()));
        app.stop().await;
    }

    async fn an_upgrade_that_is_not_paid_leaves_everything_as_it_was(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let made = ada.wire.post_once("first", "/provisioning/resources", &ada.order("postgres:small")).await.json();
        let id = id_of(&made, "complete");
        let as_before = async |why: &str| {
            assert_eq!(ada.plan_and_state(&id).await, ("postgres/small".to_owned(), "ready".to_owned()), "{why}");
            assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)), "{why}");
            let again = ada.wire.post_once("first", "/provisioning/resources", &ada.order("postgres:small")).await;
            assert_eq!(again.json(), made, "the credentials still stand: {why}");
        };
        refused(&ada.does(UPDATE, &id, &json!({"service_id": "postgres:medium"})).await, 400, "requires_payment_credentials", &id);
        as_before("no token").await;
        let small = json!({"service_id": "postgres:medium", "payment_credentials": paid_with(&app.pays(&usd(2799)))});
        refused(&ada.does(UPDATE, &id, &small).await, 400, "requires_payment_credentials", &id);
        as_before("a token for less").await;
        for verb in [SettlementVerb::Authorize, SettlementVerb::Capture] {
            app.fails(verb, Fault::Decline, 1);
            let key = fresh_key();
            let answer = ada.does_once(&key, UPDATE, &id, &medium(&ada)).await;
            refused(&answer, 400, "requires_payment_credentials", &id);
            as_before("declined").await;
            refused(&ada.does_once(&key, UPDATE, &id, &medium(&ada)).await, 400, "requires_payment_credentials", &id);
            as_before("the same answer again").await;
        }
        ada.does(UPDATE, &id, &medium(&ada)).await.expect_status(200);
        assert_eq!(app.issuer_says(), (0, 3700));
        app.stop().await;
    }

    async fn an_upgrade_whose_outcome_is_unknown_is_finished_by_a_worker_once(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let wire = crate::harness::wire::WireAgent::register(&app).await;
        for verb in [SettlementVerb::Authorize, SettlementVerb::Capture] {
            for fault in [Fault::TimeOutAfterEffect, Fault::TimeOutBeforeEffect, Fault::ServerError] {
                let ada = Tenant::of(&wire, &crate::harness::app::user(&fresh_key())).await;
                let id = ada.gets("postgres:small").await;
                let before = app.simulator.books().authorizations.len();
                app.fails(verb, fault, 1);
                let key = fresh_key();
                let answer = ada.does_once(&key, UPDATE, &id, &medium(&ada)).await.expect_status(200).json();
                assert_eq!(id_of(&answer, "pending"), id);
                assert_eq!(ada.plan_and_state(&id).await, ("postgres/small".to_owned(), "changing".to_owned()));
                // Nothing else is begun meanwhile.
                refused(&ada.does(UPDATE, &id, &json!({"configuration": {}})).await, 409, "invalid_state", &id);
                refused(&ada.does("rotate_credentials", &id, &json!({})).await, 409, "invalid_state", &id);
                refused(&ada.does("remove", &id, &json!({})).await, 409, "invalid_state", &id);
                ada.waits_for(&id, "ready").await;
                let again = ada.does_once(&key, UPDATE, &id, &medium(&ada)).await.expect_status(200).json();
                assert_eq!(again["service_id"], "postgres:medium", "{again}");
                assert!(again["complete"]["access_configuration"]["DATABASE_URL"].is_string(), "{again}");
                assert_eq!(ada.agent.spent_and_held().await, (3700, 0), "{verb:?} {fault:?}");
                let books = app.simulator.books().authorizations.split_off(before);
                assert_eq!(books.len(), 1, "{verb:?} {fault:?}");
                assert_eq!(books[0].authorization.status, AuthorizationStatus::Captured);
            }
        }
        app.stop().await;
    }

    async fn of_parallel_upgrades_one_is_charged(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        let body = medium(&ada);
        let answers = join_all((0..64).map(|_| ada.does(UPDATE, &id, &body))).await;
        for answer in &answers {
            match answer.status() {
                200 => assert_eq!(answer.json()["id"], json!(id)),
                _ => drop(refused(answer, 409, "invalid_state", &id)),
            }
        }
        assert!(answers.iter().any(|answer| answer.status() == 200));
        assert_eq!(ada.plan_and_state(&id).await, ("postgres/medium".to_owned(), "ready".to_owned()));
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((3700, 0), (0, 3700)));
        app.stop().await;
    }
}
