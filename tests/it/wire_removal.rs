//! Removing on the provisioning wire: safe to repeat, and nothing works afterwards.

use futures_util::future::join_all;
use portreeve::simulator::{Fault, SettlementVerb};
use serde_json::json;

use crate::harness::app::TestApp;
use crate::harness::client::Client;
use crate::harness::tenant::{Tenant, UNLIMITED, id_of, refused};

on_both! {
    async fn what_is_removed_is_gone_and_stays_so(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let made = ada.makes("weather").await.expect_status(200).json();
        let id = id_of(&made, "complete");
        let key = made["complete"]["access_configuration"]["API_KEY"].as_str().unwrap().to_owned();
        let bob = ada.bob().await;
        refused(&bob.does("remove", &id, &json!({})).await, 403, "forbidden", &id);
        refused(&ada.does("remove", &id, &json!({"actor": []})).await, 400, "invalid_request", &id);
        let gone = json!({"status": "removed", "id": id});
        for _ in 0..2 {
            assert_eq!(ada.does("remove", &id, &json!({"actor": null})).await.expect_status(200).json(), gone);
            assert_eq!(ada.looks_at(&id).await.expect_status(200).json(), gone);
        }
        let call = Client::new(&app.platform.url).with_token(&key).get("/weather/lisbon").await;
        assert_ne!(call.status(), 200, "{}", call.text());
        let body = json!({"service_id": "weather"});
        refused(&ada.does("update_service", &id, &body).await, 409, "invalid_state", &id);
        refused(&ada.does("rotate_credentials", &id, &json!({})).await, 409, "invalid_state", &id);
        assert_eq!(ada.count().await, 0);
        app.stop().await;
    }

    async fn parallel_removals_remove_once_and_free_the_place(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("team:free").await;
        refused(&ada.makes("team:free").await, 409, "invalid_state", "");
        let body = json!({});
        for answer in join_all((0..32).map(|_| ada.does("remove", &id, &body))).await {
            let status = answer.expect_status(200).json()["status"].as_str().unwrap().to_owned();
            assert!(["removed", "pending_removal"].contains(&status.as_str()), "{status}");
        }
        assert_ne!(ada.gets("team:free").await, id);
        app.stop().await;
    }

    async fn what_is_not_finished_is_not_removed_and_what_never_came_to_be_is(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        app.fails(SettlementVerb::Capture, Fault::TimeOutBeforeEffect, 1);
        let pending = ada.makes("postgres:small").await.expect_status(200).json();
        let id = id_of(&pending, "pending");
        refused(&ada.does("remove", &id, &json!({})).await, 409, "invalid_state", &id);
        ada.waits_for(&id, "ready").await;
        assert_eq!(ada.does("remove", &id, &json!({})).await.expect_status(200).json()["status"], "removed");
        assert_eq!(app.issuer_says(), (0, 900), "what was taken stays taken");
        app.fails(SettlementVerb::Authorize, Fault::Decline, 1);
        let failed = ada.makes("postgres:small").await.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(ada.does("remove", &failed, &json!({})).await.expect_status(200).json()["status"], "removed");
        app.stop().await;
    }
}
