//! Codes and refresh tokens of OAuth clients, as an attacker would have them; and what a client gets for itself.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::app::{TestApp, user};
use crate::harness::oauth::{OAuthClient, VERIFIER, refused, text, works};
use crate::proofs::Holder;

on_both! {
    async fn a_code_works_once_for_its_client_with_its_verifier_for_a_minute(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (client, thief) = (OAuthClient::public(&app).await, OAuthClient::public(&app).await);
        let code = client.code(&ada).await;
        let grant = ("grant_type", "authorization_code");
        // None of these consumes it.
        refused(&thief.redeems(&code).await, 400, "invalid_grant");
        refused(&client.token(&[grant, ("code", &code)]).await, 400, "invalid_grant");
        let wrong = "a".repeat(43);
        refused(&client.token(&[grant, ("code", &code), ("code_verifier", &wrong)]).await, 400, "invalid_grant");
        let challenge = crate::harness::oauth::CHALLENGE;
        refused(&client.token(&[grant, ("code", &code), ("code_verifier", challenge)]).await, 400, "invalid_grant");
        let elsewhere = [grant, ("code", &code), ("code_verifier", VERIFIER), ("redirect_uri", "https://agent.example/other")];
        refused(&client.token(&elsewhere).await, 400, "invalid_grant");
        let target = [grant, ("code", &code), ("code_verifier", VERIFIER), ("resource", "https://elsewhere.example")];
        refused(&client.token(&target).await, 400, "invalid_target");
        refused(&client.token(&[grant, ("code", &code), ("code_verifier", VERIFIER), ("scope", "dashboard:link")]).await, 400, "invalid_scope");
        client.redeems(&code).await.expect_status(200);
        let late = client.code(&ada).await;
        app.pass(TimeDelta::seconds(60));
        refused(&client.redeems(&late).await, 400, "invalid_grant");
        refused(&client.redeems("ac_nothing").await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_code_that_comes_back_ends_every_token_that_came_of_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let code = client.code(&ada).await;
        let tokens = client.redeems(&code).await.expect_status(200).json();
        let later = client.refreshes(text(&tokens, "refresh_token")).await.expect_status(200).json();
        refused(&client.redeems(&code).await, 400, "invalid_grant");
        for token in [&tokens, &later] {
            assert_eq!(works(&app, text(token, "access_token")).await, 401);
            refused(&client.refreshes(text(token, "refresh_token")).await, 400, "invalid_grant");
        }
        assert_eq!(works(&app, &ada.token).await, 200, "nobody else's");
        app.stop().await;
    }

    async fn of_many_that_redeem_one_code_at_once_nobody_keeps_a_token(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let code = client.code(&ada).await;
        let answers = join_all((0..16).map(|_| client.redeems(&code))).await;
        let given: Vec<_> = answers.iter().filter(|answer| answer.status() == 200).collect();
        assert!(given.len() <= 1);
        app.app().revocations.forget();
        for answer in given {
            assert_eq!(works(&app, text(&answer.json(), "access_token")).await, 401);
        }
        app.stop().await;
    }

    async fn a_refresh_token_works_until_its_successor_is_used_and_then_ends_all(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let first = client.tokens(&ada).await;
        let first_refresh = text(&first, "refresh_token");
        let second = client.refreshes(first_refresh).await.expect_status(200).json();
        // A lost answer, or another process: the same successor again, and the old access token still works.
        let again = client.refreshes(first_refresh).await.expect_status(200).json();
        assert_eq!(again["refresh_token"], second["refresh_token"]);
        assert_ne!(again["refresh_token"], first["refresh_token"]);
        assert_eq!(works(&app, text(&first, "access_token")).await, 200);
        let third = client.refreshes(text(&second, "refresh_token")).await.expect_status(200).json();
        // Now the first is old. Whoever brings it copied it.
        refused(&client.refreshes(first_refresh).await, 400, "invalid_grant");
        for tokens in [&first, &second, &again, &third] {
            assert_eq!(works(&app, text(tokens, "access_token")).await, 401);
            refused(&client.refreshes(text(tokens, "refresh_token")).await, 400, "invalid_grant");
        }
        app.stop().await;
    }

    async fn twenty_processes_that_share_a_refresh_token_all_go_on(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let first = client.tokens(&ada).await;
        let answers = join_all((0..20).map(|_| client.refreshes(text(&first, "refresh_token")))).await;
        let mut next: Vec<String> = Vec::new();
        for answer in answers {
            let tokens = answer.expect_status(200).json();
            assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
            next.push(text(&tokens, "refresh_token").to_owned());
        }
        next.dedup();
        assert_eq!(next.len(), 1, "one successor");
        client.refreshes(&next[0]).await.expect_status(200);
        app.stop().await;
    }

    async fn a_refresh_token_is_its_clients_alone_slides_and_ends(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (client, thief) = (OAuthClient::public(&app).await, OAuthClient::public(&app).await);
        let first = client.tokens(&ada).await;
        let refresh = text(&first, "refresh_token").to_owned();
        refused(&thief.refreshes(&refresh).await, 400, "invalid_grant");
        let narrower = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", "budget:read")];
        assert_eq!(client.token(&narrower).await.expect_status(200).json()["scope"], "budget:read");
        let wider = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", "dashboard:link")];
        refused(&client.token(&wider).await, 400, "invalid_scope");
        let mut token = refresh;
        for _ in 0..6 {
            app.pass(TimeDelta::days(29));
            let next = client.refreshes(&token).await.expect_status(200).json();
            token = text(&next, "refresh_token").to_owned();
        }
        app.pass(TimeDelta::days(29));
        refused(&client.refreshes(&token).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_confidential_client_proves_itself_each_time(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let code = client.code(&ada).await;
        let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER), ("client_id", client.id.as_str())];
        refused(&app.stranger().post_form("/oauth/token", &fields).await, 401, "invalid_client");
        let wrong: Vec<_> = fields.iter().copied().chain([("client_secret", "cs_wrong")]).collect();
        refused(&app.stranger().post_form("/oauth/token", &wrong).await, 401, "invalid_client");
        let secret = client.secret.clone().unwrap();
        // In the form as well as in the header; in both it is refused, and so is another name beside the header.
        let both: Vec<_> = fields.iter().copied().chain([("client_secret", secret.as_str())]).collect();
        refused(&client.token(&both).await, 400, "invalid_request");
        let other = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER), ("client_id", "other")];
        refused(&client.token(&other).await, 400, "invalid_request");
        let tokens = app.stranger().post_form("/oauth/token", &both).await.expect_status(200).json();
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token")), ("client_id", client.id.as_str())];
        refused(&app.stranger().post_form("/oauth/token", &refresh).await, 401, "invalid_client");
        // The header with the name in the form as well is what one known library sends.
        let named = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token")), ("client_id", client.id.as_str())];
        client.token(&named).await.expect_status(200);
        app.stop().await;
    }

    async fn a_code_and_a_refresh_token_may_be_bound_to_a_key(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let (holder, thief) = (Holder::es256(), Holder::es256());
        let code = client.code_for(&ada, &[("dpop_jkt", &holder.thumbprint())], &["budget:read"]).await;
        let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER)];
        refused(&client.token(&fields).await, 400, "invalid_dpop_proof");
        let proven = async |holder: &Holder, fields: &[(&str, &str)]| {
            let proof = holder.proof_for(&app, "POST", "/oauth/token", None);
            client.http.send(client.outgoing("/oauth/token", fields).header("dpop", proof)).await
        };
        refused(&proven(&thief, &fields).await, 400, "invalid_grant");
        let tokens = proven(&holder, &fields).await.expect_status(200).json();
        assert_eq!(tokens["token_type"], "DPoP");
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 401, "as a bearer token it is none");
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token"))];
        refused(&client.token(&refresh).await, 400, "invalid_dpop_proof");
        refused(&proven(&thief, &refresh).await, 400, "invalid_grant");
        assert_eq!(proven(&holder, &refresh).await.expect_status(200).json()["token_type"], "DPoP");
        app.stop().await;
    }

    async fn a_client_that_is_registered_for_bound_tokens_gets_no_others(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::register(&app, json!({"dpop_bound_access_tokens": true})).await;
        let code = client.code(&ada).await;
        refused(&client.redeems(&code).await, 400, "invalid_dpop_proof");
        app.stop().await;
    }

    async fn a_client_gets_for_itself_what_the_operator_named(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let said = json!({"token_endpoint_auth_method": "client_secret_basic", "grant_types": ["client_credentials"],
            "redirect_uris": [], "scope": "budget:read resources:read"});
        let client = OAuthClient::register_for(&app, said.clone(), Some(&ada.account), false).await;
        let grant = [("grant_type", "client_credentials")];
        let tokens = client.token(&grant).await.expect_status(200).json();
        assert_eq!((&tokens["scope"], tokens.get("refresh_token")), (&json!("resources:read budget:read"), None));
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        let narrower = client.token(&[grant[0], ("scope", "budget:read resources:write")]).await.expect_status(200).json();
        assert_eq!(narrower["scope"], "budget:read");
        refused(&client.token(&[grant[0], ("scope", "resources:write")]).await, 400, "invalid_scope");
        refused(&client.token(&[grant[0], ("resource", "https://elsewhere.example")]).await, 400, "invalid_target");
        let nobodys = OAuthClient::register_for(&app, said, None, false).await;
        refused(&nobodys.token(&grant).await, 400, "unauthorized_client");
        refused(&OAuthClient::confidential(&app).await.token(&grant).await, 400, "unauthorized_client");
        refused(&app.stranger().post_form("/oauth/token", &grant).await, 401, "invalid_client");
        app.stop().await;
    }

    async fn the_endpoint_refuses_what_it_does_not_know_in_one_form(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::public(&app).await;
        refused(&client.token(&[("grant_type", "password")]).await, 400, "unsupported_grant_type");
        refused(&client.token(&[]).await, 400, "invalid_request");
        refused(&client.token(&[("grant_type", "authorization_code")]).await, 400, "invalid_request");
        refused(&client.token(&[("grant_type", "refresh_token")]).await, 400, "invalid_request");
        let twice = "grant_type=client_credentials&grant_type=client_credentials";
        let answer = app.stranger().post_bytes("/oauth/token", "application/x-www-form-urlencoded", twice).await;
        refused(&answer, 400, "invalid_request");
        let assertion_and_secret = [("grant_type", "client_credentials"), ("client_id", client.id.as_str()), ("client_secret", "x"),
            ("client_assertion", "a.b.c"), ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")];
        refused(&app.stranger().post_form("/oauth/token", &assertion_and_secret).await, 400, "invalid_request");
        app.stop().await;
    }

    async fn tokens_of_a_frozen_account_are_not_made_anew(db: TestDb) {
        let app = TestApp::start(&db).await;
        let frozen = app.agent_of(&user("frozen")).await;
        let client = OAuthClient::public(&app).await;
        let (tokens, code) = (client.tokens(&frozen).await, client.code(&frozen).await);
        let (id, now) = (frozen.account.parse().unwrap(), app.now());
        let work = move |conn: &mut portreeve::db::DbConnection| portreeve::account::freeze(conn, &id, "operator", "test", now);
        app.app().db.write(portreeve::app::HOUSE, work).await.unwrap();
        refused(&client.redeems(&code).await, 400, "invalid_grant");
        refused(&client.refreshes(text(&tokens, "refresh_token")).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_client_gets_nothing_for_itself_on_a_frozen_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        let frozen = app.agent_of(&user("frozen")).await;
        let said = json!({"token_endpoint_auth_method": "client_secret_basic", "grant_types": ["client_credentials"], "redirect_uris": []});
        let client = OAuthClient::register_for(&app, said, Some(&frozen.account), false).await;
        let grant = [("grant_type", "client_credentials")];
        client.token(&grant).await.expect_status(200);
        let (id, now) = (frozen.account.parse().unwrap(), app.now());
        let work = move |conn: &mut portreeve::db::DbConnection| portreeve::account::freeze(conn, &id, "operator", "test", now);
        app.app().db.write(portreeve::app::HOUSE, work).await.unwrap();
        refused(&client.token(&grant).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn when_a_client_was_last_used_is_known_to_the_hour(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let last_used = async || {
            let all = app.app().db.read(|conn| portreeve::authorization::list_clients(conn, None, 10)).await.unwrap();
            all.into_iter().find(|known| known.id == client.id).unwrap().last_used_at
        };
        let first = client.tokens(&ada).await;
        let given = last_used().await;
        app.pass(TimeDelta::minutes(59));
        let second = client.refreshes(text(&first, "refresh_token")).await.expect_status(200).json();
        assert_eq!(last_used().await, given, "nothing is written for it");
        app.pass(TimeDelta::minutes(1));
        client.refreshes(text(&second, "refresh_token")).await.expect_status(200);
        assert_eq!(last_used().await, app.now());
        app.stop().await;
    }
}
