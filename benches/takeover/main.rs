//! The drill: an orchestrator with many accounts was compromised. How long until its last token is dead, and until everything
//! that was made since is held back; on PostgreSQL, with durable commits.
//!
//! `cargo bench --profile dist --bench takeover [-- --accounts N] [--postgres URL]`
//!
//! A second process asks the database for every token while the distrust works: a token is dead when it refuses it. Processes
//! that decide from memory read what ended every 0.4 seconds. Half of the accounts were opened since the instant, and each has a resource from then.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends where something is not as it should be"
)]

#[path = "../peer/postgres.rs"]
#[expect(dead_code, reason = "`pgbench` is for other benches")]
mod postgres;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use portreeve::authorization::{self, LogIn, VerifiedToken};
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::db::schema::{
    accounts, budgets, counters, deep_links, delegations, grants, identity_links, refresh_tokens, resources, sessions,
};
use portreeve::db::{Db, DbConnection, DbError, DbSettings};
use portreeve::ids::{AccountId, CounterId, GrantId, OrchestratorId, ResourceId};
use portreeve::orchestrator::{self, Depth, NewDistrust, NewOrchestrator, WhoseDistrust};
use portreeve::takeover::{self, Bounds};

/// The key that was stolen.
const KEY: &str = "stolen-key";
/// Accounts made in one transaction.
const PAGE: usize = 250;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let count = value("--accounts").map_or(10_000, |count| count.parse().unwrap());
    let server = value("--postgres").is_none().then(postgres::Server::start);
    let admin = value("--postgres").unwrap_or_else(|| server.as_ref().unwrap().url());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("| distrusted | accounts | nothing new believed | last token dead | everything held back | items |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, whose) in [("the issuer", WhoseDistrust::Issuer), ("one key", WhoseDistrust::Key(KEY.to_owned()))] {
        let database = postgres::Database::create(&admin);
        runtime.block_on(drill(name, whose, count, &database.url));
    }
}

fn open(url: &str) -> Db {
    Db::open(&DbSettings { url: url.to_owned().into(), readers: 4, lanes: 4, queue: 4096 }).unwrap()
}

async fn drill(name: &str, whose: WhoseDistrust, count: usize, url: &str) {
    let db = open(url);
    db.migrate().await.unwrap();
    let now = SystemClock.now();
    let since = now.minus(chrono::TimeDelta::hours(1));
    let issuer = "https://orchestrator.example".parse().unwrap();
    let new = NewOrchestrator::new("Compromised".parse().unwrap(), issuer, "us");
    let known = db.write("house", move |conn| orchestrator::add(conn, &new, now)).await.unwrap();
    let mut tokens = Vec::with_capacity(count);
    while tokens.len() < count {
        let (first, size, id) = (tokens.len(), PAGE.min(count - tokens.len()), known.id.clone());
        let made = db.write("house", move |conn| {
            let all = (first..first + size).map(|number| one(conn, &id, number, since, now));
            all.collect::<Result<Vec<_>, DbError>>()
        });
        tokens.extend(made.await.unwrap());
    }
    let second = open(url);
    let all = Arc::new(tokens);
    assert_eq!(alive(&second, &all).await, count, "every token works before");

    let begun_at = Instant::now();
    let new = NewDistrust {
        orchestrator_id: known.id,
        since,
        whose,
        depth: Depth::Things,
        cause: "operator".to_owned(),
        event_at: None,
    };
    let begun = db.write("house", move |conn| orchestrator::begin(conn, &new, SystemClock.now())).await.unwrap();
    let disbelieved = begun_at.elapsed();
    let (watched, seen) = (second.clone(), all.clone());
    let watch = tokio::spawn(async move {
        // Round after round over those that were alive in the round before.
        let mut left: Vec<VerifiedToken> = seen.to_vec();
        while !left.is_empty() {
            left = still_alive(&watched, left).await;
        }
        begun_at.elapsed()
    });
    let done = takeover::run(&db, &begun.id, Bounds::default(), &SystemClock).await.unwrap();
    let finished = begun_at.elapsed();
    let dead = watch.await.unwrap();
    assert_eq!(alive(&second, &all).await, 0, "a token is alive");
    let (mut items, mut after) = (0, None);
    loop {
        let (id, from) = (done.id.clone(), after.clone());
        let page = db.read(move |conn| takeover::items(conn, &id, from.as_ref(), 1_000)).await.unwrap();
        items += page.len();
        match page.last() {
            Some(last) => after = Some(last.clone()),
            None => break,
        }
    }
    println!("| {name} | {count} | {} | {} | {} | {items} |", shown(disbelieved), shown(dead), shown(finished));
}

