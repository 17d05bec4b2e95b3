//! Paying for a purchase or a change: who pays is found, every ceiling passed, and the charge begun, in the transaction
//! that writes what is paid for.

use super::allowance;
use super::sale::Sale;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{
    AccountId, AgentId, ChargeId, CounterId, HoldId, LedgerEntryId, OperationId, OrchestratorId, PaymentTokenId,
    ResourceId,
};
use crate::money::{Amount, Currency, Money};
use crate::payment;
use crate::payment::budget::{self, CounterFacts, Limits, PlanLimit, TokenFacts};
use crate::payment::cashier::{self, Cashier};
use crate::payment::charge::{self, ChargeState, NewCharge};
use crate::payment::hold::{CapRefusal, Ceilings, HoldRequest, Movement, Outcome};
use crate::payment::token::PaymentToken;
use crate::signing::SealError;

/// Why nothing is paid. Nothing was held or charged.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The plan costs money and nobody said who pays.
    #[error("this plan costs money: a payment token is needed")]
    TokenNeeded,
    /// The token's `jti` was seen with another account, or names another token; or it is of another issuer than the one
    /// that is to settle it.
    #[error("the payment token belongs to another account or names another token")]
    TokenTaken,
    /// Two currencies.
    #[error("the plan costs {plan}, but the {ceiling} counts {counted}")]
    OtherCurrency {
        /// Of the price.
        plan: Currency,
        /// Which ceiling.
        ceiling: &'static str,
        /// Of the ceiling.
        counted: Currency,
    },
    /// A ceiling said no.
    #[error("a ceiling has no room for this")]
    Cap(Box<CapRefusal>),
    /// The human stopped new spending.
    #[error("new spending is stopped")]
    Stopped,
    /// The rows of the account contradict each other.
    #[error("the account's rows contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for PayError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The names of everything that one piece of work makes, chosen before the transaction.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) resource: ResourceId,
    pub(super) operation: OperationId,
    pub(super) hold: HoldId,
    charge: ChargeId,
    entry: LedgerEntryId,
    token: PaymentTokenId,
}

impl Names {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            resource: ResourceId::new(now),
            operation: OperationId::new(now),
            hold: HoldId::new(now),
            charge: ChargeId::new(now),
            entry: LedgerEntryId::new(now),
            token: PaymentTokenId::new(now),
        }
    }

    /// The token, sealed under the name that it will have.
    pub(super) fn seal(
        &self,
        cashier: &Cashier,
        account: &AccountId,
        token: Option<PaymentToken>,
    ) -> Result<Option<SealedToken>, SealError> {
        let Some(token) = token else { return Ok(None) };
        let place = cashier::token_place(account, &self.token);
        let sealed = cashier.sealer.seal(&place, token.plain.expose().as_bytes())?;
        Ok(Some(SealedToken { token, sealed }))
    }
}

/// A token, verified, and sealed as it will be stored.
#[derive(Debug, Clone)]
pub(super) struct SealedToken {
    token: PaymentToken,
    sealed: String,
}

/// What is paid for.
pub(super) struct Bill<'a> {
    pub(super) account: &'a AccountId,
    pub(super) orchestrator: &'a OrchestratorId,
    pub(super) resource: &'a ResourceId,
    pub(super) sale: &'a Sale,
    /// What is held now.
    pub(super) due: Amount,
    pub(super) names: &'a Names,
    pub(super) now: Timestamp,
    /// After this a worker may release the hold.
    pub(super) until: Timestamp,
    /// Within whose allowance.
    pub(super) allowance: Option<&'a str>,
    /// Who spends.
    pub(super) acting: Option<&'a AgentId>,
}

/// Finds who pays, passes every ceiling, and begins the charge. Nothing is asked of what is free.
pub(super) fn pay(
    conn: &mut DbConnection,
    bill: &Bill<'_>,
    token: Option<&SealedToken>,
) -> Result<Option<TokenFacts>, PayError> {
    let Some(currency) = bill.sale.currency else { return Ok(None) };
    let token = token.ok_or(PayError::TokenNeeded)?;
    let (account, orchestrator, now) = (bill.account, bill.orchestrator, bill.now);
    if token.token.orchestrator_id != *orchestrator {
        return Err(PayError::TokenTaken);
    }
    let named = (&bill.names.token, token.sealed.as_str());
    let token =
        budget::remember_token(conn, account, orchestrator, named, &token.token, now)?.ok_or(PayError::TokenTaken)?;
    let per_month = bill.sale.per_month.unwrap_or(bill.due);
    let limit = PlanLimit { resource_id: bill.resource, currency, per_month };
    let limit = bill.sale.per_month.map(|_| &limit);
    let agent = allowance::ceiling(conn, account, bill.allowance, now)?;
    let counters = budget::open_counters(
        conn,
        account,
        orchestrator,
        &Limits { acting: bill.acting, token: Some(&token), plan: limit, agent: agent.as_ref() },
        now,
    )?;
    same_currency(&counters, currency)?;
    if budget::is_stopped(conn, account)? || budget::is_stopped_through(conn, account, orchestrator)? {
        return Err(PayError::Stopped);
    }
    if Amount::ZERO < bill.due {
        hold(conn, bill, &counters, Money { amount: bill.due, currency })?;
        let charge = NewCharge {
            account_id: account,
            id: &bill.names.charge,
            hold_id: &bill.names.hold,
            attempt: 1,
            orchestrator_id: orchestrator,
            payment_token_id: &token.id,
            currency,
            amount: bill.due,
            state: ChargeState::Authorizing.as_str(),
            created_at: now,
            changed_at: now,
        };
        charge::create(conn, &charge)?;
    }
    Ok(Some(token))
}

fn same_currency(counters: &[CounterFacts], plan: Currency) -> Result<(), PayError> {
    match counters.iter().find(|counter| counter.currency != plan) {
        Some(other) => Err(PayError::OtherCurrency { plan, ceiling: other.kind.as_str(), counted: other.currency }),
        None => Ok(()),
    }
}

fn hold(conn: &mut DbConnection, bill: &Bill<'_>, counters: &[CounterFacts], money: Money) -> Result<(), PayError> {
    let ids: Vec<CounterId> = counters.iter().map(|counter| counter.id.clone()).collect();
    let request = HoldRequest {
        account_id: bill.account.clone(),
        hold_id: bill.names.hold.clone(),
        ceilings: Ceilings::new(ids).map_err(|_none| PayError::Inconsistent("no ceiling"))?,
        money,
        resource_id: Some(bill.resource.clone()),
        description: bill.sale.title.clone(),
        entry_id: bill.names.entry.clone(),
        now: bill.now,
        expires_at: bill.until,
    };
    match payment::apply(conn, &[Movement::Hold(request)])?.pop() {
        Some(Outcome::Held(_)) => Ok(()),
        Some(Outcome::Refused(refusal)) => Err(PayError::Cap(Box::new(refusal))),
        Some(Outcome::SpendingStopped) => Err(PayError::Stopped),
        _ => Err(PayError::Inconsistent("a hold was answered with something else")),
    }
}
