//! The program as a person or a service manager runs it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use portreeve::app::HOUSE;
use portreeve::db::{DbConnection, DbError};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::harness::program::{Serving, free_port, program, run, told};

on_both! {
    async fn init_and_serve_start_a_real_instance_that_drains_when_it_is_told_to_stop(db: TestDb) {
        let folder = tempfile::tempdir().unwrap();
        let serving = Serving::start(folder.path(), Some(db.settings().url.expose_secret()));
        assert_eq!(serving.status(&format!("{}/catalog", serving.base)).await, 200);
        assert_eq!(serving.status(&format!("{}/v1/budget", serving.base)).await, 401);
        assert_eq!(serving.status(&format!("{}/readyz", serving.private)).await, 200);
        assert_eq!(serving.stop(), Some(0));
    }

    async fn documents_on_loopback_addresses_are_for_a_provider_on_the_same_machine_alone(db: TestDb) {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path(), &["init"]).status.success());
        let tries = |command: &[&str], base: &str, on: &str| {
            let mut command = program(folder.path(), command);
            command.env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret());
            command.env("PORTREEVE__SERVER__BASE_URL", base).env("PORTREEVE__WIRE__GENERIC_CIMD_LOOPBACK", on);
            command.output().unwrap()
        };
        for public in ["https://desk.example.com", "https://192.0.2.1", "https://localhost.example.com"] {
            for command in [["config", "check"].as_slice(), &["serve"]] {
                let output = tries(command, public, "true");
                assert_eq!(output.status.code(), Some(5), "{public} {command:?}: {}", told(&output));
                assert!(told(&output).contains("`wire.generic_cimd_loopback` is for development"), "{}", told(&output));
            }
            assert_eq!(tries(&["config", "check"], public, "false").status.code(), Some(0), "{public}");
        }
        for own in ["", "http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"] {
            let output = tries(&["config", "check"], own, "true");
            assert_eq!(output.status.code(), Some(0), "{own}: {}", told(&output));
        }
    }

    async fn the_books_are_checked_while_somebody_writes_and_only_of_accounts_that_exist(db: TestDb) {
        let folder = tempfile::tempdir().unwrap();
        let audit = |more: &[&str]| {
            let mut command = program(folder.path(), &["audit", "verify"]);
            let output = command.args(more).env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret()).output();
            output.unwrap()
        };
        let nobody = "acct_01m7y8g5g4ffwsvdswctyvv55x";
        assert_eq!(audit(&["--account", nobody]).status.code(), Some(3));
        let (began, running) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let house = db.db().clone();
        let busy = tokio::spawn(async move {
            let work = move |_: &mut DbConnection| {
                began.send(()).unwrap();
                released.recv().unwrap();
                Ok::<_, DbError>(())
            };
            house.write(HOUSE, work).await
        });
        tokio::task::spawn_blocking(move || running.recv().unwrap()).await.unwrap();
        let checked = audit(&[]);
        assert_eq!(checked.status.code(), Some(0), "{}", told(&checked));
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
    }

    async fn a_hold_is_settled_by_hand_only_with_one_verdict_and_only_when_it_is_there(db: TestDb) {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path(), &["init"]).status.success());
        let (account, hold) = ("acct_01m7y8g5g4ffwsvdswctyvv55x", "hold_01m7y8g5g4ffwsvdswctyvv55x");
        let settle = |more: &[&str]| {
            let mut command = program(folder.path(), &["account", "settle-hold", account, hold]);
            let output = command.args(more).env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret()).output();
            output.unwrap()
        };
        assert_eq!(settle(&[]).status.code(), Some(2));
        assert_eq!(settle(&["--captured", "--released"]).status.code(), Some(2));
        assert_eq!(settle(&["--released", "--force", " "]).status.code(), Some(5));
        let missing = settle(&["--released", "--force", "because"]);
        assert_eq!(missing.status.code(), Some(3), "{}", told(&missing));
    }

    async fn the_registry_adds_shows_suspends_and_resumes(db: TestDb) {
        let folder = tempfile::tempdir().unwrap();
        let registry = |arguments: &[&str]| {
            let mut command = program(folder.path(), &["--json", "orchestrator"]);
            let output = command.args(arguments).env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret()).output();
            let output = output.unwrap();
            let shown: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            (output.status.code(), shown)
        };
        let add = ["add", "Harbour", "--issuer", "https://harbour.example", "--client-id", "acme"];
        assert_eq!(registry(&add).0, Some(0));
        assert_eq!(registry(&add).0, Some(7), "the same name and issuer again");
        assert_eq!(registry(&["add", "Bad", "--issuer", "not a url", "--client-id", "acme"]).0, Some(5));
        for name in ["Har\u{202e}bour", "Harb\u{200b}our", "Harbour\u{2069}", " Harbour", "", &"n".repeat(65)] {
            let add = ["add", name, "--issuer", "https://other.example", "--client-id", "acme"];
            assert_eq!(registry(&add).0, Some(5), "{name:?}");
        }
        let (code, shown) = registry(&["suspend", "Harbour"]);
        assert_eq!(code, Some(0));
        assert!(shown.unwrap()["suspended_at"].is_string());
        assert!(registry(&["resume", "Harbour"]).1.unwrap()["suspended_at"].is_null());
        let policy = |word| registry(&["policy", "Harbour", "--existing-account", word]);
        assert_eq!(policy("sidecar").1.unwrap()["existing_account"], "sidecar");
        assert_eq!((policy("sidecars").0, registry(&["policy", "Nobody", "--existing-account", "sidecar"]).0), (Some(5), Some(3)));
        assert_eq!(registry(&["show", "Harbour"]).1.unwrap()["existing_account"], "sidecar");
        assert_eq!(registry(&["list"]).1.unwrap()["issuer"], "https://harbour.example");
        assert_eq!(registry(&["show", "Nobody"]).0, Some(3));
    }
}

