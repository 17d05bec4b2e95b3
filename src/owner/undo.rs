//! "Revoke and undo the last hour": the agent ends, and what it bought within the hour goes, or is taken back where its
//! money was only set aside.

use chrono::TimeDelta;

use crate::account::{self, Agent};
use crate::authorization;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId};
use crate::money::Money;
use crate::payment::charge::ChargeState;
use crate::resource::{self, Resource, Unmaking};

/// How far back it reaches.
pub const UNDO_REACH: TimeDelta = TimeDelta::hours(1);
/// How many are listed; all are undone.
const LISTED: i64 = 100;

/// One resource that would go.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Which.
    pub resource: Resource,
    /// What becomes of it.
    pub becomes: Unmaking,
    /// What it cost at once, and whether that is taken already: then it does not come back.
    pub paid: Option<(Money, bool)>,
}

/// What would be undone.
#[derive(Debug, Clone)]
pub struct Undo {
    /// Whose doing.
    pub agent: Agent,
    /// Newest first.
    pub reach: Vec<Reach>,
    /// Whether there is more than is listed.
    pub more: bool,
}

/// What undoing would reach at `now`.
///
/// # Errors
/// When the database fails.
pub fn undo_preview(conn: &mut DbConnection, agent: Agent, now: Timestamp) -> Result<Undo, DbError> {
    let made = resource::made_by(conn, &agent.key, now.minus(UNDO_REACH), LISTED)?;
    let more = i64::try_from(made.len()).is_ok_and(|count| count == LISTED);
    let mut reach = Vec::new();
    for resource in made {
        let charge = resource::charge_of(conn, &resource)?;
        let paid = charge.map(|(state, money)| (money, state == ChargeState::Captured));
        reach.push(Reach { becomes: resource::unmaking(&resource), resource, paid });
    }
    Ok(Undo { agent, reach, more })
}

/// Ends the agent, and notes what is to go: workers take it up. Repeating it reaches what was not there the first time.
/// Answers how much was newly noted. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn revoke_and_undo(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &AgentId),
    now: Timestamp,
) -> Result<usize, DbError> {
    let Some(agent) = account::agent_by_id(conn, account, id)? else { return Ok(0) };
    // First the agent: its row is locked by each purchase, so that none comes after this that is not seen.
    authorization::revoke_agent(conn, (account, id), "owner", now)?;
    resource::unwant_made_by(conn, &agent.key, now.minus(UNDO_REACH), now)
}
