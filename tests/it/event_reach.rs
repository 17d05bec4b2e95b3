//! How far a security event reaches: the person whom it names, on the word of whoever was asked, and never an account that
//! its human claimed.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::account::{self, LinkedBy};
use portreeve::app::HOUSE;
use portreeve::clock::Timestamp;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, claims, identity_links};
use portreeve::ids::AccountId;
use portreeve::orchestrator::{self, Depth, NewDistrust, WhoseDistrust};
use portreeve::simulator::{IdTokenSpec, User};
use portreeve::takeover::{self, Bounds};
use serde_json::{Value, json};

use crate::event_order::polls;
use crate::harness::app::{Agent, TestApp, user};
use crate::harness::beside::claim;
use crate::harness::browser::Browser;
use crate::harness::receiver::Receiver;
use crate::security_events::{CAEP, RISC, event, minted, set, stream};

/// Whether the account is found by its address, and whether that is trusted.
async fn address(app: &TestApp, account: &str) -> (bool, bool) {
    let of = accounts::table.find(account.to_owned()).select((accounts::email_index, accounts::email_trust));
    let row = app.app().db.read(move |conn| Ok::<_, DbError>(of.get_result::<(Option<String>, String)>(conn)?));
    let (index, trust) = row.await.unwrap();
    (index.is_some(), trust == "verified")
}

/// Its human claimed it in this way, and allows its orchestrator this.
async fn claimed(app: &TestApp, agent: &Agent<'_>, method: &'static str, allowed: &'static str) {
    claim(app, &agent.account).await;
    let (id, now) = (agent.account.parse::<AccountId>().unwrap(), app.now());
    let written = app.app().db.write(HOUSE, move |conn| {
        let row = (claims::account_id.eq(&id), claims::method.eq(method), claims::claimed_at.eq(now));
        diesel::insert_into(claims::table).values(row).execute(conn)?;
        let links = identity_links::table.filter(identity_links::account_id.eq(&id));
        Ok::<_, DbError>(diesel::update(links).set(identity_links::scopes.eq(Some(allowed))).execute(conn)?)
    });
    assert_eq!(written.await.unwrap(), 1);
}