#[test]
fn the_demo_goes_from_discovery_to_the_cap_and_says_so_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["demo", "--once", "--json", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["ok"], true);
    assert!(lines.iter().all(|line| line["event"] != "ready"), "nothing stays up");
    let output = run(folder.path(), &["demo", "--once", "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("all as expected") && !text.contains("\n Dashboard"), "{text}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap().to_string();
    assert_ne!(run(folder.path(), &["demo", "--once", "--listen", &taken]).status.code(), Some(0));
    assert_eq!(run(folder.path(), &["demo", "--once", "--listen", "0.0.0.0:0"]).status.code(), Some(5));
}

/// A line of the demo without what differs from run to run: times, digests, sizes, addresses, folders, the day.
fn lasting(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let lasting = words.iter().enumerate().filter_map(|(at, word)| {
        let (before, after) = (at.checked_sub(1).and_then(|at| words.get(at)), words.get(at + 1));
        let a_time = *word == "ms" || after == Some(&"ms");
        let a_day = words.iter().take(at).any(|earlier| *earlier == "until");
        let passing = ["sha256:", "http://", "/tmp/"].iter().any(|start| word.starts_with(start));
        (!a_time && !a_day && !passing && after != Some(&"bytes,") && before != Some(&"portreeve")).then_some(*word)
    });
    lasting.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["demo", "--once", "--listen", "127.0.0.1:0"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let shown = readme.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    assert!(printed.lines().count() > 60, "{printed}");
    for (shown, printed) in shown.lines().zip(printed.lines()) {
        assert_eq!(lasting(shown), lasting(printed));
    }
    assert_eq!(shown.lines().count(), printed.lines().count());
}

#[test]
fn serve_refuses_the_keys_of_a_demo() {
    let folder = tempfile::tempdir().unwrap();
    let demo = run(folder.path(), &["demo", "--once", "--listen", "127.0.0.1:0", "--keep", "kept"]);
    assert!(demo.status.success());
    let kept = folder.path().join("kept");
    let mut serve = program(&kept, &["serve", "--listen", "127.0.0.1:0"]);
    serve.env("PORTREEVE__DATABASE__URL", "sqlite:demo.db").env("PORTREEVE__SERVER__PRIVATE_LISTEN", "127.0.0.1:0");
    let output = serve.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("a demo made"), "{}", told(&output));
}

#[test]
fn serve_refuses_plain_http_where_others_could_listen_in() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    for arguments in [
        ["serve", "--listen", "0.0.0.0:0", "--base-url", "https://desk.example.com"].as_slice(),
        ["serve", "--base-url", "http://desk.example.com"].as_slice(),
        ["serve", "--base-url", "https://desk.example.com/"].as_slice(),
    ] {
        assert_eq!(run(folder.path(), arguments).status.code(), Some(5), "{arguments:?}");
    }
}

