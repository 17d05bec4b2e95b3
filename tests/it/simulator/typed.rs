//! `portreeve orchestrator-sim` and `portreeve agent` as they are typed.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::acme::Acme;
use crate::harness::client::Client;

/// The program until it is dropped.
struct Running(Child, Value);

impl Running {
    fn start(folder: &Path, provider: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(["--json", "orchestrator-sim", "--listen", "127.0.0.1:0", "--data", "sim.db"]);
        command.args(["--provider", &format!("acme={provider}")]);
        let mut child = command.current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self(child, ready)
    }

    fn agent(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(["agent", "--at", self.1["issuer"].as_str().unwrap()]);
        command.args(["--token-file", self.1["agent_token_file"].as_str().unwrap()]);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[actix_web::test]
async fn the_price_is_agreed_to_before_anything_is_bought_and_credentials_go_to_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let acme = Acme::start();
    let running = Running::start(folder.path(), &acme.base);
    // A server runs on threads of its own once it was waited for; the program below blocks this one.
    Client::new(&acme.base).get("/catalog").await.expect_status(200);
    acme.desk().told = running.1["introduced"][0].clone();
    let agent = |arguments: &[&str]| running.agent(folder.path(), arguments);
    let code = |arguments: &[&str]| agent(arguments).status.code();

    assert_eq!(code(&["add", "acme/cache", "--yes"]), Some(5), "not linked yet");
    acme.desk().account = "requires_auth";
    let waiting = agent(&["link", "acme"]);
    assert_eq!(waiting.status.code(), Some(9), "{}", text(&waiting));
    assert!(text(&waiting).contains("/consent?state="));
    acme.desk().account = "oauth";
    assert_eq!(code(&["link", "acme"]), Some(0));
    assert!(text(&agent(&["catalog"])).contains("acme/cache"));

    let asked = agent(&["add", "acme/cache"]);
    assert_eq!(asked.status.code(), Some(8));
    assert!(text(&asked).contains("$9 per month"), "{}", text(&asked));
    let asked: Value = serde_json::from_slice(&agent(&["add", "acme/cache", "--json"]).stdout).unwrap();
    assert_eq!((&asked["ok"], &asked["error"]["code"]), (&false.into(), &"CONFIRMATION_REQUIRED".into()));
    assert!(acme.desk().resources.is_empty());
    let added: Value = serde_json::from_slice(&agent(&["add", "acme/cache", "--yes", "--json"]).stdout).unwrap();
    assert_eq!((&added["ok"], &added["command"], &added["version"]), (&true.into(), &"add".into(), &"0.1".into()));

    assert_eq!(code(&["add", "acme/nothing", "--yes"]), Some(3));
    assert_eq!(code(&["add", "acme/cache", "--yes"]), Some(7), "the name is taken");
    assert_eq!(code(&["add", "acme/cache", "--name", "b", "--limit", "1.00 USD", "--yes"]), Some(10));

    std::fs::write(folder.path().join(".env"), "PORT=1\n").unwrap();
    let written = agent(&["env", "--write", ".env"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written));
    assert!(!text(&written).contains("pg://"), "values do not stand on the terminal");
    let file = folder.path().join(".env");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.starts_with("PORT=1\n") && kept.contains("CACHE_CONNECTION_STRING=\"pg://it's/res_1/0\""), "{kept}");

    for arguments in [&["rotate", "cache"][..], &["open", "acme"], &["billing"], &["status"], &["remove", "cache"]] {
        let output = agent(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    }
    assert_eq!(code(&["remove", "cache"]), Some(3));
    for name in ["sim.db", "sim.db.operator-token", "sim.db.agent-token"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
