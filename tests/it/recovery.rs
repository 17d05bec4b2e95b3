//! What a worker takes up: the silence of one issuer is nobody else's, money that was refused is given back in the end,
//! and what cannot be read undoes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::db::DbError;
use portreeve::db::schema::resources;
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
    let path = format!("/v1/resources/{}", answer["resource"]["id"].as_str().unwrap());
    for _ in 0..50 {
        let found = client.get(&path).await.expect_status(200).json();
        if found["state"] == "failed" {
            return found;
        }
        app.pass(TimeDelta::seconds(5));
        // The provider's own worker may have it: it answers in its own time.
        tokio::time::sleep(Duration::from_millis(100)).await;
        app.workers_turn().await;
    }
    panic!("not failed: {}", client.get(&path).await.text());
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
