//! Opening an account over HTTP: `POST /v1/accounts` and the token endpoint, two faces of one exchange.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, assertion_uses, identity_links};
use portreeve::simulator::{FaultOrder, IdTokenSpec, JwksState, User};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::client::Answer;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

on_both! {
    async fn an_attestation_opens_an_account_and_the_next_one_finds_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let first = opens(&app, &app.id_token(&User::ada())).await.expect_status(201);
        assert_eq!(first.header("cache-control"), "no-store");
        let body = first.json();
        assert_eq!((&body["account"]["state"], &body["token_type"]), (&json!("provisional"), &json!("Bearer")));
        assert_eq!((&body["expires_in"], &body["resource"]), (&json!(600), &json!(format!("{}/v1", app.base))));
        assert_eq!(body["account"]["spending"], json!({"currency": "USD", "ceiling": 10_000}));
        assert_eq!(body["account"]["orchestrator"]["name"], "Harbour");
        let scope: BTreeSet<&str> = body["scope"].as_str().unwrap().split(' ').collect();
        assert_eq!(scope, ["resources:read", "resources:write", "resources:delete", "budget:read", "dashboard:link"].into());
        let client = app.stranger().with_token(body["access_token"].as_str().unwrap());
        client.get("/v1/resources").await.expect_status(200);

        let second = opens(&app, &app.id_token(&User::ada())).await.expect_status(200).json();
        assert_eq!(second["account"]["id"], body["account"]["id"]);
        assert_ne!(second["access_token"], body["access_token"]);
        assert_eq!(rows(&app).await, (1, 1, 2));
        app.stop().await;
    }

    async fn the_same_request_gets_the_same_answer_for_30_seconds_and_is_a_replay_after(db: TestDb) {
        let app = TestApp::start(&db).await;
        let id_token = app.id_token(&User::ada());
        let first = opens(&app, &id_token).await.expect_status(201).json();
        app.pass(TimeDelta::seconds(29));
        let again = opens(&app, &id_token).await.expect_status(201).json();
        assert_eq!(again, first);
        app.pass(TimeDelta::seconds(2));
        opens(&app, &id_token).await.problem(401, "invalid_attestation");
        assert_eq!(rows(&app).await, (1, 1, 1));
        app.stop().await;
    }

    async fn an_attestation_that_was_used_at_one_door_does_not_open_the_other(db: TestDb) {
        let app = TestApp::start(&db).await;
        let id_token = app.id_token(&User::ada());
        opens(&app, &id_token).await.expect_status(201);
        oauth_refusal(&asks(&app, &[("grant_type", JWT_BEARER), ("assertion", &id_token)]).await, "invalid_grant");
        let other = json!({"id_token": id_token, "scope": "budget:read"});
        app.stranger().post("/v1/accounts", &other).await.problem(401, "invalid_attestation");

        let id_token = app.id_token(&user("bob"));
        asks(&app, &[("grant_type", JWT_BEARER), ("assertion", &id_token)]).await.expect_status(200);
        opens(&app, &id_token).await.problem(401, "invalid_attestation");
        app.stop().await;
    }

    async fn what_is_not_for_us_now_and_from_a_known_issuer_opens_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = || IdTokenSpec::of(&User::ada());
        let minutes = |minutes| app.now().plus(TimeDelta::minutes(minutes));
        for (why, spec) in [
            ("another audience", ada().audience("another-client")),
            ("two audiences", ada().claim("aud", json!(["portreeve-test", "another"]))),
            ("expired", ada().expires_at(minutes(-2))),
            ("too old", ada().issued_at(minutes(-20)).expires_at(minutes(60))),
            ("from the future", ada().issued_at(minutes(5))),
            ("an unknown issuer", ada().claim("iss", json!("https://elsewhere.example"))),
            ("no issuer", ada().claim("iss", Value::Null)),
            ("no subject", ada().claim("sub", Value::Null)),
            ("no expiry", ada().claim("exp", Value::Null)),
            ("a stranger's key", ada().signed_by_a_stranger()),
            ("unsigned", ada().header("alg", json!("none"))),
            ("the public key as a secret", ada().header("alg", json!("HS256"))),
            ("an unknown key", ada().header("kid", json!("nobody"))),
            ("another type", ada().header("typ", json!("at+jwt"))),
            ("a critical extension", ada().header("crit", json!(["x"]))),
        ] {
            let token = app.simulator.mint_id_token(&spec).unwrap();
            let answer = opens(&app, &token).await;
            assert_eq!(answer.status(), 401, "{why}: {}", answer.text());
            assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{why}");
            answer.problem(401, "invalid_attestation");
            oauth_refusal(&asks(&app, &[("grant_type", JWT_BEARER), ("assertion", &token)]).await, "invalid_grant");
        }
        assert_eq!(rows(&app).await, (0, 0, 0), "what is not believed burns nothing");
        app.stop().await;
    }

    async fn parallel_copies_open_exactly_one_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        let id_token = app.id_token(&User::ada());
        let answers = join_all((0..64).map(|_| opens(&app, &id_token))).await;
        let mut bodies: Vec<Value> = Vec::new();
        for answer in answers {
            assert_eq!(answer.status(), 201, "{}", answer.text());
            bodies.push(answer.json());
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "all copies get the first one's answer");
        assert_eq!(rows(&app).await, (1, 1, 1));
        app.stop().await;
    }

    async fn parallel_attestations_of_one_person_open_exactly_one_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        let tokens: Vec<String> = (0..64).map(|_| app.id_token(&User::ada())).collect();
        let answers = join_all(tokens.iter().map(|token| opens(&app, token))).await;
        let ok = |status| answers.iter().filter(|answer| answer.status() == status).count();
        // 503: many at once about one person may be told to come again.
        assert_eq!((ok(201), ok(200) + ok(503)), (1, 63));
        let ids: BTreeSet<String> = answers
            .iter()
            .filter(|answer| answer.status() < 300)
            .map(|answer| answer.json()["account"]["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 1);
        let (accounts, links, _) = rows(&app).await;
        assert_eq!((accounts, links), (1, 1));
        app.stop().await;
    }

    async fn an_address_that_has_an_account_is_never_linked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        ada.buys("postgres", "small").await.expect_status(201);
        // Another subject at the same issuer, with Ada's address.
        let other = User { subject: "user_other".to_owned(), ..User::ada() };
        let answer = opens(&app, &app.id_token(&other)).await;
        let refusal = answer.problem(403, "consent_needed");
        let page_at = refusal["error_uri"].as_str().unwrap();
        assert!(page_at.starts_with(&app.base), "{page_at}");
        let token = app.id_token(&other);
        let form = asks(&app, &[("grant_type", JWT_BEARER), ("assertion", &token)]).await;
        assert_eq!(form.json()["error_uri"], refusal["error_uri"]);
        oauth_refusal(&form, "invalid_grant");

        let page = app.stranger().get(page_at).await.expect_status(200);
        assert!(page.header("content-type").starts_with("text/html"));
        let told = format!("{refusal}{}{}", page.text(), form.text());
        for secret in ["ada", "user_", ada.account.as_str(), "postgres", "900", "9.00"] {
            assert!(!told.to_lowercase().contains(secret), "`{secret}` is revealed: {told}");
        }
        assert_eq!(rows(&app).await.0, 1);
        app.stop().await;
    }

    async fn the_token_endpoint_speaks_rfc_6749(db: TestDb) {
        let app = TestApp::start(&db).await;
        let token = app.id_token(&User::ada());
        let resource = format!("{}/v1", app.base);
        let good = [("grant_type", JWT_BEARER), ("assertion", token.as_str())];
        for (error, fields) in [
            ("invalid_request", vec![]),
            ("invalid_request", vec![("assertion", token.as_str())]),
            ("invalid_request", vec![("grant_type", JWT_BEARER)]),
            ("invalid_request", vec![good[0], good[1], good[1]]),
            ("invalid_request", vec![good[0], good[0], good[1]]),
            ("invalid_request", vec![good[0], good[1], ("scope", "budget:read"), ("scope", "budget:read")]),
            ("unsupported_grant_type", vec![("grant_type", "password"), good[1]]),
            ("unsupported_grant_type", vec![("grant_type", ""), good[1]]),
            ("invalid_grant", vec![good[0], ("assertion", "a.b.c")]),
            ("invalid_grant", vec![good[0], ("assertion", "")]),
            ("invalid_scope", vec![good[0], good[1], ("scope", "everything")]),
            ("invalid_target", vec![good[0], good[1], ("resource", "https://elsewhere.example/v1")]),
        ] {
            let answer = asks(&app, &fields).await;
            assert_eq!(answer.status(), 400, "{fields:?}: {}", answer.text());
            oauth_refusal(&answer, error);
        }
        assert_eq!(rows(&app).await, (0, 0, 0), "what was refused burnt nothing");

        let asked = [good[0], good[1], ("scope", "budget:read everything"), ("resource", &resource), ("unknown", "x")];
        let answer = asks(&app, &asked).await.expect_status(200);
        assert_eq!((answer.header("cache-control"), answer.header("content-type")), ("no-store", "application/json"));
        let body = answer.json();
        assert_eq!((&body["token_type"], &body["expires_in"], &body["scope"]), (&json!("Bearer"), &json!(600), &json!("budget:read")));
        assert!(body["account_id"].as_str().is_some_and(|id| id.starts_with("acct_")), "{body}");
        let client = app.stranger().with_token(body["access_token"].as_str().unwrap());
        client.get("/v1/budget").await.expect_status(200);
        client.get("/v1/resources").await.problem(403, "insufficient_scope");
        app.stop().await;
    }

    async fn the_token_endpoint_takes_forms_only(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let token = app.id_token(&User::ada());
        let as_json = json!({"grant_type": JWT_BEARER, "assertion": token});
        oauth_refusal(&anyone.post("/oauth/token", &as_json).await, "invalid_request");
        let huge = format!("grant_type={JWT_BEARER}&assertion={}", "a".repeat(70_000));
        oauth_refusal(&anyone.post_bytes("/oauth/token", "application/x-www-form-urlencoded", huge).await, "invalid_request");
        let in_query = format!("/oauth/token?grant_type={JWT_BEARER}&assertion={token}");
        oauth_refusal(&anyone.post_form(&in_query, &[]).await, "invalid_request");
        assert_eq!(anyone.get("/oauth/token").await.status(), 405);
        app.stop().await;
    }

    async fn keys_that_cannot_be_fetched_are_not_the_callers_fault(db: TestDb) {
        let app = TestApp::start(&db).await;
        app.simulator.order(FaultOrder { jwks: Some(JwksState::Down), ..FaultOrder::default() }).unwrap();
        let token = app.id_token(&User::ada());
        let answer = opens(&app, &token).await;
        assert!(answer.has_header("retry-after"));
        assert_eq!(answer.problem(503, "temporarily_unavailable")["retry"], true);
        let form = asks(&app, &[("grant_type", JWT_BEARER), ("assertion", &token)]).await.expect_status(503);
        assert!(form.has_header("retry-after"));
        app.simulator.order(FaultOrder { jwks: Some(JwksState::Working), ..FaultOrder::default() }).unwrap();
        app.pass(TimeDelta::minutes(2));
        opens(&app, &token).await.expect_status(201);
        // A rotated key is found without being told.
        app.simulator.rotate_keys().unwrap();
        app.pass(TimeDelta::minutes(2));
        opens(&app, &app.id_token(&User::ada())).await.expect_status(200);
        app.stop().await;
    }
}

async fn opens(app: &TestApp, id_token: &str) -> Answer {
    app.stranger().post("/v1/accounts", &json!({"id_token": id_token})).await
}

async fn asks(app: &TestApp, fields: &[(&str, &str)]) -> Answer {
    app.stranger().post_form("/oauth/token", fields).await
}

/// RFC 6749 §5.2.
#[track_caller]
fn oauth_refusal(answer: &Answer, error: &str) {
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert_eq!((answer.header("cache-control"), answer.header("content-type")), ("no-store", "application/json"));
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    assert!(body["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    assert!(body.get("code").is_none(), "not a problem document: {body}");
}

/// How many accounts, links and used assertions there are.
async fn rows(app: &TestApp) -> (i64, i64, i64) {
    let read = app.app().db.read(|conn| {
        Ok::<_, DbError>((
            accounts::table.count().get_result(conn)?,
            identity_links::table.count().get_result(conn)?,
            assertion_uses::table.count().get_result(conn)?,
        ))
    });
    read.await.unwrap()
}
