//! What an owner does with the account as a whole: removing a resource, taking everything out, closing it. And what happens
//! to whoever is not the owner, or has not just logged in.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::db::schema::grants;
use portreeve::db::{DbConnection, DbError};
use portreeve::ids::{AccountId, GrantId, ResourceId};
use portreeve::orchestrator::NotificationSecret;
use portreeve::owner as use_cases;
use portreeve::simulator::{Fault, SettlementVerb, User};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::browser::Browser;
use crate::harness::driver::{Says, Script};
use crate::harness::oauth::{OAuthClient, refused, text, works};
use crate::harness::receiver::Receiver;
use crate::harness::wire::WireAgent;

/// What needs a fresh log-in: method and path.
const FRESH: [(&str, &str); 4] = [
    ("GET", "/dashboard/export"),
    ("POST", "/dashboard/export"),
    ("GET", "/dashboard/close"),
    ("POST", "/dashboard/close"),
];

/// Lets the workers work until the account is closed.
async fn closes(app: &TestApp) {
    for _ in 0..200 {
        let edition = app.app().edition();
        portreeve::resource::remove_unwanted(&app.app().desk, &edition, app.now()).await.unwrap();
        app.workers_turn().await;
        use_cases::close_due(&app.app().db, app.now()).await.unwrap();
        if app.app().db.read(|conn| portreeve::account::closing(conn, None, 1)).await.unwrap().is_empty() {
            return;
        }
        app.pass(TimeDelta::seconds(31));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the account does not close");
}

async fn exported(browser: &Browser) -> Value {
    let answer = browser.submits("/dashboard/export", &[]).await.expect_status(200);
    assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/json", "no-store"));
    assert!(answer.header("content-disposition").starts_with("attachment; filename=\"acct_"));
    answer.json()
}

on_both! {
    async fn the_owner_removes_a_resource_after_a_fresh_log_in_and_nobody_else_does(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ada, eve) = (app.agent().await, app.agent_of(&user("eve")).await);
        let made = ada.buys("postgres", "small").await.expect_status(201).json();
        let id = made["resource"]["id"].as_str().unwrap().to_owned();
        let page = format!("/dashboard/resources/{id}");
        let remove = format!("{page}/remove");
        let (link, attacker, owner) = (Browser::by_link(&ada).await, Browser::of_owner(&eve).await, Browser::of_owner(&ada).await);
        let shown = link.get(&page).await.expect_status(200).text();
        assert!(shown.contains("$9.00") && shown.contains("by Harbour"), "{shown}");
        link.submits(&remove, &[]).await.expect_status(403);
        Browser::new(&app).submits(&remove, &[]).await.expect_status(401);
        for path in [page.clone(), format!("/dashboard/resources/{}", ResourceId::new(app.now())), "/dashboard/resources/x".to_owned()] {
            attacker.get(&path).await.expect_status(404);
            attacker.submits(&format!("{path}/remove"), &[]).await.expect_status(404);
        }
        owner.form(&remove, &[("sec-fetch-site", "cross-site")], "").await.expect_status(403);
        app.pass(TimeDelta::minutes(6));
        owner.submits(&remove, &[]).await.expect_status(403);
        assert_eq!(ada.client.get(&format!("/v1/resources/{id}")).await.json()["state"], "ready");
        let owner = Browser::of_owner(&ada).await;
        let gone = owner.submits(&remove, &[]).await.expect_status(303);
        let told = owner.get(gone.header("location")).await.expect_status(200).text();
        assert!(told.contains("It is removed") && !told.contains("Remove it</h2>"), "{told}");
        assert_eq!(ada.client.get(&format!("/v1/resources/{id}")).await.json()["state"], "removed");
        app.stop().await;
    }

    async fn an_export_holds_all_that_is_kept_and_no_secret_also_of_a_long_ledger(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        let bought = ada.buys("postgres", "small").await.expect_status(201).json();
        let (_, key) = ada.gets_the_weather().await;
        let platform = crate::harness::client::Client::new(&app.platform.url).with_token(&key);
        for _ in 0..3 {
            platform.get("/weather/lisbon").await.expect_status(200);
        }
        // More than one piece of the ledger.
        for _ in 0..120 {
            let made = ada.buys("sandbox", "free").await;
            if made.status() != 201 {
                break;
            }
            let id = made.json()["resource"]["id"].as_str().unwrap().to_owned();
            ada.client.delete(&format!("/v1/resources/{id}")).await;
        }
        // And of tokens: of the first and the last program, many that end at the same moment, and those that end later were
        // given before.
        let (whose, by, at) = (ada.account.parse::<AccountId>().unwrap(), app.orchestrator.id.clone(), app.now());
        let by_text = by.to_string();
        let many = move |conn: &mut DbConnection| {
            for number in 0..600 {
                let client = if number % 2 == 0 { "a-program" } else { "zz-program" };
                let ends = at.plus(TimeDelta::minutes(i64::from((599 - number) / 90)));
                diesel::insert_into(grants::table)
                    .values((
                        grants::id.eq(GrantId::new(at)), grants::account_id.eq(&whose), grants::orchestrator_id.eq(&by),
                        grants::client.eq(client), grants::scope.eq("budget:read"), grants::issued_at.eq(at), grants::expires_at.eq(ends),
                    ))
                    .execute(conn)?;
            }
            Ok::<_, DbError>(())
        };
        app.app().db.write("test", many).await.unwrap();
        let owner = Browser::of_owner(&ada).await;
        let document = exported(&owner).await;
        assert_eq!(document["format"], "portreeve-export/1");
        let given = document["grants"].as_array().unwrap();
        let mut given_ids: Vec<&str> = given.iter().map(|grant| grant["id"].as_str().unwrap()).collect();
        given_ids.sort_unstable();
        given_ids.dedup();
        assert_eq!(given_ids.len(), given.len(), "each once");
        assert_eq!(given.iter().filter(|grant| grant["client"].as_str().unwrap().ends_with("-program")).count(), 600);
        assert!(given.iter().any(|grant| grant["client"] == by_text.as_str()), "those between them too");
        assert_eq!((&document["account"]["id"], &document["account"]["email"]), (&json!(ada.account), &json!("ada@example.test")));
        let ledger: Vec<Value> = document["ledger"].as_array().unwrap().clone();
        let by_api = ada.ledger().await;
        assert_eq!(ledger.len(), by_api.len());
        for (ours, theirs) in ledger.iter().zip(&by_api) {
            assert_eq!((&ours["hash"], &ours["sequence"]), (&theirs["hash"], &theirs["sequence"]));
        }
        let count = |name: &str| document[name].as_array().unwrap_or_else(|| panic!("no {name}")).len();
        for name in ["identity_links", "sessions", "agents", "consents", "grants", "resources", "holds", "usage_totals", "audit_trail"] {
            assert!(0 < count(name), "{name} is empty");
        }
        assert_eq!(count("upstream_log_ins") + count("passkeys"), 0);
        assert!(200 < count("audit_trail"), "more than one piece: {}", count("audit_trail"));
        let mut ids: Vec<&str> = document["audit_trail"].as_array().unwrap().iter().map(|fact| fact["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count("audit_trail"), "each once");
        let again = exported(&owner).await;
        let traces = |document: &Value| {
            let trail = document["audit_trail"].as_array().unwrap();
            trail.iter().filter(|fact| fact["action"] == "account.exported").count()
        };
        assert!(traces(&document) < traces(&again), "the next export tells of the one before");
        let all = document.to_string();
        let session = owner.cookie("portreeve_session").unwrap();
        for secret in [
            text(&tokens, "access_token"), text(&tokens, "refresh_token"), ada.token.as_str(), ada.payment_token.as_str(), key.as_str(),
            bought["credentials"]["DATABASE_URL"].as_str().unwrap_or("no such"), session.as_str(),
            portreeve::secret::SecretHash::of(&session).as_str(), portreeve::secret::SecretHash::of(text(&tokens, "refresh_token")).as_str(),
        ] {
            assert!(!all.contains(secret), "a secret");
        }
        app.stop().await;
    }

    async fn nobody_exports_or_closes_an_account_with_a_link_or_an_old_log_in_or_from_elsewhere(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let (link, owner, stranger) = (Browser::by_link(&ada).await, Browser::of_owner(&ada).await, Browser::new(&app));
        for (method, path) in FRESH {
            let asks = async |browser: &Browser| match method {
                "GET" => browser.get(path).await,
                _ => browser.submits(path, &[("word", "close")]).await,
            };
            assert_eq!((asks(&link).await.status(), asks(&stranger).await.status()), (403, 401), "{method} {path}");
        }
        for path in ["/dashboard/export", "/dashboard/close"] {
            owner.form(path, &[("sec-fetch-site", "cross-site")], "word=close").await.expect_status(403);
        }
        // The word is typed, and looking ends nothing.
        owner.get("/dashboard/close").await.expect_status(200);
        for word in ["", "Close", "yes", "close it"] {
            owner.submits("/dashboard/close", &[("word", word)]).await.expect_status(422);
        }
        app.pass(TimeDelta::minutes(6));
        for (method, path) in FRESH {
            let status = if method == "GET" { owner.get(path).await } else { owner.submits(path, &[("word", "close")]).await }.status();
            assert_eq!(status, 403, "{method} {path}");
        }
        assert_eq!(works(&app, &ada.token).await, 200);
        app.stop().await;
    }

    async fn a_closing_account_can_do_nothing_and_is_closed_when_all_is_settled(db: TestDb) {
        let script = Script::default();
        let app = TestApp::start_bent(&db, &[], |app| script.bend(app)).await;
        let receiver = Receiver::start();
        let (sealer, secret) = (app.app().wire_sealer.clone(), NotificationSecret::generate().unwrap().to_string());
        let wire = WireAgent::register_with(&app, |settings| {
            let place = NotificationSecret::place(&settings.orchestrator_id);
            settings.notification_url = Some(receiver.url.clone());
            settings.sealed_notification_secret = Some(sealer.seal(&place, secret.as_bytes()).unwrap());
        }).await;
        let ada = app.agent().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&ada).await;
        ada.buys("postgres", "small").await.expect_status(201);
        ada.buys("sandbox", "free").await.expect_status(201);
        app.fails(SettlementVerb::Capture, Fault::TimeOutAfterEffect, 1);
        ada.buys("postgres", "small").await.expect_status(202);
        let other = Browser::of_owner(&ada).await;
        let owner = Browser::of_owner(&ada).await;
        let page = owner.get("/dashboard/close").await.expect_status(200).text();
        assert!(page.contains("3 resources") && page.contains("2 agents") && page.contains("1 hold"), "{page}");
        let told = owner.submits("/dashboard/close", &[("word", "close")]).await.expect_status(200).text();
        assert!(told.contains("Your account is closing"), "{told}");
        // At once, for everybody.
        for browser in [&owner, &other] {
            browser.get("/dashboard").await.expect_status(401);
        }
        assert_eq!((works(&app, &ada.token).await, works(&app, text(&tokens, "access_token")).await), (401, 401));
        refused(&client.refreshes(text(&tokens, "refresh_token")).await, 400, "invalid_grant");
        app.pass(TimeDelta::seconds(1));
        let comes = async || app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&User::ada())})).await;
        comes().await.problem(403, "account_unusable");
        wire.asks_for_account(&User::ada()).await.expect_status(403);
        let asks = Browser::new(&app);
        asks.submits("/login", &[("email", "ada@example.test")]).await.expect_status(200);
        closes(&app).await;
        assert_eq!(app.issuer_says(), (0, 1_800), "what was taken is known to be taken, nothing stays set aside");
        assert_eq!(app.mails(0).await.len(), 0, "no link to log in");
        let account = ada.account.parse().unwrap();
        let closed = app.app().db.read(move |conn| portreeve::account::by_id(conn, &account)).await.unwrap().unwrap();
        assert_eq!((closed.state.as_str(), closed.email), ("closed", None));
        for _ in 0..100 {
            portreeve::orchestrator::deliver_due(&app.app().courier, app.app().clock.as_ref()).await.unwrap();
            if receiver.seen().iter().any(|seen| seen.json()["type"] == "account.closed") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        let closings = receiver.seen().into_iter().filter(|seen| seen.json()["type"] == "account.closed").count();
        assert_eq!(closings, 1, "its orchestrator is told once");
        comes().await.problem(403, "account_unusable");
        app.stop().await;
    }

    async fn closing_goes_on_after_a_restart_and_waits_for_what_cannot_be_removed_yet(db: TestDb) {
        let script = Script::default();
        let app = TestApp::start_bent(&db, &[], |app| script.bend(app)).await;
        let ada = app.agent().await;
        ada.buys("postgres", "small").await.expect_status(201);
        script.says("remove", Says::Pending);
        let owner = Browser::of_owner(&ada).await;
        owner.submits("/dashboard/close", &[("word", "close")]).await.expect_status(200);
        let edition = app.app().edition();
        portreeve::resource::remove_unwanted(&app.app().desk, &edition, app.now()).await.unwrap();
        use_cases::close_due(&app.app().db, app.now()).await.unwrap();
        let closing = async |app: &TestApp| app.app().db.read(|conn| portreeve::account::closing(conn, None, 10)).await.unwrap().len();
        assert_eq!(closing(&app).await, 1, "something is left");
        let app = app.restart(|_| ()).await;
        closes(&app).await;
        assert_eq!(closing(&app).await, 0);
        app.stop().await;
    }

    async fn accounts_that_cannot_close_yet_stand_in_nobodys_way(db: TestDb) {
        let script = Script::default();
        let app = TestApp::start_bent(&db, &[], |app| script.bend(app)).await;
        script.says("remove", Says::Pending);
        let closes = async |account: &str| {
            let (account, now): (AccountId, _) = (account.parse().unwrap(), app.now());
            app.app().db.write(HOUSE, move |conn| use_cases::close(conn, &account, now)).await.unwrap();
        };
        for number in 0..64 {
            let stuck = app.agent_of(&user(&format!("stuck{number}"))).await;
            stuck.buys("sandbox", "free").await.expect_status(201);
            closes(&stuck.account).await;
        }
        app.pass(TimeDelta::seconds(1));
        let last = app.agent_of(&user("last")).await;
        closes(&last.account).await;
        use_cases::close_due(&app.app().db, app.now()).await.unwrap();
        let left = app.app().db.read(|conn| portreeve::account::closing(conn, None, 100)).await.unwrap();
        assert_eq!((left.len(), left.iter().any(|id| id.as_str() == last.account)), (64, false));
        app.stop().await;
    }

    async fn the_same_person_opens_a_new_empty_account_30_days_after_closing_and_not_before(db: TestDb) {
        let app = TestApp::start(&db).await;
        let ada = app.agent().await;
        let owner = Browser::of_owner(&ada).await;
        owner.submits("/dashboard/close", &[("word", "close")]).await.expect_status(200);
        closes(&app).await;
        let comes = async || {
            app.pass(TimeDelta::seconds(1));
            app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&User::ada())})).await
        };
        let release = async || {
            let now = app.now();
            app.app().db.write(HOUSE, move |conn| portreeve::account::release_closed(conn, now, 100)).await.unwrap()
        };
        app.pass(TimeDelta::days(29));
        assert_eq!(release().await, 0);
        comes().await.problem(403, "account_unusable");
        app.pass(TimeDelta::days(2));
        assert_eq!((release().await, release().await), (1, 0));
        let opened = comes().await.expect_status(201).json();
        assert_ne!(opened["account"]["id"], json!(ada.account));
        let client = app.stranger().with_token(opened["access_token"].as_str().unwrap());
        assert_eq!(client.get("/v1/ledger").await.expect_status(200).json()["data"], json!([]));
        app.stop().await;
    }
}
