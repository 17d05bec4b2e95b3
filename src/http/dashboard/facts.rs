//! Everything that the overview shows, read together, and how it becomes the page.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;

use super::agent_facts;
use super::pages::{
    Activity, CapForm, Ceiling, CeilingKind, DaySpend, Frame, Ledger, LedgerRow, OverviewPage, Place, Provisional,
    ResourceCharge, ResourceRow, Resources,
};
use super::sidecars::reads_mailbox;
use super::trail::activity;
use crate::account::{Account, AccountState, Owner};
use crate::app::App;
use crate::audit::{self, RecordedFact};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::caller::{Empowered, User};
use crate::http::problem::Problem;
use crate::ids::AccountId;
use crate::money::{Amount, Money};
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
    /// What the agents of the trail are called, by how it names them.
    agents: HashMap<String, String>,
    now: Timestamp,
}

/// The ledger from its newest entry on.
pub(super) const NEWEST: (Place, i64) = (Place::Newest, i64::MAX);

/// Reads everything at one instant; of the ledger, a page of what lies before a sequence.
pub(super) async fn load(app: &App, user: &User, ledger: (Place, i64)) -> Result<Facts, Problem> {
    let (account, now) = (&user.session.account, user.now);
    let can_resume = Empowered::is(&user.session, now).is_ok();
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
        let agents = agent_facts::names(conn, &id, &trail)?;
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
            agents,
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
                highest: self.orchestrator.opening_ceiling(),
                buys_until: app.desk.unclaimed.buys_for.map(|buys_for| account.created_at.plus(buys_for)),
                max_resources: app.desk.unclaimed.max_resources,
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
                id: resource.id.to_string(),
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
                one => one.first().map(|fact| {
                    let told = activity(fact, account, &self.orchestrator, self.budget.own.currency);
                    match self.agents.get(&fact.actor) {
                        Some(name) => Activity { who: name.clone(), ..told },
                        None => told,
                    }
                }),
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
