//! `portreeve orchestrator distrust`, `distrusts`, `restore` and `blast-radius`: when an orchestrator was compromised.

use std::collections::BTreeMap;

use clap::Args;
use portreeve::app::HOUSE;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::db::Db;
use portreeve::ids::{AccountId, DistrustId, ResourceId};
use portreeve::orchestrator::{self, BeginError, Depth, Distrust, NewDistrust, Orchestrator, Phase, WhoseDistrust};
use portreeve::takeover::{self, Bounds, Item, ItemKind, Preview, Reach, Restored, Scope, Whom};
use serde_json::{Value, json};

use super::{Failure, say};

/// How many accounts or items are read at once.
const PAGE: i64 = 100;
/// Who is said to have done it.
const OPERATOR: &str = "operator";

#[derive(Debug, Args)]
pub(crate) struct DistrustArgs {
    /// Its issuer, name or id.
    issuer: String,
    /// What was made from then on is held back, as `2026-11-21T09:00:00Z`.
    #[arg(long, value_name = "INSTANT")]
    since: String,
    /// Only what this key signed: a `kid`, or the id of a wire secret.
    #[arg(long, value_name = "KID", conflicts_with = "subject")]
    key: Option<String>,
    /// Only this person there.
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// In this tenant; in all when absent.
    #[arg(long, value_name = "TENANT", requires = "subject")]
    tenant: Option<String>,
    /// List what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The distrust, as `distrust` and `distrusts` show it.
    distrust: DistrustId,
    /// Thaw this account.
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// Let this account spend through the orchestrator again.
    #[arg(long, value_name = "ACCOUNT")]
    spending: Option<AccountId>,
    /// Give this resource back.
    #[arg(long, value_name = "ID")]
    resource: Option<ResourceId>,
    /// Give everything back.
    #[arg(long, conflicts_with_all = ["account", "spending", "resource"])]
    all: bool,
    /// Believe again what comes from now on.
    #[arg(long)]
    trust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BlastRadiusArgs {
    /// Its issuer, name or id.
    issuer: String,
    /// Count as new what was made from then on; with --key, only what it signed since then.
    #[arg(long, value_name = "INSTANT")]
    since: Option<String>,
    /// Only what this key reaches: a `kid`, or the id of a wire secret.
    #[arg(long, value_name = "KID", conflicts_with_all = ["subject", "client"])]
    key: Option<String>,
    /// Only what this person reaches.
    #[arg(long, value_name = "SUB", conflicts_with = "client")]
    subject: Option<String>,
    /// Only what the grants of this client reach.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// How many accounts are listed; the sums are of all.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
    /// List, and sum up, from after this account.
    #[arg(long, value_name = "ACCOUNT")]
    after: Option<AccountId>,
}

/// The orchestrator with this issuer, name or id.
async fn find(db: &Db, which: &str) -> Result<Orchestrator, Failure> {
    let issuer = which.to_owned();
    match db.read(move |conn| orchestrator::by_issuer(conn, &issuer)).await? {
        Some(found) => Ok(found),
        None => super::orchestrator::find(db, which.to_owned()).await,
    }
}

fn instant(text: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse_rfc3339(text)
        .map_err(|error| Failure::invalid(format!("--since: {error}; write 2026-11-21T09:00:00Z")))
}

pub(crate) async fn distrust(args: DistrustArgs, db: &Db, json: bool) -> Result<(), Failure> {
    let orchestrator = find(db, &args.issuer).await?;
    let now = SystemClock.now();
    let since = instant(&args.since)?;
    if now < since {
        return Err(Failure::invalid("--since lies in the future"));
    }
    let whose = match (args.key, args.subject) {
        (Some(key), _) => WhoseDistrust::Key(key),
        (None, Some(subject)) => WhoseDistrust::Subject { tenant: args.tenant, subject },
        (None, None) => WhoseDistrust::Issuer,
    };
    let new = NewDistrust {
        orchestrator_id: orchestrator.id.clone(),
        since,
        whose,
        depth: Depth::Things,
        cause: OPERATOR.to_owned(),
    };
    list(db, &planned(&new, now), now, json).await?;
    if args.dry_run {
        return if json { Ok(()) } else { say("Nothing was done: --dry-run.") };
    }
    let begun = match under_way(db, &new).await? {
        Some(begun) => begun,
        None => db.write(HOUSE, move |conn| orchestrator::begin(conn, &new, now)).await?,
    };
    if !json {
        say(&format!("{}  from now on nothing new of it is believed", begun.id))?;
    }
    let done = takeover::run(db, &begun.id, Bounds::default(), &SystemClock).await?;
    describe(&done, json)
}

/// The same, begun before and not finished; one that is in force already is a conflict.
async fn under_way(db: &Db, new: &NewDistrust) -> Result<Option<Distrust>, Failure> {
    let mut before = None;
    loop {
        let (id, from) = (new.orchestrator_id.clone(), before.clone());
        let page = db.read(move |conn| orchestrator::distrusts_of(conn, &id, from.as_ref(), PAGE)).await?;
        let same = |one: &&Distrust| one.whose == new.whose && one.since == new.since && one.cause == new.cause;
        if let Some(found) = page.iter().filter(|one| one.lifted_at.is_none()).find(same) {
            return match found.finished_at {
                None => Ok(Some(found.clone())),
                Some(_) => Err(Failure::conflict(format!("{} does this already", found.id))),
            };
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                before = Some(last.id.clone());
            }
            _ => return Ok(None),
        }
    }
}

