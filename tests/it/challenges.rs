//! What a caller without a good token hears: RFC 6750 §3 and RFC 9728 §5.1, row by row.

use chrono::TimeDelta;
use portreeve::fetch::Outgoing;
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use portreeve::{account, app::HOUSE, authorization, orchestrator};
use serde_json::{Value, json};

use crate::discovery::claims;
use crate::harness::app::{Agent, TestApp};
use crate::harness::client::{Answer, Client};

/// One call for each operation that takes an access token, and the scope that it needs.
pub(crate) const OPERATIONS: [(&str, &str, &str); 8] = [
    ("POST", "/v1/resources", "resources:write"),
    ("GET", "/v1/resources", "resources:read"),
    ("GET", "/v1/resources/res_x", "resources:read"),
    ("DELETE", "/v1/resources/res_x", "resources:delete"),
    ("POST", "/v1/resources/res_x/rotate", "resources:write"),
    ("GET", "/v1/budget", "budget:read"),
    ("GET", "/v1/ledger", "budget:read"),
    ("POST", "/v1/deep-links", "dashboard:link"),
];

/// The call, complete but for who makes it.
pub(crate) fn call(client: &Client, method: &str, path: &str) -> Outgoing {
    let url = client.url(path);
    match method {
        "GET" => Outgoing::get(url),
        "DELETE" => Outgoing::delete(url),
        "POST" => {
            Outgoing::post_json(url, &json!({"service": "sandbox", "plan": "free"})).header("idempotency-key", "k")
        }
        other => panic!("{other}"),
    }
}