#[test]
fn init_overwrites_nothing_and_keeps_secrets_to_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    for name in ["portreeve.key", "meter.key"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = std::fs::read(folder.path().join("portreeve.key")).unwrap();
    assert!(run(folder.path(), &["migrate"]).status.success());
    let mode = std::fs::metadata(folder.path().join("portreeve.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the database");
    assert_eq!(run(folder.path(), &["init"]).status.code(), Some(7));
    assert_eq!(std::fs::read(folder.path().join("portreeve.key")).unwrap(), before);
}

#[test]
fn a_mistyped_setting_is_named_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(folder.path(), &["config", "check"]).env("PORTREEVE__SERVER__LISTN", "x").output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(told(&output).contains("did you mean `server.listen`"), "{}", told(&output));
}

#[test]
fn a_mistake_in_the_catalog_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["catalog", "init"]).status.success());
    let file = folder.path().join("catalog/services/postgres.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("9.00 USD", "9.001 USD");
    std::fs::write(&file, text).unwrap();
    let output = run(folder.path(), &["catalog", "validate", "catalog"]);
    assert_eq!(output.status.code(), Some(5));
    let place =
        told(&output).lines().find_map(|line| line.split_once("postgres.toml:").map(|(_, rest)| rest.to_owned()));
    let place = place.expect("the file is named");
    assert!(place.split(':').take(2).all(|part| part.trim().parse::<u32>().is_ok()), "{place}");
}

#[test]
fn a_credential_that_no_driver_can_fill_is_told_before_anything_is_sold() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    let change = |file: &str, was: &str, now: &str| {
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(was), "{text}");
        std::fs::write(&path, text.replace(was, now)).unwrap();
    };
    let commands = [
        ["catalog", "publish"].as_slice(),
        &["catalog", "publish", "--dry-run"],
        &["serve", "--listen", "127.0.0.1:0"],
    ];
    let refused = |names: [&str; 2]| {
        for command in commands {
            let output = run(folder.path(), command);
            assert_ne!(output.status.code(), Some(0), "{command:?}");
            let told = told(&output);
            assert!(names.iter().all(|name| told.contains(name)), "{command:?}: {told}");
        }
    };
    change("portreeve.toml", "platform_url = ", "# platform_url = ");
    refused(["`weather`", "`static_driver.platform_url`"]);
    change("portreeve.toml", "# platform_url = ", "platform_url = ");
    change("catalog/services/weather.toml", "URL = \"{platform_url}/weather\"\n", "");
    refused(["services/weather.toml:", "`URL`"]);
    change("catalog/services/weather.toml", "\"API_KEY\", \"URL\"", "\"API_KEY\"");
    assert_eq!(run(folder.path(), commands[0]).status.code(), Some(0));
}

#[test]
fn verifying_a_catalog_refuses_other_keys_and_an_older_version() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(folder.path(), None);
    let verify = |more: &[&str]| {
        let arguments = [["catalog", "verify", serving.base.as_str()].as_slice(), more].concat();
        run(folder.path(), &arguments).status.code()
    };
    assert_eq!(verify(&[]), Some(0));
    assert_eq!(verify(&[]), Some(0), "the same version again");
    let ring = portreeve::signing::KeyRing::generate().unwrap();
    std::fs::write(folder.path().join("other.json"), ring.jwks().to_string()).unwrap();
    assert_eq!(verify(&["--jwks", "other.json"]), Some(6));
    let seen = folder.path().join("catalog-seen.json");
    let newer = std::fs::read_to_string(&seen)
        .unwrap()
        .replace("\"version\":1", "\"version\":9")
        .replace("\"version\": 1", "\"version\": 9");
    std::fs::write(&seen, newer).unwrap();
    assert_eq!(verify(&[]), Some(6));
}

