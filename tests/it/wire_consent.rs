//! The consent page: the owner alone answers, once, in time; the orchestrator hears of it with its own secret.

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::account;
use portreeve::db::DbError;
use portreeve::db::schema::identity_links;
use portreeve::ids::AccountId;
use portreeve::orchestrator::{ExistingAccount, WireSettings};
use portreeve::simulator::User;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::client::Answer;
use crate::harness::wire::WireAgent;
use crate::wire_accounts::{UNLIMITED, another, code_of, page_of, pkce};

/// The whole page ticked.
const EVERY_TICK: &str = "scope=resources%3Aread&scope=resources%3Awrite&scope=resources%3Adelete&scope=budget%3Aread\
                          &scope=dashboard%3Alink";

/// Presses a button of the page.
async fn presses(browser: &Browser, page: &str, answer: &str, site: &str) -> Answer {
    browser.form(&button(page, answer), &[("sec-fetch-site", site)], EVERY_TICK).await
}

async fn allows(browser: &Browser, page: &str) -> Answer {
    presses(browser, page, "allow", "same-origin").await
}

/// Where a button of the page posts to.
fn button(page: &str, answer: &str) -> String {
    let (path, query) = page.split_once('?').map_or((page, String::new()), |(path, query)| (path, format!("?{query}")));
    format!("{path}/{answer}{query}")
}

/// The second orchestrator on the wire, for whom Ada's account must be asked for.
async fn second(app: &TestApp, change: impl FnOnce(&mut WireSettings)) -> WireAgent<'_> {
    let second = another(app, "Second", ExistingAccount::UserConsent, &["example.test"]).await;
    WireAgent::register_as(app, &second.id, change).await
}

/// Asks for Ada's account; the request, and the page.
async fn asks(agent: &WireAgent<'_>) -> (Value, String) {
    let request = agent.account_request(&User::ada());
    let answer = agent.post("/provisioning/account_requests", &request).await.expect_status(200).json();
    let page = page_of(agent.app, &answer);
    (request, page)
}

/// Where the browser is sent to: the parameters of the callback.
#[track_caller]
fn callback(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status(), 303, "{}", answer.text());
    let url: url::Url = answer.header("location").parse().unwrap();
    assert_eq!((url.host_str(), url.path()), (Some("orchestrator.example"), "/callback"));
    assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
    url.query_pairs().into_owned().collect()
}

fn pair(name: &str, value: &Value) -> (String, String) {
    (name.to_owned(), value.as_str().unwrap().to_owned())
}

async fn links(app: &TestApp) -> i64 {
    let counted = app.app().db.read(|conn| Ok::<_, DbError>(identity_links::table.count().get_result(conn)?));
    counted.await.unwrap()
}

