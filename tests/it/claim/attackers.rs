//! What does not claim an account: agents, thieves of links, other sites, and the second of two.

use chrono::TimeDelta;
use futures_util::future::join;
use serde_json::json;

use super::*;
use crate::login_upstream::is_out;

/// Ada asks for a link in her browser; a thief presses it in another, and comes no further.
async fn steals(app: &TestApp, owner: &Browser, thief: &Browser) {
    owner.submits("/login", &[("email", ADA), ("to", "/claim"), ("max_age", "300")]).await.expect_status(200);
    let link = app.mailed_link(1).await;
    thief.submits(&link, &[]).await.expect_status(303);
    assert!(!thief.get("/claim").await.expect_status(200).text().contains("action=\"/claim\""));
    claims_with(thief, &[]).await.expect_status(403);
    // The link is used up, for everybody.
    assert_eq!(owner.submits(&link, &[]).await.status(), 410);
}

on_both! {
    async fn an_agent_with_a_link_of_its_own_cannot_claim(db: TestDb) {
        let app = start_with_passkeys(&db).await;
        let ada = app.agent().await;
        let agent = Browser::by_link(&ada).await;
        // It may look where the way begins, and press the link in the dashboard.
        let page = agent.get("/dashboard").await.expect_status(200).text();
        assert!(page.contains("href=\"/claim\">Claim this account</a>"), "{page}");
        let start = agent.get("/claim").await.expect_status(200).text();
        assert!(start.contains("Make it yours.") && !start.contains("action=\"/claim\""), "{start}");
        assert!(claims_with(&agent, &[]).await.expect_status(403).text().contains("agents can make such links"));
        let begun = Outgoing::post_json(agent.client.url("/claim/passkey/begin"), &json!({})).header("sec-fetch-site", "same-origin");
        assert_eq!(agent.send(begun).await.status(), 403);
        // Nor with its token, nor without anything.
        for stranger in [app.stranger().with_token(&ada.token), app.stranger()] {
            assert_eq!(stranger.post_form("/claim", &[]).await.status(), 401);
        }
        assert!(is_unclaimed(&app, &ada.account).await);
        app.stop().await;
    }

    async fn a_stolen_mail_link_without_the_second_proof_claims_nothing(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let (owner, thief) = (Browser::new(&app), Browser::new(&app));
        steals(&app, &owner, &thief).await;
        // Their own log-in does not open Ada's account, and their mailbox is another one.
        let away = Away::in_browser(thief, &format!("/login/upstream{BACK}")).await;
        is_out(&away.with(&issuer, away.claims(&app, &issuer, "666", "eve@evil.example")).await, 403);
        claims_with(&away.browser, &[]).await.expect_status(403);
        assert!(is_unclaimed(&app, &ada.account).await);
        app.stop().await;
    }

    async fn with_a_stolen_mail_link_no_passkey_of_the_thief_is_even_asked_for(db: TestDb) {
        let app = start_with_passkeys(&db).await;
        let ada = app.agent().await;
        let (owner, thief) = (Browser::new(&app), Browser::new(&app));
        steals(&app, &owner, &thief).await;
        let start = thief.get("/claim").await.expect_status(200).text();
        assert!(start.contains("asked for in another browser"), "{start}");
        let begun = Outgoing::post_json(thief.client.url("/claim/passkey/begin"), &json!({})).header("sec-fetch-site", "same-origin");
        assert_eq!(thief.send(begun).await.status(), 400);
        assert!(is_unclaimed(&app, &ada.account).await);
        app.stop().await;
    }

    async fn of_two_humans_who_claim_at_once_one_does(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let (one, two) = (proven(&app, &issuer, 1).await, proven(&app, &issuer, 2).await);
        let harbour = app.orchestrator.id.to_string();
        let (first, second) = join(claims_with(&one, &[&harbour]), claims_with(&two, &[])).await;
        let statuses = [first.status(), second.status()];
        assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
        assert!(statuses.iter().any(|status| matches!(status, 401 | 409)), "{statuses:?}");
        let (winner, loser) = if first.status() == 303 { (one, two) } else { (two, one) };
        winner.get("/dashboard").await.expect_status(200);
        assert_eq!(loser.get("/dashboard").await.status(), 401);
        // And never again, by nobody.
        claims_with(&loser, &[]).await.expect_status(401);
        let again = claims_with(&winner, &[]).await.expect_status(409).text();
        assert!(again.contains("This account is claimed."), "{again}");
        assert_eq!(state(&app, &ada.account).await.0, "active");
        app.stop().await;
    }

    async fn another_site_cannot_claim_for_somebody_who_proved_everything(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let browser = proven(&app, &issuer, 1).await;
        for site in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")] {
            browser.form("/claim", &[site], "keep=x").await.expect_status(403);
            browser.form("/claim/passkey/begin", &[site], "").await.expect_status(403);
        }
        for _ in 0..3 {
            browser.get("/claim").await.expect_status(200);
            browser.client.head("/claim").await;
        }
        assert!(is_unclaimed(&app, &ada.account).await);
        let page = browser.get("/claim").await;
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
        app.stop().await;
    }

    async fn proofs_grow_old_and_do_not_add_up_over_accounts_or_ended_sessions(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&crate::harness::app::user("bob")).await);
        // Five minutes after the log-in the last step asks for it once more.
        let browser = proven(&app, &issuer, 1).await;
        app.pass(TimeDelta::seconds(301));
        claims_with(&browser, &[]).await.expect_status(403);
        assert!(!browser.get("/claim").await.expect_status(200).text().contains("action=\"/claim\""));
        // The mailbox counts for a quarter of an hour.
        let browser = at_the_issuer(&app, &issuer, browser, ("1001", ADA)).await;
        assert!(browser.get("/claim").await.text().contains("action=\"/claim\""));
        app.pass(TimeDelta::seconds(600));
        let browser = at_the_issuer(&app, &issuer, browser, ("1001", ADA)).await;
        claims_with(&browser, &[]).await.expect_status(403);
        // What was proved about one account says nothing about another.
        let browser = Browser::new(&app);
        by_mail(&app, &browser, ADA, 2).await;
        let browser = at_the_issuer(&app, &issuer, browser, ("2002", "bob@example.test")).await;
        claims_with(&browser, &[]).await.expect_status(403);
        // Whoever logged out begins anew, also with the cookie from before.
        let browser = Browser::new(&app);
        by_mail(&app, &browser, ADA, 3).await;
        let old = browser.cookie(SESSION).unwrap();
        browser.submits("/dashboard/logout", &[]).await.expect_status(200);
        browser.takes(SESSION, &old);
        let browser = at_the_issuer(&app, &issuer, browser, ("1001", ADA)).await;
        claims_with(&browser, &[]).await.expect_status(403);
        assert!(is_unclaimed(&app, &ada.account).await && is_unclaimed(&app, &bob.account).await);
        app.stop().await;
    }

    async fn a_frozen_account_cannot_be_claimed(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let browser = proven(&app, &issuer, 1).await;
        let (id, now) = (ada.account.parse().unwrap(), app.now());
        let frozen = app.app().db.write(HOUSE, move |conn| portreeve::account::freeze(conn, &id, "operator", "test", now));
        frozen.await.unwrap();
        claims_with(&browser, &[]).await.expect_status(401);
        assert_eq!(state(&app, &ada.account).await, ("frozen".to_owned(), None));
        app.stop().await;
    }
}
