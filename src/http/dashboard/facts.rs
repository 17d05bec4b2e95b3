//! Everything that the overview shows, read together, and how it becomes the page.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::Value;

use super::pages::{
    Activity, CapForm, Ceiling, CeilingKind, DaySpend, Frame, Ledger, LedgerRow, OverviewPage, Place, Provisional,
    ResourceCharge, ResourceRow, Resources,
};
use super::sidecars::reads_mailbox;
use crate::account::{Account, AccountState, Owner};
use crate::app::App;
use crate::audit::{self, RecordedFact};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::caller::{LoggedIn, User};
use crate::http::problem::Problem;
use crate::ids::AccountId;
use crate::login::{Method, UnknownMethod};
use crate::money::{Amount, Currency, Money};
use crate::orchestrator::{self, Orchestrator};
use crate::payment;
use crate::payment::budget::{self, Budget};
use crate::payment::charge::ChargeState;
use crate::payment::hold::CounterKind;
use crate::payment::ledger_entry::LedgerEntry;
use crate::resource::{self, Resource};
use crate::sidecar;

const LEDGER_ROWS: i64 = 10;
const RESOURCE_ROWS: i64 = 50;
/// Facts that are read; log-ins are folded, so that more come than are shown.
const TRAIL_ROWS: i64 = 100;
const ACTIVITY_ROWS: usize = 12;

/// What the page shows.
pub(super) struct Facts {
    pub(super) budget: Budget,
    orchestrator: Orchestrator,
    resources: Vec<(Resource, Option<(ChargeState, Money)>)>,
    spent: Vec<(Option<String>, i64, Timestamp)>,
    entries: Vec<LedgerEntry>,
    place: Place,
    can_resume: bool,
    sidecars: usize,
    trail: Vec<RecordedFact>,
    now: Timestamp,
}

/// The ledger from its newest entry on.
pub(super) const NEWEST: (Place, i64) = (Place::Newest, i64::MAX);

/// Reads everything at one instant; of the ledger, a page of what lies before a sequence.
pub(super) async fn load(app: &App, user: &User, ledger: (Place, i64)) -> Result<Facts, Problem> {
    let (account, now) = (&user.session.account, user.now);
    let can_resume = user.session.proves_human(LoggedIn::WITHIN, now).is_ok();
    let (id, opened_by) = (account.id.clone(), account.opened_by.clone());
    // An agent with a link of its own must not learn of what waits for its human.
    let reads_mailbox = can_resume.then(|| reads_mailbox(&user.session, now));
    let (place, before) = ledger;
    let facts = app.db.read(move |conn| {
        let budget = budget::view(conn, &id, &opened_by, now)?;
        let orchestrator = orchestrator::by_id(conn, &opened_by)?.ok_or(missing())?;
        let mut resources = Vec::new();
        for resource in resource::list(conn, &id, None, RESOURCE_ROWS)? {
            let charge = resource::charge_of(conn, &resource)?;
            resources.push((resource, charge));
        }
        let spent = payment::spent_since(conn, &id, budget.own.period.start)?;
        let entries = payment::entries_before(conn, &id, before, LEDGER_ROWS)?;
        let trail = audit::latest(conn, &id, TRAIL_ROWS)?;
        let sidecars = match reads_mailbox {
            Some(reads_mailbox) => sidecar::waiting(conn, Owner { account: &id, reads_mailbox })?,
            None => 0,
        };
        Ok::<_, DbError>(Facts {
            budget,
            orchestrator,
            resources,
            spent,
            entries,
            place,
            can_resume,
            sidecars,
            trail,
            now,
        })
    });
    Ok(facts.await?)
}

/// An account always names an orchestrator that exists: its absence is a broken database.
fn missing() -> DbError {
    DbError::Query(diesel::result::Error::NotFound)
}

impl Facts {
    /// The page, before anything was done on it.
    pub(super) fn page(&self, app: &App, account: &Account) -> OverviewPage {
        let own = &self.budget.own;
        let ceiling = |one: &budget::Ceiling| Ceiling {
            kind: match one.kind {
                CounterKind::PaymentToken => {
                    CeilingKind::PaymentToken { issuer: self.orchestrator.name.to_string(), last4: one.label.clone() }
                }
                _ => CeilingKind::Budget,
            },
            limit: one.ceiling,
            spent: one.spent,
            held: one.held,
            period: one.period,
        };
        OverviewPage {
            frame: Frame { provider: app.provider_name(), user: Some(name_of(account)) },
            now: self.now,
            period: own.period,
            currency: own.currency,
            budget: ceiling(own),
            ceilings: self.budget.tokens.iter().map(ceiling).collect(),
            stopped_at: self.budget.stopped_at,
            can_resume: self.can_resume,
            provisional: matches!(account.state, AccountState::Provisional).then(|| Provisional {
                opened_by: self.orchestrator.name.to_string(),
                opened_at: account.created_at,
                lower_cap: self.orchestrator.opening_ceiling() < self.orchestrator.monthly_ceiling,
            }),
            sidecars: self.sidecars,
            notice: None,
            used: None,
            cap_form: CapForm::default(),
            raise_form: CapForm::default(),
            resources: self.resources(),
            days: self.days(),
            ledger: self.ledger(),
            activity: self.activity(&account.id),
        }
    }