on_both! {
    async fn the_owner_sees_who_asks_for_what_and_how_much(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (_, page) = asks(&second(&app, |_| ()).await).await;
        let browser = Browser::of_owner(&ada).await;
        let shown = browser.get(&page).await.expect_status(200);
        let html = shown.text();
        for wanted in ["<b>Second</b> could spend up to $100.00 a month", "ada@example.test", "with what it spends here already",
            "<legend>Create</legend>", "<legend>Delete</legend>", "untick what you do not want", "registered by", "orchestrator.example", ">Allow</button>", ">Deny</button>"] {
            assert!(html.contains(wanted), "`{wanted}` is missing: {html}");
        }
        let policy = shown.header("content-security-policy");
        assert!(policy.contains("form-action 'self' https://orchestrator.example;"), "{policy}");
        assert_eq!(shown.header("referrer-policy"), "no-referrer");
        assert_eq!(links(&app).await, 1, "looking is not allowing");
        app.stop().await;
    }

    async fn allowing_links_the_account_and_sends_a_code_with_the_secret(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let (request, page) = asks(&agent).await;
        let browser = Browser::of_owner(&ada).await;
        let pairs = callback(&allows(&browser, &page).await);
        let [(code, value), state] = pairs.as_slice() else { panic!("{pairs:?}") };
        assert_eq!((code.as_str(), state), ("code", &pair("state", &request["confirmation_secret"])));
        assert_eq!(links(&app).await, 2);
        let tokens = agent.token(&[("grant_type", "authorization_code"), ("code", value)]).await.expect_status(200).json();
        assert_eq!(tokens["account"]["id"].as_str(), Some(ada.account.as_str()));
        // From now on nobody is asked, and the request itself is answered as well.
        code_of(&agent.post("/provisioning/account_requests", &request).await.expect_status(200).json());
        code_of(&agent.asks_for_account(&User::ada()).await.expect_status(200).json());
        // A second answer changes nothing and brings no code.
        for again in [allows(&browser, &page).await, presses(&browser, &page, "deny", "same-origin").await, browser.get(&page).await] {
            let pairs = callback(&again);
            assert_eq!(pairs, [("error".to_owned(), "already_decided".to_owned()), pair("state", &request["confirmation_secret"])]);
        }
        assert_eq!(links(&app).await, 2);
        let overview = browser.get("/dashboard").await.expect_status(200).text();
        assert!(overview.contains("allowed Second to act for this account"), "{overview}");
        app.stop().await;
    }

    async fn what_is_unticked_is_not_allowed_and_not_asked_for_again_that_day(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let browser = Browser::of_owner(&ada).await;
        let mut request = agent.account_request(&User::ada());
        request["scopes"] = json!(["resources:read", "resources:write", "resources:delete"]);
        let answer = agent.post("/provisioning/account_requests", &request).await.expect_status(200).json();
        let page = page_of(&app, &answer);
        let shown = browser.get(&page).await.expect_status(200).text();
        // What deletes begins unticked.
        assert!(shown.contains("value=\"resources:write\" checked") && shown.contains("value=\"resources:delete\">"), "{shown}");
        let answers = async |ticks: &str| {
            browser.form(&button(&page, "allow"), &[("sec-fetch-site", "same-origin")], ticks).await
        };
        // Nothing, or nothing that was asked for, is no answer.
        for ticks in ["", "scope=budget%3Aread"] {
            assert_eq!(answers(ticks).await.status(), 422);
        }
        assert_eq!(links(&app).await, 1);
        let pairs = callback(&answers("scope=resources%3Aread&scope=dashboard%3Alink").await);
        let scope = async |code: &str| {
            let fields = [("grant_type", "authorization_code"), ("code", code)];
            let tokens = agent.token(&fields).await.expect_status(200).json();
            let holder = agent.with_bearer(tokens["access_token"].as_str().unwrap());
            let new = holder.post("/provisioning/resources", &json!({"service_id": "sandbox"})).await.status();
            let id = portreeve::ids::ResourceId::new(app.now());
            (holder.get(&format!("/provisioning/resources/{id}")).await.status(), new)
        };
        assert_eq!(scope(&pairs[0].1).await, (404, 403), "a look, and nothing new");
        // The same question, and the same again, is answered with what is left; so is a part of it.
        code_of(&agent.post("/provisioning/account_requests", &request).await.expect_status(200).json());
        for scopes in [json!(["resources:read", "resources:write"]), json!([])] {
            let mut again = agent.account_request(&User::ada());
            again["scopes"] = scopes;
            let answer = agent.post("/provisioning/account_requests", &again).await.expect_status(200).json();
            assert_eq!(scope(&code_of(&answer)).await, (404, 403));
        }
        // A day later, or for something else, its owner is asked.
        let asks_again = async |scopes: Value| {
            let mut again = agent.account_request(&User::ada());
            again["scopes"] = scopes;
            page_of(&app, &agent.post("/provisioning/account_requests", &again).await.expect_status(200).json())
        };
        asks_again(json!(["resources:read", "dashboard:link"])).await;
        app.pass(TimeDelta::hours(25));
        asks_again(json!(["resources:read", "resources:write"])).await;
        app.stop().await;
    }

    async fn whoever_was_paused_comes_back_only_by_a_page_that_says_so(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let browser = Browser::of_owner(&ada).await;
        let wants = async |scopes: Value| {
            let mut request = agent.account_request(&User::ada());
            request["scopes"] = scopes;
            agent.post("/provisioning/account_requests", &request).await.expect_status(200).json()
        };
        let page = page_of(&app, &wants(json!(["resources:read"])).await);
        let pairs = callback(&allows(&browser, &page).await);
        let fields = [("grant_type", "authorization_code"), ("code", &pairs[0].1)];
        agent.token(&fields).await.expect_status(200);
        let newest = crate::agents::pages_of(&browser).await.remove(0);
        crate::agents::does(&browser, &newest, "pause").await;
        let page = page_of(&app, &wants(json!(["resources:read", "budget:read"])).await);
        let shown = browser.get(&page).await.expect_status(200).text();
        assert!(shown.contains("You paused it"), "{shown}");
        app.stop().await;
    }

    async fn what_was_allowed_before_and_is_unticked_is_taken_back(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let browser = Browser::of_owner(&ada).await;
        let asks = async |scopes: Value| {
            let mut request = agent.account_request(&User::ada());
            request["scopes"] = scopes;
            agent.post("/provisioning/account_requests", &request).await.expect_status(200).json()
        };
        let first = page_of(&app, &asks(json!(["resources:read", "resources:write"])).await);
        let pairs = callback(&allows(&browser, &first).await);
        let fields = [("grant_type", "authorization_code"), ("code", &pairs[0].1)];
        let tokens = agent.token(&fields).await.expect_status(200).json();
        let holder = agent.with_bearer(tokens["access_token"].as_str().unwrap());
        let buys = async || {
            let body = json!({"service_id": "sandbox"});
            holder.post("/provisioning/resources", &body).await.status()
        };
        assert_eq!(buys().await, 200);
        let more = page_of(&app, &asks(json!(["resources:read", "resources:write", "budget:read"])).await);
        let left = "scope=resources%3Aread&scope=budget%3Aread";
        let answer = browser.form(&button(&more, "allow"), &[("sec-fetch-site", "same-origin")], left).await;
        assert_eq!(callback(&answer)[0].0, "code");
        assert!([401, 403].contains(&buys().await), "what it held does not buy any more");
        app.stop().await;
    }

    async fn what_was_said_about_the_person_is_kept_when_the_owner_allows_it_and_not_before(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let (_, page) = asks(&agent).await;
        let account: AccountId = ada.account.parse().unwrap();
        let known = async || {
            let account = account.clone();
            app.app().db.read(move |conn| account::information(conn, &account)).await.unwrap()
        };
        assert!(known().await.is_empty(), "nobody has allowed it");
        callback(&allows(&Browser::of_owner(&ada).await, &page).await);
        let facts = known().await;
        let [(orchestrator, fact)] = facts.as_slice() else { panic!("{facts:?}") };
        let name = fact.open(&app.app().person_sealer, &account, orchestrator).unwrap();
        assert_eq!((orchestrator, &name[..]), (&agent.orchestrator, &b"Ada Example"[..]));
        app.stop().await;
    }

    async fn of_many_answers_one_counts(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let (_, page) = asks(&agent).await;
        let browser = Browser::of_owner(&ada).await;
        let answers = join_all((0..64).map(|_| allows(&browser, &page))).await;
        let codes = answers.iter().filter(|answer| callback(answer)[0].0 == "code").count();
        assert_eq!((codes, links(&app).await), (1, 2));
        // Two requests of one person, both allowed: one link, two codes.
        let third = another(&app, "Third", ExistingAccount::UserConsent, &["example.test"]).await;
        let third = WireAgent::register_as(&app, &third.id, |_| ()).await;
        let ((_, one), (_, two)) = (asks(&third).await, asks(&third).await);
        assert_eq!(callback(&allows(&browser, &one).await)[0].0, "code");
        assert_eq!(callback(&allows(&browser, &two).await)[0].0, "code");
        assert_eq!(links(&app).await, 3);
        app.stop().await;
    }

    async fn denying_gives_nothing_and_is_remembered(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let (request, page) = asks(&agent).await;
        let browser = Browser::of_owner(&ada).await;
        let denied = [("error".to_owned(), "access_denied".to_owned()), pair("state", &request["confirmation_secret"])];
        assert_eq!(callback(&presses(&browser, &page, "deny", "same-origin").await), denied);
        assert_eq!(callback(&allows(&browser, &page).await), denied, "no means no");
        let again = agent.post("/provisioning/account_requests", &request).await;
        assert_eq!((again.status(), &again.json()["error"]["code"]), (403, &json!("forbidden")));
        assert_eq!(links(&app).await, 1);
        app.stop().await;
    }

    async fn without_a_callback_the_agent_asks_again(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |wire| wire.callback_url = None).await;
        let mut request = agent.account_request(&User::ada());
        request["code_challenge"] = json!(pkce().1);
        let asked = agent.post("/provisioning/account_requests", &request).await.expect_status(200).json();
        let page = page_of(&app, &asked);
        let browser = Browser::of_owner(&ada).await;
        assert!(allows(&browser, &page).await.expect_status(200).text().contains("may act for you now"));
        let answer = agent.post("/provisioning/account_requests", &request).await.expect_status(200).json();
        let fields = [("grant_type", "authorization_code"), ("code", &code_of(&answer)), ("code_verifier", pkce().0)];
        let tokens = agent.client.post_form("/oauth/token", &fields).await.expect_status(200).json();
        assert_eq!(tokens["account"]["id"].as_str(), Some(ada.account.as_str()));
        assert_eq!(browser.get(&page).await.status(), 410);
        let (_, page) = {
            let third = another(&app, "Third", ExistingAccount::UserConsent, &["example.test"]).await;
            asks(&WireAgent::register_as(&app, &third.id, |wire| wire.callback_url = None).await).await
        };
        assert!(presses(&browser, &page, "deny", "same-origin").await.expect_status(200).text().contains("may not act"));
        app.stop().await;
    }

    async fn nobody_else_can_answer_and_the_question_stays(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let (_, page) = asks(&second(&app, |_| ()).await).await;
        let stranger = app.stranger().get(&page).await;
        assert_eq!(stranger.status(), 401);
        assert!(stranger.text().contains("Second asks to act for you. Please log in first."));
        assert!(!stranger.text().contains("ada@example.test"), "a stranger learns no address");
        assert_eq!(app.stranger().post_form(&button(&page, "allow"), &[]).await.status(), 401);
        let other = Browser::of_owner(&bob).await;
        for answer in [other.get(&page).await, allows(&other, &page).await, presses(&other, &page, "deny", "same-origin").await] {
            assert_eq!(answer.status(), 403);
            for wanted in ["bob@example.test", "ada@example.test", "Second"] {
                assert!(answer.text().contains(wanted), "{}", answer.text());
            }
        }
        let browser = Browser::of_owner(&ada).await;
        for site in ["cross-site", "same-site"] {
            assert_eq!(presses(&browser, &page, "allow", site).await.status(), 403);
        }
        assert_eq!(links(&app).await, 2, "those of the two people themselves");
        assert_eq!(callback(&allows(&browser, &page).await)[0].0, "code");
        app.stop().await;
    }

    async fn an_agent_cannot_approve_its_own_question_with_a_link_that_it_made(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let (_, page) = asks(&agent).await;
        let itself = Browser::by_link(&ada).await;
        itself.get("/dashboard").await.expect_status(200);
        let log_in = format!("/login?to={}&amp;max_age=300", url::form_urlencoded::byte_serialize(page.as_bytes()).collect::<String>());
        let shown = itself.get(&page).await.expect_status(403);
        assert_eq!(shown.header("referrer-policy"), "no-referrer");
        assert!(shown.text().contains("Second asks to act for you. Please log in first.") && !shown.text().contains("ada@"));
        for answer in [shown, allows(&itself, &page).await, presses(&itself, &page, "deny", "same-origin").await] {
            assert_eq!((answer.status(), answer.has_header("location")), (403, false));
            assert!(!answer.text().contains("Allow</button>"));
        }
        assert_eq!(links(&app).await, 1);
        // The way to the log-in leads back to exactly this page.
        for answer in [itself.get(&page).await, allows(&itself, &page).await, app.stranger().get(&page).await] {
            assert!(answer.text().contains("href=\"/login?to=%2Flink%2F"), "{}", answer.text());
            assert!(answer.text().contains(&format!("href=\"{log_in}\"")) || answer.text().contains(&log_in.replace("&amp;", "&#38;")), "{}", answer.text());
        }
        // The owner, who logged in, answers; and not with a log-in of long ago.
        let owner = Browser::of_owner(&ada).await;
        app.pass(TimeDelta::seconds(301));
        for answer in [owner.get(&page).await, allows(&owner, &page).await] {
            assert_eq!(answer.status(), 403);
        }
        assert_eq!(links(&app).await, 1);
        let again = Browser::of_owner(&ada).await;
        assert_eq!(callback(&allows(&again, &page).await)[0].0, "code");
        assert_eq!(links(&app).await, 2);
        app.stop().await;
    }

    async fn a_question_ends_after_ten_minutes_or_with_its_request(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let (request, page) = asks(&agent).await;
        let mut short = agent.account_request(&User::ada());
        short["expires_at"] = json!("2026-11-15T12:01:00Z");
        let answer = agent.post("/provisioning/account_requests", &short).await.expect_status(200).json();
        let soon = page_of(&app, &answer);
        let browser = Browser::of_owner(&ada).await;
        app.pass(TimeDelta::seconds(60));
        assert_eq!(callback(&allows(&browser, &soon).await)[0], ("error".to_owned(), "expired".to_owned()));
        browser.get(&page).await.expect_status(200);
        app.pass(TimeDelta::seconds(540));
        let browser = Browser::of_owner(&ada).await;
        let expired = [("error".to_owned(), "expired".to_owned()), pair("state", &request["confirmation_secret"])];
        for answer in [browser.get(&page).await, allows(&browser, &page).await, app.stranger().get(&page).await] {
            assert_eq!(callback(&answer), expired);
        }
        assert_eq!(links(&app).await, 1);
        app.stop().await;
    }

    async fn an_address_that_is_not_whole_leads_nowhere(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (_, page) = asks(&second(&app, |_| ()).await).await;
        let browser = Browser::of_owner(&ada).await;
        let bare = page.split('?').next().unwrap();
        for wrong in [bare.to_owned(), format!("{bare}?state=wrong"), "/link/areq_0".to_owned(),
            "/link/areq_00000000000000000000000000?state=x".to_owned()] {
            assert_eq!(browser.get(&wrong).await.status(), 404, "{wrong}");
            assert_eq!(allows(&browser, &wrong).await.status(), 404, "{wrong}");
        }
        assert_eq!(links(&app).await, 1);
        app.stop().await;
    }

    async fn consent_to_something_is_not_consent_to_everything(db: TestDb) {
        let app = TestApp::start_with(&db, &UNLIMITED).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let browser = Browser::of_owner(&ada).await;
        let wants = async |scopes: Value| {
            let mut request = agent.account_request(&User::ada());
            request["scopes"] = scopes;
            let answer = agent.post("/provisioning/account_requests", &request).await;
            (request, answer)
        };
        let answered = async |scopes: Value| wants(scopes).await.1.expect_status(200).json();
        // Which of a look, a link to the dashboard and a new resource the tokens for a code allow.
        let may = async |answer: Value| {
            let fields = [("grant_type", "authorization_code"), ("code", &code_of(&answer))];
            let tokens = agent.token(&fields).await.expect_status(200).json();
            let holder = agent.with_bearer(tokens["access_token"].as_str().unwrap());
            let id = portreeve::ids::ResourceId::new(app.now());
            let look = holder.get(&format!("/provisioning/resources/{id}")).await.status();
            let link = holder.post("/provisioning/deep_links", &json!({"purpose": "dashboard"})).await.status();
            let new = holder.post("/provisioning/resources", &json!({"service_id": "sandbox"})).await.status();
            (look, link, new)
        };
        let first = answered(json!(["resources:read"])).await;
        assert_eq!(callback(&allows(&browser, &page_of(&app, &first)).await)[0].0, "code");
        assert_eq!(may(answered(json!([])).await).await, (404, 403, 403), "nothing named is what was allowed");
        assert_eq!(may(answered(json!(["resources:read"])).await).await, (404, 403, 403));
        // More is asked for, and refused; what was allowed stays.
        let more = json!(["resources:read", "dashboard:link"]);
        let (request, answer) = wants(more.clone()).await;
        let page = page_of(&app, &answer.expect_status(200).json());
        assert!(browser.get(&page).await.expect_status(200).text().contains("log a browser in to your dashboard"));
        assert_eq!(callback(&presses(&browser, &page, "deny", "same-origin").await)[0].1, "access_denied");
        assert_eq!(agent.post("/provisioning/account_requests", &request).await.status(), 403);
        assert_eq!(may(answered(json!([])).await).await, (404, 403, 403));
        // Allowed, it comes to what was allowed before, and to nothing else.
        let page = page_of(&app, &answered(json!(["dashboard:link"])).await);
        assert_eq!(callback(&allows(&browser, &page).await)[0].0, "code");
        assert_eq!(may(answered(json!([])).await).await, (404, 200, 403));
        assert_eq!(may(answered(more).await).await, (404, 200, 403));
        page_of(&app, &answered(json!(["resources:write"])).await);
        assert_eq!(links(&app).await, 2);
        let overview = browser.get("/dashboard").await.expect_status(200).text();
        assert!(overview.contains("allowed Second to do more"), "{overview}");
        app.stop().await;
    }

    async fn a_secret_that_may_not_stand_in_a_url_is_given_back_to_the_owner_alone(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let agent = second(&app, |_| ()).await;
        let odd = json!("ä b/../&state=c#d");
        let mut request = agent.account_request(&User::ada());
        request["confirmation_secret"] = odd.clone();
        let answer = agent.post("/provisioning/account_requests", &request).await.expect_status(200).json();
        let page = page_of(&app, &answer);
        let browser = Browser::of_owner(&ada).await;
        assert_eq!(callback(&allows(&browser, &page).await)[1], pair("state", &odd));
        assert_eq!(callback(&app.stranger().get(&page).await), [("error".to_owned(), "already_decided".to_owned())]);
        app.stop().await;
    }
}
