//! When an orchestrator was compromised: nothing new is believed, tokens die, what was made since is held back, what was
//! made before runs on, and everything can be given back.

use chrono::TimeDelta;
use diesel::prelude::*;
use futures_util::future::join_all;
use portreeve::app::HOUSE;
use portreeve::clock::{Clock as _, Timestamp};
use portreeve::db::schema::{accounts, audit_facts, distrust_items, distrusts, grants, refresh_tokens, resources};
use portreeve::db::{Db, DbError};
use portreeve::ids::OrchestratorId;
use portreeve::orchestrator::{self, Depth, Distrust, NewDistrust, Phase, WhoseDistrust};
use portreeve::resource;
use portreeve::simulator::{IdTokenSpec, Simulator, User};
use portreeve::takeover::{self, Bounds, Item, ItemKind, RestoreError, Restored, Scope, Whom};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, fresh_key, user};
use crate::harness::client::{Answer, Client};
use crate::harness::wire::WireAgent;

/// As small as pieces can be.
const SMALL: Bounds = Bounds { tokens: 1, accounts: 1, resources: 1 };

impl TestApp {
    /// Begins to distrust since `since`.
    async fn begins(&self, whose: WhoseDistrust, since: Timestamp) -> Distrust {
        let new = NewDistrust {
            orchestrator_id: self.orchestrator.id.clone(),
            since,
            whose,
            depth: Depth::Things,
            cause: "operator".to_owned(),
            event_at: None,
        };
        let now = self.now();
        self.app().db.write(HOUSE, move |conn| orchestrator::begin(conn, &new, now)).await.unwrap()
    }

    async fn finishes(&self, begun: &Distrust, bounds: Bounds) -> Distrust {
        let done = takeover::run(&self.app().db, &begun.id, bounds, self.clock.as_ref()).await.unwrap();
        self.app().revocations.forget();
        done
    }

    async fn distrusts(&self, whose: WhoseDistrust, since: Timestamp) -> Distrust {
        let begun = self.begins(whose, since).await;
        self.finishes(&begun, Bounds::default()).await
    }

    async fn items(&self, of: &Distrust) -> Vec<Item> {
        let id = of.id.clone();
        self.app().db.read(move |conn| takeover::items(conn, &id, None, 1_000)).await.unwrap()
    }

    async fn gives_back(&self, of: &Distrust, kind: ItemKind, subject: &str) -> Result<Restored, RestoreError> {
        let held = self.items(of).await;
        let item = held
            .into_iter()
            .find(|item| item.kind == kind && (item.subject == subject || item.account_id.as_str() == subject));
        let (item, of, now) = (item.expect("an item"), of.clone(), self.now());
        let restored =
            self.app().db.write(HOUSE, move |conn| takeover::restore(conn, &of, &item, "operator", now)).await;
        self.app().revocations.forget();
        restored
    }

    async fn lifts(&self, of: &Distrust) {
        let (of, now) = (of.clone(), self.now());
        self.app().db.write(HOUSE, move |conn| orchestrator::lift(conn, &of, "operator", now)).await.unwrap();
        self.app().revocations.forget();
    }

    /// How often the trail says this.
    pub(crate) async fn recorded(&self, action: &'static str) -> i64 {
        let facts = audit_facts::table.filter(audit_facts::action.eq(action)).count();
        self.app().db.read(move |conn| Ok::<_, DbError>(facts.get_result(conn)?)).await.unwrap()
    }

