//! Buying: the money is held and the resource recorded in one transaction; then the work is driven step by step.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::store::{self, NewOperation, NewResource};
use super::{AdvanceError, Desk, Resource, ResourceState, advance};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency::{self, KeyReused, Keyed, NewKey};
use crate::ids::{
    AccountId, ChargeId, CounterId, HoldId, LedgerEntryId, OperationId, OrchestratorId, PaymentTokenId, ResourceId,
};
use crate::money::{Amount, Currency, Money};
use crate::payment;
use crate::payment::budget::{self, CounterFacts, PlanLimit, TokenFacts};
use crate::payment::cashier;
use crate::payment::charge::{self, ChargeState, NewCharge};
use crate::payment::hold::{CapRefusal, Ceilings, HoldRequest, Movement, Outcome};
use crate::payment::token::PaymentToken;
use crate::signing::SealError;

/// How long the work on a purchase may take before a human has to look.
const DEADLINE: TimeDelta = TimeDelta::hours(24);

/// When a worker takes up a purchase whose request did not finish it.
const HAND_OVER: TimeDelta = TimeDelta::seconds(30);

/// How often a lost race is run again.
const TRIES: u32 = 5;

/// What is to be bought, by whom, at which price: all of it already decided from the catalog.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// Who pays.
    pub account_id: AccountId,
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// Which service.
    pub service: String,
    /// Which plan.
    pub plan: String,
    /// What the owner calls it.
    pub name: String,
    /// What people read: `Postgres · Small`.
    pub title: String,
    /// What the buyer configured.
    pub configuration: Value,
    /// The catalog revision under which it is sold.
    pub catalog_version: i64,
    /// Its digest.
    pub catalog_digest: String,
    /// What is taken as soon as the resource exists.
    pub due: Amount,
    /// The plan's currency; nothing for what is free.
    pub currency: Option<Currency>,
    /// The most that a metered plan may cost in a month.
    pub per_month: Option<Amount>,
    /// Whether the thing cannot be undone: then the money is taken before it is made.
    pub irreversible: bool,
}

/// What buying led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The resource.
    pub id: ResourceId,
    /// Whether this very request was carried out before.
    pub repeated: bool,
}

