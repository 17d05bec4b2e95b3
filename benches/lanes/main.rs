//! Holds under a cap per second, by every way of writing them, in one run: A/B/A/B, medians, ratios.
//!
//! `cargo bench --profile dist --bench lanes [-- --quick] [--postgres URL] [--lanes N] [--only sqlite|postgres]
//! [--rows N] [--callers N] [--patient]`
//!
//! A ratio means little on a busy machine: each round tells how much of it other programs took just before, and
//! `--patient` waits (at most two minutes a round) until that is under a third.
//!
//! Without `--postgres` it starts a throw-away server of its own (Debian's `postgresql` package must be installed).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench prints, and ends where something is not as it should be"
)]

#[path = "../peer/mod.rs"]
mod peer;
mod pgbench;
mod ways;

use std::time::Duration;

use portreeve::db::{Backend, Db, DbSettings};

use peer::machine::{busy, median};
use peer::postgres;
use ways::{Measured, Scene, Way};

/// The order of the ways in a round.
const POOL: usize = 0;
const CLOSURES: usize = 1;
const POOL_HOLD: usize = 2;
const SET: usize = 3;
const PGBENCH: usize = 4;

struct Plan {
    rounds: usize,
    time: Duration,
    callers: Vec<usize>,
    rows: Vec<usize>,
    lanes: usize,
    only: Option<Backend>,
    way: Option<Way>,
    postgres: Option<String>,
    patient: bool,
}

fn plan() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let number = |name: &str| value(name).and_then(|number| number.parse().ok());
    let quick = arguments.iter().any(|argument| argument == "--quick");
    Plan {
        rounds: 3,
        time: Duration::from_millis(if quick { 700 } else { 2_500 }),
        callers: number("--callers").map_or(if quick { vec![1, 64] } else { vec![1, 16, 64] }, |one| vec![one]),
        rows: number("--rows").map_or(vec![1, 1_000], |one| vec![one]),
        lanes: number("--lanes").unwrap_or(4),
        only: value("--only").map(|only| if only == "sqlite" { Backend::Sqlite } else { Backend::Postgres }),
        // One way alone, for a profiler.
        way: value("--way").map(|way| match way.as_str() {
            "pool" => Way::Pool,
            "closures" => Way::Closures,
            "set" => Way::Set,
            "hold" => Way::PoolHold,
            _ => Way::Pgbench,
        }),
        postgres: value("--postgres"),
        patient: arguments.iter().any(|argument| argument == "--patient"),
    }
}

fn main() {
    let plan = plan();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut verdicts = Vec::new();
    if plan.only != Some(Backend::Postgres) {
        let url = format!("sqlite:{}", folder.path().join("bench.sqlite").display());
        let scene = runtime.block_on(open(&plan, Backend::Sqlite, &url));
        table(&runtime, &plan, &scene, &mut verdicts);
    }
    if plan.only != Some(Backend::Sqlite) {
        let server = plan.postgres.is_none().then(postgres::Server::start);
        let admin = plan.postgres.clone().unwrap_or_else(|| server.as_ref().unwrap().url());
        let database = postgres::Database::create(&admin);
        let scene = runtime.block_on(open(&plan, Backend::Postgres, &database.url));
        table(&runtime, &plan, &scene, &mut verdicts);
        drop(scene);
    }
    println!("| target | wanted | measured | |\n| --- | --- | --- | --- |");
    for (name, wanted, ratio) in verdicts {
        println!("| {name} | ≥ {wanted} | {ratio:.2} | {} |", if ratio >= wanted { "reached" } else { "MISSED" });
    }
}

async fn open(plan: &Plan, backend: Backend, url: &str) -> Scene {
    let settings = DbSettings { url: url.to_owned().into(), readers: 2, lanes: plan.lanes, queue: 4_096 };
    let db = Db::open(&settings).unwrap();
    db.migrate().await.unwrap();
    let scene = Scene::new(db, backend, url);
    scene.seed().await;
    scene
}

