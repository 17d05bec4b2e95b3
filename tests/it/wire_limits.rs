//! How often anybody may ask: the refusal's code in the endpoint's own envelope, and how long to wait.

use chrono::TimeDelta;
use portreeve::fetch::Outgoing;
use serde_json::json;

use crate::harness::app::{TestApp, user};
use crate::harness::client::Answer;

#[track_caller]
fn says_when(answer: &Answer, policy: &str, wait: &str) {
    assert_eq!(answer.status(), 429, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), wait);
    assert_eq!(answer.header("ratelimit-policy"), policy);
    let name = policy.split(';').next().unwrap();
    assert_eq!(answer.header("ratelimit"), format!("{name};r=0;t={wait}"));
    assert_eq!(answer.header("cache-control"), "no-store");
}

on_both! {
    async fn an_address_opens_so_many_accounts_an_hour(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_accounts_per_hour", "2")]).await;
        let open = |name: &str| {
            let (token, stranger) = (app.id_token(&user(name)), app.stranger());
            async move { stranger.post("/v1/accounts", &json!({"id_token": token})).await }
        };
        let first = open("ada").await.expect_status(201);
        assert_eq!(first.header("ratelimit"), "\"address-accounts\";r=1;t=1800");
        open("bob").await.expect_status(201);
        let refused = open("cyd").await;
        says_when(&refused, "\"address-accounts\";q=2;w=3600", "1800");
        refused.problem(429, "rate_limited");
        // A refused request opened nothing and used nothing up.
        app.pass(TimeDelta::seconds(1800));
        open("cyd").await.expect_status(201);
        app.stop().await;
    }

    async fn the_token_endpoint_refuses_each_grant_in_the_envelope_that_its_callers_read(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_tokens_per_hour", "1")]).await;
        let ask = |grant: &'static str| {
            let stranger = app.stranger();
            async move { stranger.post_form("/oauth/token", &[("grant_type", grant), ("assertion", "a.b.c")]).await }
        };
        ask("urn:ietf:params:oauth:grant-type:jwt-bearer").await.expect_status(400);
        let refused = ask("urn:ietf:params:oauth:grant-type:jwt-bearer").await;
        says_when(&refused, "\"address-tokens\";q=1;w=3600", "3600");
        assert_eq!(refused.json()["error"], "rate_limited");
        for grant in ["authorization_code", "refresh_token"] {
            let refused = ask(grant).await;
            says_when(&refused, "\"address-tokens\";q=1;w=3600", "3600");
            assert_eq!((&refused.json()["type"], &refused.json()["error"]["code"]), (&json!("error"), &json!("rate_limited")));
        }
        app.stop().await;
    }

    async fn behind_a_proxy_the_last_address_it_names_counts_and_without_one_none(db: TestDb) {
        let limit = ("limits.address_accounts_per_hour", "1");
        let (behind, status) = ("true", 401);
        {
            let app = TestApp::start_with(&db, &[limit, ("server.behind_tls_proxy", behind)]).await;
            let from = |addresses: &'static str| {
                let outgoing = Outgoing::post_json(app.stranger().url("/v1/accounts"), &json!({"id_token": "a.b.c"}));
                let client = app.stranger();
                async move { client.send(outgoing.header("x-forwarded-for", addresses)).await }
            };
            from("198.51.100.1").await.expect_status(401);
            from("198.51.100.2").await.expect_status(status);
            // What the caller itself wrote stands first and counts for nothing.
            from("198.51.100.9, 198.51.100.1").await.expect_status(429);
            app.stop().await;
        }
    }

    async fn a_limit_of_none_is_no_limit(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_accounts_per_hour", "0")]).await;
        for _ in 0..30 {
            let answer = app.stranger().post("/v1/accounts", &json!({"id_token": "a.b.c"})).await.expect_status(401);
            assert!(!answer.has_header("ratelimit"));
        }
        app.stop().await;
    }
}
