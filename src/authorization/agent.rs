//! What an agent may do, and taking that away: one scope, for a while, or all of it. Every token is written down here, so
//! that none comes of an agent that its owner barred or narrowed.

use super::consent_grant::revoke_consent;
use super::grant::Grant;
use super::scope::{Scope, Scopes};
use super::{agent_store, store};
use crate::account::{self, AdmitError, Agent, AgentKey, Barred};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId, OrchestratorId};

/// How many rows are ended in one turn.
const PIECE: i64 = 500;

/// Why a token is not written down. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The owner said so.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// It allows something else than what the owner leaves the agent now: that changed since the token was made.
    #[error("what this agent may do has changed")]
    Narrowed,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<AdmitError> for EnterError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Barred(barred) => Self::Barred(barred),
            AdmitError::Db(error) => Self::Db(error),
        }
    }
}

/// A stored word that is none of ours.
fn impossible(agent: &Agent) -> DbError {
    let text = format!("table `agents`, row {}: `scope` holds a value that is none", agent.id);
    DbError::from(diesel::result::Error::DeserializationError(text.into()))
}

fn ceiling(agent: &Agent) -> Result<Option<Scopes>, DbError> {
    agent.scope.as_deref().map(|scope| scope.parse().map_err(|_unknown| impossible(agent))).transpose()
}

/// Lets the agent of a grant through, before anything else is locked for it.
pub(super) fn admit(conn: &mut DbConnection, grant: &Grant, now: Timestamp) -> Result<(), EnterError> {
    let agent = account::admit(conn, &grant.agent(), now)?;
    match ceiling(&agent)? {
        Some(ceiling) if !ceiling.contains_all(&grant.scopes) => Err(EnterError::Narrowed),
        _ => Ok(()),
    }
}

/// The same of a grant that is only now cut to what the owner left its agent. Nothing may be left of it then.
pub(super) fn admit_narrowed(conn: &mut DbConnection, grant: &mut Grant, now: Timestamp) -> Result<(), EnterError> {
    let agent = account::admit(conn, &grant.agent(), now)?;
    if let Some(ceiling) = ceiling(&agent)? {
        grant.scopes = grant.scopes.intersection(&ceiling);
    }
    Ok(())
}

/// Lets an agent through that does something now, if its owner left it `scope`: a request may have been let in before it was
/// narrowed, and its body may come later. The account is locked before the agent, as everywhere. Call it inside `Db::write`.
///
/// # Errors
/// When the agent was barred or narrowed, or the database fails.
pub fn act(conn: &mut DbConnection, key: &AgentKey, scope: Scope, now: Timestamp) -> Result<Agent, EnterError> {
    let agent = account::act(conn, key, now)?;
    match ceiling(&agent)? {
        Some(ceiling) if !ceiling.contains(scope) => Err(EnterError::Narrowed),
        _ => Ok(agent),
    }
}

/// Writes a grant down that rests on an orchestrator's word alone, to whatever client. It must allow, of `asked`, neither more
/// nor less than the owner left the client and the orchestrator itself, which must not come back as another client of its
/// choice (of an ID-JAG it names any).
pub(super) fn enter_on_word(
    conn: &mut DbConnection,
    grant: &Grant,
    asked: &Scopes,
    now: Timestamp,
) -> Result<(), EnterError> {
    let mut left = asked.clone();
    let speaker = AgentKey { client: grant.orchestrator_id.to_string(), ..grant.agent() };
    if speaker.client != grant.client {
        account::lock(conn, std::slice::from_ref(&grant.account_id))?;
        if let Some(agent) = account::agent_by_key(conn, &speaker)? {
            if let Some(barred) = agent.barred() {
                return Err(barred.into());
            }
            left = left_by(&agent, left)?;
        }
    }
    let agent = account::admit(conn, &grant.agent(), now)?;
    if left_by(&agent, left)? != grant.scopes {
        return Err(EnterError::Narrowed);
    }
    Ok(store::insert(conn, grant).map_err(DbError::from)?)
}

/// What is left of `scopes` for an agent from which its owner may have taken some.
pub(super) fn narrowed(
    conn: &mut DbConnection,
    (account, orchestrator, client): (&AccountId, &OrchestratorId, &str),
    scopes: Scopes,
) -> Result<Scopes, DbError> {
    let key =
        AgentKey { account_id: account.clone(), orchestrator_id: orchestrator.clone(), client: client.to_owned() };
    let Some(agent) = account::agent_by_key(conn, &key)? else { return Ok(scopes) };
    left_by(&agent, scopes)
}

/// What is left of `scopes` for a client for which an orchestrator speaks: no more than is left to either.
pub(super) fn narrowed_on_word(
    conn: &mut DbConnection,
    (account, orchestrator, client): (&AccountId, &OrchestratorId, &str),
    scopes: Scopes,
) -> Result<Scopes, DbError> {
    let left = narrowed(conn, (account, orchestrator, client), scopes)?;
    if client == orchestrator.as_str() {
        return Ok(left);
    }
    narrowed(conn, (account, orchestrator, orchestrator.as_str()), left)
}

