//! Whether the time of an answer tells who has an account: 2,000 requests, every second one about somebody who has, the
//! rest about somebody who has not, in an order that is drawn; medians, and two tests that ask whether both could be one.

use std::time::Duration;

use crate::Plan;
use crate::agents::Agent;
use crate::peer::machine::{busy, median};
use crate::peer::postgres;
use crate::provider::Provider;

/// Of each kind.
const EACH: u32 = 1_000;

/// On both databases.
pub(crate) fn compare(runtime: &tokio::runtime::Runtime, plan: &Plan) {
    println!(
        "{EACH} requests about people with an account and {EACH} about others, interleaved, by another orchestrator\n"
    );
    println!(
        "| database | word about the address | with, median ms | without, median ms | difference | P(with slower) | \
         Mann–Whitney p | Kolmogorov–Smirnov D | p |\n|---|---|---|---|---|---|---|---|---|"
    );
    if plan.only.as_deref() != Some("postgres") {
        rows(runtime, plan, "SQLite", &Provider::start(None));
    }
    if plan.only.as_deref() != Some("sqlite") {
        let server = plan.postgres.is_none().then(postgres::Server::start);
        let admin = plan.postgres.clone().unwrap_or_else(|| server.as_ref().unwrap().url());
        let database = postgres::Database::create(&admin);
        rows(runtime, plan, "PostgreSQL", &Provider::start(Some(&database.url)));
    }
}

fn rows(runtime: &tokio::runtime::Runtime, plan: &Plan, name: &str, provider: &Provider) {
    let (sidecar, asks) = (provider.also("sidecar", "sidecar"), provider.also("asks", "user_consent"));
    runtime.block_on(async {
        let mut first = Agent::connect(provider).await;
        for person in 0..EACH {
            first.asks(&format!("k{person:04}"), &address("k", person), true).await.expect("an account is opened");
        }
        for (what, secret, verified) in
            [("vouched for, `sidecar`", &sidecar, true), ("unverified, `user_consent`", &asks, false)]
        {
            let mut agent = Agent::of(provider, secret).await;
            warm(&mut agent, what).await;
            busy(plan.patient);
            let (with, without) = interleaved(&mut agent, verified).await;
            row(name, what, &with, &without);
        }
    });
}

fn address(kind: &str, person: u32) -> String {
    format!("{kind}{person:04}@example.test")
}

/// Until the provider knows the orchestrator's secret, and everything is in its caches.
async fn warm(agent: &mut Agent, what: &str) {
    let mut answered = 0;
    for turn in 0..600 {
        let who = format!("w{turn:04}-{}", what.len());
        match agent.asks(&who, &format!("{who}@example.test"), true).await {
            Some(_) => answered += 1,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        if answered == 100 {
            return;
        }
    }
    panic!("the provider does not take up the secret");
}

/// Milliseconds: of those with an account, and of those without.
async fn interleaved(agent: &mut Agent, verified: bool) -> (Vec<f64>, Vec<f64>) {
    let (mut with, mut without, mut drawn) = (Vec::new(), Vec::new(), 0x9e37_79b9_7f4a_7c15_u64);
    for person in 0..EACH {
        // xorshift64: which of the two comes first.
        drawn ^= drawn << 13;
        drawn ^= drawn >> 7;
        drawn ^= drawn << 17;
        let known_first = drawn & 1 == 0;
        for known in [known_first, !known_first] {
            let kind = if known { "k" } else { "u" };
            let took = agent.asks(&format!("{kind}{person:04}-{verified}"), &address(kind, person), verified).await;
            let took = took.expect("both are answered alike").as_secs_f64() * 1_000.0;
            if known { with.push(took) } else { without.push(took) }
        }
    }
    (with, without)
}

fn row(name: &str, what: &str, with: &[f64], without: &[f64]) {
    let (slower, p) = mann_whitney(with, without);
    let (d, p_ks) = kolmogorov_smirnov(with, without);
    let medians = (median(with.iter().copied()), median(without.iter().copied()));
    println!(
        "| {name} | {what} | {:.3} | {:.3} | {:+.1} % | {slower:.3} | {p:.2} | {d:.3} | {p_ks:.2} |",
        medians.0,
        medians.1,
        100.0 * (medians.0 / medians.1 - 1.0),
    );
}

/// How likely one of the first is greater than one of the second (0.5: not at all told apart), and how likely that or worse is when both
/// are the same (two sides, normal approximation; at 1,000 of each ties of nanoseconds do not matter).
fn mann_whitney(with: &[f64], without: &[f64]) -> (f64, f64) {
    let (mut below, mut wins) = (0.0, 0.0);
    for (_, is_with) in merged(with, without) {
        if is_with { wins += below } else { below += 1.0 }
    }
    let (some, others) = (count(with), count(without));
    let pairs = some * others;
    let z = (wins - pairs / 2.0) / (pairs * (some + others + 1.0) / 12.0).sqrt();
    (wins / pairs, both_tails(z))
}

/// The greatest distance of the two distributions, and how likely that or more is when both are the same.
fn kolmogorov_smirnov(with: &[f64], without: &[f64]) -> (f64, f64) {
    let (some, others) = (count(with), count(without));
    let (mut apart, mut most) = (0.0_f64, 0.0_f64);
    for (_, is_with) in merged(with, without) {
        apart += if is_with { 1.0 / some } else { -1.0 / others };
        most = most.max(apart.abs());
    }
    let effective = (some * others / (some + others)).sqrt();
    let lambda = (effective + 0.12 + 0.11 / effective) * most;
    let mut p = 0.0;
    for k in 1..=100_i32 {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        p += sign * (-2.0 * f64::from(k).powi(2) * lambda.powi(2)).exp();
    }
    (most, p.clamp(0.0, 1.0))
}

/// All of both in order, each with whether it is of the first.
fn merged(with: &[f64], without: &[f64]) -> Vec<(f64, bool)> {
    let marked = with.iter().map(|one| (*one, true)).chain(without.iter().map(|one| (*one, false)));
    let mut all: Vec<(f64, bool)> = marked.collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    all
}

fn count(of: &[f64]) -> f64 {
    f64::from(u32::try_from(of.len()).unwrap())
}

/// P(|Z| > |z|) of the normal distribution (Abramowitz and Stegun 7.1.26).
fn both_tails(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    series.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}