/// A distrust that never began, to ask what it would do.
fn planned(new: &NewDistrust, now: Timestamp) -> Distrust {
    Distrust {
        id: DistrustId::new(now),
        orchestrator_id: new.orchestrator_id.clone(),
        since: new.since,
        whose: new.whose.clone(),
        depth: new.depth,
        cause: new.cause.clone(),
        suspended: false,
        phase: Phase::Tokens,
        done_to: String::new(),
        begun_at: now,
        tokens_dead_at: None,
        finished_at: None,
        lifted_at: None,
    }
}

/// Everything that would be done.
async fn list(db: &Db, planned: &Distrust, now: Timestamp, json: bool) -> Result<(), Failure> {
    let (mut after, mut counts) = (String::new(), [0_i64; 5]);
    loop {
        let (plan, from) = (planned.clone(), after.clone());
        let page = db.read(move |conn| takeover::preview(conn, &plan, &from, PAGE, now)).await?;
        show_page(&page, json)?;
        let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let more = [
            count(page.accounts.len()),
            count(page.frozen.len()),
            count(page.resources.len()),
            page.tokens,
            page.sessions,
        ];
        counts.iter_mut().zip(more).for_each(|(sum, one)| *sum = sum.saturating_add(one));
        match page.accounts.last() {
            Some(last) if count(page.accounts.len()) == PAGE => after = last.to_string(),
            _ => break,
        }
    }
    let [accounts, frozen, resources, tokens, sessions] = counts;
    if json {
        let told = json!({"accounts": accounts, "accounts_frozen": frozen, "resources_held_back": resources,
            "tokens_ended": tokens, "sessions_ended": sessions});
        return say(&json!({"plan": told}).to_string());
    }
    say(&format!(
        "{}: {tokens} tokens and {sessions} sessions end, {accounts} accounts spend nothing more through it, {frozen} accounts \
         are frozen, {resources} resources are held back",
        planned.whose.describe()
    ))
}

fn show_page(page: &Preview, json: bool) -> Result<(), Failure> {
    for account in &page.frozen {
        let told = json!({"kind": "account", "account": account});
        say(&if json { told.to_string() } else { format!("  freeze     {account}") })?;
    }
    for (account, resource) in &page.resources {
        let told = json!({"kind": "resource", "account": account, "resource": resource});
        say(&if json { told.to_string() } else { format!("  hold back  {resource}  of {account}") })?;
    }
    Ok(())
}

fn describe(one: &Distrust, json: bool) -> Result<(), Failure> {
    if json {
        let told = json!({
            "id": one.id, "orchestrator_id": one.orchestrator_id, "since": one.since, "whose": one.whose.describe(),
            "depth": one.depth.as_str(), "cause": one.cause, "phase": one.phase.as_str(), "begun_at": one.begun_at,
            "tokens_dead_at": one.tokens_dead_at, "finished_at": one.finished_at, "lifted_at": one.lifted_at,
        });
        return say(&told.to_string());
    }
    let state = match (one.lifted_at, one.finished_at) {
        (Some(at), _) => format!("lifted {at}"),
        (None, Some(at)) => format!("in force, done {at}"),
        (None, None) => format!("in force, working: {}", one.phase.as_str()),
    };
    say(&format!("{}  {} since {}  {}  by {}", one.id, one.whose.describe(), one.since, state, one.cause))
}

