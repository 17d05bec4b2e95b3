//! The nouns of moving money: counters, holds, movements and their outcomes.
//!
//! An entry of the ledger is made by [`super::decide`], and nowhere else.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::ids::{AccountId, CounterId, HoldId, InvalidId, LedgerEntryId, ResourceId};
use crate::money::{Amount, Currency, Money};

/// Moves money alone, in the lane of its account. Movements that wait together are written together.
///
/// # Errors
/// When the database fails. A refusal is an [`Outcome`]. After [`DbError::Unknown`], repeat the same movement: a hold
/// that happened answers [`Outcome::Duplicate`], a capture or release answers as the first time.
pub async fn move_money(db: &Db, movement: Movement) -> Result<Outcome, DbError> {
    let key = movement.account_id().as_str().to_owned();
    db.submit(&key, movement).await
}

/// What a ceiling limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterKind {
    /// What the human set for an account and orchestrator.
    Budget,
    /// What a payment token allows.
    PaymentToken,
    /// What one agent may spend.
    Agent,
    /// What one metered resource may cost in a calendar month, as the catalog promised.
    Plan,
}

/// Not a kind of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of counter: expected `budget`, `payment_token`, `agent` or `plan`")]
pub struct InvalidCounterKind;

impl CounterKind {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::PaymentToken => "payment_token",
            Self::Agent => "agent",
            Self::Plan => "plan",
        }
    }
}

impl FromStr for CounterKind {
    type Err = InvalidCounterKind;

    fn from_str(text: &str) -> Result<Self, InvalidCounterKind> {
        [Self::Budget, Self::PaymentToken, Self::Agent, Self::Plan]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(InvalidCounterKind)
    }
}

/// One ceiling in one period, and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Whose.
    pub account_id: AccountId,
    /// Its name.
    pub id: CounterId,
    /// What it limits.
    pub kind: CounterKind,
    /// Of what.
    pub currency: Currency,
    /// When the period ends and a new counter begins.
    pub period_end: Timestamp,
    /// The most that `held + spent` may come to.
    pub ceiling: Amount,
    /// Reserved.
    pub held: Amount,
    /// Taken.
    pub spent: Amount,
}

impl Counter {
    /// What may still be held or spent. Nothing when the ceiling was lowered below what is used.
    #[must_use]
    pub fn remaining(&self) -> Amount {
        self.ceiling.saturating_sub(self.held).saturating_sub(self.spent)
    }
}

/// The ceilings that a movement must pass: at least one, each once, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings(Box<[CounterId]>);

/// Money moves under at least one ceiling, each named by its counter's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCeilings {
    /// None was named.
    #[error("money moves under at least one ceiling")]
    None,
    /// A name is no id of a counter.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl Ceilings {
    /// The given counters, sorted, each once.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(counters: impl IntoIterator<Item = CounterId>) -> Result<Self, InvalidCeilings> {
        let mut counters: Vec<_> = counters.into_iter().collect();
        counters.sort();
        counters.dedup();
        if counters.is_empty() { Err(InvalidCeilings::None) } else { Ok(Self(counters.into())) }
    }

    /// The counters' ids in order.
    pub fn iter(&self) -> impl Iterator<Item = &CounterId> {
        self.0.iter()
    }
}

/// As it is stored: ids with a space between.
impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, id) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(id.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Ceilings {
    type Err = InvalidCeilings;

    fn from_str(text: &str) -> Result<Self, InvalidCeilings> {
        let counters: Vec<CounterId> = text.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Self::new(counters)
    }
}

/// Where a hold is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// The money is reserved.
    Held,
    /// Some of it was taken, the rest given back.
    Captured,
    /// All of it was given back.
    Released,
}

/// Not a state of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a state of a hold: expected `held`, `captured` or `released`")]
pub struct InvalidHoldState;

impl HoldState {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Captured => "captured",
            Self::Released => "released",
        }
    }
}

impl FromStr for HoldState {
    type Err = InvalidHoldState;

    fn from_str(text: &str) -> Result<Self, InvalidHoldState> {
        [Self::Held, Self::Captured, Self::Released]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(InvalidHoldState)
    }
}

/// Money reserved, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Whose.
    pub account_id: AccountId,
    /// Its name, chosen by whoever asked: repeating it finds this hold.
    pub id: HoldId,
    /// The ceilings it passed.
    pub ceilings: Ceilings,
    /// For which resource.
    pub resource_id: Option<ResourceId>,
    /// Of what.
    pub currency: Currency,
    /// How much was reserved.
    pub amount: Amount,
    /// How much of it was taken.
    pub captured: Amount,
    /// Held, captured or released.
    pub state: HoldState,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// After this a worker may release it.
    pub expires_at: Timestamp,
    /// When it was captured or released.
    pub settled_at: Option<Timestamp>,
}

