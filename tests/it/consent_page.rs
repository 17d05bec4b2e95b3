//! The page that asks: what stands where, what can be unticked, and who can answer it at all.

use serde_json::json;

use crate::consent_memory::{allows, is_asked};
use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::oauth::{OAuthClient, REDIRECT, answered, text};

const EVERYTHING: &str = "resources:read resources:write resources:delete budget:read dashboard:link";

on_both! {
    async fn effects_stand_in_groups_and_what_deletes_begins_unticked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        let page = client.page(&[("scope", EVERYTHING)]).await;
        let shown = browser.get(&page).await.expect_status(200);
        let html = shown.text();
        let places: Vec<_> = ["See", "Create", "Change", "Delete", "Spend"]
            .map(|group| html.find(&format!("<legend>{group}</legend>")).unwrap_or_else(|| panic!("{group}: {html}")))
            .into();
        assert!(places.is_sorted(), "{places:?}");
        for (scope, ticked) in [("resources:read", true), ("budget:read", true), ("resources:write", true),
            ("resources:delete", false), ("dashboard:link", false)] {
            let tick = format!("name=\"scope\" value=\"{scope}\"{}>", if ticked { " checked" } else { "" });
            assert!(html.contains(&tick), "`{tick}` is missing: {html}");
        }
        assert!(html.contains("asked just now, returns to <code>agent.example</code>"), "{html}");
        assert!(html.contains("registered by Acme Cloud") && !html.contains("<img") && !html.contains("autofocus"));
        let policy = shown.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
        app.stop().await;
    }

    async fn deleting_is_allowed_by_itself_and_creating_does_not_bring_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let bought = ada.buys("sandbox", "free").await.expect_status(201).json();
        let path = format!("/v1/resources/{}", text(&bought["resource"], "id"));
        let client = OAuthClient::public(&app).await;
        let browser = Browser::of_owner(&ada).await;
        for (ticks, status) in [(&["resources:write"][..], 403), (&["resources:write", "resources:delete"][..], 200)] {
            let page = client.page(&[("scope", EVERYTHING), ("prompt", "consent")]).await;
            is_asked(&browser, &page).await;
            let answer = allows(&browser, &page, ticks).await;
            let token = client.redeems(text(&answer, "code")).await.expect_status(200).json();
            let agent = app.stranger().with_token(text(&token, "access_token"));
            assert_eq!(agent.delete(&path).await.status(), status, "{ticks:?}");
        }
        app.stop().await;
    }

    async fn what_a_client_needs_cannot_be_unticked_and_more_than_asked_cannot_be_ticked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        // The request says it, or else the client's metadata.
        let says = OAuthClient::register(&app, json!({"optional_scopes": "budget:read"})).await;
        let silent = OAuthClient::public(&app).await;
        let scope = ("scope", "resources:read resources:delete budget:read");
        let browser = Browser::of_owner(&ada).await;
        for (client, asked) in [(&says, vec![scope]), (&silent, vec![scope, ("optional_scopes", "budget:read")])] {
            let page = client.page(&asked).await;
            let html = is_asked(&browser, &page).await;
            assert!(html.contains("needed: it does not work without") && html.contains("says that it does not work without"), "{html}");
            assert!(!html.contains("value=\"resources:read\""), "there is nothing to untick: {html}");
            assert!(html.contains("value=\"budget:read\" checked"), "{html}");
            assert!(html.contains("value=\"resources:delete\">"), "to delete is never a condition: {html}");
            let answer = allows(&browser, &page, &["dashboard:link", "resources:write"]).await;
            let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
            assert_eq!(tokens["scope"], "resources:read", "what is needed, and nothing of what was not asked");
        }
        // Whoever asks for everything gets what the human leaves.
        let page = silent.page(&[("scope", EVERYTHING), ("optional_scopes", "budget:read")]).await;
        assert!(is_asked(&browser, &page).await.contains("value=\"resources:read\" checked"));
        let twice = silent.authorize(&[("optional_scopes", "a"), ("scope", "budget:read")]).await;
        assert_eq!(twice.status(), 303);
        app.stop().await;
    }

    async fn a_question_that_was_shown_to_one_human_is_no_other_ones_to_answer(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let (hers, his) = (Browser::of_owner(&ada).await, Browser::of_owner(&bob).await);
        is_asked(&hers, &page).await;
        let refused = his.get(&page).await.expect_status(403).text();
        assert!(!refused.contains("ada@example.test") && !refused.contains("Codex"), "{refused}");
        for button in ["allow", "deny", "instead"] {
            let answer = his.submits(&format!("{page}/{button}"), &[("scope", "budget:read")]).await;
            assert_eq!(answer.status(), 403, "{button}: {}", answer.text());
        }
        let answer = allows(&hers, &page, &["budget:read"]).await;
        let tokens = client.redeems(text(&answer, "code")).await.expect_status(200).json();
        assert_eq!(app.stranger().with_token(text(&tokens, "access_token")).get("/v1/resources").await.status(), 403);
        app.stop().await;
    }

    async fn looking_twice_changes_nothing_and_answering_twice_counts_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let browser = Browser::of_owner(&ada).await;
        assert_eq!(is_asked(&browser, &page).await, is_asked(&browser, &page).await);
        let ticks = [("scope", "budget:read")];
        answered(&browser.submits(&format!("{page}/allow"), &ticks).await, REDIRECT);
        browser.submits(&format!("{page}/allow"), &ticks).await.expect_status(410);
        browser.submits(&format!("{page}/deny"), &[]).await.expect_status(410);
        browser.submits(&format!("{page}/instead"), &[]).await.expect_status(410);
        app.stop().await;
    }
}
