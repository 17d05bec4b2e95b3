//! Merging, moving and discarding a separate account: each done once, whole, and exact to the minor unit.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::{join, join_all};
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, audit_facts, budgets, counters, ledger_entries, resources, sidecars};
use portreeve::ids::AccountId;
use portreeve::payment::audit_chain;
use portreeve::simulator::{Fault, FaultOrder, NextFault, SettlementVerb};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, usd};
use crate::harness::beside::{Beside, pays, used};

/// What an account spent, by its ledger, whose chain and counters are whole.
async fn spent(app: &TestApp, account: &str) -> i64 {
    let id: AccountId = account.parse().unwrap();
    let summed = app.app().db.read_snapshot(move |conn| {
        audit_chain::verify(conn, &id).expect("the ledger is whole");
        let of = ledger_entries::table.filter(ledger_entries::account_id.eq(&id));
        Ok::<_, DbError>(of.select(ledger_entries::spent_change).load::<i64>(conn)?)
    });
    summed.await.unwrap().into_iter().sum()
}

/// Ids of what is in an account and neither gone nor failed.
async fn things(app: &TestApp, account: &str) -> BTreeSet<String> {
    let id: AccountId = account.parse().unwrap();
    let found = app.app().db.read(move |conn| {
        let there = resources::table
            .filter(resources::account_id.eq(id))
            .filter(resources::state.ne_all(["removed", "failed"]))
            .select(resources::id);
        Ok::<_, DbError>(there.load::<String>(conn)?)
    });
    found.await.unwrap().into_iter().collect()
}

async fn state(app: &TestApp, account: &str) -> String {
    let id: AccountId = account.parse().unwrap();
    let found = app
        .app()
        .db
        .read(move |conn| Ok::<_, DbError>(accounts::table.find(id).select(accounts::state).first::<String>(conn)?));
    found.await.unwrap()
}

async fn outcome(app: &TestApp, account: &str) -> Option<String> {
    let id: AccountId = account.parse().unwrap();
    let found = app.app().db.read(move |conn| {
        Ok::<_, DbError>(sidecars::table.find(id).select(sidecars::outcome).first::<Option<String>>(conn)?)
    });
    found.await.unwrap()
}

async fn recorded(app: &TestApp, action: &'static str) -> i64 {
    let counted = app.app().db.read(move |conn| {
        Ok::<_, DbError>(audit_facts::table.filter(audit_facts::action.eq(action)).count().get_result(conn)?)
    });
    counted.await.unwrap()
}

/// Every account may spend so much a month through everybody.
async fn may_spend(app: &TestApp, minor: i64) {
    let raised = app.app().db.write("test", move |conn| {
        diesel::update(budgets::table).set(budgets::ceiling.eq(minor)).execute(conn)?;
        let open = counters::table.filter(counters::kind.eq("budget"));
        Ok::<_, DbError>(diesel::update(open).set(counters::ceiling.eq(minor)).execute(conn)?)
    });
    raised.await.unwrap();
}

fn cost(answer: &Value) -> i64 {
    answer["cost"]["amount"].as_i64().unwrap()
}

