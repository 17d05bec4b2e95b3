//! A platform that takes its time, says no, or says nothing: what the wire answers meanwhile, after a restart too, and
//! that the books of both sides agree in the end.

use chrono::TimeDelta;
use portreeve::simulator::{Fault, SettlementVerb};
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::driver::{Says, Script};
use crate::harness::tenant::{Tenant, id_of, refused, wire_token};
use crate::harness::wire::WireAgent;

const CREATE: &str = "/provisioning/resources";
const UPDATE: &str = "update_service";
const ROTATE: &str = "rotate_credentials";

async fn start(db: &crate::harness::databases::TestDb) -> (TestApp, Script) {
    let script = Script::default();
    let app = TestApp::start_bent(db, &[], |app| script.bend(app)).await;
    (app, script)
}

/// What stays of a tenant when the provider ends.
struct Left {
    secret: String,
    bearer: String,
    wire: (portreeve::ids::OrchestratorId, portreeve::ids::WireSecretId, String),
    token: String,
}

impl Left {
    fn by(tenant: &Tenant<'_>) -> Self {
        let wire = &tenant.wire;
        Self {
            secret: wire.secret.clone(),
            bearer: wire.bearer.clone().unwrap(),
            wire: (wire.orchestrator.clone(), wire.secret_id.clone(), wire.kind.clone()),
            token: tenant.agent.token.clone(),
        }
    }

    fn wire<'a>(&self, app: &'a TestApp) -> WireAgent<'a> {
        let (orchestrator, secret_id, kind) = self.wire.clone();
        let bearer = Some(self.bearer.clone());
        let (client, secret) = (app.stranger(), self.secret.clone());
        WireAgent { app, client, orchestrator, secret, secret_id, kind, v2: None, prefix: String::new(), bearer }
    }

    /// Spent and held, as `/v1` tells it.
    async fn budget(&self, app: &TestApp) -> (Value, Value) {
        let budget = app.stranger().with_token(&self.token).get("/v1/budget").await.expect_status(200).json();
        (budget["spent"].clone(), budget["held"].clone())
    }
}

