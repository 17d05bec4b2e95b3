//! Everything that the human sees before they claim an account: who made it, what programs may do, what there is and what
//! it cost.

use std::collections::BTreeMap;

use crate::account::{self, Account, Reach};
use crate::authorization::{self, Program, Scopes};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::OrchestratorId;
use crate::money::Amount;
use crate::orchestrator;
use crate::payment;
use crate::payment::budget::{self, Budget};
use crate::resource::{self, Resource, ResourceState};

/// How many resources are shown.
const RESOURCES: i64 = 100;

/// An orchestrator with its programs.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Which.
    pub orchestrator_id: OrchestratorId,
    /// Its name.
    pub name: String,
    /// Whether it opened the account.
    pub opened: bool,
    /// Since when.
    pub since: Timestamp,
    /// The programs that came through it under names of their own.
    pub programs: Vec<String>,
    /// When one of them last got a token.
    pub last_token_at: Option<Timestamp>,
    /// What it is allowed when it is kept.
    pub scopes: Scopes,
    /// How many resources it made that are not gone.
    pub resources: usize,
    /// What those cost in this period.
    pub spent: Amount,
}

/// What the human sees.
#[derive(Debug, Clone)]
pub struct View {
    /// The account.
    pub account: Account,
    /// Who acts on it, who opened it first.
    pub agents: Vec<Agent>,
    /// Clients that act in their own name.
    pub clients: Vec<String>,
    /// What there is and is not gone, newest first, with what it cost in this period.
    pub resources: Vec<(Resource, Amount)>,
    /// The budget at the orchestrator that opened it.
    pub budget: Budget,
}

/// Reads it all, at `now`.
///
/// # Errors
/// When the database fails.
pub fn view(conn: &mut DbConnection, account: &Account, now: Timestamp) -> Result<View, DbError> {
    let budget = budget::view(conn, &account.id, &account.opened_by, now)?;
    let spent = spent(conn, account, budget.own.period.start)?;
    let all = resource::list(conn, &account.id, None, RESOURCES)?;
    let living = all.into_iter().filter(|one| !matches!(one.state, ResourceState::Removed | ResourceState::Failed));
    let cost = |one: &Resource| spent.get(one.id.as_str()).copied().unwrap_or_default();
    let resources: Vec<(Resource, Amount)> = living.map(|one| (one.clone(), cost(&one))).collect();
    let programs = authorization::programs(conn, &account.id)?;
    let mut agents = Vec::new();
    for reach in account::reached_through(conn, &account.id)? {
        let name = orchestrator::by_id(conn, &reach.orchestrator_id)?.map(|known| known.name.to_string());
        agents.push(agent(&reach, name.unwrap_or_default(), account, &programs, &resources));
    }
    agents.sort_by_key(|agent| !agent.opened);
    let clients = authorization::own_clients(conn, &account.id)?;
    Ok(View { account: account.clone(), agents, clients, resources, budget })
}

fn spent(conn: &mut DbConnection, account: &Account, since: Timestamp) -> Result<BTreeMap<String, Amount>, DbError> {
    let mut minor: BTreeMap<String, i64> = BTreeMap::new();
    for (of, spent, _) in payment::spent_since(conn, &account.id, since)? {
        *minor.entry(of.unwrap_or_default()).or_default() += spent;
    }
    Ok(minor.into_iter().map(|(of, spent)| (of, Amount::from_minor(spent).unwrap_or_default())).collect())
}

fn agent(
    reach: &Reach,
    name: String,
    account: &Account,
    programs: &[Program],
    resources: &[(Resource, Amount)],
) -> Agent {
    let of_it: Vec<&Program> =
        programs.iter().filter(|program| program.orchestrator_id == reach.orchestrator_id).collect();
    let own_name = reach.orchestrator_id.as_str();
    let mine: Vec<&(Resource, Amount)> =
        resources.iter().filter(|(one, _)| one.orchestrator_id == reach.orchestrator_id).collect();
    let total: i64 = mine.iter().map(|(_, spent)| spent.minor()).sum();
    Agent {
        opened: reach.orchestrator_id == account.opened_by,
        since: reach.since,
        programs: of_it.iter().map(|one| one.client.clone()).filter(|client| client != own_name).collect(),
        last_token_at: of_it.iter().map(|one| one.last_token_at).max(),
        scopes: Scopes::known_of(&authorization::kept_scopes(reach)),
        resources: mine.len(),
        spent: Amount::from_minor(total).unwrap_or_default(),
        orchestrator_id: reach.orchestrator_id.clone(),
        name,
    }
}
