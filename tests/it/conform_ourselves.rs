//! The conformance runner against ourselves: a real `portreeve serve` on each database, in every profile of the runner and
//! every mode of the second signature. Which cases may be "not applicable" in which run stands here, so that none becomes
//! so in silence.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::future::join_all;
use portreeve::clock::SystemClock;
use portreeve::fetch::{Fetch, FetchSettings, Outgoing};
use portreeve::secret::Secret;
use portreeve::simulator::conformance::{self, Group, Options, Outcome, Report, V2Mode, V2Options};
use portreeve::simulator::{IdTokenSpec, Simulator, SimulatorSettings, User};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::program::{Serving, free_port, program, told};

mod not_applicable;

use not_applicable::{
    ATTESTING, CATALOG, COUNTS, PAYING, PENDING, PRICES, Run, SIGNED, SIGNING, V2, V2_REQUIRED, named,
};

/// The domain of everybody whom the runs make up. The orchestrators are authorities over it.
const DOMAIN: &str = "conform.example";
/// Our client id at each orchestrator.
const CLIENT_ID: &str = "acme";
/// The registered public client.
const PUBLIC_CLIENT: &str = "conform-cli";
/// The bearer token with which we fetch the runner's keys.
const KEYS_TOKEN: &str = "keys_conform_0123456789abcdef";

/// What a run needs room for. One limit stays, for `--burst` to meet.
const SETTINGS: [(&str, &str); 10] = [
    ("PORTREEVE__OUTGOING__SPECIAL_HOSTS", "127.0.0.1"),
    ("PORTREEVE__WIRE__GENERIC_CLIENTS", "true"),
    ("PORTREEVE__WIRE__GENERIC_CIMD", "true"),
    ("PORTREEVE__WIRE__GENERIC_CIMD_LOOPBACK", "true"),
    ("PORTREEVE__WIRE__ACCOUNT_REQUESTS_PER_HOUR", "400"),
    ("PORTREEVE__WIRE__TOKEN_EXCHANGES_PER_HOUR", "0"),
    ("PORTREEVE__WIRE__RESOURCE_CREATES_PER_HOUR", "0"),
    ("PORTREEVE__WIRE__ORCHESTRATOR_REQUESTS_PER_HOUR", "0"),
    ("PORTREEVE__LIMITS__ADDRESS_ACCOUNTS_PER_HOUR", "0"),
    ("PORTREEVE__LIMITS__ADDRESS_TOKENS_PER_HOUR", "0"),
];

/// A provider that runs, and how it is told things.
struct Provider {
    serving: Serving,
    folder: tempfile::TempDir,
    database: String,
}

impl Provider {
    fn start(database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serving = Serving::start_with(folder.path(), Some(database), &SETTINGS);
        Self { serving, folder, database: database.to_owned() }
    }

