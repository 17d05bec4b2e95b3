//! Buying: the money is held and the resource recorded in one transaction; then the work is driven step by step.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::allowance::{self, AllowanceError, Within};
use super::constraints::{self, Candidate, ConstraintError};
use super::pay::{self, Bill, Names, PayError, SealedToken};
use super::person::{self, InformationNeeded};
use super::placement::Placement;
use super::sale::Sale;
use super::store::{self, NewOperation, NewResource};
use super::unclaimed::{self, More, Unclaimed, UnclaimedError};
use super::{AdvanceError, Desk, Resource, ResourceState, advance, wire_store};
use crate::account::{AgentKey, Barred, SealedFact};
use crate::audit::{self, Fact};
use crate::authorization::{self, EnterError, Scope};
use crate::catalog::{Edition, PlanRef};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency::{self, KeyReused, Keyed, NewKey};
use crate::ids::{AccountId, AgentId, OrchestratorId, ResourceId};
use crate::money::{Amount, Money};
use crate::payment::budget;
use crate::payment::charge::{self, ChargeState};
use crate::payment::token::PaymentToken;
use crate::signing::SealError;

/// How long the work on a purchase may take before a human has to look.
pub(super) const DEADLINE: TimeDelta = TimeDelta::hours(24);

/// When a worker takes up work whose request did not finish it.
pub(super) const HAND_OVER: TimeDelta = TimeDelta::seconds(30);

/// How often a lost race is run again.
pub(super) const TRIES: u32 = 5;

/// What is to be bought, and by whom.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// Who pays.
    pub account_id: AccountId,
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// The catalog revision under which it is sold.
    pub edition: Arc<Edition>,
    /// What.
    pub plan: PlanRef,
    /// What the owner calls it.
    pub name: String,
    /// What the buyer configured; it fits the plan.
    pub configuration: Value,
    /// Where the orchestrator has put it. Nothing for what is bought without its wire.
    pub placement: Option<Placement>,
    /// The program that buys it, by its name at the orchestrator.
    pub client: String,
    /// Within what it is bought, when the agent may buy only so much.
    pub allowance: Option<Within>,
    /// What the orchestrator passes on about the buyer with this request, sealed for the account.
    pub information: Vec<SealedFact>,
    /// Whether the key buys anew once what it bought is gone or never came to be: for keys that name a place, such as a
    /// project's database, and not a request.
    pub again: bool,
}

