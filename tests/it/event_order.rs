//! Security events that come late, out of order or incomplete: none gives back what a newer one took.

use chrono::TimeDelta;
use portreeve::takeover::{self, PollParts};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::receiver::Receiver;
use crate::security_events::{CAEP, RISC, event, minted, set, stream};

/// What polling reaches.
pub(crate) fn parts(app: &TestApp) -> PollParts {
    PollParts {
        db: app.app().db.clone(),
        keys: app.app().keys.clone(),
        fetch: app.app().fetch.clone(),
        sealer: app.app().wire_sealer.clone(),
    }
}

/// Harbour's stream is polled at `url`, and what is there is taken, `count` events in all.
pub(crate) async fn polls(app: &TestApp, url: url::Url, count: usize) {
    let mut settings = stream(app, &app.orchestrator.id);
    settings.accepts_push = false;
    settings.poll_url = Some(url);
    // Not yet due: the provider's own worker would ask as well.
    settings.next_poll_at = Some(app.now().plus(TimeDelta::minutes(5)));
    set(app, settings).await;
    app.pass(TimeDelta::minutes(5));
    takeover::poll_due(&parts(app), app.clock.as_ref()).await.unwrap();
    for _ in 0..200 {
        if app.outcomes().await.len() >= count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

on_both! {
    async fn what_happened_before_a_hijacking_does_not_take_it_back_however_late_it_comes(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&user("ann")).await;
        app.pass(TimeDelta::hours(2));
        let (at, enabled) = (app.now().seconds(), format!("{RISC}account-enabled"));
        app.hears(&agent.user, &format!("{RISC}account-disabled"), json!({"reason": "hijacking", "event_timestamp": at - 10})).await;
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        let issuer = &app.simulator.issuer_url;
        let late = event(issuer, &agent.user, &enabled, json!({"event_timestamp": at - 3600})).claim("iat", json!(at - 3600));
        app.pushed(&minted(&app.simulator, &late)).await.expect_status(202);
        // Told just now, of before; of the same second; and without a word about when, but issued before.
        app.hears(&agent.user, &enabled, json!({"event_timestamp": at - 11})).await;
        app.hears(&agent.user, &enabled, json!({"event_timestamp": at - 10})).await;
        let unsaid = event(issuer, &agent.user, &enabled, json!({})).claim("iat", json!(at - 20));
        app.pushed(&minted(&app.simulator, &unsaid)).await.expect_status(202);
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        app.presents(&app.id_token(&agent.user)).await.problem(401, "invalid_attestation");
        assert_eq!(app.outcomes().await.iter().filter(|one| *one == "recorded").count(), 4);
        app.hears(&agent.user, &enabled, json!({"event_timestamp": at - 9})).await;
        assert_eq!(app.account_state(&agent.account).await, "provisional");
        app.stop().await;
    }

    async fn spending_goes_on_only_when_a_lower_risk_is_said_in_so_many_words(db: TestDb) {
        let app = TestApp::start(&db).await;
        set(&app, stream(&app, &app.orchestrator.id)).await;
        let agent = app.agent_of(&user("ann")).await;
        let changed = format!("{CAEP}risk-level-change");
        app.hears(&agent.user, &changed, json!({"current_level": "HIGH"})).await;
        app.pass(TimeDelta::seconds(5));
        for said in [
            json!({}), json!({"current_level": ""}), json!({"current_level": "NONE"}), json!({"current_level": 0}),
            json!({"current_level": Value::Null}), json!({"previous_level": "LOW"}), json!({"current_level": ["LOW"]}),
        ] {
            app.hears(&agent.user, &changed, said).await;
            assert_eq!(agent.buys("postgres", "small").await.status(), 402);
        }
        let before = json!({"current_level": "LOW", "event_timestamp": app.now().seconds() - 60});
        app.hears(&agent.user, &changed, before).await;
        assert_eq!(agent.buys("postgres", "small").await.status(), 402, "it was low before it was high");
        app.hears(&agent.user, &changed, json!({"current_level": "low"})).await;
        agent.buys("postgres", "small").await.expect_status(201);
        app.stop().await;
    }

    async fn a_polled_batch_is_taken_in_the_order_in_which_things_happened(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (ann, bob) = (app.agent_of(&user("ann")).await, app.agent_of(&user("bob")).await);
        let (transmitter, changed) = (Receiver::start(), format!("{CAEP}risk-level-change"));
        let at = app.now().seconds();
        let told = |of: &portreeve::simulator::User, jti: &str, level: &str, at: i64| {
            let detail = json!({"current_level": level, "event_timestamp": at});
            let spec = event(&app.simulator.issuer_url, of, &changed, detail).claim("jti", json!(jti));
            minted(&app.simulator, &spec)
        };
        // By name the low risk of Ann comes first, and the high one of Bob.
        let sets = json!({
            "a": told(&ann.user, "a", "LOW", at + 2), "b": told(&ann.user, "b", "HIGH", at + 1),
            "c": told(&bob.user, "c", "HIGH", at + 4), "d": told(&bob.user, "d", "LOW", at + 3),
        });
        transmitter.answers(200, &json!({"sets": sets, "moreAvailable": false}));
        polls(&app, transmitter.url.clone(), 4).await;
        ann.buys("postgres", "small").await.expect_status(201);
        assert_eq!(bob.buys("postgres", "small").await.status(), 402);
        app.stop().await;
    }
}