    /// Runs a command beside `serve`; what it answered.
    fn tell(&self, arguments: &[&str]) -> Value {
        let mut command = program(self.folder.path(), &["--json"]);
        let output = command.args(arguments).env("PORTREEVE__DATABASE__URL", &self.database).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn adds(&self, name: &str, issuer: &str, more: &[&str]) {
        self.tell(&[&["orchestrator", "add", name, "--issuer", issuer, "--client-id", CLIENT_ID], more].concat());
    }

    fn secret(&self, name: &str) -> Secret {
        let told = self.tell(&["orchestrator", "wire", "secret", "add", name]);
        Secret::presented(told["secret"].as_str().unwrap())
    }

    fn options(&self, profile: &str, secrets: Vec<Secret>) -> Options {
        Options {
            profile: profile.parse().unwrap(),
            email_domain: DOMAIN.to_owned(),
            max_calls: 6000,
            burst: 600,
            allow_loopback: true,
            ..Options::new(self.serving.base.parse().unwrap(), secrets)
        }
    }
}

/// An orchestrator of a run, registered as it says, with everything that a case can need.
async fn orchestrator(provider: &Provider, run: &Run) -> (Simulator, Options) {
    let simulator = Simulator::start(SimulatorSettings {
        provider_base: provider.serving.base.parse().unwrap(),
        client_id: CLIENT_ID.to_owned(),
        bind: "127.0.0.1:0".parse().unwrap(),
        clock: Arc::new(SystemClock),
    });
    let simulator = simulator.unwrap();
    let name = format!("Harbour {} {} {}", run.profile, run.signatures, run.answer);
    let more = ["--settlement-url", &simulator.settlement_url, "--email-domain", DOMAIN];
    provider.adds(&name, &simulator.issuer_url, &more);
    let set = ["orchestrator", "wire", "set", &name, "--profile", run.ours, "--account-answer", run.answer];
    provider.tell(&set);
    let existing = existing_user(provider, &simulator, run).await;
    let v2 = if run.signatures == "hmac" { None } else { Some(second_signature(provider, &name, run.signatures)) };
    let options = Options {
        only: run.only.iter().map(|group| (*group).to_owned()).collect(),
        v2,
        payment_tokens: Some(format!("{}/test/payment_tokens", simulator.issuer_url).parse().unwrap()),
        existing_email: Some(existing),
        ..provider.options(run.profile, vec![provider.secret(&name), provider.secret(&name)])
    };
    (simulator, options)
}

/// Somebody who was here before: their account was opened over `/v1`.
async fn existing_user(provider: &Provider, simulator: &Simulator, run: &Run) -> String {
    let email = format!("before.{}.{}@{DOMAIN}", run.profile, run.answer);
    let user = User { subject: "user_before".to_owned(), email: email.clone(), email_verified: true, tenant: None };
    let id_token = simulator.mint_id_token(&IdTokenSpec::of(&user)).unwrap();
    let settings = FetchSettings { special_hosts: vec!["127.0.0.1".to_owned()], ..FetchSettings::default() };
    let url = format!("{}/v1/accounts", provider.serving.base).parse().unwrap();
    let opened = Fetch::new(&settings).unwrap().send(Outgoing::post_json(url, &json!({"id_token": id_token}))).await;
    assert_eq!(opened.unwrap().status, 201);
    email
}

/// The runner serves its keys, and we fetch them there.
fn second_signature(provider: &Provider, name: &str, mode: &str) -> V2Options {
    let listen = format!("127.0.0.1:{}", free_port());
    let (url, file) =
        (format!("http://{listen}/v2/provisioning/public_keys"), provider.folder.path().join("keys.token"));
    std::fs::write(&file, KEYS_TOKEN).unwrap();
    let keys = ["--public-keys-url", &url, "--public-keys-token-file", file.to_str().unwrap()];
    provider.tell(&[&["orchestrator", "wire", "set", name, "--signatures", mode], keys.as_slice()].concat());
    let mode = if mode == "v2_required" { V2Mode::Required } else { V2Mode::Advisory };
    V2Options { mode, key: None, listen: Some(listen.parse().unwrap()), token: Secret::presented(KEYS_TOKEN) }
}

async fn report(name: String, options: Options) -> (String, Report) {
    (name, conformance::run(options, |_| {}).await.unwrap())
}

/// Nothing fails, nothing is left, exactly the cases that are named could not be asked, and each group but those says
/// something.
fn judge((name, report): &(String, Report), open: &BTreeSet<&str>, silent: &[Group]) -> Vec<String> {
    let mut wrong = Vec::new();
    println!("{name}: {:?}", report.counts);
    for case in report.failed() {
        wrong.push(format!("{name}: {} fails: {:#?}", case.id, case.finding()));
    }
    for case in report.not_applicable().filter(|case| !open.contains(case.id)) {
        wrong.push(format!("{name}: {} is not applicable: {:?}", case.id, case.reason()));
    }
    let found: BTreeSet<_> = report.not_applicable().map(|case| case.id).collect();
    wrong.extend(open.difference(&found).map(|id| format!("{name}: {id} is named, but it applies")));
    for group in &report.groups {
        if (group.counts.pass == 0) != silent.contains(&group.group) {
            wrong.push(format!("{name}: {:?} has {} passes", group.group, group.counts.pass));
        }
    }
    if !report.resources_left.is_empty() || report.resources_made != report.resources_removed {
        wrong.push(format!("{name}: {}", report.footprint()));
    }
    wrong
}

on_both! {
    async fn every_case_holds_against_ourselves_in_every_profile(db: TestDb) {
        let provider = Provider::start(db.settings().url.expose_secret());
        let (mut simulators, mut runs) = (Vec::new(), Vec::new());
        for run in &SIGNED {
            let (simulator, options) = orchestrator(&provider, run).await;
            simulators.push(simulator);
            let name = format!("{} by {}, {}, {}", run.profile, run.ours, run.signatures, run.answer);
            runs.push(report(name, options));
        }
        let reports = join_all(runs).await;
        let judged = reports.iter().zip(&SIGNED).map(|(report, run)| judge(report, &named(run.not_applicable), &[]));
        let wrong: Vec<_> = judged.flatten().collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let held = reports.iter().flat_map(|(_, report)| &report.cases).filter(|case| case.reason().is_none());
        let held: BTreeSet<_> = held.map(|case| case.id).collect();
        let never: Vec<_> = conformance::cases().map(|case| case.id).filter(|id| !held.contains(id)).collect();
        assert!(never.is_empty(), "no run asks {never:?}");
        for simulator in simulators {
            simulator.stop().await;
        }
        assert_eq!(provider.serving.stop(), Some(0));
    }

    async fn every_case_that_a_public_client_can_be_asked_holds_against_ourselves(db: TestDb) {
        let provider = Provider::start(db.settings().url.expose_secret());
        provider.adds("Reader", "https://reader.example", &[]);
        provider.tell(&["orchestrator", "wire", "set", "Reader", "--profile", "2026-06-25"]);
        provider.adds("Public", "https://public.example", &["--monthly-ceiling", "5.00 USD"]);
        let public = ["--profile", "generic", "--signatures", "unsigned", "--client-id", PUBLIC_CLIENT];
        provider.tell(&[&["orchestrator", "wire", "set", "Public"], public.as_slice()].concat());
        let registered = Options {
            client_id: Some(PUBLIC_CLIENT.to_owned()),
            ..provider.options("generic", vec![provider.secret("Reader"), provider.secret("Reader")])
        };
        let by_address = Options {
            client_id: Some(client_metadata()),
            service: Some("sandbox".to_owned()),
            ..provider.options("generic", Vec::new())
        };
        let reports = [report("registered".to_owned(), registered), report("by address".to_owned(), by_address)];
        let reports = join_all(reports).await;
        let never: [&[&str]; 6] = [V2, V2_REQUIRED, SIGNING, ATTESTING, PAYING, &[PENDING, PRICES]];
        let without_catalog = [never.as_slice(), &[COUNTS, CATALOG]].concat();
        let mut wrong = judge(&reports[0], &named(&never), &[]);
        wrong.extend(judge(&reports[1], &named(&without_catalog), &[Group::Catalog, Group::Payment]));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let journey = |(_, report): &(String, Report)| {
            report.cases.iter().any(|case| case.id == "resources.three-calls" && matches!(case.outcome, Outcome::Pass))
        };
        assert!(reports.iter().all(journey));
        assert_eq!(provider.serving.stop(), Some(0));
    }

    async fn the_commands_of_the_documentation_find_nothing_wrong_with_us(db: TestDb) {
        let (folder, ports) = (tempfile::tempdir().unwrap(), DOCUMENTED_PORTS.map(|port| (port, free_port().to_string())));
        let blocks = documented("Portreeve itself", &ports);
        let [init, serve, simulator, runs @ ..] = blocks.as_slice() else { panic!("{blocks:?}") };
        let typed = |script: &str| {
            let mut command = Command::new("bash");
            let own = Path::new(env!("CARGO_BIN_EXE_portreeve")).parent().unwrap().display().to_string();
            let path = std::env::vars().find_map(|(name, value)| (name == "PATH").then_some(value)).unwrap();
            command.args(["-euc", script]).current_dir(folder.path()).env("PATH", format!("{own}:{path}"));
            command.env("PORTREEVE__DATABASE__URL", db.settings().url.expose_secret());
            command.env("PORTREEVE__SERVER__LISTEN", format!("127.0.0.1:{}", ports[0].1));
            command.env("PORTREEVE__SERVER__PRIVATE_LISTEN", format!("127.0.0.1:{}", ports[1].1));
            command
        };
        assert!(typed(init).status().unwrap().success());
        // With `exec` the shell is the program, which can be ended.
        let serve = Running::start(typed(&format!("exec {serve}")), "\"serving\"");
        let simulator = Running::start(typed(&format!("exec {simulator}")), "portreeve agent");
        let output = typed(&runs.concat()).output().unwrap();
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{printed}\n{}", told(&output));
        for group in Group::ALL {
            let rows: Vec<_> = printed.lines().filter(|line| line.starts_with(group.title())).collect();
            assert_eq!(rows.len(), 3, "{}: {rows:?}", group.title());
            let counts = rows.iter().map(|row| row.split_whitespace().rev().nth(1).unwrap());
            assert!(counts.clone().all(|failed| failed == "0"), "{rows:?}");
        }
        let paid: Vec<_> = printed.lines().filter(|line| line.starts_with(Group::Payment.title())).collect();
        assert!(paid[..2].iter().all(|row| row.ends_with(" 0")), "tokens are made, and paid with: {paid:?}");
        assert!(folder.path().join("report.html").is_file());
        drop((serve, simulator));
    }
}

/// The ports of the documentation; a test takes others.
const DOCUMENTED_PORTS: [&str; 4] = ["8080", "9090", "8090", "9191"];

/// A program that runs until it is dropped.
struct Running(std::process::Child);

impl Running {
    /// Starts it, and waits for a line with `ready`.
    fn start(mut command: Command, ready: &str) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
        drop(command);
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        let begun = lines.by_ref().any(|line| line.contains(ready));
        std::thread::spawn(move || lines.for_each(drop));
        assert!(begun, "it ended with {:?} before it said {ready}", child.wait());
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The metadata of a client that names itself by their address.
fn client_metadata() -> String {
    async fn document(request: actix_web::HttpRequest) -> HttpResponse {
        let own = format!("http://{}{}", request.connection_info().host(), request.path());
        HttpResponse::Ok()
            .json(json!({"client_id": own, "client_name": "Conformance", "token_endpoint_auth_method": "none"}))
    }
    let server = HttpServer::new(|| App::new().default_service(web::to(document))).workers(1).disable_signals();
    let server = server.bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/client.json", server.addrs()[0]);
    actix_web::rt::spawn(server.run());
    url
}

/// The commands of a section, block by block, with other ports.
fn documented(title: &str, ports: &[(&str, String)]) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(title)).unwrap();
    let block = |rest: &str| {
        let block = rest.split("```").next().unwrap().to_owned();
        ports
            .iter()
            .fold(block, |block, (was, now)| block.replace(&format!("127.0.0.1:{was}"), &format!("127.0.0.1:{now}")))
    };
    section.split("```sh\n").skip(1).map(block).collect()
}
