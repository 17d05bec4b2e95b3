//! What a worker takes up: the silence of one issuer is nobody else's, money that was refused is given back in the end,
//! and what cannot be read undoes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::audit;
use portreeve::clock::Timestamp;
use portreeve::db::DbError;
use portreeve::db::schema::{operations, resources};
use portreeve::ids::{AccountId, HoldId};
use portreeve::payment::settlement::{Party, Settled};
use portreeve::resource::{self, ResourceState, SettleError, Verdict};
use portreeve::simulator::{Fault, IdTokenSpec, SettlementVerb};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::app::{TestApp, fresh_key, usd, user};

on_both! {
    async fn an_issuer_that_hangs_keeps_only_its_own_purchases_waiting(db: TestDb) {
        let app = TestApp::start(&db).await;
        let silent = SilentIssuer::start().await;
        let other = app.another_orchestrator("Silent", &silent.url).await;
        let bob = user("bob");
        let id_token = json!({"id_token": other.mint_id_token(&IdTokenSpec::of(&bob)).unwrap()});
        let opened = app.stranger().post("/v1/accounts", &id_token).await.expect_status(201).json();
        let client = app.stranger().with_token(opened["access_token"].as_str().unwrap());
        let token = other.mint_payment_token(&usd(20_000).of(&bob)).unwrap();
        let order = json!({"service": "postgres", "plan": "small", "payment_token": token});
        client.post_once(&fresh_key(), "/v1/resources", &order).await.expect_status(202);
        // A little later, so that the silent issuer's is the first to be due.
        app.pass(TimeDelta::milliseconds(500));
        let ada = app.agent().await;
        app.fails(SettlementVerb::Authorize, Fault::TimeOutBeforeEffect, 1);
        let hers = ada.buys("postgres", "small").await.expect_status(202).json();
        let path = format!("/v1/resources/{}", hers["resource"]["id"].as_str().unwrap());

        silent.hangs.store(true, Ordering::SeqCst);
        app.pass(TimeDelta::seconds(90));
        silent.is_asked().await;
        while ada.client.get(&path).await.expect_status(200).json()["state"] != "ready" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(silent.given_up.load(Ordering::SeqCst), 0, "she waited for somebody else's issuer");
        assert_eq!((ada.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        app.stop().await;
    }

    async fn what_a_refused_capture_had_set_aside_is_given_back_as_often_as_it_takes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        app.fails(SettlementVerb::Capture, Fault::Decline, 1);
        app.fails(SettlementVerb::Void, Fault::TimeOutBeforeEffect, 3);
        let order = agent.order("postgres", "small");
        let answer = agent.client.post_once("k", "/v1/resources", &order).await.expect_status(202).json();
        assert!(answer["credentials"].is_null(), "{answer}");
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((0, 900), (900, 0)), "still set aside");
        let found = turns_until_failed(&app, &agent.client, &answer).await;
        assert_eq!(found["state_reason"], "declined");
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)), "free on both sides");
        let refusal = agent.client.post_once("k", "/v1/resources", &order).await.problem(402, "payment_refused");
        assert_eq!(refusal["reason"], "declined");
        app.stop().await;
    }

    async fn a_hold_whose_authorization_lapsed_is_released(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        app.fails(SettlementVerb::Capture, Fault::Decline, 1);
        app.fails(SettlementVerb::Void, Fault::TimeOutBeforeEffect, 1);
        let refused = agent.buys("postgres", "small").await.expect_status(202).json();
        app.fails(SettlementVerb::Capture, Fault::TimeOutBeforeEffect, 1);
        let unknown = agent.buys("postgres", "small").await.expect_status(202).json();
        assert_eq!(agent.spent_and_held().await, (0, 1800));
        // The issuer keeps money set aside for seven days. The void of the first comes too late, the capture of the second too.
        app.pass(TimeDelta::days(8));
        agent.logs_in_again().await;
        for answer in [refused, unknown] {
            turns_until_failed(&app, &agent.client, &answer).await;
        }
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        app.stop().await;
    }

    async fn what_the_issuer_took_although_it_refused_is_paid_and_handed_over(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        // Made before the money is taken, and after it.
        for (service, plan, credential) in [("postgres", "small", "DATABASE_URL"), ("domain", "dot-dev", "TRANSFER_CODE")] {
            app.fails(SettlementVerb::Capture, Fault::RefuseAfterEffect, 1);
            let bought = agent.buys(service, plan).await.expect_status(201).json();
            assert_eq!((&bought["resource"]["state"], bought["credentials"][credential].is_string()), (&json!("ready"), true), "{bought}");
        }
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((2100, 0), (0, 2100)));
        app.stop().await;
    }

    async fn a_refused_capture_of_what_is_not_made_yet_unmakes_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for (service, plan, then) in [("postgres", "small", "void unmake"), ("domain", "dot-dev", "void create")] {
            app.fails(SettlementVerb::Capture, Fault::Decline, 1);
            app.fails(SettlementVerb::Void, Fault::TimeOutBeforeEffect, 1);
            let refused = agent.buys(service, plan).await.expect_status(202).json();
            let id = refused["resource"]["id"].as_str().unwrap().to_owned();
            let left = app.app().db.read(move |conn| {
                let of_it = operations::table.filter(operations::resource_id.eq(id));
                Ok::<_, DbError>(of_it.select(operations::step).first::<String>(conn)?)
            });
            assert_eq!(left.await.unwrap(), then);
            turns_until(&app, &agent.client, &refused, "failed").await;
        }
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        app.stop().await;
    }

    async fn what_the_issuer_does_not_give_back_is_unmade_and_settled_by_hand(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        let (mut stuck, desk) = (Vec::new(), &app.app().desk);
        for _ in 0..3 {
            app.fails(SettlementVerb::Capture, Fault::Decline, 1);
            app.fails(SettlementVerb::Void, Fault::Decline, 1);
            let answer = agent.buys("postgres", "small").await.expect_status(202).json();
            assert_eq!(answer["resource"]["state"], "needs_attention", "{answer}");
            let id = answer["resource"]["id"].as_str().unwrap().to_owned();
            let refusal = agent.client.delete(&format!("/v1/resources/{id}")).await.problem(409, "resource_needs_attention");
            assert_eq!(refusal["retry"], false);
            let (sealed, hold) = kept(&app, &id).await;
            assert_eq!(sealed, None, "it is unmade, and so are its credentials");
            stuck.push((id, hold));
        }
        let account: AccountId = agent.account.parse().unwrap();
        let settle = async |hold: &HoldId, verdict, force| {
            resource::settle_hold(&desk.cashier, (&account, hold), verdict, force, app.now()).await
        };
        let [(taken, taken_hold), (forced, forced_hold), (lapsed, lapsed_hold)] = stuck.try_into().unwrap();
        for verdict in [Verdict::Captured, Verdict::Released] {
            let refused = settle(&taken_hold, verdict, None).await;
            assert!(matches!(refused, Err(SettleError::NotConfirmed(_))), "{refused:?}");
        }
        assert!(matches!(settle(&HoldId::new(app.now()), Verdict::Released, None).await, Err(SettleError::NoSuchHold)));
        assert_eq!(agent.spent_and_held().await, (0, 2700));

        // The issuer took one after all; one is given up although the issuer says otherwise; the last one lapses.
        let at_issuer = app.simulator.books().authorizations.into_iter().map(|entry| entry.authorization);
        let at_issuer = at_issuer.into_iter().find(|one| one.reference == taken_hold.as_str()).unwrap();
        let party = Party {
            issuer: app.orchestrator.issuer.as_str().to_owned(),
            client_id: app.orchestrator.client_id.clone(),
            url: app.orchestrator.settlement_url.clone().unwrap(),
        };
        let captured = desk.cashier.settlement.capture(&party, &at_issuer.id, at_issuer.amount, app.now()).await;
        assert!(matches!(captured, Settled::Done(_)), "{captured:?}");
        assert!(matches!(settle(&taken_hold, Verdict::Released, None).await, Err(SettleError::NotConfirmed(_))));
        assert_eq!(settle(&taken_hold, Verdict::Captured, None).await.unwrap(), ResourceState::NeedsAttention);
        assert_eq!(settle(&forced_hold, Verdict::Released, Some("they wrote to us")).await.unwrap(), ResourceState::Failed);
        assert_eq!(agent.spent_and_held().await, (900, 900));
        app.pass(TimeDelta::days(8));
        agent.logs_in_again().await;
        assert_eq!(settle(&lapsed_hold, Verdict::Released, None).await.unwrap(), ResourceState::Failed);
        assert!(matches!(settle(&lapsed_hold, Verdict::Captured, Some("no")).await, Err(SettleError::Settled(_))));
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        for (id, state, reason) in [
            (&taken, "needs_attention", "paid, and not there"),
            (&forced, "failed", "the money was given back"),
            (&lapsed, "failed", "the money was given back"),
        ] {
            let found = agent.client.get(&format!("/v1/resources/{id}")).await.expect_status(200).json();
            assert_eq!((&found["state"], &found["state_reason"]), (&json!(state), &json!(reason)));
        }
        let account = account.clone();
        let facts = app.app().db.read(move |conn| Ok::<_, DbError>(audit::latest(conn, &account, 100)?)).await.unwrap();
        let facts: Vec<_> = facts.iter().filter(|fact| fact.action == "hold.settled").collect();
        assert!(facts.len() == 3 && facts.iter().all(|fact| fact.actor == "operator"), "{facts:?}");
        assert!(facts.iter().any(|fact| fact.detail["forced"] == "they wrote to us"), "{facts:?}");
        app.stop().await;
    }

    async fn a_look_up_that_cannot_be_true_makes_nothing_ready(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent().await;
        let lies = [Fault::TellCapturedNothing, Fault::TellOtherAmount, Fault::TellOtherCurrency];
        let lost = [
            (SettlementVerb::Authorize, Fault::TimeOutAfterEffect),
            (SettlementVerb::Capture, Fault::TimeOutBeforeEffect),
            (SettlementVerb::Capture, Fault::TimeOutAfterEffect),
        ];
        let mut bought = 0;
        for (on, cut) in lost {
            for lie in lies {
                agent.logs_in_again().await;
                app.fails(on, cut, 1);
                let unknown = agent.buys("postgres", "small").await.expect_status(202).json();
                app.fails(SettlementVerb::Lookup, lie, 1);
                let id = unknown["resource"]["id"].as_str().unwrap();
                turns_until_heard(&app, id).await;
                assert_eq!(agent.spent_and_held().await, (bought, 900), "{on:?} {cut:?} {lie:?}");
                turns_until(&app, &agent.client, &unknown, "ready").await;
                bought += 900;
                assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((bought, 0), (0, bought)), "{on:?} {lie:?}");
            }
        }
        app.stop().await;
    }

    async fn a_configuration_that_cannot_be_read_stops_the_work_and_undoes_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        app.fails(SettlementVerb::Authorize, Fault::TimeOutAfterEffect, 1);
        let answer = agent.buys("postgres", "small").await.expect_status(202).json();
        let id = &answer["resource"]["id"];
        configured(&app, id, "{").await;
        app.workers_resume().await;
        let path = format!("/v1/resources/{}", id.as_str().unwrap());
        assert_eq!(agent.client.get(&path).await.expect_status(200).json()["state"], "provisioning");
        assert_eq!(agent.spent_and_held().await, (0, 900));
        configured(&app, id, "{}").await;
        agent.waits_for(id, "ready").await;
        assert_eq!((agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        app.stop().await;
    }
}