/// Every distrust of an orchestrator, newest first.
pub(crate) async fn distrusts(which: &str, db: &Db, json: bool) -> Result<(), Failure> {
    let (orchestrator, mut before) = (find(db, which).await?, None);
    loop {
        let (id, from) = (orchestrator.id.clone(), before.clone());
        let page = db.read(move |conn| orchestrator::distrusts_of(conn, &id, from.as_ref(), PAGE)).await?;
        for one in &page {
            describe(one, json)?;
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                before = Some(last.id.clone());
            }
            _ => return Ok(()),
        }
    }
}

pub(crate) async fn restore(args: RestoreArgs, db: &Db, json: bool) -> Result<(), Failure> {
    let wanted = args.distrust.clone();
    let found = db.read(move |conn| orchestrator::distrust_by_id(conn, &wanted)).await?;
    let distrust = found.ok_or_else(|| Failure::not_found(format!("there is no distrust {}", args.distrust)))?;
    let now = SystemClock.now();
    let one = match (&args.account, &args.spending, &args.resource) {
        (Some(account), _, _) => Some((ItemKind::Account, account.to_string())),
        (None, None, Some(resource)) => Some((ItemKind::Resource, resource.to_string())),
        _ => None,
    };
    if let Some((kind, subject)) = one {
        let (id, name) = (distrust.id.clone(), subject.clone());
        let item = db.read(move |conn| takeover::find_item(conn, &id, kind, &name)).await?;
        give(db, &distrust, item.ok_or_else(|| not_held(&subject))?, now, json).await?;
    }
    if let Some(account) = &args.spending {
        let (id, of) = (distrust.id.clone(), account.clone());
        let held = db.read(move |conn| takeover::items_of(conn, &id, &of)).await?;
        let item = held.into_iter().find(|item| item.kind == ItemKind::Spending);
        give(db, &distrust, item.ok_or_else(|| not_held(account.as_str()))?, now, json).await?;
    }
    if args.all {
        let count = takeover::restore_all(db, &distrust, OPERATOR, now).await?;
        say(&if json { json!({"restored": count}).to_string() } else { format!("{count} given back") })?;
    }
    if args.trust {
        let seen = distrust.clone();
        let lifted = db.write(HOUSE, move |conn| orchestrator::lift(conn, &seen, OPERATOR, now)).await;
        lifted.map_err(|error| match error {
            error @ (BeginError::Lifted | BeginError::Unfinished) => Failure::conflict(error.to_string()),
            error => error.into(),
        })?;
        let told = json!({"distrust": distrust.id, "lifted_at": now});
        say(&if json { told.to_string() } else { "Believed again from now on.".to_owned() })?;
    }
    if args.account.is_none() && args.spending.is_none() && args.resource.is_none() && !args.all && !args.trust {
        return list_items(db, &distrust, json).await;
    }
    Ok(())
}

fn not_held(subject: &str) -> Failure {
    Failure::not_found(format!("{subject} is not held back by this distrust: name nothing, and all items are listed"))
}

async fn give(db: &Db, distrust: &Distrust, item: Item, now: Timestamp, json: bool) -> Result<(), Failure> {
    if item.restored_at.is_some() {
        return Err(Failure::conflict(format!("{} was given back already", item.subject)));
    }
    let (seen, what) = (distrust.clone(), item.clone());
    let lane = item.account_id.to_string();
    let restored = db.write(&lane, move |conn| takeover::restore(conn, &seen, &what, OPERATOR, now)).await?;
    let free = restored == Restored::Free;
    if json {
        return say(&json!({"kind": item.kind.as_str(), "subject": item.subject, "free": free}).to_string());
    }
    let told = if free { "given back" } else { "given back by this one, and still held back by another" };
    say(&format!("{} {}: {told}", item.kind.as_str(), item.subject))
}