#[test]
fn auditing_a_kept_demo_finds_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["demo", "--once", "--listen", "127.0.0.1:0", "--keep", "kept"]).status.success());
    let mut audit = program(folder.path(), &["audit", "verify"]);
    let output = audit.env("PORTREEVE__DATABASE__URL", "sqlite:kept/demo.db").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(String::from_utf8(output.stdout).unwrap().contains("2 accounts, no difference"));
}

/// What a shell says of `script`: its standard error, when it ends well.
fn shell(script: &str) -> String {
    let output = Command::new("bash").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{}\n{script}", told(&output));
    told(&output)
}

#[test]
fn the_commands_that_the_demo_prints_repeat_its_steps_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(folder.path(), &["demo", "--json", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line).unwrap())
        .take_while(|line: &Value| line["event"] != "ready")
        .collect();
    let steps: Vec<&Value> = lines.iter().filter(|line| line["curl"].is_string()).collect();
    let commands: Vec<&str> = steps.iter().map(|step| step["curl"].as_str().unwrap()).collect();
    let expected: Vec<String> = steps
        .iter()
        .flat_map(|step| vec![step["status"].to_string(); usize::try_from(step["times"].as_u64().unwrap()).unwrap()])
        .collect();
    // Every status goes to standard error; a variable that nobody set ends the script.
    let head = "set -eu; curl() { command curl \"$@\" -w '%{stderr}%{http_code}\\n'; }; {\n";
    for run in ["the first time", "again, with keys and a person of its own"] {
        let script = format!("{head}{}\n}} >/dev/null; sleep 1.1", commands.join("\n"));
        let statuses: Vec<String> = shell(&script).lines().map(str::to_owned).collect();
        let again_opened = expected.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(statuses, again_opened, "{run}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn whoever_has_not_begun_is_told_to_begin_and_a_catalog_that_is_there_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for command in [["serve"].as_slice(), &["config", "check"]] {
        let output = run(folder.path(), command);
        assert_eq!(output.status.code(), Some(5), "{command:?}");
        assert!(told(&output).contains("run `portreeve init` first"), "{}", told(&output));
    }
    assert!(run(folder.path(), &["catalog", "init"]).status.success());
    let own = folder.path().join("catalog/provider.toml");
    let text = std::fs::read_to_string(&own).unwrap().replace("Acme Cloud", "Our Cloud");
    std::fs::write(&own, &text).unwrap();
    let output = run(folder.path(), &["init"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("kept"), "{}", told(&output));
    assert_eq!(std::fs::read_to_string(&own).unwrap(), text);
    assert!(run(folder.path(), &["config", "check"]).status.success());
    std::fs::remove_dir_all(folder.path().join("catalog")).unwrap();
    for command in [["serve"].as_slice(), &["catalog", "validate"], &["catalog", "publish"]] {
        let output = run(folder.path(), command);
        assert_eq!(output.status.code(), Some(5), "{command:?}");
        let told = told(&output);
        assert!(told.contains("there is no catalog in `catalog`") && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn checking_the_configuration_finds_what_serve_would_refuse() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    for (name, value, place) in [
        ("PORTREEVE__SERVER__BASE_URL", "http://desk.example.com", "`server.base_url`"),
        ("PORTREEVE__DATABASE__URL", "portreeve.db", "`database.url`"),
        ("PORTREEVE__KEYS__MASTER_KEY", "short", "`keys.master_key`"),
        ("PORTREEVE__USAGE__METER_KEY", "short", "`usage.meter_key`"),
        ("PORTREEVE__STATIC_DRIVER__KEY", "short", "`static_driver.key`"),
        ("PORTREEVE__LOG__LEVEL", "portreeve=loud", "`log.level`"),
        ("PORTREEVE__MAIL__SMTP_URL", "mail.example", "`mail.smtp_url`"),
        ("PORTREEVE__MAIL__FROM", "nobody", "`mail.from`"),
        ("PORTREEVE__SERVER__WORKERS", "many", "does not fit"),
        ("PORTREEVE__NOTHING__SUCH", "1", "there is no setting"),
    ] {
        for command in [["config", "check"].as_slice(), &["serve"]] {
            let output = program(folder.path(), command).env(name, value).output().unwrap();
            assert_eq!(output.status.code(), Some(5), "{name} {command:?}: {}", told(&output));
            assert!(told(&output).contains(place), "{name}: {}", told(&output));
        }
    }
}

#[test]
fn a_database_that_does_not_answer_says_why_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let url = format!("postgres://desk@127.0.0.1:{}/desk", free_port());
    let output = program(folder.path(), &["migrate"]).env("PORTREEVE__DATABASE__URL", url).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("Connection refused"), "{}", told(&output));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let output = program(folder.path(), &["migrate"])
        .env("PORTREEVE__DATABASE__URL", "sqlite:no/such/desk.db")
        .output()
        .unwrap();
    assert!(told(&output).contains("no/such/desk.db cannot be made"), "{}", told(&output));
}

#[test]
fn settings_are_shown_as_they_are_but_for_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let show = |arguments: &[&str]| {
        let mut command = program(folder.path(), arguments);
        let output =
            command.env("PORTREEVE__DATABASE__URL", "postgres://desk:hunter2@db.example/desk").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = show(&["config", "show"]);
    assert!(text.contains("postgres://desk:****@db.example/desk") && !text.contains("hunter2"), "{text}");
    let unset = text.lines().find(|line| line.starts_with("static_driver.platform_url")).unwrap();
    assert!(unset.ends_with("(not set)"), "{unset}");
    let rows: Vec<Value> =
        show(&["--json", "config", "show"]).lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let of = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap()["value"].clone();
    assert_eq!((of("server.workers"), of("server.behind_tls_proxy")), (2.into(), false.into()));
    assert_eq!((of("outgoing.special_hosts"), of("static_driver.platform_url")), (Value::Array(vec![]), Value::Null));
    assert_eq!(of("catalog.folder"), "catalog");
}

#[test]
fn rehearsing_a_publication_tells_whether_anything_would_change() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    let said = |arguments: &[&str]| String::from_utf8(run(folder.path(), arguments).stdout).unwrap();
    let rehearse = ["catalog", "publish", "--dry-run"];
    assert!(said(&rehearse).starts_with("would publish 7 services"));
    assert!(!folder.path().join("portreeve.db").exists(), "nothing was done");
    assert!(said(&["catalog", "publish"]).starts_with("published: revision 1"));
    assert!(said(&rehearse).starts_with("unchanged: revision 1"));
    assert!(said(&["--json", "catalog", "publish", "--dry-run"]).contains("\"outcome\":\"unchanged\""));
    let file = folder.path().join("catalog/services/postgres.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("9.00 USD", "8.00 USD");
    std::fs::write(&file, text).unwrap();
    assert!(said(&rehearse).starts_with("would publish"));
}

#[test]
fn the_registry_is_shown_for_people_and_its_mistakes_name_their_flag() {
    let folder = tempfile::tempdir().unwrap();
    let registry = |arguments: &[&str]| {
        let output = run(folder.path(), &[["orchestrator"].as_slice(), arguments].concat());
        (String::from_utf8_lossy(&output.stdout).into_owned(), told(&output))
    };
    // Not an instance's folder: nothing is made there, and nothing is said to be in order.
    for command in
        [["orchestrator", "list"], ["audit", "verify"], ["client", "list"], ["outbox", "list"], ["case", "list"]]
    {
        let output = run(folder.path(), &command);
        assert_eq!(output.status.code(), Some(5), "{command:?}: {}", told(&output));
        assert!(told(&output).contains("`portreeve init FOLDER`"), "{}", told(&output));
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    assert!(run(folder.path(), &["init"]).status.success());
    assert!(registry(&["list"]).0.contains("Next: portreeve orchestrator add"));
    let plain = registry(&["add", "Plain", "--issuer", "http://id.harbour.example", "--client-id", "acme"]).1;
    assert!(plain.starts_with("portreeve: --issuer: ") && plain.contains("`outgoing.special_hosts`"), "{plain}");
    let add = ["add", "Harbour", "--issuer", "https://harbour.example", "--client-id", "acme"];
    for (flag, value) in [
        ("--monthly-ceiling", "100"),
        ("--provisional-ceiling", "5 EUR"),
        ("--algorithm", "HS256"),
        ("--existing-account", "link"),
        ("--email-domain", "no domain"),
    ] {
        let told = registry(&[add.as_slice(), &[flag, value]].concat()).1;
        assert!(told.starts_with(&format!("portreeve: {flag}: ")), "{told}");
    }
    let shown = registry(&[add.as_slice(), &["--provisional-ceiling", "20.00 USD"]].concat()).0;
    let row = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((row("monthly ceiling"), row("while unclaimed")), ("100.00 USD".to_owned(), "20.00 USD".to_owned()));
    assert_eq!(row("state"), "active");
    assert!(registry(&["suspend", "Harbour"]).0.contains("suspended since 20"));
}

#[test]
fn a_taken_address_names_its_setting_and_a_closed_pipe_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["serve", "--listen", &taken]);
    assert!(told(&output).contains("`server.listen` or --listen"), "{}", told(&output));
    let mut serve = program(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let output = serve.env("PORTREEVE__SERVER__PRIVATE_LISTEN", &taken).output().unwrap();
    assert!(told(&output).contains("`server.private_listen`"), "{}", told(&output));

    let mut show = program(folder.path(), &["config", "show"]);
    let mut child = show.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), told(&output)), (Some(0), String::new()));
}

