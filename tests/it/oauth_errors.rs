//! What the token endpoint says to each mistake (RFC 6749 §5.2 and its extensions), row by row; and what clients that
//! exist do, which is none.

use chrono::TimeDelta;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::signing::{Algorithm, KeyPurpose, SigningKey};
use portreeve::simulator::IdTokenSpec;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, REDIRECT, VERIFIER, form, refused, text};
use crate::proofs::Holder;

const FORM: &str = "application/x-www-form-urlencoded";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn sends(app: &TestApp, body: impl Into<Vec<u8>>) -> Answer {
    app.stranger().post_bytes("/oauth/token", FORM, body).await
}

/// 400, and nothing that asks for another way to log in.
#[track_caller]
fn bad(answer: &Answer, code: &str, why: &str) {
    assert_eq!((answer.status(), answer.json()["error"].as_str()), (400, Some(code)), "{why}: {}", answer.text());
    assert!(!answer.has_header("www-authenticate"), "{why}");
    assert_eq!(
        (answer.header("cache-control"), answer.header("content-type")),
        ("no-store", "application/json"),
        "{why}"
    );
    assert!(answer.json()["error_description"].as_str().is_some_and(str::is_ascii), "{why}");
}

on_both! {
    async fn a_request_that_cannot_be_read_is_invalid(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::public(&app).await;
        let id = &client.id;
        for (why, body) in [
            ("nothing", String::new()),
            ("no grant", format!("client_id={id}")),
            ("a grant twice", format!("client_id={id}&grant_type=refresh_token&grant_type=refresh_token")),
            ("a client twice", format!("client_id={id}&client_id={id}&grant_type=client_credentials")),
            ("no code", format!("client_id={id}&grant_type=authorization_code&code_verifier={VERIFIER}")),
            ("an empty code", format!("client_id={id}&grant_type=authorization_code&code=&code_verifier={VERIFIER}")),
            ("no refresh token", format!("client_id={id}&grant_type=refresh_token")),
            ("no assertion", format!("grant_type={}", JWT_BEARER.replace(':', "%3A"))),
            ("U+0000", format!("client_id={id}%00&grant_type=client_credentials")),
        ] {
            bad(&sends(&app, body).await, "invalid_request", why);
        }
        bad(&sends(&app, b"grant_type=\xff\xfe&client_id=x".to_vec()).await, "unsupported_grant_type", "bytes that are no text");
        bad(&app.stranger().post("/oauth/token", &json!({"grant_type": "client_credentials"})).await, "invalid_request", "JSON");
        app.stop().await;
    }

    async fn only_a_client_that_tried_basic_is_asked_for_basic(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::confidential(&app).await;
        let grant = ("grant_type", "client_credentials");
        let of = |secret: Option<&str>, id: &str| OAuthClient {
            app: &app, http: app.stranger(), id: id.to_owned(), secret: secret.map(str::to_owned),
        };
        for wrong in [of(Some("cs_wrong"), &client.id), of(Some("cs_wrong"), "client_nobody"), of(Some(""), &client.id)] {
            let answer = wrong.token(&[grant]).await;
            refused(&answer, 401, "invalid_client");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
        for fields in [
            vec![grant, ("client_id", client.id.as_str()), ("client_secret", "cs_wrong")],
            vec![grant, ("client_id", "client_nobody"), ("client_secret", "cs_wrong")],
            vec![grant, ("client_id", "client_nobody")],
            vec![grant, ("client_assertion", "a.b.c"), ("client_assertion_type", ASSERTION)],
            vec![grant],
        ] {
            let answer = app.stranger().post_form("/oauth/token", &fields).await;
            refused(&answer, 401, "invalid_client");
            assert!(!answer.has_header("www-authenticate"), "{fields:?}");
        }
        // Known and unknown clients, and known and unknown secrets, are told apart by nothing.
        let answers = [of(Some("cs_wrong"), &client.id).token(&[grant]).await, of(Some("cs_wrong"), "client_nobody").token(&[grant]).await];
        assert_eq!(answers[0].bytes(), answers[1].bytes());
        app.stop().await;
    }

    async fn each_mistake_with_a_code_or_a_token_has_its_row(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (client, other) = (OAuthClient::public(&app).await, OAuthClient::public(&app).await);
        let code = client.code(&ada).await;
        let good = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER), ("redirect_uri", REDIRECT)];
        let wrong = "b".repeat(43);
        for (name, value, row) in [
            ("code", "ac_nothing", "invalid_grant"),
            ("code_verifier", wrong.as_str(), "invalid_grant"),
            ("code_verifier", "short", "invalid_grant"),
            ("code_verifier", "", "invalid_grant"),
            ("redirect_uri", "https://agent.example/other", "invalid_grant"),
            ("resource", "https://elsewhere.example/v1", "invalid_target"),
            ("resource", "/v1", "invalid_target"),
            ("scope", "admin", "invalid_scope"),
            ("grant_type", "password", "unsupported_grant_type"),
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "unsupported_grant_type"),
        ] {
            let fields: Vec<_> = good.iter().copied().filter(|(known, _)| *known != name).chain([(name, value)]).collect();
            bad(&client.token(&fields).await, row, &format!("{name}={value}"));
        }
        let fragment = format!("{}/v1#x", app.base);
        bad(&client.token(&[good[0], good[1], good[2], ("resource", &fragment)]).await, "invalid_target", "a fragment");
        bad(&other.token(&good).await, "invalid_grant", "another client's");
        // None of these used it up; once it is, it is worth nothing.
        let tokens = client.token(&good).await.expect_status(200).json();
        bad(&client.token(&good).await, "invalid_grant", "again");
        bad(&client.refreshes(text(&tokens, "refresh_token")).await, "invalid_grant", "what came of it");
        let late = client.code(&ada).await;
        app.pass(TimeDelta::seconds(60));
        bad(&client.redeems(&late).await, "invalid_grant", "a minute later");
        bad(&client.refreshes("rt_nothing").await, "invalid_grant", "no refresh token of ours");
        app.stop().await;
    }

    async fn limits_that_are_stated_where_no_human_sees_them_are_refused_before_anything_is_used_up(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.device_flow", "true")]).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let details = r#"[{"type":"spend","amount":"1.00","currency":"USD"}]"#;
        let assertion = app.id_token(&user("carol"));
        let code = client.code(&ada).await;
        let redeems = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER), ("redirect_uri", REDIRECT)];
        let asserts = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
        let with = |fields: &[(&'static str, &str)], details: &str| -> Vec<(&'static str, String)> {
            let more = [("authorization_details", details)];
            fields.iter().copied().chain(more).map(|(name, value)| (name, value.to_owned())).collect()
        };
        let asks = async |fields: &[(&'static str, &str)], details: &str| {
            let fields = with(fields, details);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            client.token(&fields).await
        };
        for wrong in [details, "{}", "[[]]", "[null]", "null", "0", "x", "[]]"] {
            bad(&asks(&redeems, wrong).await, "invalid_authorization_details", wrong);
        }
        bad(&asks(&asserts, details).await, "invalid_authorization_details", "an assertion");
        let answer = asks(&redeems, details).await.json();
        for place in ["/oauth/par", "/oauth/authorize"] {
            assert!(text(&answer, "error_description").contains(place), "{answer}");
        }
        // Nothing was used up; to state none is to state none.
        let tokens = asks(&redeems, "[]").await.expect_status(200).json();
        let refreshes = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token"))];
        for grant in ["client_credentials", "urn:ietf:params:oauth:grant-type:device_code", "password"] {
            bad(&asks(&[("grant_type", grant)], details).await, "invalid_authorization_details", grant);
        }
        bad(&asks(&refreshes, details).await, "invalid_authorization_details", "a refresh token");
        asks(&refreshes, " [ ] ").await.expect_status(200);
        app.stranger().post_form("/oauth/token", &asserts).await.expect_status(200);
        app.stop().await;
    }

    async fn a_client_uses_the_grants_that_it_is_registered_for_and_no_others(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::register(&app, json!({"grant_types": ["authorization_code"]})).await;
        let tokens = client.tokens(&ada).await;
        assert!(tokens.get("refresh_token").is_none(), "{tokens}");
        let confidential = OAuthClient::confidential(&app).await;
        bad(&confidential.token(&[("grant_type", "client_credentials")]).await, "unauthorized_client", "for itself");
        let jag = IdTokenSpec::of(&user("u")).header("typ", json!("oauth-id-jag+jwt")).audience(&app.base)
            .claim("client_id", json!(confidential.id)).claim("jti", json!(fresh_key()))
            .expires_at(app.now().plus(TimeDelta::seconds(300)));
        let assertion = app.simulator.mint_id_token(&jag).unwrap();
        bad(&confidential.token(&[("grant_type", JWT_BEARER), ("assertion", &assertion)]).await, "unauthorized_client", "by assertion");
        let machine = OAuthClient::register(&app, json!({"grant_types": ["refresh_token"], "redirect_uris": []})).await;
        assert_eq!(machine.authorize(&[]).await.status(), 400);
        app.stop().await;
    }

    async fn a_pushed_request_hears_of_limits_that_nobody_knows(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = OAuthClient::public(&app).await;
        for details in [
            "x", "{}", "[{}]", "[{\"type\":\"root\"}]", "[{\"type\":\"spend\",\"currency\":\"USD\"}]",
            "[{\"type\":\"spend\",\"currency\":\"USD\",\"max_per_month\":\"5.00\",\"tip\":\"1.00\"}]",
            "[{\"type\":\"spend\",\"currency\":\"USD\",\"max_per_month\":\"-5.00\"}]",
            "[{\"type\":\"spend\",\"currency\":\"USD\",\"max_per_month\":\"5.00\",\"max_per_month\":\"9.00\"}]",
            "[{\"type\":\"provision\",\"actions\":[\"destroy\"]}]",
        ] {
            let fields = client.asks(&[("authorization_details", details)]);
            let answer = app.stranger().post_bytes("/oauth/par", FORM, fields).await;
            bad(&answer, "invalid_authorization_details", details);
        }
        app.stop().await;
    }

    async fn a_proof_that_does_not_hold_has_its_own_words(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let code = client.code(&ada).await;
        let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER)];
        let holder = Holder::es256();
        let with = async |proof: String| client.http.send(client.outgoing("/oauth/token", &fields).header("dpop", proof)).await;
        bad(&with("a.b.c".to_owned()).await, "invalid_dpop_proof", "no proof");
        bad(&with(holder.proof_for(&app, "GET", "/oauth/token", None)).await, "invalid_dpop_proof", "of another method");
        bad(&with(holder.proof_for(&app, "POST", "/oauth/par", None)).await, "invalid_dpop_proof", "for another address");
        let early = holder.proof_for(&app, "POST", "/oauth/token", None);
        app.pass(TimeDelta::minutes(-6));
        let answer = with(early.clone()).await;
        assert!(["invalid_dpop_proof", "use_dpop_nonce"].contains(&answer.json()["error"].as_str().unwrap()), "{}", answer.text());
        app.pass(TimeDelta::minutes(6));
        with(early.clone()).await.expect_status(200);
        // A proof is good once, also for somebody who has another code.
        let second = client.code(&ada).await;
        let again = [("grant_type", "authorization_code"), ("code", second.as_str()), ("code_verifier", VERIFIER)];
        let answer = client.http.send(client.outgoing("/oauth/token", &again).header("dpop", early)).await;
        bad(&answer, "invalid_dpop_proof", "used before");
        app.stop().await;
    }

    async fn a_statement_of_a_client_counts_once_for_us_and_by_its_own_key(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let key = SigningKey::generate(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap().0;
        let said = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.public()]},
            "grant_types": ["client_credentials"], "redirect_uris": []});
        let client = OAuthClient::register_for(&app, said, Some(&ada.account), false).await;
        let good = || json!({"iss": client.id, "sub": client.id, "aud": app.base, "jti": fresh_key(),
            "iat": app.now().seconds(), "exp": app.now().seconds() + 60});
        let sent = async |statement: String| {
            let fields = [("grant_type", "client_credentials"), ("client_assertion", statement.as_str()), ("client_assertion_type", ASSERTION)];
            app.stranger().post_form("/oauth/token", &fields).await
        };
        let now = app.now().seconds();
        for (member, value) in [
            ("aud", json!([app.base, "https://elsewhere.example"])), ("aud", json!([])), ("aud", json!(format!("{}/", app.base))),
            ("iss", json!("another")), ("sub", json!("another")), ("exp", json!(now - 61)), ("exp", json!(now + 3600)),
            ("iat", json!(now + 120)), ("nbf", json!(now + 120)), ("jti", json!("")), ("jti", json!("j".repeat(256))), ("jti", Value::Null),
        ] {
            let mut claims = good();
            claims[member] = value;
            let answer = sent(key.sign_compact("JWT", &claims).unwrap()).await;
            assert_eq!((answer.status(), answer.json()["error"].as_str()), (401, Some("invalid_client")), "{member}: {claims}");
        }
        let once = key.sign_compact("JWT", &good()).unwrap();
        sent(once.clone()).await.expect_status(200);
        refused(&sent(once).await, 401, "invalid_client");
        app.stop().await;
    }

    async fn who_needs_a_human_is_told_where_and_who_comes_too_often_when(db: TestDb) {
        let app = TestApp::start_with(&db, &[("limits.address_tokens_per_hour", "2")]).await;
        app.agent_of(&user("owner")).await;
        let mut same = user("owner");
        same.subject = "somebody_else".to_owned();
        let fields = [("grant_type", JWT_BEARER), ("assertion", &app.id_token(&same))];
        let answer = app.stranger().post_form("/oauth/token", &fields).await;
        bad(&answer, "invalid_grant", "needs a human");
        assert_eq!(answer.json()["error_uri"], json!(format!("{}/consent/needed", app.base)));
        app.stranger().post_form("/oauth/token", &[("grant_type", "client_credentials")]).await;
        let limited = app.stranger().post_form("/oauth/token", &[("grant_type", "client_credentials")]).await;
        refused(&limited, 429, "rate_limited");
        assert!(limited.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
        // Real clients read the metadata again before each token: that is another matter.
        for _ in 0..5 {
            for path in ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/v1", "/oauth/jwks"] {
                app.stranger().get(path).await.expect_status(200);
            }
        }
        app.stop().await;
    }

    async fn whoever_comes_while_the_database_is_busy_is_asked_to_come_again(db: TestDb) {
        let app = TestApp::start_with(&db, &[("database.lanes", "1"), ("database.queue", "1")]).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let code = client.code(&ada).await;
        let (entered, inside) = std::sync::mpsc::channel();
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let (busy, waiting) = (app.app().db.clone(), app.app().db.clone());
        let holds = tokio::spawn(async move {
            busy.write(HOUSE, move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                Ok::<_, DbError>(())
            }).await
        });
        tokio::task::spawn_blocking(move || inside.recv().unwrap()).await.unwrap();
        // One more waits in the only place, and then there is none.
        let waits = tokio::spawn(async move { waiting.write(HOUSE, |_| Ok::<_, DbError>(())).await });
        tokio::task::yield_now().await;
        let answer = client.redeems(&code).await;
        go_on.send(()).unwrap();
        holds.await.unwrap().unwrap();
        waits.await.unwrap().unwrap();
        refused(&answer, 503, "temporarily_unavailable");
        assert!(answer.has_header("retry-after"));
        // It was not used up by that.
        client.redeems(&code).await.expect_status(200);
        app.stop().await;
    }

    async fn what_known_clients_do_is_taken(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::confidential(&app).await;
        let secret = client.secret.clone().unwrap();
        let api = format!("{}/v1", app.base);
        let code = client.code_for(&ada, &[("resource", &api)], &["budget:read"]).await;
        // The name in the form beside the header; `resource` again, as it stands in the metadata; a hint; what nobody knows.
        let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER),
            ("redirect_uri", REDIRECT), ("client_id", client.id.as_str()), ("resource", api.as_str()), ("x_unknown", "1")];
        let tokens = client.token(&fields).await.expect_status(200).json();
        // Without `resource` and `scope`; the secret in the form.
        let fields = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token")),
            ("client_id", client.id.as_str()), ("client_secret", secret.as_str()), ("scope", ""), ("resource", "")];
        let next = app.stranger().post_form("/oauth/token", &fields).await.expect_status(200).json();
        assert_eq!(next["scope"], "budget:read");
        let body = form(&[("token", text(&next, "refresh_token")), ("token_type_hint", "something"), ("client_id", &client.id), ("client_secret", &secret)]);
        app.stranger().post_bytes("/oauth/revoke", "application/x-www-form-urlencoded; charset=UTF-8", body).await.expect_status(200);
        app.stop().await;
    }
}
