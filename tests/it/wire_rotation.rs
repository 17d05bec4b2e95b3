//! New credentials on the provisioning wire: the old ones die, or work on as long as the provider says.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key};
use crate::harness::client::Client;
use crate::harness::tenant::{Tenant, UNLIMITED, id_of, refused};

const ROTATE: &str = "rotate_credentials";

fn key_of(answer: &Value) -> String {
    answer["complete"]["access_configuration"]["API_KEY"].as_str().expect("a key").to_owned()
}

/// Whether the example's platform takes a key.
pub(crate) async fn works(app: &TestApp, key: &str) -> bool {
    let answer = Client::new(&app.platform.url).with_token(key).get("/weather/lisbon").await;
    match answer.status() {
        200 => true,
        401 => false,
        other => panic!("{other}: {}", answer.text()),
    }
}

on_both! {
    async fn the_old_credentials_die_and_the_new_ones_work(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let made = ada.makes("weather").await.expect_status(200).json();
        let (id, first) = (id_of(&made, "complete"), key_of(&made));
        assert!(works(&app, &first).await);
        let rotated = ada.does_once("r", ROTATE, &id, &json!({"actor": {"email": "a@example.test"}})).await;
        let rotated = rotated.expect_status(200).json();
        let second = key_of(&rotated);
        assert_ne!(first, second);
        assert_eq!((works(&app, &first).await, works(&app, &second).await), (false, true));
        // The same request again is the same answer, and no second rotation.
        let again = ada.does_once("r", ROTATE, &id, &json!({})).await.expect_status(200).json();
        assert_eq!(again, rotated);
        let third = key_of(&ada.does(ROTATE, &id, &json!({})).await.expect_status(200).json());
        for (key, good) in [(&first, false), (&second, false), (&third, true)] {
            assert_eq!(works(&app, key).await, good);
        }
        // A key with a changed number is none.
        assert!(!works(&app, &third.replacen(".2.", ".3.", 1)).await);
        let seen = ada.looks_at(&id).await.expect_status(200).json();
        assert!(seen["complete"]["access_configuration"].get("API_KEY").is_none(), "{seen}");
        assert!(seen["complete"]["access_configuration"]["URL"].is_string(), "{seen}");
        app.stop().await;
    }

    async fn the_old_credentials_work_on_as_long_as_the_driver_says(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let rule = "a map to look at.\"\n\n[driver]\nkind = \"static\"\n";
        let with_overlap = format!("{}\n[driver.settings]\nrotation = \"overlap:60\"\n", rule.replace("look at", "see"));
        app.publishes("services/weather.toml", rule, &with_overlap).await;
        let made = ada.makes("weather").await.expect_status(200).json();
        let (id, first) = (id_of(&made, "complete"), key_of(&made));
        let second = key_of(&ada.does(ROTATE, &id, &json!({})).await.expect_status(200).json());
        assert_eq!((works(&app, &first).await, works(&app, &second).await), (true, true));
        app.pass(TimeDelta::seconds(59));
        assert!(works(&app, &first).await);
        app.pass(TimeDelta::seconds(1));
        assert_eq!((works(&app, &first).await, works(&app, &second).await), (false, true));
        // Of three, the first is dead at once.
        let third = key_of(&ada.does(ROTATE, &id, &json!({})).await.expect_status(200).json());
        for (key, good) in [(&first, false), (&second, true), (&third, true)] {
            assert_eq!(works(&app, key).await, good);
        }
        app.stop().await;
    }

    async fn parallel_copies_of_one_rotation_rotate_once(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("weather").await;
        let body = json!({});
        let answers = join_all((0..64).map(|_| ada.does_once("one", ROTATE, &id, &body))).await;
        for answer in &answers {
            let body = answer.json();
            assert_eq!((answer.status(), &body["id"]), (200, &json!(id)), "{body}");
            assert!(["complete", "pending"].contains(&body["status"].as_str().unwrap()), "{body}");
        }
        let last = key_of(&ada.does_once("one", ROTATE, &id, &body).await.expect_status(200).json());
        assert!(last.contains(".1."), "the first generation after the first: {last}");
        assert!(works(&app, &last).await);
        // The same signed request, sent twice without a key, is one request.
        let path = format!("/provisioning/resources/{id}/{ROTATE}");
        let (one, two) = (ada.wire.post(&path, &body).await.json(), ada.wire.post(&path, &body).await.json());
        assert_eq!(one, two);
        assert!(key_of(&two).contains(".2."), "{two}");
        app.stop().await;
    }

    async fn only_the_owner_rotates_and_only_what_has_credentials(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let team = ada.gets("team:free").await;
        refused(&ada.does(ROTATE, &team, &json!({})).await, 409, "invalid_state", &team);
        let id = ada.gets("sandbox").await;
        let bob = ada.bob().await;
        refused(&bob.does(ROTATE, &id, &json!({})).await, 403, "forbidden", &id);
        refused(&ada.does(ROTATE, &id, &json!({"label_prefix": "a\u{7}"})).await, 400, "invalid_label_prefix", &id);
        refused(&ada.does(ROTATE, &id, &json!({"actor": 7})).await, 400, "invalid_request", &id);
        ada.does("remove", &id, &json!({})).await.expect_status(200);
        refused(&ada.does_once(&fresh_key(), ROTATE, &id, &json!({})).await, 409, "invalid_state", &id);
        app.stop().await;
    }

    async fn usage_of_dead_credentials_is_refused_and_of_unnamed_ones_counted(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("weather").await;
        ada.does(ROTATE, &id, &json!({})).await.expect_status(200);
        let event = |generation: Value| {
            json!({"specversion": "1.0", "id": fresh_key(), "source": "test", "type": "portreeve.usage", "subject": id,
                "data": {"meter": "requests", "quantity": "1", "generation": generation}})
        };
        let report = async |generation: Value| {
            let bytes = event(generation).to_string().into_bytes();
            app.meter().post_bytes("/v1/usage", "application/cloudevents+json", bytes).await
        };
        report(json!(0)).await.problem(403, "credentials_replaced");
        report(json!(2)).await.problem(403, "credentials_replaced");
        report(json!(1)).await.expect_status(200);
        report(Value::Null).await.expect_status(200);
        app.stop().await;
    }
}
