//! Programs without a browser (RFC 8628): off unless turned on, for looking only, one human, one answer, one set of tokens;
//! and what somebody tries who has talked a human into typing a code.

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::db::DbError;
use portreeve::db::schema::device_requests;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, REDIRECT, answered, refused, text, works};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ON: (&str, &str) = ("oauth.device_flow", "true");

/// A program that is registered for the flow.
async fn program(app: &TestApp) -> OAuthClient<'_> {
    OAuthClient::register(app, json!({"grant_types": [GRANT, "refresh_token"], "redirect_uris": []})).await
}

async fn begins(client: &OAuthClient<'_>, more: &[(&str, &str)]) -> Value {
    client.post("/oauth/device", more).await.expect_status(200).json()
}

async fn polls(client: &OAuthClient<'_>, begun: &Value) -> Answer {
    client.token(&[("grant_type", GRANT), ("device_code", text(begun, "device_code"))]).await
}

async fn types(browser: &Browser, to: &str, code: &str) -> Answer {
    browser.submits(to, &[("code", code)]).await
}

/// The page that asks, for whoever typed the code and went on.
async fn question(browser: &Browser, begun: &Value) -> String {
    let code = text(begun, "user_code");
    let html = types(browser, "/device", code).await.expect_status(200).text();
    assert!(html.contains(">Go on</button>") && html.contains(">Deny</button>"), "{html}");
    let page = types(browser, "/device/ask", code).await.expect_status(303).header("location").to_owned();
    assert!(page.starts_with("/consent/oreq_"), "{page}");
    page
}

/// The human allows everything that is asked.
async fn allows(app: &TestApp, browser: &Browser, begun: &Value) {
    let page = question(browser, begun).await;
    browser.get(&page).await.expect_status(200);
    let answer =
        browser.submits(&format!("{page}/allow"), &[("scope", "budget:read"), ("scope", "resources:read")]).await;
    let back = format!("{}/device/answered", app.base);
    let told = answered(&answer, &back);
    browser.get(&format!("/device/answered?code={}", text(&told, "code"))).await.expect_status(200);
}

