//! Ending tokens, asking what they are worth, and that every process hears of it within a second.

use std::time::{Duration, Instant};

use portreeve::app::HOUSE;
use portreeve::db::DbConnection;
use portreeve::{account, orchestrator};
use serde_json::json;

use crate::harness::app::{TestApp, user};
use crate::harness::client::Client;
use crate::harness::oauth::{OAuthClient, refused, text, works};

/// Asks until the token is refused; how long that took.
pub(crate) async fn dies(client: &Client, token: &str) -> Duration {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if client.with_token(token).get("/v1/budget").await.status() == 401 {
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token still works after five seconds");
}

on_both! {
    async fn a_revoked_grant_dies_within_a_second_on_every_process(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob, eve) = (app.agent().await, app.agent_of(&user("bob")).await, app.agent_of(&user("eve")).await);
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let other = app.another_listening_process().await;
        let elsewhere = Client::new(&format!("http://{}", other.address));
        let (token, of_bob) = (text(&tokens, "access_token"), bob.token.as_str());
        for token in [token, of_bob, eve.token.as_str()] {
            elsewhere.with_token(token).get("/v1/budget").await.expect_status(200);
        }
        client.post("/oauth/revoke", &[("token", text(&tokens, "refresh_token"))]).await.expect_status(200);
        assert_eq!(works(&app, token).await, 401, "at once where it was revoked");
        assert!(dies(&elsewhere, token).await < Duration::from_secs(1));
        let (id, now) = (bob.account.parse().unwrap(), app.now());
        let freeze = move |conn: &mut DbConnection| account::freeze(conn, &id, "operator", "test", now);
        app.app().db.write(HOUSE, freeze).await.unwrap();
        assert!(dies(&elsewhere, of_bob).await < Duration::from_secs(1));
        elsewhere.with_token(&eve.token).get("/v1/budget").await.expect_status(200);
        let id = app.orchestrator.id.clone();
        app.app().db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await.unwrap();
        assert!(dies(&elsewhere, &eve.token).await < Duration::from_secs(1));
        let _ = tokio::time::timeout(Duration::from_millis(100), other.stop(Duration::ZERO)).await;
        app.stop().await;
    }

    async fn revoking_an_access_token_ends_it_alone_and_a_refresh_token_all(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let first = client.tokens(&ada).await;
        let second = client.refreshes(text(&first, "refresh_token")).await.expect_status(200).json();
        let revoke = async |token: &str| client.post("/oauth/revoke", &[("token", token), ("token_type_hint", "access_token")]).await;
        revoke(text(&first, "access_token")).await.expect_status(200);
        assert_eq!((works(&app, text(&first, "access_token")).await, works(&app, text(&second, "access_token")).await), (401, 200));
        revoke(text(&second, "refresh_token")).await.expect_status(200);
        assert_eq!(works(&app, text(&second, "access_token")).await, 401);
        refused(&client.refreshes(text(&second, "refresh_token")).await, 400, "invalid_grant");
        // What is none, and what ended before, is ended.
        for token in ["nothing", "a.b.c", "rt_nothing", text(&second, "refresh_token"), text(&first, "access_token")] {
            revoke(token).await.expect_status(200);
        }
        refused(&client.post("/oauth/revoke", &[]).await, 400, "invalid_request");
        app.stop().await;
    }

    async fn nobody_ends_or_reads_a_token_of_another_client(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (client, thief) = (OAuthClient::confidential(&app).await, OAuthClient::confidential(&app).await);
        let tokens = client.tokens(&ada).await;
        for member in ["access_token", "refresh_token"] {
            let token = text(&tokens, member);
            refused(&thief.post("/oauth/revoke", &[("token", token)]).await, 400, "unauthorized_client");
            let told = thief.post("/oauth/introspect", &[("token", token)]).await.expect_status(200).json();
            assert_eq!(told, json!({"active": false}));
            let nameless = app.stranger().post_form("/oauth/introspect", &[("token", token)]).await;
            refused(&nameless, 401, "invalid_client");
            refused(&app.stranger().post_form("/oauth/revoke", &[("token", token)]).await, 401, "invalid_client");
        }
        let public = OAuthClient::public(&app).await;
        let asked = public.post("/oauth/introspect", &[("token", text(&tokens, "access_token"))]).await;
        refused(&asked, 401, "invalid_client");
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        app.stop().await;
    }

    async fn introspection_tells_all_of_a_good_token_and_nothing_of_another(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let api = OAuthClient::register_for(&app, json!({"token_endpoint_auth_method": "client_secret_basic"}), None, true).await;
        let tokens = client.tokens(&ada).await;
        for asker in [&client, &api] {
            let told = asker.post("/oauth/introspect", &[("token", text(&tokens, "access_token"))]).await.expect_status(200).json();
            assert_eq!((&told["active"], &told["client_id"], &told["sub"]), (&json!(true), &json!(client.id), &json!(ada.account)));
            assert_eq!((&told["aud"], &told["iss"], &told["token_type"]), (&json!(format!("{}/v1", app.base)), &json!(app.base), &json!("Bearer")));
            assert_eq!(told["scope"], "resources:read resources:write budget:read");
            assert!(told["grant_id"].as_str().is_some_and(|id| id.starts_with("cons_")), "{told}");
            let refresh = asker.post("/oauth/introspect", &[("token", text(&tokens, "refresh_token"))]).await.json();
            assert_eq!((&refresh["active"], &refresh["grant_id"]), (&json!(true), &told["grant_id"]));
        }
        client.post("/oauth/revoke", &[("token", text(&tokens, "refresh_token"))]).await.expect_status(200);
        for token in [text(&tokens, "access_token"), text(&tokens, "refresh_token"), "nothing", "a.b.c"] {
            let told = api.post("/oauth/introspect", &[("token", token)]).await.expect_status(200).json();
            assert_eq!(told, json!({"active": false}), "{token}");
        }
        app.stop().await;
    }
}
