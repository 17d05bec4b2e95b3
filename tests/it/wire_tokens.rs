//! The token endpoint on the provisioning wire: codes work once and for whom they were made, refresh tokens replace each
//! other, and a copy that comes back ends all of them.

use chrono::TimeDelta;
use futures_util::future::join_all;
use portreeve::app::HOUSE;
use portreeve::fetch::Outgoing;
use portreeve::orchestrator::{ExistingAccount, WireSettings};
use portreeve::secret::SecretHash;
use portreeve::simulator::User;
use portreeve::{account, orchestrator};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::client::Answer;
use crate::harness::wire::WireAgent;
use crate::wire_accounts::{UNLIMITED, another, code_of, pkce};

const GRANT: (&str, &str) = ("grant_type", "authorization_code");
const REFRESH: (&str, &str) = ("grant_type", "refresh_token");

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    assert!(body["error_description"].is_string());
    assert_eq!(answer.header("cache-control"), "no-store");
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

async fn code(agent: &WireAgent<'_>, user: &User) -> String {
    code_of(&agent.asks_for_account(user).await.expect_status(200).json())
}

async fn challenged(agent: &WireAgent<'_>) -> String {
    let mut request = agent.account_request(&User::ada());
    request["code_challenge"] = json!(pkce().1);
    request["code_challenge_method"] = json!("S256");
    code_of(&agent.post("/provisioning/account_requests", &request).await.expect_status(200).json())
}

/// Whether an access token works on the wire.
async fn works(agent: &WireAgent<'_>, token: &str) -> u16 {
    agent.with_bearer(token).post("/provisioning/deep_links", &json!({"purpose": "dashboard"})).await.status()
}

/// A second orchestrator on the wire.
async fn rival(app: &TestApp) -> WireAgent<'_> {
    let second = another(app, "Rival", ExistingAccount::UserConsent, &[]).await;
    WireAgent::register_as(app, &second.id, |_| ()).await
}

fn with_client(wire: &mut WireSettings) {
    wire.client_id = Some("stripe-client".to_owned());
    wire.client_secret_hash = Some(SecretHash::of("s3cret"));
}

