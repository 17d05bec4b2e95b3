//! What orchestrators are told: signed, once for each event, again when it was not taken, and never when nobody asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use portreeve::account;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::orchestrator::{self, NotificationSecret};
use portreeve::outbox::{self, Delivery, DeliveryState};

use portreeve::simulator::{Fault, SettlementVerb};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::receiver::{Receiver, Seen};
use crate::harness::wire::WireAgent;

pub(crate) async fn listening<'a>(app: &'a TestApp, receiver: &Receiver) -> (WireAgent<'a>, String) {
    let (sealer, secret) = (app.app().wire_sealer.clone(), NotificationSecret::generate().unwrap());
    let text = secret.to_string();
    let agent = WireAgent::register_with(app, |settings| {
        let place = NotificationSecret::place(&settings.orchestrator_id);
        settings.notification_url = Some(receiver.url.clone());
        settings.sealed_notification_secret = Some(sealer.seal(&place, text.as_bytes()).unwrap());
    })
    .await;
    (agent, text)
}

async fn deliver(app: &TestApp) {
    orchestrator::deliver_due(&app.app().courier, app.app().clock.as_ref()).await.unwrap();
}

async fn deliveries(app: &TestApp) -> Vec<Delivery> {
    app.app().db.read(|conn| outbox::list(conn, None, 100)).await.unwrap()
}

