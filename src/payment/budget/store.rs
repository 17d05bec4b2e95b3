//! The tables `budgets`, `counters` (their ceilings; what moves them is `payment::hold`) and `payment_tokens`.

use diesel::prelude::*;

use crate::account;
use crate::clock::{Period, Timestamp};
use crate::db::schema::{accounts, budgets, counters, payment_tokens};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, AgentId, CounterId, OrchestratorId, PaymentTokenId, ResourceId};
use crate::money::{Amount, Currency};
use crate::payment::hold::CounterKind;
use crate::payment::hold_store::{NewCounter, open_counter};
use crate::payment::token::{PaymentToken, Recurrence};
use crate::secret::SecretHash;

/// What the human set.
pub(super) struct StoredBudget {
    pub(super) currency: Currency,
    pub(super) ceiling: Amount,
    /// Since when nothing new is spent through its orchestrator.
    pub(super) stopped_at: Option<Timestamp>,
}

/// A payment token that was accepted before.
#[derive(Debug, Clone)]
pub struct TokenFacts {
    /// Ours.
    pub id: PaymentTokenId,
    /// What people see of it.
    pub last4: String,
    /// Of what.
    pub currency: Currency,
    /// The most it pays in its period.
    pub max_amount: Amount,
    /// How the limit counts.
    pub recurrence: Recurrence,
    /// When it was first used here.
    pub created_at: Timestamp,
    /// From then on it pays nothing.
    pub expires_at: Timestamp,
    /// The token, sealed for [`crate::payment::cashier::token_place`].
    pub sealed: String,
}

/// A counter that a spending must pass.
#[derive(Debug, Clone)]
pub struct CounterFacts {
    /// The row.
    pub id: CounterId,
    /// Which kind of limit.
    pub kind: CounterKind,
    /// Of what.
    pub currency: Currency,
    /// How much of the limit was used up in another account, before what it limits came here.
    carried: Amount,
}

/// The most that one metered resource may cost in a calendar month.
#[derive(Debug, Clone, Copy)]
pub struct PlanLimit<'a> {
    /// Which resource.
    pub resource_id: &'a ResourceId,
    /// Of what.
    pub currency: Currency,
    /// How much.
    pub per_month: Amount,
}

/// The most that one agent may spend in a calendar month, as its human allowed it.
#[derive(Debug, Clone)]
pub struct AgentLimit {
    /// Names what was allowed.
    pub id: String,
    /// Of what.
    pub currency: Currency,
    /// How much.
    pub per_month: Amount,
}

/// What a spending must pass besides the account's budget.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Who spends: everything that it spends is counted.
    pub acting: Option<&'a AgentId>,
    /// The limit of the payment token.
    pub token: Option<&'a TokenFacts>,
    /// The plan's own.
    pub plan: Option<&'a PlanLimit<'a>>,
    /// The agent's.
    pub agent: Option<&'a AgentLimit>,
}

pub(super) fn budget(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> Result<StoredBudget, DbError> {
    let (currency, ceiling, stopped_at) = budgets::table
        .find((account, orchestrator))
        .select((budgets::currency, budgets::ceiling, budgets::stopped_at))
        .first::<(Currency, Amount, Option<Timestamp>)>(conn)?;
    Ok(StoredBudget { currency, ceiling, stopped_at })
}

/// Spent and held of one counter; a counter that was never needed has none of either.
pub(super) fn counted(
    conn: &mut DbConnection,
    account: &AccountId,
    kind: CounterKind,
    subject: &str,
    period_start: Timestamp,
) -> Result<(Amount, Amount), DbError> {
    let found = counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq(kind.as_str()))
        .filter(counters::subject.eq(subject))
        .filter(counters::period_start.eq(period_start))
        .select((counters::spent, counters::held))
        .first(conn)
        .optional()?;
    Ok(found.unwrap_or((Amount::ZERO, Amount::ZERO)))
}

pub(super) fn stopped_at(conn: &mut DbConnection, account: &AccountId) -> Result<Option<Timestamp>, DbError> {
    Ok(accounts::table.find(account).select(accounts::spending_stopped_at).first(conn)?)
}

/// A write that changes nothing, so that whoever changes this account's ceilings waits for the others.
pub(super) fn lock_account(conn: &mut DbConnection, account: &AccountId) -> Result<Option<Timestamp>, DbError> {
    Ok(diesel::update(accounts::table.find(account))
        .set(accounts::changed_at.eq(accounts::changed_at))
        .returning(accounts::spending_stopped_at)
        .get_result(conn)?)
}