impl Purchase {
    /// Who buys.
    fn agent(&self) -> AgentKey {
        AgentKey {
            account_id: self.account_id.clone(),
            orchestrator_id: self.orchestrator_id.clone(),
            client: self.client.clone(),
        }
    }
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
    /// The revision does not have the plan.
    #[error("the catalog has no such plan")]
    UnknownPlan,
    /// The catalog forbids it beside what the account has.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// It was not allowed.
    #[error(transparent)]
    Allowance(#[from] AllowanceError),
    /// Nobody has claimed the account, and it may not have more until then.
    #[error(transparent)]
    Unclaimed(#[from] UnclaimedError),
    /// More has to be known about the buyer.
    #[error(transparent)]
    Information(#[from] InformationNeeded),
    /// The owner barred the agent.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The owner took the scope from the agent since the token was looked at.
    #[error("the owner of the account took this from the agent")]
    Narrowed,
    /// It cannot be paid.
    #[error(transparent)]
    Pay(#[from] PayError),
    /// The orchestrator is distrusted: nothing is bought through it.
    #[error("nothing is bought through this orchestrator any more")]
    Distrusted,
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

impl From<EnterError> for BuyError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Barred(barred) => Self::Barred(barred),
            EnterError::Narrowed => Self::Narrowed,
            EnterError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for BuyError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl BuyError {
    /// Whether somebody made one of the rows at the same moment: it is there now.
    fn lost_race(&self) -> bool {
        match self {
            Self::Db(error) | Self::Pay(PayError::Db(error)) | Self::Allowance(AllowanceError::Db(error)) => {
                idempotency::lost_race(error)
            }
            _ => false,
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
    let token = names.seal(&desk.cashier, &purchase.account_id, token)?;
    let (account, operation) = (purchase.account_id.clone(), names.operation.clone());
    let (mut tries, limits) = (TRIES, desk.unclaimed);
    let wanted = loop {
        let (purchase, token, keyed, names) = (purchase.clone(), token.clone(), keyed.clone(), names.clone());
        let work =
            move |conn: &mut DbConnection| record(conn, &purchase, (token.as_ref(), limits), &keyed, &names, now);
        match desk.cashier.db.write(account.as_str(), work).await {
            Err(error) if error.lost_race() && tries > 0 => tries -= 1,
            other => break other?,
        }
    };
    if !wanted.repeated {
        advance::advance(desk, &account, &operation, now).await?;
    }
    Ok(wanted)
}

fn record(
    conn: &mut DbConnection,
    purchase: &Purchase,
    (token, limits): (Option<&SealedToken>, Unclaimed),
    keyed: &Keyed,
    names: &Names,
    now: Timestamp,
) -> Result<Wanted, BuyError> {
    let account = &purchase.account_id;
    if let Some(wanted) = standing(conn, account, keyed, purchase.again, now)? {
        return Ok(wanted);
    }
    if purchase.again {
        idempotency::forget(conn, account, keyed)?;
    }
    let lifetime = if purchase.again { idempotency::PLACE_LIFETIME } else { idempotency::LIFETIME };
    let subject = Some(names.resource.as_str());
    let key = NewKey { account_id: account, keyed, subject, sealed_answer: None, lifetime };
    idempotency::insert(conn, &key, now)?;
    let agent = authorization::act(conn, &purchase.agent(), Scope::ResourcesWrite, now)?;
    unclaimed::check(conn, account, (limits, More::Resource), now)?;
    let offer = purchase.edition.offer(&purchase.plan).ok_or(BuyError::UnknownPlan)?;
    person::pass_on(conn, (account, &purchase.orchestrator_id), &offer.kyc, &purchase.information, now)??;
    let sale = sell(conn, purchase)?;
    if let Some(allowance) = &purchase.allowance {
        allowance::take(conn, (account, allowance), &sale, now)?;
    }
    let bill = Bill {
        account,
        orchestrator: &purchase.orchestrator_id,
        resource: &names.resource,
        sale: &sale,
        due: sale.due,
        names,
        now,
        until: now.plus(DEADLINE),
        allowance: purchase.allowance.as_ref().map(|within| within.name.as_str()),
        acting: Some(&agent.id),
    };
    let token = pay::pay(conn, &bill, token)?;
    let held = Amount::ZERO < sale.due;
    // A hold looks at the account's state itself; what costs nothing passes no ceiling that would.
    if !held && !store::lock_usable(conn, account)? {
        return Err(PayError::Stopped.into());
    }
    let parent = sale.parent.as_ref().map(ToString::to_string);
    let row = NewResource {
        account_id: account,
        id: &names.resource,
        orchestrator_id: &purchase.orchestrator_id,
        service: sale.plan.service.as_str(),
        plan: sale.plan.plan.as_str(),
        name: &purchase.name,
        catalog_version: sale.catalog_version,
        catalog_digest: &sale.catalog_digest,
        state: ResourceState::Provisioning.as_str(),
        hold_id: held.then_some(&names.hold),
        payment_token_id: token.as_ref().map(|token| &token.id),
        configuration: &purchase.configuration.to_string(),
        created_at: now,
        changed_at: now,
        project_id: purchase.placement.as_ref().and_then(|placement| placement.project_id.as_deref()),
        price_parent: parent.as_deref(),
        allowance_id: purchase.allowance.as_ref().map(|within| within.name.as_str()),
        client: Some(&purchase.client),
    };
    store::insert(conn, &row)?;
    if let Some(placement) = &purchase.placement {
        wire_store::insert(conn, (account, &names.resource), &purchase.orchestrator_id, placement, now)?;
    }
    begin(conn, (purchase, &agent.id), &sale, names, now)?;
    // Asked last: what stands above keeps whoever stops it waiting, or finds it stopped.
    if budget::is_stopped_through(conn, account, &purchase.orchestrator_id)? {
        return Err(BuyError::Distrusted);
    }
    Ok(Wanted { id: names.resource.clone(), repeated: false })
}

/// The plan at its price, if the catalog allows it beside what the account has.
fn sell(conn: &mut DbConnection, purchase: &Purchase) -> Result<Sale, BuyError> {
    let candidate = Candidate {
        account: &purchase.account_id,
        edition: &purchase.edition,
        plan: &purchase.plan,
        project: purchase.placement.as_ref().and_then(|placement| placement.project_id.as_deref()),
        itself: None,
    };
    let parent = constraints::check(conn, &candidate)??;
    Sale::of(&purchase.edition, &purchase.plan, parent).ok_or(BuyError::UnknownPlan)
}

/// Records the work to be done. Reversible things are made before the money is taken, irreversible ones after.
fn begin(
    conn: &mut DbConnection,
    (purchase, agent): (&Purchase, &AgentId),
    sale: &Sale,
    names: &Names,
    now: Timestamp,
) -> Result<(), BuyError> {
    let steps = match (Amount::ZERO < sale.due, sale.irreversible) {
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
        actor: format!("agent:{agent}"),
        action: "resource.bought",
        account_id: Some(&purchase.account_id),
        subject: names.resource.to_string(),
        detail: json!({
            "service": sale.plan.service, "plan": sale.plan.plan, "title": sale.title, "amount": sale.due,
            "currency": sale.currency, "catalog_version": sale.catalog_version, "catalog_digest": sale.catalog_digest,
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
    standing(conn, account, keyed, false, now)
}

/// The same; with `again`, what is gone or never came to be does not count, nor does how it was asked for.
///
/// # Errors
/// When the key was used for another request, or the database fails.
pub fn standing(
    conn: &mut DbConnection,
    account: &AccountId,
    keyed: &Keyed,
    again: bool,
    now: Timestamp,
) -> Result<Option<Wanted>, BuyError> {
    let Some(done) = idempotency::find(conn, account, keyed, now)? else { return Ok(None) };
    let id = done.subject.as_deref().and_then(|id| id.parse().ok());
    let id = id.ok_or(BuyError::Inconsistent("a purchase's key names no resource"))?;
    if again {
        let resource = store::by_id(conn, account, &id)?.ok_or(BuyError::Inconsistent("a key names no resource"))?;
        if matches!(resource.state, ResourceState::Removed | ResourceState::Failed) {
            return Ok(None);
        }
    }
    done.same(keyed)?;
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