#[test]
fn an_orchestrator_is_put_on_the_wire_by_commands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(run(folder, &["init"]).status.success());
    let add = ["orchestrator", "add", "Harbour", "--issuer", "https://harbour.example", "--client-id", "us"];
    assert!(run(folder, &add).status.success());
    let wire = |arguments: &[&str]| run(folder, &[["--json", "orchestrator", "wire"].as_slice(), arguments].concat());
    let json = |output: &Output| {
        let line = String::from_utf8(output.stdout.clone()).unwrap();
        line.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(wire(&["show", "Harbour"]).status.code(), Some(3), "it does not speak the wire yet");
    assert_eq!(wire(&["secret", "add", "Harbour"]).status.code(), Some(3));
    assert_eq!(wire(&["set", "Harbour", "--signatures", "v2_required"]).status.code(), Some(5), "without keys");
    assert_eq!(wire(&["set", "Harbour", "--signatures", "unsigned"]).status.code(), Some(5), "not with this profile");
    assert_eq!(wire(&["set", "Harbour", "--profile", "1999-01-01"]).status.code(), Some(2));
    std::fs::write(folder.join("client-secret"), "a-client-secret-of-some-length\n").unwrap();
    let set = [
        "set",
        "Harbour",
        "--profile",
        "2026-04-01",
        "--account-answer",
        "credentials",
        "--require",
        "name, country",
        "--client-id",
        "client_1",
        "--client-secret-file",
        "client-secret",
        "--notification-url",
        "https://harbour.example/n",
    ];
    let told = json(&wire(&set));
    assert_eq!(told[0]["profile"], "2026-04-01");
    let secret = told[1]["notification_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    // What is not named stays; the secret is told once.
    let told = json(&wire(&["set", "Harbour", "--callback-url", "https://harbour.example/c"]));
    assert_eq!((told.len(), &told[0]["require"]), (1, &Value::from("name,country")));
    let shown = wire(&["show", "Harbour"]);
    assert_eq!(json(&shown)[0]["client_secret"], true);
    let all = String::from_utf8(shown.stdout).unwrap();
    assert!(!all.contains(&secret) && !all.contains("a-client-secret"));
    let made = json(&wire(&["secret", "add", "Harbour"]));
    assert!(made[0]["secret"].as_str().unwrap().starts_with("whsec_"));
    std::fs::write(folder.join("given"), "whsec_given_by_the_orchestrator\n").unwrap();
    let given = json(&wire(&["secret", "add", "Harbour", "--from-file", "given"]));
    assert!(given[0].get("secret").is_none(), "who gave it has it");
    let missing = wire(&["secret", "add", "Harbour", "--from-file", "not-there"]);
    let missing = String::from_utf8(missing.stderr).unwrap();
    assert!(missing.contains("not-there: "), "a file that cannot be read is named: {missing}");
    let none = run(folder, &["orchestrator", "distrusts", "Harbour"]);
    assert_eq!(String::from_utf8(none.stdout).unwrap(), "Nothing of it is or was distrusted.\n");
    let id = made[0]["id"].as_str().unwrap();
    assert_eq!(wire(&["secret", "retire", "Harbour", id]).status.code(), Some(0));
    assert_eq!(wire(&["secret", "retire", "Harbour", id]).status.code(), Some(3));
    let listed = json(&wire(&["secret", "list", "Harbour"]));
    assert_eq!(listed.iter().filter(|one| one["retired_at"].is_null()).count(), 1);
    let manifest = run(folder, &["wire", "manifest", "--orchestrator", "Harbour"]);
    let manifest: Value = serde_json::from_slice(&manifest.stdout).unwrap();
    assert_eq!(manifest["provisioning"]["oauth_client_id"], "client_1");
    assert_eq!(run(folder, &["wire", "manifest", "--prefix", "/nowhere"]).status.code(), Some(3));
    assert_eq!(run(folder, &["outbox", "list"]).status.code(), Some(0));
    assert_eq!(run(folder, &["outbox", "replay", "--dead"]).status.code(), Some(0));
}

#[test]
fn linking_silently_is_warned_of_when_it_is_set_and_at_every_start() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    let output = run(
        folder.path(),
        &[
            "orchestrator",
            "add",
            "Harbour",
            "--issuer",
            "https://harbour.example",
            "--client-id",
            "us",
            "--existing-account",
            "link_silently",
        ],
    );
    assert!(output.status.success());
    assert!(told(&output).contains("without its owner being asked"), "{}", told(&output));
    let (public, private) = (free_port(), free_port());
    let mut command = program(folder.path(), &["serve", "--listen", &format!("127.0.0.1:{public}")]);
    command.env("PORTREEVE__SERVER__PRIVATE_LISTEN", format!("127.0.0.1:{private}"));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let begun: Vec<String> = lines.take_while(|line| !line.contains("\"serving\"")).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(begun.iter().any(|line| line.contains("links existing accounts silently")), "{begun:?}");
}