/// Lets the workers turn, each time when all is due, until the purchase has failed.
async fn turns_until_failed(app: &TestApp, client: &crate::harness::client::Client, answer: &Value) -> Value {
    turns_until(app, client, answer, "failed").await
}

/// The same until it is in another state.
async fn turns_until(app: &TestApp, client: &crate::harness::client::Client, answer: &Value, state: &str) -> Value {
    let path = format!("/v1/resources/{}", answer["resource"]["id"].as_str().unwrap());
    for _ in 0..50 {
        let found = client.get(&path).await.expect_status(200).json();
        if found["state"] == state {
            return found;
        }
        app.pass(TimeDelta::seconds(5));
        // The provider's own worker may have it: it answers in its own time.
        tokio::time::sleep(Duration::from_millis(100)).await;
        app.workers_turn().await;
    }
    panic!("not {state}: {}", client.get(&path).await.text());
}

/// Lets the workers turn until one of them has worked on the purchase, and is done for now.
async fn turns_until_heard(app: &TestApp, id: &str) {
    app.workers_resume().await;
    for _ in 0..100 {
        let (id, now) = (id.to_owned(), app.now());
        let heard = app.app().db.read(move |conn| {
            let of_it = operations::table.filter(operations::resource_id.eq(id));
            let (attempts, state, next): (i64, String, Option<Timestamp>) =
                of_it.select((operations::attempts, operations::state, operations::next_try_at)).first(conn)?;
            Ok::<_, DbError>(
                attempts > 0
                    && (state == "finished" || next.is_some_and(|next| next < now.plus(TimeDelta::seconds(60)))),
            )
        });
        if heard.await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody worked on {id}");
}

/// The sealed credentials and the hold of a resource.
async fn kept(app: &TestApp, id: &str) -> (Option<String>, HoldId) {
    let id = id.to_owned();
    let found = app.app().db.read(move |conn| {
        let of_it = resources::table.filter(resources::id.eq(id));
        Ok::<_, DbError>(
            of_it.select((resources::sealed_credentials, resources::hold_id.assume_not_null())).first(conn)?,
        )
    });
    found.await.unwrap()
}

async fn configured(app: &TestApp, id: &Value, configuration: &'static str) {
    let id = id.as_str().unwrap().to_owned();
    let changed = app.app().db.write("test", move |conn| {
        let row = diesel::update(resources::table.filter(resources::id.eq(&id)));
        Ok::<_, DbError>(row.set(resources::configuration.eq(configuration)).execute(conn)?)
    });
    assert_eq!(changed.await.unwrap(), 1);
}

/// Takes calls and never answers: hangs up at once, or lets the caller wait until it gives up.
struct SilentIssuer {
    url: String,
    hangs: Arc<AtomicBool>,
    /// How many calls were left waiting.
    asked: Arc<AtomicU32>,
    /// How many of these callers have given up.
    given_up: Arc<AtomicU32>,
}

impl SilentIssuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self { url, hangs: Arc::default(), asked: Arc::default(), given_up: Arc::default() };
        let (hangs, asked, given_up) = (issuer.hangs.clone(), issuer.asked.clone(), issuer.given_up.clone());
        tokio::spawn(async move {
            while let Ok((line, _)) = listener.accept().await {
                if hangs.load(Ordering::SeqCst) {
                    asked.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(wait(line, given_up.clone()));
                }
            }
        });
        issuer
    }

    async fn is_asked(&self) {
        for _ in 0..1500 {
            if self.asked.load(Ordering::SeqCst) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody asks the silent issuer");
    }
}

async fn wait(mut line: TcpStream, given_up: Arc<AtomicU32>) {
    let mut chunk = [0_u8; 1024];
    while line.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
    given_up.fetch_add(1, Ordering::SeqCst);
}
