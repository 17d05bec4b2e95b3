//! Each kind of security event and what it leads to, one by one: the least that stops a thief.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use diesel::prelude::*;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use portreeve::app::HOUSE;
use portreeve::db::DbError;
use portreeve::db::schema::{accounts, cases, identity_links};
use portreeve::ids::AccountId;
use portreeve::orchestrator::{self, NewOrchestrator};
use portreeve::simulator::User;
use portreeve::{account, login};
use serde_json::{Value, json};

use crate::harness::app::{Agent, TestApp, fresh_key, user};
use crate::harness::browser::Browser;
use crate::mock_issuer::MockIssuer;
use crate::security_events::{CAEP, RISC, event, minted, set, stream};

/// Harbour, which may push, and its user Ann, who logged in a minute ago and has a resource.
async fn ann(app: &TestApp) -> (Agent<'_>, String) {
    set(app, stream(app, &app.orchestrator.id)).await;
    let mut agent = app.agent_of(&user("ann")).await;
    app.comes_back(&mut agent, TimeDelta::seconds(-60)).await;
    let made = agent.buys("sandbox", "free").await.expect_status(201).json();
    (agent, made["resource"]["id"].as_str().unwrap().to_owned())
}

async fn one_outcome(app: &TestApp, outcome: &str) {
    assert_eq!(app.outcomes().await, [outcome]);
}

/// The kinds of the open cases about an account, and whether each is on an event's word.
async fn open_cases(app: &TestApp, account: &str) -> Vec<(String, bool)> {
    let of = cases::table.filter(cases::account_id.eq(account.to_owned())).filter(cases::closed_at.is_null());
    let of = of.select((cases::kind, cases::cause));
    let found: Vec<(String, String)> = app.app().db.read(move |conn| Ok::<_, DbError>(of.load(conn)?)).await.unwrap();
    found.into_iter().map(|(kind, cause)| (kind, cause.starts_with("event:"))).collect()
}

async fn links(app: &TestApp) -> Vec<(String, String)> {
    let all = identity_links::table
        .order(identity_links::account_id)
        .select((identity_links::subject, identity_links::account_id));
    app.app().db.read(move |conn| Ok::<_, DbError>(all.load(conn)?)).await.unwrap()
}

/// Removal, which needs more than a change does.
async fn removes(agent: &Agent<'_>, id: &str) -> u16 {
    agent.client.delete(&format!("/v1/resources/{id}")).await.status()
}

