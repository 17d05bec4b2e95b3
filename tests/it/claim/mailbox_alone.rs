//! After a claim, who reads the mailbox and nothing more: an agent may. They look, and take power away; they gain none.

use std::sync::mpsc;
use std::time::Duration;

use chrono::TimeDelta;
use portreeve::db::schema::email_owners;
use portreeve::login::{self, LogInError, Proof};
use portreeve::orchestrator::ExistingAccount;
use portreeve::secret::Secret;
use portreeve::simulator::User;

use super::*;
use crate::harness::browser::was_claimed;
use crate::harness::oauth::OAuthClient;
use crate::harness::wire::WireAgent;
use crate::wire_accounts::{another, page_of};

/// Says that a mail is not enough, and which log-in is.
fn wants(answer: &Answer, wanted: &str) {
    let told = answer.text();
    assert_eq!(answer.status(), 403, "{told}");
    assert!(told.contains("programs may read your mail") && told.contains(wanted), "{told}");
}

const CONNECTED: &str = "Log in with the log-in that you connected";

on_both! {
    async fn the_mailbox_alone_gains_no_power_over_a_claimed_account_and_can_still_take_it_away(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let mut ada = app.agent().await;
        let owner = proven(&app, &issuer, 1).await;
        let harbour = app.orchestrator.id.to_string();
        claims_with(&owner, &[&harbour]).await.expect_status(303);
        assert!(gets_in(&mut ada).await);
        ada.buys("sandbox", "free").await.expect_status(201);
        let agent = app.app().db.read(|conn| {
            use portreeve::db::schema::agents;
            Ok::<_, DbError>(agents::table.select(agents::id).order(agents::id.desc()).first::<String>(conn)?)
        });
        let agent = format!("/dashboard/agents/{}", agent.await.unwrap());
        app.pass(TimeDelta::seconds(1));
        // The agent asks for a mail, and reads it.
        let mailbox = Browser::new(&app);
        by_mail(&app, &mailbox, ADA, 2).await;
        let nothing: &[(&str, &str)] = &[];
        for (path, fields) in [
            ("/dashboard/log-in/disconnect", nothing),
            ("/dashboard/passkeys/x/remove", &[]),
            ("/dashboard/cap/raise", &[("ceiling", "5000")]),
            ("/dashboard/export", &[]),
            ("/dashboard/close", &[("word", "close")]),
            ("/dashboard/sidecars/acct_x/merge", &[("scope", "resources:write")]),
            ("/dashboard/sidecars/acct_x/move", &[]),
            ("/dashboard/sidecars/acct_x/discard", &[("sure", "yes")]),
        ] {
            wants(&mailbox.submits(path, fields).await, CONNECTED);
        }
        for path in ["/dashboard/log-in/connect", "/dashboard/sidecars", "/dashboard/export", "/dashboard/close"] {
            wants(&mailbox.get(path).await, CONNECTED);
        }
        let begun = Outgoing::post_json(mailbox.client.url("/dashboard/passkeys/begin"), &json!({})).header("sec-fetch-site", "same-origin");
        assert_eq!(mailbox.send(begun).await.status(), 403);
        assert_eq!(ways_in(&app, &ada.account).await, (0, 1));
        // It takes away: lowers, stops, pauses, ends; and what it stopped it cannot let go on.
        mailbox.get("/dashboard").await.expect_status(200);
        mailbox.get("/dashboard/log-in").await.expect_status(200);
        mailbox.submits("/dashboard/cap", &[("ceiling", "50")]).await.expect_status(303);
        mailbox.submits("/dashboard/stop", &[]).await.expect_status(303);
        wants(&mailbox.submits("/dashboard/resume", &[]).await, CONNECTED);
        mailbox.submits(&format!("{agent}/pause"), &[]).await.expect_status(303);
        wants(&mailbox.submits(&format!("{agent}/resume"), &[]).await, CONNECTED);
        let page = mailbox.get("/dashboard").await.text();
        assert!(page.contains("Log in to resume") && !page.contains("Raise the cap"), "{page}");
        // It is led to the other way, and by that its human does all of it.
        let log_in = mailbox.get("/login?to=%2Fdashboard&max_age=300").await.expect_status(200).text();
        assert!(log_in.contains("Log in in another way.") && log_in.contains("Continue with Acme ID"), "{log_in}");
        assert!(!log_in.contains("name=\"email\""), "{log_in}");
        let owner = at_the_issuer(&app, &issuer, mailbox, ("1001", ADA)).await;
        owner.submits("/dashboard/resume", &[]).await.expect_status(303);
        owner.submits(&format!("{agent}/resume"), &[]).await.expect_status(303);
        owner.submits("/dashboard/cap/raise", &[("ceiling", "60")]).await.expect_status(303);
        owner.get("/dashboard/export").await.expect_status(200);
        app.stop().await;
    }

    async fn the_mailbox_alone_allows_nothing_on_a_claimed_account_and_may_deny(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        let owner = proven(&app, &issuer, 1).await;
        claims_with(&owner, &[]).await.expect_status(303);
        let second = another(&app, "Second", ExistingAccount::UserConsent, &["example.test"]).await;
        let wire = WireAgent::register_as(&app, &second.id, |_| ()).await;
        let asked = wire.post("/provisioning/account_requests", &wire.account_request(&User::ada())).await;
        let page = page_of(&app, &asked.expect_status(200).json());
        app.pass(TimeDelta::seconds(1));
        let mailbox = Browser::new(&app);
        by_mail(&app, &mailbox, ADA, 2).await;
        wants(&mailbox.get(&page).await, CONNECTED);
        let (path, query) = page.split_once('?').unwrap();
        wants(&mailbox.submits(&format!("{path}/allow?{query}"), &[("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")]).await, CONNECTED);
        let denied = mailbox.submits(&format!("{path}/deny?{query}"), &[]).await.expect_status(303);
        assert!(denied.header("location").contains("error=access_denied"), "{}", denied.header("location"));
        // A program's question: neither shown, nor answered, nor answered from what is remembered.
        let client = OAuthClient::public(&app).await;
        let asks = [("scope", "budget:read")];
        let question = client.page(&asks).await;
        for _ in 0..2 {
            let led = mailbox.get(&question).await.expect_status(303);
            assert!(led.header("location").starts_with("/login?to="), "{}", led.header("location"));
        }
        assert!(mailbox.get(mailbox.get(&question).await.header("location")).await.expect_status(200).text().contains("another way"));
        wants(&mailbox.submits(&format!("{question}/allow"), &[("scope", "budget:read")]).await, CONNECTED);
        let allowed = owner.submits(&format!("{question}/allow"), &[("scope", "budget:read")]).await.expect_status(303);
        assert!(allowed.header("location").contains("code="), "{}", allowed.header("location"));
        let again = mailbox.get(&client.page(&asks).await).await.expect_status(303);
        assert!(again.header("location").starts_with("/login?to="), "{}", again.header("location"));
        let denied = mailbox.submits(&format!("{}/deny", client.page(&asks).await), &[]).await.expect_status(303);
        assert!(denied.header("location").contains("error=access_denied"), "{}", denied.header("location"));
        app.stop().await;
    }

    async fn with_a_passkey_the_mailbox_alone_is_not_enough_and_with_no_other_way_it_is(db: TestDb) {
        let app = start_with_passkeys(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&crate::harness::app::user("bob")).await);
        let browser = Browser::new(&app);
        by_mail(&app, &browser, ADA, 1).await;
        let fields = passkey(&browser, true).await;
        browser.submits("/claim", &borrowed(&fields)).await.expect_status(303);
        app.pass(TimeDelta::seconds(1));
        let mailbox = Browser::new(&app);
        by_mail(&app, &mailbox, ADA, 2).await;
        wants(&mailbox.submits("/dashboard/cap/raise", &[("ceiling", "5000")]).await, "Log in with a passkey of yours");
        let log_in = mailbox.get("/login").await.expect_status(200).text();
        assert!(log_in.contains("Log in with a passkey") && !log_in.contains("name=\"email\""), "{log_in}");
        assert_eq!(ways_in(&app, &ada.account).await, (1, 0));
        was_claimed(&app, &bob.account).await;
        let mailbox = Browser::new(&app);
        by_mail(&app, &mailbox, "bob@example.test", 3).await;
        mailbox.submits("/dashboard/cap/raise", &[("ceiling", "5000")]).await.expect_status(303);
        app.stop().await;
    }

    async fn a_mailbox_that_was_proven_before_the_other_log_in_counts_beside_it(db: TestDb) {
        let (app, issuer) = start(&db).await;
        app.agent().await;
        let owner = proven(&app, &issuer, 1).await;
        claims_with(&owner, &[]).await.expect_status(303);
        let unowned = app.app().db.write(HOUSE, |conn| Ok::<_, DbError>(diesel::delete(email_owners::table).execute(conn)?));
        unowned.await.unwrap();
        app.pass(TimeDelta::seconds(1));
        let unproven = "Your address is not confirmed";
        let alone = at_the_issuer(&app, &issuer, Browser::new(&app), ("1001", ADA)).await;
        assert!(alone.get("/dashboard/sidecars").await.expect_status(200).text().contains(unproven));
        let both = Browser::new(&app);
        by_mail(&app, &both, ADA, 2).await;
        let both = at_the_issuer(&app, &issuer, both, ("1001", ADA)).await;
        assert!(!both.get("/dashboard/sidecars").await.expect_status(200).text().contains(unproven));
        app.pass(TimeDelta::seconds(299));
        let both = at_the_issuer(&app, &issuer, both, ("1001", ADA)).await;
        app.pass(TimeDelta::seconds(2));
        assert!(both.get("/dashboard/sidecars").await.expect_status(200).text().contains(unproven), "five minutes ago");
        app.stop().await;
    }

    async fn an_address_that_opens_nothing_any_more_is_no_way_in_that_is_left(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let owner = proven(&app, &issuer, 1).await;
        claims_with(&owner, &[]).await.expect_status(303);
        assert!(owner.get("/dashboard/log-in").await.text().contains("A link to ada@example.test"));
        let id: AccountId = ada.account.parse().unwrap();
        let recycled = app.app().db.write(HOUSE, move |conn| portreeve::account::distrust_email(conn, &id, true));
        recycled.await.unwrap();
        let page = owner.get("/dashboard/log-in").await.text();
        assert!(page.contains("<b>Mail</b><span>Not possible</span>"), "{page}");
        let kept = owner.submits("/dashboard/log-in/disconnect", &[]).await.expect_status(409).text();
        assert!(kept.contains("This is the only way in to your account."), "{kept}");
        assert_eq!(ways_in(&app, &ada.account).await, (0, 1));
        app.stop().await;
    }

    async fn a_session_that_begins_while_an_account_is_claimed_ends_with_the_claim(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&crate::harness::app::user("bob")).await);
        let link = bob.link().await;
        let link = Secret::presented(link.rsplit('/').next().unwrap()).hash();
        let now = app.now();
        for (agent, link) in [(&ada, None), (&bob, Some(link))] {
            let (account, session): (AccountId, _) = (agent.account.parse().unwrap(), Secret::generate("ses").unwrap());
            let (hash, owner, address) = (session.hash(), account.clone(), agent.user.email.clone());
            let (begun, has_begun) = mpsc::channel();
            let (ended, has_ended) = mpsc::channel();
            // It is written and not committed, for as long as the claim takes that does not wait for it.
            let begins = app.app().db.write("begins", move |conn| {
                match &link {
                    None => login::log_in(conn, (&Proof::Mailbox(address.clone()), &owner), None, (&hash, None), now)?,
                    Some(link) => {
                        login::redeem(conn, link, &hash, now).expect("the link works");
                    }
                }
                begun.send(()).expect("the claim waits");
                let _ = has_ended.recv_timeout(Duration::from_secs(2));
                Ok::<_, LogInError>(())
            });
            let claims = async {
                tokio::task::spawn_blocking(move || has_begun.recv()).await.unwrap().expect("the session is there");
                let claimed = app.app().db.write("claims", move |conn| {
                    portreeve::account::claim(conn, &account, "mail_and_oidc", now)?;
                    login::end_all(conn, &account, now)?;
                    Ok::<_, portreeve::account::ClaimError>(())
                });
                claimed.await.unwrap();
                let _ = ended.send(());
            };
            let (session_began, ()) = futures_util::future::join(begins, claims).await;
            session_began.unwrap();
            let found = app.app().db.read(move |conn| login::find(conn, &session, now)).await.unwrap();
            assert!(found.is_none(), "{}", agent.account);
        }
        app.stop().await;
    }
}
