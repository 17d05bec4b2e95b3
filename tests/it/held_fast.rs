//! A separate account that is held fast: nothing leaves it for its owner's account, where it would be free; and what was
//! asked of its person goes along.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::clock::Timestamp;
use portreeve::db::DbError;
use portreeve::db::schema::precautions;
use portreeve::ids::{AccountId, OrchestratorId};
use portreeve::simulator::IdTokenSpec;
use portreeve::takeover;
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::beside::Beside;
use crate::harness::browser::Browser;
use crate::security_events::{CAEP, RISC, event, minted, set, stream};

/// Quay tells something of its Ada.
pub(crate) async fn hears(beside: &Beside<'_>, uri: &str, detail: Value) {
    set(beside.app, stream(beside.app, &beside.orchestrator.id)).await;
    let told = minted(&beside.quay, &event(&beside.quay.issuer_url, &beside.user, uri, detail));
    beside.app.pushed(&told).await.expect_status(202);
    beside.app.app().revocations.forget();
}

/// Neither everything nor one thing comes over.
async fn stays(beside: &Beside<'_>, browser: &Browser, thing: &str) {
    for refused in
        [beside.merges(browser, &["resources:read", "resources:write"]).await, beside.moves(browser, &[thing]).await]
    {
        let page = refused.expect_status(409).text();
        assert!(page.contains("held back because of a risk") && page.contains("You can discard"), "{page}");
    }
    assert_eq!(beside.app.account_state(&beside.account).await, "provisional");
}

/// Whoever has the owner's account may have been asked for something before.
async fn asked(app: &TestApp, account: &str, through: &OrchestratorId) -> takeover::Precautions {
    let (of, through) = (account.parse::<AccountId>().unwrap(), through.clone());
    app.app().db.read(move |conn| takeover::precautions(conn, &of, &through)).await.unwrap()
}

on_both! {
    async fn nothing_leaves_a_separate_account_while_its_spending_is_stopped(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let sandbox = beside.gets("sandbox", "free").await;
        let browser = beside.owner().await;
        let changed = format!("{CAEP}risk-level-change");
        hears(&beside, &changed, json!({"current_level": "HIGH"})).await;
        assert_eq!(beside.buys("weather", "metered").await.status(), 402);
        stays(&beside, &browser, &sandbox).await;
        app.pass(TimeDelta::seconds(5));
        hears(&beside, &changed, json!({"current_level": "LOW"})).await;
        beside.merges(&browser, &["resources:read"]).await.expect_status(303);
        app.stop().await;
    }

    async fn nothing_leaves_a_separate_account_whose_person_is_not_believed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let sandbox = beside.gets("sandbox", "free").await;
        let browser = beside.owner().await;
        hears(&beside, &format!("{RISC}account-purged"), json!({})).await;
        stays(&beside, &browser, &sandbox).await;
        // It can be ended.
        beside.discards(&browser).await.expect_status(303);
        assert_eq!(app.account_state(&beside.account).await, "closed");
        app.stop().await;
    }

    async fn what_was_asked_of_the_person_is_asked_in_the_owners_account_too(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let (sandbox, weather) = (beside.gets("sandbox", "free").await, beside.gets("weather", "metered").await);
        let through = beside.orchestrator.id.clone();
        // Of the owner something else was asked before, and of removals something stricter.
        let (own, id) = (beside.ada.account.parse::<AccountId>().unwrap(), through.clone());
        let (later, write) = (app.now().plus(TimeDelta::hours(1)), Timestamp::from_seconds(7));
        let before = app.app().db.write(HOUSE, move |conn| {
            let row = (precautions::account_id.eq(&own), precautions::orchestrator_id.eq(&id),
                precautions::remove_after.eq(Some(Timestamp::from_seconds(5))), precautions::write_after.eq(Some(write)));
            Ok::<_, DbError>(diesel::insert_into(precautions::table).values(row).execute(conn)?)
        });
        before.await.unwrap();
        let at = app.now().seconds();
        hears(&beside, &format!("{CAEP}credential-change"), json!({"change_type": "update", "event_timestamp": at})).await;
        let browser = beside.owner().await;
        beside.moves(&browser, &[&sandbox]).await.expect_status(303);
        let moved = asked(&app, &beside.ada.account, &through).await;
        assert_eq!((moved.remove_after, moved.write_after), (Some(Timestamp::from_seconds(at)), Some(write)));
        let (own, id) = (beside.ada.account.parse::<AccountId>().unwrap(), through.clone());
        let stricter = app.app().db.write(HOUSE, move |conn| {
            let row = precautions::table.find((&own, &id));
            Ok::<_, DbError>(diesel::update(row).set(precautions::remove_after.eq(Some(later))).execute(conn)?)
        });
        assert_eq!(stricter.await.unwrap(), 1);
        beside.merges(&browser, &["resources:read", "resources:write", "resources:delete"]).await.expect_status(303);
        assert_eq!(asked(&app, &beside.ada.account, &through).await.remove_after, Some(later), "of both the later");
        // The agent, in its new place, with the log-in of before.
        let token = IdTokenSpec::of(&beside.user).claim("auth_time", json!(at - 60));
        let token = beside.quay.mint_id_token(&token).unwrap();
        let given = app.presents(&token).await.expect_status(200).json();
        let anew = app.stranger().with_token(given["access_token"].as_str().unwrap());
        anew.delete(&format!("/v1/resources/{weather}")).await.problem(401, "insufficient_user_authentication");
        app.stop().await;
    }
}
