//! `portreeve orchestrator distrust`, `distrusts` and `restore`: when an orchestrator was compromised.

use clap::Args;
use portreeve::app::HOUSE;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::db::Db;
use portreeve::ids::{AccountId, DistrustId, ResourceId};
use portreeve::orchestrator::{self, BeginError, Depth, Distrust, NewDistrust, Orchestrator, Phase, WhoseDistrust};
use portreeve::takeover::{self, Bounds, Item, ItemKind, Preview, Restored};
use serde_json::json;

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

/// The orchestrator with this issuer, name or id.
pub(super) async fn find(db: &Db, which: &str) -> Result<Orchestrator, Failure> {
    let issuer = which.to_owned();
    match db.read(move |conn| orchestrator::by_issuer(conn, &issuer)).await? {
        Some(found) => Ok(found),
        None => super::orchestrator::find(db, which.to_owned()).await,
    }
}

pub(super) fn instant(text: &str) -> Result<Timestamp, Failure> {
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
        event_at: None,
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
        event_at: new.event_at,
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
        match page.next {
            Some(last) => after = last.to_string(),
            None => break,
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
        if page.is_empty() && before.is_none() && !json {
            return say("Nothing of it is or was distrusted.");
        }
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
