//! Nobody is worn down: one question of a client is open at a time, there are only so many on a day, and who is denied
//! three times in a row waits.

use chrono::TimeDelta;
use futures_util::future::join_all;

use crate::consent_memory::{allows, denies, is_asked, is_not_asked};
use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::oauth::{OAuthClient, REDIRECT, text};

const ONE: [(&str, &str); 1] = [("scope", "budget:read")];
const TWO: [(&str, &str); 1] = [("scope", "resources:read budget:read")];
const ALWAYS: [(&str, &str); 2] = [("scope", "budget:read"), ("prompt", "consent")];

/// The page says that another question comes first; where that is.
async fn waits(browser: &Browser, page: &str) -> String {
    let html = browser.get(page).await.expect_status(200).text();
    assert!(html.contains("asking you something else already") && !html.contains(">Allow</button>"), "{html}");
    let link = html.split("href=\"/consent/").nth(1).unwrap().split('"').next().unwrap();
    format!("/consent/{link}")
}

on_both! {
    async fn a_second_question_waits_and_is_answered_by_itself_when_it_asks_for_no_more(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let (first, second) = (client.page(&TWO).await, client.page(&ONE).await);
        is_asked(&browser, &first).await;
        app.pass(TimeDelta::seconds(30));
        assert_eq!(waits(&browser, &second).await, first, "it leads to the older one");
        // It cannot be answered past the other either.
        for button in ["allow", "deny"] {
            let answer = browser.submits(&format!("{second}/{button}"), &ONE).await;
            assert!(answer.text().contains("asking you something else already"), "{button}: {}", answer.text());
        }
        is_asked(&browser, &first).await;
        allows(&browser, &first, &["resources:read", "budget:read"]).await;
        assert!(is_not_asked(&browser, &second).await["code"].is_string());
        app.stop().await;
    }

    async fn a_second_question_that_asks_for_more_is_asked_when_it_is_its_turn(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let (first, second) = (client.page(&ONE).await, client.page(&TWO).await);
        is_asked(&browser, &first).await;
        waits(&browser, &second).await;
        allows(&browser, &first, &["budget:read"]).await;
        assert!(is_asked(&browser, &second).await.contains("It asks for more than before"));
        app.stop().await;
    }

    async fn the_human_may_answer_the_later_question_first(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let (first, second) = (client.page(&TWO).await, client.page(&ONE).await);
        is_asked(&browser, &first).await;
        waits(&browser, &second).await;
        let instead = format!("{second}/instead");
        assert_eq!(browser.form(&instead, &[("sec-fetch-site", "cross-site")], "").await.status(), 403);
        assert_eq!(Browser::by_link(&ada).await.submits(&instead, &[]).await.status(), 403);
        let moved = browser.submits(&instead, &[]).await.expect_status(303);
        assert_eq!(moved.header("location"), second);
        assert_eq!(waits(&browser, &first).await, second, "now the older one waits");
        allows(&browser, &second, &["budget:read"]).await;
        is_asked(&browser, &first).await;
        app.stop().await;
    }

    async fn a_question_that_nobody_answered_makes_room_when_its_time_is_over(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        is_asked(&Browser::of_owner(&ada).await, &client.page(&ONE).await).await;
        app.pass(TimeDelta::minutes(5));
        let second = client.page(&ONE).await;
        waits(&Browser::of_owner(&ada).await, &second).await;
        app.pass(TimeDelta::minutes(5));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&ONE).await).await;
        app.stop().await;
    }

    async fn of_many_questions_at_once_one_is_shown(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let pages = join_all((0..8).map(|_| client.page(&ONE))).await;
        let shown = join_all(pages.iter().map(|page| browser.get(page))).await;
        let asked = shown.iter().filter(|answer| answer.text().contains(">Allow</button>")).count();
        assert_eq!((asked, shown.iter().all(|answer| answer.status() == 200)), (1, true));
        app.stop().await;
    }

    async fn a_client_asks_so_often_on_a_day_and_then_hears_how_long_to_wait(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.prompts_per_day", "3")]).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let (client, other) = (OAuthClient::public(&app).await, OAuthClient::public(&app).await);
        let browser = Browser::of_owner(&ada).await;
        for _ in 0..3 {
            let page = client.page(&ALWAYS).await;
            for _ in 0..5 {
                is_asked(&browser, &page).await;
            }
            allows(&browser, &page, &["budget:read"]).await;
        }
        let page = client.page(&ALWAYS).await;
        let answer = is_not_asked(&browser, &page).await;
        assert_eq!(text(&answer, "error"), "access_denied");
        let wait: i64 = text(&answer, "retry_after").parse().unwrap();
        assert!((1..=86_401).contains(&wait), "{wait}");
        let posted = browser.submits(&format!("{page}/allow"), &ONE).await;
        assert!(posted.header("location").contains("error=access_denied"), "posting is no way around it");
        // What was allowed goes on, and so does everybody else.
        assert!(is_not_asked(&browser, &client.page(&ONE).await).await["code"].is_string());
        is_asked(&browser, &other.page(&ALWAYS).await).await;
        is_asked(&Browser::of_owner(&bob).await, &client.page(&ALWAYS).await).await;
        app.pass(TimeDelta::seconds(wait));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&ALWAYS).await).await;
        app.stop().await;
    }

    async fn whoever_registers_under_many_names_is_one_who_asks(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.dynamic_registration", "true")]).await;
        let ada = app.agent().await;
        let browser = Browser::of_owner(&ada).await;
        for name in ["One", "Two", "Three", "Four"] {
            let said = serde_json::json!({"client_name": name, "redirect_uris": [REDIRECT]});
            let told = app.stranger().post("/oauth/register", &said).await.expect_status(201).json();
            let client = OAuthClient { app: &app, http: app.stranger(), id: text(&told, "client_id").to_owned(), secret: None };
            let page = client.page(&ONE).await;
            if name == "Four" {
                let answer = is_not_asked(&browser, &page).await;
                assert_eq!((text(&answer, "error"), answer["retry_after"].is_string()), ("access_denied", true));
                // A program that the provider knows is another matter.
                is_asked(&browser, &OAuthClient::public(&app).await.page(&ONE).await).await;
            } else {
                is_asked(&browser, &page).await;
                denies(&browser, &page).await;
            }
        }
        app.stop().await;
    }

    async fn three_denials_in_a_row_make_a_client_wait(db: TestDb) {
        let app = TestApp::start_with(&db, &[("oauth.denied_wait_hours", "30")]).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let (client, other) = (OAuthClient::public(&app).await, OAuthClient::public(&app).await);
        let browser = Browser::of_owner(&ada).await;
        // A yes in between, and the count begins anew.
        for no in [true, true, false, true, true, true] {
            let page = client.page(&ALWAYS).await;
            is_asked(&browser, &page).await;
            if no {
                denies(&browser, &page).await;
            } else {
                allows(&browser, &page, &["budget:read"]).await;
            }
        }
        let answer = is_not_asked(&browser, &client.page(&ALWAYS).await).await;
        assert_eq!((text(&answer, "error"), text(&answer, "retry_after")), ("access_denied", "108001"));
        is_asked(&browser, &other.page(&ALWAYS).await).await;
        is_asked(&Browser::of_owner(&bob).await, &client.page(&ALWAYS).await).await;
        app.pass(TimeDelta::hours(29));
        let early = is_not_asked(&Browser::of_owner(&ada).await, &client.page(&ALWAYS).await).await;
        assert_eq!(text(&early, "retry_after"), "3601");
        app.pass(TimeDelta::hours(1));
        is_asked(&Browser::of_owner(&ada).await, &client.page(&ALWAYS).await).await;
        app.stop().await;
    }
}
