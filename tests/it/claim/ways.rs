//! The ways to claim, what a claim leads to, and ways to log in that are added afterwards.

use chrono::TimeDelta;
use futures_util::future::join;
use portreeve::app::HOUSE;
use portreeve::config::PasskeyProof;
use portreeve::ids::AccountId;
use portreeve::login::{self, ConnectError, Method, PasskeyError, WaysIn};
use portreeve::orchestrator::{self, ExistingAccount, NewOrchestrator};
use portreeve::simulator::User;
use serde_json::{Value, json};

use super::*;
use crate::harness::app::user;
use crate::harness::browser::was_claimed;
use crate::harness::oauth::OAuthClient;
use crate::harness::wire::WireAgent;
use crate::login_upstream::is_out;
use crate::wire_accounts::{another, page_of};

/// Registers the OpenID provider as an orchestrator, and opens the account of a person of it.
async fn opened_by_the_issuer(app: &TestApp, issuer: &MockIssuer, subject: &str, email: Value) -> String {
    let mut new = NewOrchestrator::new("Acme ID".parse().unwrap(), issuer.url.parse().unwrap(), "desk");
    new.existing_account = ExistingAccount::Sidecar;
    let now = app.now();
    app.app().db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now)).await.unwrap();
    let now = now.seconds();
    let token = issuer.sign(&json!({
        "iss": issuer.url, "aud": "desk", "sub": subject, "iat": now, "exp": now + 300, "auth_time": now, "jti": "j1",
        "email": email, "email_verified": false,
    }));
    let opened = app.stranger().post("/v1/accounts", &json!({"id_token": token})).await.expect_status(201).json();
    opened["account"]["id"].as_str().unwrap().to_owned()
}

/// A browser of a person of the issuer, with the session of that account: it is entered by a link of the agent's first,
/// because an address that nobody proved opens nothing.
async fn comes_back(app: &TestApp, issuer: &MockIssuer, subject: &str, age: i64) -> Away {
    let away = Away::from(app, BACK).await;
    let mut said = away.claims(app, issuer, subject, "countess@elsewhere.example");
    said["auth_time"] = json!(app.now().seconds() - age);
    issuer.will_say(said);
    away
}

