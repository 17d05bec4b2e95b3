//! The merge page as an attacker meets it: nobody but the owner of the address, in an account that they claimed, after a
//! fresh log-in, learns that a separate account exists, or changes it.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, email_owners};
use portreeve::fetch::Outgoing;
use portreeve::ids::AccountId;
use portreeve::login::{self, Authentication, Method, NewSession};
use portreeve::orchestrator::ExistingAccount;
use portreeve::secret::Secret;
use portreeve::simulator::{IdTokenSpec, User};
use serde_json::json;

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::beside::{Beside, attests, authority, claim};
use crate::harness::browser::Browser;

/// A session of an account, begun in this way just now.
async fn session(app: &TestApp, account: &str, method: Method) -> Browser {
    let secret = Secret::generate("ses").unwrap();
    let new = NewSession {
        hash: secret.hash(),
        account: account.parse().unwrap(),
        authentication: Authentication { method, at: app.now() },
        replaces: None,
    };
    let now = app.now();
    app.app().db.write(HOUSE, move |conn| login::begin(conn, &new, now)).await.unwrap();
    let browser = Browser::new(app);
    browser.takes("portreeve_session", secret.expose());
    browser
}

/// What a browser gets for the page and for each button; nothing changed.
async fn tries(beside: &Beside<'_>, browser: &Browser, id: &str) -> Vec<(u16, String)> {
    let page = format!("/dashboard/sidecars/{id}");
    let answers = [
        browser.get(&page).await,
        browser.submits(&format!("{page}/merge"), &[("scope", "resources:write")]).await,
        browser.submits(&format!("{page}/discard"), &[("sure", "yes")]).await,
    ];
    let (account, app) = (beside.account.parse::<AccountId>().unwrap(), beside.app);
    let state = app.app().db.read(move |conn| {
        Ok::<_, DbError>(accounts::table.find(account).select(accounts::state).first::<String>(conn)?)
    });
    assert_eq!(state.await.unwrap(), "provisional", "nothing was decided");
    answers.into_iter().map(|answer| (answer.status(), answer.text())).collect()
}

