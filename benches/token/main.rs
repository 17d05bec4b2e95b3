//! Tokens per second, durably, beside npm's `oidc-provider` with its in-memory store; discovery documents beside nginx
//! that serves the same bytes from a file. Same run, same machine, same load tool: A/B/A/B, medians, ratios.
//!
//! `cargo bench --profile dist --bench token [-- --quick] [--postgres URL] [--only sqlite|postgres|documents]
//! [--case client_credentials|refresh_token|ID-JAG] [--connections N] [--rounds N] [--seconds N] [--program PATH] [--patient]`
//!
//! The peer is installed with `npm ci --prefix benches/token/peer`, nginx with `apt-get install nginx-light`. Without one
//! of them there is nothing to compare with: the bench says so, measures what it can, and ends with an error. Without
//! `--postgres` it starts a throw-away PostgreSQL server of its own (Debian's `postgresql` package must be installed).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and ends where something is not as it should be"
)]

mod issuer;
mod load;
#[path = "../peer/machine.rs"]
mod machine;
mod nginx;
mod oidc_provider;
mod portreeve;
#[path = "../peer/postgres.rs"]
#[expect(dead_code, reason = "`pgbench` is for the other benches")]
mod postgres;
#[path = "../peer/served.rs"]
mod served;
mod side;
mod table;

use std::io::Write as _;
use std::time::{Duration, Instant};

use issuer::Issuer;
use load::{Load, Script};
use machine::{busy, median};
use nginx::{Document, Nginx};
use oidc_provider::OidcProvider;
use portreeve::Portreeve;
use side::{Case, Side};
use table::{Pair, Run};

/// What every token allows.
const SCOPE: &str = "resources:read budget:read";
/// So many assertions are signed for each second of a run; a run ends with them.
const ASSERTIONS: u64 = 6_000;
/// What is served as prepared bytes.
const DOCUMENTS: [&str; 2] = ["/.well-known/oauth-authorization-server", "/oauth/jwks"];

struct Plan {
    rounds: usize,
    time: Duration,
    connections: Vec<usize>,
    cases: Vec<Case>,
    only: Option<String>,
    postgres: Option<String>,
    patient: bool,
}

fn plan() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let number = |name: &str| value(name).and_then(|text| text.parse::<usize>().ok());
    let is = |name: &str| arguments.iter().any(|argument| argument == name);
    let quick = is("--quick");
    let seconds = number("--seconds").unwrap_or(if quick { 1 } else { 4 });
    let case = value("--case");
    let cases: Vec<Case> = Case::ALL.into_iter().filter(|c| case.as_deref().is_none_or(|w| w == c.name())).collect();
    assert!(!cases.is_empty(), "--case is one of: {}", Case::ALL.map(Case::name).join(", "));
    Plan {
        rounds: number("--rounds").unwrap_or(if quick { 3 } else { 5 }),
        time: Duration::from_secs(u64::try_from(seconds).unwrap()),
        connections: number("--connections").map_or(vec![1, 16, 64], |one| vec![one]),
        cases,
        only: value("--only"),
        postgres: value("--postgres"),
        patient: is("--patient"),
    }
}

fn main() {
    let plan = plan();
    let wants = |part: &str| plan.only.as_deref().is_none_or(|only| only == part);
    let (no_peer, no_nginx) = (OidcProvider::missing(), Nginx::missing());
    println!("A write that the disk has acknowledged (4 KiB, fdatasync) takes {:.2} ms here (median).", disk());
    let (issuer, most) = (Issuer::start(), plan.connections.iter().copied().max().unwrap_or(1));
    let mut peer = no_peer.is_none().then(|| OidcProvider::start(&issuer, most));
    if let Some(peer) = &peer {
        println!("oidc-provider runs on Node.js {}, in one process.", peer.node);
    }
    if wants("sqlite") || wants("documents") {
        let mut ours = Portreeve::start(None, &issuer, most);
        if wants("sqlite") {
            tokens(&plan, "SQLite, full durability", &issuer, &mut ours, peer.as_mut());
        }
        if wants("documents") {
            documents(&plan, &ours, no_nginx.is_none());
        }
    }
    if wants("postgres") {
        let server = plan.postgres.is_none().then(postgres::Server::start);
        let admin = plan.postgres.clone().unwrap_or_else(|| server.as_ref().unwrap().url());
        let database = postgres::Database::create(&admin);
        let mut ours = Portreeve::start(Some(&database.url), &issuer, most);
        tokens(&plan, "PostgreSQL", &issuer, &mut ours, peer.as_mut());
        drop(ours);
    }
    let missing = [("oidc-provider", no_peer), ("nginx", no_nginx)];
    let missing = missing.into_iter().filter_map(|(name, why)| Some(format!("not measured beside {name}: {}", why?)));
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        eprintln!("\n{}", missing.join("\n"));
        std::process::exit(1);
    }
}