fn left_by(agent: &Agent, scopes: Scopes) -> Result<Scopes, DbError> {
    Ok(match ceiling(agent)? {
        Some(ceiling) => scopes.intersection(&ceiling),
        None => scopes,
    })
}

/// The owner allowed `scopes` on a page of ours: these come back to what the agent may do. What else was taken from it stays
/// taken; of an agent that was ended nothing else is left. Call it inside `Db::write`.
pub(super) fn welcome(
    conn: &mut DbConnection,
    key: &AgentKey,
    (name, scopes): (Option<&str>, &Scopes),
    now: Timestamp,
) -> Result<AgentId, DbError> {
    let left = |known: &Agent| {
        let before = if known.revoked_at.is_some() { Some(Scopes::default()) } else { ceiling(known)? };
        let left = before.map(|before| before.union(scopes)).filter(|left| *left != Scopes::all());
        Ok(left.map(|left| left.to_string()))
    };
    account::welcome(conn, key, (name, scopes.contains(Scope::ResourcesWrite)), left, now)
}

/// What an agent may do now: what was consented to, or, where nobody was asked, what its orchestrator may have.
///
/// # Errors
/// When the database fails.
pub fn powers(conn: &mut DbConnection, agent: &Agent, now: Timestamp) -> Result<Scopes, DbError> {
    let mut words = agent_store::consented(conn, &agent.key)?;
    if words.is_empty() {
        words = agent_store::living(conn, &agent.key, now)?;
        let by_link = agent.key.client == agent.key.orchestrator_id.as_str() || !words.is_empty();
        if by_link {
            for link in account::links_of(conn, &agent.key.account_id)? {
                if link.orchestrator_id == agent.key.orchestrator_id {
                    words.push(link.scopes.unwrap_or_else(|| Scopes::all().to_string()));
                }
            }
        }
    }
    let all = Scopes::known_of(&words.join(" "));
    Ok(match (agent.revoked_at, ceiling(agent)?) {
        (Some(_), _) => Scopes::known_of(""),
        (None, Some(ceiling)) => all.intersection(&ceiling),
        (None, None) => all,
    })
}

/// Why a scope was not dropped. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NarrowError {
    /// The account has no such agent.
    #[error("the account has no such agent")]
    Unknown,
    /// It would be left with nothing: then it is to be ended.
    #[error("nothing would be left for the agent to do: end it instead")]
    Nothing,
    /// Somebody else changed it at the same moment.
    #[error("the agent was changed at the same moment")]
    Changed,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for NarrowError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Takes a scope from an agent. Tokens that allow it end; refresh tokens go on without it. Call it inside `Db::write`.
///
/// # Errors
/// See [`NarrowError`].
pub fn drop_scope(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &AgentId),
    scope: Scope,
    now: Timestamp,
) -> Result<(), NarrowError> {
    let agent = account::agent_by_id(conn, account, id)?.ok_or(NarrowError::Unknown)?;
    let before = ceiling(&agent)?.unwrap_or_else(Scopes::all);
    let left = before.filtered(|known| known != scope);
    if left == before {
        return Ok(());
    }
    if powers(conn, &agent, now)?.filtered(|known| known != scope).is_empty() {
        return Err(NarrowError::Nothing);
    }
    if !account::narrow_agent(conn, &agent, &left.to_string(), scope.as_str(), now)? {
        return Err(NarrowError::Changed);
    }
    Ok(agent_store::revoke_grants_with(conn, &agent.key, scope, now)?)
}

/// Ends everything that an agent may do: what was consented to, tokens, refresh tokens, codes. Answers whether this call
/// did it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn revoke_agent(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &AgentId),
    by: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    let Some(agent) = account::agent_by_id(conn, account, id)? else { return Ok(false) };
    if !account::end_agent(conn, account, id, by, now)? {
        return Ok(false);
    }
    let actor = format!("user:{account}");
    loop {
        let living = agent_store::consents_of(conn, &agent.key, PIECE)?;
        for consent in &living {
            revoke_consent(conn, consent, (&actor, "the agent was ended"), now)?;
        }
        if i64::try_from(living.len()).is_ok_and(|count| count < PIECE) {
            break;
        }
    }
    agent_store::end_all(conn, &agent.key, now)?;
    Ok(true)
}

/// Ends all agents of an account. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn revoke_all_agents(
    conn: &mut DbConnection,
    account: &AccountId,
    by: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    let mut before: Option<AgentId> = None;
    loop {
        let agents = account::agents_of(conn, account, before.as_ref(), PIECE)?;
        for agent in &agents {
            revoke_agent(conn, (account, &agent.id), by, now)?;
        }
        before = agents.last().map(|agent| agent.id.clone());
        if i64::try_from(agents.len()).is_ok_and(|count| count < PIECE) {
            return Ok(());
        }
    }
}

/// The words about its limits that a human saw for the newest standing consent of an agent.
///
/// # Errors
/// When the database fails.
pub fn consent_of(conn: &mut DbConnection, agent: &Agent) -> Result<Option<super::consent_grant::Consent>, DbError> {
    match agent_store::consents_of(conn, &agent.key, 1)?.first() {
        Some(id) => super::consent_store::by_id(conn, id),
        None => Ok(None),
    }
}