    /// To what the owner may raise the cap; `None`: to anything.
    pub(super) fn highest_cap(&self, account: &Account) -> Option<Amount> {
        let provisional = matches!(account.state, AccountState::Provisional);
        provisional.then(|| self.orchestrator.opening_ceiling())
    }

    fn resources(&self) -> Resources {
        let spent_on = |resource: &Resource| {
            let id = resource.id.as_str();
            let minor: i64 =
                self.spent.iter().filter(|(of, ..)| of.as_deref() == Some(id)).map(|(_, spent, _)| spent).sum();
            Amount::from_minor(minor).unwrap_or_default()
        };
        let rows = self.resources.iter().map(|(resource, charge)| {
            let spent = spent_on(resource);
            let charge = match charge {
                Some((ChargeState::Unknown, held)) => ResourceCharge::BeingConfirmed { spent, held: held.amount },
                _ => ResourceCharge::Spent(spent),
            };
            ResourceRow {
                name: resource.name.clone(),
                service: resource.service.clone(),
                plan: resource.plan.clone(),
                state: resource.state.as_str().to_owned(),
                reason: resource.state_reason.clone(),
                charge,
                created_at: resource.created_at,
            }
        });
        Resources { rows: rows.collect(), more: 0 }
    }

    /// What happened lately; log-ins in a row are one line, so that they hide nothing.
    fn activity(&self, account: &AccountId) -> Vec<Activity> {
        let is_log_in =
            |fact: &RecordedFact| matches!(fact.action.as_str(), "dashboard.link_made" | "dashboard.opened");
        self.trail
            .chunk_by(|one, next| is_log_in(one) && is_log_in(next))
            .filter_map(|facts| match facts {
                [latest, _, ..] => Some(log_ins(latest, facts)),
                one => one.first().map(|fact| activity(fact, account, &self.orchestrator, self.budget.own.currency)),
            })
            .take(ACTIVITY_ROWS)
            .collect()
    }

    fn days(&self) -> Vec<DaySpend> {
        let mut days: BTreeMap<NaiveDate, i64> = BTreeMap::new();
        for (_, spent, at) in &self.spent {
            if let Some(day) = at.date() {
                *days.entry(day).or_default() += spent;
            }
        }
        let spend = |(day, minor)| Amount::from_minor(minor).ok().map(|spent| DaySpend { day, spent });
        days.into_iter().filter_map(spend).collect()
    }

    fn ledger(&self) -> Ledger {
        let rows: Vec<LedgerRow> = self
            .entries
            .iter()
            .map(|entry| LedgerRow {
                sequence: entry.sequence,
                at: entry.at,
                kind: entry.kind.clone(),
                description: entry.description.clone(),
                held_change: entry.held_change,
                spent_change: entry.spent_change,
            })
            .collect();
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == LEDGER_ROWS);
        let older = rows.last().map(|last| last.sequence).filter(|last| full && 1 < *last);
        Ledger { rows, older, place: self.place }
    }
}

fn name_of(account: &Account) -> String {
    account.email.clone().unwrap_or_else(|| account.id.to_string())
}

/// Several log-in links and their use, in one line, under the time of the latest.
fn log_ins(latest: &RecordedFact, facts: &[RecordedFact]) -> Activity {
    let used = facts.iter().filter(|fact| fact.action == "dashboard.opened").count();
    let links = |count: usize| if count == 1 { "1 log-in link".to_owned() } else { format!("{count} log-in links") };
    let what = match facts.len() - used {
        0 => format!("{} used", links(used)),
        made if used == 0 => format!("{} made, none used", links(made)),
        made => format!("{} made, {used} used", links(made)),
    };
    Activity { at: latest.at, who: "This dashboard:".to_owned(), what }
}

fn how(method: &str) -> &'static str {
    match method.parse() {
        Ok(Method::MailLink) => "by a link in a mail",
        Ok(Method::Upstream) => "at the provider's own log-in",
        Ok(Method::Passkey) => "with a passkey",
        Ok(Method::DeepLink) | Err(UnknownMethod) => "",
    }
}