on_both! {
    async fn a_code_is_exchanged_once_for_tokens(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let code = code(&agent, &User::ada()).await;
        let answer = agent.token(&[GRANT, ("code", &code)]).await.expect_status(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let tokens = answer.json();
        assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("bearer"), &json!(3600)));
        assert_eq!(tokens["account"]["payment_credentials"], "orchestrator");
        assert!(text(&tokens["account"], "id").starts_with("acct_") && text(&tokens, "refresh_token").starts_with("rt_"));
        assert_eq!(works(&agent, text(&tokens, "access_token")).await, 200);
        refused(&agent.token(&[GRANT, ("code", &code)]).await, 400, "invalid_grant");
        assert_eq!(works(&agent, text(&tokens, "access_token")).await, 200, "what was given stays");
        app.stop().await;
    }

    async fn of_many_that_redeem_a_code_one_wins(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let agent = WireAgent::register(&app).await;
        let code = code(&agent, &User::ada()).await;
        let fields = [GRANT, ("code", code.as_str())];
        let answers = join_all((0..64).map(|_| agent.token(&fields))).await;
        let with = |status| answers.iter().filter(|answer| answer.status() == status).count();
        assert_eq!((with(200), with(400)), (1, 63));
        app.stop().await;
    }

    async fn a_code_lives_for_five_minutes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (early, late) = (code(&agent, &User::ada()).await, code(&agent, &User::ada()).await);
        app.pass(TimeDelta::seconds(299));
        agent.token(&[GRANT, ("code", &early)]).await.expect_status(200);
        app.pass(TimeDelta::seconds(1));
        refused(&agent.token(&[GRANT, ("code", &late)]).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_code_with_a_challenge_takes_its_verifier_and_no_signature(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let code = challenged(&agent).await;
        let (verifier, _) = pkce();
        let wrong = "a".repeat(43);
        refused(&agent.token(&[GRANT, ("code", &code)]).await, 401, "invalid_request");
        for bad in [wrong.as_str(), "short", &"a".repeat(129), "ä"] {
            let answer = agent.client.post_form("/oauth/token", &[GRANT, ("code", &code), ("code_verifier", bad)]).await;
            refused(&answer, 400, "invalid_grant");
        }
        // None of that has used it up.
        let fields = [GRANT, ("code", code.as_str()), ("code_verifier", verifier)];
        agent.client.post_form("/oauth/token", &fields).await.expect_status(200);
        refused(&agent.client.post_form("/oauth/token", &fields).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_code_without_a_challenge_takes_the_signature_of_its_orchestrator(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, rival) = (WireAgent::register(&app).await, rival(&app).await);
        let code = code(&agent, &User::ada()).await;
        let fields = [GRANT, ("code", code.as_str())];
        refused(&agent.client.post_form("/oauth/token", &fields).await, 401, "invalid_request");
        let verifier = [fields[0], fields[1], ("code_verifier", pkce().0)];
        refused(&agent.client.post_form("/oauth/token", &verifier).await, 401, "invalid_request");
        let body = format!("grant_type=authorization_code&code={code}");
        let forged = Outgoing::post(agent.client.url("/oauth/token"), "application/x-www-form-urlencoded", body.into())
            .header("stripe-signature", "t=1,v1=00");
        refused(&agent.client.send(forged).await, 401, "invalid_request");
        refused(&rival.token(&fields).await, 400, "invalid_grant");
        agent.token(&fields).await.expect_status(200);
        app.stop().await;
    }

    async fn each_mistake_has_its_code(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        refused(&agent.token(&[("grant_type", "password")]).await, 400, "unsupported_grant_type");
        refused(&agent.token(&[]).await, 400, "invalid_request");
        for missing in [vec![GRANT], vec![REFRESH], vec![GRANT, ("code", "")], vec![REFRESH, ("refresh_token", "")]] {
            refused(&agent.token(&missing).await, 400, "invalid_request");
        }
        refused(&agent.token(&[GRANT, ("code", "ac_nobody")]).await, 400, "invalid_grant");
        refused(&agent.token(&[REFRESH, ("refresh_token", "rt_nobody")]).await, 400, "invalid_grant");
        refused(&agent.token(&[GRANT, ("code", "a"), ("code", "b")]).await, 400, "invalid_request");
        let json = agent.client.post("/oauth/token", &json!({"grant_type": "refresh_token"})).await;
        refused(&json, 400, "invalid_request");
        // Parameters that nobody knows are passed over.
        let code = code(&agent, &User::ada()).await;
        agent.token(&[GRANT, ("code", &code), ("redirect_uri", "x"), ("new", "y")]).await.expect_status(200);
        app.stop().await;
    }

    async fn a_client_that_says_who_it_is_must_be_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register_with(&app, with_client).await;
        let rival = rival(&app).await;
        let code = code(&agent, &User::ada()).await;
        let (id, secret) = (("client_id", "stripe-client"), ("client_secret", "s3cret"));
        let fields = [GRANT, ("code", code.as_str())];
        for wrong in [[id, ("client_secret", "wrong")], [("client_id", "nobody"), secret]] {
            refused(&agent.token(&[fields[0], fields[1], wrong[0], wrong[1]]).await, 401, "invalid_client");
        }
        refused(&agent.token(&[fields[0], fields[1], secret]).await, 400, "invalid_request");
        refused(&agent.token(&[fields[0], fields[1], ("client_id", "nobody")]).await, 400, "invalid_grant");
        let body = format!("grant_type=authorization_code&code={code}");
        let basic = |value: &str| {
            let url = agent.client.url("/oauth/token");
            let outgoing = Outgoing::post(url, "application/x-www-form-urlencoded", body.clone().into());
            agent.client.send(agent.signed(outgoing, "POST", "/oauth/token", body.as_bytes()).header("authorization", value))
        };
        for bad in ["Basic c3RyaXBlLWNsaWVudDp3cm9uZw==", "Basic !", "Bearer x"] {
            let answer = basic(bad).await;
            refused(&answer, 401, "invalid_client");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
        let tokens = basic("Basic c3RyaXBlLWNsaWVudDpzM2NyZXQ=").await.expect_status(200).json();
        // A token of one client is none of another's, and stays as it was.
        let refresh = [REFRESH, ("refresh_token", text(&tokens, "refresh_token"))];
        refused(&rival.token(&[refresh[0], refresh[1], ("client_id", "other")]).await, 400, "invalid_grant");
        agent.token(&[refresh[0], refresh[1], id, secret]).await.expect_status(200);
        app.stop().await;
    }

    async fn a_refresh_replaces_both_tokens_and_ends_the_old_ones(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (_, old) = agent.opens_account(&User::ada()).await;
        // Possession is enough.
        let fields = [REFRESH, ("refresh_token", text(&old, "refresh_token"))];
        let new = agent.client.post_form("/oauth/token", &fields).await.expect_status(200).json();
        assert_eq!((&new["token_type"], &new["expires_in"], new.get("account")), (&json!("bearer"), &json!(3600), None));
        assert_ne!(new["refresh_token"], old["refresh_token"]);
        assert_eq!(works(&agent, text(&new, "access_token")).await, 200);
        assert_eq!(works(&agent, text(&old, "access_token")).await, 401, "at once");
        app.pass(TimeDelta::seconds(3601));
        assert_eq!(works(&agent, text(&new, "access_token")).await, 401);
        app.pass(TimeDelta::days(29));
        let fields = [REFRESH, ("refresh_token", text(&new, "refresh_token"))];
        let newer = agent.client.post_form("/oauth/token", &fields).await.expect_status(200).json();
        app.pass(TimeDelta::days(30));
        let fields = [REFRESH, ("refresh_token", text(&newer, "refresh_token"))];
        refused(&agent.client.post_form("/oauth/token", &fields).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_refresh_token_that_comes_back_ends_its_whole_family(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (_, stolen) = agent.opens_account(&User::ada()).await;
        let (_, bystander) = agent.opens_account(&User::ada()).await;
        let refresh = |tokens: &Value| {
            let token = text(tokens, "refresh_token").to_owned();
            let client = agent.client.clone();
            async move { client.post_form("/oauth/token", &[REFRESH, ("refresh_token", &token)]).await }
        };
        let second = refresh(&stolen).await.expect_status(200).json();
        let third = refresh(&second).await.expect_status(200).json();
        refused(&refresh(&stolen).await, 400, "invalid_grant");
        refused(&refresh(&third).await, 400, "invalid_grant");
        assert_eq!(works(&agent, text(&third, "access_token")).await, 401);
        assert_eq!(works(&agent, text(&bystander, "access_token")).await, 200, "another family");
        refresh(&bystander).await.expect_status(200);
        app.stop().await;
    }

    async fn of_many_that_refresh_at_once_at_most_one_gets_tokens(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let fields = [REFRESH, ("refresh_token", text(&tokens, "refresh_token"))];
        let answers = join_all((0..64).map(|_| agent.token(&fields))).await;
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status() == 200).collect();
        let [winner] = won.as_slice() else { panic!("{} winners", won.len()) };
        // One of two holders is a thief: nobody knows which.
        assert_eq!(works(&agent, text(&winner.json(), "access_token")).await, 401);
        app.stop().await;
    }

    async fn nothing_is_given_for_an_account_that_may_not_be_used(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let late = code(&agent, &User::ada()).await;
        let (id, now) = (text(&tokens["account"], "id").parse().unwrap(), app.now());
        app.app().db.write(HOUSE, move |conn| account::freeze(conn, &id, "operator", "test", now)).await.unwrap();
        assert_eq!(works(&agent, text(&tokens, "access_token")).await, 403);
        refused(&agent.token(&[GRANT, ("code", &late)]).await, 400, "invalid_grant");
        let fields = [REFRESH, ("refresh_token", text(&tokens, "refresh_token"))];
        refused(&agent.token(&fields).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_suspended_orchestrator_gets_and_keeps_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let (id, now) = (agent.orchestrator.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await.unwrap();
        assert_eq!(works(&agent, text(&tokens, "access_token")).await, 403);
        let fields = [REFRESH, ("refresh_token", text(&tokens, "refresh_token"))];
        refused(&agent.client.post_form("/oauth/token", &fields).await, 400, "invalid_grant");
        let (id, now) = (agent.orchestrator.clone(), app.now());
        app.app().db.write(HOUSE, move |conn| orchestrator::resume(conn, &id, now)).await.unwrap();
        agent.client.post_form("/oauth/token", &fields).await.expect_status(200);
        app.stop().await;
    }

    async fn a_token_of_one_api_is_none_of_the_other(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let wire = app.stranger().with_token(text(&tokens, "access_token"));
        wire.get("/v1/budget").await.problem(401, "invalid_token");
        let v1 = app.agent_of(&user("bob")).await;
        let answer = agent.with_bearer(&v1.token).post("/provisioning/deep_links", &json!({"purpose": "dashboard"})).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (401, &json!("unauthorized")));
        // Neither are codes and refresh tokens access tokens.
        let late = code(&agent, &User::ada()).await;
        for token in [text(&tokens, "refresh_token"), &late] {
            assert_eq!(works(&agent, token).await, 401);
        }
        app.stop().await;
    }

    async fn a_stolen_access_token_is_useless_to_another_orchestrator(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, rival) = (WireAgent::register(&app).await, rival(&app).await);
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let stolen = text(&tokens, "access_token");
        let answer = rival.with_bearer(stolen).post("/provisioning/deep_links", &json!({"purpose": "dashboard"})).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (401, &json!("invalid_signature")));
        let unsigned = Outgoing::post_json(app.stranger().url("/provisioning/deep_links"), &json!({"purpose": "dashboard"}))
            .bearer(stolen).header("api-version", "0.1d");
        let answer = app.stranger().send(unsigned).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (401, &json!("invalid_signature")));
        app.stop().await;
    }

    async fn scopes_asked_for_are_scopes_granted(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let mut request = agent.account_request(&user("bob"));
        request["scopes"] = json!(["resources:read", "project:read"]);
        let code = code_of(&agent.post("/provisioning/account_requests", &request).await.expect_status(200).json());
        let tokens = agent.token(&[GRANT, ("code", &code)]).await.expect_status(200).json();
        let answer = agent.with_bearer(text(&tokens, "access_token"))
            .post("/provisioning/deep_links", &json!({"purpose": "dashboard"})).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (403, &json!("deep_links_not_enabled")));
        // A refresh gives no more than there was.
        let fields = [REFRESH, ("refresh_token", text(&tokens, "refresh_token")), ("scope", "dashboard:link")];
        let new = agent.token(&fields).await.expect_status(200).json();
        assert_eq!(works(&agent, text(&new, "access_token")).await, 403);
        app.stop().await;
    }

    async fn exchanges_for_one_account_are_counted_and_a_refused_refresh_keeps_its_token(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.token_exchanges_per_hour", "2")]).await;
        let agent = WireAgent::register(&app).await;
        let (_, tokens) = agent.opens_account(&User::ada()).await;
        let fields = [REFRESH, ("refresh_token", text(&tokens, "refresh_token"))];
        let new = agent.token(&fields).await.expect_status(200).json();
        let fields = [REFRESH, ("refresh_token", text(&new, "refresh_token"))];
        let limited = agent.token(&fields).await;
        assert_eq!((limited.status(), limited.has_header("retry-after")), (429, true), "{}", limited.text());
        app.pass(TimeDelta::hours(1));
        agent.token(&fields).await.expect_status(200);
        app.stop().await;
    }
}
