//! Agents: the programs that act for an account, each known by its name at an orchestrator, and what the owner took from
//! each of them.
//!
//! Promises: a program that is paused or ended gets no token and buys nothing, whatever it holds; its row is locked by every
//! token and every purchase, so that nothing comes of it after it was barred. Nothing here gives more than there was, but
//! [`welcome`] and [`resume`], which are for owners who logged in.

use serde_json::json;

use super::{agent_store, store};
use crate::attestation::EmailTrust;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId, OrchestratorId};
use crate::mail;
use crate::money::Money;

/// The letter that tells the owner of a new agent.
pub const NOTICE: &str = "mail.agent_allowed";
/// How long a name may be that is kept, in characters.
const MAX_NAME: usize = 120;

/// By what an agent is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentKey {
    /// For whom it acts.
    pub account_id: AccountId,
    /// Through whom.
    pub orchestrator_id: OrchestratorId,
    /// Its name there: the id of an OAuth client, or the orchestrator's own id.
    pub client: String,
}

/// A program that acts for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Names it on pages.
    pub id: AgentId,
    /// By what it is known.
    pub key: AgentKey,
    /// What it called itself when its human was asked.
    pub name: Option<String>,
    /// Scopes beyond which nothing is given, as they are written; `None`: nothing was dropped.
    pub scope: Option<String>,
    /// The most that it may spend in a calendar month; `None`: only what limits the account.
    pub cap: Option<Money>,
    /// When it first got anything.
    pub created_at: Timestamp,
    /// When it last got a token or bought something.
    pub used_at: Timestamp,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Since when it may do nothing any more.
    pub revoked_at: Option<Timestamp>,
    /// From when on what it bought is to be undone, while not all of that is noted.
    pub undo_from: Option<Timestamp>,
}

/// Why an agent gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// Until its owner lets it go on.
    #[error("the owner of the account paused this agent")]
    Paused,
    /// Until its owner allows it anew.
    #[error("the owner of the account ended what this agent may do")]
    Revoked,
}

/// Why an agent was not let through. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Its owner said so.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for AdmitError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl Agent {
    /// Why it gets nothing, if so.
    #[must_use]
    pub fn barred(&self) -> Option<Barred> {
        match (self.revoked_at, self.paused_at) {
            (Some(_), _) => Some(Barred::Revoked),
            (None, Some(_)) => Some(Barred::Paused),
            (None, None) => None,
        }
    }
}

/// Lets an agent through that gets a token, or is new. Locks its row. Call it inside `Db::write`.
///
/// # Errors
/// See [`AdmitError`].
pub fn admit(conn: &mut DbConnection, key: &AgentKey, now: Timestamp) -> Result<Agent, AdmitError> {
    if let Some(agent) = agent_store::touch(conn, key, now)? {
        return Ok(agent);
    }
    // Nobody else makes the same agent at this moment.
    store::lock_account(conn, &key.account_id)?;
    match agent_store::by_key(conn, key)? {
        Some(agent) => match agent.barred() {
            Some(barred) => Err(barred.into()),
            None => Ok(agent_store::touch(conn, key, now)?.ok_or(diesel::result::Error::NotFound)?),
        },
        None => Ok(begin(conn, key, None, now)?),
    }
}

/// Lets an agent through that spends. The account is locked before the agent, as everywhere. Call it inside `Db::write`.
///
/// # Errors
/// See [`AdmitError`].
pub fn act(conn: &mut DbConnection, key: &AgentKey, now: Timestamp) -> Result<Agent, AdmitError> {
    store::lock_account(conn, &key.account_id)?;
    admit(conn, key, now)
}

fn begin(conn: &mut DbConnection, key: &AgentKey, name: Option<&str>, now: Timestamp) -> Result<Agent, DbError> {
    let agent = Agent {
        id: AgentId::new(now),
        key: key.clone(),
        name: name.map(|name| name.chars().take(MAX_NAME).collect()),
        scope: None,
        cap: None,
        created_at: now,
        used_at: now,
        paused_at: None,
        revoked_at: None,
        undo_from: None,
    };
    agent_store::insert(conn, &agent)?;
    announce(conn, &agent, now)?;
    Ok(agent)
}

/// Asks for the letter that tells the owner, where an address is known that is not merely said.
fn announce(conn: &mut DbConnection, agent: &Agent, now: Timestamp) -> Result<(), DbError> {
    let owner = store::by_id(conn, &agent.key.account_id)?;
    let reached = owner.is_some_and(|owner| {
        owner.email.is_some() && owner.email_trust.is_some_and(|trust| trust != EmailTrust::Unverified)
    });
    if reached {
        mail::post(conn, NOTICE, Some(&agent.key.account_id), &json!({"agent": agent.id}), now)?;
    }
    Ok(())
}