/// The status of a look, once the workers had a turn.
async fn settles(app: &TestApp, wire: &WireAgent<'_>, id: &str, status: &str) -> Value {
    app.workers_resume().await;
    let mut seen = Value::Null;
    for _ in 0..200 {
        seen = wire.get(&format!("{CREATE}/{id}")).await.json();
        if seen["status"] == status {
            return seen;
        }
        // A worker of the provider itself may have claimed it first.
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("not `{status}`: {seen}");
}

fn url(answer: &Value) -> String {
    answer["complete"]["access_configuration"]["DATABASE_URL"].as_str().expect("a URL").to_owned()
}

on_both! {
    async fn what_is_being_made_is_pending_until_the_platform_has_made_it(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        script.says("create", Says::Pending);
        let order = ada.order("postgres:small");
        let pending = ada.wire.post_once("k", CREATE, &order).await.expect_status(200).json();
        let id = id_of(&pending, "pending");
        assert_eq!(pending, json!({"status": "pending", "id": id}), "no credentials of what is not there");
        for _ in 0..2 {
            assert_eq!(ada.looks_at(&id).await.expect_status(200).json(), pending);
            assert_eq!(ada.wire.post_once("k", CREATE, &order).await.expect_status(200).json(), pending);
        }
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((0, 900), (900, 0)), "set aside, not taken");
        // Nothing else is done with it meanwhile.
        refused(&ada.does("remove", &id, &json!({})).await, 409, "invalid_state", &id);
        let up = json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()});
        refused(&ada.does(UPDATE, &id, &up).await, 409, "invalid_state", &id);
        refused(&ada.does(ROTATE, &id, &json!({})).await, 409, "invalid_state", &id);
        app.workers_resume().await;
        assert_eq!(ada.looks_at(&id).await.json(), pending, "still");
        script.says("create", Says::Nothing);
        app.workers_resume().await;
        assert_eq!(ada.looks_at(&id).await.json(), pending, "nobody knows");
        script.says("create", Says::Yes);
        settles(&app, &ada.wire, &id, "complete").await;
        let done = ada.wire.post_once("k", CREATE, &order).await.expect_status(200).json();
        assert!(url(&done).contains(&id));
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        let mut operations = script.calls("create");
        operations.dedup();
        assert_eq!(operations.len(), 1, "every call was the same operation");
        app.stop().await;
    }

    async fn what_the_platform_refuses_in_the_end_is_an_error_and_costs_nothing(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        for first in [Says::Pending, Says::Nothing, Says::DoneAndNothing] {
            script.says("create", first);
            let order = ada.order("postgres:small");
            let key = format!("k-{first:?}");
            let pending = ada.wire.post_once(&key, CREATE, &order).await.expect_status(200).json();
            let id = id_of(&pending, "pending");
            script.says("create", Says::No);
            settles(&app, &ada.wire, &id, "error").await;
            refused(&ada.looks_at(&id).await, 500, "server_error", &id);
            refused(&ada.wire.post_once(&key, CREATE, &order).await, 500, "server_error", &id);
            assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)), "{first:?}");
            assert_eq!(ada.does("remove", &id, &json!({})).await.expect_status(200).json()["status"], "removed");
        }
        app.stop().await;
    }

    async fn work_goes_on_after_a_restart(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        let (order, up) = (ada.order("postgres:small"), json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()}));
        script.says("create", Says::DoneAndNothing);
        let id = id_of(&ada.wire.post_once("made", CREATE, &order).await.json(), "pending");
        let left = Left::by(&ada);
        let app = app.restart(|app| Script::default().bend(app)).await;
        settles(&app, &left.wire(&app), &id, "complete").await;
        let made = left.wire(&app).post_once("made", CREATE, &order).await.expect_status(200).json();

        let of = |verb: &str| format!("{CREATE}/{id}/{verb}");
        let slow = Script::default();
        slow.says("change", Says::Pending);
        let app = app.restart(|app| slow.bend(app)).await;
        let changing = left.wire(&app).post_once("up", &of(UPDATE), &up).await.expect_status(200).json();
        assert_eq!(id_of(&changing, "pending"), id);
        let slow = Script::default();
        slow.says("rotate", Says::Nothing);
        let app = app.restart(|app| slow.bend(app)).await;
        assert_eq!(settles(&app, &left.wire(&app), &id, "complete").await["service_id"], "postgres:medium");
        let changed = left.wire(&app).post_once("up", &of(UPDATE), &up).await.expect_status(200).json();
        assert_ne!(url(&changed), url(&made));

        let turning = left.wire(&app).post_once("turn", &of(ROTATE), &json!({})).await.expect_status(200).json();
        assert_eq!(id_of(&turning, "pending"), id);
        let slow = Script::default();
        slow.says("remove", Says::Pending);
        let app = app.restart(|app| slow.bend(app)).await;
        settles(&app, &left.wire(&app), &id, "complete").await;
        let turned = left.wire(&app).post_once("turn", &of(ROTATE), &json!({})).await.expect_status(200).json();
        assert!(url(&turned).contains(":1."), "turned once: {turned}");

        let going = left.wire(&app).post_once("go", &of("remove"), &json!({})).await.expect_status(200).json();
        assert_eq!(id_of(&going, "pending_removal"), id);
        let app = app.restart(|_| ()).await;
        settles(&app, &left.wire(&app), &id, "removed").await;
        assert_eq!((left.budget(&app).await, app.issuer_says()), ((json!(3700), json!(0)), (0, 3700)), "each paid once");
        app.stop().await;
    }

    async fn what_is_being_changed_stays_what_it_was_until_it_is_the_other(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        let up = json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()});
        script.says("change", Says::Pending);
        let pending = ada.does_once("up", UPDATE, &id, &up).await.expect_status(200).json();
        assert_eq!(pending, json!({"status": "pending", "id": id}));
        assert_eq!(ada.looks_at(&id).await.expect_status(200).json(), pending);
        assert_eq!(ada.does_once("up", UPDATE, &id, &up).await.expect_status(200).json(), pending);
        assert_eq!(ada.plan_and_state(&id).await, ("postgres/small".to_owned(), "changing".to_owned()));
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 2800), (2800, 900)));
        refused(&ada.does(UPDATE, &id, &up).await, 409, "invalid_state", &id);
        refused(&ada.does(ROTATE, &id, &json!({})).await, 409, "invalid_state", &id);
        refused(&ada.does("remove", &id, &json!({})).await, 409, "invalid_state", &id);
        // The platform says no: it is what it was, and the money is free.
        script.says("change", Says::No);
        assert_eq!(settles(&app, &ada.wire, &id, "complete").await["service_id"], "postgres:small");
        refused(&ada.does_once("up", UPDATE, &id, &up).await, 500, "server_error", &id);
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((900, 0), (0, 900)));
        // The next one takes its time, and succeeds.
        script.says("change", Says::Nothing);
        id_of(&ada.does_once("again", UPDATE, &id, &up).await.expect_status(200).json(), "pending");
        script.says("change", Says::Yes);
        assert_eq!(settles(&app, &ada.wire, &id, "complete").await["service_id"], "postgres:medium");
        url(&ada.does_once("again", UPDATE, &id, &up).await.expect_status(200).json());
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((3700, 0), (0, 3700)));
        app.stop().await;
    }

    async fn a_rotation_that_takes_its_time_turns_once_and_one_that_is_refused_not_at_all(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        let order = ada.order("postgres:small");
        let made = ada.wire.post_once("made", CREATE, &order).await.expect_status(200).json();
        let id = id_of(&made, "complete");
        script.says("rotate", Says::Pending);
        let pending = ada.does_once("turn", ROTATE, &id, &json!({})).await.expect_status(200).json();
        assert_eq!(pending, json!({"status": "pending", "id": id}));
        assert_eq!(ada.does_once("turn", ROTATE, &id, &json!({})).await.json(), pending);
        refused(&ada.does(ROTATE, &id, &json!({})).await, 409, "invalid_state", &id);
        refused(&ada.does("remove", &id, &json!({})).await, 409, "invalid_state", &id);
        script.says("rotate", Says::No);
        settles(&app, &ada.wire, &id, "complete").await;
        refused(&ada.does_once("turn", ROTATE, &id, &json!({})).await, 500, "credential_rotation_failed", &id);
        let still = ada.wire.post_once("made", CREATE, &order).await.expect_status(200).json();
        assert_eq!(still, made, "what was handed out still stands");
        script.says("rotate", Says::DoneAndNothing);
        id_of(&ada.does_once("turn2", ROTATE, &id, &json!({})).await.expect_status(200).json(), "pending");
        script.says("rotate", Says::Yes);
        settles(&app, &ada.wire, &id, "complete").await;
        let turned = ada.does_once("turn2", ROTATE, &id, &json!({})).await.expect_status(200).json();
        assert!(url(&turned).contains(":1."), "the refused one is no generation: {turned}");
        app.stop().await;
    }

    async fn what_is_being_removed_is_pending_removal_until_it_is_gone(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        let id = ada.gets("postgres:small").await;
        script.says("remove", Says::Pending);
        let pending = json!({"status": "pending_removal", "id": id});
        for _ in 0..2 {
            assert_eq!(ada.does("remove", &id, &json!({})).await.expect_status(200).json(), pending);
            assert_eq!(ada.looks_at(&id).await.expect_status(200).json(), pending);
        }
        assert_eq!(script.calls("remove").len(), 1, "the second asked for nothing new");
        let up = json!({"service_id": "postgres:medium", "payment_credentials": ada.pays()});
        refused(&ada.does(UPDATE, &id, &up).await, 409, "invalid_state", &id);
        refused(&ada.does(ROTATE, &id, &json!({})).await, 409, "invalid_state", &id);
        script.says("remove", Says::Nothing);
        app.workers_resume().await;
        assert_eq!(ada.looks_at(&id).await.json(), pending);
        script.says("remove", Says::Yes);
        settles(&app, &ada.wire, &id, "removed").await;
        // What the platform does not remove needs a human, and says so.
        let stuck = ada.gets("sandbox").await;
        script.says("remove", Says::No);
        refused(&ada.does("remove", &stuck, &json!({})).await, 500, "remove_failed", &stuck);
        refused(&ada.looks_at(&stuck).await, 500, "server_error", &stuck);
        app.stop().await;
    }

    async fn past_its_deadline_a_human_is_called_and_the_work_goes_on(db: TestDb) {
        let (app, script) = start(&db).await;
        let mut ada = Tenant::ada(&app).await;
        script.says("create", Says::Nothing);
        let id = id_of(&ada.makes("sandbox").await.expect_status(200).json(), "pending");
        app.pass(TimeDelta::hours(25));
        app.workers_turn().await;
        ada.agent.logs_in_again().await;
        ada.wire = ada.wire.with_bearer(&wire_token(&app, &ada.agent.token, "resources:read resources:write resources:delete"));
        ada.waits_for(&id, "needs_attention").await;
        assert_eq!(ada.looks_at(&id).await.expect_status(200).json()["status"], "pending");
        refused(&ada.does("remove", &id, &json!({})).await, 409, "invalid_state", &id);
        script.says("create", Says::Yes);
        app.pass(TimeDelta::minutes(10));
        settles(&app, &ada.wire, &id, "complete").await;
        app.stop().await;
    }

    async fn whatever_fails_after_the_hold_leaves_the_books_of_both_sides_equal(db: TestDb) {
        let (app, script) = start(&db).await;
        let ada = Tenant::ada(&app).await;
        let before_effect = Fault::TimeOutBeforeEffect;
        // The settlement refuses, at either step.
        for verb in [SettlementVerb::Authorize, SettlementVerb::Capture] {
            app.fails(verb, Fault::Decline, 1);
            let answer = ada.makes("postgres:small").await;
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            refused(&answer, 400, "requires_payment_credentials", &id);
            refused(&ada.looks_at(&id).await, 400, "requires_payment_credentials", &id);
            assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)), "{verb:?}");
        }
        assert_eq!(script.calls("remove").len(), 1, "what was made before the capture was refused is unmade");
        // It times out, and then refuses.
        app.fails(SettlementVerb::Authorize, before_effect, 1);
        let id = id_of(&ada.makes("postgres:small").await.expect_status(200).json(), "pending");
        assert_eq!(ada.agent.spent_and_held().await, (0, 900), "unknown is held");
        app.fails(SettlementVerb::Authorize, Fault::Decline, 1);
        settles(&app, &ada.wire, &id, "error").await;
        refused(&ada.looks_at(&id).await, 400, "requires_payment_credentials", &id);
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        // The platform fails after the money was set aside: it is given back, also when that takes a second try.
        script.says("create", Says::No);
        for tries in [0, 1] {
            if tries > 0 {
                app.fails(SettlementVerb::Void, before_effect, tries);
            }
            let answer = ada.makes("postgres:small").await;
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            settles(&app, &ada.wire, &id, "error").await;
            refused(&ada.looks_at(&id).await, 500, "server_error", &id);
            assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((0, 0), (0, 0)));
        }
        assert_eq!(ada.count().await, 0, "no unpaid thing is left");
        // It fails after the money was taken, for what cannot be undone: both sides say taken, and a human has to look.
        let answer = ada.makes("domain").await;
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        refused(&answer, 500, "server_error", &id);
        assert_eq!((ada.agent.spent_and_held().await, app.issuer_says()), ((1200, 0), (0, 1200)));
        refused(&ada.looks_at(&id).await, 500, "server_error", &id);
        app.stop().await;
    }
}
