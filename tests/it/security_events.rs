//! Security events: what orchestrators tell of their people, and what they are told. An event counts once, touches only its
//! issuer's people, and does the least that stops a thief.

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::account;
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, security_events};
use portreeve::ids::OrchestratorId;
use portreeve::orchestrator::{self, StreamSettings};
use portreeve::secret::Secret;
use portreeve::simulator::{IdTokenSpec, Simulator, User};
use portreeve::takeover::{self, PollParts};
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, user};
use crate::harness::client::Answer;
use crate::harness::receiver::Receiver;

pub(crate) const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
pub(crate) const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

/// A stream that is pushed.
pub(crate) fn stream(app: &TestApp, of: &OrchestratorId) -> StreamSettings {
    StreamSettings {
        orchestrator_id: of.clone(),
        audience: app.orchestrator.client_id.clone(),
        accepts_push: true,
        push_token_hash: None,
        poll_url: None,
        sealed_poll_token: None,
        next_poll_at: None,
        send_url: None,
        sealed_send_token: None,
        verified_at: None,
        changed_at: app.now(),
    }
}

pub(crate) async fn set(app: &TestApp, settings: StreamSettings) {
    app.app().db.write(HOUSE, move |conn| orchestrator::set_stream(conn, &settings)).await.unwrap();
}

/// A SET of the simulated issuer: an ID token made over.
pub(crate) fn event(issuer: &str, user: &User, uri: &str, detail: Value) -> IdTokenSpec {
    let events = serde_json::Map::from_iter([(uri.to_owned(), detail)]);
    let nothing = ["sub", "exp", "email", "email_verified", "auth_time", "tenant"];
    let spec = nothing.into_iter().fold(IdTokenSpec::of(user), |spec, claim| spec.claim(claim, Value::Null));
    spec.header("typ", json!("secevent+jwt"))
        .claim("sub_id", json!({"format": "iss_sub", "iss": issuer, "sub": user.subject}))
        .claim("events", Value::Object(events))
}

pub(crate) fn minted(simulator: &Simulator, spec: &IdTokenSpec) -> String {
    simulator.mint_id_token(spec).unwrap()
}

impl TestApp {
    pub(crate) async fn pushed(&self, set: &str) -> Answer {
        self.stranger().post_bytes("/security-events", "application/secevent+jwt", set.to_owned()).await
    }

    /// Harbour tells something of its user; answered 202.
    pub(crate) async fn hears(&self, user: &User, uri: &str, detail: Value) {
        let set = minted(&self.simulator, &event(&self.simulator.issuer_url, user, uri, detail));
        self.pushed(&set).await.expect_status(202);
    }

    pub(crate) async fn outcomes(&self) -> Vec<String> {
        let all = security_events::table
            .order((security_events::received_at, security_events::outcome))
            .select(security_events::outcome);
        self.app().db.read(move |conn| Ok::<_, DbError>(all.load(conn)?)).await.unwrap()
    }

    pub(crate) async fn comes_back(&self, agent: &mut Agent<'_>, logged_in: TimeDelta) {
        let at = self.now().plus(logged_in).seconds();
        let token = minted(&self.simulator, &IdTokenSpec::of(&agent.user).claim("auth_time", json!(at)));
        let body = self.stranger().post("/v1/accounts", &json!({"id_token": token})).await.expect_status(200).json();
        agent.client = self.stranger().with_token(body["access_token"].as_str().unwrap());
    }
}