#[test]
fn clients_are_added_listed_given_new_secrets_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(run(folder, &["init"]).status.success());
    let json = |arguments: &[&str]| -> Value {
        let output = run(folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let add =
        ["--json", "client", "add", "Pilot", "--redirect-uri", "https://a.example/cb", "--auth", "client_secret_basic"];
    let added = json(&add);
    let (id, secret) = (added["client_id"].as_str().unwrap(), added["client_secret"].as_str().unwrap());
    assert!(id.starts_with("client_") && secret.starts_with("cs_") && added["origin"] == "operator", "{added}");
    let listed = json(&["--json", "client", "list"]);
    assert_eq!((&listed["client_id"], listed.get("client_secret")), (&added["client_id"], None), "{listed}");
    let renewed = json(&["--json", "client", "rotate", id]);
    assert_ne!(renewed["client_secret"], added["client_secret"]);
    assert_eq!(json(&["--json", "client", "remove", id])["removed"], added["client_id"]);
    assert_eq!(run(folder, &["client", "remove", id]).status.code(), Some(3));
    assert_eq!(run(folder, &["client", "rotate", id]).status.code(), Some(3));
    for bad in [
        &["client", "add", "Pilot", "--redirect-uri", "http://a.example/cb"][..],
        &["client", "add", "Pilot"],
        &["client", "add", "Pilot", "--redirect-uri", "https://a.example/cb", "--auth", "password"],
        &["client", "add", "Pilot", "--redirect-uri", "https://a.example/cb", "--auth", "private_key_jwt"],
        &["client", "add", " ", "--redirect-uri", "https://a.example/cb"],
        &["client", "add", "Pilot", "--redirect-uri", "https://a.example/cb", "--scope", "budget:read fly"],
        &["client", "add", "Pilot", "--redirect-uri", "https://a.example/cb", "--scope", " "],
        &[
            "client",
            "add",
            "Pilot",
            "--redirect-uri",
            "https://a.example/cb",
            "--grant",
            "authorization_code",
            "--grant",
            "refresh",
        ],
        &["client", "add", "Job", "--auth", "client_secret_basic", "--grant", "client_credentials"],
    ] {
        let output = run(folder, bad);
        assert_eq!(output.status.code(), Some(5), "{bad:?}: {}", told(&output));
    }
    let add = [
        "--json",
        "client",
        "add",
        "Pilot",
        "--redirect-uri",
        "https://a.example/cb",
        "--scope",
        "budget:read\n resources:read",
    ];
    assert_eq!(json(&add)["scope"], "budget:read resources:read");
}