/// A fact of the trail in plain words.
fn activity(fact: &RecordedFact, account: &AccountId, orchestrator: &Orchestrator, currency: Currency) -> Activity {
    let text = |name: &str| fact.detail.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let money = |name: &str| {
        let amount = fact.detail.get(name).and_then(Value::as_i64).and_then(|minor| Amount::from_minor(minor).ok());
        amount.map(|amount| Money { amount, currency }.to_string()).unwrap_or_default()
    };
    // Whoever holds a log-in link can be at the dashboard: the trail says what is known, and not more.
    let here = fact.actor == format!("user:{account}");
    // What only somebody who logged in can do.
    let owner_only = matches!(
        fact.action.as_str(),
        "session.began"
            | "account.linked"
            | "sidecar.merged"
            | "sidecar.moved"
            | "sidecar.discarded"
            | "link.widened"
            | "link.denied"
            | "budget.raised"
            | "spending.resumed"
    ) || fact.action.starts_with("passkey.");
    let who = if fact.action == "session.began" || (here && owner_only) {
        "The owner".to_owned()
    } else if here {
        "This dashboard".to_owned()
    } else if fact.action == "dashboard.opened" {
        "Somebody".to_owned()
    } else if fact.actor.starts_with("client:") {
        "A program".to_owned()
    } else if fact.actor == "system" || fact.actor == "house" {
        "Portreeve".to_owned()
    } else if fact.action == "account.linked" || fact.action == "link.asked" {
        text("orchestrator")
    } else if fact.actor == "operator" {
        "The provider".to_owned()
    } else {
        orchestrator.name.to_string()
    };
    let what = match fact.action.as_str() {
        "account.opened" => "opened the account".to_owned(),
        "link.asked" => "asked to act for this account".to_owned(),
        "account.frozen" => "froze the account".to_owned(),
        "resource.linked" => "took a resource over into a project".to_owned(),
        "resource.change_wanted" => format!("asked to change {} to {}", text("from"), text("to")),
        "resource.changed" => format!("changed {}", text("name")),
        "resource.change_refused" => format!("could not change {}: {}", text("name"), text("reason")),
        "resource.credentials_rotated" => format!("made new credentials for {}", text("name")),
        "resource.rotation_refused" => {
            format!("could not make new credentials for {}: {}", text("name"), text("reason"))
        }
        "account.linked" if here => format!("allowed {} to act for this account", text("orchestrator")),
        "account.linked" => "was linked to this account by the provider's rule".to_owned(),
        "consent.given" => format!("allowed {} to act for this account", text("client_name")),
        "consent.refused" => format!("refused {}", text("client_name")),
        "consent.revoked" => format!("ended what a program was allowed: {}", text("reason")),
        "sidecar.merged" => {
            format!("merged the separate account that {} had opened into this one", text("orchestrator"))
        }
        "sidecar.moved" => {
            format!("moved things here from the separate account that {} had opened", text("orchestrator"))
        }
        "sidecar.discarded" => format!("discarded the separate account that {} had opened", text("orchestrator")),
        "link.widened" => format!("allowed {} to do more", text("orchestrator")),
        "link.denied" => format!("refused {}", text("orchestrator")),
        "resource.bought" if fact.detail.get("amount").and_then(Value::as_i64) == Some(0) => {
            format!("chose {}", text("title"))
        }
        "resource.bought" => format!("bought {} for {}", text("title"), money("amount")),
        "resource.ready" => format!("made {} ready", text("name")),
        "resource.failed" => format!("could not buy {}: {}", text("name"), text("reason")),
        "resource.removed" => format!("removed {}", text("name")),
        "resource.needs_attention" => format!("needs a human for {}", text("name")),
        "hold.settled" => format!("settled {} as {}", money("amount"), text("as")),
        "budget.raised" => format!("raised the cap from {} to {}", money("before"), money("after")),
        "passkey.added" => format!("added the passkey {}", text("name")),
        "passkey.removed" => format!("removed the passkey {}", text("name")),
        "budget.lowered" => format!("lowered the cap from {} to {}", money("before"), money("after")),
        "spending.stopped" => "stopped new spending".to_owned(),
        "spending.resumed" => "allowed new spending again".to_owned(),
        "dashboard.link_made" => "made a log-in link to this dashboard".to_owned(),
        "dashboard.opened" => "opened this dashboard with a log-in link".to_owned(),
        "session.began" => format!("logged in {}", how(&text("method"))),
        other => other.replace(['.', '_'], " "),
    };
    Activity { at: fact.at, who, what }
}