async fn list_items(db: &Db, distrust: &Distrust, json: bool) -> Result<(), Failure> {
    describe(distrust, json)?;
    let mut after: Option<Item> = None;
    loop {
        let (id, from) = (distrust.id.clone(), after.clone());
        let page = db.read(move |conn| takeover::items(conn, &id, from.as_ref(), PAGE)).await?;
        for item in &page {
            let told = json!({"kind": item.kind.as_str(), "account": item.account_id, "subject": item.subject,
                "was": item.was, "at": item.at, "restored_at": item.restored_at});
            let state = item.restored_at.map_or("held back".to_owned(), |at| format!("given back {at}"));
            let line = format!("  {:<9} {}  of {}  {state}", item.kind.as_str(), item.subject, item.account_id);
            say(&if json { told.to_string() } else { line })?;
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => after = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

/// Sums of one currency, in minor units.
#[derive(Default)]
struct Sums {
    held: i64,
    captured: i64,
    remaining: i64,
}

pub(crate) async fn blast_radius(args: BlastRadiusArgs, db: &Db, json: bool) -> Result<(), Failure> {
    let orchestrator = find(db, &args.issuer).await?;
    let now = SystemClock.now();
    let whom = match (args.key, args.subject, args.client) {
        (Some(key), _, _) => Whom::Key(key),
        (None, Some(subject), _) => Whom::Subject { tenant: None, subject },
        (None, None, Some(client)) => Whom::Client(client),
        (None, None, None) => Whom::All,
    };
    let since = args.since.as_deref().map(instant).transpose()?;
    let scope = Scope { orchestrator_id: orchestrator.id, whom, since };
    let (mut after, mut left) = (args.after.map_or_else(String::new, |after| after.to_string()), args.limit);
    let (mut accounts, mut resources, mut new, mut tokens) = (0_u64, 0_i64, 0_i64, 0_i64);
    let mut money: BTreeMap<String, Sums> = BTreeMap::new();
    loop {
        let (of, from) = (scope.clone(), after.clone());
        let page = db.read(move |conn| takeover::blast_radius(conn, &of, &from, PAGE, now)).await?;
        for reach in &page {
            if left > 0 {
                left -= 1;
                show_reach(reach, json)?;
            }
            accounts += 1;
            resources = resources.saturating_add(reach.resources);
            new = new.saturating_add(reach.resources_since);
            tokens = tokens.saturating_add(reach.tokens);
            if let Some(currency) = reach.currency {
                let sums = money.entry(currency.code().to_owned()).or_default();
                sums.held = sums.held.saturating_add(reach.held);
                sums.captured = sums.captured.saturating_add(reach.captured);
                sums.remaining = sums.remaining.saturating_add(reach.remaining);
            }
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                after = last.account_id.to_string();
            }
            _ => break,
        }
    }
    let sums: Value = money
        .iter()
        .map(|(currency, sums)| {
            json!({"currency": currency, "held": sums.held,
        "captured": sums.captured, "remaining": sums.remaining})
        })
        .collect();
    if json {
        let total = json!({"accounts": accounts, "resources": resources, "resources_since": new, "tokens": tokens, "money": sums});
        return say(&json!({"total": total}).to_string());
    }
    say(&format!("{accounts} accounts, {resources} resources ({new} of them new), {tokens} tokens"))?;
    for (currency, Sums { held, captured, remaining }) in &money {
        say(&format!(
            "{currency}, minor units: {held} held, {captured} captured, {remaining} could still be spent this month"
        ))?;
    }
    Ok(())
}

fn show_reach(reach: &Reach, json: bool) -> Result<(), Failure> {
    if json {
        let told = json!({
            "account": reach.account_id, "state": reach.state, "opened": reach.opened, "created_at": reach.created_at,
            "resources": reach.resources, "resources_since": reach.resources_since, "tokens": reach.tokens,
            "currency": reach.currency, "held": reach.held, "captured": reach.captured, "remaining": reach.remaining,
        });
        return say(&told.to_string());
    }
    let opened = if reach.opened { "opened by it" } else { "linked" };
    say(&format!(
        "{}  {:<11}  {opened:<12}  {} resources ({} new)  {} tokens  {} held  {} captured  {} left",
        reach.account_id,
        reach.state,
        reach.resources,
        reach.resources_since,
        reach.tokens,
        reach.held,
        reach.captured,
        reach.remaining
    ))
}
