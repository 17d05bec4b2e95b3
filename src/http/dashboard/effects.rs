//! What a client could do, in words and in groups, for the page that asks.

use super::pages::{Difference, Effect, Group, Note, Power};
use crate::authorization::{Before, Limits, PlanLine, Scope, Scopes};
use crate::catalog::Edition;
use crate::clock::Timestamp;
use crate::money::Money;

/// What is asked, and what the human decided before.
pub(super) struct Wishes<'a> {
    pub(super) scopes: &'a Scopes,
    /// What cannot be unticked.
    pub(super) required: &'a Scopes,
    pub(super) before: &'a Before,
    pub(super) limits: &'a Limits,
    /// The most that could be spent in a month; `None`: nothing can be spent.
    pub(super) monthly: Option<Money>,
    pub(super) edition: &'a Edition,
}

/// See, create, change, delete, spend: only groups that are not empty.
pub(super) fn groups(wishes: &Wishes<'_>) -> Vec<Group> {
    let mut groups = vec![
        Group {
            title: "See",
            effects: [
                wishes.tick(Scope::ResourcesRead, "the resources of this account, and how they are used"),
                wishes.tick(Scope::BudgetRead, "the budget and the ledger"),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
        Group {
            title: "Create",
            effects: wishes.tick(Scope::ResourcesWrite, &creates(wishes.limits, wishes.edition)).into_iter().collect(),
        },
        Group { title: "Change", effects: changes(wishes) },
        Group {
            title: "Delete",
            effects: wishes
                .tick(
                    Scope::ResourcesDelete,
                    "resources of this account, whoever created them; what is in them is lost",
                )
                .into_iter()
                .collect(),
        },
        Group { title: "Spend", effects: spends(wishes) },
    ];
    groups.retain(|group| !group.effects.is_empty());
    groups
}

fn changes(wishes: &Wishes<'_>) -> Vec<Effect> {
    let mut effects = Vec::new();
    if wishes.scopes.contains(Scope::ResourcesWrite) {
        let text = "what was created through it: its plan, and its credentials".to_owned();
        effects.push(Effect { text, scope: None, ticked: false, note: Some(Note::With("Create")) });
    }
    let dashboard = "one-use links that log a browser in to your dashboard, where it sees everything, and can lower the \
                     cap or stop new spending";
    effects.extend(wishes.tick(Scope::DashboardLink, dashboard));
    effects
}

/// What a purchase can cost is no scope: it goes with what creates.
fn spends(wishes: &Wishes<'_>) -> Vec<Effect> {
    let Some(monthly) = wishes.monthly else { return Vec::new() };
    let with = |text: String| Effect { text, scope: None, ticked: false, note: None };
    let most = format!(
        "up to {monthly} in a calendar month, with what it spends here already. A purchase above it is refused"
    );
    let first = Effect { note: Some(Note::With("Create")), ..with(most) };
    [first].into_iter().chain(money_words(wishes.limits).into_iter().map(with)).collect()
}

impl Wishes<'_> {
    /// One scope, when it is asked. What deletes or opens the dashboard begins unticked.
    fn tick(&self, scope: Scope, text: &str) -> Option<Effect> {
        if !self.scopes.contains(scope) {
            return None;
        }
        let allowed = self.before.allowed.contains(scope);
        let refused = self.before.refused.contains(scope);
        let free = !self.required.contains(scope);
        let ticked = !refused && (allowed || !scope.is_always_optional());
        let note = if !free {
            Some(Note::Needed)
        } else if refused {
            Some(Note::Refused)
        } else if allowed {
            Some(Note::Before)
        } else if !self.before.allowed.is_empty() {
            Some(Note::New)
        } else if free && !ticked {
            Some(Note::Off)
        } else {
            None
        };
        Some(Effect { text: text.to_owned(), scope: free.then(|| scope.as_str()), ticked, note })
    }
}

/// What is asked when nothing can be spent.
pub(super) fn asks(scopes: &Scopes) -> &'static str {
    if scopes.contains(Scope::ResourcesDelete) {
        "delete what is in your account"
    } else if scopes.iter().all(Scope::only_looks) {
        "look at your account"
    } else {
        "act for your account"
    }
}

