//! What the human may change: lower the cap and stop new spending at any time; raise it and allow it again, logged in.

use serde_json::json;

use super::store;
use crate::account;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId, OrchestratorId};
use crate::money::{Amount, Money};

/// Why a budget was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeBudgetError {
    /// The new cap is not below the old one.
    #[error("the cap can only be lowered here: it is {0} now")]
    WouldRaise(Money),
    /// The new cap is not above the old one.
    #[error("the cap is {0} already")]
    WouldLower(Money),
    /// The new cap is above what the provider allows.
    #[error("the cap of an account that nobody has claimed is at most {0}")]
    TooHigh(Money),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for ChangeBudgetError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Lowers the cap. Works with the next decision, also below what is spent: then nothing more passes, and nothing that
/// exists is touched. Call it inside `Db::write`.
///
/// # Errors
/// When `ceiling` is not below the present cap, or the database fails.
pub fn lower(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    ceiling: Amount,
    now: Timestamp,
) -> Result<(), ChangeBudgetError> {
    store::lock_account(conn, account)?;
    let before = store::budget(conn, account, orchestrator)?;
    if !store::lower_budget(conn, account, orchestrator, ceiling, now)? {
        return Err(ChangeBudgetError::WouldRaise(Money { amount: before.ceiling, currency: before.currency }));
    }
    store::lower_open_counters(conn, account, orchestrator, ceiling, now)?;
    let detail = json!({"before": before.ceiling, "after": ceiling, "currency": before.currency});
    record(conn, account, "budget.lowered", detail, now)
}

/// Lowers what an agent may spend in a calendar month, with what it spent this month already. Works with the next decision.
/// Call it inside `Db::write`.
///
/// # Errors
/// When `cap` is not below what limits the agent now, or the database fails.
pub fn lower_agent(
    conn: &mut DbConnection,
    account: &AccountId,
    agent: &AgentId,
    cap: Money,
    now: Timestamp,
) -> Result<(), ChangeBudgetError> {
    if !account::lower_agent_cap(conn, account, agent, cap, now)? {
        let known = account::agent_by_id(conn, account, agent)?.and_then(|agent| agent.cap);
        return Err(ChangeBudgetError::WouldRaise(known.unwrap_or(cap)));
    }
    Ok(store::lower_agent_counter(conn, account, agent, cap.amount, now)?)
}

/// The open counter of an agent follows its cap, after its owner allowed it anew and forgot the cap: the page said what can be
/// spent, and that is so from now on. The account is locked by what allowed it. Call it in the same transaction.
///
/// # Errors
/// When the database fails.
pub fn follow_cap(conn: &mut DbConnection, agent: &account::AgentKey, now: Timestamp) -> Result<(), DbError> {
    let Some(agent) = account::agent_by_key(conn, agent)? else { return Ok(()) };
    let most = agent.cap.map_or_else(|| Amount::from_minor(i64::MAX).unwrap_or_default(), |cap| cap.amount);
    Ok(store::set_agent_counter(conn, &agent.key.account_id, &agent.id, most, now)?)
}

/// Raises the cap, for an owner who logged in just now, to at most `highest` where there is such a bound. Counters that
/// are closed by a stop stay closed. Call it inside `Db::write`.
///
/// # Errors
/// When `ceiling` is not above the present cap or is above `highest`, or the database fails.
pub fn raise(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    (ceiling, highest): (Amount, Option<Amount>),
    now: Timestamp,
) -> Result<(), ChangeBudgetError> {
    let stopped = store::lock_account(conn, account)?.is_some();
    let before = store::budget(conn, account, orchestrator)?;
    if let Some(highest) = highest.filter(|highest| *highest < ceiling) {
        return Err(ChangeBudgetError::TooHigh(Money { amount: highest, currency: before.currency }));
    }
    if !store::raise_budget(conn, account, orchestrator, ceiling, now)? {
        return Err(ChangeBudgetError::WouldLower(Money { amount: before.ceiling, currency: before.currency }));
    }
    if !stopped && before.stopped_at.is_none() {
        store::raise_open_counters(conn, account, orchestrator, ceiling, now)?;
    }
    let detail = json!({"before": before.ceiling, "after": ceiling, "currency": before.currency});
    record(conn, account, "budget.raised", detail, now)
}

/// Stops new spending: every budget counter that is open admits nothing more, and neither will new ones. What exists
/// goes on, and what is held may still be captured. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn stop_spending(
    conn: &mut DbConnection,
    account: &AccountId,
    by: &str,
    now: Timestamp,
) -> Result<(), ChangeBudgetError> {
    if store::set_stopped(conn, account, now)? {
        store::close_open_counters(conn, account, now)?;
        record(conn, account, "spending.stopped", json!({"by": by}), now)?;
    }
    Ok(())
}

/// Who allows spending again. An agent can make log-in links for the dashboard, so nobody with a mere link is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumedBy {
    /// The owner, who logged in.
    Owner,
    /// The operator, who knows whom he talks to.
    Operator,
}

/// Allows new spending again, up to the cap. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn resume_spending(
    conn: &mut DbConnection,
    account: &AccountId,
    by: ResumedBy,
    now: Timestamp,
) -> Result<(), ChangeBudgetError> {
    if store::set_going(conn, account)? {
        store::reopen_counters(conn, account, now)?;
        record(conn, account, "spending.resumed", json!({"by_operator": by == ResumedBy::Operator}), now)?;
    }
    Ok(())
}

fn record(
    conn: &mut DbConnection,
    account: &AccountId,
    action: &'static str,
    detail: serde_json::Value,
    now: Timestamp,
) -> Result<(), ChangeBudgetError> {
    let fact = Fact {
        actor: format!("user:{account}"),
        action,
        account_id: Some(account),
        subject: account.to_string(),
        detail,
    };
    Ok(audit::append(conn, &fact, now)?)
}