/// The owner, who logged in just now, allowed it something on a page. `left` says which scopes it has from then on, of what
/// the agent was; what the page did not show does not come back. Its cap is forgotten only where the page said what can be
/// spent (`spends`), or where it had been ended. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn welcome(
    conn: &mut DbConnection,
    key: &AgentKey,
    (name, spends): (Option<&str>, bool),
    left: impl FnOnce(&Agent) -> Result<Option<String>, DbError>,
    now: Timestamp,
) -> Result<AgentId, DbError> {
    store::lock_account(conn, &key.account_id)?;
    let Some(known) = agent_store::by_key(conn, key)? else { return Ok(begin(conn, key, name, now)?.id) };
    let cap = known.cap.filter(|_| !spends && known.revoked_at.is_none());
    let scope = left(&known)?;
    agent_store::reset(conn, key, (name.or(known.name.as_deref()), scope.as_deref(), cap), now)?;
    if known.revoked_at.is_some() {
        announce(conn, &known, now)?;
    }
    Ok(known.id)
}

/// Pauses an agent. Answers whether this call did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn pause(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    by: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let paused = agent_store::set_paused(conn, account, id, now)?;
    if paused {
        record(conn, account, id, ("agent.paused", by), json!({}), now)?;
    }
    Ok(paused)
}

/// Lets an agent go on that was paused, or come back that was ended: for an owner who logged in. What it held when it was
/// ended stays ended. Answers whether this call did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn resume(conn: &mut DbConnection, account: &AccountId, id: &AgentId, now: Timestamp) -> Result<bool, DbError> {
    let resumed = agent_store::set_going(conn, account, id)?;
    if resumed {
        record(conn, account, id, ("agent.resumed", "owner"), json!({}), now)?;
    }
    Ok(resumed)
}

/// Ends an agent's row; what it holds is for the caller to end in the same transaction. Answers whether this call did it.
///
/// # Errors
/// When the database fails.
pub fn end_agent(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    by: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let ended = agent_store::set_revoked(conn, account, id, now)?;
    if ended {
        record(conn, account, id, ("agent.revoked", by), json!({}), now)?;
    }
    Ok(ended)
}

/// Notes that what an agent bought from `from` on is to be undone. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn begin_undo(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    from: Timestamp,
    now: Timestamp,
) -> Result<(), DbError> {
    if agent_store::set_undo(conn, account, id, from)? {
        record(conn, account, id, ("agent.undone", "owner"), json!({"from": from.to_rfc3339()}), now)?;
    }
    Ok(())
}

/// All of it is noted. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end_undo(conn: &mut DbConnection, agent: &Agent) -> Result<(), DbError> {
    Ok(agent_store::clear_undo(conn, agent)?)
}

/// Narrows the scopes from `seen` to `to`. `false`: somebody else narrowed them meanwhile.
///
/// # Errors
/// When the database fails.
pub fn narrow_agent(
    conn: &mut DbConnection,
    agent: &Agent,
    to: &str,
    dropped: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let narrowed = agent_store::set_scope(conn, agent, to)?;
    if narrowed {
        let by = ("agent.narrowed", "owner");
        record(conn, &agent.key.account_id, &agent.id, by, json!({"dropped": dropped}), now)?;
    }
    Ok(narrowed)
}

/// Lowers what an agent may spend in a month. `false`: it is not lower than what there is. The account is locked, so that
/// no counter begins meanwhile.
///
/// # Errors
/// When the database fails.
pub fn lower_agent_cap(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    cap: Money,
    now: Timestamp,
) -> Result<bool, DbError> {
    store::lock_account(conn, account)?;
    let lowered = agent_store::lower_cap(conn, account, id, cap)?;
    if lowered {
        let detail = json!({"after": cap.amount, "currency": cap.currency});
        record(conn, account, id, ("agent.cap_lowered", "owner"), detail, now)?;
    }
    Ok(lowered)
}

fn record(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &AgentId,
    (action, by): (&'static str, &str),
    detail: serde_json::Value,
    now: Timestamp,
) -> Result<(), DbError> {
    let mut detail = detail;
    if let Some(members) = detail.as_object_mut() {
        members.insert("by".to_owned(), json!(by));
    }
    let fact =
        Fact { actor: format!("user:{account}"), action, account_id: Some(account), subject: id.to_string(), detail };
    Ok(audit::append(conn, &fact, now)?)
}
