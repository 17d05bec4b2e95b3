//! The commands of a takeover, typed as an operator types them: killed in the middle and finished, listed first, given back
//! one by one; streams of security events, and precautions.

use std::process::{Child, Command, Output, Stdio};

use chrono::TimeDelta;
use diesel::prelude::*;
use portreeve::app::HOUSE;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::db::schema::{
    accounts, audit_facts, budgets, distrust_items, distrusts, grants, identity_links, precautions,
};
use portreeve::db::{Db, DbConnection, DbError};
use portreeve::ids::{AccountId, GrantId, OrchestratorId};
use portreeve::orchestrator::{self, Issuer, NewOrchestrator};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::databases::TestDb;
use crate::harness::program::{program, run, told};
use crate::harness::wire::WireAgent;

/// Enough that the work takes a while.
const MANY: usize = 1_200;

/// A folder with the program's own keys, and the test's database.
struct Desk<'a> {
    folder: tempfile::TempDir,
    db: &'a TestDb,
}

impl<'a> Desk<'a> {
    fn of(db: &'a TestDb) -> Self {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path(), &["init"]).status.success());
        Self { folder, db }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.folder.path(), &["--json"]);
        command.args(arguments).env("PORTREEVE__DATABASE__URL", self.db.settings().url.expose_secret());
        command
    }

    fn types(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The lines that it prints, when all is well.
    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.types(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.types(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        told(&output)
    }
}

/// An account that was opened at `at`, with a token that works.
fn opened(conn: &mut DbConnection, by: &OrchestratorId, number: usize, at: Timestamp) -> Result<(), DbError> {
    let (account, subject) = (AccountId::new(at), format!("user-{number}"));
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(&account),
            accounts::state.eq("provisional"),
            accounts::opened_by.eq(by),
            accounts::email_trust.eq("none"),
            accounts::created_at.eq(at),
            accounts::changed_at.eq(at),
        ))
        .execute(conn)?;
    diesel::insert_into(identity_links::table)
        .values((
            identity_links::orchestrator_id.eq(by),
            identity_links::tenant.eq(""),
            identity_links::subject.eq(subject),
            identity_links::account_id.eq(&account),
            identity_links::created_at.eq(at),
        ))
        .execute(conn)?;
    diesel::insert_into(budgets::table)
        .values((
            budgets::account_id.eq(&account),
            budgets::orchestrator_id.eq(by),
            budgets::currency.eq("USD"),
            budgets::ceiling.eq(10_000_i64),
            budgets::changed_at.eq(at),
        ))
        .execute(conn)?;
    diesel::insert_into(grants::table)
        .values((
            grants::id.eq(GrantId::new(at)),
            grants::account_id.eq(&account),
            grants::orchestrator_id.eq(by),
            grants::client.eq(by.as_str()),
            grants::scope.eq("budget:read"),
            grants::issued_at.eq(at),
            grants::expires_at.eq(at.plus(TimeDelta::days(1))),
        ))
        .execute(conn)?;
    Ok(())
}

async fn harbour(db: &Db, since: Timestamp) -> OrchestratorId {
    let issuer: Issuer = "https://harbour.example".parse().unwrap();
    let new = NewOrchestrator::new("Harbour".parse().unwrap(), issuer, "portreeve".to_owned());
    let registered = db.write(HOUSE, move |conn| orchestrator::add(conn, &new, since)).await.unwrap();
    let by = registered.id.clone();
    let open = move |conn: &mut DbConnection| {
        (0..MANY).try_for_each(|number| opened(conn, &by, number, since.plus(TimeDelta::seconds(1))))
    };
    db.write(HOUSE, open).await.unwrap();
    registered.id
}

/// Items so far, and whether the work is done.
async fn progress(db: &Db) -> (i64, bool) {
    let read = |conn: &mut DbConnection| {
        let done: i64 = distrusts::table.filter(distrusts::finished_at.is_not_null()).count().get_result(conn)?;
        Ok::<_, DbError>((distrust_items::table.count().get_result(conn)?, done > 0))
    };
    db.read(read).await.unwrap()
}

async fn facts(db: &Db, action: &'static str) -> i64 {
    let counted = audit_facts::table.filter(audit_facts::action.eq(action)).count();
    db.read(move |conn| Ok::<_, DbError>(counted.get_result(conn)?)).await.unwrap()
}

