//! Nothing that was issued as a secret is found in the logs at trace level, or in the database file.
//!
//! Logging belongs to a whole process: the run is a process of its own, this same binary, and the real `telemetry`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use portreeve::config::{LogConfig, LogFormat};
use portreeve::simulator::{Fault, SettlementVerb};
use portreeve::telemetry;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, user};
use crate::harness::client::Client;
use crate::harness::databases;

/// Where the run writes what must be found nowhere.
const LIST: &str = "PORTREEVE_TEST_SECRETS";

#[test]
fn no_issued_secret_is_found_in_logs_or_in_the_database_file() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("secrets");
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "secrets::a_run_at_trace_level", "--ignored", "--nocapture"])
        .env(LIST, &list)
        .output()
        .unwrap();
    let logs = [run.stdout, run.stderr].concat();
    let text = String::from_utf8_lossy(&logs);
    let end: String = text.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect();
    assert!(run.status.success(), "the run failed: {end}");
    assert!(
        text.contains("\"level\":\"TRACE\"") && text.contains("\"http.route\":\"/d/{token}\""),
        "nothing was logged: {end}"
    );
    let secrets = std::fs::read_to_string(list).unwrap();
    assert!(secrets.lines().count() >= 20, "{}", secrets.lines().count());
    for line in secrets.lines() {
        let (what, secret) = line.split_once('\t').unwrap();
        let at = text.find(secret);
        assert!(at.is_none(), "{what} is in the logs: …{}…", around(&text, at.unwrap_or(0), secret.len()));
    }
}

/// What stands around a find, without the find.
fn around(text: &str, at: usize, length: usize) -> String {
    let before: String = text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
    let after: String = text[at + length..].chars().take(100).collect();
    format!("{before}****{after}")
}

#[actix_web::test]
#[ignore = "run by the test above, in a process of its own"]
async fn a_run_at_trace_level() {
    telemetry::start(&LogConfig { level: "trace".to_owned(), format: LogFormat::Json }).unwrap();
    let db = databases::sqlite();
    let app = TestApp::start(&db).await;
    let secrets = everything(&app).await;
    app.stop().await;
    let url = db.settings().url.expose_secret().to_owned();
    let mut bytes = Vec::new();
    for file in files(Path::new(url.strip_prefix("sqlite:").unwrap())) {
        bytes.extend(std::fs::read(file).unwrap());
    }
    let account = b"acct_";
    assert!(bytes.windows(account.len()).any(|part| part == account), "the file is that of the run");
    for (what, secret) in &secrets {
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{what} is in the database file");
    }
    write(&secrets);
}

#[expect(clippy::disallowed_methods, reason = "the process that started this one says where to write")]
fn write(secrets: &[(&'static str, String)]) {
    let Some(path) = std::env::var_os(LIST) else { return };
    let mut file = std::fs::File::create(path).unwrap();
    for (what, secret) in secrets {
        writeln!(file, "{what}\t{secret}").unwrap();
    }
}

/// The database and the files beside it.
fn files(database: &Path) -> Vec<PathBuf> {
    let beside = |end: &str| PathBuf::from(format!("{}{end}", database.display()));
    [String::new(), "-wal".to_owned(), "-shm".to_owned()]
        .iter()
        .map(|end| beside(end))
        .filter(|it| it.exists())
        .collect()
}

/// Does all that hands out or takes a secret, well and badly; the secrets, with what they are.
async fn everything(app: &TestApp) -> Vec<(&'static str, String)> {
    let mut secrets = Vec::new();
    let mut learn = |what: &'static str, secret: &str| {
        secrets.push((what, secret.to_owned()));
        // Half a secret is one as well: a token's signature, a key's mac.
        if let Some((_, tail)) = secret.rsplit_once('.').filter(|(_, tail)| tail.len() >= 20) {
            secrets.push((what, tail.to_owned()));
        }
    };
    let agent = app.agent().await;
    learn("an access token", &agent.token);
    learn("a payment token", &agent.payment_token);
    learn("the meter key", &app.meter_key);

    let anyone = app.stranger();
    let id_token = app.id_token(&user("bob"));
    learn("an ID token", &id_token);
    for _ in 0..2 {
        let given = anyone.post("/v1/accounts", &json!({"id_token": id_token})).await.expect_status(201).json();
        learn("an access token", text(&given["access_token"]));
    }
    let id_token = app.id_token(&user("bob"));
    learn("an ID token", &id_token);
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", id_token.as_str())];
    let given = anyone.post_form("/oauth/token", &form).await.expect_status(200).json();
    learn("an access token", text(&given["access_token"]));
    // Refused, and not repeated in the log.
    let foreign = app.id_token(&user("eve"));
    learn("an ID token that was refused", &foreign);
    anyone.with_token(&foreign).get("/v1/budget").await.expect_status(401);
    anyone.get(&format!("/v1/budget?access_token={}", agent.token)).await.expect_status(400);
    anyone.post("/v1/accounts", &json!({"id_token": foreign, "more": 1})).await.expect_status(400);
    anyone.post("/v1/accounts", &json!({"token": foreign})).await.expect_status(400);

    app.fails(SettlementVerb::Authorize, Fault::TimeOutAfterEffect, 1);
    let late = agent.buys("postgres", "small").await.expect_status(202).json();
    agent.waits_for(&late["resource"]["id"], "ready").await;
    for (service, plan, name) in [
        ("sandbox", "free", "API_KEY"),
        ("postgres", "small", "DATABASE_URL"),
        ("domain", "dot-dev", "TRANSFER_CODE"),
        ("weather", "metered", "API_KEY"),
    ] {
        let bought = agent.buys(service, plan).await.expect_status(201).json();
        learn("a credential", text(&bought["credentials"][name]));
    }
    let (_, api_key) = agent.gets_the_weather().await;
    learn("an API key", &api_key);
    let platform = Client::new(&app.platform.url).with_token(&api_key);
    platform.get("/weather/lisbon?requests=1000").await.expect_status(200);
    platform.get("/weather/lisbon?requests=1000000").await.expect_status(402);

    let link = agent.link().await;
    learn("a deep link", link.strip_prefix("/d/").unwrap());
    anyone.get(&link).await.expect_status(200);
    let used = anyone.post_form(&link, &[]).await.expect_status(303);
    let cookie = used.header("set-cookie").split(';').next().unwrap().to_owned();
    learn("a session", cookie.split_once('=').unwrap().1);
    anyone.get(&link).await.expect_status(410);
    anyone.get(&format!("{link}/more")).await.expect_status(404);
    anyone.get_with("/dashboard", "cookie", &cookie).await.expect_status(200);
    let unused = agent.link().await;
    learn("an unused deep link", unused.strip_prefix("/d/").unwrap());
    secrets
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
