//! Everything that programs hold on an account ends at once: what an account's human does when it becomes theirs.

use super::agent_store;
use super::reset_store as rows;
use super::scope::Scopes;
use crate::account::{self, Agent, Reach};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId, OrchestratorId};

/// How many agents are ended in one turn.
const PIECE: i64 = 500;

/// A program that acts on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// By which name: a client's id, or the orchestrator's own.
    pub client: String,
    /// When it last got a token.
    pub last_token_at: Timestamp,
}

/// The programs that have got tokens, the latest first; at most 64.
///
/// # Errors
/// When the database fails.
pub fn programs(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<Program>, DbError> {
    Ok(rows::programs(conn, account)?)
}

/// Clients that act on this account in their own name (RFC 6749 §4.4), as the operator registered them; at most 64.
///
/// # Errors
/// When the database fails.
pub fn own_clients(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<String>, DbError> {
    Ok(rows::own_clients(conn, account)?)
}

/// Ends the agents of an account, so that a request of theirs that is under way does nothing any more: all but clients in
/// `clients`, and programs of `orchestrators` for which nobody was asked. Call it before [`end_all`], inside the transaction that
/// has locked the account.
///
/// # Errors
/// When the database fails.
pub fn end_agents(
    conn: &mut DbConnection,
    account: &AccountId,
    (orchestrators, clients): (&[OrchestratorId], &[String]),
    now: Timestamp,
) -> Result<(), DbError> {
    let mut before: Option<AgentId> = None;
    loop {
        let agents = account::agents_of(conn, account, before.as_ref(), PIECE)?;
        for Agent { id, key, .. } in &agents {
            let kept = orchestrators.contains(&key.orchestrator_id) && agent_store::consented(conn, key)?.is_empty();
            if !kept && !clients.contains(&key.client) {
                account::end_agent(conn, account, id, "claim", now)?;
            }
        }
        before = agents.last().map(|agent| agent.id.clone());
        if i64::try_from(agents.len()).is_ok_and(|count| count < PIECE) {
            return Ok(());
        }
    }
}

/// Ends every code, consent, token and question on an account, and unbinds the clients that act in their own name, but
/// for those in `keep`. Call it inside the transaction that has locked the account.
///
/// # Errors
/// When the database fails.
pub fn end_all(conn: &mut DbConnection, account: &AccountId, keep: &[String], now: Timestamp) -> Result<(), DbError> {
    rows::end_questions(conn, account, now)?;
    rows::end_codes(conn, account, now)?;
    rows::end_consents(conn, account, now)?;
    // A token that is exchanged at this moment leaves a new one behind: the next look finds it.
    while rows::end_refresh_tokens(conn, account, now)? > 0 {}
    rows::end_grants(conn, account, now)?;
    Ok(rows::unbind_clients(conn, account, keep)?)
}

/// What an orchestrator of an account is allowed when its human keeps it: what was agreed before; where nobody was asked,
/// what programs could do until now.
#[must_use]
pub fn kept_scopes(reach: &Reach) -> String {
    reach.scopes.clone().unwrap_or_else(|| Scopes::all().to_string())
}

/// From now on an orchestrator may do this, or nothing, on an account.
///
/// # Errors
/// When the database fails.
pub fn allow_or_not(conn: &mut DbConnection, account: &AccountId, reach: &Reach, keep: bool) -> Result<(), DbError> {
    let scopes = if keep { kept_scopes(reach) } else { String::new() };
    account::allow_through(conn, (account, &reach.orchestrator_id), &scopes)
}
