//! What the pages of agents show, read together.

use std::collections::HashMap;

use serde_json::Value;
use url::Url;

use super::effects::powers;
use super::pages::{Act, AgentStanding, AgentView};
use crate::account::{self, Agent};
use crate::audit::{self, RecordedFact};
use crate::authorization::{self, ClientOrigin};
use crate::clock::{Period, Timestamp};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId};
use crate::money::{Amount, Currency, Money};
use crate::orchestrator::{self, Orchestrator};
use crate::payment::budget::{self, AgentMonth};
use crate::resource;

/// The name of an agent, and how far it is to be believed.
pub(super) struct Face {
    pub(super) name: String,
    pub(super) host: Option<String>,
    pub(super) unverified: bool,
}

/// What an agent is called: by the provider's own word, or by its own, which nobody checked.
pub(super) fn face(conn: &mut DbConnection, agent: &Agent, orchestrator: &Orchestrator) -> Result<Face, DbError> {
    let client = &agent.key.client;
    let host = |address: &str| address.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
    if client == orchestrator.id.as_str() {
        let host = host(orchestrator.issuer.as_str());
        return Ok(Face { name: orchestrator.name.to_string(), host, unverified: false });
    }
    if let Some(host) = client.starts_with("https://").then(|| host(client)).flatten() {
        let name = agent.name.clone().filter(|name| *name != host);
        let unverified = name.is_some();
        return Ok(Face { name: name.unwrap_or_else(|| host.clone()), host: Some(host), unverified });
    }
    let known = authorization::registered_client(conn, client)?;
    let unverified = known.as_ref().is_none_or(|known| known.origin != ClientOrigin::Operator);
    let name = known.map(|known| known.called()).or_else(|| agent.name.clone()).unwrap_or_else(|| client.clone());
    Ok(Face { name, host: None, unverified })
}

/// The orchestrator of an agent; there always is one.
pub(super) fn orchestrator_of(conn: &mut DbConnection, agent: &Agent) -> Result<Orchestrator, DbError> {
    let found = orchestrator::by_id(conn, &agent.key.orchestrator_id)?;
    Ok(found.ok_or(diesel::result::Error::NotFound)?)
}

/// What the agents that a trail names are called.
pub(super) fn names(
    conn: &mut DbConnection,
    account: &AccountId,
    trail: &[RecordedFact],
) -> Result<HashMap<String, String>, DbError> {
    let mut names = HashMap::new();
    for actor in trail.iter().map(|fact| &fact.actor) {
        let Some(Ok(id)) = actor.strip_prefix("agent:").map(str::parse::<AgentId>) else { continue };
        if names.contains_key(actor) {
            continue;
        }
        if let Some(agent) = account::agent_by_id(conn, account, &id)? {
            let orchestrator = orchestrator_of(conn, &agent)?;
            names.insert(actor.clone(), face(conn, &agent, &orchestrator)?.name);
        }
    }
    Ok(names)
}

/// Everything about agents that their rows say.
pub(super) fn views(conn: &mut DbConnection, agents: &[Agent], now: Timestamp) -> Result<Vec<AgentView>, DbError> {
    let Some(account) = agents.first().map(|agent| agent.key.account_id.clone()) else { return Ok(Vec::new()) };
    let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
    let spent = budget::spent_by_agents(conn, &account, &ids)?;
    agents.iter().map(|agent| view(conn, agent, &spent, now)).collect()
}

fn view(conn: &mut DbConnection, agent: &Agent, spent: &[AgentMonth], now: Timestamp) -> Result<AgentView, DbError> {
    let orchestrator = orchestrator_of(conn, agent)?;
    let Face { name, host, unverified } = face(conn, agent, &orchestrator)?;
    let allowed = authorization::powers(conn, agent, now)?;
    let made = resource::made_since(conn, &agent.key, Timestamp::from_seconds(0))?;
    let acts = audit::count_by_actor(conn, &agent.key.account_id, &actor(&agent.id))?;
    let month = Period::month_of(now).start;
    let own = || spent.iter().filter(|row| row.agent == agent.id.as_str());
    Ok(AgentView {
        spent_month: added(own().filter(|row| row.start == month).map(|row| (row.currency, row.spent))),
        spent_ever: added(own().map(|row| (row.currency, row.spent))),
        held: added(own().map(|row| (row.currency, row.held))),
        id: agent.id.to_string(),
        name,
        host,
        unverified,
        orchestrator: orchestrator.name.to_string(),
        standing: standing(agent),
        powers: powers(&allowed),
        cap: agent.cap,
        made,
        changes: (acts - made).max(0),
        since: agent.created_at,
        used_at: agent.used_at,
    })
}

/// Whether an agent may act.
pub(super) fn standing(agent: &Agent) -> AgentStanding {
    match (agent.revoked_at, agent.paused_at) {
        (Some(at), _) => AgentStanding::Ended(at),
        (None, Some(at)) => AgentStanding::Paused(at),
        (None, None) => AgentStanding::Going,
    }
}

/// Sums, each currency apart; nothing of what is nothing.
fn added(rows: impl Iterator<Item = (Currency, Amount)>) -> Vec<Money> {
    let mut sums: Vec<Money> = Vec::new();
    for (currency, amount) in rows.filter(|(_, amount)| Amount::ZERO < *amount) {
        match sums.iter_mut().find(|sum| sum.currency == currency) {
            Some(sum) => sum.amount = sum.amount.checked_add(amount).unwrap_or(sum.amount),
            None => sums.push(Money { amount, currency }),
        }
    }
    sums
}

/// How the trail names an agent.
pub(super) fn actor(id: &AgentId) -> String {
    format!("agent:{id}")
}

/// What an agent did, in words.
pub(super) fn act(fact: &RecordedFact) -> Act {
    let text = |name: &str| fact.detail.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let money = || {
        let amount = fact.detail.get("amount").and_then(Value::as_i64).filter(|minor| 0 < *minor);
        let amount = amount.and_then(|minor| Amount::from_minor(minor).ok());
        let currency = text("currency").parse::<Currency>().ok();
        amount.zip(currency).map(|(amount, currency)| format!(" for {}", Money { amount, currency }))
    };
    let what = match fact.action.as_str() {
        "resource.bought" => format!("Bought {}{}", text("title"), money().unwrap_or_default()),
        "resource.change_wanted" => {
            format!("Asked to change {} to {}{}", text("from"), text("to"), money().unwrap_or_default())
        }
        "resource.remove_wanted" => format!("Removed {}", text("name")),
        "resource.rotate_wanted" => format!("Asked for new credentials of {}", text("name")),
        "dashboard.link_made" => "Made a link that logs in to this dashboard".to_owned(),
        other => other.replace(['.', '_'], " "),
    };
    Act { at: fact.at, what }
}