on_both! {
    async fn a_polled_stream_says_nothing_about_another_issuers_people(db: TestDb) {
        let app = TestApp::start(&db).await;
        let other = app.another_orchestrator("Elsewhere", &app.simulator.settlement_url).await;
        let name = other.issuer_url.clone();
        let registered = app.app().db.read(move |conn| orchestrator::by_issuer(conn, &name)).await.unwrap().unwrap();
        let mut theirs = stream(&app, &registered.id);
        theirs.accepts_push = false;
        set(&app, theirs).await;
        let ann = user("ann");
        let token = other.mint_id_token(&IdTokenSpec::of(&ann)).unwrap();
        let opened = app.presents(&token).await.expect_status(201).json();
        let client = app.stranger().with_token(opened["access_token"].as_str().unwrap());
        let (transmitter, revoked) = (Receiver::start(), format!("{CAEP}session-revoked"));
        let of_theirs = event(&other.issuer_url, &ann, &revoked, json!({})).claim("jti", json!("x"));
        let sets = json!({"x": minted(&other, &of_theirs)});
        transmitter.answers(200, &json!({"sets": sets, "moreAvailable": false}));
        polls(&app, transmitter.url.clone(), 0).await;
        for _ in 0..200 {
            if transmitter.seen().len() >= 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert_eq!(transmitter.seen()[1].json()["setErrs"]["x"]["err"], "invalid_issuer");
        assert!(app.outcomes().await.is_empty());
        client.get("/v1/budget").await.expect_status(200);
        app.stop().await;
    }

    async fn an_event_about_an_address_in_a_tenant_reaches_nobody_of_another(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&User { tenant: Some("acme".to_owned()), ..user("ann") }).await;
        let told = |tenant: &str| {
            let spec = event(&app.simulator.issuer_url, &agent.user, &format!("{CAEP}session-revoked"), json!({}));
            let named = json!({"format": "complex", "user": {"format": "email", "email": agent.user.email},
                "tenant": {"format": "opaque", "id": tenant}});
            minted(&app.simulator, &spec.claim("sub_id", named))
        };
        for other in ["globex", "", "ACME", "acme "] {
            app.pushed(&told(other)).await.expect_status(202);
        }
        assert_eq!(app.outcomes().await, ["nobody_known"; 4]);
        agent.client.get("/v1/budget").await.expect_status(200);
        app.pushed(&told("acme")).await.expect_status(202);
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        app.stop().await;
    }

    async fn an_event_is_about_the_person_whom_it_names_and_nobody_else_in_the_account(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&user("ann")).await;
        let second = User { subject: "user_second".to_owned(), ..user("ann") };
        let (id, harbour, now) = (agent.account.parse::<AccountId>().unwrap(), app.orchestrator.clone(), app.now());
        let linked = app.app().db.write(HOUSE, move |conn| {
            account::link(conn, (&harbour, ("", "user_second")), (&id, None), (LinkedBy::Consent, "test"), now)
        });
        linked.await.unwrap();
        app.hears(&agent.user, &format!("{RISC}account-purged"), json!({})).await;
        app.presents(&app.id_token(&agent.user)).await.problem(401, "invalid_attestation");
        let still = app.presents(&app.id_token(&second)).await.expect_status(200).json();
        assert_eq!(still["account"]["id"], json!(agent.account));
        // Nor does the other's good news help the one.
        app.pass(TimeDelta::seconds(5));
        app.hears(&second, &format!("{RISC}account-enabled"), json!({})).await;
        app.presents(&app.id_token(&agent.user)).await.problem(401, "invalid_attestation");
        app.stop().await;
    }

    async fn no_event_freezes_an_account_that_its_human_claimed_and_the_operator_does(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&user("ann")).await;
        let made = agent.buys("sandbox", "free").await.expect_status(201).json();
        claim(&app, &agent.account).await;
        let owner = Browser::of_owner(&agent).await;
        for reason in ["hijacking", "bulk-account"] {
            app.hears(&agent.user, &format!("{RISC}account-disabled"), json!({"reason": reason})).await;
            assert_eq!(app.account_state(&agent.account).await, "active", "{reason}");
        }
        app.app().revocations.forget();
        // What came through the orchestrator is stopped; the human's own log-in stands.
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(app.resource(made["resource"]["id"].as_str().unwrap()).await, ("suspended".to_owned(), true));
        owner.get("/dashboard").await.expect_status(200);
        let new = NewDistrust {
            orchestrator_id: app.orchestrator.id.clone(),
            since: Timestamp::from_seconds(0),
            whose: WhoseDistrust::Subject { tenant: None, subject: agent.user.subject.clone() },
            depth: Depth::Things,
            cause: "operator".to_owned(),
            event_at: None,
        };
        let now = app.now();
        let begun = app.app().db.write(HOUSE, move |conn| orchestrator::begin(conn, &new, now)).await.unwrap();
        takeover::run(&app.app().db, &begun.id, Bounds::default(), app.clock.as_ref()).await.unwrap();
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        app.stop().await;
    }

    async fn an_address_that_its_human_proved_is_nothing_that_an_orchestrator_takes_away(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let (ann, bob, cid, dee) = (
            app.agent_of(&user("ann")).await,
            app.agent_of(&user("bob")).await,
            app.agent_of(&user("cid")).await,
            app.agent_of(&user("dee")).await,
        );
        claimed(&app, &ann, "mail_and_passkey", "resources:read").await;
        claimed(&app, &bob, "mail_and_oidc", "resources:read").await;
        // By the orchestrator's own log-in, but it was not kept.
        claimed(&app, &cid, "issuer", "").await;
        claimed(&app, &dee, "issuer", "resources:read").await;
        for uri in ["identifier-changed", "identifier-recycled"] {
            for agent in [&ann, &bob, &cid] {
                let spec = event(&app.simulator.issuer_url, &agent.user, &format!("{RISC}{uri}"), Value::Object(serde_json::Map::new()));
                let by_address = spec.clone().claim("sub_id", json!({"format": "email", "email": agent.user.email}));
                app.pushed(&minted(&app.simulator, &by_address)).await.expect_status(202);
                app.pushed(&minted(&app.simulator, &spec)).await.expect_status(202);
                assert_eq!(address(&app, &agent.account).await, (true, true), "{uri} {}", agent.user.subject);
            }
        }
        assert_eq!(app.outcomes().await, ["recorded"; 12]);
        app.hears(&dee.user, &format!("{RISC}identifier-recycled"), json!({})).await;
        assert_eq!(address(&app, &dee.account).await, (false, false));
        app.stop().await;
    }
}
