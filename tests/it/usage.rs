//! The metered API: rated exactly, counted once, and never past the cap.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, usd, user};
use crate::harness::client::{Answer, Client};

on_both! {
    async fn usage_is_rated_exactly_and_never_drifts(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        // 0.50 for 1,000: one request is a twentieth of a cent. 20 of them are one cent, and 2,000 are 100 cents.
        let mut costs = Vec::new();
        for _ in 0..40 {
            costs.push(cost(&app.reports(&weather, "1").await));
        }
        assert_eq!(costs.iter().sum::<i64>(), 2, "{costs:?}");
        assert!(costs.iter().all(|cost| [0, 1].contains(cost)), "{costs:?}");
        assert_eq!(cost(&app.reports(&weather, "1960").await), 98);
        assert_eq!(cost(&app.reports(&weather, "0.5").await), 0);
        assert_eq!(cost(&app.reports(&weather, "1999.5").await), 100);
        assert_eq!(agent.spent_and_held().await, (200, 0));
        app.stop().await;
    }

    async fn an_event_counts_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        let event = event(&weather, "1000");
        let first = app.meter().post("/v1/usage", &event).await.expect_status(200).json();
        assert_eq!(first, json!({"event": "recorded", "cost": {"currency": "USD", "amount": 50}, "remaining": 9950}));
        let again = app.meter().post("/v1/usage", &event).await.expect_status(200).json();
        assert_eq!((&again["event"], &again["cost"]["amount"]), (&json!("duplicate"), &json!(50)));
        let copies = join_all((0..16).map(|_| send(app.meter(), event.clone()))).await;
        assert!(copies.iter().all(|answer| answer.status() == 200), "copies in parallel");

        let mut other = event.clone();
        other["data"]["quantity"] = json!("2000");
        app.meter().post("/v1/usage", &other).await.problem(409, "usage_event_conflict");
        // The same id from another source is another event.
        other["source"] = json!("https://elsewhere.example");
        app.meter().post("/v1/usage", &other).await.expect_status(200);
        assert_eq!(agent.spent_and_held().await, (150, 0));
        app.stop().await;
    }

    async fn only_the_meter_key_reports(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, api_key) = agent.gets_the_weather().await;
        let event = event(&weather, "1");
        let refusal = app.stranger().post("/v1/usage", &event).await;
        assert!(!refusal.header("www-authenticate").contains("error="));
        refusal.problem(401, "unauthorized");
        for wrong in [agent.token.as_str(), &api_key, "", &app.meter_key.to_lowercase(), &app.meter_key[1..]] {
            let refusal = app.stranger().with_token(wrong).post("/v1/usage", &event).await;
            assert_eq!(refusal.status(), 401, "{}", refusal.text());
        }
        assert_eq!(agent.ledger().await.len(), 0);
        app.stop().await;
    }

    async fn usage_of_what_is_not_in_use_is_refused(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        let unknown = portreeve::ids::ResourceId::new(app.now());
        app.meter().post("/v1/usage", &event(unknown.as_str(), "1")).await.problem(404, "not_found");
        let database = agent.buys("postgres", "small").await.expect_status(201).json();
        let id = database["resource"]["id"].as_str().unwrap();
        app.meter().post("/v1/usage", &event(id, "1")).await.problem(422, "unknown_plan");
        let mut other_meter = event(&weather, "1");
        other_meter["data"]["meter"] = json!("bytes");
        app.meter().post("/v1/usage", &other_meter).await.problem(422, "unknown_plan");

        agent.client.delete(&format!("/v1/resources/{weather}")).await.expect_status(200);
        let refusal = app.meter().post("/v1/usage", &event(&weather, "1")).await.problem(409, "resource_not_ready");
        assert_eq!(refusal["state"], "removed");
        assert_eq!(agent.spent_and_held().await, (900, 0));
        app.stop().await;
    }

    async fn malformed_events_are_refused(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        for (member, value) in [
            ("specversion", json!("0.3")),
            ("type", json!("other.kind")),
            ("id", json!("")),
            ("source", json!("a\nb")),
            ("subject", json!("res_")),
            ("time", json!("yesterday")),
            ("data", json!({"meter": "requests", "quantity": 1})),
            ("data", json!({"meter": "requests", "quantity": "0"})),
            ("data", json!({"meter": "requests", "quantity": "-1"})),
            ("data", json!({"meter": "requests", "quantity": "1e3"})),
            ("data", json!({"meter": "requests", "quantity": "0.0000001"})),
            ("data", json!({"meter": "requests", "quantity": "NaN"})),
            ("data", json!({"meter": "requests"})),
        ] {
            let mut event = event(&weather, "1");
            event[member] = value;
            app.meter().post("/v1/usage", &event).await.problem(400, "invalid_request");
        }
        let huge = app.reports(&weather, "99999999999999999999").await;
        assert!([400, 402].contains(&huge.status()), "{}", huge.text());
        assert_eq!(agent.spent_and_held().await, (0, 0));
        app.stop().await;
    }

    async fn parallel_usage_never_passes_the_cap(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        // 64 × 3.00 under 100.00: 33 fit.
        let answers = join_all((0..64).map(|_| send(app.meter(), event(&weather, "6000")))).await;
        let recorded = answers.iter().filter(|answer| answer.status() == 200).count();
        assert_eq!(recorded, 33);
        for answer in answers.iter().filter(|answer| answer.status() != 200) {
            let refusal = answer.problem(402, "cap_reached");
            assert_eq!((&refusal["binding"], &refusal["needed"]), (&json!("budget"), &json!(300)));
        }
        assert_eq!(agent.spent_and_held().await, (9900, 0));
        // What is left is still sold, to the unit; and not one unit more.
        assert_eq!(cost(&app.reports(&weather, "2000").await), 100);
        app.reports(&weather, "20").await.problem(402, "cap_reached");
        assert_eq!(agent.spent_and_held().await, (10_000, 0));
        app.stop().await;
    }

    async fn usage_and_purchases_share_one_cap(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        let purchases = join_all((0..20).map(|_| agent.buys("domain", "dot-dev")));
        let usage = join_all((0..20).map(|_| send(app.meter(), event(&weather, "20000"))));
        let (purchases, usage) = tokio::join!(purchases, usage);
        let ok = |answers: &[Answer], status| answers.iter().filter(|answer| answer.status() == status).count();
        let expected = i64::try_from(ok(&purchases, 201) * 1200 + ok(&usage, 200) * 1000).unwrap();
        assert_eq!(ok(&purchases, 201) + ok(&purchases, 402) + ok(&usage, 200) + ok(&usage, 402), 40);
        assert_eq!(agent.spent_and_held().await, (expected, 0));
        assert!(expected <= 10_000 && 10_000 - expected < 1200, "{expected}");
        app.stop().await;
    }

    async fn the_plan_and_the_token_are_ceilings_of_usage_too(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let mut order = agent.order("weather", "metered");
        order["payment_token"] = json!(app.pays(&usd(1000)));
        let bought = agent.sends(&order).await.expect_status(201).json();
        let weather = bought["resource"]["id"].as_str().unwrap();
        assert_eq!(cost(&app.reports(weather, "20000").await), 1000);
        let refusal = app.reports(weather, "1000").await.problem(402, "cap_reached");
        assert_eq!(refusal["binding"], "payment_token");
        assert_eq!(agent.spent_and_held().await, (1000, 0));
        app.stop().await;
    }

    async fn nothing_is_charged_to_a_payment_token_that_expired(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let mut order = agent.order("weather", "metered");
        let until = app.now().plus(chrono::TimeDelta::minutes(5));
        order["payment_token"] = json!(app.pays(&usd(20_000).expires_at(until)));
        let bought = agent.sends(&order).await.expect_status(201).json();
        let id = bought["resource"]["id"].as_str().unwrap();
        assert_eq!(cost(&app.reports(id, "1000").await), 50);
        app.pass(chrono::TimeDelta::minutes(5));
        app.reports(id, "1000").await.problem(402, "payment_token_expired");
        assert_eq!(agent.spent_and_held().await, (50, 0));
        app.stop().await;
    }

    async fn a_key_for_one_service_opens_no_other(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let free = agent.buys("sandbox", "free").await.expect_status(201).json();
        let id = free["resource"]["id"].as_str().unwrap();
        let secret = free["credentials"].as_object().unwrap().values().filter_map(Value::as_str);
        let mac = secret.filter_map(|value| value.rsplit_once('.')).map(|(_, mac)| mac.to_owned()).next().unwrap();
        let platform = Client::new(&app.platform.url).with_token(&format!("wx_{id}.{mac}"));
        platform.get("/weather/lisbon").await.expect_status(401);
        app.stop().await;
    }

    async fn what_was_sold_keeps_its_price(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let (old, _) = agent.gets_the_weather().await;
        app.publishes("services/weather.toml", "0.50 USD", "0.80 USD").await;
        let (new, _) = agent.gets_the_weather().await;
        assert_eq!(cost(&app.reports(&old, "1000").await), 50);
        assert_eq!(cost(&app.reports(&new, "1000").await), 80);
        app.stop().await;
    }

    async fn the_platform_meters_each_call_and_refuses_a_bad_key(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let (weather, api_key) = agent.gets_the_weather().await;
        let platform = Client::new(&app.platform.url);
        let call = |key: String, path: &'static str| {
            let caller = platform.with_token(&key);
            async move { caller.get(path).await }
        };
        call(api_key.clone(), "/weather/lisbon?requests=1000").await.expect_status(200);
        assert_eq!((agent.spent_and_held().await, bob.spent_and_held().await), ((50, 0), (0, 0)));
        platform.get("/weather/lisbon").await.expect_status(401);
        let (head, mac) = api_key.split_once('.').unwrap();
        let elsewhere = format!("wx_{}.{mac}", portreeve::ids::ResourceId::new(app.now()));
        for bad in ["wx_x.y".to_owned(), head.to_owned(), format!("{head}."), elsewhere, agent.token.clone()] {
            call(bad, "/weather/lisbon").await.expect_status(401);
        }
        call(api_key.clone(), "/weather/lisbon?requests=200000").await.problem(402, "cap_reached");
        agent.client.delete(&format!("/v1/resources/{weather}")).await.expect_status(200);
        let gone = call(api_key, "/weather/lisbon").await;
        assert!([402, 409, 503].contains(&gone.status()), "{}", gone.status());
        assert_eq!(agent.spent_and_held().await, (50, 0));
        app.stop().await;
    }

    async fn meters_begin_anew_each_month(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        assert_eq!(cost(&app.reports(&weather, "200000").await), 10_000);
        app.reports(&weather, "20").await.problem(402, "cap_reached");
        app.pass(TimeDelta::days(16));
        agent.logs_in_again().await;
        assert_eq!(cost(&app.reports(&weather, "20").await), 1);
        assert_eq!(agent.budget().await["spent"], 1);
        app.stop().await;
    }
}

/// An event with an id of its own.
fn event(resource: &str, quantity: &str) -> Value {
    json!({
        "specversion": "1.0", "id": fresh_key(), "source": "https://weather.example/meter", "type": "portreeve.usage",
        "subject": resource, "data": {"meter": "requests", "quantity": quantity},
    })
}

async fn send(meter: Client, event: Value) -> Answer {
    meter.post_bytes("/v1/usage", "application/cloudevents+json", event.to_string()).await
}

impl TestApp {
    /// The platform reports one event.
    pub(crate) async fn reports(&self, resource: &str, quantity: &str) -> Answer {
        send(self.meter(), event(resource, quantity)).await
    }
}

/// What a recorded event cost, in minor units.
#[track_caller]
fn cost(answer: &Answer) -> i64 {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["cost"]["amount"].as_i64().unwrap()
}
