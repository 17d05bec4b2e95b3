//! "I did not start this": a link in the first mail stops everything without a log-in, opens a case with evidence, tells the
//! orchestrator, and gives nobody any power.

use std::process::Output;

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::app::HOUSE;
use portreeve::db::schema::{accounts, cases, outbox_deliveries, outbox_events, sessions};
use portreeve::db::{DbConnection, DbError};
use portreeve::ids::AccountId;
use portreeve::orchestrator;
use portreeve::signing::VerifyingKey;
use portreeve::simulator::{IdTokenSpec, User};
use portreeve::takeover;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::claim::is_provisional_again;
use crate::harness::app::{Agent, TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::harness::databases::TestDb;
use crate::harness::oauth::{OAuthClient, refused, text, works};
use crate::harness::program::{program, told};
use crate::harness::receiver::Receiver;
use crate::harness::wire::WireAgent;
use crate::security_events::{CAEP, RISC, event, minted, set, stream};

const FIRST: &str = "Subject: An account was opened for you";

/// The link in the first mail to a user, as a path.
async fn link(app: &TestApp, of: &User) -> String {
    let mail = app.mails_about(&format!("To: {}", of.email), 1).await.remove(0);
    assert!(mail.contains(FIRST), "{mail}");
    let after = mail.split(&format!("{}/not-mine/", app.base)).nth(1).expect("a link in the mail");
    format!("/not-mine/{}", after.split_whitespace().next().expect("a link"))
}

async fn press(app: &TestApp, link: &str) {
    let answer = Browser::new(app).submits(link, &[]).await.expect_status(303);
    assert_eq!(answer.header("location"), link);
}

type Row = (String, Option<i64>, Option<String>);

/// Cases of an account: kind, open, evidence.
async fn case_rows(app: &TestApp, account: &str) -> Vec<(String, bool, Option<String>)> {
    let of = cases::table.filter(cases::account_id.eq(account.to_owned())).order(cases::id);
    let of = of.select((cases::kind, cases::closed_at, cases::evidence));
    let rows: Vec<Row> = app.app().db.read(move |conn| Ok::<_, DbError>(of.load(conn)?)).await.unwrap();
    rows.into_iter().map(|(kind, closed, evidence)| (kind, closed.is_none(), evidence)).collect()
}

/// Kinds of the events that are on their way to orchestrators.
async fn on_their_way(app: &TestApp) -> Vec<String> {
    let all = outbox_deliveries::table.inner_join(outbox_events::table).order(outbox_events::kind);
    let all = all.select(outbox_events::kind);
    app.app().db.read(move |conn| Ok::<_, DbError>(all.load(conn)?)).await.unwrap()
}

async fn keys(app: &TestApp) -> Value {
    app.stranger().get("/oauth/jwks").await.json()
}

fn verifying(keys: &Value) -> Vec<VerifyingKey> {
    keys["keys"].as_array().unwrap().iter().map(|key| serde_json::from_value(key.clone()).unwrap()).collect()
}

/// The account's human has taken it over.
async fn is_claimed(app: &TestApp, account: &str) {
    let account = account.to_owned();
    let claimed = move |conn: &mut DbConnection| {
        let row = accounts::table.find(&account);
        Ok::<_, DbError>(diesel::update(row).set(accounts::state.eq("active")).execute(conn)?)
    };
    assert_eq!(app.app().db.write(HOUSE, claimed).await.unwrap(), 1);
    app.app().revocations.forget();
}

fn types(app_db: &TestDb, arguments: &[&str]) -> Output {
    let folder = std::env::temp_dir();
    let mut command = program(&folder, &["--json", "case"]);
    command.args(arguments).env("PORTREEVE__DATABASE__URL", app_db.settings().url.expose_secret()).output().unwrap()
}

#[track_caller]
fn prints(db: &TestDb, arguments: &[&str]) -> Vec<Value> {
    let output = types(db, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Agent<'_> {
    async fn comes_with_a_new_token(&self) -> u16 {
        self.app.presents(&self.app.id_token(&self.user)).await.status()
    }
}

on_both! {
    async fn the_first_mail_tells_by_whom_the_account_was_opened_its_cap_and_the_way_out_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        app.presents(&app.id_token(&agent.user)).await.expect_status(200);
        let unverified = User { email_verified: false, ..user("bob") };
        app.agent_of(&unverified).await;
        let wire = WireAgent::register(&app).await;
        wire.opens_account(&user("wired")).await;
        let mails = app.mails_about(FIRST, 2).await;
        assert_eq!(mails.len(), 2, "one for each account, and none to an address that nobody vouches for");
        let mail = mails.iter().find(|mail| mail.contains("To: ann@example.test")).unwrap();
        for said in ["An agent opened an account for you at", "It came through Harbour", "at most $100.00 can be spent in a month", "I DID NOT START THIS", "It needs no log-in"] {
            assert!(mail.contains(said), "{said}: {mail}");
        }
        assert!(mail.contains(&format!("{}/not-mine/{}.", app.base, agent.account)), "{mail}");
        // Nothing that works stands in the database.
        let payloads = outbox_events::table.filter(outbox_events::kind.eq("mail.account_opened")).select(outbox_events::payload);
        let payloads: Vec<String> = app.app().db.read(move |conn| Ok::<_, DbError>(payloads.load(conn)?)).await.unwrap();
        let tag = link(&app, &agent.user).await.split('.').next_back().unwrap().to_owned();
        assert!(payloads.len() == 2 && payloads.iter().all(|payload| !payload.contains(&tag)), "{payloads:?}");
        app.stop().await;
    }

    async fn looking_changes_nothing_and_the_button_stops_everything_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let receiver = Receiver::start();
        let mut settings = stream(&app, &app.orchestrator.id);
        settings.send_url = Some(receiver.url.clone());
        set(&app, settings).await;
        let webhook = "https://harbour.example/hooks".to_owned();
        WireAgent::register_with(&app, |wire| wire.notification_url = webhook.parse().ok()).await;
        let agent = app.agent_of(&user("ann")).await;
        let bystander = app.agent_of(&user("bob")).await;
        let (metered, _) = agent.gets_the_weather().await;
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&agent).await;
        is_provisional_again(&app, &agent.account).await;
        let session = Browser::by_link(&agent).await;
        let link = link(&app, &agent.user).await;

        let (before, looks) = (app.written().await, Browser::new(&app));
        for _ in 0..3 {
            let page = looks.get(&link).await.expect_status(200);
            assert!(page.text().contains("You did not start this?") && page.text().contains("came through Harbour"));
        }
        app.stranger().head(&link).await.expect_status(200);
        assert_eq!(app.written().await, before);
        agent.client.get("/v1/budget").await.expect_status(200);

        press(&app, &link).await;
        // At once: tokens, sessions, spending, the account, what it has.
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(works(&app, text(&tokens, "access_token")).await, 401);
        refused(&client.refreshes(text(&tokens, "refresh_token")).await, 400, "invalid_grant");
        assert_eq!(session.get("/dashboard").await.status(), 401);
        app.reports(&metered, "1").await.problem(409, "resource_not_ready");
        assert_eq!(app.resource(&metered).await, ("suspended".to_owned(), true));
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        assert_eq!(agent.comes_with_a_new_token().await, 401, "the orchestrator's word about this person counts no more");
        bystander.client.get("/v1/budget").await.expect_status(200);
        // The page says so, without telling more.
        let page = looks.get(&link).await.expect_status(200).text();
        assert!(page.contains("It is stopped.") && page.contains("case_") && !page.contains("<form"), "{page}");
        // A case, and the orchestrator hears of it both ways.
        let rows = case_rows(&app, &agent.account).await;
        assert_eq!((rows.len(), rows[0].0.as_str(), rows[0].1, rows[0].2.is_some()), (1, "not_started", true, true));
        let sent = on_their_way(&app).await;
        for kind in ["account.disputed", "account.frozen", "security.account_disputed"] {
            assert_eq!(sent.iter().filter(|one| *one == kind).count(), 1, "{kind}: {sent:?}");
        }
        let mut said = Vec::new();
        for _ in 0..3 {
            orchestrator::deliver_due(&app.app().courier, app.clock.as_ref()).await.unwrap();
        }
        for seen in receiver.waits_for(2).await {
            let jws = portreeve::signing::Unverified::parse(std::str::from_utf8(&seen.body).unwrap()).unwrap();
            let keys = verifying(&keys(&app).await);
            let key = keys.iter().find(|key| key.common.key_id.as_deref() == jws.kid()).unwrap();
            let claims: Value = jws.verify(key, &[portreeve::signing::SignatureAlgorithm::Es256]).unwrap().claims;
            assert_eq!(claims["sub_id"]["sub"], "user_ann");
            said.push(claims["events"].to_string());
        }
        assert!(said.iter().any(|events| events.contains("account-disputed")), "{said:?}");
        app.stop().await;
    }

    async fn it_may_be_pressed_twice_and_by_many_at_once(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let link = link(&app, &agent.user).await;
        let browser = Browser::new(&app);
        let answers = join_all((0..8).map(|_| browser.submits(&link, &[]))).await;
        assert!(answers.iter().all(|answer| answer.status() == 303), "each is answered alike");
        let after = app.written().await;
        press(&app, &link).await;
        assert_eq!(app.written().await, after, "the second time nothing is left to do");
        assert_eq!(case_rows(&app, &agent.account).await.len(), 1);
        for action in ["case.opened", "spending.stopped", "account.frozen", "distrust.begun"] {
            assert_eq!(app.recorded(action).await, 1, "{action}");
        }
        app.stop().await;
    }

    async fn a_forged_link_another_accounts_link_and_another_sites_button_do_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ann, bob) = (app.agent_of(&user("ann")).await, app.agent_of(&user("bob")).await);
        let good = link(&app, &ann.user).await;
        let tag = good.split('.').next_back().unwrap().to_owned();
        let browser = Browser::new(&app);
        for forged in [
            format!("/not-mine/{}.{tag}", bob.account),
            format!("/not-mine/{}.{}", ann.account, tag.chars().rev().collect::<String>()),
            format!("/not-mine/{}", ann.account),
            format!("/not-mine/{}.", ann.account),
            "/not-mine/x".to_owned(),
            format!("{good}/"),
        ] {
            assert_eq!(browser.get(&forged).await.status(), 404, "{forged}");
            assert_eq!(browser.submits(&forged, &[]).await.status(), 404, "{forged}");
        }
        // Another site's page cannot press it, were the link known to it.
        let answer = browser.form(&good, &[("sec-fetch-site", "cross-site")], "").await;
        assert_eq!(answer.status(), 403);
        for method in ["PUT", "DELETE"] {
            let answer = app.stranger().raw(method, &good).await;
            assert!(answer.contains(" 405 "), "{answer}");
        }
        for agent in [&ann, &bob] {
            agent.client.get("/v1/budget").await.expect_status(200);
        }
        assert_eq!(app.recorded("case.opened").await, 0);
        app.stop().await;
    }

    async fn the_link_gives_no_power_and_shows_no_secret(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let made = agent.buys("weather", "metered").await.expect_status(201).json();
        let link = link(&app, &agent.user).await;
        let browser = Browser::new(&app);
        let before = browser.get(&link).await.expect_status(200);
        let pressed = browser.submits(&link, &[]).await.expect_status(303);
        let after = browser.get(&link).await.expect_status(200);
        for answer in [&before, &pressed, &after] {
            assert!(!answer.has_header("set-cookie"), "it is no log-in");
            assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), ("no-referrer", "no-store"));
        }
        assert!(before.header("content-security-policy").contains("frame-ancestors 'none'"));
        let key = made["credentials"]["API_KEY"].as_str().unwrap();
        for hidden in ["ann@example.test", key, made["resource"]["id"].as_str().unwrap(), agent.token.as_str(), "weather"] {
            assert!(!before.text().contains(hidden) && !after.text().contains(hidden), "{hidden}");
        }
        // As a session, a bearer, or a log-in link it is nothing.
        let token = link.trim_start_matches("/not-mine/");
        browser.takes("portreeve_session", token);
        assert_eq!(browser.get("/dashboard").await.status(), 401);
        app.stranger().with_token(token).get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(browser.get(&format!("/login/link/{token}")).await.status(), 410);
        let open = sessions::table.filter(sessions::ended_at.is_null()).count();
        assert_eq!(app.app().db.read(move |conn| Ok::<i64, DbError>(open.get_result(conn)?)).await.unwrap(), 0);
        app.stop().await;
    }

    async fn an_orchestrator_cannot_undo_what_the_human_said(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&user("ann")).await;
        press(&app, &link(&app, &agent.user).await).await;
        for (uri, detail) in [
            (format!("{RISC}account-enabled"), json!({})),
            (format!("{CAEP}risk-level-change"), json!({"current_level": "LOW"})),
        ] {
            let told = minted(&app.simulator, &event(&app.simulator.issuer_url, &agent.user, &uri, detail));
            app.pushed(&told).await.expect_status(202);
        }
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        assert_eq!(agent.comes_with_a_new_token().await, 401);
        // Nor by asking for the person under the wire's name for them, or with an ID token of another log-in.
        let wire = WireAgent::register(&app).await;
        assert_ne!(wire.asks_for_account(&agent.user).await.status(), 200);
        let fresh = app.simulator.mint_id_token(&IdTokenSpec::of(&agent.user).claim("jti", json!(fresh_key()))).unwrap();
        app.presents(&fresh).await.problem(401, "invalid_attestation");
        assert!(case_rows(&app, &agent.account).await[0].1, "the case is open");
        app.stop().await;
    }

    async fn the_owner_of_a_claimed_account_undoes_it_by_a_real_log_in_alone(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent_of(&user("ann")).await;
        let made = agent.buys("sandbox", "free").await.expect_status(201).json();
        let made = made["resource"]["id"].as_str().unwrap().to_owned();
        is_claimed(&app, &agent.account).await;
        let (link, by_link) = (link(&app, &agent.user).await, agent.link().await);
        press(&app, &link).await;
        // Power is gone, and what runs runs on.
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(agent.comes_with_a_new_token().await, 401);
        assert_eq!(app.account_state(&agent.account).await, "active");
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        let page = Browser::new(&app).get(&link).await.text();
        assert!(page.contains("allow spending again") && page.contains("/login?to=/dashboard"), "{page}");
        // A log-in link that an agent made before is used up.
        assert_eq!(Browser::new(&app).form(&by_link, &[], "").await.status(), 410);
        let owner = Browser::of_owner(&agent).await;
        let seen = owner.get("/dashboard").await.expect_status(200).text();
        assert!(seen.contains("said: I did not start this"), "the trail says why");
        owner.submits("/dashboard/resume", &[]).await.expect_status(303);
        app.app().revocations.forget();
        assert!(!case_rows(&app, &agent.account).await[0].1, "the case is closed");
        agent.logs_in_again().await;
        agent.buys("postgres", "small").await.expect_status(201);
        // Said again, by whoever still has the mail, it does nothing: the owner's word was the last.
        app.pass(TimeDelta::days(400));
        press(&app, &link).await;
        let page = Browser::new(&app).get(&link).await.expect_status(200).text();
        assert!(page.contains("The owner took this account back.") && !page.contains("<form"), "{page}");
        assert_eq!(case_rows(&app, &agent.account).await.len(), 1);
        assert_eq!(app.recorded("spending.stopped").await, 1);
        app.stop().await;
    }

    async fn the_link_is_over_when_the_address_is_gone_or_somebody_claimed_without_this_mailbox(db: TestDb) {
        let app = TestApp::start(&db).await;
        let [gone, foreign, own] = [user("ann"), user("bob"), user("cyd")];
        let [gone, foreign, own] = [app.agent_of(&gone).await, app.agent_of(&foreign).await, app.agent_of(&own).await];
        let links = [link(&app, &gone.user).await, link(&app, &foreign.user).await, link(&app, &own.user).await];
        app.pass(TimeDelta::seconds(1));
        let [ann, bob, cyd] = [&gone, &foreign, &own].map(|agent| agent.account.parse::<AccountId>().unwrap());
        let now = app.now();
        let happened = app.app().db.write(HOUSE, move |conn| {
            portreeve::account::distrust_email(conn, &ann, true)?;
            portreeve::account::claim(conn, &bob, "issuer", now)?;
            portreeve::account::claim(conn, &cyd, "mail_and_oidc", now)
        });
        happened.await.unwrap();
        for (link, agent, told) in [
            (&links[0], &gone, "This account has another address now."),
            (&links[1], &foreign, "This account is somebody’s own now."),
        ] {
            for _ in 0..2 {
                press(&app, link).await;
            }
            let page = Browser::new(&app).get(link).await.expect_status(200).text();
            assert!(page.contains(told) && !page.contains("<form"), "{page}");
            assert!(case_rows(&app, &agent.account).await.is_empty());
            agent.buys("sandbox", "free").await.expect_status(201);
        }
        assert_eq!(app.recorded("spending.stopped").await, 0);
        // Whoever claimed with the mailbox is who got the mail.
        press(&app, &links[2]).await;
        assert!(case_rows(&app, &own.account).await[0].1);
        own.client.get("/v1/budget").await.problem(401, "invalid_token");
        // Of another address of the same account it says nothing.
        let account = own.account.clone();
        let moved = app.app().db.write(HOUSE, move |conn| {
            let elsewhere = accounts::table.find(&account);
            Ok::<_, DbError>(diesel::update(elsewhere).set(accounts::email_index.eq("cyd@elsewhere.example")).execute(conn)?)
        });
        moved.await.unwrap();
        let page = Browser::new(&app).get(&links[2]).await.expect_status(200).text();
        assert!(page.contains("This account has another address now."), "{page}");
        app.stop().await;
    }

    async fn a_closed_account_has_nothing_to_stop(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let link = link(&app, &agent.user).await;
        let account = agent.account.clone();
        let close = move |conn: &mut DbConnection| {
            let row = accounts::table.find(&account);
            Ok::<_, DbError>(diesel::update(row).set(accounts::state.eq("closed")).execute(conn)?)
        };
        app.app().db.write(HOUSE, close).await.unwrap();
        press(&app, &link).await;
        let page = Browser::new(&app).get(&link).await.expect_status(200).text();
        assert!(page.contains("This account is closed."), "{page}");
        assert!(case_rows(&app, &agent.account).await.is_empty());
        app.stop().await;
    }

    async fn the_evidence_is_whole_is_checked_offline_and_a_changed_byte_shows(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let made = agent.buys("postgres", "small").await.expect_status(201).json();
        let client = OAuthClient::public(&app).await;
        let tokens = client.tokens(&agent).await;
        press(&app, &link(&app, &agent.user).await).await;
        let document = case_rows(&app, &agent.account).await.remove(0).2.unwrap();
        let keys = keys(&app).await;
        let said = takeover::verify_evidence(&document, &verifying(&keys)).unwrap();
        assert_eq!((&said["iss"], &said["account"]["id"]), (&json!(app.base), &json!(agent.account)));
        assert_eq!(said["basis"]["detail"]["assertion_hash"].as_str().unwrap().len(), 43);
        assert_eq!(said["basis"]["detail"]["existing_account"], "user_consent");
        assert_eq!(said["orchestrators"][0]["people"][0]["subject"], "user_ann");
        assert_eq!(said["resources"][0]["id"], made["resource"]["id"]);
        assert_eq!(said["consents"][0]["client"], client.id);
        assert!(said["ledger"].as_array().unwrap().iter().any(|entry| entry["spent_change"] == 900), "{}", said["ledger"]);
        assert!(said["trail"].as_array().unwrap().iter().any(|fact| fact["action"] == "case.opened"));
        for secret in [text(&tokens, "access_token"), text(&tokens, "refresh_token"), agent.token.as_str(), agent.payment_token.as_str()] {
            assert!(!document.contains(secret), "no secret stands in it");
        }
        let credentials = made["credentials"].as_object().unwrap();
        assert!(credentials.values().all(|value| !document.contains(value.as_str().unwrap())));

        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let case = prints(&db, &["list"])[0]["id"].as_str().unwrap().to_owned();
        prints(&db, &["show", &case, "--evidence", &path("evidence.json")]);
        std::fs::write(path("keys.json"), keys.to_string()).unwrap();
        let verify = |file: &str, keys: &str| {
            let mut command = program(folder.path(), &["--json", "case", "verify", &path(file), "--keys", &path(keys)]);
            command.env("PORTREEVE__DATABASE__URL", "nowhere://").output().unwrap()
        };
        assert_eq!(verify("evidence.json", "keys.json").status.code(), Some(0));
        let whole = std::fs::read_to_string(path("evidence.json")).unwrap();
        for (was, is) in [("\"spent_change\":900", "\"spent_change\":901"), ("user_ann", "user_bob"), ("case-evidence", "case-Evidence"), ("\"signature\":\"ey", "\"signature\":\"ez")] {
            std::fs::write(path("changed.json"), whole.replacen(was, is, 1)).unwrap();
            if whole.contains(was) {
                assert_eq!(verify("changed.json", "keys.json").status.code(), Some(6), "{was}");
            }
        }
        std::fs::write(path("none.json"), r#"{"keys":[]}"#).unwrap();
        assert_eq!(verify("evidence.json", "none.json").status.code(), Some(6));
        app.stop().await;
    }

    async fn the_operator_lists_shows_and_closes_cases_and_may_give_everything_back(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut agent = app.agent_of(&user("ann")).await;
        let (bob, made) = (app.agent_of(&user("bob")).await, agent.gets_the_weather().await.0);
        press(&app, &link(&app, &agent.user).await).await;
        press(&app, &link(&app, &bob.user).await).await;
        let open = prints(&db, &["list"]);
        assert_eq!((open.len(), &open[0]["account"], &open[0]["kind"]), (2, &json!(bob.account), &json!("not_started")));
        let [bobs, anns] = [&open[0], &open[1]].map(|case| case["id"].as_str().unwrap().to_owned());
        let shown = prints(&db, &["show", &anns]);
        assert_eq!((shown.len(), &shown[0]["id"], &shown[0]["evidence"]), (2, &json!(anns), &json!(true)));
        assert_eq!(shown[1]["whose"], "subject user_ann of tenant ``");
        assert_eq!(types(&db, &["show", "case_01m7y8g5g4ffwsvdswctyvv55x"]).status.code(), Some(3));
        assert_eq!(types(&db, &["close", &bobs, "--note", " "]).status.code(), Some(5));
        assert_eq!(types(&db, &["close", &bobs]).status.code(), Some(2));

        prints(&db, &["close", &bobs, "--note", "it was not Bob"]);
        assert_eq!(app.account_state(&bob.account).await, "frozen", "closing gives nothing back");
        assert_eq!(types(&db, &["close", &bobs, "--note", "again"]).status.code(), Some(7));
        let closed = prints(&db, &["close", &anns, "--note", "it was Ann after all", "--give-back"]);
        assert_eq!((&closed[0]["closed_by"], &closed[0]["note"]), (&json!("operator"), &json!("it was Ann after all")));
        app.app().revocations.forget();
        assert_eq!(app.account_state(&agent.account).await, "provisional");
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        agent.logs_in_again().await;
        agent.buys("postgres", "small").await.expect_status(201);
        app.reports(&made, "1").await.expect_status(200);
        assert_eq!((prints(&db, &["list"]).len(), prints(&db, &["list", "--all"]).len()), (0, 2));
        app.stop().await;
    }

    async fn what_was_pressed_is_finished_by_another_process_when_this_one_dies(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let (metered, _) = agent.gets_the_weather().await;
        let (link, clock) = (link(&app, &agent.user).await, app.clock.clone());
        let link = app.app().post.not_mine.open(link.trim_start_matches("/not-mine/")).unwrap();
        let (ring, base) = (app.app().ring.clone(), app.base.clone());
        let now = app.now();
        app.stop().await;
        // All that the dying process did is one transaction.
        let disowned = db.db().write(HOUSE, move |conn| takeover::disown(conn, &link, now)).await.unwrap();
        assert!(disowned.case.evidence.is_none());
        takeover::resume_unfinished(db.db(), clock.as_ref()).await.unwrap();
        assert_eq!(takeover::collect_evidence(db.db(), &ring, &base, clock.as_ref()).await.unwrap(), 1);
        assert_eq!(takeover::collect_evidence(db.db(), &ring, &base, clock.as_ref()).await.unwrap(), 0);
        let metered = metered.parse().unwrap();
        let found = db.db().read(move |conn| portreeve::resource::owner_of(conn, &metered)).await.unwrap().unwrap();
        assert!(found.quarantined_at.is_some());
        let case = disowned.case.id;
        let case = db.db().read(move |conn| takeover::case_by_id(conn, &case)).await.unwrap().unwrap();
        assert!(case.evidence.is_some());
    }
}
