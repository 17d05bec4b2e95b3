//! "Revoke and undo the last hour": the agent ends, and what it bought within the hour goes, or is taken back where its
//! money was only set aside.

use chrono::TimeDelta;

use crate::account::{self, Agent};
use crate::authorization;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, AgentId};
use crate::login;
use crate::money::Money;
use crate::payment::charge::ChargeState;
use crate::resource::{self, Resource, Unmaking};

/// How far back it reaches.
pub const UNDO_REACH: TimeDelta = TimeDelta::hours(1);
/// How many are listed; all are undone.
const LISTED: i64 = 100;
/// How many agents are looked at in one turn.
const BATCH: i64 = 64;
/// How far the clocks of our own processes may differ.
const OWN_SKEW: TimeDelta = TimeDelta::seconds(5);

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

/// Ends the agent, and notes that what it bought within the hour is to be undone: [`undo_due`] does the rest. Its row is
/// locked by each purchase, so that none comes after this. Repeating it is safe. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn revoke_and_undo(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &AgentId),
    from: Timestamp,
    now: Timestamp,
) -> Result<(), DbError> {
    login::end_opened_by_links(conn, account, None, now)?;
    authorization::revoke_agent(conn, (account, id), "owner", now)?;
    account::begin_undo(conn, account, id, from, now)
}

/// Marks what is to be undone, agent by agent, until all of it is marked; [`resource::remove_unwanted`] does the rest.
/// Answers how many agents that were.
///
/// # Errors
/// When the database fails; what is left is found again.
pub async fn undo_due(db: &Db, now: Timestamp) -> Result<usize, DbError> {
    let waiting = db.read(|conn| account::undoing(conn, BATCH)).await?;
    let count = waiting.len();
    for agent in waiting {
        mark(db, agent, now).await?;
    }
    Ok(count)
}

async fn mark(db: &Db, agent: Agent, now: Timestamp) -> Result<(), DbError> {
    let Some(from) = agent.undo_from else { return Ok(()) };
    // Not what it buys when its owner lets it come back.
    let until = agent.revoked_at.unwrap_or(from.plus(UNDO_REACH)).plus(OWN_SKEW);
    let within = (from, until.max(from.plus(UNDO_REACH).plus(OWN_SKEW)));
    loop {
        let key = agent.key.clone();
        let ids = db.read(move |conn| resource::wanted_of_agent(conn, &key, within, LISTED)).await?;
        if ids.is_empty() {
            break;
        }
        resource::unwant(db, &agent.key.account_id, ids, now).await?;
    }
    let lane = agent.key.account_id.to_string();
    db.write(&lane, move |conn| account::end_undo(conn, &agent)).await
}
