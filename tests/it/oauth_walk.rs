//! The whole way of a client whose human nobody knows yet: the program's address, the log-in pages, the question, the code,
//! the token, the call. The browser opens what it is sent to and presses what the pages show; nothing is made for it.

use serde_json::Value;

use crate::harness::app::TestApp;
use crate::harness::browser::{Browser, was_claimed};
use crate::harness::client::Answer;
use crate::harness::oauth::{OAuthClient, REDIRECT, answered, text, works};
use crate::login_upstream::{Away, start};

/// Where a page or a redirect leads, as a path of ours.
fn led(answer: &Answer) -> String {
    assert_eq!((answer.status(), answer.header("cache-control")), (303, "no-store"), "{}", answer.text());
    answer.header("location").to_owned()
}

fn unescaped(text: &str) -> String {
    text.replace("&#38;", "&").replace("&amp;", "&").replace("&#x2f;", "/")
}

/// The value of a hidden field of a page.
fn hidden(html: &str, name: &str) -> String {
    let field = html.split(&format!("name=\"{name}\" value=\"")).nth(1);
    unescaped(field.unwrap_or_else(|| panic!("no `{name}`: {html}")).split('"').next().unwrap())
}

/// Where the first form with this button's name posts to, below what a page shows.
fn action_of(html: &str, button: &str) -> String {
    let form = html.split("<form").find(|form| form.contains(&format!(">{button}</button>"))).expect("the form");
    let own = form.split(&format!(">{button}</button>")).next().unwrap().rsplit("<button").next().unwrap();
    let named = own.split("formaction=\"").nth(1).or_else(|| form.split("action=\"").nth(1)).expect("an action");
    unescaped(named.split('"').next().unwrap())
}

/// Everything that the page shows as ticked.
fn ticks(html: &str) -> Vec<(String, String)> {
    let boxes = html.split("name=\"scope\" value=\"").skip(1);
    boxes.map(|rest| ("scope".to_owned(), rest.split('"').next().unwrap().to_owned())).collect()
}

/// Presses a button of the page that asks; what the program then gets.
async fn presses(browser: &Browser, page: &str, button: &str) -> Value {
    let html = browser.get(page).await.expect_status(200).text();
    let fields = ticks(&html);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    answered(&browser.submits(&action_of(&html, button), &fields).await, REDIRECT)
}

/// The program's address leads to the question, and the question to the log-in, which will lead back.
async fn begins(client: &OAuthClient<'_>, browser: &Browser) -> (String, String) {
    let page = led(&browser.get(&format!("/oauth/authorize?{}", client.asks(&[]))).await);
    assert!(page.starts_with("/consent/oreq_"), "{page}");
    let log_in = led(&browser.get(&page).await);
    assert!(log_in.starts_with("/login?to=%2Fconsent%2Foreq_"), "{log_in}");
    (page, log_in)
}

/// A stranger's browser, the link of a mail, and back at the question.
async fn logs_in_by_mail(app: &TestApp, browser: &Browser, log_in: &str, mails: usize) -> String {
    let html = browser.get(log_in).await.expect_status(200).text();
    let (to, max_age) = (hidden(&html, "to"), hidden(&html, "max_age"));
    let fields = [("email", "ada@example.test"), ("to", to.as_str()), ("max_age", max_age.as_str())];
    browser.submits("/login", &fields).await.expect_status(200);
    let link = app.mailed_link(mails).await;
    browser.get(&link).await.expect_status(200);
    led(&browser.submits(&link, &[]).await)
}

on_both! {
    async fn an_unknown_human_comes_from_a_program_by_mail_to_the_question_and_back_with_a_code_that_works(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        was_claimed(&app, &ada.account).await;
        let (client, browser) = (OAuthClient::public(&app).await, Browser::new(&app));
        let (page, log_in) = begins(&client, &browser).await;
        assert_eq!(logs_in_by_mail(&app, &browser, &log_in, 1).await, page, "exactly back");
        let answer = presses(&browser, &page, "Allow").await;
        assert_eq!((text(&answer, "state"), text(&answer, "iss")), ("st-1", app.base.as_str()));
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        client.refreshes(text(&tokens, "refresh_token")).await.expect_status(200);
        app.stop().await;
    }

    async fn whoever_denies_after_the_log_in_sends_the_program_away_empty_handed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        was_claimed(&app, &ada.account).await;
        let (client, browser) = (OAuthClient::public(&app).await, Browser::new(&app));
        let (page, log_in) = begins(&client, &browser).await;
        assert_eq!(logs_in_by_mail(&app, &browser, &log_in, 1).await, page);
        let answer = presses(&browser, &page, "Deny").await;
        assert_eq!((text(&answer, "error"), text(&answer, "state"), text(&answer, "iss")), ("access_denied", "st-1", app.base.as_str()));
        assert!(answer.get("code").is_none());
        app.stop().await;
    }

    async fn the_same_way_leads_over_the_providers_own_log_in(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let connects = Away::in_browser(Browser::of_owner(&ada).await, "/dashboard/log-in/connect").await;
        connects.with(&issuer, connects.claims(&app, &issuer, "1001", "ada@example.test")).await.expect_status(303);
        let (client, stranger) = (OAuthClient::public(&app).await, Browser::new(&app));
        let (page, log_in) = begins(&client, &stranger).await;
        let html = stranger.get(&log_in).await.expect_status(200).text();
        let upstream = html.split("href=\"/login/upstream").nth(1).expect("the way to the issuer").split('"').next().unwrap();
        let away = Away::from(&app, &unescaped(upstream)).await;
        assert_eq!(away.of("max_age"), "300", "the issuer is told how fresh it must be");
        let back = away.with(&issuer, away.claims(&app, &issuer, "1001", "ada@example.test")).await;
        assert_eq!(led(&back), page);
        let answer = presses(&away.browser, &page, "Allow").await;
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 200);
        app.stop().await;
    }

    async fn a_pushed_request_goes_the_same_way(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        was_claimed(&app, &ada.account).await;
        let (client, browser) = (OAuthClient::confidential(&app).await, Browser::new(&app));
        let fields = client.asks(&[]);
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(fields.as_bytes()).into_owned().collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let pushed = client.post("/oauth/par", &fields).await.expect_status(201).json();
        let short = crate::harness::oauth::form(&[("client_id", &client.id), ("request_uri", text(&pushed, "request_uri"))]);
        let page = led(&browser.get(&format!("/oauth/authorize?{short}")).await);
        let log_in = led(&browser.get(&page).await);
        assert_eq!(logs_in_by_mail(&app, &browser, &log_in, 1).await, page);
        let answer = presses(&browser, &page, "Allow").await;
        client.redeems(text(&answer, "code")).await.expect_status(200);
        app.stop().await;
    }
}
