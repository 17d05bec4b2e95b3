//! What a human decided about a client is remembered: who is asked again, who is not, and what ends it.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::accounts;
use portreeve::ids::AccountId;
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::harness::oauth::{OAuthClient, REDIRECT, VERIFIER, answered, text};
use crate::harness::receiver::Receiver;

const READ: [(&str, &str); 1] = [("scope", "resources:read budget:read")];
const ONE: [(&str, &str); 1] = [("scope", "budget:read")];

/// The account gets its human.
pub(crate) async fn claimed(agent: Agent<'_>) -> Agent<'_> {
    let id: AccountId = agent.account.parse().unwrap();
    let now = agent.app.now();
    let written = agent.app.app().db.write(HOUSE, move |conn| {
        let state = (accounts::state.eq("active"), accounts::changed_at.eq(now));
        Ok::<_, DbError>(diesel::update(accounts::table.find(&id)).set(state).execute(conn)?)
    });
    assert_eq!(written.await.unwrap(), 1);
    agent
}

/// The human leaves these ticked; what the client hears.
pub(crate) async fn allows(browser: &Browser, page: &str, ticks: &[&str]) -> Value {
    let ticks: Vec<(&str, &str)> = ticks.iter().map(|scope| ("scope", *scope)).collect();
    answered(&browser.submits(&format!("{page}/allow"), &ticks).await, REDIRECT)
}

pub(crate) async fn denies(browser: &Browser, page: &str) -> Value {
    answered(&browser.submits(&format!("{page}/deny"), &[]).await, REDIRECT)
}

/// The human is asked; the page.
pub(crate) async fn is_asked(browser: &Browser, page: &str) -> String {
    let html = browser.get(page).await.expect_status(200).text();
    assert!(html.contains(">Allow</button>"), "{html}");
    html
}

/// Nobody is asked; what the client hears.
pub(crate) async fn is_not_asked(browser: &Browser, page: &str) -> Value {
    answered(&browser.get(page).await, REDIRECT)
}

/// The scope that a code is good for.
async fn given(client: &OAuthClient<'_>, answer: &Value) -> Value {
    client.redeems(text(answer, "code")).await.expect_status(200).json()
}

fn limited(count: u32) -> String {
    json!([{"type": "provision", "offers": ["sandbox/free"], "max_count": count}]).to_string()
}

on_both! {
    async fn what_is_allowed_is_not_asked_again_and_a_part_of_it_is_given_alone(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = claimed(app.agent().await).await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&[]).await;
        is_asked(&browser, &page).await;
        let all = ["resources:read", "resources:write", "budget:read"];
        given(&client, &allows(&browser, &page, &all).await).await;
        // The log-in of a while ago does: nothing new is allowed.
        app.pass(TimeDelta::minutes(20));
        let again = is_not_asked(&browser, &client.page(&[]).await).await;
        assert_eq!((text(&again, "state"), text(&again, "iss")), ("st-1", app.base.as_str()));
        assert_eq!(given(&client, &again).await["scope"], all.join(" "));
        let part = given(&client, &is_not_asked(&browser, &client.page(&ONE).await).await).await;
        assert_eq!(part["scope"], "budget:read", "no more than was asked this time");
        let refreshed = client.refreshes(text(&part, "refresh_token")).await.expect_status(200).json();
        assert_eq!(refreshed["scope"], "budget:read");
        // More than that is asked, of whoever logged in just now.
        let more = client.page(&[("scope", "budget:read resources:delete")]).await;
        assert!(browser.get(&more).await.expect_status(303).header("location").starts_with("/login?"));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&[("scope", "budget:read resources:delete")]).await).await;
        let overview = browser.get("/dashboard").await.expect_status(200).text();
        assert!(overview.contains("came back for what you allowed"), "{overview}");
        app.stop().await;
    }

    async fn a_browser_that_asks_twice_hears_the_same_until_the_code_is_used(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&ONE).await;
        allows(&browser, &page, &["budget:read"]).await;
        browser.get(&page).await.expect_status(410);
        let page = client.page(&ONE).await;
        let first = is_not_asked(&browser, &page).await;
        assert_eq!(is_not_asked(&browser, &page).await, first);
        Browser::of_owner(&bob).await.get(&page).await.expect_status(410);
        Browser::new(&app).get(&page).await.expect_status(410);
        given(&client, &first).await;
        browser.get(&page).await.expect_status(410);
        app.stop().await;
    }

    async fn a_link_of_an_agent_gets_no_code_from_memory_either(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        allows(&Browser::of_owner(&ada).await, &client.page(&ONE).await, &["budget:read"]).await;
        let page = client.page(&ONE).await;
        for nobody in [Browser::by_link(&ada).await, Browser::new(&app)] {
            let led = nobody.get(&page).await.expect_status(303);
            assert!(led.header("location").starts_with("/login?"), "{}", led.header("location"));
        }
        is_not_asked(&Browser::of_owner(&ada).await, &page).await;
        app.stop().await;
    }

    async fn a_client_may_want_its_human_asked_and_a_newer_log_in(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        allows(&browser, &client.page(&ONE).await, &["budget:read"]).await;
        let html = is_asked(&browser, &client.page(&[ONE[0], ("prompt", "consent")]).await).await;
        assert!(html.contains("allowed before"), "{html}");
        app.pass(TimeDelta::minutes(2));
        let wants = [ONE[0], ("max_age", "60")];
        let page = client.page(&wants).await;
        assert!(browser.get(&page).await.expect_status(303).header("location").starts_with("/login?"));
        // Logged in anew, the human need not answer, and the token says when that was.
        let anew = Browser::of_owner(&ada).await;
        let token = given(&client, &is_not_asked(&anew, &page).await).await;
        let claims = text(&token, "access_token").split('.').nth(1).unwrap().to_owned();
        let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["auth_time"], json!(app.now().seconds()), "{claims}");
        app.stop().await;
    }

    async fn what_was_unticked_is_not_asked_again_for_a_day_and_then_shown_as_refused(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&READ).await;
        is_asked(&browser, &page).await;
        allows(&browser, &page, &["resources:read"]).await;
        let again = is_not_asked(&browser, &client.page(&READ).await).await;
        assert_eq!(given(&client, &again).await["scope"], "resources:read", "the human's answer, once more");
        let only = is_not_asked(&browser, &client.page(&ONE).await).await;
        assert_eq!(text(&only, "error"), "access_denied", "what is left was refused");
        app.pass(TimeDelta::hours(24));
        let browser = Browser::of_owner(&ada).await;
        let html = is_asked(&browser, &client.page(&READ).await).await;
        assert!(html.contains("value=\"resources:read\" checked") && html.contains("value=\"budget:read\">"), "{html}");
        assert!(html.contains("you refused this earlier") && html.contains("allowed before"), "{html}");
        app.stop().await;
    }

    async fn what_was_unticked_later_is_not_given_from_an_earlier_consent(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        allows(&browser, &client.page(&READ).await, &["resources:read", "budget:read"]).await;
        app.pass(TimeDelta::seconds(1));
        let asked = [READ[0], ("prompt", "consent")];
        allows(&browser, &client.page(&asked).await, &["resources:read"]).await;
        app.pass(TimeDelta::hours(25));
        let browser = Browser::of_owner(&ada).await;
        is_asked(&browser, &client.page(&READ).await).await;
        assert_eq!(given(&client, &is_not_asked(&browser, &client.page(&[("scope", "resources:read")]).await).await).await["scope"], "resources:read");
        app.stop().await;
    }

    async fn what_was_refused_is_refused_again_for_a_day_without_a_page(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        denies(&browser, &client.page(&READ).await).await;
        app.pass(TimeDelta::hours(1));
        for asked in [&READ[..], &ONE[..]] {
            let page = client.page(asked).await;
            let answer = is_not_asked(&browser, &page).await;
            assert_eq!((text(&answer, "error"), text(&answer, "state")), ("access_denied", "st-1"));
            let wait: i64 = text(&answer, "retry_after").parse().unwrap();
            assert_eq!(wait, 23 * 3600 + 1);
            assert!(text(&answer, "error_description").contains(&wait.to_string()), "{answer}");
            assert_eq!(is_not_asked(&browser, &page).await, answer, "asking twice changes nothing");
        }
        // Another question is another question; and the human may want to be asked.
        let browser = Browser::of_owner(&ada).await;
        let other = client.page(&[READ[0], ("authorization_details", &limited(1))]).await;
        is_asked(&browser, &other).await;
        app.pass(TimeDelta::minutes(11));
        let browser = Browser::of_owner(&ada).await;
        let html = is_asked(&browser, &client.page(&[ONE[0], ("prompt", "consent")]).await).await;
        assert!(html.contains("you refused this earlier") && !html.contains(" checked>"), "{html}");
        app.pass(TimeDelta::hours(24));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&ONE).await).await;
        app.stop().await;
    }

    async fn a_client_that_changed_what_it_says_of_itself_is_asked_about_again(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.generic_cimd_loopback", "true")]).await;
        let ada = app.agent().await;
        let host = Receiver::start();
        let document = |name: &str, redirects: [&str; 2]| {
            json!({"client_id": host.url, "client_name": name, "redirect_uris": redirects, "logo_uri": "https://agent.example/logo.png"})
        };
        host.answers(200, &document("Harbour Pilot", [REDIRECT, "https://agent.example/two"]));
        let client = OAuthClient { app: &app, http: app.stranger(), id: host.url.to_string(), secret: None };
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&ONE).await;
        let html = is_asked(&browser, &page).await;
        assert!(html.contains("verified domain") && html.contains("name not verified"), "{html}");
        assert!(!html.contains("logo.png"), "never a logo");
        allows(&browser, &page, &["budget:read"]).await;
        // Written in another order it is the same.
        host.answers(200, &document("Harbour Pilot", ["https://agent.example/two", REDIRECT]));
        app.pass(TimeDelta::hours(2));
        let browser = Browser::of_owner(&ada).await;
        is_not_asked(&browser, &client.page(&ONE).await).await;
        host.answers(200, &document("Harbour Pirate", [REDIRECT, "https://agent.example/two"]));
        app.pass(TimeDelta::hours(2));
        let browser = Browser::of_owner(&ada).await;
        let html = is_asked(&browser, &client.page(&ONE).await).await;
        assert!(html.contains("It is not what it was") && html.contains("Harbour Pirate"), "{html}");
        assert!(!html.contains("allowed before"), "{html}");
        app.stop().await;
    }

    async fn more_than_before_is_shown_as_a_difference(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&ONE).await;
        assert!(!is_asked(&browser, &page).await.contains("It asks for more than before"));
        allows(&browser, &page, &["budget:read"]).await;
        let spend = json!([{"type": "spend", "currency": "USD", "max_per_month": "40.00"}]).to_string();
        let more = [("scope", "budget:read resources:write resources:delete"), ("authorization_details", &*spend)];
        let html = is_asked(&browser, &client.page(&more).await).await;
        assert!(html.contains("It asks for more than before"), "{html}");
        let difference = html.split("<dl").nth(1).unwrap().split("</dl>").next().unwrap();
        let (new, before) = difference.split_once("Allowed before").unwrap();
        assert!(new.contains("create resources; delete resources; spend up to $40.00 a month"), "{new}");
        assert!(!new.contains("see the budget") && before.contains("see the budget"), "{difference}");
        app.stop().await;
    }

    async fn a_program_on_the_humans_machine_is_asked_about_each_time(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = claimed(app.agent().await).await;
        let here = "http://127.0.0.1:41234/cb";
        let client = OAuthClient::register(&app, json!({"redirect_uris": ["http://127.0.0.1/cb"]})).await;
        let browser = Browser::of_owner(&ada).await;
        let asked = [ONE[0], ("redirect_uri", here)];
        let page = client.page(&asked).await;
        assert!(is_asked(&browser, &page).await.contains("it asks each time"));
        answered(&browser.submits(&format!("{page}/allow"), &ONE).await, here);
        let page = client.page(&asked).await;
        is_asked(&browser, &page).await;
        answered(&browser.submits(&format!("{page}/deny"), &[]).await, here);
        is_asked(&browser, &client.page(&asked).await).await;
        app.stop().await;
    }

    async fn a_client_that_registered_itself_is_asked_about_each_time(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.dynamic_registration", "true")]).await;
        let ada = claimed(app.agent().await).await;
        let said = json!({"client_name": "Harbour Pilot", "redirect_uris": [REDIRECT]});
        let told = app.stranger().post("/oauth/register", &said).await.expect_status(201).json();
        let client = OAuthClient { app: &app, http: app.stranger(), id: text(&told, "client_id").to_owned(), secret: None };
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&[]).await;
        let html = is_asked(&browser, &page).await;
        assert!(html.contains("name not verified") && !html.contains("verified domain"), "{html}");
        allows(&browser, &page, &["resources:read", "resources:write", "budget:read"]).await;
        let again = client.page(&[]).await;
        is_asked(&browser, &again).await;
        allows(&browser, &again, &["resources:read", "resources:write", "budget:read"]).await;
        is_asked(&browser, &client.page(&READ).await).await;
        app.stop().await;
    }

    async fn what_was_refused_since_is_not_given_within_other_limits_either(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        allows(&browser, &client.page(&READ).await, &["resources:read", "budget:read"]).await;
        app.pass(TimeDelta::seconds(1));
        let asked = [READ[0], ("prompt", "consent")];
        allows(&browser, &client.page(&asked).await, &["resources:read"]).await;
        let spend = json!([{"type": "spend", "currency": "USD", "max_per_month": "90000.00"}]).to_string();
        for details in [limited(1), spend] {
            // The question before is over by now, and so is the log-in.
            app.pass(TimeDelta::minutes(11));
            let browser = Browser::of_owner(&ada).await;
            let html = is_asked(&browser, &client.page(&[ONE[0], ("authorization_details", &details)]).await).await;
            assert!(html.contains("you refused this earlier"), "{html}");
        }
        app.stop().await;
    }

    async fn a_refusal_is_kept_beside_one_within_other_limits(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let (one, two) = (limited(1), limited(2));
        for details in [&one, &two] {
            denies(&browser, &client.page(&[ONE[0], ("authorization_details", details)]).await).await;
        }
        for details in [&one, &two] {
            let again = is_not_asked(&browser, &client.page(&[ONE[0], ("authorization_details", details)]).await).await;
            assert_eq!(text(&again, "error"), "access_denied");
        }
        app.stop().await;
    }

    async fn what_is_given_without_a_question_lasts_no_longer_than_what_it_rests_on(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = claimed(app.agent().await).await;
        let client = OAuthClient::public(&app).await;
        let one = limited(1);
        let narrower = [READ[0], ("authorization_details", one.as_str())];
        let allowed = allows(&Browser::of_owner(&ada).await, &client.page(&READ).await, &["resources:read", "budget:read"]).await;
        let first = given(&client, &allowed).await;
        app.pass(TimeDelta::days(29));
        let browser = Browser::of_owner(&ada).await;
        let second = given(&client, &is_not_asked(&browser, &client.page(&narrower).await).await).await;
        let first = client.refreshes(text(&first, "refresh_token")).await.expect_status(200).json();
        client.post("/oauth/revoke", &[("token", text(&first, "refresh_token"))]).await.expect_status(200);
        let refused = client.refreshes(text(&second, "refresh_token")).await;
        assert_eq!(refused.json()["error"], "invalid_grant", "taken back with what it rests on");
        is_asked(&browser, &client.page(&narrower).await).await;
        let page = client.page(&[READ[0], ("prompt", "consent")]).await;
        app.pass(TimeDelta::minutes(1));
        browser.submits(&format!("{page}/instead"), &[]).await.expect_status(303);
        allows(&browser, &page, &["resources:read", "budget:read"]).await;
        app.pass(TimeDelta::days(179));
        let browser = Browser::of_owner(&ada).await;
        is_not_asked(&browser, &client.page(&narrower).await).await;
        app.pass(TimeDelta::days(2));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&narrower).await).await;
        app.stop().await;
    }

    async fn what_was_taken_back_is_asked_again(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let answer = allows(&browser, &client.page(&ONE).await, &["budget:read"]).await;
        given(&client, &answer).await;
        // A copied code ends the consent.
        let again = client.redeems(text(&answer, "code")).await;
        assert_eq!(again.status(), 400, "{}", again.text());
        is_asked(&browser, &client.page(&ONE).await).await;
        app.stop().await;
    }

    async fn a_code_of_memory_dies_with_what_it_rests_on(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let first = allows(&browser, &client.page(&ONE).await, &["budget:read"]).await;
        given(&client, &first).await;
        let second = is_not_asked(&browser, &client.page(&ONE).await).await;
        assert_eq!(client.redeems(text(&first, "code")).await.status(), 400);
        let fields = [("grant_type", "authorization_code"), ("code", text(&second, "code")), ("code_verifier", VERIFIER)];
        assert_eq!(client.token(&fields).await.status(), 400);
        app.stop().await;
    }

    async fn one_humans_decision_is_no_others(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let (client, other) = (OAuthClient::public(&app).await, OAuthClient::public(&app).await);
        let browser = Browser::of_owner(&ada).await;
        allows(&browser, &client.page(&ONE).await, &["budget:read"]).await;
        is_asked(&Browser::of_owner(&bob).await, &client.page(&ONE).await).await;
        is_asked(&browser, &other.page(&ONE).await).await;
        app.stop().await;
    }

    async fn the_same_numbers_count_on_and_higher_ones_are_asked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = claimed(app.agent().await).await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let scope = ("scope", "resources:write");
        let asks = async |count: u32| client.page(&[scope, ("authorization_details", &limited(count))]).await;
        let buys = async |token: &Value| {
            let agent = app.stranger().with_token(text(token, "access_token"));
            agent.post_once(&fresh_key(), "/v1/resources", &ada.order("sandbox", "free")).await
        };
        let token = given(&client, &allows(&browser, &asks(2).await, &["resources:write"]).await).await;
        buys(&token).await.expect_status(201);
        let again = given(&client, &is_not_asked(&browser, &asks(2).await).await).await;
        buys(&again).await.expect_status(201);
        buys(&again).await.problem(403, "not_allowed");
        let fewer = given(&client, &is_not_asked(&browser, &asks(1).await).await).await;
        buys(&fewer).await.problem(403, "not_allowed");
        let html = is_asked(&browser, &asks(3).await).await;
        assert!(html.contains("up to 3 resources of: Sandbox"), "{html}");
        // Without any limit it is more still.
        app.pass(TimeDelta::minutes(11));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&[scope]).await).await;
        app.stop().await;
    }
}
