//! The five ways to hijack an account before its owner comes (Sudhodanan and Paverd, USENIX Security 2022). In each of them
//! an attacker prepares an account with the owner's address, and hopes to keep something when the owner takes it.

use chrono::TimeDelta;
use serde_json::json;

use super::*;
use crate::harness::app::user;
use crate::harness::wire::WireAgent;
use crate::login_upstream::is_out;
use crate::wire_accounts::page_of;

on_both! {
    /// Classic-federated merge.
    async fn an_account_that_an_attacker_opened_is_not_merged_with_the_owners_log_in_elsewhere(db: TestDb) {
        let (app, issuer) = start(&db).await;
        // The attacker's agent has the account of the owner's address.
        let mut attacker = app.agent().await;
        // The owner logs in at the OpenID provider: that merges nothing, and nothing of it lasts.
        let owner = at_the_issuer(&app, &issuer, Browser::new(&app), ("1001", ADA)).await;
        assert_eq!((is_unclaimed(&app, &attacker.account).await, ways_in(&app, &attacker.account).await), (true, (0, 0)));
        // With what they share nothing can be given away; and when the owner takes it, it is the owner's alone.
        owner.submits("/dashboard/cap/raise", &[("ceiling", "5000")]).await.expect_status(422);
        by_mail(&app, &owner, ADA, 1).await;
        claims_with(&owner, &[]).await.expect_status(303);
        assert_eq!(attacker.client.get("/v1/budget").await.status(), 401);
        assert!(!gets_in(&mut attacker).await);
        // And the other way round: the claimed account opens to nobody because of an address.
        let away = Away::from(&app, "").await;
        is_out(&away.with(&issuer, away.claims(&app, &issuer, "666", ADA)).await, 403);
        app.stop().await;
    }

    /// Unexpired session.
    async fn a_session_that_an_attacker_kept_open_ends_with_the_claim(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let attacker = app.agent().await;
        let (by_link, logged_in) = (Browser::by_link(&attacker).await, Browser::of_human(&attacker).await);
        let unused = attacker.link().await;
        let owner = proven(&app, &issuer, 1).await;
        claims_with(&owner, &[]).await.expect_status(303);
        for kept in [&by_link, &logged_in] {
            assert_eq!(kept.get("/dashboard").await.status(), 401);
            assert_eq!(kept.submits("/dashboard/cap", &[("ceiling", "1")]).await.status(), 401);
        }
        assert_eq!(Browser::new(&app).form(&unused, &[], "").await.status(), 410);
        app.stop().await;
    }

    /// Trojan identifier.
    async fn an_identifier_that_an_attacker_added_opens_nothing_after_the_claim(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let attacker = app.agent().await;
        // By the front door none can be added before the claim.
        let half = Browser::of_human(&attacker).await;
        assert_eq!(half.get("/dashboard/log-in/connect").await.status(), 409);
        assert!(half.get("/dashboard/log-in").await.text().contains("when you have claimed the account"));
        // However one came to be there, the claim takes it away.
        let owner = proven(&app, &issuer, 1).await;
        plant_ways_in(&app, &attacker.account, &issuer.url).await;
        claims_with(&owner, &[]).await.expect_status(303);
        assert_eq!(ways_in(&app, &attacker.account).await, (0, 1));
        let trojan = Away::from(&app, "").await;
        is_out(&trojan.with(&issuer, trojan.claims(&app, &issuer, "666", "eve@evil.example")).await, 403);
        app.stop().await;
    }

    /// Unexpired e-mail change. There is no change of an address here that could wait: what can wait is a link of a mail and
    /// a question, and both end within minutes, and with the claim.
    async fn what_an_attacker_left_waiting_is_cancelled_by_the_claim_and_by_time(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let attacker = app.agent().await;
        let second = crate::wire_accounts::another(&app, "Second", portreeve::orchestrator::ExistingAccount::UserConsent, &["example.test"]).await;
        let agent = WireAgent::register_as(&app, &second.id, |_| ()).await;
        let request = agent.account_request(&attacker.user);
        let question = page_of(&app, &agent.post("/provisioning/account_requests", &request).await.expect_status(200).json());
        let waiting = Browser::new(&app);
        waiting.submits("/login", &[("email", ADA)]).await.expect_status(200);
        let link = app.mailed_link(1).await;
        app.pass(TimeDelta::seconds(1));
        let owner = proven(&app, &issuer, 2).await;
        claims_with(&owner, &[]).await.expect_status(303);
        assert_eq!(waiting.submits(&link, &[]).await.status(), 410);
        assert!(!waiting.get("/dashboard").await.text().contains(ADA));
        let closed = owner.get(&question).await.expect_status(303);
        assert!(closed.header("location").contains("access_denied"));
        // Asked for after the claim it works, for 15 minutes and not for a day.
        app.pass(TimeDelta::seconds(1));
        for (minutes, status) in [(14, 303), (15, 410)] {
            let browser = Browser::new(&app);
            browser.submits("/login", &[("email", ADA)]).await.expect_status(200);
            let link = app.mailed_link(if minutes == 14 { 3 } else { 4 }).await;
            app.pass(TimeDelta::minutes(minutes));
            assert_eq!(browser.submits(&link, &[]).await.status(), status);
        }
        app.stop().await;
    }

    /// Non-verifying IdP.
    async fn a_log_in_whose_issuer_did_not_verify_the_address_neither_opens_nor_claims(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let mailbox = Browser::new(&app);
        by_mail(&app, &mailbox, ADA, 1).await;
        for said in [json!(false), serde_json::Value::Null] {
            let away = Away::from(&app, BACK).await;
            let mut claims = away.claims(&app, &issuer, "666", ADA);
            claims["email_verified"] = said;
            is_out(&away.with(&issuer, claims).await, 403);
        }
        // Nor as the second proof of somebody who reads the mailbox.
        let away = Away::in_browser(mailbox, &format!("/login/upstream{BACK}")).await;
        let mut claims = away.claims(&app, &issuer, "666", ADA);
        claims["email_verified"] = json!(false);
        is_out(&away.with(&issuer, claims).await, 403);
        claims_with(&away.browser, &[]).await.expect_status(403);
        // An orchestrator that does not verify it reaches no account that is there, and its own says so.
        let unverified = portreeve::simulator::User { email_verified: false, subject: "user_eve".to_owned(), ..user("ada") };
        let other = app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&unverified)})).await;
        let other = other.expect_status(201).json();
        assert_ne!(other["account"]["id"], json!(ada.account));
        assert!(is_unclaimed(&app, &ada.account).await);
        app.stop().await;
    }
}