fn run(address: std::net::SocketAddr, scripts: Vec<Script>, time: Duration, cpu: impl Fn() -> f64) -> Run {
    let before = cpu();
    let Load { answers, seconds, p50, p99 } = load::run(address, scripts, time);
    Run { rate: answers / seconds, p50, p99, cpu: (cpu() - before) / answers }
}

fn measure(plan: &Plan, case: Case, issuer: &Issuer, side: &mut dyn Side, lines: usize, time: Duration) -> Run {
    let wanted = ASSERTIONS * time.as_secs();
    let scripts = case.scripts(side, issuer, lines, usize::try_from(wanted).unwrap());
    // Whatever made the scripts has left its own work behind: commits, timers, a full processor.
    std::thread::sleep(plan.time.min(Duration::from_millis(100)));
    let address = side.base().trim_start_matches("http://").parse().unwrap();
    run(address, scripts, time, || side.cpu())
}

fn tokens(plan: &Plan, name: &str, issuer: &Issuer, ours: &mut Portreeve, mut peer: Option<&mut OidcProvider>) {
    table::begin(
        &format!("Tokens, {name}, beside oidc-provider in memory (median of {})", plan.rounds),
        "grant",
        "peer",
    );
    let mut others = Vec::new();
    for &case in &plan.cases {
        // Connections, caches, plans of statements and compiled code, for both.
        let warm = plan.time.min(Duration::from_secs(1));
        measure(plan, case, issuer, ours, 16, warm);
        if let Some(peer) = peer.as_deref_mut() {
            measure(plan, case, issuer, peer, 16, warm);
        }
        let mut rates = Vec::new();
        for &lines in &plan.connections {
            let mut pairs = Vec::new();
            for _ in 0..plan.rounds {
                others.push(busy(plan.patient));
                let mine = measure(plan, case, issuer, ours, lines, plan.time);
                let other = peer.as_deref_mut().map(|peer| measure(plan, case, issuer, peer, lines, plan.time));
                pairs.push(Pair { ours: mine, other });
            }
            rates.push(table::row(case.name(), lines, &pairs));
        }
        table::most(case.name(), &rates);
    }
    said(others);
}

fn documents(plan: &Plan, ours: &Portreeve, beside: bool) {
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes();
    let same = DOCUMENTS.map(|path| {
        let (head, body) = load::once(ours.address(), &ask(path));
        Document { path, head, body }
    });
    let nginx = beside.then(|| Nginx::start(&same));
    table::begin(&format!("Documents, beside nginx (median of {})", plan.rounds), "document", "nginx");
    let mut others = Vec::new();
    for document in &same {
        if let Some(nginx) = &nginx {
            let (head, body) = load::once(nginx.address, &ask(document.path));
            assert_eq!(body, document.body, "the same bytes");
            assert_eq!(names(&head), names(&document.head), "the same headers");
        }
        let scripts = |lines: usize| (0..lines).map(|_| Script::Again(ask(document.path))).collect::<Vec<_>>();
        let mut rates = Vec::new();
        for &lines in &plan.connections {
            let mut pairs = Vec::new();
            for _ in 0..plan.rounds {
                others.push(busy(plan.patient));
                let mine = run(ours.address(), scripts(lines), plan.time, || ours.cpu());
                let other = nginx.as_ref().map(|it| run(it.address, scripts(lines), plan.time, || it.cpu()));
                pairs.push(Pair { ours: mine, other });
            }
            rates.push(table::row(document.path, lines, &pairs));
        }
        table::most(document.path, &rates);
    }
    said(others);
}

/// Of the headers, in order, but for those that say which server and which connection it is.
fn names(head: &str) -> Vec<String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let mut names: Vec<String> = lines.map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.retain(|name| name != "server" && name != "connection");
    names.sort();
    names
}

fn said(others: Vec<f64>) {
    let most = others.iter().copied().fold(0.0, f64::max);
    let share = median(others.into_iter());
    println!("\nBefore the rounds, other programs took {share:.0} % of the machine (median; at most {most:.0} %).");
}

/// How long the disk takes, in milliseconds: what durability costs here.
fn disk() -> f64 {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let took = (0..101).map(|_| {
        let begun = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.as_file().sync_data().unwrap();
        begun.elapsed().as_secs_f64() * 1_000.0
    });
    median(took.collect::<Vec<_>>().into_iter())
}