on_both! {
    async fn merging_brings_everything_over_and_the_agent_as_far_as_it_was_ticked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let weather = beside.gets("weather", "metered").await;
        let database = beside.gets("postgres", "small").await;
        // 0.05 cents each: nine are nothing yet.
        assert_eq!(cost(&used(&app, &weather, "9").await.expect_status(200).json()), 0);
        let browser = beside.owner().await;
        let overview = browser.get("/dashboard").await.expect_status(200).text();
        assert!(overview.contains("An agent works for you in another account"), "{overview}");
        let page = browser.get(&beside.page()).await.expect_status(200).text();
        assert!(page.contains("An agent of <b>Quay</b> made 2 things for you and spent $9.00"), "{page}");
        let merged = beside.merges(&browser, &["resources:read", "budget:read"]).await.expect_status(303);
        assert_eq!(merged.header("location"), "/dashboard/sidecars?done=merged");

        assert_eq!((state(&app, &beside.account).await.as_str(), outcome(&app, &beside.account).await.as_deref()), ("closed", Some("merged")));
        assert_eq!(things(&app, &beside.account).await, BTreeSet::new());
        let own: BTreeSet<String> = [weather.clone(), database.clone()].into();
        assert_eq!(things(&app, &beside.ada.account).await, own);
        // What the agent had is dead; coming again, it gets the human's account, and what was ticked.
        assert_eq!(beside.client.get("/v1/budget").await.status(), 401);
        let given = beside.comes_again().await.expect_status(200).json();
        assert_eq!(given["account"]["id"], json!(beside.ada.account));
        let scopes: BTreeSet<&str> = given["scope"].as_str().unwrap().split(' ').collect();
        assert_eq!(scopes, ["resources:read", "budget:read"].into());
        let anew = app.stranger().with_token(given["access_token"].as_str().unwrap());
        anew.get(&format!("/v1/resources/{database}")).await.expect_status(200);
        let order = json!({"service": "sandbox", "plan": "free"});
        anew.post_once(&fresh_key(), "/v1/resources", &order).await.problem(403, "insufficient_scope");
        // What was spent stays where it was; from now on it counts here, and rounding goes on where it was.
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 0));
        assert_eq!(cost(&used(&app, &weather, "11").await.expect_status(200).json()), 1);
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 1));
        assert_eq!(anew.get("/v1/budget").await.expect_status(200).json()["spent"], 1);
        assert_eq!((recorded(&app, "sidecar.merged").await, recorded(&app, "account.linked").await), (2, 1));
        // The thing works on: its owner removes it from here.
        let removed = beside.ada.client.delete(&format!("/v1/resources/{weather}")).await;
        assert!([200, 202].contains(&removed.status()), "{}", removed.text());
        app.stop().await;
    }

    async fn a_payment_token_pays_after_a_merge_what_was_left_of_it_and_a_retry_buys_nothing_anew(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let once = pays(&beside.quay, &usd(2000), &beside.user);
        let order = json!({"service": "postgres", "plan": "small", "payment_token": once});
        let first = beside.client.post_once("k", "/v1/resources", &order).await.expect_status(201).json();
        let browser = beside.owner().await;
        beside.merges(&browser, &["resources:read", "resources:write", "budget:read"]).await.expect_status(303);
        let given = beside.comes_again().await.expect_status(200).json();
        let anew = app.stranger().with_token(given["access_token"].as_str().unwrap());
        let again = anew.post_once("k", "/v1/resources", &order).await.expect_status(201).json();
        assert_eq!(again["resource"]["id"], first["resource"]["id"]);
        assert_eq!(again["credentials"], first["credentials"], "sealed anew for its new place");
        // 20.00 less 9.00: once more 9.00, and not a third time.
        anew.post_once(&fresh_key(), "/v1/resources", &order).await.expect_status(201);
        let refused = anew.post_once(&fresh_key(), "/v1/resources", &order).await.problem(402, "cap_reached");
        assert_eq!((&refused["binding"], &refused["remaining"]), (&json!("payment_token"), &json!(200)));
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 900));
        app.stop().await;
    }

    async fn a_metered_plan_costs_no_more_in_a_month_than_was_promised_for_having_moved(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let order = json!({"service": "weather", "plan": "metered", "payment_token": pays(&beside.quay, &usd(90_000), &beside.user)});
        let bought = beside.client.post_once(&fresh_key(), "/v1/resources", &order).await.expect_status(201).json();
        let weather = bought["resource"]["id"].as_str().unwrap();
        may_spend(&app, 90_000).await;
        used(&app, weather, "300000").await.expect_status(200);
        let browser = beside.owner().await;
        beside.moves(&browser, &[weather]).await.expect_status(303);
        may_spend(&app, 90_000).await;
        // 200.00 a month is promised, and 150.00 are spent.
        used(&app, weather, "40000").await.expect_status(200);
        let refused = used(&app, weather, "60020").await.problem(402, "cap_reached");
        assert_eq!((&refused["binding"], &refused["remaining"]), (&json!("plan"), &json!(3000)));
        used(&app, weather, "60000").await.expect_status(200);
        used(&app, weather, "20").await.problem(402, "cap_reached");
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (15_000, 5_000));
        // The next month is whole again.
        app.pass(TimeDelta::days(20));
        used(&app, weather, "400000").await.expect_status(200);
        assert_eq!(spent(&app, &beside.ada.account).await, 25_000);
        app.stop().await;
    }

    async fn moving_takes_what_was_chosen_and_leaves_the_rest_with_the_agent(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let (sandbox, weather) = (beside.gets("sandbox", "free").await, beside.gets("weather", "metered").await);
        let browser = beside.owner().await;
        let nothing = beside.moves(&browser, &[]).await.expect_status(422).text();
        assert!(nothing.contains("Nothing is ticked"), "{nothing}");
        let moved = beside.moves(&browser, &[&sandbox]).await.expect_status(303);
        assert_eq!(moved.header("location"), "/dashboard/sidecars?done=moved");
        assert_eq!((things(&app, &beside.ada.account).await, things(&app, &beside.account).await), ([sandbox.clone()].into(), [weather.clone()].into()));
        assert_eq!((state(&app, &beside.account).await.as_str(), outcome(&app, &beside.account).await), ("provisional", None));
        // The agent goes on with the rest, in its own account, and sees the other no more.
        beside.client.get(&format!("/v1/resources/{weather}")).await.expect_status(200);
        beside.client.get(&format!("/v1/resources/{sandbox}")).await.problem(404, "not_found");
        assert_eq!(beside.comes_again().await.expect_status(200).json()["account"]["id"], json!(beside.account));
        used(&app, &weather, "1000").await.expect_status(200);
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (50, 0));
        // What is not there cannot be moved, whatever it is.
        let gone = beside.moves(&browser, &[&sandbox]).await;
        assert_eq!(gone.status(), 404);
        app.stop().await;
    }

    async fn things_that_one_payment_token_pays_for_move_together(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let (database, weather) = (beside.gets("postgres", "small").await, beside.gets("weather", "metered").await);
        let browser = beside.owner().await;
        let refused = beside.moves(&browser, &[&database]).await.expect_status(409).text();
        assert!(refused.contains("is paid with the same payment token"), "{refused}");
        assert!(refused.contains(&format!("value=\"{database}\" checked")), "what was ticked stays ticked");
        assert_eq!(things(&app, &beside.ada.account).await, BTreeSet::new());
        beside.moves(&browser, &[&database, &weather]).await.expect_status(303);
        used(&app, &weather, "1000").await.expect_status(200);
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 50));
        // The token went with them: it pays for nothing in the account that it left.
        beside.buys("postgres", "small").await.problem(409, "payment_token_taken");
        app.stop().await;
    }

    async fn discarding_stops_spending_at_once_removes_everything_and_closes_the_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let (database, weather) = (beside.gets("postgres", "small").await, beside.gets("weather", "metered").await);
        let browser = beside.owner().await;
        let unsure = browser.submits(&format!("{}/discard", beside.page()), &[]).await.expect_status(422).text();
        assert!(unsure.contains("Nothing was discarded"), "{unsure}");
        assert_eq!(state(&app, &beside.account).await, "provisional");
        let done = beside.discards(&browser).await.expect_status(303);
        assert_eq!(done.header("location"), "/dashboard/sidecars?done=discarded");
        assert_eq!((state(&app, &beside.account).await.as_str(), outcome(&app, &beside.account).await.as_deref()), ("closed", Some("discarded")));
        used(&app, &weather, "1000").await.problem(409, "resource_not_ready");
        assert_eq!(beside.buys("sandbox", "free").await.status(), 401);
        let refused = beside.comes_again().await.problem(403, "account_unusable");
        assert!(refused["error_uri"].as_str().unwrap().ends_with("/docs/problems/account_unusable"), "{refused}");
        for _ in 0..40 {
            app.workers_resume().await;
            if things(&app, &beside.account).await.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(things(&app, &beside.account).await, BTreeSet::new(), "{database}");
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 0));
        assert_eq!(recorded(&app, "sidecar.discarded").await, 2);
        let page = browser.get("/dashboard").await;
        assert!(!page.text().contains("another account"));
        app.stop().await;
    }

    async fn while_money_is_held_or_work_goes_on_nothing_is_merged_moved_or_discarded(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let sandbox = beside.gets("sandbox", "free").await;
        let next = NextFault { fault: Fault::TimeOutBeforeEffect, count: 1, delay_ms: 0, on: SettlementVerb::Authorize };
        beside.quay.order(FaultOrder { next: Some(next), ..FaultOrder::default() }).unwrap();
        let bought = beside.buys("postgres", "small").await.expect_status(202).json();
        let database = bought["resource"]["id"].as_str().unwrap().to_owned();
        let browser = beside.owner().await;
        for refused in [
            beside.merges(&browser, &["resources:read"]).await,
            beside.discards(&browser).await,
            beside.moves(&browser, &[&database]).await,
        ] {
            let page = refused.expect_status(409).text();
            assert!(page.contains("Nothing was changed"), "{page}");
        }
        assert_eq!((things(&app, &beside.ada.account).await.len(), things(&app, &beside.account).await.len()), (0, 2));
        assert_eq!((state(&app, &beside.account).await.as_str(), outcome(&app, &beside.account).await), ("provisional", None));
        // What is at rest, and paid by no token, can go.
        beside.moves(&browser, &[&sandbox]).await.expect_status(303);
        for _ in 0..40 {
            app.workers_resume().await;
            let now = beside.comes_again().await.expect_status(200).json();
            let client = app.stranger().with_token(now["access_token"].as_str().unwrap());
            if client.get(&format!("/v1/resources/{database}")).await.json()["state"] == "ready" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let browser = beside.owner().await;
        beside.merges(&browser, &["resources:read"]).await.expect_status(303);
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 0));
        assert_eq!(things(&app, &beside.ada.account).await.len(), 2);
        app.stop().await;
    }

    async fn of_many_who_decide_at_once_one_does(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let (database, sandbox) = (beside.gets("postgres", "small").await, beside.gets("sandbox", "free").await);
        let browser = beside.owner().await;
        let merging = join_all((0..8).map(|_| beside.merges(&browser, &["resources:read"])));
        let discarding = join_all((0..8).map(|_| beside.discards(&browser)));
        let (merged, discarded) = join(merging, discarding).await;
        let done = |answers: &[crate::harness::client::Answer]| answers.iter().filter(|one| one.status() == 303).count();
        assert_eq!(done(&merged) + done(&discarded), 1);
        for answer in merged.iter().chain(&discarded).filter(|one| one.status() != 303) {
            assert_eq!(answer.status(), 404, "{}", answer.text());
        }
        assert_eq!(state(&app, &beside.account).await, "closed");
        let (outcome, own) = (outcome(&app, &beside.account).await, things(&app, &beside.ada.account).await);
        let all: BTreeSet<String> = [database, sandbox].into();
        match outcome.as_deref() {
            Some("merged") => assert_eq!((done(&merged), own), (1, all)),
            _ => assert_eq!((done(&discarded), own), (1, BTreeSet::new())),
        }
        assert_eq!((spent(&app, &beside.account).await, spent(&app, &beside.ada.account).await), (900, 0));
        app.stop().await;
    }

    async fn a_merge_while_the_agent_buys_leaves_nothing_behind_and_counts_everything_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let browser = beside.owner().await;
        let agent = &beside;
        let buying = join_all((0..12).map(|at| async move {
            if at % 2 == 0 { agent.buys("postgres", "small").await } else { agent.buys("sandbox", "free").await }
        }));
        let merging = async {
            // As long as a busy machine needs for twelve purchases that it holds up.
            let begun = std::time::Instant::now();
            while begun.elapsed() < std::time::Duration::from_secs(60) {
                match beside.merges(&browser, &["resources:read"]).await.status() {
                    303 => return true,
                    409 => tokio::time::sleep(std::time::Duration::from_millis(25)).await,
                    other => panic!("{other}"),
                }
            }
            false
        };
        let (bought, merged) = join(buying, merging).await;
        let told = || bought.iter().map(|answer| format!("{} {}", answer.status(), answer.text())).collect::<Vec<_>>();
        assert!(merged, "it never was at rest: {:#?}", told());
        let made = bought.iter().filter(|answer| answer.status() == 201).map(|answer| answer.json());
        let ids: BTreeSet<String> = made.map(|body| body["resource"]["id"].as_str().unwrap().to_owned()).collect();
        for refused in bought.iter().filter(|answer| answer.status() != 201) {
            assert!([401, 402, 403, 404].contains(&refused.status()), "{} {}", refused.status(), refused.text());
        }
        assert_eq!(things(&app, &beside.account).await, BTreeSet::new());
        // One that was made may leave before its buyer is answered.
        let came = things(&app, &beside.ada.account).await;
        let unheard = bought.iter().filter(|answer| answer.status() == 404).count();
        assert!(ids.is_subset(&came) && came.len() <= ids.len() + unheard, "{came:?} {ids:?}");
        assert_eq!(spent(&app, &beside.account).await, beside.quay.books().totals.get("USD").map_or(0, |all| all.captured));
        app.stop().await;
    }
}
