//! Recording one usage event.

use rust_decimal::Decimal;

use super::store;
use crate::clock::{Period, Timestamp};
use crate::db::{Db, DbConnection, DbError};
use crate::idempotency;
use crate::ids::LedgerEntryId;
use crate::money::{Amount, Currency, Money, OutOfRange, Rate};
use crate::payment;
use crate::payment::budget::{self, Limits, PlanLimit};
use crate::payment::hold::{CapRefusal, Ceilings, Movement, Outcome, SpendRequest};
use crate::resource::allowance;
use crate::resource::{Resource, ResourceState};
use crate::secret::sha256_base64url;

/// How often a lost race is run again.
const TRIES: u32 = 5;

/// Something was used: a CloudEvent (CloudEvents 1.0) about one meter of one resource.
#[derive(Debug, Clone)]
pub struct UsageEvent {
    /// Who reports; with the id, the key.
    pub source: String,
    /// Unique within the source.
    pub id: String,
    /// Which meter.
    pub meter: String,
    /// How much: above zero.
    pub quantity: Decimal,
    /// When it was used.
    pub at: Timestamp,
    /// The generation of the credentials that it was used with, where the platform knows it.
    pub generation: Option<i64>,
}

/// What a meter of the plan, as it was sold, costs.
#[derive(Debug, Clone)]
pub struct Metering {
    /// The price.
    pub rate: Rate,
    /// For how many units.
    pub per: Decimal,
    /// The most that the resource may cost in a month.
    pub per_month: Amount,
    /// What people read: `Weather · requests`.
    pub title: String,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Whether it had been recorded before.
    pub duplicate: bool,
    /// What it cost.
    pub cost: Money,
}

/// Why an event is not recorded. Nothing was charged.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The same source and id said something else before.
    #[error("an event with this source and id was recorded with other content")]
    Conflict,
    /// The resource is not in use.
    #[error("the resource is {}", .0.as_str())]
    NotReady(ResourceState),
    /// The credentials were replaced by others.
    #[error("the credentials were replaced")]
    OldCredentials,
    /// A ceiling said no.
    #[error("a ceiling has no room for this")]
    Cap(Box<CapRefusal>),
    /// The token that pays for the resource expired.
    #[error("the payment token expired")]
    TokenExpired,
    /// The human stopped new spending.
    #[error("new spending is stopped")]
    Stopped,
    /// More than money can count.
    #[error("the quantity is beyond all prices")]
    OutOfRange(#[from] OutOfRange),
    /// The rows of the account contradict each other.
    #[error("the account's rows contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for UsageError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Records an event of `resource`, and charges for it.
///
/// # Errors
/// See [`UsageError`]; then nothing was recorded, and the same event may be sent again.
pub async fn record(
    db: &Db,
    resource: &Resource,
    metering: &Metering,
    event: &UsageEvent,
    now: Timestamp,
) -> Result<Recorded, UsageError> {
    let mut tries = TRIES;
    loop {
        let (resource, metering, event) = (resource.clone(), metering.clone(), event.clone());
        let key = resource.account_id.as_str().to_owned();
        let work = move |conn: &mut DbConnection| charge(conn, &resource, &metering, &event, now);
        match db.write(&key, work).await {
            Err(UsageError::Db(error)) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => return other,
        }
    }
}

fn fingerprint(resource: &Resource, event: &UsageEvent) -> String {
    let said = format!("{}\n{}\n{}", resource.id, event.meter, event.quantity.normalize());
    sha256_base64url(said.as_bytes())
}

/// Whether credentials of this generation work.
fn works(used: i64, locked: &store::Locked, now: Timestamp) -> bool {
    let overlapping = locked.old_credentials_until.is_some_and(|until| now < until);
    used == locked.generation || (used == locked.generation - 1 && overlapping)
}

fn charge(
    conn: &mut DbConnection,
    resource: &Resource,
    metering: &Metering,
    event: &UsageEvent,
    now: Timestamp,
) -> Result<Recorded, UsageError> {
    let currency = metering.rate.currency();
    let fingerprint = fingerprint(resource, event);
    if let Some((known, cost)) = store::event(conn, &event.source, &event.id)? {
        let cost = Money { amount: cost, currency };
        return if known == fingerprint { Ok(Recorded { duplicate: true, cost }) } else { Err(UsageError::Conflict) };
    }
    // Its owner took it into another account after it was looked up: the same event, sent again, finds it there.
    let locked = store::lock(conn, resource)?.ok_or(UsageError::NotReady(ResourceState::Changing))?;
    if !matches!(locked.state, ResourceState::Ready | ResourceState::Changing) {
        return Err(UsageError::NotReady(locked.state));
    }
    if (&locked.service, &locked.plan) != (&resource.service, &resource.plan) {
        // Its plan was changed after its price was looked up.
        return Err(UsageError::NotReady(ResourceState::Changing));
    }
    if event.generation.is_some_and(|used| !works(used, &locked, now)) {
        return Err(UsageError::OldCredentials);
    }
    let month = Period::month_of(now);
    let (quantity, charged) = store::total(conn, resource, &event.meter, month.start)?;
    let quantity = quantity.checked_add(event.quantity).ok_or(OutOfRange)?;
    let due = metering.rate.charge(quantity, metering.per)?;
    let cost = due.checked_sub(charged).ok_or(UsageError::Inconsistent("more was charged than was used"))?;
    if Amount::ZERO < cost {
        spend(conn, resource, metering, (cost, currency), now)?;
    }
    store::insert_event(conn, resource, event, &fingerprint, cost, now)?;
    store::set_total(conn, resource, &event.meter, month.start, (quantity, due))?;
    Ok(Recorded { duplicate: false, cost: Money { amount: cost, currency } })
}

fn spend(
    conn: &mut DbConnection,
    resource: &Resource,
    metering: &Metering,
    (cost, currency): (Amount, Currency),
    now: Timestamp,
) -> Result<(), UsageError> {
    let (account, orchestrator) = (&resource.account_id, &resource.orchestrator_id);
    let token = match &resource.payment_token_id {
        Some(id) => Some(budget::find_token(conn, account, id)?),
        None => None,
    };
    if token.as_ref().is_some_and(|token| token.expires_at <= now) {
        return Err(UsageError::TokenExpired);
    }
    let limit = PlanLimit { resource_id: &resource.id, currency, per_month: metering.per_month };
    let acting = resource.agent(conn)?;
    let agent = allowance::ceiling(conn, account, resource.allowance_id.as_deref(), now)?;
    let counters = budget::open_counters(
        conn,
        account,
        orchestrator,
        &Limits { acting: acting.as_ref(), token: token.as_ref(), plan: Some(&limit), agent: agent.as_ref() },
        now,
    )?;
    let ids = counters.iter().map(|counter| counter.id.clone());
    let request = SpendRequest {
        account_id: account.clone(),
        ceilings: Ceilings::new(ids).map_err(|_none| UsageError::Inconsistent("no ceiling"))?,
        money: Money { amount: cost, currency },
        resource_id: Some(resource.id.clone()),
        description: metering.title.clone(),
        entry_id: LedgerEntryId::new(now),
        now,
    };
    match payment::apply(conn, &[Movement::Spend(request)])?.pop() {
        Some(Outcome::Spent(_)) => Ok(()),
        Some(Outcome::Refused(refusal)) => Err(UsageError::Cap(Box::new(refusal))),
        Some(Outcome::SpendingStopped) => Err(UsageError::Stopped),
        _ => Err(UsageError::Inconsistent("a spending was answered with something else")),
    }
}