/// The only delivery, as soon as it was tried so often.
async fn tried(app: &TestApp, attempts: i64) -> Delivery {
    for _ in 0..200 {
        deliver(app).await;
        let mut all = deliveries(app).await;
        if let Some(one) = all.pop().filter(|one| one.attempts == attempts && settled(one, app)) {
            assert!(all.is_empty());
            return one;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("not tried {attempts} times: {:?}", deliveries(app).await);
}

/// Not in the middle of a try.
fn settled(one: &Delivery, app: &TestApp) -> bool {
    one.state != DeliveryState::Pending || one.last_error.is_some() && one.next_try_at > Some(app.now())
}

/// Checks the signature as Standard Webhooks says, apart from the code that made it.
fn checked(seen: &Seen, secret: &str) -> String {
    let header = |name: &str| seen.header(name).unwrap_or_else(|| panic!("no `{name}`")).to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let signed = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    let message = [id.as_bytes(), b".", at.as_bytes(), b".", &seen.body].concat();
    aws_lc_rs::hmac::verify(&key, &message, &signed).expect("the signature fits");
    id
}

on_both! {
    async fn an_orchestrator_hears_of_its_accounts_and_resources(db: TestDb) {
        let app = TestApp::start(&db).await;
        let receiver = Receiver::start();
        let (_, secret) = listening(&app, &receiver).await;
        let agent = app.agent_of(&user("dana")).await;
        let bought = agent.buys("sandbox", "free").await.expect_status(201).json();
        let id = bought["resource"]["id"].as_str().unwrap();
        agent.client.delete(&format!("/v1/resources/{id}")).await;
        app.workers_resume().await;
        let (account, now) = (agent.account.parse().unwrap(), app.now());
        app.app().db.write(HOUSE, move |conn| account::freeze(conn, &account, "operator", "test", now)).await.unwrap();
        deliver(&app).await;
        let seen = receiver.waits_for(4).await;
        let mut told: Vec<String> = seen.iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect();
        told.sort();
        assert_eq!(told, ["account.frozen", "account.opened", "resource.ready", "resource.removed"]);
        let mut ids: Vec<String> = seen.iter().map(|one| checked(one, &secret)).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        let ready = seen.iter().map(Seen::json).find(|one| one["type"] == "resource.ready").unwrap();
        assert_eq!(ready["data"]["resource"]["id"], id);
        assert_eq!(ready["data"]["account"]["id"], agent.account.as_str());
        assert!(!seen.iter().any(|one| String::from_utf8_lossy(&one.body).contains("API_KEY")));
        app.stop().await;
    }

    async fn an_orchestrator_hears_when_a_budget_passes_a_mark_on_the_way_up(db: TestDb) {
        let app = TestApp::start(&db).await;
        let receiver = Receiver::start();
        let (_, secret) = listening(&app, &receiver).await;
        let agent = app.agent().await;
        let (weather, _) = agent.gets_the_weather().await;
        let uses = async |quantity: u32| {
            let event = json!({"specversion": "1.0", "id": fresh_key(), "source": "test", "type": "portreeve.usage",
                "subject": weather, "data": {"meter": "requests", "quantity": quantity.to_string()}});
            let bytes = event.to_string().into_bytes();
            app.meter().post_bytes("/v1/usage", "application/cloudevents+json", bytes).await.expect_status(200);
        };
        let marks = async || {
            let mut told = deliveries(&app).await;
            told.retain(|one| one.kind == "budget.threshold_crossed");
            told.sort_by(|one, other| one.event_id.cmp(&other.event_id));
            let budget = |one: &Delivery| serde_json::from_str::<Value>(&one.payload).unwrap()["budget"].clone();
            told.iter().map(budget).collect::<Vec<Value>>()
        };
        uses(98_000).await;
        assert!(marks().await.is_empty(), "49.00 of 100.00");
        uses(2_000).await;
        uses(2_000).await;
        let at_fifty = json!({"percent": 50, "currency": "USD", "ceiling": 10_000, "spent": 5_000, "held": 0,
            "resets_at": "2026-12-01T00:00:00Z"});
        assert_eq!(marks().await, [at_fifty], "once");
        // What is held counts, from 51.00 to 79.00; given back and held again it passes the mark again.
        app.fails(SettlementVerb::Authorize, Fault::Decline, 1);
        agent.buys("postgres", "medium").await.problem(402, "payment_refused");
        agent.buys("postgres", "medium").await.expect_status(201);
        uses(40_000).await;
        uses(2_000).await;
        let seen: Vec<(Value, Value, Value)> = marks().await.iter()
            .map(|mark| (mark["percent"].clone(), mark["spent"].clone(), mark["held"].clone())).collect();
        let expected = [(50, 5_000, 0), (75, 5_100, 2_800), (75, 5_100, 2_800), (90, 9_900, 0), (100, 10_000, 0)];
        assert_eq!(seen, expected.map(|(percent, spent, held)| (json!(percent), json!(spent), json!(held))));
        deliver(&app).await;
        for one in receiver.waits_for(9).await {
            checked(&one, &secret);
        }
        app.stop().await;
    }

    async fn nobody_is_told_who_did_not_ask(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        agent.buys("sandbox", "free").await.expect_status(201);
        assert!(deliveries(&app).await.is_empty());
        app.stop().await;
    }

    async fn what_is_not_taken_is_sent_again_later_and_later_and_then_given_up(db: TestDb) {
        let app = TestApp::start(&db).await;
        let receiver = Receiver::start();
        let (_, secret) = listening(&app, &receiver).await;
        receiver.answers(503, &serde_json::json!({}));
        app.agent_of(&user("dana")).await;
        let waits = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for (attempt, wait) in (1_i64..).zip(waits) {
            let failed = tried(&app, attempt).await;
            assert_eq!(failed.next_try_at, Some(app.now().plus(TimeDelta::seconds(wait))), "try {attempt}");
            assert_eq!(failed.last_error.as_deref(), Some("it answered 503"));
            app.pass(TimeDelta::seconds(wait));
        }
        let dead = tried(&app, 10).await;
        assert_eq!((dead.state, dead.next_try_at), (DeliveryState::Dead, None));
        let ids: Vec<String> = receiver.seen().iter().map(|seen| checked(seen, &secret)).collect();
        assert_eq!(ids.len(), 10);
        assert!(ids.iter().all(|id| id == dead.event_id.as_str()), "the same event has the same id");
        // The operator sends it again.
        receiver.answers(200, &serde_json::json!({}));
        let now = app.now();
        let again = app.app().db.write(HOUSE, move |conn| Ok::<_, DbError>(outbox::replay(conn, None, now)?));
        assert_eq!(again.await.unwrap(), 1);
        assert_eq!(tried(&app, 1).await.state, DeliveryState::Delivered);
        receiver.waits_for(11).await;
        app.stop().await;
    }

    async fn who_is_gone_is_not_asked_again_and_several_couriers_send_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let receiver = Receiver::start();
        let _ = listening(&app, &receiver).await;
        receiver.answers(410, &serde_json::json!({}));
        app.agent_of(&user("dana")).await;
        tokio::join!(deliver(&app), deliver(&app), deliver(&app), deliver(&app));
        assert_eq!(tried(&app, 1).await.state, DeliveryState::Dead);
        receiver.waits_for(1).await;
        app.stop().await;
    }
}