on_both! {
    async fn without_a_token_the_challenge_says_where_to_go_and_names_no_error(db: TestDb) {
        let app = TestApp::start(&db).await;
        let stranger = app.stranger();
        for (method, path, scope) in OPERATIONS {
            for request in [
                call(&stranger, method, path),
                call(&stranger, method, path).header("authorization", "Basic YTpi"),
            ] {
                let answer = stranger.send(request).await;
                let challenges = answer.headers("www-authenticate");
                let [bearer, dpop] = challenges.as_slice() else { panic!("{challenges:?}") };
                challenge_of("Bearer", &app, bearer, scope);
                challenge_of("DPoP", &app, dpop, scope);
                assert!(!bearer.contains("error") && !dpop.contains("error"), "{method} {path}: {challenges:?}");
                assert_eq!(answer.header("cache-control"), "no-store");
                let body = answer.problem(401, "unauthorized");
                let metadata = format!("{}/.well-known/oauth-protected-resource/v1", app.base);
                assert_eq!(body["next"]["resource_metadata"], json!(metadata), "{body}");
                assert_eq!(body["next"]["open_account"], json!(format!("{}/v1/accounts", app.base)));
                assert!(body["next"]["action"].as_str().is_some_and(|text| !text.is_empty()));
                assert_eq!(body["request_id"].as_str(), Some(answer.header("x-request-id")));
            }
        }
        app.stop().await;
    }

    async fn a_token_that_does_not_hold_is_an_invalid_token(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let keys = app.stranger().get("/oauth/jwks").await.json();
        let good = claims(&keys, &agent.token);
        let house = app.app().ring.key(KeyPurpose::AccessToken, Algorithm::Es256).unwrap();
        let with = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            claims
        };
        let strange = SigningKey::generate(KeyPurpose::AccessToken, Algorithm::Es256).unwrap().0;
        let of_another_purpose = app.app().ring.key(KeyPurpose::Metadata, Algorithm::Es256).unwrap();
        let (head, tail) = agent.token.rsplit_once('.').unwrap();
        let tampered = format!("{head}.{}{}", if tail.starts_with('A') { "B" } else { "A" }, &tail[1..]);
        // The control: the same claims signed the same way work.
        check(&app, &house.sign_compact("at+jwt", &good).unwrap()).await.expect_status(200);
        for (why, token) in [
            ("garbage", "garbage".to_owned()),
            ("three empty parts", "..".to_owned()),
            ("tampered", tampered),
            ("another key", strange.sign_compact("at+jwt", &good).unwrap()),
            ("a key of ours for something else", of_another_purpose.sign_compact("at+jwt", &good).unwrap()),
            ("another audience", house.sign_compact("at+jwt", &with("aud", json!("https://elsewhere.example/v1"))).unwrap()),
            ("our issuer as audience", house.sign_compact("at+jwt", &with("aud", json!(app.base))).unwrap()),
            ("another issuer", house.sign_compact("at+jwt", &with("iss", json!("https://elsewhere.example"))).unwrap()),
            ("expired", house.sign_compact("at+jwt", &with("exp", json!(app.now().seconds()))).unwrap()),
            ("another type", house.sign_compact("JWT", &good).unwrap()),
            ("an ID token", app.id_token(&agent.user)),
            ("a payment token", agent.payment_token.clone()),
            ("the meter key", app.meter_key.clone()),
        ] {
            let answer = check(&app, &token).await;
            assert_eq!(answer.status(), 401, "{why}: {}", answer.text());
            refused(&app, &answer, "budget:read");
        }
        app.stop().await;
    }

    async fn an_access_token_ends_after_ten_minutes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        app.pass(TimeDelta::seconds(599));
        check(&app, &agent.token).await.expect_status(200);
        app.pass(TimeDelta::seconds(1));
        refused(&app, &check(&app, &agent.token).await, "budget:read");
        app.stop().await;
    }

    async fn one_token_is_sent_once_and_never_in_a_url(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let stranger = app.stranger();
        let token = format!("Bearer {}", agent.token);
        let get = |path: &str| Outgoing::get(stranger.url(path));
        let in_query = format!("/v1/budget?access_token={}", agent.token);
        for (why, request) in [
            ("two headers", get("/v1/budget").header("authorization", token.clone()).header("authorization", token.clone())),
            ("in the query", get(&in_query)),
            ("header and query", get(&in_query).header("authorization", token.clone())),
            ("two tokens", get("/v1/budget").header("authorization", format!("{token} {}", agent.token))),
            ("no token after the scheme", get("/v1/budget").header("authorization", "Bearer ")),
        ] {
            let answer = stranger.send(request).await;
            assert_eq!(answer.status(), 400, "{why}: {}", answer.text());
            let challenge = one_challenge(&app, &answer, "budget:read");
            assert!(challenge.contains("error=\"invalid_request\""), "{why}: {challenge}");
            answer.problem(400, "invalid_request");
        }
        // The scheme's name has no case (RFC 9110 §11.1).
        let shout = get("/v1/budget").header("authorization", format!("BEARER {}", agent.token));
        stranger.send(shout).await.expect_status(200);
        app.stop().await;
    }

    async fn a_missing_scope_is_named_with_all_that_the_operation_needs(db: TestDb) {
        let app = TestApp::start(&db).await;
        let everything = ["resources:read", "resources:write", "resources:delete", "budget:read", "dashboard:link"];
        for (method, path, scope) in OPERATIONS {
            let less: Vec<&str> = everything.into_iter().filter(|known| *known != scope).collect();
            let body = json!({"id_token": app.id_token(&portreeve::simulator::User::ada()), "scope": less.join(" ")});
            let opened = app.stranger().post("/v1/accounts", &body).await.json();
            let client = app.stranger().with_token(opened["access_token"].as_str().unwrap());
            let answer = client.send(call(&client, method, path)).await;
            let challenge = one_challenge(&app, &answer, scope);
            assert!(challenge.contains("error=\"insufficient_scope\""), "{method} {path}: {challenge}");
            answer.problem(403, "insufficient_scope");
        }
        app.stop().await;
    }

    async fn removing_may_ask_for_a_fresh_log_in(db: TestDb) {
        let app = TestApp::start_with(&db, &[("step_up.max_age_seconds", "120")]).await;
        let mut agent = app.agent().await;
        let bought = agent.buys("sandbox", "free").await.expect_status(201).json();
        let path = format!("/v1/resources/{}", bought["resource"]["id"].as_str().unwrap());
        // The orchestrator says that the log-in was a minute before the identity token.
        app.pass(TimeDelta::seconds(61));
        let answer = agent.client.delete(&path).await;
        let challenge = one_challenge(&app, &answer, "resources:delete");
        assert!(challenge.contains("error=\"insufficient_user_authentication\", max_age=\"120\""), "{challenge}");
        let body = answer.problem(401, "insufficient_user_authentication");
        assert_eq!(body["next"]["max_age"], json!(120), "{body}");
        // Nothing else asks for it, and nothing was removed.
        let resource = agent.client.get(&path).await.expect_status(200).json();
        assert_eq!(resource["state"], "ready", "{resource}");
        agent.buys("sandbox", "free").await.expect_status(201);
        agent.logs_in_again().await;
        agent.client.delete(&path).await.expect_status(200);
        app.stop().await;
    }

    async fn removing_may_ask_for_a_class_of_log_in(db: TestDb) {
        let app = TestApp::start_with(&db, &[("step_up.acr_values", "phr,phrh")]).await;
        let agent = app.agent().await;
        let answer = agent.client.delete("/v1/resources/res_x").await;
        let challenge = one_challenge(&app, &answer, "resources:delete");
        let wanted = "error=\"insufficient_user_authentication\", acr_values=\"phr phrh\"";
        assert!(challenge.contains(wanted) && !challenge.contains("max_age"), "{challenge}");
        answer.problem(401, "insufficient_user_authentication");
        app.stop().await;
    }

    async fn revoking_freezing_and_suspending_end_tokens_when_the_process_looks_again(db: TestDb) {
        let app = TestApp::start(&db).await;
        let now = app.now();
        let revoked = app.agent_of(&crate::harness::app::user("revoked")).await;
        let keys = app.stranger().get("/oauth/jwks").await.json();
        let grant = claims(&keys, &revoked.token)["jti"].as_str().unwrap().parse().unwrap();
        app.app().db.write(HOUSE, move |conn| authorization::revoke(conn, &grant, "operator", now)).await.unwrap();
        app.app().revocations.forget();
        refused(&app, &check(&app, &revoked.token).await, "budget:read");

        let frozen = app.agent_of(&crate::harness::app::user("frozen")).await;
        let id = frozen.account.parse().unwrap();
        app.app().db.write(HOUSE, move |conn| account::freeze(conn, &id, "operator", "test", now)).await.unwrap();
        app.app().revocations.forget();
        refused(&app, &check(&app, &frozen.token).await, "budget:read");
        let again = json!({"id_token": app.id_token(&frozen.user)});
        app.stranger().post("/v1/accounts", &again).await.problem(403, "account_unusable");

        let agent = app.agent().await;
        let id = app.orchestrator.id.clone();
        app.app().db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await.unwrap();
        app.app().revocations.forget();
        refused(&app, &check(&app, &agent.token).await, "budget:read");
        refuses_everything(&agent).await;
        let again = json!({"id_token": app.id_token(&agent.user)});
        app.stranger().post("/v1/accounts", &again).await.problem(401, "invalid_attestation");
        let id = app.orchestrator.id.clone();
        app.app().db.write(HOUSE, move |conn| orchestrator::resume(conn, &id, now)).await.unwrap();
        app.app().revocations.forget();
        check(&app, &agent.token).await.expect_status(200);
        app.stop().await;
    }
}