pub(super) fn lower_budget(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    ceiling: Amount,
    now: Timestamp,
) -> QueryResult<bool> {
    let changed = diesel::update(budgets::table.find((account, orchestrator)).filter(budgets::ceiling.gt(ceiling)))
        .set((budgets::ceiling.eq(ceiling), budgets::changed_at.eq(now)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Counters whose period has not ended take the new ceiling where it is lower; a stopped one stays closed.
pub(super) fn lower_open_counters(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    ceiling: Amount,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::update(
        counters::table
            .filter(counters::account_id.eq(account))
            .filter(counters::kind.eq(CounterKind::Budget.as_str()))
            .filter(counters::subject.eq(orchestrator.as_str()))
            .filter(counters::period_end.gt(now))
            .filter(counters::ceiling.gt(ceiling)),
    )
    .set(counters::ceiling.eq(ceiling))
    .execute(conn)
    .map(drop)
}

pub(super) fn raise_budget(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    ceiling: Amount,
    now: Timestamp,
) -> QueryResult<bool> {
    let changed = diesel::update(budgets::table.find((account, orchestrator)).filter(budgets::ceiling.lt(ceiling)))
        .set((budgets::ceiling.eq(ceiling), budgets::changed_at.eq(now)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Counters whose period has not ended take the new ceiling where it is higher.
pub(super) fn raise_open_counters(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    ceiling: Amount,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::update(
        counters::table
            .filter(counters::account_id.eq(account))
            .filter(counters::kind.eq(CounterKind::Budget.as_str()))
            .filter(counters::subject.eq(orchestrator.as_str()))
            .filter(counters::period_end.gt(now))
            .filter(counters::ceiling.lt(ceiling)),
    )
    .set(counters::ceiling.eq(ceiling))
    .execute(conn)
    .map(drop)
}

/// Whether this call stopped spending.
pub(super) fn set_stopped(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<bool> {
    let going = accounts::table.find(account).filter(accounts::spending_stopped_at.is_null());
    Ok(diesel::update(going).set(accounts::spending_stopped_at.eq(Some(now))).execute(conn)? == 1)
}

/// Whether this call allowed spending again.
pub(super) fn set_going(conn: &mut DbConnection, account: &AccountId) -> QueryResult<bool> {
    let stopped = accounts::table.find(account).filter(accounts::spending_stopped_at.is_not_null());
    let going = accounts::spending_stopped_at.eq(None::<Timestamp>);
    Ok(diesel::update(stopped).set(going).execute(conn)? == 1)
}

pub(super) fn close_open_counters(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    diesel::update(
        counters::table
            .filter(counters::account_id.eq(account))
            .filter(counters::kind.eq(CounterKind::Budget.as_str()))
            .filter(counters::period_end.gt(now)),
    )
    .set(counters::ceiling.eq(Amount::ZERO))
    .execute(conn)
    .map(drop)
}

pub(super) fn reopen_counters(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let set: Vec<(OrchestratorId, Amount)> = budgets::table
        .filter(budgets::account_id.eq(account))
        .filter(budgets::stopped_at.is_null())
        .select((budgets::orchestrator_id, budgets::ceiling))
        .load(conn)?;
    for (orchestrator, ceiling) in set {
        diesel::update(
            counters::table
                .filter(counters::account_id.eq(account))
                .filter(counters::kind.eq(CounterKind::Budget.as_str()))
                .filter(counters::subject.eq(orchestrator.as_str()))
                .filter(counters::period_end.gt(now)),
        )
        .set(counters::ceiling.eq(ceiling))
        .execute(conn)?;
    }
    Ok(())
}

/// The counter of everything that an agent spends. It is there without a limit too: its sums say what the agent spent.
fn agent_counter(
    conn: &mut DbConnection,
    account: &AccountId,
    (agent, currency): (&AgentId, Currency),
    (month, now): (Period, Timestamp),
) -> Result<CounterFacts, DbError> {
    let kind = CounterKind::Agent;
    if let Some(found) = find_counter(conn, account, kind, agent.as_str(), month)? {
        return Ok(found);
    }
    // Whoever lowers the agent's cap waits, or came before.
    lock_account(conn, account)?;
    let cap = account::agent_by_id(conn, account, agent)?.and_then(|agent| agent.cap);
    let limit =
        cap.map_or((currency, Amount::from_minor(i64::MAX).unwrap_or_default()), |cap| (cap.currency, cap.amount));
    new_counter(conn, account, kind, agent.as_str(), limit, month, now)
}

/// Lowers the counter of an agent that is open now.
pub(super) fn lower_agent_counter(
    conn: &mut DbConnection,
    account: &AccountId,
    agent: &AgentId,
    ceiling: Amount,
    now: Timestamp,
) -> QueryResult<()> {
    let higher = counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq(CounterKind::Agent.as_str()))
        .filter(counters::subject.eq(agent.as_str()))
        .filter(counters::period_end.gt(now))
        .filter(counters::ceiling.gt(ceiling));
    diesel::update(higher).set(counters::ceiling.eq(ceiling)).execute(conn).map(drop)
}

/// Sets the ceiling of an agent's counters that are open now.
pub(super) fn set_agent_counter(
    conn: &mut DbConnection,
    account: &AccountId,
    agent: &AgentId,
    ceiling: Amount,
    now: Timestamp,
) -> QueryResult<()> {
    let open = counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq(CounterKind::Agent.as_str()))
        .filter(counters::subject.eq(agent.as_str()))
        .filter(counters::period_end.gt(now));
    diesel::update(open).set(counters::ceiling.eq(ceiling)).execute(conn).map(drop)
}

/// What agents spent: one row for each of them and each month.
#[derive(Debug, Clone, Queryable)]
pub struct AgentMonth {
    /// Which agent.
    pub agent: String,
    /// Of what.
    pub currency: Currency,
    /// When the month began.
    pub start: Timestamp,
    /// Reserved.
    pub held: Amount,
    /// Taken.
    pub spent: Amount,
}

/// What these agents of an account spent and hold, month by month, newest first; at most 10,000 rows.
///
/// # Errors
/// When the database fails.
pub fn spent_by_agents(
    conn: &mut DbConnection,
    account: &AccountId,
    agents: &[AgentId],
) -> Result<Vec<AgentMonth>, DbError> {
    let subjects: Vec<String> = agents.iter().map(ToString::to_string).collect();
    Ok(counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq(CounterKind::Agent.as_str()))
        .filter(counters::subject.eq_any(subjects))
        .order(counters::period_start.desc())
        .select((counters::subject, counters::currency, counters::period_start, counters::held, counters::spent))
        .limit(10_000)
        .load(conn)?)
}

/// The counters that a spending of this account must pass at `now`, made where the period is new: the budget first, then
/// the payment token, then the plan's own limit, then the agent's. Call it inside `Db::write`; a unique violation means that somebody made the row meanwhile: call again.
///
/// # Errors
/// When the database fails.
pub fn open_counters(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    limits: &Limits<'_>,
    now: Timestamp,
) -> Result<Vec<CounterFacts>, DbError> {
    let mut open = Vec::with_capacity(5);
    let month = Period::month_of(now);
    let found = find_counter(conn, account, CounterKind::Budget, orchestrator.as_str(), month)?;
    open.push(if let Some(found) = found {
        found
    } else {
        let stopped = lock_account(conn, account)?.is_some();
        let set = budget(conn, account, orchestrator)?;
        let ceiling = if stopped || set.stopped_at.is_some() { Amount::ZERO } else { set.ceiling };
        new_counter(conn, account, CounterKind::Budget, orchestrator.as_str(), (set.currency, ceiling), month, now)?
    });
    if let Some(token) = limits.token {
        let period = token.recurrence.period(token.created_at, token.expires_at, now);
        let kind = CounterKind::PaymentToken;
        open.push(if let Some(found) = find_counter(conn, account, kind, token.id.as_str(), period)? {
            found
        } else {
            let limit = (token.currency, token.max_amount);
            new_counter(conn, account, kind, token.id.as_str(), limit, period, now)?
        });
    }
    if let Some(agent) = limits.acting {
        let currency = open.first().map_or(Currency::USD, |budget| budget.currency);
        open.push(agent_counter(conn, account, (agent, currency), (month, now))?);
    }
    let plan = limits.plan.map(|plan| (CounterKind::Plan, plan.resource_id.as_str(), (plan.currency, plan.per_month)));
    let agent = limits.agent.map(|agent| (CounterKind::Agent, agent.id.as_str(), (agent.currency, agent.per_month)));
    for (kind, subject, limit) in [plan, agent].into_iter().flatten() {
        open.push(if let Some(found) = find_counter(conn, account, kind, subject, month)? {
            if kind == CounterKind::Plan {
                set_plan_ceiling(conn, account, &found.id, limit.1.saturating_sub(found.carried))?;
            }
            found
        } else {
            new_counter(conn, account, kind, subject, limit, month, now)?
        });
    }
    Ok(open)
}

/// A resource whose plan was changed has the ceiling of the plan that it is now; what the month cost so far stays.
fn set_plan_ceiling(
    conn: &mut DbConnection,
    account: &AccountId,
    counter: &CounterId,
    per_month: Amount,
) -> QueryResult<()> {
    let other = counters::table.find((account, counter)).filter(counters::ceiling.ne(per_month));
    diesel::update(other).set(counters::ceiling.eq(per_month)).execute(conn).map(drop)
}

fn find_counter(
    conn: &mut DbConnection,
    account: &AccountId,
    kind: CounterKind,
    subject: &str,
    period: Period,
) -> Result<Option<CounterFacts>, DbError> {
    let found = counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq(kind.as_str()))
        .filter(counters::subject.eq(subject))
        .filter(counters::period_start.eq(period.start))
        .select((counters::id, counters::currency, counters::carried))
        .first::<(CounterId, Currency, Amount)>(conn)
        .optional()?;
    Ok(found.map(|(id, currency, carried)| CounterFacts { id, kind, currency, carried }))
}

fn new_counter(
    conn: &mut DbConnection,
    account: &AccountId,
    kind: CounterKind,
    subject: &str,
    (currency, ceiling): (Currency, Amount),
    period: Period,
    now: Timestamp,
) -> Result<CounterFacts, DbError> {
    let id = CounterId::new(now);
    let counter = NewCounter {
        account_id: account.clone(),
        id: id.clone(),
        kind,
        subject: subject.to_owned(),
        currency,
        period,
        ceiling,
    };
    open_counter(conn, &counter)?;
    Ok(CounterFacts { id, kind, currency, carried: Amount::ZERO })
}

#[derive(Queryable)]
struct TokenRow {
    id: PaymentTokenId,
    last4: String,
    currency: Currency,
    max_amount: Amount,
    recurring: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
    sealed_token: String,
}

/// A recurrence in the database that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("payment_tokens.recurring of {0} is not understood")]
struct CorruptToken(PaymentTokenId);

impl TryFrom<TokenRow> for TokenFacts {
    type Error = DbError;

    fn try_from(row: TokenRow) -> Result<Self, DbError> {
        let recurrence = Recurrence::from_claim(row.recurring.as_deref()).ok_or_else(|| {
            DbError::Query(diesel::result::Error::DeserializationError(CorruptToken(row.id.clone()).into()))
        })?;
        Ok(Self {
            id: row.id,
            last4: row.last4,
            currency: row.currency,
            max_amount: row.max_amount,
            recurrence,
            created_at: row.created_at,
            expires_at: row.expires_at,
            sealed: row.sealed_token,
        })
    }
}

type TokenColumns = (
    payment_tokens::id,
    payment_tokens::last4,
    payment_tokens::currency,
    payment_tokens::max_amount,
    payment_tokens::recurring,
    payment_tokens::created_at,
    payment_tokens::expires_at,
    payment_tokens::sealed_token,
);

const TOKEN_COLUMNS: TokenColumns = (
    payment_tokens::id,
    payment_tokens::last4,
    payment_tokens::currency,
    payment_tokens::max_amount,
    payment_tokens::recurring,
    payment_tokens::created_at,
    payment_tokens::expires_at,
    payment_tokens::sealed_token,
);

/// The payment tokens of an account that still pay at `now`, newest first, at most 20.
///
/// # Errors
/// When the database fails.
pub fn tokens_of(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    now: Timestamp,
) -> Result<Vec<TokenFacts>, DbError> {
    let rows: Vec<TokenRow> = payment_tokens::table
        .filter(payment_tokens::account_id.eq(account))
        .filter(payment_tokens::orchestrator_id.eq(orchestrator))
        .filter(payment_tokens::expires_at.gt(now))
        .order(payment_tokens::id.desc())
        .limit(20)
        .select(TOKEN_COLUMNS)
        .load(conn)?;
    rows.into_iter().map(TokenFacts::try_from).collect()
}

/// One payment token of an account.
///
/// # Errors
/// When the database fails or has no such token.
pub fn find_token(conn: &mut DbConnection, account: &AccountId, id: &PaymentTokenId) -> Result<TokenFacts, DbError> {
    payment_tokens::table.find((account, id)).select(TOKEN_COLUMNS).first::<TokenRow>(conn)?.try_into()
}

#[derive(Insertable)]
#[diesel(table_name = payment_tokens)]
struct NewToken<'a> {
    account_id: &'a AccountId,
    id: &'a PaymentTokenId,
    orchestrator_id: &'a OrchestratorId,
    token_key: &'a str,
    token_hash: &'a SecretHash,
    sealed_token: &'a str,
    last4: &'a str,
    currency: Currency,
    max_amount: Amount,
    recurring: Option<&'a str>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

/// Finds the token that was presented before, or remembers it under `id`. `None`: its `jti` belongs to another account, or
/// names another token. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn remember_token(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    (id, sealed): (&PaymentTokenId, &str),
    token: &PaymentToken,
    now: Timestamp,
) -> Result<Option<TokenFacts>, DbError> {
    let known = payment_tokens::table
        .filter(payment_tokens::orchestrator_id.eq(orchestrator))
        .filter(payment_tokens::token_key.eq(&token.jti))
        .select((payment_tokens::account_id, payment_tokens::id, payment_tokens::token_hash))
        .first::<(AccountId, PaymentTokenId, SecretHash)>(conn)
        .optional()?;
    if let Some((owner, id, hash)) = known {
        return if owner == *account && hash == token.hash {
            find_token(conn, account, &id).map(Some)
        } else {
            Ok(None)
        };
    }
    let row = NewToken {
        account_id: account,
        id,
        orchestrator_id: orchestrator,
        token_key: &token.jti,
        token_hash: &token.hash,
        sealed_token: sealed,
        last4: &token.last4,
        currency: token.currency,
        max_amount: token.max_amount,
        recurring: token.recurrence.as_claim(),
        created_at: now,
        expires_at: token.expires_at,
    };
    diesel::insert_into(payment_tokens::table).values(&row).execute(conn)?;
    find_token(conn, account, id).map(Some)
}

/// Whether the human has stopped new spending. The ceilings themselves are closed too, so that a decision that read
/// this a moment before the stop is refused all the same.
///
/// # Errors
/// When the database fails.
pub fn is_stopped(conn: &mut DbConnection, account: &AccountId) -> Result<bool, DbError> {
    Ok(stopped_at(conn, account)?.is_some())
}

/// Whether new spending through this orchestrator is stopped. The owner's own stop is another matter: [`is_stopped`].
///
/// # Errors
/// When the database fails.
pub fn is_stopped_through(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> Result<bool, DbError> {
    let stopped = budgets::table.find((account, orchestrator)).filter(budgets::stopped_at.is_not_null());
    Ok(stopped.count().get_result::<i64>(conn)? > 0)
}

/// Whether this call stopped spending through the orchestrator; its open counters are closed.
pub(super) fn set_stopped_through(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    now: Timestamp,
) -> Result<bool, DbError> {
    let going = budgets::table.find((account, orchestrator)).filter(budgets::stopped_at.is_null());
    if diesel::update(going).set(budgets::stopped_at.eq(Some(now))).execute(conn)? == 0 {
        return Ok(false);
    }
    lower_open_counters(conn, account, orchestrator, Amount::ZERO, now)?;
    Ok(true)
}

/// Whether this call allowed spending through the orchestrator again. While the owner has stopped all of it, its counters
/// stay closed.
pub(super) fn set_going_through(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    now: Timestamp,
) -> Result<bool, DbError> {
    let stopped = budgets::table.find((account, orchestrator)).filter(budgets::stopped_at.is_not_null());
    if diesel::update(stopped).set(budgets::stopped_at.eq(None::<Timestamp>)).execute(conn)? == 0 {
        return Ok(false);
    }
    if stopped_at(conn, account)?.is_none() {
        reopen_counters(conn, account, now)?;
    }
    Ok(true)
}