on_both! {
    async fn the_flow_is_off_unless_the_operator_turns_it_on(db: TestDb) {
        let app = TestApp::start(&db).await;
        let client = program(&app).await;
        client.post("/oauth/device", &[]).await.expect_status(404);
        for path in ["/device", "/device/answered"] {
            Browser::new(&app).get(path).await.expect_status(404);
        }
        refused(&client.token(&[("grant_type", GRANT), ("device_code", "dc_x")]).await, 400, "unsupported_grant_type");
        let told = app.stranger().get("/.well-known/oauth-authorization-server").await.json();
        assert!(told.get("device_authorization_endpoint").is_none() && !told.to_string().contains("device_code"));
        app.stop().await;
    }

    async fn a_human_types_the_code_sees_who_asks_and_the_program_gets_what_they_allow_once(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let ada = app.agent().await;
        let client = program(&app).await;
        let told = app.stranger().get("/.well-known/oauth-authorization-server").await.json();
        assert_eq!(told["device_authorization_endpoint"], json!(format!("{}/oauth/device", app.base)));
        assert!(told["grant_types_supported"].as_array().unwrap().contains(&json!(GRANT)));
        let begun = begins(&client, &[]).await;
        assert_eq!((&begun["interval"], &begun["expires_in"]), (&json!(5), &json!(1200)));
        assert_eq!(begun["verification_uri"], json!(format!("{}/device", app.base)));
        assert!(begun.get("verification_uri_complete").is_none(), "a link would type the code for a human who never saw it");
        refused(&polls(&client, &begun).await, 400, "authorization_pending");
        app.pass(TimeDelta::minutes(3));
        let browser = Browser::of_owner(&ada).await;
        browser.get("/device").await.expect_status(200);
        let html = types(&browser, "/device", &text(&begun, "user_code").to_lowercase()).await.expect_status(200).text();
        for wanted in ["<b>Codex Seven</b>", "127.0.0.1", "12:00", "3 minutes ago", "see the budget"] {
            assert!(html.contains(wanted), "`{wanted}` is missing: {html}");
        }
        assert!(!html.contains("autofocus"), "neither answer is chosen for the human");
        allows(&app, &browser, &begun).await;
        let tokens = polls(&client, &begun).await.expect_status(200).json();
        assert_eq!(tokens["scope"], "resources:read budget:read");
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        let later = client.refreshes(text(&tokens, "refresh_token")).await.expect_status(200).json();
        // The code of this way in is no program's.
        types(&browser, "/device", text(&begun, "user_code")).await.expect_status(422);
        // Who has the device code a second time is not who had it first, or the other way round.
        refused(&polls(&client, &begun).await, 400, "invalid_grant");
        assert_eq!(works(&app, text(&later, "access_token")).await, 401);
        refused(&client.refreshes(text(&later, "refresh_token")).await, 400, "invalid_grant");
        app.stop().await;
    }

    async fn a_human_who_denies_before_or_at_the_question_ends_it(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let ada = app.agent().await;
        let client = program(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let early = begins(&client, &[]).await;
        let answer = types(&browser, "/device/deny", text(&early, "user_code")).await.expect_status(303);
        assert!(browser.get(answer.header("location")).await.expect_status(200).text().contains("You denied it."));
        refused(&polls(&client, &early).await, 400, "access_denied");
        types(&browser, "/device/ask", text(&early, "user_code")).await.expect_status(422);
        let late = begins(&client, &[]).await;
        let page = question(&browser, &late).await;
        refused(&polls(&client, &late).await, 400, "authorization_pending");
        browser.submits(&format!("{page}/deny"), &[]).await.expect_status(303);
        refused(&polls(&client, &late).await, 400, "access_denied");
        app.stop().await;
    }

    async fn a_device_is_given_nothing_but_looking_whatever_it_asks_for(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON, ("oauth.device_scopes", "budget:read")]).await;
        let ada = app.agent().await;
        let client = program(&app).await;
        for scope in ["resources:write", "dashboard:link", "resources:read", "admin"] {
            refused(&client.post("/oauth/device", &[("scope", scope)]).await, 400, "invalid_scope");
        }
        refused(&client.post("/oauth/device", &[("resource", "https://elsewhere.example")]).await, 400, "invalid_target");
        let spends = [("authorization_details", "[{\"type\":\"spend\",\"currency\":\"USD\",\"max_per_month\":\"5.00\"}]")];
        refused(&client.post("/oauth/device", &spends).await, 400, "invalid_authorization_details");
        let begun = begins(&client, &[("scope", "resources:write budget:read dashboard:link")]).await;
        let browser = Browser::of_owner(&ada).await;
        let page = question(&browser, &begun).await;
        let html = browser.get(&page).await.expect_status(200).text();
        assert!(html.contains("value=\"budget:read\"") && !html.contains("resources:write"), "{html}");
        let more = [("scope", "budget:read"), ("scope", "resources:write"), ("scope", "dashboard:link")];
        browser.submits(&format!("{page}/allow"), &more).await.expect_status(303);
        assert_eq!(polls(&client, &begun).await.expect_status(200).json()["scope"], "budget:read");
        app.stop().await;
    }

    async fn only_a_client_that_is_registered_for_it_waits_and_only_its_own_code_answers_it(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON, ("oauth.dynamic_registration", "true")]).await;
        let ada = app.agent().await;
        let (client, thief) = (program(&app).await, program(&app).await);
        let other = OAuthClient::public(&app).await;
        refused(&other.post("/oauth/device", &[]).await, 400, "unauthorized_client");
        refused(&app.stranger().post_form("/oauth/device", &[]).await, 401, "invalid_client");
        let secret = OAuthClient::register(&app, json!({"grant_types": [GRANT], "redirect_uris": [], "token_endpoint_auth_method": "client_secret_basic"})).await;
        let nameless = [("client_id", secret.id.as_str())];
        refused(&app.stranger().post_form("/oauth/device", &nameless).await, 401, "invalid_client");
        // A client that nobody checked registers itself for no device.
        let asked = json!({"redirect_uris": [REDIRECT], "grant_types": ["authorization_code", GRANT]});
        let registered = app.stranger().post("/oauth/register", &asked).await.expect_status(201).json();
        assert_eq!(registered["grant_types"], json!(["authorization_code"]));
        let begun = begins(&client, &[]).await;
        allows(&app, &Browser::of_owner(&ada).await, &begun).await;
        refused(&polls(&thief, &begun).await, 400, "invalid_grant");
        refused(&polls(&other, &begun).await, 400, "unauthorized_client");
        refused(&client.token(&[("grant_type", GRANT)]).await, 400, "invalid_request");
        refused(&client.token(&[("grant_type", GRANT), ("device_code", "dc_nothing")]).await, 400, "invalid_grant");
        // The thief took nothing with it.
        polls(&client, &begun).await.expect_status(200);
        app.stop().await;
    }

    async fn whoever_asks_too_often_waits_five_seconds_longer_each_time(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let client = program(&app).await;
        let begun = begins(&client, &[]).await;
        let after = async |seconds: i64, code: &str| {
            app.pass(TimeDelta::seconds(seconds));
            refused(&polls(&client, &begun).await, 400, code);
        };
        after(0, "authorization_pending").await;
        after(5, "authorization_pending").await;
        after(4, "slow_down").await;
        after(9, "slow_down").await;
        after(14, "slow_down").await;
        after(20, "authorization_pending").await;
        after(20, "authorization_pending").await;
        app.stop().await;
    }

    async fn a_code_is_typed_within_ten_minutes_and_the_question_answered_within_ten_more(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let ada = app.agent().await;
        let client = program(&app).await;
        let begun = begins(&client, &[]).await;
        app.pass(TimeDelta::seconds(599));
        let page = question(&Browser::of_owner(&ada).await, &begun).await;
        let late = begins(&client, &[]).await;
        app.pass(TimeDelta::seconds(599));
        let browser = Browser::of_owner(&ada).await;
        browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await.expect_status(303);
        polls(&client, &begun).await.expect_status(200);
        app.pass(TimeDelta::seconds(1));
        for to in ["/device", "/device/ask", "/device/deny"] {
            types(&browser, to, text(&late, "user_code")).await.expect_status(422);
        }
        app.pass(TimeDelta::seconds(600));
        refused(&polls(&client, &late).await, 400, "expired_token");
        app.stop().await;
    }

    async fn nobody_types_a_code_without_a_fresh_log_in_of_their_own_or_from_another_site(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let ada = app.agent().await;
        let begun = begins(&program(&app).await, &[]).await;
        let (by_link, stranger) = (Browser::by_link(&ada).await, Browser::new(&app));
        let code = text(&begun, "user_code");
        for (browser, status) in [(&by_link, 403), (&stranger, 401)] {
            let led = browser.get("/device").await.expect_status(303);
            assert_eq!(led.header("location"), "/login?to=%2Fdevice&max_age=300");
            for to in ["/device", "/device/ask", "/device/deny"] {
                types(browser, to, code).await.expect_status(status);
            }
        }
        let owner = Browser::of_owner(&ada).await;
        for site in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")] {
            for to in ["/device", "/device/ask", "/device/deny"] {
                owner.form(to, &[site], &format!("code={code}")).await.expect_status(403);
            }
        }
        // An address cannot carry a code: whoever sends a link has typed nothing for the human.
        let html = owner.get(&format!("/device?user_code={code}&code={code}")).await.expect_status(200).text();
        assert!(!html.contains(code), "{html}");
        assert!(types(&owner, "/device", code).await.expect_status(200).text().contains("Codex Seven"), "it still waits");
        app.stop().await;
    }

    async fn guessing_codes_ends_soon_for_an_account_and_for_an_address(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON, ("limits.device_codes_per_hour", "5")]).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let begun = begins(&program(&app).await, &[]).await;
        let browser = Browser::of_owner(&ada).await;
        for (number, to) in ["/device", "/device/ask", "/device/deny", "/device", "/device"].into_iter().enumerate() {
            assert_eq!(types(&browser, to, "BBBB-BBBB").await.status(), 422, "{number}");
        }
        // Now not even the right one, nor from another account at the same address.
        for browser in [&browser, &Browser::of_owner(&bob).await] {
            let limited = types(browser, "/device", text(&begun, "user_code")).await;
            assert_eq!(limited.status(), 429);
            assert!(limited.has_header("retry-after") && limited.header("content-type").starts_with("text/html"));
        }
        app.stop().await;
    }

    async fn of_many_that_ask_at_once_nobody_keeps_a_token_and_of_many_that_type_one_goes_on(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let ada = app.agent().await;
        let client = program(&app).await;
        let begun = begins(&client, &[]).await;
        let browser = Browser::of_owner(&ada).await;
        let code = text(&begun, "user_code");
        let answers = join_all((0..8).map(|_| types(&browser, "/device/ask", code))).await;
        let went: Vec<_> = answers.iter().filter(|answer| answer.status() == 303).collect();
        assert_eq!(went.len(), 1);
        let page = went[0].header("location");
        browser.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await.expect_status(303);
        let answers = join_all((0..8).map(|_| polls(&client, &begun))).await;
        let given: Vec<_> = answers.iter().filter(|answer| answer.status() == 200).collect();
        assert_eq!(given.len(), 1);
        assert_eq!(works(&app, text(&given[0].json(), "access_token")).await, 401, "a copy was about");
        app.stop().await;
    }

    async fn neither_code_stands_in_the_database(db: TestDb) {
        let app = TestApp::start_with(&db, &[ON]).await;
        let begun = begins(&program(&app).await, &[]).await;
        let rows: Vec<(String, String)> = app.app().db.read(|conn| {
            Ok::<_, DbError>(device_requests::table.select((device_requests::device_hash, device_requests::user_hash)).load(conn)?)
        }).await.unwrap();
        let [(device, typed)] = rows.as_slice() else { panic!("{rows:?}") };
        let plain = text(&begun, "user_code").replace('-', "");
        let hashed = |text: &str| portreeve::secret::SecretHash::of(text).as_str().to_owned();
        assert_eq!(*device, hashed(text(&begun, "device_code")));
        assert!(*typed != plain && *typed != hashed(&plain) && *typed != hashed(text(&begun, "user_code")), "without our key nobody tries it out");
        app.stop().await;
    }
}

#[tokio::test]
async fn no_operator_turns_it_on_for_more_than_looking() {
    use portreeve::config::Layers;
    for scopes in ["resources:write", "budget:read,dashboard:link", "admin", ""] {
        let mut layers = Layers::defaults().unwrap();
        layers.add_flag("oauth.device_scopes", scopes, "--set").unwrap();
        let master = portreeve::signing::MasterKey::generate().unwrap();
        layers.add_flag("keys.master_key", &master.to_text(), "--set").unwrap();
        layers.add_flag("usage.meter_key", &"m".repeat(43), "--set").unwrap();
        let refused = portreeve::app::check(&layers.build().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("oauth.device_scopes"), "{scopes}: {refused}");
    }
}