async fn check(app: &TestApp, token: &str) -> Answer {
    app.stranger().with_token(token).get("/v1/budget").await
}

async fn refuses_everything(agent: &Agent<'_>) {
    for (method, path, scope) in OPERATIONS {
        let answer = agent.client.send(call(&agent.client, method, path)).await;
        refused(agent.app, &answer, scope);
    }
}

/// 401 `invalid_token`, with all that belongs to it.
#[track_caller]
fn refused(app: &TestApp, answer: &Answer, scope: &str) {
    let challenge = one_challenge(app, answer, scope);
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    let body = answer.problem(401, "invalid_token");
    assert!(body["next"]["action"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
}

/// The only challenge: Bearer, with realm, metadata and the operation's scope; never to be stored.
#[track_caller]
pub(crate) fn one_challenge(app: &TestApp, answer: &Answer, scope: &str) -> String {
    let challenges = answer.headers("www-authenticate");
    let [challenge] = challenges.as_slice() else { panic!("{challenges:?}: {}", answer.text()) };
    challenge_of("Bearer", app, challenge, scope);
    assert_eq!(answer.header("cache-control"), "no-store");
    (*challenge).to_owned()
}

/// Says where to go and all that the operation needs.
#[track_caller]
pub(crate) fn challenge_of(scheme: &str, app: &TestApp, challenge: &str, scope: &str) {
    let base = &app.base;
    let own = match scheme {
        "DPoP" => "DPoP algs=\"ES256 EdDSA\"".to_owned(),
        _ => format!("{scheme} realm=\"{base}\""),
    };
    assert!(challenge.starts_with(&own), "{challenge}");
    for part in
        [format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource/v1\""), format!("scope=\"{scope}\"")]
    {
        assert!(challenge.contains(&part), "`{part}` is missing: {challenge}");
    }
}