on_both! {
    async fn anothers_sidecar_is_answered_as_one_that_never_was(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let bob = app.agent_of(&user("bob")).await;
        claim(&app, &bob.account).await;
        let browser = Browser::of_owner(&bob).await;
        let never = AccountId::new(app.now()).to_string();
        let (theirs, none) = (tries(&beside, &browser, &beside.account).await, tries(&beside, &browser, &never).await);
        assert_eq!(theirs, none);
        assert!(theirs.iter().all(|(status, _)| *status == 404));
        // One's own account, and one that is no sidecar, are none either.
        for id in [&bob.account, &beside.ada.account] {
            assert_eq!(tries(&beside, &browser, id).await, none);
        }
        assert_eq!(browser.get("/dashboard/sidecars/x").await.status(), 404);
        let list = browser.get("/dashboard/sidecars").await.expect_status(200).text();
        assert!(list.contains("No agent works for you in another account") && !list.contains("Quay"), "{list}");
        app.stop().await;
    }

    async fn an_agent_with_a_link_of_its_own_neither_sees_nor_decides(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let agent = Browser::by_link(&beside.ada).await;
        let overview = agent.get("/dashboard").await.expect_status(200).text();
        assert!(!overview.contains("another account") && !overview.contains("Quay"), "{overview}");
        for (status, page) in tries(&beside, &agent, &beside.account).await {
            assert!(status == 403 && page.contains("Please log in yourself") && !page.contains("Quay"), "{page}");
        }
        // The answer is the same for an account that never was.
        let never = AccountId::new(app.now()).to_string();
        let masked = |all: Vec<(u16, String)>, id: &str| -> Vec<_> {
            all.into_iter().map(|(status, page)| (status, page.replace(id, "…"))).collect()
        };
        assert_eq!(
            masked(tries(&beside, &agent, &beside.account).await, &beside.account),
            masked(tries(&beside, &agent, &never).await, &never)
        );
        assert_eq!(agent.get("/dashboard/sidecars").await.status(), 403);
        // Nor does the agent of the separate account, by any of its doors.
        for path in ["/v1/budget", "/v1/resources", "/v1/ledger"] {
            assert!(!beside.client.get(path).await.text().contains(&beside.ada.account));
        }
        let link = beside.client.post_once(&fresh_key(), "/v1/deep-links", &json!({})).await.expect_status(201).json();
        let inside = Browser::new(&app);
        inside.uses_link(link["url"].as_str().unwrap().strip_prefix(&app.base).unwrap()).await;
        let seen = inside.get("/dashboard").await.expect_status(200).text();
        assert!(!seen.contains(&beside.ada.account) && !seen.contains("sidecars"), "{seen}");
        app.stop().await;
    }

    async fn only_a_fresh_log_in_sees_and_decides(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        assert_eq!(app.stranger().get(&beside.page()).await.status(), 401);
        assert_eq!(app.stranger().post_form(&format!("{}/merge", beside.page()), &[]).await.status(), 401);
        let browser = beside.owner().await;
        app.pass(TimeDelta::seconds(301));
        for (status, page) in tries(&beside, &browser, &beside.account).await {
            assert!(status == 403 && page.contains("Please log in once more"), "{page}");
            assert!(page.contains("to=%2Fdashboard%2Fsidecars%2F"), "the way leads back to the page: {page}");
        }
        app.stop().await;
    }

    async fn a_form_of_another_site_decides_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let browser = beside.owner().await;
        for verb in ["merge", "move", "discard"] {
            let path = format!("{}/{verb}", beside.page());
            let body = "scope=resources%3Awrite&sure=yes";
            for headers in [
                [("sec-fetch-site", "cross-site")].as_slice(),
                &[("sec-fetch-site", "same-site")],
                &[("origin", "https://evil.example")],
                &[("origin", "null")],
            ] {
                assert_eq!(browser.form(&path, headers, body).await.status(), 403, "{verb} {headers:?}");
            }
            assert_eq!(browser.get(&path).await.status(), 405, "looking decides nothing");
            let framed = browser.get(&beside.page()).await.expect_status(200);
            assert!(framed.header("content-security-policy").contains("frame-ancestors 'none'"));
            assert_eq!(framed.header("cache-control"), "no-store");
        }
        tries(&beside, &Browser::new(&app), &beside.account).await;
        app.stop().await;
    }

    async fn an_account_that_nobody_claimed_or_whose_address_is_not_proven_sees_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let (own, index) = (beside.ada.account.parse::<AccountId>().unwrap(), "ada@example.test");
        let set = async |state: &'static str, owner: bool, address: &'static str| {
            let own = own.clone();
            let changed = app.app().db.write(HOUSE, move |conn| {
                let row = accounts::table.find(&own);
                diesel::update(row).set((accounts::state.eq(state), accounts::email_index.eq(address))).execute(conn)?;
                diesel::delete(email_owners::table).execute(conn)?;
                if owner {
                    let row = (
                        email_owners::email_index.eq(address),
                        email_owners::account_id.eq(&own),
                        email_owners::claimed_at.eq(0),
                    );
                    diesel::insert_into(email_owners::table).values(row).execute(conn)?;
                }
                Ok::<_, DbError>(())
            });
            changed.await.unwrap();
        };
        let mail = session(&app, &beside.ada.account, Method::MailLink).await;
        let passkey = session(&app, &beside.ada.account, Method::Passkey).await;
        for (state, owner, address, by_mail, by_passkey) in [
            ("active", true, index, 200, 200),
            // Whoever reads the mailbox now is the owner, whatever was known about the address.
            ("active", false, index, 200, 404),
            // Nobody claimed it: whoever opened it may still hold keys to it.
            ("provisional", true, index, 404, 404),
            // The address changed hands or spelling: what only looks the same is another.
            ("active", true, "eve@example.test", 404, 404),
            ("active", true, "\u{430}da@example.test", 404, 404),
            ("active", true, "ada+x@example.test", 404, 404),
        ] {
            set(state, owner, address).await;
            let seen = (mail.get(&beside.page()).await.status(), passkey.get(&beside.page()).await.status());
            assert_eq!(seen, (by_mail, by_passkey), "{state} {owner} {address}");
            let listed = mail.get("/dashboard/sidecars").await.expect_status(200).text().contains("Quay");
            assert_eq!(listed, by_mail == 200, "{state} {owner} {address}");
            let page = mail.get("/dashboard").await.expect_status(200).text();
            assert_eq!(page.contains("An agent works for you in another account"), by_mail == 200);
        }
        set("provisional", true, index).await;
        tries(&beside, &mail, &beside.account).await;
        app.stop().await;
    }

    async fn a_decision_that_is_sent_again_does_nothing_twice(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        beside.gets("sandbox", "free").await;
        let browser = beside.owner().await;
        beside.merges(&browser, &["resources:read"]).await.expect_status(303);
        for again in [
            beside.merges(&browser, &["resources:read", "resources:write"]).await,
            beside.discards(&browser).await,
            browser.get(&beside.page()).await,
        ] {
            assert_eq!(again.status(), 404);
        }
        let given = beside.comes_again().await.expect_status(200).json();
        assert_eq!((&given["account"]["id"], &given["scope"]), (&json!(beside.ada.account), &json!("resources:read")));
        assert_eq!(beside.ada.client.get("/v1/resources").await.json()["data"].as_array().unwrap().len(), 1);
        app.stop().await;
    }

    async fn nothing_is_ticked_means_nothing_is_given_and_what_is_unknown_is_not(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let browser = beside.owner().await;
        for scopes in [[].as_slice(), &["admin"], &["resources:WRITE"], &[""]] {
            let refused = beside.merges(&browser, scopes).await.expect_status(422).text();
            assert!(refused.contains("Nothing is ticked"), "{refused}");
        }
        let ids = "x".repeat(64 * 1024);
        assert!(beside.moves(&browser, &[&ids]).await.status() >= 400);
        assert_eq!(beside.moves(&browser, &["res_x"]).await.status(), 400);
        // Somebody else's resource is none of this account's.
        let bob = app.agent_of(&user("bob")).await;
        let bought = bob.sends(&json!({"service": "sandbox", "plan": "free"})).await.expect_status(201).json();
        assert_eq!(beside.moves(&browser, &[bought["resource"]["id"].as_str().unwrap()]).await.status(), 404);
        bob.client.get(&format!("/v1/resources/{}", bought["resource"]["id"].as_str().unwrap())).await.expect_status(200);
        app.stop().await;
    }

    async fn what_nobody_vouches_for_is_never_offered_to_the_owner(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let browser = beside.owner().await;
        beside.discards(&browser).await.expect_status(303);
        let (quay, _) = authority(&app, "Pier", ExistingAccount::Sidecar).await;
        for (subject, email, verified) in [
            ("u1", "ada@example.test", json!(false)),
            ("u2", "ada@example.test", json!("true")),
            ("u3", "\u{430}da@example.test", json!(true)),
        ] {
            let who = User { subject: subject.to_owned(), email: email.to_owned(), ..User::ada() };
            let token = quay.mint_id_token(&IdTokenSpec::of(&who).claim("email_verified", verified)).unwrap();
            app.stranger().post("/v1/accounts", &json!({"id_token": token})).await.expect_status(201);
        }
        let list = browser.get("/dashboard/sidecars").await.expect_status(200).text();
        assert!(list.contains("No agent works for you"), "{list}");
        // Vouched for, it is.
        attests(&app, &quay, &User { subject: "u4".to_owned(), ..User::ada() }).await.expect_status(201);
        assert!(browser.get("/dashboard/sidecars").await.text().contains("Pier"));
        app.stop().await;
    }

    async fn a_frozen_or_claimed_sidecar_and_a_suspended_orchestrator_are_not_merged(db: TestDb) {
        let app = TestApp::start(&db).await;
        let beside = Beside::start(&app).await;
        let browser = beside.owner().await;
        let (id, now) = (beside.orchestrator.id.clone(), app.now());
        let suspended = app.app().db.write(HOUSE, move |conn| portreeve::orchestrator::suspend(conn, &id, now));
        suspended.await.unwrap();
        let refused = beside.merges(&browser, &["resources:read"]).await.expect_status(409).text();
        assert!(refused.contains("not trusted at the moment"), "{refused}");
        for state in ["frozen", "active"] {
            let account: AccountId = beside.account.parse().unwrap();
            let set = app.app().db.write(HOUSE, move |conn| {
                let row = accounts::table.find(&account);
                Ok::<_, DbError>(diesel::update(row).set(accounts::state.eq(state)).execute(conn)?)
            });
            set.await.unwrap();
            let merge = beside.merges(&browser, &["resources:read"]).await.status();
            assert_eq!((merge, beside.discards(&browser).await.status()), (404, 404), "{state}");
        }
        let unsent = browser.send(Outgoing::get(browser.client.url(&beside.page()))).await;
        assert_eq!(unsent.status(), 404);
        app.stop().await;
    }
}