/// Why nothing was bought. Nothing was held, charged or made.
#[derive(Debug, thiserror::Error)]
pub enum BuyError {
    /// The plan costs money and nobody said who pays.
    #[error("this plan costs money: a payment token is needed")]
    TokenNeeded,
    /// The token's `jti` was seen with another account, or names another token.
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
    /// The key belongs to another request.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// The token could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The rows of the account contradict each other.
    #[error("the account's rows contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The work after the purchase could not go on; a worker takes it up.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for BuyError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The names of everything that one purchase makes, chosen before the transaction.
#[derive(Debug, Clone)]
struct Names {
    resource: ResourceId,
    operation: OperationId,
    hold: HoldId,
    charge: ChargeId,
    entry: LedgerEntryId,
    token: PaymentTokenId,
}

impl Names {
    fn new(now: Timestamp) -> Self {
        Self {
            resource: ResourceId::new(now),
            operation: OperationId::new(now),
            hold: HoldId::new(now),
            charge: ChargeId::new(now),
            entry: LedgerEntryId::new(now),
            token: PaymentTokenId::new(now),
        }
    }
}

/// Buys. The same key and request again gives the same resource, whatever became of it meanwhile.
///
/// # Errors
/// See [`BuyError`]: a refusal changes nothing, and the same key may be tried again.
pub async fn buy(
    desk: &Desk,
    purchase: Purchase,
    token: Option<PaymentToken>,
    keyed: Keyed,
    now: Timestamp,
) -> Result<Wanted, BuyError> {
    let names = Names::new(now);
    let sealed = match &token {
        Some(token) => {
            let place = cashier::token_place(&purchase.account_id, &names.token);
            Some(desk.cashier.sealer.seal(&place, token.plain.expose().as_bytes())?)
        }
        None => None,
    };
    let account = purchase.account_id.clone();
    let mut tries = TRIES;
    let wanted = loop {
        let (purchase, token, keyed, names, sealed) =
            (purchase.clone(), token.clone(), keyed.clone(), names.clone(), sealed.clone());
        let work = move |conn: &mut DbConnection| {
            let token = token.as_ref().zip(sealed.as_deref());
            record(conn, &purchase, token, &keyed, &names, now)
        };
        match desk.cashier.db.write(account.as_str(), work).await {
            // Somebody made one of the rows at the same moment: it is there now.
            Err(BuyError::Db(error)) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => break other?,
        }
    };
    if !wanted.repeated {
        advance::advance(desk, &account, &names.operation, now).await?;
    }
    Ok(wanted)
}

fn record(
    conn: &mut DbConnection,
    purchase: &Purchase,
    token: Option<(&PaymentToken, &str)>,
    keyed: &Keyed,
    names: &Names,
    now: Timestamp,
) -> Result<Wanted, BuyError> {
    let account = &purchase.account_id;
    if let Some(wanted) = of_key(conn, account, keyed, now)? {
        return Ok(wanted);
    }
    let key = NewKey { account_id: account, keyed, subject: Some(names.resource.as_str()), sealed_answer: None };
    idempotency::insert(conn, &key, now)?;
    let token = pay(conn, purchase, token, names, now)?;
    let held = Amount::ZERO < purchase.due;
    let row = NewResource {
        account_id: account,
        id: &names.resource,
        orchestrator_id: &purchase.orchestrator_id,
        service: &purchase.service,
        plan: &purchase.plan,
        name: &purchase.name,
        catalog_version: purchase.catalog_version,
        catalog_digest: &purchase.catalog_digest,
        state: ResourceState::Provisioning.as_str(),
        hold_id: held.then_some(&names.hold),
        payment_token_id: token.as_ref().map(|token| &token.id),
        configuration: &purchase.configuration.to_string(),
        created_at: now,
        changed_at: now,
    };
    store::insert(conn, &row)?;
    begin(conn, purchase, names, held, now)?;
    Ok(Wanted { id: names.resource.clone(), repeated: false })
}

/// Finds who pays, passes every ceiling, and begins the charge.
fn pay(
    conn: &mut DbConnection,
    purchase: &Purchase,
    token: Option<(&PaymentToken, &str)>,
    names: &Names,
    now: Timestamp,
) -> Result<Option<TokenFacts>, BuyError> {
    let Some(currency) = purchase.currency else { return Ok(None) };
    let (token, sealed) = token.ok_or(BuyError::TokenNeeded)?;
    let (account, orchestrator) = (&purchase.account_id, &purchase.orchestrator_id);
    let token = budget::remember_token(conn, account, orchestrator, (&names.token, sealed), token, now)?
        .ok_or(BuyError::TokenTaken)?;
    let limit =
        PlanLimit { resource_id: &names.resource, currency, per_month: purchase.per_month.unwrap_or(purchase.due) };
    let limit = purchase.per_month.map(|_| &limit);
    let counters = budget::open_counters(conn, account, orchestrator, Some(&token), limit, now)?;
    same_currency(&counters, currency)?;
    if budget::is_stopped(conn, account)? {
        return Err(BuyError::Stopped);
    }
    if Amount::ZERO < purchase.due {
        hold(conn, purchase, &counters, Money { amount: purchase.due, currency }, names, now)?;
        let charge = NewCharge {
            account_id: account,
            id: &names.charge,
            hold_id: &names.hold,
            attempt: 1,
            orchestrator_id: orchestrator,
            payment_token_id: &token.id,
            currency,
            amount: purchase.due,
            state: ChargeState::Authorizing.as_str(),
            created_at: now,
            changed_at: now,
        };
        charge::create(conn, &charge)?;
    }
    Ok(Some(token))
}

fn same_currency(counters: &[CounterFacts], plan: Currency) -> Result<(), BuyError> {
    match counters.iter().find(|counter| counter.currency != plan) {
        Some(other) => Err(BuyError::OtherCurrency { plan, ceiling: other.kind.as_str(), counted: other.currency }),
        None => Ok(()),
    }
}

fn hold(
    conn: &mut DbConnection,
    purchase: &Purchase,
    counters: &[CounterFacts],
    money: Money,
    names: &Names,
    now: Timestamp,
) -> Result<(), BuyError> {
    let ids: Vec<CounterId> = counters.iter().map(|counter| counter.id.clone()).collect();
    let request = HoldRequest {
        account_id: purchase.account_id.clone(),
        hold_id: names.hold.clone(),
        ceilings: Ceilings::new(ids).map_err(|_none| BuyError::Inconsistent("no ceiling"))?,
        money,
        resource_id: Some(names.resource.clone()),
        description: purchase.title.clone(),
        entry_id: names.entry.clone(),
        now,
        expires_at: now.plus(DEADLINE),
    };
    match payment::apply(conn, &[Movement::Hold(request)])?.pop() {
        Some(Outcome::Held(_)) => Ok(()),
        Some(Outcome::Refused(refusal)) => Err(BuyError::Cap(Box::new(refusal))),
        Some(Outcome::SpendingStopped) => Err(BuyError::Stopped),
        _ => Err(BuyError::Inconsistent("a hold was answered with something else")),
    }
}

/// Records the work to be done. Reversible things are made before the money is taken, irreversible ones after.
fn begin(
    conn: &mut DbConnection,
    purchase: &Purchase,
    names: &Names,
    held: bool,
    now: Timestamp,
) -> Result<(), BuyError> {
    let steps = match (held, purchase.irreversible) {
        (false, _) => "create",
        (true, false) => "authorize create capture",
        (true, true) => "authorize capture create",
    };
    let operation = NewOperation {
        account_id: &purchase.account_id,
        id: &names.operation,
        resource_id: &names.resource,
        verb: "create",
        state: "running",
        step: steps,
        attempts: 0,
        created_at: now,
        deadline_at: now.plus(DEADLINE),
        next_try_at: Some(now.plus(HAND_OVER)),
    };
    store::insert_operation(conn, &operation)?;
    let fact = Fact {
        actor: format!("account:{}", purchase.account_id),
        action: "resource.bought",
        account_id: Some(&purchase.account_id),
        subject: names.resource.to_string(),
        detail: json!({
            "service": purchase.service, "plan": purchase.plan, "title": purchase.title, "amount": purchase.due,
            "currency": purchase.currency, "catalog_version": purchase.catalog_version,
            "catalog_digest": purchase.catalog_digest,
        }),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// What the request under this key bought before, if it did.
///
/// # Errors
/// When the key was used for another request, or the database fails.
pub fn of_key(
    conn: &mut DbConnection,
    account: &AccountId,
    keyed: &Keyed,
    now: Timestamp,
) -> Result<Option<Wanted>, BuyError> {
    let Some(done) = idempotency::find(conn, account, keyed, now)? else { return Ok(None) };
    let id = done.same(keyed)?.subject.and_then(|id| id.parse().ok());
    let id = id.ok_or(BuyError::Inconsistent("a purchase's key names no resource"))?;
    Ok(Some(Wanted { id, repeated: true }))
}

/// What was taken for a resource when it was bought, or will be: nothing for what costs nothing at once.
///
/// # Errors
/// When the database fails.
pub fn paid(conn: &mut DbConnection, account: &AccountId, id: &ResourceId) -> Result<Option<Money>, DbError> {
    let Some(resource) = store::by_id(conn, account, id)? else { return Ok(None) };
    Ok(charge_of(conn, &resource)?.map(|(_, money)| money))
}

/// Where the charge of a resource stands, and how much it is.
///
/// # Errors
/// When the database fails.
pub fn charge_of(conn: &mut DbConnection, resource: &Resource) -> Result<Option<(ChargeState, Money)>, DbError> {
    let Some(hold) = &resource.hold_id else { return Ok(None) };
    let charge = charge::of_hold(conn, &resource.account_id, hold)?;
    Ok(Some((charge.state, Money { amount: charge.amount, currency: charge.currency })))
}
