//! What is over does not stay: codes, questions, refresh tokens and counts of openings vanish in time, and nothing before.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::account;
use portreeve::app::HOUSE;
use portreeve::authorization;
use portreeve::db::DbError;
use portreeve::db::schema::{
    account_openings, account_requests, authorization_codes, authorization_requests, refresh_tokens,
};
use portreeve::orchestrator::ExistingAccount;
use portreeve::simulator::User;
use serde_json::json;

use crate::harness::app::{TestApp, user};
use crate::harness::oauth::{CHALLENGE, OAuthClient, REDIRECT};
use crate::harness::wire::WireAgent;
use crate::wire_accounts::{another, page_of};

/// Codes, questions, refresh tokens and counted hours that are left after a sweep in pieces of `piece`.
async fn left(app: &TestApp, piece: i64) -> [i64; 4] {
    let now = app.now();
    let swept = app.app().db.write(HOUSE, move |conn| {
        while authorization::forget_ended(conn, now, piece)? > 0 {}
        account::forget_openings(conn, now)?;
        Ok::<_, DbError>([
            authorization_codes::table.count().get_result(conn)?,
            account_requests::table.count().get_result(conn)?,
            refresh_tokens::table.count().get_result(conn)?,
            account_openings::table.count().get_result(conn)?,
        ])
    });
    swept.await.unwrap()
}

on_both! {
    async fn what_is_over_for_a_day_is_forgotten(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        // Two codes, one of them used for tokens, and a question that nobody answers.
        let (works, tokens) = agent.opens_account(&User::ada()).await;
        agent.asks_for_account(&user("bob")).await.expect_status(200);
        let other = another(&app, "Other", ExistingAccount::UserConsent, &["example.test"]).await;
        let asks = WireAgent::register_as(&app, &other.id, |_| ()).await;
        page_of(&app, &asks.asks_for_account(&User::ada()).await.expect_status(200).json());
        assert_eq!(left(&app, 1).await, [2, 1, 1, 1]);
        app.pass(TimeDelta::days(1) + TimeDelta::seconds(300));
        assert_eq!(left(&app, 1).await, [2, 1, 1, 0], "a code is over after five minutes, and kept for a day");
        app.pass(TimeDelta::seconds(1));
        assert_eq!(left(&app, 1).await, [0, 1, 1, 0]);
        app.pass(TimeDelta::seconds(300));
        assert_eq!(left(&app, 1).await, [0, 0, 1, 0], "a question is over after ten");
        works.get("/provisioning/services").await.expect_status(200);
        let again = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
        agent.token(&again).await.expect_status(200);
        assert_eq!(left(&app, 1).await, [0, 0, 2, 0], "a token that was replaced is kept: whoever shows it is found out");
        app.pass(TimeDelta::days(800));
        assert_eq!(left(&app, 1000).await, [0, 0, 0, 0]);
        let dead = agent.token(&again).await;
        assert_eq!((dead.status(), &dead.json()["error"]), (400, &json!("invalid_grant")));
        app.stop().await;
    }

    async fn a_request_that_nobody_decided_is_forgotten_an_hour_after_its_end_and_an_answered_one_a_day_after(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        client.code(&ada).await;
        client.page(&[]).await;
        client.post("/oauth/par", &[("response_type", "code"), ("redirect_uri", REDIRECT),
            ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")]).await.expect_status(201);
        let of_clients = async || {
            left(&app, 1).await;
            let counted = app.app().db.read(|conn| Ok::<i64, DbError>(authorization_requests::table.count().get_result(conn)?));
            counted.await.unwrap()
        };
        app.pass(TimeDelta::hours(1) + TimeDelta::seconds(90));
        assert_eq!(of_clients().await, 3, "one that was pushed is over after ninety seconds, one that was shown after ten minutes");
        app.pass(TimeDelta::seconds(1));
        assert_eq!(of_clients().await, 2);
        app.pass(TimeDelta::seconds(510));
        assert_eq!(of_clients().await, 1, "the answered one is known as such");
        app.pass(TimeDelta::hours(23) - TimeDelta::seconds(1));
        assert_eq!(of_clients().await, 1);
        app.pass(TimeDelta::seconds(1));
        assert_eq!(of_clients().await, 0);
        app.stop().await;
    }
}