on_both! {
    async fn an_event_that_is_not_as_it_should_be_is_refused_by_its_code_and_does_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let issuer = app.simulator.issuer_url.clone();
        let revoked = format!("{CAEP}session-revoked");
        let good = || event(&issuer, &agent.user, &revoked, json!({}));
        let mut open = stream(&app, &app.orchestrator.id);
        let unset = app.pushed(&minted(&app.simulator, &good())).await.expect_status(400).json();
        assert_eq!(unset["err"], "invalid_issuer", "no stream is set");
        open.accepts_push = false;
        set(&app, open.clone()).await;
        let closed = app.pushed(&minted(&app.simulator, &good())).await.expect_status(400).json();
        assert_eq!(closed["err"], "access_denied");
        open.accepts_push = true;
        set(&app, open.clone()).await;
        let far = app.now().plus(TimeDelta::minutes(5)).seconds();
        let old = app.now().minus(TimeDelta::days(31)).seconds();
        let of_other = json!({"format": "iss_sub", "iss": "https://elsewhere.example", "sub": "user_ann"});
        let nested = json!({"format": "complex", "user": of_other});
        for (spec, err) in [
            (good().header("typ", json!("JWT")), "invalid_request"),
            (good().header("typ", Value::Null), "invalid_request"),
            (good().header("typ", json!("logout+jwt")), "invalid_request"),
            (good().claim("sub", json!("user_ann")), "invalid_request"),
            (good().claim("exp", json!(far)), "invalid_request"),
            (good().claim("iat", json!(far)), "invalid_request"),
            (good().claim("iat", json!(old)), "invalid_request"),
            (good().claim("jti", json!("")), "invalid_request"),
            (good().claim("jti", Value::Null), "invalid_request"),
            (good().claim("events", json!({})), "invalid_request"),
            (good().claim("events", json!({"a": {}, "b": {}})), "invalid_request"),
            (good().claim("events", json!({"a": "b"})), "invalid_request"),
            (good().claim("sub_id", Value::Null), "invalid_request"),
            (good().claim("sub_id", json!({"format": "iss_sub", "iss": issuer})), "invalid_request"),
            (good().claim("iss", json!("https://elsewhere.example")), "invalid_issuer"),
            (good().claim("iss", json!(format!("{issuer}/"))), "invalid_issuer"),
            (good().audience("somebody-else"), "invalid_audience"),
            (good().claim("aud", json!(["a", "b"])), "invalid_audience"),
            (good().signed_by_a_stranger(), "invalid_key"),
            (good().header("alg", json!("none")), "invalid_key"),
            (good().header("alg", json!("HS256")), "invalid_key"),
            (good().header("kid", json!("nobody")), "invalid_key"),
            (good().claim("sub_id", of_other.clone()), "access_denied"),
            (good().claim("sub_id", nested), "access_denied"),
        ] {
            let answer = app.pushed(&minted(&app.simulator, &spec)).await;
            assert_eq!(answer.status(), 400, "{spec:?}: {}", answer.text());
            assert_eq!(answer.json()["err"], err, "{spec:?}: {}", answer.text());
        }
        let token = Secret::generate("set").unwrap();
        open.push_token_hash = Some(token.hash());
        set(&app, open).await;
        let bare = minted(&app.simulator, &good());
        assert_eq!(app.pushed(&bare).await.expect_status(400).json()["err"], "authentication_failed");
        let wrong = app.stranger().with_token("wrong");
        let wrong = wrong.post_bytes("/security-events", "application/secevent+jwt", bare.clone()).await;
        assert_eq!(wrong.expect_status(400).json()["err"], "authentication_failed");
        app.stranger().post_bytes("/security-events", "application/json", bare.clone()).await.expect_status(415);
        assert_eq!((app.outcomes().await, app.recorded("security_event.received").await), (Vec::new(), 0));
        agent.client.get("/v1/budget").await.expect_status(200);
        let right = app.stranger().with_token(token.expose());
        right.post_bytes("/security-events", "application/secevent+jwt", bare).await.expect_status(202);
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        app.stop().await;
    }

    async fn an_event_counts_once_and_touches_only_its_issuers_people(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let mut agent = app.agent_of(&user("ann")).await;
        let other = app.another_orchestrator("Elsewhere", &app.simulator.settlement_url).await;
        let name = other.issuer_url.clone();
        let registered = app.app().db.read(move |conn| orchestrator::by_issuer(conn, &name)).await.unwrap().unwrap();
        set(&app, stream(&app, &registered.id)).await;
        let revoked = format!("{CAEP}session-revoked");
        // The same name there is somebody else.
        let theirs = minted(&other, &event(&other.issuer_url, &agent.user, &revoked, json!({})));
        app.pushed(&theirs).await.expect_status(202);
        agent.client.get("/v1/budget").await.expect_status(200);
        let of_ours = minted(&other, &event(&app.simulator.issuer_url, &agent.user, &revoked, json!({})));
        assert_eq!(app.pushed(&of_ours).await.expect_status(400).json()["err"], "access_denied");
        agent.client.get("/v1/budget").await.expect_status(200);

        let at = app.now().seconds();
        let ours = minted(&app.simulator, &event(&app.simulator.issuer_url, &agent.user, &revoked, json!({"event_timestamp": at})));
        app.pushed(&ours).await.expect_status(202);
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        app.pass(TimeDelta::seconds(5));
        agent.logs_in_again().await;
        // Again, and late: what was issued after the event stands.
        let copies = futures_util::future::join_all((0..8).map(|_| app.pushed(&ours))).await;
        assert!(copies.iter().all(|answer| answer.status() == 202));
        let late = event(&app.simulator.issuer_url, &agent.user, &revoked, json!({"event_timestamp": at}));
        app.pushed(&minted(&app.simulator, &late)).await.expect_status(202);
        agent.client.get("/v1/budget").await.expect_status(200);
        assert_eq!(app.outcomes().await, ["nobody_known", "tokens_ended", "tokens_ended"]);
        app.stop().await;
    }

    async fn a_hijacked_person_is_frozen_and_thawed_to_the_least(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&user("ann")).await;
        let bystander = app.agent_of(&user("bob")).await;
        let before = agent.buys("sandbox", "free").await.expect_status(201).json();
        app.pass(TimeDelta::minutes(1));
        let at = app.now().seconds();
        app.pass(TimeDelta::minutes(1));
        let after = agent.buys("weather", "metered").await.expect_status(201).json();
        let detail = json!({"reason": "hijacking", "event_timestamp": at});
        app.hears(&agent.user, &format!("{RISC}account-disabled"), detail).await;
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        let id_token = json!({"id_token": app.id_token(&agent.user)});
        app.stranger().post("/v1/accounts", &id_token).await.problem(401, "invalid_attestation");
        bystander.client.get("/v1/budget").await.expect_status(200);
        assert_eq!(app.outcomes().await, ["frozen"]);
        app.reports(after["resource"]["id"].as_str().unwrap(), "1").await.problem(409, "resource_not_ready");

        app.hears(&agent.user, &format!("{RISC}account-enabled"), json!({})).await;
        let mut agent = agent;
        agent.logs_in_again().await;
        let state = async |id: &Value| {
            let path = format!("/v1/resources/{}", id.as_str().unwrap());
            agent.client.get(&path).await.expect_status(200).json()["state"].clone()
        };
        assert_eq!(state(&before["resource"]["id"]).await, "ready");
        assert_eq!(state(&after["resource"]["id"]).await, "suspended");
        assert_eq!(agent.buys("postgres", "small").await.status(), 402, "nothing is spent until the provider says so");
        app.stop().await;
    }

    async fn each_lesser_event_does_its_own_little(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let mut agent = app.agent_of(&user("ann")).await;
        app.comes_back(&mut agent, TimeDelta::seconds(-60)).await;
        let first = agent.buys("sandbox", "free").await.expect_status(201).json();
        let path = format!("/v1/resources/{}", first["resource"]["id"].as_str().unwrap());
        // Removal waits for a log-in after the change of credentials; buying does not.
        app.hears(&agent.user, &format!("{CAEP}credential-change"), json!({"change_type": "create"})).await;
        agent.client.delete(&path).await.problem(401, "insufficient_user_authentication");
        agent.buys("weather", "metered").await.expect_status(201);
        // After a compromise nothing is changed.
        app.hears(&agent.user, &format!("{RISC}credential-compromise"), json!({"credential_type": "password"})).await;
        agent.buys("postgres", "small").await.problem(401, "insufficient_user_authentication");
        agent.client.get(&path).await.expect_status(200);
        app.pass(TimeDelta::seconds(30));
        app.comes_back(&mut agent, TimeDelta::seconds(-40)).await;
        agent.buys("postgres", "small").await.problem(401, "insufficient_user_authentication");
        app.comes_back(&mut agent, TimeDelta::seconds(-1)).await;
        agent.client.delete(&path).await.expect_status(200);
        // A high risk stops spending, a low one lets it go on.
        app.hears(&agent.user, &format!("{CAEP}risk-level-change"), json!({"current_level": "HIGH"})).await;
        assert_eq!(agent.buys("postgres", "small").await.status(), 402);
        agent.client.get("/v1/budget").await.expect_status(200);
        app.pass(TimeDelta::seconds(1));
        app.hears(&agent.user, &format!("{CAEP}risk-level-change"), json!({"current_level": "LOW"})).await;
        agent.buys("postgres", "small").await.expect_status(201);
        // Recovery that was touched gives 72 hours of rest.
        app.hears(&agent.user, &format!("{RISC}recovery-activated"), json!({})).await;
        let (of, through) = (agent.account.parse().unwrap(), app.orchestrator.id.clone());
        let asked = app.app().db.read(move |conn| takeover::precautions(conn, &of, &through)).await.unwrap();
        assert!(asked.is_cooling(app.now().plus(TimeDelta::hours(71))));
        assert!(!asked.is_cooling(app.now().plus(TimeDelta::hours(73))));
        // A recycled address leads nobody here again; it is found by that address alone.
        let recycled = event(&app.simulator.issuer_url, &agent.user, &format!("{RISC}identifier-recycled"), json!({}))
            .claim("sub_id", json!({"format": "email", "email": agent.user.email}));
        app.pushed(&minted(&app.simulator, &recycled)).await.expect_status(202);
        let row = accounts::table.find(agent.account.clone()).select((accounts::email_index, accounts::email_trust));
        let row: (Option<String>, String) = app.app().db.read(move |conn| Ok::<_, DbError>(row.get_result(conn)?)).await.unwrap();
        assert_eq!(row, (None, "unverified".to_owned()));
        // A purged account is only unlinked.
        app.hears(&agent.user, &format!("{RISC}account-purged"), json!({})).await;
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        let of = agent.account.parse().unwrap();
        let left = app.app().db.read(move |conn| account::by_id(conn, &of)).await.unwrap().unwrap();
        assert!(left.state.is_usable());
        for (uri, detail) in [("opt-out-initiated", json!({})), ("nobody-knows-this", json!({}))] {
            app.hears(&agent.user, &format!("{RISC}{uri}"), detail).await;
        }
        assert_eq!(app.outcomes().await.iter().filter(|outcome| *outcome == "recorded").count(), 2);
        app.stop().await;
    }

    async fn events_are_asked_for_taken_once_and_acknowledged(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent_of(&user("ann")).await;
        let transmitter = Receiver::start();
        let issuer = app.simulator.issuer_url.clone();
        let verification = "https://schemas.openid.net/secevent/ssf/event-type/verification";
        let hello = event(&issuer, &agent.user, verification, json!({"state": "x"}))
            .claim("sub_id", json!({"format": "opaque", "id": "stream-1"}))
            .claim("jti", json!("hello"));
        let gone = event(&issuer, &agent.user, &format!("{CAEP}session-revoked"), json!({})).claim("jti", json!("gone"));
        let bad = event(&issuer, &agent.user, &format!("{CAEP}session-revoked"), json!({}))
            .claim("jti", json!("bad"))
            .audience("somebody-else");
        let sets = json!({"hello": minted(&app.simulator, &hello), "gone": minted(&app.simulator, &gone),
            "bad": minted(&app.simulator, &bad)});
        transmitter.answers(200, &json!({"sets": sets, "moreAvailable": false}));
        let mut settings = stream(&app, &app.orchestrator.id);
        settings.accepts_push = false;
        settings.poll_url = Some(transmitter.url.clone());
        // Not yet due: the provider's own worker would ask as well.
        settings.next_poll_at = Some(app.now().plus(TimeDelta::hours(1)));
        set(&app, settings).await;
        app.pass(TimeDelta::hours(1));
        let parts = PollParts {
            db: app.app().db.clone(),
            keys: app.app().keys.clone(),
            fetch: app.app().fetch.clone(),
            sealer: app.app().wire_sealer.clone(),
        };
        // Whoever claims the turn asks; nobody else does.
        takeover::poll_due(&parts, app.clock.as_ref()).await.unwrap();
        for _ in 0..200 {
            if transmitter.seen().len() >= 2 && app.outcomes().await.len() == 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        let seen = transmitter.seen();
        assert_eq!(seen[0].json(), json!({"maxEvents": 20, "returnImmediately": true}));
        let report = seen[1].json();
        assert_eq!(report["ack"], json!(["gone", "hello"]), "{report}");
        assert_eq!(report["setErrs"]["bad"]["err"], "invalid_audience", "{report}");
        assert_eq!(app.outcomes().await, ["tokens_ended", "verified"]);
        let id = app.orchestrator.id.clone();
        let told = app.app().db.read(move |conn| orchestrator::stream_of(conn, &id)).await.unwrap().unwrap();
        assert!(told.verified_at.is_some() && told.next_poll_at > Some(app.now()));
        app.stop().await;
    }

    async fn an_orchestrator_is_told_of_a_frozen_account_by_a_signed_event_once_it_asked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let freeze = async |agent: &Agent<'_>| {
            let (id, now) = (agent.account.parse().unwrap(), app.now());
            app.app().db.write(HOUSE, move |conn| account::freeze(conn, &id, "operator", "test", now)).await.unwrap();
        };
        let receiver = Receiver::start();
        freeze(&app.agent_of(&user("early")).await).await;
        let mut settings = stream(&app, &app.orchestrator.id);
        settings.send_url = Some(receiver.url.clone());
        set(&app, settings).await;
        let agent = app.agent_of(&user("ann")).await;
        freeze(&agent).await;
        orchestrator::deliver_due(&app.app().courier, app.clock.as_ref()).await.unwrap();
        let seen = receiver.waits_for(1).await;
        assert_eq!(seen[0].header("content-type"), Some("application/secevent+jwt"));
        let set = String::from_utf8(seen[0].body.clone()).unwrap();
        let jws = portreeve::signing::Unverified::parse(&set).unwrap();
        jws.expect_type(&["secevent+jwt"]).unwrap();
        let published = app.stranger().get("/oauth/jwks").await.json();
        let kid = jws.kid().unwrap().to_owned();
        let key = published["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid.as_str()).unwrap();
        let key = serde_json::from_value(key.clone()).unwrap();
        let claims: Value = jws.verify(&key, &[portreeve::signing::SignatureAlgorithm::Es256]).unwrap().claims;
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(app.base), &json!(app.simulator.issuer_url)));
        assert_eq!(claims["sub_id"], json!({"format": "iss_sub", "iss": app.simulator.issuer_url, "sub": "user_ann"}));
        assert!(claims["events"][format!("{RISC}account-disabled")].is_object() && claims.get("exp").is_none(), "{claims}");
        app.stop().await;
    }
}