/// Reserve money under all ceilings, or change nothing.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// Whose.
    pub account_id: AccountId,
    /// The hold's name. The key under which a retry finds it.
    pub hold_id: HoldId,
    /// What it must pass.
    pub ceilings: Ceilings,
    /// How much.
    pub money: Money,
    /// For which resource.
    pub resource_id: Option<ResourceId>,
    /// For people.
    pub description: String,
    /// The name of the ledger entry.
    pub entry_id: LedgerEntryId,
    /// The present instant.
    pub now: Timestamp,
    /// After this a worker may release it.
    pub expires_at: Timestamp,
}

/// Take at most what is held; the rest is given back.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// Whose.
    pub account_id: AccountId,
    /// Which hold.
    pub hold_id: HoldId,
    /// How much, in the hold's currency.
    pub amount: Amount,
    /// The name of the ledger entry.
    pub entry_id: LedgerEntryId,
    /// The present instant.
    pub now: Timestamp,
}

/// Give back all that is held.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    /// Whose.
    pub account_id: AccountId,
    /// Which hold.
    pub hold_id: HoldId,
    /// The name of the ledger entry.
    pub entry_id: LedgerEntryId,
    /// The present instant.
    pub now: Timestamp,
}

/// Take money without holding it first: usage that has happened. It has no key of its own: the caller writes one (the
/// usage event) in the same transaction.
#[derive(Debug, Clone)]
pub struct SpendRequest {
    /// Whose.
    pub account_id: AccountId,
    /// What it must pass.
    pub ceilings: Ceilings,
    /// How much.
    pub money: Money,
    /// For which resource.
    pub resource_id: Option<ResourceId>,
    /// For people.
    pub description: String,
    /// The name of the ledger entry.
    pub entry_id: LedgerEntryId,
    /// The present instant.
    pub now: Timestamp,
}

/// Everything that changes a counter.
#[derive(Debug, Clone)]
pub enum Movement {
    /// Reserve.
    Hold(HoldRequest),
    /// Take what is reserved.
    Capture(CaptureRequest),
    /// Give back what is reserved.
    Release(ReleaseRequest),
    /// Take at once.
    Spend(SpendRequest),
}

impl Movement {
    /// Whose money.
    #[must_use]
    pub fn account_id(&self) -> &AccountId {
        match self {
            Self::Hold(request) => &request.account_id,
            Self::Capture(request) => &request.account_id,
            Self::Release(request) => &request.account_id,
            Self::Spend(request) => &request.account_id,
        }
    }

    /// The hold that it makes or settles.
    #[must_use]
    pub fn hold_id(&self) -> Option<&HoldId> {
        match self {
            Self::Hold(request) => Some(&request.hold_id),
            Self::Capture(request) => Some(&request.hold_id),
            Self::Release(request) => Some(&request.hold_id),
            Self::Spend(_) => None,
        }
    }

    /// The ceilings that it must pass. None for what can only free money.
    #[must_use]
    pub fn ceilings(&self) -> Option<&Ceilings> {
        match self {
            Self::Hold(request) => Some(&request.ceilings),
            Self::Spend(request) => Some(&request.ceilings),
            Self::Capture(_) | Self::Release(_) => None,
        }
    }
}

/// Why a ceiling said no, as numbers that a person or program can act on. All in `currency`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapRefusal {
    /// The ceiling with the least room.
    pub binding: CounterId,
    /// What it limits.
    pub kind: CounterKind,
    /// Of what.
    pub currency: Currency,
    /// How much was asked for.
    pub needed: Amount,
    /// How much is reserved.
    pub held: Amount,
    /// How much is spent.
    pub spent: Amount,
    /// The most that both may come to.
    pub ceiling: Amount,
    /// What is left.
    pub remaining: Amount,
    /// When the period ends.
    pub period_end: Timestamp,
}

/// What became of a movement. Only the first four change anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Reserved. The counters as they stand after it.
    Held(Vec<Counter>),
    /// Taken; or it had been, with the same amount. The hold, and the counters as they stand.
    Captured(Hold, Vec<Counter>),
    /// Given back; or it had been. The hold, and the counters as they stand.
    Released(Hold, Vec<Counter>),
    /// Spent. The counters as they stand after it.
    Spent(Vec<Counter>),
    /// A hold of this name exists; here it is. Whether it is the same one is for the caller to compare.
    Duplicate(Hold),
    /// The hold was settled in another way before; here it is.
    Settled(Hold),
    /// A ceiling said no.
    Refused(CapRefusal),
    /// The account's spending is stopped, or the account is frozen or closed.
    SpendingStopped,
    /// There is no such counter.
    NoSuchCounter(CounterId),
    /// The counter counts another currency.
    OtherCurrency(CounterId),
    /// There is no such hold.
    NoSuchHold,
    /// More was to be captured than is held.
    MoreThanHeld(Hold),
    /// The counter does not hold what the hold says was put there: somebody changed rows by hand. Nothing was changed;
    /// `portreeve audit verify` says more.
    Drifted(CounterId),
}

/// What a ledger entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Money was reserved.
    Hold,
    /// Reserved money was taken, the rest given back.
    Capture,
    /// Reserved money was given back.
    Release,
    /// Money was taken at once.
    Usage,
}

impl EntryKind {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Usage => "usage",
        }
    }
}
