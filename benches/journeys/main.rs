//! Whole journeys of orchestrators' users per second: a signed account request, the code for a token, a resource. Beside
//! them, plain transactions with as many commits, in the same run: A/B/A/B, medians, ratios.
//!
//! `cargo bench --profile dist --bench journeys [-- --quick] [--postgres URL] [--only sqlite|postgres] [--agents N]
//! [--patient]`
//!
//! With `--alike` it compares instead how long requests about people with and without an account take.
//!
//! The provider is `portreeve serve`, a process of its own; agents and plain transactions share the machine with it. How
//! many commits a journey has is counted first, in the log of SQLite.
//!
//! Without `--postgres` it starts a throw-away server of its own (Debian's `postgresql` package must be installed).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench prints, and ends where something is not as it should be"
)]

mod agents;
mod alike;
mod commits;
#[path = "../peer/mod.rs"]
mod peer;
mod plain;
mod provider;
#[path = "../peer/served.rs"]
mod served;

use std::time::Duration;

use agents::Measured;
use peer::machine::{busy, median};
use peer::postgres;
use plain::Plain;
use provider::Provider;

struct Plan {
    rounds: usize,
    time: Duration,
    agents: Vec<usize>,
    only: Option<String>,
    postgres: Option<String>,
    patient: bool,
    alike: bool,
}

fn plan() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let is = |name: &str| arguments.iter().any(|argument| argument == name);
    let quick = is("--quick");
    Plan {
        rounds: if quick { 3 } else { 5 },
        time: Duration::from_secs(if quick { 1 } else { 4 }),
        agents: value("--agents").and_then(|one| one.parse().ok()).map_or(vec![1, 16, 64], |one| vec![one]),
        only: value("--only"),
        postgres: value("--postgres"),
        patient: is("--patient"),
        alike: is("--alike"),
    }
}

fn main() {
    let plan = plan();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if plan.alike {
        return alike::compare(&runtime, &plan);
    }
    let commits = commits::of_a_journey(&runtime);
    println!(
        "A journey has {commits} commits (counted: the commit frames that a lone journey leaves in SQLite's log)."
    );
    if plan.only.as_deref() != Some("postgres") {
        let provider = Provider::start(None);
        table(&runtime, &plan, "SQLite", &provider, &Plain::sqlite(), commits);
    }
    if plan.only.as_deref() != Some("sqlite") {
        let server = plan.postgres.is_none().then(postgres::Server::start);
        let admin = plan.postgres.clone().unwrap_or_else(|| server.as_ref().unwrap().url());
        let database = postgres::Database::create(&admin);
        let provider = Provider::start(Some(&database.url));
        table(&runtime, &plan, "PostgreSQL", &provider, &Plain::postgres(&database.url), commits);
        drop(provider);
    }
}

fn table(
    runtime: &tokio::runtime::Runtime,
    plan: &Plan,
    name: &str,
    provider: &Provider,
    beside: &Plain,
    commits: usize,
) {
    println!("\n{name}, whole journeys per second (median of {}), and against {}\n", plan.rounds, beside.name());
    println!(
        "| agents | journeys /s | plain /s | the same commits /s | × plain | p50 ms | p99 ms | max ms | provider's CPU ms |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    let each = f64::from(u32::try_from(commits).unwrap());
    // Connections, caches and plans of statements, for both.
    runtime.block_on(agents::measure(provider, 4, plan.time.min(Duration::from_secs(1))));
    let mut others = Vec::new();
    for &agents in &plan.agents {
        let mut rounds: Vec<(Measured, f64)> = Vec::new();
        for _ in 0..plan.rounds {
            others.push(busy(plan.patient));
            let journeys = runtime.block_on(agents::measure(provider, agents, plan.time));
            rounds.push((journeys, beside.measure(agents, plan.time)));
        }
        let of = |pick: fn(&Measured) -> f64| median(rounds.iter().map(|(journeys, _)| pick(journeys)));
        println!(
            "| {agents} | {:.0} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.1} | {:.2} |",
            of(|m| m.rate),
            median(rounds.iter().map(|(_, bare)| *bare)),
            median(rounds.iter().map(|(_, bare)| bare / each)),
            // Within a round.
            median(rounds.iter().map(|(journeys, bare)| journeys.rate * each / bare)),
            of(|m| m.p50),
            of(|m| m.p99),
            of(|m| m.max),
            of(|m| m.cpu),
        );
    }
    let most = others.iter().copied().fold(0.0, f64::max);
    let share = median(others.into_iter());
    println!("\nBefore the rounds, other programs took {share:.0} % of the machine (median; at most {most:.0} %).");
}