fn shown(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

async fn alive(db: &Db, tokens: &Arc<Vec<VerifiedToken>>) -> usize {
    still_alive(db, tokens.to_vec()).await.len()
}

/// Those that the check of a request lets pass.
async fn still_alive(db: &Db, tokens: Vec<VerifiedToken>) -> Vec<VerifiedToken> {
    let check = move |conn: &mut DbConnection| {
        let passes = |token: &VerifiedToken, conn: &mut DbConnection| authorization::access(conn, token).is_ok();
        Ok::<_, DbError>(tokens.into_iter().filter(|token| passes(token, conn)).collect())
    };
    db.read(check).await.unwrap()
}

/// An account with everything that one has after a day.
fn one(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    number: usize,
    since: Timestamp,
    now: Timestamp,
) -> Result<VerifiedToken, DbError> {
    let minute = chrono::TimeDelta::minutes(10);
    let at = if number.is_multiple_of(2) { since.plus(minute) } else { since.minus(minute) };
    let (account, grant, subject) = (AccountId::new(at), GrantId::new(now), format!("user-{number}"));
    let later = now.plus(chrono::TimeDelta::days(30));
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(&account),
            accounts::state.eq("provisional"),
            accounts::opened_by.eq(orchestrator),
            accounts::email_trust.eq("none"),
            accounts::created_at.eq(at),
            accounts::changed_at.eq(at),
        ))
        .execute(conn)?;
    diesel::insert_into(identity_links::table)
        .values((
            identity_links::orchestrator_id.eq(orchestrator),
            identity_links::tenant.eq(""),
            identity_links::subject.eq(&subject),
            identity_links::account_id.eq(&account),
            identity_links::created_at.eq(at),
        ))
        .execute(conn)?;
    diesel::insert_into(delegations::table)
        .values((
            delegations::orchestrator_id.eq(orchestrator),
            delegations::key_id.eq(KEY),
            delegations::tenant.eq(""),
            delegations::subject.eq(&subject),
            delegations::account_id.eq(&account),
            delegations::first_at.eq(at),
            delegations::last_at.eq(now),
        ))
        .execute(conn)?;
    diesel::insert_into(budgets::table)
        .values((
            budgets::account_id.eq(&account),
            budgets::orchestrator_id.eq(orchestrator),
            budgets::currency.eq("USD"),
            budgets::ceiling.eq(10_000_i64),
            budgets::changed_at.eq(at),
        ))
        .execute(conn)?;
    diesel::insert_into(counters::table)
        .values((
            counters::account_id.eq(&account),
            counters::id.eq(CounterId::new(now)),
            counters::kind.eq("budget"),
            counters::subject.eq(orchestrator.as_str()),
            counters::currency.eq("USD"),
            counters::period_start.eq(at),
            counters::period_end.eq(later),
            counters::ceiling.eq(10_000_i64),
            counters::held.eq(0_i64),
            counters::spent.eq(0_i64),
        ))
        .execute(conn)?;
    hold(conn, orchestrator, (&account, &grant), number, now)?;
    if number.is_multiple_of(2) {
        buy(conn, orchestrator, &account, at)?;
    }
    Ok(VerifiedToken {
        grant_id: grant,
        account_id: account,
        orchestrator_id: orchestrator.clone(),
        consent_id: None,
        client: orchestrator.to_string(),
        scopes: "budget:read".parse().unwrap(),
        bound_to: None,
        log_in: LogIn::default(),
        details: None,
        issued_at: now,
        expires_at: later,
    })
}

/// What the orchestrator and a browser hold for it.
fn hold(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    (account, grant): (&AccountId, &GrantId),
    number: usize,
    now: Timestamp,
) -> Result<(), DbError> {
    let later = now.plus(chrono::TimeDelta::days(30));
    diesel::insert_into(grants::table)
        .values((
            grants::id.eq(grant),
            grants::account_id.eq(account),
            grants::orchestrator_id.eq(orchestrator),
            grants::client.eq(orchestrator.as_str()),
            grants::scope.eq("budget:read"),
            grants::issued_at.eq(now),
            grants::expires_at.eq(later),
        ))
        .execute(conn)?;
    diesel::insert_into(refresh_tokens::table)
        .values((
            refresh_tokens::token_hash.eq(format!("refresh-{number}")),
            refresh_tokens::family.eq(grant.as_str()),
            refresh_tokens::grant_id.eq(grant),
            refresh_tokens::account_id.eq(account),
            refresh_tokens::orchestrator_id.eq(orchestrator),
            refresh_tokens::client.eq(orchestrator.as_str()),
            refresh_tokens::scope.eq("budget:read"),
            refresh_tokens::issued_at.eq(now),
            refresh_tokens::expires_at.eq(later),
        ))
        .execute(conn)?;
    diesel::insert_into(sessions::table)
        .values((
            sessions::token_hash.eq(format!("session-{number}")),
            sessions::account_id.eq(account),
            sessions::created_at.eq(now),
            sessions::expires_at.eq(later),
        ))
        .execute(conn)?;
    diesel::insert_into(deep_links::table)
        .values((
            deep_links::token_hash.eq(format!("link-{number}")),
            deep_links::account_id.eq(account),
            deep_links::created_at.eq(now),
            deep_links::expires_at.eq(later),
        ))
        .execute(conn)?;
    Ok(())
}

fn buy(conn: &mut DbConnection, through: &OrchestratorId, account: &AccountId, at: Timestamp) -> Result<(), DbError> {
    diesel::insert_into(resources::table)
        .values((
            resources::account_id.eq(account),
            resources::id.eq(ResourceId::new(at)),
            resources::orchestrator_id.eq(through),
            resources::service.eq("sandbox"),
            resources::plan.eq("free"),
            resources::name.eq("sandbox"),
            resources::catalog_version.eq(1_i64),
            resources::catalog_digest.eq("sha256:0"),
            resources::state.eq("ready"),
            resources::configuration.eq("null"),
            resources::created_at.eq(at),
            resources::changed_at.eq(at),
            resources::generation.eq(0_i64),
        ))
        .execute(conn)?;
    Ok(())
}