on_both! {
    async fn revoked_sessions_end_tokens_of_before_and_touch_no_resource_under_either_name(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (mut agent, made) = ann(&app).await;
        for uri in [format!("{CAEP}session-revoked"), format!("{RISC}sessions-revoked")] {
            app.hears(&agent.user, &uri, json!({"event_timestamp": app.now().seconds()})).await;
            agent.client.get("/v1/budget").await.problem(401, "invalid_token");
            assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
            app.pass(TimeDelta::seconds(5));
            agent.logs_in_again().await;
            agent.client.get("/v1/budget").await.expect_status(200);
        }
        assert_eq!(app.outcomes().await, ["tokens_ended", "tokens_ended"]);
        app.stop().await;
    }

    async fn changed_credentials_ask_for_a_log_in_before_removals_and_nothing_else(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (mut agent, made) = ann(&app).await;
        app.hears(&agent.user, &format!("{CAEP}credential-change"), json!({"change_type": "update"})).await;
        let path = format!("/v1/resources/{made}");
        let refused = agent.client.delete(&path).await;
        refused.problem(401, "insufficient_user_authentication");
        assert!(refused.header("www-authenticate").contains("insufficient_user_authentication"), "a step-up challenge");
        agent.buys("weather", "metered").await.expect_status(201);
        app.pass(TimeDelta::seconds(10));
        app.comes_back(&mut agent, TimeDelta::seconds(-1)).await;
        agent.client.delete(&path).await.expect_status(200);
        one_outcome(&app, "log_in_before_removal").await;
        app.stop().await;
    }

    async fn a_lower_assurance_asks_for_a_log_in_before_changes_and_a_higher_one_for_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (mut agent, _) = ann(&app).await;
        let changed = format!("{CAEP}assurance-level-change");
        app.hears(&agent.user, &changed, json!({"current_level": "nist-aal3", "change_direction": "increase"})).await;
        agent.buys("weather", "metered").await.expect_status(201);
        app.hears(&agent.user, &changed, json!({"current_level": "nist-aal1", "change_direction": "decrease"})).await;
        agent.buys("postgres", "small").await.problem(401, "insufficient_user_authentication");
        agent.client.get("/v1/budget").await.expect_status(200);
        app.pass(TimeDelta::seconds(10));
        app.comes_back(&mut agent, TimeDelta::seconds(-1)).await;
        agent.buys("postgres", "small").await.expect_status(201);
        app.stop().await;
    }

    async fn a_high_risk_stops_spending_and_a_lower_one_allows_it_again(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, made) = ann(&app).await;
        let changed = format!("{CAEP}risk-level-change");
        app.hears(&agent.user, &changed, json!({"current_level": "HIGH", "principal": "USER"})).await;
        assert_eq!(agent.buys("postgres", "small").await.status(), 402);
        agent.client.get("/v1/budget").await.expect_status(200);
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        app.pass(TimeDelta::seconds(1));
        app.hears(&agent.user, &changed, json!({"current_level": "MEDIUM", "principal": "USER"})).await;
        agent.buys("postgres", "small").await.expect_status(201);
        assert_eq!(app.outcomes().await.iter().filter(|one| *one == "spending_stopped").count(), 1);
        app.stop().await;
    }

    async fn changed_claims_are_recorded_and_never_move_a_link(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = ann(&app).await;
        let before = links(&app).await;
        let claims = json!({"claims": {"sub": "user_eve", "email": "eve@example.test"}});
        app.hears(&agent.user, &format!("{CAEP}token-claims-change"), claims).await;
        one_outcome(&app, "recorded").await;
        assert_eq!(links(&app).await, before);
        agent.buys("weather", "metered").await.expect_status(201);
        app.stop().await;
    }

    async fn a_hijacked_account_freezes_a_case_is_opened_and_the_human_hears_of_it_by_mail(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, made) = ann(&app).await;
        app.pass(TimeDelta::seconds(5));
        app.hears(&agent.user, &format!("{RISC}account-disabled"), json!({"reason": "hijacking"})).await;
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        // It was made before: it runs on.
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        assert_eq!(open_cases(&app, &agent.account).await, [("hijacked".to_owned(), true)]);
        let mail = app.mails_about("was stopped", 1).await.remove(0);
        assert!(mail.contains("To: ann@example.test") && mail.contains("Harbour tells us"), "{mail}");
        // Told again, by another event, it is the same case and no second mail.
        app.hears(&agent.user, &format!("{RISC}account-disabled"), json!({"reason": "hijacking"})).await;
        assert_eq!(open_cases(&app, &agent.account).await.len(), 1);
        assert_eq!(app.mails_about("was stopped", 1).await.len(), 1);
        app.stop().await;
    }

    async fn a_bulk_account_is_held_back_from_its_beginning_and_reviewed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, made) = ann(&app).await;
        app.hears(&agent.user, &format!("{RISC}account-disabled"), json!({"reason": "bulk-account"})).await;
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        assert_eq!(app.resource(&made).await, ("suspended".to_owned(), true));
        assert_eq!(open_cases(&app, &agent.account).await, [("bulk_account".to_owned(), true)]);
        one_outcome(&app, "frozen_entirely").await;
        app.stop().await;
    }

    async fn a_purged_or_otherwise_disabled_account_is_only_unlinked(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, made) = ann(&app).await;
        let bob = app.agent_of(&user("bob")).await;
        app.hears(&agent.user, &format!("{RISC}account-purged"), json!({})).await;
        app.hears(&bob.user, &format!("{RISC}account-disabled"), json!({})).await;
        for gone in [&agent, &bob] {
            gone.client.get("/v1/budget").await.problem(401, "invalid_token");
            app.presents(&app.id_token(&gone.user)).await.problem(401, "invalid_attestation");
            assert_eq!(app.account_state(&gone.account).await, "provisional", "the account survives");
        }
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        assert_eq!(app.outcomes().await, ["unlinked", "unlinked"]);
        app.stop().await;
    }

    async fn a_compromised_credential_leaves_only_reading_until_a_fresh_log_in_and_must_say_which(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (mut agent, made) = ann(&app).await;
        let compromised = format!("{RISC}credential-compromise");
        for unsaid in [json!({}), json!({"credential_type": 7})] {
            let unsaid = minted(&app.simulator, &event(&app.simulator.issuer_url, &agent.user, &compromised, unsaid));
            assert_eq!(app.pushed(&unsaid).await.expect_status(400).json()["err"], "invalid_request");
        }
        agent.buys("weather", "metered").await.expect_status(201);
        app.hears(&agent.user, &compromised, json!({"credential_type": "password"})).await;
        agent.buys("postgres", "small").await.problem(401, "insufficient_user_authentication");
        assert_eq!(removes(&agent, &made).await, 401);
        agent.client.get(&format!("/v1/resources/{made}")).await.expect_status(200);
        app.pass(TimeDelta::seconds(10));
        app.comes_back(&mut agent, TimeDelta::seconds(-1)).await;
        assert_eq!(removes(&agent, &made).await, 200);
        one_outcome(&app, "log_in_before_change").await;
        app.stop().await;
    }

    async fn a_changed_address_is_not_trusted_and_a_recycled_one_leads_nobody_in(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = ann(&app).await;
        let by_address = |uri: &str| {
            let spec = event(&app.simulator.issuer_url, &agent.user, &format!("{RISC}{uri}"), json!({}));
            minted(&app.simulator, &spec.claim("sub_id", json!({"format": "email", "email": agent.user.email})))
        };
        let row = async || {
            let of = accounts::table.find(agent.account.clone()).select((accounts::email_trust, accounts::email_index));
            let row: (String, Option<String>) = app.app().db.read(move |conn| Ok::<_, DbError>(of.get_result(conn)?)).await.unwrap();
            (row.0, row.1.is_some())
        };
        let opens = async || {
            let proof = login::Proof::of_mailbox(&agent.user.email.parse().unwrap());
            app.app().db.read(move |conn| proof.accounts(conn)).await.unwrap().len()
        };
        assert_eq!((row().await, opens().await), (("verified".to_owned(), true), 1));
        app.pushed(&by_address("identifier-changed")).await.expect_status(202);
        assert_eq!(row().await, ("unverified".to_owned(), true));
        app.pushed(&by_address("identifier-recycled")).await.expect_status(202);
        assert_eq!((row().await, opens().await), (("unverified".to_owned(), false), 0));
        assert_eq!(app.outcomes().await, ["address_distrusted", "address_forgotten"]);
        app.stop().await;
    }

    async fn a_touched_recovery_gives_the_account_rest_in_which_no_limit_is_raised(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (first, _) = ann(&app).await;
        let (second, third) = (app.agent_of(&user("bob")).await, app.agent_of(&user("cid")).await);
        let events = ["account-credential-change-required", "recovery-activated", "recovery-information-changed"];
        for (agent, uri) in [&first, &second, &third].into_iter().zip(events) {
            let browser = Browser::of_owner(agent).await;
            browser.submits("/dashboard/cap", &[("ceiling", "10")]).await.expect_status(303);
            app.hears(&agent.user, &format!("{RISC}{uri}"), json!({})).await;
            browser.submits("/dashboard/cap/raise", &[("ceiling", "20")]).await.expect_status(422);
            agent.client.get("/v1/budget").await.expect_status(200);
        }
        app.pass(TimeDelta::hours(73));
        let browser = Browser::of_owner(&first).await;
        browser.submits("/dashboard/cap/raise", &[("ceiling", "20")]).await.expect_status(303);
        app.stop().await;
    }

    async fn an_enabled_account_thaws_to_the_least_and_only_what_its_own_orchestrator_froze(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, _) = ann(&app).await;
        let enabled = format!("{RISC}account-enabled");
        app.hears(&agent.user, &format!("{RISC}account-disabled"), json!({"reason": "hijacking"})).await;
        app.pass(TimeDelta::seconds(1));
        app.hears(&agent.user, &enabled, json!({})).await;
        assert_eq!(app.account_state(&agent.account).await, "provisional");
        let mut agent = agent;
        agent.logs_in_again().await;
        assert_eq!(agent.buys("postgres", "small").await.status(), 402, "spending stays stopped");
        // What the operator froze, it cannot thaw.
        let (id, now) = (agent.account.parse::<AccountId>().unwrap(), app.now());
        app.app().db.write(HOUSE, move |conn| account::freeze(conn, &id, "operator", "test", now)).await.unwrap();
        app.hears(&agent.user, &enabled, json!({})).await;
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        app.stop().await;
    }

    async fn an_opt_out_that_was_initiated_changes_nothing_yet(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, made) = ann(&app).await;
        for uri in ["opt-out-initiated", "opt-out-cancelled", "opt-out-effective", "opt-in"] {
            app.hears(&agent.user, &format!("{RISC}{uri}"), json!({})).await;
        }
        assert!(app.outcomes().await.iter().all(|outcome| outcome == "recorded"));
        // Still acted on: a hijacker opts out first.
        app.hears(&agent.user, &format!("{CAEP}session-revoked"), json!({})).await;
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        app.stop().await;
    }

    async fn an_event_that_is_signed_with_rs256_is_taken(db: TestDb) {
        let app = TestApp::start(&db).await;
        let issuer = MockIssuer::start().await;
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // The PKCS #1 form stands in the PKCS #8 form after 26 bytes of header.
        let private = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
        let mut public = Jwk::from_encoding_key(&private, Algorithm::RS256).unwrap();
        public.common.key_id = Some("rsa-1".to_owned());
        issuer.publishes(json!(public));
        let new = NewOrchestrator::new("Mocked".parse().unwrap(), issuer.url.parse().unwrap(), app.orchestrator.client_id.clone());
        let now = app.now();
        let added = app.app().db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now)).await.unwrap();
        set(&app, stream(&app, &added.id)).await;
        let claims = json!({"iss": issuer.url, "aud": app.orchestrator.client_id, "sub": "eve", "jti": fresh_key(),
            "iat": now.seconds(), "exp": now.seconds() + 300, "auth_time": now.seconds() - 10});
        let opened = app.presents(&issuer.sign(&claims)).await.expect_status(201).json();
        let client = app.stranger().with_token(opened["access_token"].as_str().unwrap());
        client.get("/v1/budget").await.expect_status(200);

        let uri = format!("{CAEP}session-revoked");
        let set = json!({"iss": issuer.url, "aud": app.orchestrator.client_id, "jti": fresh_key(), "iat": now.seconds(),
            "sub_id": {"format": "iss_sub", "iss": issuer.url, "sub": "eve"}, "events": {uri: {}}});
        let header = json!({"alg": "RS256", "kid": "rsa-1", "typ": "secevent+jwt"});
        let signed = |payload: &Value| {
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
            let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &private, Algorithm::RS256).unwrap();
            format!("{message}.{signature}")
        };
        let good = signed(&set);
        let other = signed(&json!({"iss": issuer.url}));
        let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
        assert_eq!(app.pushed(&forged).await.expect_status(400).json()["err"], "invalid_key");
        client.get("/v1/budget").await.expect_status(200);
        app.pushed(&good).await.expect_status(202);
        client.get("/v1/budget").await.problem(401, "invalid_token");
        app.stop().await;
    }

    async fn nobody_else_is_touched_by_any_of_them(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (agent, made) = ann(&app).await;
        let stranger = User { subject: "user_nobody".to_owned(), ..user("ann") };
        for uri in [
            format!("{CAEP}session-revoked"), format!("{CAEP}credential-change"), format!("{RISC}account-purged"),
            format!("{RISC}identifier-recycled"), format!("{RISC}recovery-activated"),
        ] {
            app.hears(&stranger, &uri, json!({})).await;
        }
        app.hears(&stranger, &format!("{RISC}account-disabled"), json!({"reason": "hijacking"})).await;
        assert!(app.outcomes().await.iter().all(|outcome| outcome == "nobody_known"));
        assert_eq!(removes(&agent, &made).await, 200);
        assert_eq!(app.account_state(&agent.account).await, "provisional");
        assert!(open_cases(&app, &agent.account).await.is_empty());
        app.stop().await;
    }
}