/// `kill -9`, once it has begun to hold things back; how much it had done by then.
async fn killed_in_the_middle(db: &Db, mut running: Child) -> i64 {
    while progress(db).await.0 == 0 {
        assert!(running.try_wait().unwrap().is_none(), "it ended before it held anything back");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let (items, done) = progress(db).await;
    assert!(!done, "it was faster than the kill: open more accounts");
    items
}

on_both! {
    async fn a_distrust_that_was_killed_by_the_system_is_finished_by_the_same_command_and_nothing_is_half(db: TestDb) {
        let desk = Desk::of(&db);
        let since = SystemClock.now().minus(TimeDelta::minutes(5));
        let id = harbour(db.db(), since).await;
        let since = since.to_rfc3339();
        let distrust = ["orchestrator", "distrust", "Harbour", "--since", &since];
        let running = desk.command(&distrust).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let half = killed_in_the_middle(db.db(), running).await;
        let all = i64::try_from(MANY).unwrap();
        assert!(0 < half && half < 2 * all, "{half} of {}", 2 * all);
        // What it had begun counts already: it is one distrust, and nobody believes Harbour meanwhile.
        let begun: Vec<String> = db.db().read(|conn| Ok::<_, DbError>(distrusts::table.select(distrusts::id).load(conn)?)).await.unwrap();
        assert_eq!(begun.len(), 1);
        let known = db.db().read(move |conn| orchestrator::by_id(conn, &id)).await.unwrap().unwrap();
        assert!(known.suspended_at.is_some());
        // Of each account that was reached everything is done, of the others nothing.
        let odd = db.db().read(|conn| {
            let frozen: i64 = accounts::table.filter(accounts::state.eq("frozen")).count().get_result(conn)?;
            let stopped: i64 = budgets::table.filter(budgets::stopped_at.is_not_null()).count().get_result(conn)?;
            let of = |conn: &mut DbConnection, kind: &str| {
                distrust_items::table.filter(distrust_items::kind.eq(kind)).count().get_result::<i64>(conn)
            };
            Ok::<_, DbError>([frozen, stopped, of(conn, "account")?, of(conn, "spending")?])
        });
        let odd = odd.await.unwrap();
        assert!(odd.iter().all(|count| *count == half / 2), "{odd:?} of {half}");

        let done = desk.prints(&distrust);
        assert_eq!(done.last().unwrap()["id"], begun[0]);
        assert_eq!(progress(db.db()).await, (2 * all, true));
        for (action, count) in [("account.frozen", all), ("spending.stopped_through", all), ("distrust.begun", 1), ("distrust.finished", 1)] {
            assert_eq!(facts(db.db(), action).await, count, "{action}");
        }
        let alive: i64 = db.db().read(|conn| {
            Ok::<_, DbError>(grants::table.filter(grants::revoked_at.is_null()).count().get_result(conn)?)
        }).await.unwrap();
        assert_eq!(alive, 0);
        desk.fails(&distrust, 7);
    }

    async fn one_key_and_one_person_are_listed_first_and_given_back_item_by_item(db: TestDb) {
        let app = TestApp::start(&db).await;
        let desk = Desk::of(&db);
        let since = app.now().to_rfc3339();
        let (ann, bob) = (app.agent_of(&user("ann")).await, app.agent_of(&user("bob")).await);
        let wire = WireAgent::register(&app).await;
        wire.opens_account(&user("wired")).await;
        let made = ann.buys("sandbox", "free").await.expect_status(201).json();
        let made = made["resource"]["id"].as_str().unwrap().to_owned();
        let secret = wire.secret_id.to_string();
        let with = |more: &[&'static str], last: &str| {
            let mut all = vec!["orchestrator".to_owned(), "distrust".to_owned(), "Harbour".to_owned(), "--since".to_owned(), since.clone()];
            all.extend(more.iter().map(|&text| text.to_owned()));
            all.push(last.to_owned());
            all
        };
        let typed = |arguments: &[String]| desk.prints(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let plan = |lines: &[Value]| lines.last().unwrap()["plan"].clone();

        // A key, a person, a person of a tenant that is not theirs: only listed.
        let key = typed(&with(&["--dry-run", "--key"], &secret));
        assert_eq!((plan(&key)["accounts"].clone(), plan(&key)["accounts_frozen"].clone()), (json!(1), json!(1)), "{key:?}");
        let person = typed(&with(&["--dry-run", "--subject"], "user_ann"));
        assert_eq!((plan(&person)["accounts"].clone(), plan(&person)["resources_held_back"].clone()), (json!(1), json!(1)));
        let elsewhere = typed(&with(&["--dry-run", "--tenant", "t9", "--subject"], "user_ann"));
        assert_eq!(plan(&elsewhere)["accounts"], 0);
        assert_eq!(facts(db.db(), "distrust.begun").await, 0, "a dry run begins nothing");
        ann.client.get("/v1/budget").await.expect_status(200);
        desk.fails(&["orchestrator", "distrust", "Harbour", "--since", &since, "--key", "k", "--subject", "s"], 2);
        desk.fails(&["orchestrator", "distrust", "Harbour", "--since", &since, "--tenant", "t"], 2);

        let done = typed(&with(&["--subject"], "user_ann"));
        app.app().revocations.forget();
        let id = done.last().unwrap()["id"].as_str().unwrap().to_owned();
        assert_eq!(done.last().unwrap()["whose"], "subject user_ann");
        ann.client.get("/v1/budget").await.problem(401, "invalid_token");
        bob.client.get("/v1/budget").await.expect_status(200);
        // Item by item, each once, each alone.
        let state = async |account: &str| {
            let row = accounts::table.find(account.to_owned()).select(accounts::state);
            app.app().db.read(move |conn| Ok::<String, DbError>(row.get_result(conn)?)).await.unwrap()
        };
        let left = || desk.prints(&["orchestrator", "restore", &id]).iter().filter(|line| line["restored_at"].is_null() && line["kind"].is_string()).count();
        assert_eq!((left(), state(&ann.account).await.as_str()), (3, "frozen"));
        for (flag, what) in [("--account", ann.account.as_str()), ("--spending", ann.account.as_str()), ("--resource", made.as_str())] {
            let before = left();
            assert_eq!(desk.prints(&["orchestrator", "restore", &id, flag, what])[0]["free"], true, "{flag}");
            assert_eq!(left(), before - 1, "{flag}");
            desk.fails(&["orchestrator", "restore", &id, flag, what], 7);
            desk.fails(&["orchestrator", "restore", &id, flag, if flag == "--resource" { "res_01m7y8g5g4ffwsvdswctyvv55x" } else { &bob.account }], 3);
        }
        assert_eq!(state(&ann.account).await, "provisional");
        desk.prints(&["orchestrator", "restore", &id, "--trust"]);
        desk.fails(&["orchestrator", "restore", &id, "--trust"], 7);
        app.stranger().post("/v1/accounts", &json!({"id_token": app.id_token(&user("ann"))})).await.expect_status(200);

        let done = typed(&with(&["--key"], &secret));
        assert_eq!(done.last().unwrap()["whose"], format!("key {secret}"));
        assert_eq!(desk.prints(&["orchestrator", "distrusts", "Harbour"]).len(), 2);
        app.stop().await;
    }

    async fn a_stream_is_set_and_shown_without_its_secrets(db: TestDb) {
        let app = TestApp::start(&db).await;
        let desk = Desk::of(&db);
        desk.fails(&["orchestrator", "stream", "show", "Harbour"], 3);
        desk.fails(&["orchestrator", "stream", "set", "Harbour", "--poll-url", "nowhere"], 5);
        desk.fails(&["orchestrator", "stream", "set", "Nobody", "--push", "true"], 3);
        let made = desk.prints(&["orchestrator", "stream", "set", "Harbour", "--push", "true", "--new-push-token"]);
        let token = made[1]["push_token"].as_str().unwrap();
        assert_eq!((&made[0]["push"], &made[0]["push_token"]), (&json!(true), &json!(true)));
        assert_eq!(made[0]["audience"], app.orchestrator.client_id);
        let file = desk.folder.path().join("token");
        std::fs::write(&file, "a-token-of-theirs\n").unwrap();
        let file = file.to_str().unwrap();
        let url = "https://harbour.example/events";
        desk.prints(&["orchestrator", "stream", "set", "Harbour", "--poll-url", url, "--poll-token-file", file]);
        desk.prints(&["orchestrator", "stream", "set", "Harbour", "--send-url", url, "--send-token-file", file, "--audience", "us"]);
        let shown = desk.prints(&["orchestrator", "stream", "show", "Harbour"]);
        let stream = &shown[0];
        for (name, value) in [
            ("push", json!(true)), ("push_token", json!(true)), ("poll_url", json!(url)), ("poll_token", json!(true)),
            ("send_url", json!(url)), ("send_token", json!(true)), ("audience", json!("us")), ("verified_at", Value::Null),
        ] {
            assert_eq!(stream[name], value, "{name}: what was not named stays");
        }
        let text = stream.to_string();
        assert!(!text.contains(token) && !text.contains("a-token-of-theirs"));
        desk.prints(&["orchestrator", "stream", "set", "Harbour", "--push", "false", "--poll-url", "", "--send-url", ""]);
        let off = desk.prints(&["orchestrator", "stream", "show", "Harbour"]);
        assert_eq!((&off[0]["push"], &off[0]["poll_url"], &off[0]["send_url"]), (&json!(false), &Value::Null, &Value::Null));
        let plain = desk.folder.path().to_owned();
        let mut command = program(&plain, &["orchestrator", "stream", "show", "Harbour"]);
        let output = command.env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret()).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("audience         us"));
        assert_eq!(facts(db.db(), "security_stream.set").await, 4);
        app.stop().await;
    }

    async fn precautions_are_lifted_once_for_every_orchestrator(db: TestDb) {
        let app = TestApp::start(&db).await;
        let desk = Desk::of(&db);
        let agent = app.agent_of(&user("ann")).await;
        desk.fails(&["account", "lift-precautions", "acct_01m7y8g5g4ffwsvdswctyvv55x"], 3);
        let row = (
            precautions::account_id.eq(agent.account.clone()),
            precautions::orchestrator_id.eq(app.orchestrator.id.clone()),
            precautions::write_after.eq(Some(app.now())),
        );
        let ask = move |conn: &mut DbConnection| {
            diesel::insert_into(precautions::table).values(&row).execute(conn)?;
            Ok::<_, DbError>(())
        };
        app.app().db.write(HOUSE, ask).await.unwrap();
        agent.buys("sandbox", "free").await.problem(401, "insufficient_user_authentication");
        desk.prints(&["account", "lift-precautions", &agent.account]);
        agent.buys("sandbox", "free").await.expect_status(201);
        desk.types(&["account", "lift-precautions", &agent.account]);
        assert_eq!(facts(db.db(), "precautions.lifted").await, 1);
        app.stop().await;
    }
}
