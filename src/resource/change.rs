//! Moving a resource to another plan, or giving it another configuration. It stays usable meanwhile; when the money or
//! the platform says no, it stays what it was.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::buy::{DEADLINE, HAND_OVER, TRIES};
use super::change_store::{self, PlanChange};
use super::constraints::{self, Candidate, ConstraintError, Leaving};
use super::pay::{self, Bill, Names, PayError, SealedToken};
use super::person::{self, InformationNeeded};
use super::sale::{Sale, price_under};
use super::store::{self, NewOperation};
use super::unclaimed::{self, More, Unclaimed, UnclaimedError};
use super::{AdvanceError, Desk, Resource, ResourceState, advance};
use crate::account::{AgentKey, Barred, SealedFact};
use crate::audit::{self, Fact};
use crate::authorization::{self, EnterError, Scope};
use crate::catalog::{Direction, Edition, PlanRef, WrongConfiguration};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency::{self, Done, KeyReused, Keyed, NewKey};
use crate::ids::{AccountId, AgentId, OperationId, OrchestratorId, PaymentTokenId, ResourceId};
use crate::money::Amount;
use crate::payment::token::PaymentToken;
use crate::signing::SealError;

/// What is to be changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub account_id: AccountId,
    /// Who wants it changed, and pays: the orchestrator through which it was bought.
    pub orchestrator_id: OrchestratorId,
    /// The program that wants it, by its name at the orchestrator.
    pub client: String,
    /// Which resource.
    pub id: ResourceId,
    /// The catalog revision under which it is changed.
    pub edition: Arc<Edition>,
    /// To which plan. `None`: only the configuration changes.
    pub to: Option<PlanRef>,
    /// What is configured anew; the rest stays as it is, as far as the plan knows it.
    pub configuration: Map<String, Value>,
    /// What the orchestrator passes on about the buyer with this request, sealed for the account.
    pub information: Vec<SealedFact>,
}

impl Change {
    fn agent(&self) -> AgentKey {
        AgentKey {
            account_id: self.account_id.clone(),
            orchestrator_id: self.orchestrator_id.clone(),
            client: self.client.clone(),
        }
    }
}

/// What a change or rotation led to: ask [`super::came_of`] with the operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The work. `None`: there was nothing to do.
    pub operation: Option<OperationId>,
    /// Whether this very request was carried out before.
    pub repeated: bool,
}