on_both! {
    async fn a_mailbox_and_a_fresh_log_in_with_the_same_address_claim_in_either_order(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let (ada, bob) = (app.agent().await, app.agent_of(&user("bob")).await);
        let start = app.stranger().get("/claim").await.expect_status(200).text();
        assert!(start.contains("Claim your account") && start.contains("Continue with Acme ID"), "{start}");
        let browser = Browser::new(&app);
        by_mail(&app, &browser, ADA, 1).await;
        let half = browser.get("/claim").await.expect_status(200).text();
        assert!(half.contains("Harbour opened this account for you. Make it yours.") && half.contains("done</span>"), "{half}");
        assert!(!half.contains("action=\"/claim\""));
        let browser = at_the_issuer(&app, &issuer, browser, ("1001", ADA)).await;
        let screen = browser.get("/claim").await.expect_status(200).text();
        for wanted in ["<b>Harbour</b> opened this account for you. It has 0 resources and spent $0.00 of $100.00 in November",
            "Agents of Harbour", "opened the account", "What ends", "action=\"/claim\""] {
            assert!(screen.contains(wanted), "`{wanted}` is missing: {screen}");
        }
        assert!(is_unclaimed(&app, &ada.account).await, "looking is not claiming");
        let done = claims_with(&browser, &[]).await.expect_status(303);
        assert_eq!((done.header("location"), done.header("cache-control")), ("/dashboard?done=claimed", "no-store"));
        assert_eq!(state(&app, &ada.account).await, ("active".to_owned(), Some("mail_and_oidc".to_owned())));
        let page = browser.get("/dashboard?done=claimed").await.expect_status(200).text();
        assert!(page.contains("This account is yours now.") && page.contains("claimed the account"), "{page}");
        assert!(!page.contains("is not claimed yet"));
        assert!(browser.get("/claim").await.expect_status(200).text().contains("This account is claimed."));
        // The other way round.
        let browser = at_the_issuer(&app, &issuer, Browser::new(&app), ("2002", "bob@example.test")).await;
        claims_with(&browser, &[]).await.expect_status(403);
        by_mail(&app, &browser, "bob@example.test", 2).await;
        claims_with(&browser, &[]).await.expect_status(303);
        assert_eq!(state(&app, &bob.account).await.0, "active");
        // Whoever claimed logs in there from now on, whatever their address is then.
        let away = Away::from(&app, "").await;
        away.with(&issuer, away.claims(&app, &issuer, "1001", "new@elsewhere.example")).await.expect_status(303);
        assert!(away.browser.get("/dashboard").await.text().contains(ADA));
        app.stop().await;
    }

    async fn the_person_whom_the_issuer_named_claims_with_one_fresh_log_in_and_loses_an_unproven_address(db: TestDb) {
        let (app, issuer) = start(&db).await;
        // The issuer says the person, and an address that nobody verified: an attacker's.
        let account = opened_by_the_issuer(&app, &issuer, "1001", json!("eve@evil.example")).await;
        // The attacker reads that mailbox, and is in: to look.
        let eve = Browser::new(&app);
        by_mail(&app, &eve, "eve@evil.example", 1).await;
        claims_with(&eve, &[]).await.expect_status(403);
        // Logged in there long ago, or somebody else: not enough.
        let stale = comes_back(&app, &issuer, "1001", 3600).await;
        is_out(&stale.comes_back("").await, 502);
        let away = comes_back(&app, &issuer, "2002", 0).await;
        is_out(&away.comes_back("").await, 403);
        let away = comes_back(&app, &issuer, "1001", 0).await;
        away.comes_back("").await.expect_status(303);
        let screen = away.browser.get("/claim").await.expect_status(200).text();
        assert!(screen.contains("The address <b>eve@evil.example</b>: nobody proved that it is yours"), "{screen}");
        app.pass(TimeDelta::seconds(1));
        claims_with(&away.browser, &[]).await.expect_status(303);
        assert_eq!(state(&app, &account).await, ("active".to_owned(), Some("issuer".to_owned())));
        // The attacker's mailbox opens nothing any more.
        assert_eq!(eve.get("/dashboard").await.status(), 401);
        app.pass(TimeDelta::seconds(1));
        let asked = Browser::new(&app);
        asked.submits("/login", &[("email", "eve@evil.example")]).await.expect_status(200);
        for _ in 0..10 {
            login::deliver_due(&app.app().post, app.app().clock.as_ref()).await.unwrap();
        }
        assert_eq!(app.mails(1).await.len(), 1, "no other mail went out");
        app.stop().await;
    }

    async fn a_mailbox_and_a_passkey_that_is_made_in_the_claim_claim_in_the_browser_that_asked(db: TestDb) {
        let app = start_with_passkeys(&db).await;
        let ada = app.agent().await;
        let browser = Browser::new(&app);
        by_mail(&app, &browser, ADA, 1).await;
        let screen = browser.get("/claim").await.expect_status(200).text();
        assert!(screen.contains("data-passkey=\"claim\"") && screen.contains("Your passkey"), "{screen}");
        // Without a passkey, with one whose human was not verified, and with one for another question: nothing.
        let told = claims_with(&browser, &[]).await.expect_status(422).text();
        assert!(told.contains("The last step needs a passkey"), "{told}");
        let unverified = passkey(&browser, false).await;
        assert!(browser.submits("/claim", &borrowed(&unverified)).await.expect_status(422).text().contains("did not hold"));
        let mut swapped = passkey(&browser, true).await;
        swapped[0].1 = passkey(&browser, true).await[0].1.clone();
        browser.submits("/claim", &borrowed(&swapped)).await.expect_status(422);
        // What a claim asks for opens nothing by the other door.
        let begun = passkey(&browser, true).await;
        let body = json!({"step": begun[0].1, "name": "x", "credential": serde_json::from_str::<Value>(&begun[1].1).unwrap()});
        let by_side = Outgoing::post_json(browser.client.url("/dashboard/passkeys/finish"), &body).header("sec-fetch-site", "same-origin");
        assert_eq!(browser.send(by_side).await.status(), 400);
        assert_eq!((is_unclaimed(&app, &ada.account).await, ways_in(&app, &ada.account).await), (true, (0, 0)));
        let fields = passkey(&browser, true).await;
        browser.submits("/claim", &borrowed(&fields)).await.expect_status(303);
        assert_eq!(state(&app, &ada.account).await, ("active".to_owned(), Some("mail_and_passkey".to_owned())));
        assert_eq!(ways_in(&app, &ada.account).await, (1, 0));
        assert!(browser.get("/dashboard/log-in").await.expect_status(200).text().contains("My phone"));
        app.stop().await;
    }

    async fn where_there_is_an_openid_provider_a_passkey_is_no_proof_unless_the_operator_says_so(db: TestDb) {
        let party = || RelyingParty::new(ORIGIN, "Acme").unwrap();
        let (mut app, _issuer) = start_bent(&db, &[], |app| app.relying_party = party()).await;
        assert!(!app.app().claims_by_passkey());
        for (proof, counts) in [(PasskeyProof::Never, false), (PasskeyProof::Always, true)] {
            app = app
                .restart(|app| {
                    app.relying_party = party();
                    app.passkey_proof = proof;
                })
                .await;
            assert_eq!(app.app().claims_by_passkey(), counts, "{proof:?}");
        }
        // Where there is none, it counts; but not at an address for which no browser makes one.
        let app = app.restart(|app| (app.upstream, app.relying_party) = (None, party())).await;
        assert!(app.app().claims_by_passkey());
        let app = app.restart(|app| (app.upstream, app.relying_party) = (None, None)).await;
        assert!(!app.app().claims_by_passkey());
        assert!(app.stranger().get("/claim").await.expect_status(200).text().contains("cannot be claimed yet"));
        app.stop().await;
    }

    async fn the_oauth_road_leads_over_the_claim_and_back_to_the_question(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let page = client.page(&[]).await;
        let human = Browser::of_human(&ada).await;
        let led = human.get(&page).await.expect_status(303);
        let claim = led.header("location").to_owned();
        assert_eq!(claim, format!("/claim?to={}", page.replace('/', "%2F")));
        // Pressing is led there as well, and allows nothing.
        let led = human.submits(&format!("{page}/allow"), &[("scope", "budget:read")]).await.expect_status(303);
        assert_eq!(led.header("location"), claim);
        let browser = proven(&app, &issuer, 1).await;
        let screen = browser.get(&claim).await.expect_status(200).text();
        assert!(screen.contains(&format!("name=\"to\" value=\"{page}\"")), "{screen}");
        let back = browser.submits("/claim", &[("to", &page)]).await.expect_status(303);
        assert_eq!(back.header("location"), page);
        assert!(browser.get(&page).await.expect_status(200).text().contains(">Allow</button>"));
        // Nobody is led elsewhere.
        let bob = app.agent_of(&user("bob")).await;
        assert!(is_unclaimed(&app, &bob.account).await);
        for evil in ["https://evil.example/", "//evil.example/", "/\\evil.example/"] {
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", evil).finish();
            let shown = Browser::of_human(&bob).await.get(&format!("/claim?{query}")).await.expect_status(200).text();
            assert!(!shown.contains("evil.example"), "{evil}");
        }
        app.stop().await;
    }

    async fn another_orchestrator_is_let_in_only_from_inside_a_claimed_account(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let second = another(&app, "Second", ExistingAccount::UserConsent, &["example.test"]).await;
        let agent = WireAgent::register_as(&app, &second.id, |_| ()).await;
        let asks = async || {
            let request = agent.account_request(&User::ada());
            page_of(&app, &agent.post("/provisioning/account_requests", &request).await.expect_status(200).json())
        };
        let human = Browser::of_human(&ada).await;
        let page = asks().await;
        let told = human.get(&page).await.expect_status(403).text();
        assert!(told.contains("Claim your account first."), "{told}");
        let (path, query) = page.split_once('?').unwrap();
        human.submits(&format!("{path}/allow?{query}"), &[("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")]).await.expect_status(403);
        let browser = proven(&app, &issuer, 1).await;
        claims_with(&browser, &[]).await.expect_status(303);
        // What was asked before is over.
        let closed = browser.get(&page).await.expect_status(303);
        assert!(closed.header("location").contains("error=access_denied"), "{}", closed.header("location"));
        let page = asks().await;
        let (path, query) = page.split_once('?').unwrap();
        // By a log-in of the last five minutes.
        app.pass(TimeDelta::seconds(301));
        browser.submits(&format!("{path}/allow?{query}"), &[("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")]).await.expect_status(403);
        let fresh = at_the_issuer(&app, &issuer, Browser::new(&app), ("1001", ADA)).await;
        let allowed = fresh.submits(&format!("{path}/allow?{query}"), &[("scope", "resources:read"), ("scope", "resources:write"), ("scope", "budget:read")]).await.expect_status(303);
        assert!(allowed.header("location").contains("code="), "{}", allowed.header("location"));
        app.stop().await;
    }

    async fn a_person_of_the_openid_provider_is_connected_only_from_inside_by_whoever_logged_in_just_now(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        let refused = async |browser: Browser, status: u16| {
            assert_eq!(browser.get("/dashboard/log-in/connect").await.status(), status);
        };
        refused(Browser::of_human(&ada).await, 409).await;
        refused(Browser::by_link(&ada).await, 403).await;
        refused(Browser::new(&app), 401).await;
        let owner = Browser::of_owner(&ada).await;
        app.pass(TimeDelta::seconds(301));
        refused(owner, 403).await;
        let away = Away::in_browser(Browser::of_owner(&ada).await, "/dashboard/log-in/connect").await;
        let on = away.with(&issuer, away.claims(&app, &issuer, "1001", "work@elsewhere.example")).await.expect_status(303);
        assert_eq!(on.header("location"), "/dashboard/log-in?done=connected");
        let page = away.browser.get("/dashboard/log-in?done=connected").await.expect_status(200).text();
        assert!(page.contains("Connected: whoever is you there") && page.contains(">Disconnect</button>"), "{page}");
        let log_in = Away::from(&app, "").await;
        log_in.with(&issuer, log_in.claims(&app, &issuer, "1001", "x@elsewhere.example")).await.expect_status(303);
        // One person there, and the way back belongs to the session that began it.
        let strong = async || Browser::of_method(&ada, Method::Upstream).await;
        let other = Away::in_browser(strong().await, "/dashboard/log-in/connect").await;
        let refused = other.with(&issuer, other.claims(&app, &issuer, "2002", "y@elsewhere.example")).await;
        assert!(refused.expect_status(409).text().contains("Another person there is connected"));
        let left = Away::in_browser(strong().await, "/dashboard/log-in/connect").await;
        left.browser.takes(SESSION, "");
        is_out(&left.with(&issuer, left.claims(&app, &issuer, "1001", "x@elsewhere.example")).await, 403);
        Browser::of_owner(&ada).await.submits("/dashboard/log-in/disconnect", &[]).await.expect_status(403);
        let owner = strong().await;
        owner.form("/dashboard/log-in/disconnect", &[("sec-fetch-site", "cross-site")], "").await.expect_status(403);
        owner.submits("/dashboard/log-in/disconnect", &[]).await.expect_status(303);
        owner.submits("/dashboard/log-in/disconnect", &[]).await.expect_status(404);
        let log_in = Away::from(&app, "").await;
        is_out(&log_in.with(&issuer, log_in.claims(&app, &issuer, "1001", "x@elsewhere.example")).await, 403);
        app.stop().await;
    }

    async fn the_last_way_in_stays_also_when_a_passkey_and_a_person_are_removed_at_once(db: TestDb) {
        let (app, issuer) = start(&db).await;
        let ada = app.agent().await;
        was_claimed(&app, &ada.account).await;
        plant_ways_in(&app, &ada.account, &issuer.url).await;
        let account: AccountId = ada.account.parse().unwrap();
        let ways = WaysIn { mail: false, upstream: true };
        let (key, owner, now) = (format!("planted-{account}"), account.clone(), app.now());
        let passkey = app.app().db.write("one", move |conn| login::remove_passkey(conn, &owner, &key, ways, now));
        let (owner, url) = (account.clone(), issuer.url.clone());
        let person = app.app().db.write("two", move |conn| login::disconnect(conn, &owner, &url, ways, now));
        let (one, two) = join(passkey, person).await;
        let kept = [matches!(one, Err(PasskeyError::LastWayIn)), matches!(two, Err(ConnectError::LastWayIn))];
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 1, "{one:?} {two:?}");
        assert!(one.is_ok() || two.is_ok());
        let (keys, people) = ways_in(&app, &ada.account).await;
        assert_eq!(keys + people, 1);
        app.stop().await;
    }
}
