//! `portreeve orchestrator blast-radius`: what an orchestrator, a key, a client or a person reaches.

use std::collections::BTreeMap;

use clap::Args;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::db::Db;
use portreeve::ids::AccountId;
use portreeve::takeover::{self, Reach, Scope, Whom};
use serde_json::{Value, json};

use super::takeover::{find, instant};
use super::{Failure, say};

/// How many accounts are read at once.
const PAGE: i64 = 100;

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

/// Sums of one currency, in minor units.
#[derive(Default)]
struct Sums {
    held: i64,
    captured: i64,
    remaining: i64,
}

/// Of everything that was read.
#[derive(Default)]
struct Total {
    accounts: u64,
    resources: i64,
    new: i64,
    tokens: i64,
    money: BTreeMap<String, Sums>,
}

impl Total {
    fn add(&mut self, reach: &Reach) {
        self.accounts += 1;
        self.resources = self.resources.saturating_add(reach.resources);
        self.new = self.new.saturating_add(reach.resources_since);
        self.tokens = self.tokens.saturating_add(reach.tokens);
        if let Some(currency) = reach.currency {
            let sums = self.money.entry(currency.code().to_owned()).or_default();
            sums.held = sums.held.saturating_add(reach.held);
            sums.captured = sums.captured.saturating_add(reach.captured);
            sums.remaining = sums.remaining.saturating_add(reach.remaining);
        }
    }

    fn say(&self, json: bool) -> Result<(), Failure> {
        let Self { accounts, resources, new, tokens, money } = self;
        if json {
            let told = |(currency, sums): (&String, &Sums)| json!({"currency": currency, "held": sums.held, "captured": sums.captured, "remaining": sums.remaining});
            let money: Value = money.iter().map(told).collect();
            let total = json!({"accounts": accounts, "resources": resources, "resources_since": new, "tokens": tokens,
                "money": money});
            return say(&json!({"total": total}).to_string());
        }
        say(&format!("{accounts} accounts, {resources} resources ({new} of them new), {tokens} tokens"))?;
        for (currency, Sums { held, captured, remaining }) in money {
            say(&format!(
                "{currency}, minor units: {held} held, {captured} captured or charged, {remaining} could still be spent this month"
            ))?;
        }
        Ok(())
    }
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
    let mut total = Total::default();
    loop {
        let (of, from) = (scope.clone(), after.clone());
        let page = db.read(move |conn| takeover::blast_radius(conn, &of, &from, PAGE, now)).await?;
        for reach in &page {
            if left > 0 {
                left -= 1;
                show_reach(reach, json)?;
            }
            total.add(reach);
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                after = last.account_id.to_string();
            }
            _ => return total.say(json),
        }
    }
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
        "{}  {:<11}  {opened:<12}  {} resources ({} new)  {} tokens  {} held  {} captured or charged  {} left",
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