    /// Until the trail says it so often; a worker of the provider may be at it.
    pub(crate) async fn waits_for_facts(&self, action: &'static str, count: i64) {
        for _ in 0..200 {
            self.workers_turn().await;
            if self.recorded(action).await == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("`{action}` is recorded {} times", self.recorded(action).await);
    }

    /// An ID token for an account, and what came of it.
    pub(crate) async fn presents(&self, id_token: &str) -> Answer {
        self.stranger().post("/v1/accounts", &json!({"id_token": id_token})).await
    }

    /// Live access tokens through an orchestrator.
    async fn live_tokens(&self, of: &OrchestratorId) -> i64 {
        let (of, now) = (of.clone(), self.now());
        let count = move |conn: &mut portreeve::db::DbConnection| {
            let live: i64 = grants::table
                .filter(grants::orchestrator_id.eq(&of))
                .filter(grants::revoked_at.is_null())
                .filter(grants::expires_at.gt(now))
                .count()
                .get_result(conn)?;
            let refresh: i64 = refresh_tokens::table
                .filter(refresh_tokens::orchestrator_id.eq(&of))
                .filter(refresh_tokens::revoked_at.is_null())
                .filter(refresh_tokens::replaced_at.is_null())
                .count()
                .get_result(conn)?;
            Ok::<_, DbError>(live + refresh)
        };
        self.app().db.read(count).await.unwrap()
    }

    /// State, whether it is held back, and the owner, of a resource.
    pub(crate) async fn resource(&self, id: &str) -> (String, bool) {
        let id = id.parse().unwrap();
        let found = self.app().db.read(move |conn| resource::owner_of(conn, &id)).await.unwrap().unwrap();
        (found.state.as_str().to_owned(), found.quarantined_at.is_some())
    }

    pub(crate) async fn account_state(&self, id: &str) -> String {
        let state = accounts::table.find(id.to_owned()).select(accounts::state);
        self.app().db.read(move |conn| Ok::<_, DbError>(state.get_result(conn)?)).await.unwrap()
    }

    /// Rows of every table that a distrust writes.
    pub(crate) async fn written(&self) -> Vec<i64> {
        let count = |conn: &mut portreeve::db::DbConnection| {
            Ok::<_, DbError>(vec![
                audit_facts::table.count().get_result(conn)?,
                distrusts::table.count().get_result(conn)?,
                distrust_items::table.count().get_result(conn)?,
                grants::table.filter(grants::revoked_at.is_not_null()).count().get_result(conn)?,
                resources::table.filter(resources::quarantined_at.is_not_null()).count().get_result(conn)?,
                accounts::table.filter(accounts::state.eq("frozen")).count().get_result(conn)?,
            ])
        };
        self.app().db.read(count).await.unwrap()
    }
}

/// The agent of somebody else's orchestrator.
async fn elsewhere(app: &TestApp, other: &Simulator, user: &User) -> (Client, String) {
    let token = other.mint_id_token(&IdTokenSpec::of(user)).unwrap();
    let body = app.presents(&token).await.expect_status(201).json();
    let client = app.stranger().with_token(body["access_token"].as_str().unwrap());
    (client, body["account"]["id"].as_str().unwrap().to_owned())
}

fn kid_of(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

fn id_of(answer: &Answer) -> String {
    answer.json()["resource"]["id"].as_str().unwrap().to_owned()
}

on_both! {
    async fn what_was_made_since_is_held_back_what_was_made_before_runs_on_and_all_can_be_given_back(db: TestDb) {
        let app = TestApp::start(&db).await;
        let other = app.another_orchestrator("Elsewhere", &app.simulator.settlement_url).await;
        let mut old = app.agent_of(&user("old")).await;
        let before = id_of(&old.buys("sandbox", "free").await.expect_status(201));
        app.pass(TimeDelta::hours(1));
        let since = app.now();
        app.pass(TimeDelta::minutes(1));
        old.logs_in_again().await;
        let (after, _) = old.gets_the_weather().await;
        let (stranger, theirs) = elsewhere(&app, &other, &user("zoe")).await;
        let new = app.agent_of(&user("new")).await;
        let bought = id_of(&new.buys("sandbox", "free").await.expect_status(201));
        let late = app.id_token(&user("late"));

        let done = app.distrusts(WhoseDistrust::Issuer, since).await;
        assert_eq!((done.phase, done.tokens_dead_at.is_some()), (Phase::Done, true));
        for client in [&old.client, &new.client] {
            client.get("/v1/budget").await.problem(401, "invalid_token");
        }
        app.presents(&late).await.problem(401, "invalid_attestation");
        assert_eq!(app.live_tokens(&app.orchestrator.id).await, 0);
        // Of another issuer nothing is touched.
        stranger.get("/v1/budget").await.expect_status(200);
        assert_eq!(app.account_state(&theirs).await, "provisional");

        let held: Vec<(ItemKind, String)> = app.items(&done).await.into_iter().map(|item| (item.kind, item.subject)).collect();
        let count = |kind| held.iter().filter(|(one, _)| *one == kind).count();
        assert_eq!((count(ItemKind::Account), count(ItemKind::Spending), count(ItemKind::Resource)), (1, 2, 2));
        assert_eq!(app.account_state(&new.account).await, "frozen");
        assert_eq!(app.account_state(&old.account).await, "provisional");
        assert_eq!(app.resource(&before).await, ("ready".to_owned(), false));
        for id in [&after, &bought] {
            assert_eq!(app.resource(id).await, ("suspended".to_owned(), true));
        }
        app.reports(&after, "1").await.problem(409, "resource_not_ready");
        app.waits_for_facts("resource.suspended", 2).await;
        let resumed = app.orchestrator.id.clone();
        let now = app.now();
        let resumed = app.app().db.write(HOUSE, move |conn| orchestrator::resume(conn, &resumed, now)).await;
        assert!(resumed.is_err(), "a distrust is lifted, not resumed");

        // Believed again, everybody comes in, and nothing else is given back by that.
        app.lifts(&done).await;
        old.logs_in_again().await;
        let refused = old.buys("postgres", "small").await;
        assert_eq!(refused.status(), 402, "{}", refused.text());
        app.presents(&app.id_token(&user("new"))).await.problem(403, "account_unusable");
        assert_eq!(app.resource(&after).await.0, "suspended");

        assert_eq!(app.gives_back(&done, ItemKind::Spending, &old.account).await.unwrap(), Restored::Free);
        assert_eq!(app.gives_back(&done, ItemKind::Resource, &after).await.unwrap(), Restored::Free);
        assert!(matches!(app.gives_back(&done, ItemKind::Resource, &after).await, Err(RestoreError::NotHeld)));
        app.gives_back(&done, ItemKind::Account, &new.account).await.unwrap();
        app.waits_for_facts("resource.resumed", 1).await;
        old.buys("postgres", "small").await.expect_status(201);
        app.reports(&after, "1").await.expect_status(200);
        assert_eq!(app.resource(&after).await, ("ready".to_owned(), false));
        assert_eq!(app.resource(&bought).await.0, "suspended", "one by one");
        app.presents(&app.id_token(&user("new"))).await.expect_status(200);
        assert_eq!(app.recorded("distrust.item_restored").await, 3);
        app.stop().await;
    }

    async fn what_is_bought_opened_and_granted_at_the_very_moment_escapes_nothing(db: TestDb) {
        let app = TestApp::start(&db).await;
        let other = app.another_orchestrator("Elsewhere", &app.simulator.settlement_url).await;
        let (stranger, _) = elsewhere(&app, &other, &user("zoe")).await;
        let since = app.now();
        let names: Vec<String> = (0..6).map(|n| format!("busy{n}")).collect();
        let people: Vec<User> = names.iter().map(|name| user(name)).collect();
        let agents = join_all(people.iter().map(|one| app.agent_of(one))).await;
        let second = Db::open(db.settings()).unwrap();
        let buying = agents.iter().map(|agent| async {
            for turn in 0..4 {
                let order = if turn % 2 == 0 { agent.order("weather", "metered") } else { agent.order("postgres", "small") };
                let _ = agent.sends(&order).await.status();
            }
        });
        let late: Vec<String> = (0..12).map(|n| app.id_token(&user(&format!("late{n}")))).collect();
        let opening = late.iter().map(|id_token| app.presents(id_token));
        let distrusting = async {
            let begun = app.begins(WhoseDistrust::Issuer, since).await;
            // Two processes at once, and a third that finds it unfinished.
            let (clock, one) = (app.clock.as_ref(), SMALL);
            let (first, other, third) = tokio::join!(
                takeover::run(&app.app().db, &begun.id, one, clock),
                takeover::run(&second, &begun.id, one, clock),
                takeover::resume_unfinished(&second, clock),
            );
            third.unwrap();
            assert_eq!(first.unwrap().finished_at, other.unwrap().finished_at);
            app.app().revocations.forget();
            begun
        };
        let (_, _, begun) = tokio::join!(join_all(buying), join_all(opening), distrusting);

        assert_eq!(app.live_tokens(&app.orchestrator.id).await, 0, "a token escaped");
        let id = app.orchestrator.id.clone();
        let loose = app.app().db.read(move |conn| {
            let things: i64 = resources::table
                .filter(resources::orchestrator_id.eq(&id))
                .filter(resources::quarantined_at.is_null())
                .filter(resources::state.ne_all(["failed", "removed"]))
                .count()
                .get_result(conn)?;
            let usable: i64 =
                accounts::table.filter(accounts::opened_by.eq(&id)).filter(accounts::state.ne("frozen")).count().get_result(conn)?;
            Ok::<_, DbError>((things, usable))
        });
        assert_eq!(loose.await.unwrap(), (0, 0), "something that was made since is not held back");
        for agent in &agents {
            assert_eq!(agent.buys("sandbox", "free").await.status(), 401);
        }
        // No item twice, and one fact for each.
        let held = app.items(&begun).await;
        let frozen = held.iter().filter(|item| item.kind == ItemKind::Account).count();
        assert_eq!(app.recorded("account.frozen").await, i64::try_from(frozen).unwrap());
        let things = held.iter().filter(|item| item.kind == ItemKind::Resource).count();
        assert_eq!(app.recorded("resource.quarantined").await, i64::try_from(things).unwrap());
        assert_eq!(app.recorded("distrust.finished").await, 1);
        stranger.get("/v1/budget").await.expect_status(200);
        app.stop().await;
    }

    async fn a_distrust_that_was_killed_half_way_is_finished_by_whoever_finds_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        for name in ["ann", "ben", "cid", "dan"] {
            app.agent_of(&user(name)).await.buys("sandbox", "free").await.expect_status(201);
        }
        let begun = app.begins(WhoseDistrust::Issuer, since).await;
        let clock = app.clock.clone();
        // Nobody else works on it from here on, but whoever took it up already.
        app.stop().await;
        let id = begun.id.clone();
        let mut seen = db.db().read(move |conn| orchestrator::distrust_by_id(conn, &id)).await.unwrap().unwrap();
        // Killed after each piece: nothing but the database remembers.
        while seen.phase < Phase::Things || seen.done_to.is_empty() && seen.phase == Phase::Things {
            let process = Db::open(db.settings()).unwrap();
            seen = takeover::step(&process, &seen, SMALL, clock.now()).await.unwrap();
        }
        let half = seen.clone();
        let second = Db::open(db.settings()).unwrap();
        takeover::resume_unfinished(&second, clock.as_ref()).await.unwrap();
        let id = seen.id.clone();
        let done = second.read(move |conn| orchestrator::distrust_by_id(conn, &id)).await.unwrap().unwrap();
        assert_eq!((done.phase, done.lifted_at), (Phase::Done, None));
        let id = seen.id.clone();
        let held = second.read(move |conn| takeover::items(conn, &id, None, 100)).await.unwrap();
        assert_eq!(held.len(), 12, "an account, its spending and a resource of each");
        let frozen = audit_facts::table.filter(audit_facts::action.eq("account.frozen")).count();
        assert_eq!(second.read(move |conn| Ok::<i64, DbError>(frozen.get_result(conn)?)).await.unwrap(), 4);
        // A piece that somebody else has done changes nothing.
        let again = takeover::step(&second, &half, SMALL, clock.now()).await.unwrap();
        assert_eq!(again, done);
    }

    async fn a_key_is_distrusted_alone_and_its_own_later_word_with_it(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        let stolen = app.agent_of(&user("stolen")).await;
        let kept_back = app.id_token(&user("thief"));
        let kid = kid_of(&kept_back);
        app.simulator.rotate_keys().unwrap();
        // The new key is looked for after a while.
        app.pass(TimeDelta::seconds(11));
        let fresh = app.agent_of(&user("fresh")).await;
        assert_ne!(kid_of(&app.id_token(&user("fresh"))), kid);
        let scope = |whom| Scope { orchestrator_id: app.orchestrator.id.clone(), whom, since: Some(since) };
        let now = app.now();
        let (by_key, by_all) = (scope(Whom::Key(kid.clone())), scope(Whom::All));
        let reached = app.app().db.read(move |conn| {
            let key = takeover::blast_radius(conn, &by_key, "", 10, now)?;
            Ok::<_, DbError>((key, takeover::blast_radius(conn, &by_all, "", 10, now)?.len()))
        });
        let (reached, all) = reached.await.unwrap();
        assert_eq!((reached.len(), all), (1, 2));
        assert_eq!((reached[0].account_id.as_str(), reached[0].tokens, reached[0].remaining), (stolen.account.as_str(), 1, 10_000));

        let done = app.distrusts(WhoseDistrust::Key(kid.clone()), since).await;
        stolen.client.get("/v1/budget").await.problem(401, "invalid_token");
        fresh.client.get("/v1/budget").await.expect_status(200);
        app.presents(&kept_back).await.problem(401, "invalid_attestation");
        app.presents(&app.id_token(&user("thief"))).await.expect_status(201);
        assert_eq!(app.account_state(&stolen.account).await, "frozen");
        assert_eq!(app.account_state(&fresh.account).await, "provisional");
        app.lifts(&done).await;
        app.presents(&kept_back).await.expect_status(200);
        app.stop().await;
    }

    async fn a_person_is_distrusted_alone_and_a_wire_secret_with_its_accounts(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        let (ada, bob) = (app.agent_of(&user("ada2")).await, app.agent_of(&user("bob")).await);
        let whose = WhoseDistrust::Subject { tenant: None, subject: "user_ada2".to_owned() };
        app.distrusts(whose, since).await;
        ada.client.get("/v1/budget").await.problem(401, "invalid_token");
        app.presents(&app.id_token(&user("ada2"))).await.problem(401, "invalid_attestation");
        bob.client.get("/v1/budget").await.expect_status(200);
        app.presents(&app.id_token(&user("bob"))).await.expect_status(200);

        let wire = WireAgent::register(&app).await;
        let (opened, _) = wire.opens_account(&user("wired")).await;
        opened.get("/provisioning/services").await.expect_status(200);
        app.distrusts(WhoseDistrust::Key(wire.secret_id.to_string()), since).await;
        let refused = wire.asks_for_account(&user("other")).await;
        assert_eq!((refused.status(), refused.text().contains("invalid_signature")), (401, true));
        // With another secret it speaks again; what it held for that account is dead.
        let renewed = WireAgent::register(&app).await.with_bearer(opened.bearer.as_deref().unwrap());
        let dead = renewed.post_once(&fresh_key(), "/provisioning/resources", &json!({"service_id": "sandbox"})).await;
        assert_eq!(dead.status(), 401, "{}", dead.text());
        bob.client.get("/v1/budget").await.expect_status(200);
        app.stop().await;
    }

    async fn two_distrusts_hold_the_same_thing_and_one_does_not_let_it_go(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now();
        let agent = app.agent_of(&user("both")).await;
        let made = id_of(&agent.buys("sandbox", "free").await.expect_status(201));
        let whose = WhoseDistrust::Subject { tenant: Some(String::new()), subject: "user_both".to_owned() };
        let one = app.distrusts(whose, since).await;
        let all = app.distrusts(WhoseDistrust::Issuer, since).await;
        assert_eq!(app.gives_back(&one, ItemKind::Resource, &made).await.unwrap(), Restored::HeldByAnother);
        assert_eq!(app.gives_back(&one, ItemKind::Account, &agent.account).await.unwrap(), Restored::HeldByAnother);
        assert_eq!(app.resource(&made).await.0, "suspended");
        assert_eq!(app.account_state(&agent.account).await, "frozen");
        let (left, now) = (all.clone(), app.now());
        assert_eq!(takeover::restore_all(&app.app().db, &left, "operator", now).await.unwrap(), 3);
        app.app().revocations.forget();
        assert_eq!(app.resource(&made).await, ("ready".to_owned(), false));
        assert_eq!(app.account_state(&agent.account).await, "provisional");
        // The spending is held back by the first one still.
        app.lifts(&all).await;
        app.presents(&app.id_token(&user("both"))).await.problem(401, "invalid_attestation");
        app.lifts(&one).await;
        app.presents(&app.id_token(&user("both"))).await.expect_status(200);
        app.stop().await;
    }

    async fn the_commands_list_first_do_it_once_and_give_it_back(db: TestDb) {
        let app = TestApp::start(&db).await;
        let since = app.now().to_rfc3339();
        let agent = app.agent_of(&user("cli")).await;
        let made = id_of(&agent.buys("sandbox", "free").await.expect_status(201));
        let folder = tempfile::tempdir().unwrap();
        let type_in = |arguments: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portreeve"));
            command.args(["--json", "orchestrator"]).args(arguments).current_dir(folder.path());
            let output = command.env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret()).output().unwrap();
            app.app().revocations.forget();
            let lines = String::from_utf8(output.stdout).unwrap();
            let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (output.status.code(), lines, String::from_utf8(output.stderr).unwrap())
        };
        let before = app.written().await;
        let (code, plan, said) = type_in(&["distrust", "Harbour", "--since", &since, "--dry-run"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(plan.last().unwrap()["plan"]["resources_held_back"], 1, "{plan:?}");
        assert_eq!(app.written().await, before, "a dry run writes nothing");
        agent.client.get("/v1/budget").await.expect_status(200);

        let (code, reached, _) = type_in(&["blast-radius", &app.simulator.issuer_url, "--since", &since]);
        assert_eq!((code, &reached[0]["account"], &reached[0]["resources_since"]), (Some(0), &json!(agent.account), &json!(1)));
        assert_eq!(reached[1]["total"]["money"][0], json!({"currency": "USD", "held": 0, "captured": 0, "remaining": 10_000}));

        let (code, done, said) = type_in(&["distrust", "Harbour", "--since", &since]);
        assert_eq!(code, Some(0), "{said}");
        let id = done.last().unwrap()["id"].as_str().unwrap().to_owned();
        agent.client.get("/v1/budget").await.problem(401, "invalid_token");
        assert_eq!(type_in(&["distrust", "Harbour", "--since", &since]).0, Some(7), "once is enough");
        assert_eq!(type_in(&["distrusts", "Harbour"]).1.len(), 1);
        assert_eq!(type_in(&["restore", &id]).1.len(), 4, "the distrust and its three items");
        assert_eq!(type_in(&["restore", &id, "--resource", &made]).1[0]["free"], true);
        assert_eq!(type_in(&["restore", &id, "--resource", &made]).0, Some(7));
        assert_eq!(type_in(&["restore", &id, "--all", "--trust"]).1[0]["restored"], 2);
        assert_eq!(type_in(&["distrust", "Harbour", "--since", "2999-01-01T00:00:00Z"]).0, Some(5));
        app.presents(&app.id_token(&user("cli"))).await.expect_status(200);
        assert_eq!(app.resource(&made).await.0, "ready");
        app.stop().await;
    }
}
