//! "End it and undo the last hour", and that nothing is bought by an agent after it was barred.

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use portreeve::ids::{AccountId, AgentId};
use portreeve::owner;
use portreeve::resource::{self, ResourceState};
use portreeve::simulator::{Fault, SettlementVerb};
use serde_json::json;

use crate::agents::{only_page, pages_of};
use crate::harness::app::{Agent, TestApp, fresh_key};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::driver::{Says, Script};
use crate::harness::oauth::{OAuthClient, text, works};
use crate::harness::on_four_threads;

/// The states of all resources, by name, as soon as none is on its way.
async fn settled(app: &TestApp, account: &str) -> Vec<(String, String)> {
    for _ in 0..200 {
        owner::undo_due(&app.app().db, app.now()).await.unwrap();
        let edition = app.app().edition();
        resource::remove_unwanted(&app.app().desk, &edition, app.now()).await.unwrap();
        app.workers_turn().await;
        let rows = states(app, account).await;
        // What is unwanted and ready is removed in the next turn.
        let moving = rows.iter().any(|(.., moving)| *moving);
        if !moving {
            return rows.into_iter().map(|(name, state, _)| (name, state)).collect();
        }
        app.pass(TimeDelta::seconds(1));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("not settled: {:?}", states(app, account).await);
}

/// Name, state, and whether it is on its way.
async fn states(app: &TestApp, account: &str) -> Vec<(String, String, bool)> {
    let id: AccountId = account.parse().unwrap();
    let all = app.app().db.read(move |conn| resource::list(conn, &id, None, 100)).await.unwrap();
    let moving = |row: &resource::Resource| match row.state {
        ResourceState::Provisioning | ResourceState::Removing => true,
        ResourceState::Ready => row.unwanted_at.is_some(),
        _ => false,
    };
    all.into_iter().map(|row| (row.name.clone(), row.state.as_str().to_owned(), moving(&row))).collect()
}

async fn buys(app: &TestApp, agent: &Agent<'_>, token: &str, name: &str) -> Answer {
    let mut order = agent.order("postgres", "small");
    order["name"] = json!(name);
    app.stranger().with_token(token).post_once(&fresh_key(), "/v1/resources", &order).await
}

on_both! {
    async fn undoing_the_last_hour_ends_the_agent_and_reaches_exactly_what_the_page_lists(db: TestDb) {
        let script = Script::default();
        let app = TestApp::start_bent(&db, &[], |app| script.bend(app)).await;
        let mut ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let first = client.tokens(&ada).await;
        buys(&app, &ada, text(&first, "access_token"), "old").await.expect_status(201);
        app.pass(TimeDelta::minutes(61));
        ada.logs_in_again().await;
        let second = client.refreshes(text(&first, "refresh_token")).await.expect_status(200).json();
        let token = text(&second, "access_token").to_owned();
        ada.payment_token = app.pays(&crate::harness::app::usd(50_000));
        buys(&app, &ada, &token, "new").await.expect_status(201);
        buys(&app, &ada, &ada.token.clone(), "others").await.expect_status(201);
        script.says("create", Says::Pending);
        buys(&app, &ada, &token, "on its way").await.expect_status(202);
        assert_eq!(ada.spent_and_held().await, (2_700, 900));
        let browser = Browser::of_owner(&ada).await;
        let page = pages_of(&browser).await.remove(0);
        let listed = browser.get(&format!("{page}/undo")).await.expect_status(200).text();
        for (name, there) in [("<b>new</b>", true), ("<b>on its way</b>", true), ("<b>old</b>", false), ("<b>others</b>", false)] {
            assert_eq!(listed.contains(name), there, "{name}: {listed}");
        }
        assert!(listed.contains("$9.00 was taken for it and is not given back") && listed.contains("$9.00 is held for it"), "{listed}");
        assert_eq!(works(&app, &token).await, 200, "looking changes nothing");
        browser.submits(&format!("{page}/undo"), &[]).await.expect_status(303);
        assert_eq!(works(&app, &token).await, 401);
        script.says("create", Says::Yes);
        let mut states = settled(&app, &ada.account).await;
        states.sort();
        let expected = [("new", "removed"), ("old", "ready"), ("on its way", "failed"), ("others", "ready")];
        assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
        assert_eq!((ada.spent_and_held().await, app.issuer_says()), ((2_700, 0), (0, 2_700)), "what was held is free");
        // Once more: nothing more happens.
        browser.submits(&format!("{page}/undo"), &[]).await.expect_status(303);
        assert_eq!(settled(&app, &ada.account).await.len(), 4);
        app.stop().await;
    }

    async fn what_was_decided_to_be_undone_is_undone_after_a_restart(db: TestDb) {
        let script = Script::default();
        let app = TestApp::start_bent(&db, &[], |app| script.bend(app)).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let token = text(&tokens, "access_token");
        buys(&app, &ada, token, "one").await.expect_status(201);
        script.says("remove", Says::Nothing);
        // It is decided, and the process dies.
        let page = pages_of(&Browser::of_owner(&ada).await).await.remove(0);
        let (id, account): (AgentId, String) = (page.rsplit('/').next().unwrap().parse().unwrap(), ada.account.clone());
        let (of, now) = (account.parse::<AccountId>().unwrap(), app.now());
        app.app().db.write(&account, move |conn| owner::revoke_and_undo(conn, (&of, &id), now.minus(TimeDelta::hours(1)), now)).await.unwrap();
        let app = app.restart(|_| ()).await;
        assert_eq!(settled(&app, &account).await, [("one".to_owned(), "removed".to_owned())]);
        app.stop().await;
    }

    async fn an_unknown_payment_of_an_undone_purchase_is_found_out_and_given_back(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        app.fails(SettlementVerb::Authorize, Fault::TimeOutAfterEffect, 1);
        buys(&app, &ada, text(&tokens, "access_token"), "one").await.expect_status(202);
        assert_eq!(ada.spent_and_held().await, (0, 900));
        let browser = Browser::of_owner(&ada).await;
        let page = pages_of(&browser).await.remove(0);
        browser.submits(&format!("{page}/undo"), &[]).await.expect_status(303);
        let states = settled(&app, &ada.account).await;
        assert_eq!(states, [("one".to_owned(), "failed".to_owned())]);
        assert_eq!((ada.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        app.stop().await;
    }

    async fn undoing_needs_a_fresh_log_in(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        ada.buys("sandbox", "free").await.expect_status(201);
        let link = Browser::by_link(&ada).await;
        let page = only_page(&link).await;
        link.get(&format!("{page}/undo")).await.expect_status(403);
        link.submits(&format!("{page}/undo"), &[]).await.expect_status(403);
        let browser = Browser::of_owner(&ada).await;
        app.pass(TimeDelta::minutes(6));
        let asked = browser.submits(&format!("{page}/undo"), &[]).await.expect_status(403).text();
        assert!(asked.contains("log in once more"), "{asked}");
        let edition = app.app().edition();
        resource::remove_unwanted(&app.app().desk, &edition, app.now()).await.unwrap();
        let all = ada.client.get("/v1/resources").await.expect_status(200).json();
        assert_eq!(all["data"][0]["state"], "ready");
        app.stop().await;
    }

    async fn what_the_page_listed_is_undone_though_reading_it_took_four_minutes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        ada.buys("sandbox", "free").await.expect_status(201);
        app.pass(TimeDelta::minutes(58));
        let owner = Browser::of_owner(&ada).await;
        let page = only_page(&owner).await;
        let listed = owner.get(&format!("{page}/undo")).await.expect_status(200).text();
        let since = listed.split("name=\"since\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        app.pass(TimeDelta::minutes(4));
        owner.submits(&format!("{page}/undo"), &[("since", &since)]).await.expect_status(303);
        assert_eq!(settled(&app, &ada.account).await[0].1, "removed");
        app.stop().await;
    }

    async fn no_form_reaches_further_back_than_the_page_could_have_listed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        ada.buys("sandbox", "free").await.expect_status(201);
        app.pass(TimeDelta::minutes(70));
        let owner = Browser::of_owner(&ada).await;
        let page = only_page(&owner).await;
        owner.submits(&format!("{page}/undo"), &[("since", "0")]).await.expect_status(303);
        assert_eq!(settled(&app, &ada.account).await[0].1, "ready");
        app.stop().await;
    }

    async fn of_purchases_and_a_revocation_at_once_none_is_bought_after_it_in_any_process(db: TestDb) {
        on_four_threads(async move {
            let app = TestApp::start(&db).await;
            let ada = app.agent().await;
            let client = OAuthClient::public(&app).await;
            let tokens = client.tokens(&ada).await;
            let other = app.another_listening_process().await;
            let token = text(&tokens, "access_token");
            let here = app.stranger().with_token(token);
            let there = crate::harness::client::Client::new(&format!("http://{}", other.address)).with_token(token);
            let browser = Browser::of_owner(&ada).await;
            let page = pages_of(&browser).await.remove(0);
            let order = ada.order("sandbox", "free");
            let keys: Vec<String> = (0..24).map(|_| fresh_key()).collect();
            let purchases = join_all(keys.iter().enumerate().map(|(number, key)| {
                let client = if number % 2 == 0 { &here } else { &there };
                client.post_once(key, "/v1/resources", &order)
            }));
            let undo = format!("{page}/undo");
            let (answers, ended) = join(purchases, browser.submits(&undo, &[])).await;
            ended.expect_status(303);
            let bought = answers.iter().filter(|answer| answer.status() == 201).count();
            let unclear = answers.iter().find(|answer| ![201, 401, 403, 503].contains(&answer.status()));
            assert!(unclear.is_none(), "a clear answer: {}", unclear.map(Answer::text).unwrap_or_default());
            // Whatever is bought from now on is refused, also where the memory is old.
            let late = there.post_once(&fresh_key(), "/v1/resources", &order).await;
            assert!([401, 403].contains(&late.status()), "{}", late.text());
            let states = settled(&app, &ada.account).await;
            assert_eq!(states.len(), bought);
            assert!(states.iter().all(|(_, state)| state == "removed"), "all that came before is undone: {states:?}");
            let _ = tokio::time::timeout(std::time::Duration::from_millis(100), other.stop(std::time::Duration::ZERO)).await;
            app.stop().await;
        })
        .await;
    }
}