fn table(runtime: &tokio::runtime::Runtime, plan: &Plan, scene: &Scene, verdicts: &mut Vec<(String, f64, f64)>) {
    let (name, ways): (_, &[Way]) = match scene.backend {
        Backend::Sqlite => ("SQLite", &[Way::Pool, Way::Closures, Way::PoolHold, Way::Set]),
        Backend::Postgres => ("PostgreSQL", &[Way::Pool, Way::Closures, Way::PoolHold, Way::Set, Way::Pgbench]),
    };
    println!(
        "\n{name}, holds per second (median of {}), and against the pool and pgbench of the same round\n",
        plan.rounds
    );
    println!(
        "| rows | callers | way | /s | × pool | × pgbench | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut others = Vec::new();
    for &rows in &plan.rows {
        for &callers in &plan.callers {
            if let Some(way) = plan.way {
                let measured = runtime.block_on(scene.measure(way, rows, callers, plan.time));
                println!("{} over {rows} rows, {callers} callers: {:.0}/s", way.name(), measured.rate);
                continue;
            }
            let mut rounds: Vec<Vec<Measured>> = Vec::new();
            for _ in 0..plan.rounds {
                others.push(busy(plan.patient));
                let measure = |way: &Way| runtime.block_on(scene.measure(*way, rows, callers, plan.time));
                rounds.push(ways.iter().map(measure).collect());
            }
            // Of way `index` to way `to`, in the same round.
            let ratio = |index: usize, to: usize| median(rounds.iter().map(|round| round[index].rate / round[to].rate));
            for (index, way) in ways.iter().enumerate() {
                let of = |pick: fn(&Measured) -> f64| median(rounds.iter().map(|round| pick(&round[index])));
                let pgbench =
                    if ways.len() > PGBENCH { format!("{:.2}", ratio(index, PGBENCH)) } else { "–".to_owned() };
                println!(
                    "| {rows} | {callers} | {} | {:.0} | {:.2} | {pgbench} | {} | {} | {} |",
                    way.name(),
                    of(|m| m.rate),
                    ratio(index, POOL),
                    shown(of(|m| m.p50)),
                    shown(of(|m| m.p99)),
                    shown(of(|m| m.max)),
                );
            }
            let mut expect = |what: &str, wanted: f64, measured: f64| {
                verdicts.push((format!("{name}, {rows} rows, {callers} callers: {what}"), wanted, measured));
            };
            match (scene.backend, callers, rows) {
                (_, 1, _) => {
                    expect("closures × pool", 0.8, ratio(CLOSURES, POOL));
                    expect("set × the same hold in the pool", 0.8, ratio(SET, POOL_HOLD));
                }
                (Backend::Sqlite, 64, _) => {
                    expect("closures × pool", 4.0, ratio(CLOSURES, POOL));
                    expect("set × the same hold in the pool", 4.0, ratio(SET, POOL_HOLD));
                }
                (Backend::Postgres, 64, 1_000) => expect("closures × pool", 1.1, ratio(CLOSURES, POOL)),
                (Backend::Postgres, 64, 1) => expect("set × pgbench", 8.0, ratio(SET, PGBENCH)),
                _ => {}
            }
        }
    }
    if plan.way.is_none() {
        let most = others.iter().copied().fold(0.0, f64::max);
        let share = median(others.into_iter());
        println!("\nBefore the rounds, other programs took {share:.0} % of the machine (median; at most {most:.0} %).");
    }
    if plan.way.is_none_or(|way| way == Way::Set) {
        runtime.block_on(scene.verify());
    }
    println!("\nThe ledgers that the set verb wrote were recomputed: no difference.\n");
}

/// pgbench tells no percentiles.
fn shown(milliseconds: f64) -> String {
    if milliseconds.is_nan() { "–".to_owned() } else { format!("{milliseconds:.2}") }
}