/// Why nothing is changed. Nothing was held, charged or changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The account has no such resource, or it was bought through another orchestrator.
    #[error("the account has no such resource")]
    NotFound,
    /// It is not ready: other work on it is not finished, or it is gone.
    #[error("the resource is {}", .0.as_str())]
    NotReady(ResourceState),
    /// The revision does not have the plan.
    #[error("the catalog has no such plan")]
    UnknownPlan,
    /// The catalog does not allow this change.
    #[error("the catalog does not allow a change from `{from}` to `{to}`")]
    NotAllowed {
        /// What it is.
        from: String,
        /// What it was to be.
        to: PlanRef,
    },
    /// What is configured does not fit the plan.
    #[error("the configuration does not fit the plan")]
    Configuration(PlanRef, Vec<WrongConfiguration>),
    /// Nobody has claimed the account, and it may not have more until then.
    #[error(transparent)]
    Unclaimed(#[from] UnclaimedError),
    /// More has to be known about the buyer.
    #[error(transparent)]
    Information(#[from] InformationNeeded),
    /// The catalog forbids it beside what the account has.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The owner barred the agent.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The owner took the scope from the agent since the token was looked at.
    #[error("the owner of the account took this from the agent")]
    Narrowed,
    /// It cannot be paid.
    #[error(transparent)]
    Pay(#[from] PayError),
    /// The key belongs to another request.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// The token could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The rows contradict each other.
    #[error("the rows of a resource contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The work could not go on; a worker takes it up.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<EnterError> for ChangeError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Barred(barred) => Self::Barred(barred),
            EnterError::Narrowed => Self::Narrowed,
            EnterError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for ChangeError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl ChangeError {
    fn lost_race(&self) -> bool {
        match self {
            Self::Db(error) | Self::Pay(PayError::Db(error)) => idempotency::lost_race(error),
            _ => false,
        }
    }
}

/// What the request under a key did before. `None`: its key names no operation.
pub(super) fn done_before(done: Done, keyed: &Keyed) -> Result<Option<Changed>, KeyReused> {
    let operation = done.same(keyed)?.subject.and_then(|id| id.parse().ok());
    Ok(operation.map(|operation| Changed { operation: Some(operation), repeated: true }))
}

/// What the request under this key changed before, if it did.
///
/// # Errors
/// When the key was used for another request, or the database fails.
pub fn changed_before(
    conn: &mut DbConnection,
    account: &AccountId,
    keyed: &Keyed,
    now: Timestamp,
) -> Result<Option<Changed>, ChangeError> {
    match idempotency::find(conn, account, keyed, now)? {
        Some(done) => Ok(done_before(done, keyed)?),
        None => Ok(None),
    }
}

/// Changes a resource: only where the catalog allows it, upwards only for money, and once for each key.
///
/// # Errors
/// See [`ChangeError`].
pub async fn change_plan(
    desk: &Desk,
    change: Change,
    token: Option<PaymentToken>,
    keyed: Keyed,
    now: Timestamp,
) -> Result<Changed, ChangeError> {
    let names = Names::new(now);
    let token = names.seal(&desk.cashier, &change.account_id, token)?;
    let (account, operation) = (change.account_id.clone(), names.operation.clone());
    let (mut tries, limits) = (TRIES, desk.unclaimed);
    let changed = loop {
        let (change, token, keyed, names) = (change.clone(), token.clone(), keyed.clone(), names.clone());
        let work = move |conn: &mut DbConnection| begin(conn, &change, (token.as_ref(), limits), &keyed, &names, now);
        match desk.cashier.db.write(account.as_str(), work).await {
            Err(error) if error.lost_race() && tries > 0 => tries -= 1,
            other => break other?,
        }
    };
    if !changed.repeated && changed.operation.is_some() {
        advance::advance(desk, &account, &operation, now).await?;
    }
    Ok(changed)
}

fn begin(
    conn: &mut DbConnection,
    change: &Change,
    (token, limits): (Option<&SealedToken>, Unclaimed),
    keyed: &Keyed,
    names: &Names,
    now: Timestamp,
) -> Result<Changed, ChangeError> {
    let (account, id) = (&change.account_id, &change.id);
    if let Some(done) = idempotency::find(conn, account, keyed, now)? {
        return done_before(done, keyed)?.ok_or(ChangeError::Inconsistent("a change's key names no operation"));
    }
    // The account before the resource, as everywhere; and what is read before the lock may be another's past.
    let agent = authorization::act(conn, &change.agent(), Scope::ResourcesWrite, now)?;
    let resource = store::by_id(conn, account, id)?.ok_or(ChangeError::NotFound)?;
    if resource.orchestrator_id != change.orchestrator_id {
        return Err(ChangeError::NotFound);
    }
    if resource.state != ResourceState::Ready {
        return Err(ChangeError::NotReady(resource.state));
    }
    let to = Target::of(change, &resource)?;
    if to.is_now(&resource) {
        return Ok(Changed { operation: None, repeated: false });
    }
    let (subject, lifetime) = (Some(names.operation.as_str()), idempotency::LIFETIME);
    let key = NewKey { account_id: account, keyed, subject, sealed_answer: None, lifetime };
    idempotency::insert(conn, &key, now)?;
    if to.direction.is_some() {
        let offer = change.edition.offer(&to.plan).ok_or(ChangeError::UnknownPlan)?;
        person::pass_on(conn, (account, &change.orchestrator_id), &offer.kyc, &change.information, now)??;
    }
    // Whoever comes first has it; the other one reads what became of it.
    if !change_store::begin(conn, (account, id), Some(&to.plan.to_string()), now)? {
        return Err(ChangeError::NotReady(ResourceState::Changing));
    }
    let sale = sell(conn, change, &resource, &to)?;
    let due = to.due(&change.edition, &resource, &sale);
    if Amount::ZERO < due {
        unclaimed::check(conn, account, (limits, More::Plan), now)?;
    }
    let token = charge(conn, (&resource, &agent.id), &to, (&sale, due), token, names, now)?;
    let row = PlanChange {
        account_id: account.clone(),
        operation_id: names.operation.clone(),
        service: sale.plan.service.to_string(),
        plan: sale.plan.plan.to_string(),
        configuration: Value::Object(to.configuration).to_string(),
        catalog_version: sale.catalog_version,
        catalog_digest: sale.catalog_digest.clone(),
        price_parent: sale.parent.as_ref().map(ToString::to_string),
        hold_id: (Amount::ZERO < due).then(|| names.hold.clone()),
        payment_token_id: token,
        sealed_credentials: None,
    };
    row.insert(conn)?;
    record(conn, (&resource, &agent.id), (&sale, due), names, now)?;
    Ok(Changed { operation: Some(names.operation.clone()), repeated: false })
}

/// What a resource is to become.
struct Target {
    /// What it is now.
    from: PlanRef,
    plan: PlanRef,
    configuration: Map<String, Value>,
    /// Which way the catalog says that is. `None`: the plan stays.
    direction: Option<Direction>,
}

impl Target {
    fn of(change: &Change, resource: &Resource) -> Result<Self, ChangeError> {
        let from: PlanRef = format!("{}/{}", resource.service, resource.plan)
            .parse()
            .map_err(|_bad| ChangeError::Inconsistent("a resource of no plan"))?;
        let plan = change.to.clone().unwrap_or_else(|| from.clone());
        let offer = change.edition.offer(&plan).ok_or(ChangeError::UnknownPlan)?;
        let direction = if plan == from {
            None
        } else {
            let updates = change.edition.updates_from(&from);
            let found = updates.iter().find(|(offer, _)| offer.name() == plan);
            let not_allowed = || ChangeError::NotAllowed { from: from.to_string(), to: plan.clone() };
            Some(found.ok_or_else(not_allowed)?.1)
        };
        let was: Map<String, Value> = serde_json::from_str(&resource.configuration)
            .map_err(|_not_json| ChangeError::Inconsistent("a configuration that is no JSON"))?;
        let fields = offer.plan.configuration.fields();
        let kept = was.into_iter().filter(|(name, _)| fields.iter().any(|(field, _)| field.as_str() == name));
        let mut configuration: Map<String, Value> = kept.collect();
        configuration.extend(change.configuration.clone());
        let checked = offer.plan.configuration.check(&configuration);
        checked.map_err(|wrong| ChangeError::Configuration(plan.clone(), wrong))?;
        Ok(Self { from, plan, configuration, direction })
    }

    /// Whether there is nothing to do: the answer to a retry under another key.
    fn is_now(&self, resource: &Resource) -> bool {
        let same =
            serde_json::from_str(&resource.configuration).is_ok_and(|was: Value| was == json!(self.configuration));
        self.direction.is_none() && same
    }

    /// What the change costs at once. Downwards nothing, upwards the new plan's price; where the catalog leaves it open,
    /// upwards is what costs more.
    fn due(&self, edition: &Edition, resource: &Resource, sale: &Sale) -> Amount {
        let parent = resource.price_parent.as_deref().and_then(|parent| parent.parse().ok());
        let was = edition.offer(&self.from).map(|offer| price_under(offer, parent.as_ref()).due_at_once());
        match self.direction {
            None | Some(Direction::Down) => Amount::ZERO,
            Some(Direction::Any) if was.is_some_and(|was| sale.due <= was) => Amount::ZERO,
            Some(Direction::Any | Direction::Up) => sale.due,
        }
    }
}

/// The new plan at its price, if the catalog allows it beside what the account has. The same plan stays as it was sold.
fn sell(conn: &mut DbConnection, change: &Change, resource: &Resource, to: &Target) -> Result<Sale, ChangeError> {
    if to.direction.is_none() {
        let parent = resource.price_parent.as_deref().and_then(|parent| parent.parse().ok());
        let sale = Sale::of(&change.edition, &to.plan, parent).ok_or(ChangeError::UnknownPlan)?;
        let digest = store::digest_of(conn, resource)?;
        return Ok(Sale { catalog_version: resource.catalog_version, catalog_digest: digest, ..sale });
    }
    let leaving = Leaving { account: &change.account_id, edition: &change.edition, id: &change.id, plan: &to.from };
    constraints::may_leave(conn, &leaving, Some(&to.plan))??;
    let candidate = Candidate {
        account: &change.account_id,
        edition: &change.edition,
        plan: &to.plan,
        project: resource.project_id.as_deref(),
        itself: Some(&resource.id),
    };
    let parent = constraints::check(conn, &candidate)??;
    Sale::of(&change.edition, &to.plan, parent).ok_or(ChangeError::UnknownPlan)
}

/// Holds what is due. A resource that is paid already goes on under its token where nothing is due.
fn charge(
    conn: &mut DbConnection,
    (resource, agent): (&Resource, &AgentId),
    to: &Target,
    (sale, due): (&Sale, Amount),
    token: Option<&SealedToken>,
    names: &Names,
    now: Timestamp,
) -> Result<Option<PaymentTokenId>, ChangeError> {
    let goes_on = due == Amount::ZERO && resource.payment_token_id.is_some();
    if to.direction.is_none() || (goes_on && token.is_none()) {
        return Ok(None);
    }
    let bill = Bill {
        account: &resource.account_id,
        orchestrator: &resource.orchestrator_id,
        resource: &resource.id,
        sale,
        due,
        names,
        now,
        until: now.plus(DEADLINE),
        // Whoever changes it is the orchestrator, not the agent that bought it.
        allowance: None,
        acting: Some(agent),
    };
    Ok(pay::pay(conn, &bill, token)?.map(|token| token.id))
}

/// Records the work to be done, and that it was asked for. What cannot be undone is paid first.
fn record(
    conn: &mut DbConnection,
    (resource, agent): (&Resource, &AgentId),
    (sale, due): (&Sale, Amount),
    names: &Names,
    now: Timestamp,
) -> Result<(), ChangeError> {
    let steps = match (Amount::ZERO < due, sale.irreversible) {
        (false, _) => "change",
        (true, false) => "authorize change capture",
        (true, true) => "authorize capture change",
    };
    let row = NewOperation {
        account_id: &resource.account_id,
        id: &names.operation,
        resource_id: &resource.id,
        verb: "change",
        state: "running",
        step: steps,
        attempts: 0,
        created_at: now,
        deadline_at: now.plus(DEADLINE),
        next_try_at: Some(now.plus(HAND_OVER)),
    };
    store::insert_operation(conn, &row)?;
    let fact = Fact {
        actor: format!("agent:{agent}"),
        action: "resource.change_wanted",
        account_id: Some(&resource.account_id),
        subject: resource.id.to_string(),
        detail: json!({
            "from": format!("{}/{}", resource.service, resource.plan), "to": sale.plan, "amount": due,
            "currency": sale.currency, "catalog_version": sale.catalog_version, "catalog_digest": sale.catalog_digest,
        }),
    };
    Ok(audit::append(conn, &fact, now)?)
}