/// What is new, when something was allowed before: scopes, and limits that are others than before.
pub(super) fn difference(wishes: &Wishes<'_>, new: Vec<String>, before: Vec<String>) -> Option<Difference> {
    let added = [words(&wishes.scopes.without(&wishes.before.allowed)), new].concat();
    let had = [words(&wishes.before.allowed), before].concat();
    (!added.is_empty() && !wishes.before.allowed.is_empty()).then_some(Difference { new: added, before: had })
}

/// Scopes in a few words each.
pub(super) fn words(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(|scope| short(scope).to_owned()).collect()
}

/// Each scope alone, as it can be taken away.
pub(super) fn powers(scopes: &Scopes) -> Vec<Power> {
    scopes.iter().map(|scope| Power { text: short(scope), scope: scope.as_str() }).collect()
}

/// A scope in a few words.
fn short(scope: Scope) -> &'static str {
    match scope {
        Scope::ResourcesRead => "see the resources",
        Scope::ResourcesWrite => "create resources",
        Scope::ResourcesDelete => "delete resources",
        Scope::BudgetRead => "see the budget",
        Scope::DashboardLink => "log in to the dashboard",
    }
}

/// What may be created: how many, and of what.
pub(super) fn creates(limits: &Limits, edition: &Edition) -> String {
    if !limits.plan.is_empty() {
        let count: u32 = limits.plan.iter().fold(0, |sum, line| sum.saturating_add(line.count));
        return format!("exactly the plan below: {}, and nothing else", things(count));
    }
    match (&limits.offers, limits.max_count) {
        (Some(offers), count) => {
            let names: Vec<String> = offers.iter().map(|(service, plan)| priced_name(edition, service, plan)).collect();
            let count = count.map_or_else(|| "only ".to_owned(), |count| format!("up to {} of: ", things(count)));
            format!("{count}{}", names.join(", "))
        }
        (None, Some(count)) => format!("up to {} of any kind", things(count)),
        (None, None) => "resources of any kind that the catalog sells".to_owned(),
    }
}

/// `1 resource`, `2 resources`.
pub(super) fn things(count: u32) -> String {
    if count == 1 { "1 resource".to_owned() } else { format!("{count} resources") }
}

/// `Postgres · Small ($9.00 a month)`; a name that the catalog does not have stands as it was sent.
fn priced_name(edition: &Edition, service: &str, plan: &str) -> String {
    match offer(edition, service, plan) {
        Some(offer) => format!("{} · {} ({})", offer.service_title, offer.plan.title, offer.plan.price),
        None => format!("{service}/{plan}"),
    }
}

pub(super) fn offer<'a>(edition: &'a Edition, service: &str, plan: &str) -> Option<&'a crate::catalog::Offer> {
    edition.plan(&service.parse().ok()?, &plan.parse().ok()?)
}

/// The limits of money beside the most of a month.
fn money_words(limits: &Limits) -> Vec<String> {
    let mut words = Vec::new();
    if let (Some(single), Some(month)) = (limits.single, limits.per_month) {
        words.push(format!("at most {} at once", Money { amount: single, currency: month.currency }));
    }
    if let Some(day) = limits.ends_at.and_then(Timestamp::to_datetime) {
        words.push(format!("nothing after {} UTC", day.format("%-d %b %Y %H:%M")));
    }
    words
}

/// Limits in words, for the difference.
pub(super) fn limit_words(limits: &Limits, edition: &Edition) -> Vec<String> {
    let mut words: Vec<String> =
        limits.per_month.map(|month| format!("spend up to {month} a month")).into_iter().collect();
    words.extend(money_words(limits));
    if !limits.plan.is_empty() {
        let lines: Vec<String> = limits.plan.iter().map(|line| of_line(line, edition)).collect();
        words.push(format!("create {}", lines.join(", ")));
    } else if limits.offers.is_some() || limits.max_count.is_some() {
        words.push(format!("create {}", creates(limits, edition)));
    }
    words
}

fn of_line(line: &PlanLine, edition: &Edition) -> String {
    let name = offer(edition, &line.service, &line.plan).map_or_else(
        || format!("{}/{}", line.service, line.plan),
        |offer| format!("{} · {}", offer.service_title, offer.plan.title),
    );
    format!("{} × {name}", line.count)
}
