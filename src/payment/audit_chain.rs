//! Recomputes an account's chain, counters and holds from its ledger, compares its charges with the holds, and names the
//! first difference.

use std::collections::BTreeMap;

use super::charge::{self, ChargeState};
use super::hold_store::{self, StoredHold};
use super::ledger_entry::LedgerEntry;
use crate::db::DbConnection;
use crate::ids::AccountId;

/// How many rows are read at a time.
const PAGE: i64 = 500;

/// The ledger, its head, the counters, the holds and the charges agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many entries there are.
    pub entries: i64,
    /// The hash of the last; empty when there is none. Kept outside, it shows a ledger that was cut short.
    pub hash: String,
}

/// The first difference that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// An entry is missing.
    #[error("entry {expected} is missing; the next one is {found}")]
    Gap {
        /// The number that should come next.
        expected: i64,
        /// The number that does.
        found: i64,
    },
    /// An entry does not name the one before it.
    #[error("entry {0} does not name the hash of the entry before it")]
    Link(i64),
    /// An entry was changed after it was written.
    #[error("entry {0} was changed after it was written")]
    Changed(i64),
    /// The head names another end of the chain.
    #[error("the chain ends with entry {entries}, but its head says {head}")]
    Head {
        /// How many entries there are.
        entries: i64,
        /// How many the head says.
        head: i64,
    },
    /// A counter says something else than the sum of its entries.
    #[error(
        "counter {id} says held {held} and spent {spent}; its entries come to held {entries_held} and spent {entries_spent}"
    )]
    Counter {
        /// Which counter.
        id: String,
        /// What it says is held.
        held: i64,
        /// What it says is spent.
        spent: i64,
        /// What its entries add up to.
        entries_held: i64,
        /// What its entries add up to.
        entries_spent: i64,
    },
    /// A hold says something else than its entries.
    #[error(
        "hold {id} is `{state}` with {amount} of which {captured} was taken; its entries come to held {entries_held} and spent {entries_spent}"
    )]
    Hold {
        /// Which hold.
        id: String,
        /// Its state.
        state: String,
        /// How much it says was reserved.
        amount: i64,
        /// How much it says was taken.
        captured: i64,
        /// What its entries add up to.
        entries_held: i64,
        /// What its entries add up to.
        entries_spent: i64,
    },
    /// A hold names other ceilings or another currency than its entries.
    #[error("hold {0} does not count under the ceilings that its entries name")]
    HoldCeilings(String),
    /// A hold says another amount than was reserved.
    #[error("hold {id} says that {amount} was reserved; its entry says {entry}")]
    HoldAmount {
        /// Which hold.
        id: String,
        /// How much it says was reserved.
        amount: i64,
        /// How much its entry says.
        entry: i64,
    },
    /// A hold is for another resource than its entries.
    #[error("hold {0} is not for the resource that its entries name")]
    HoldResource(String),
    /// A charge says something else than the hold that it pays.
    #[error("charge {id} is `{state}` with {amount} {currency}, which does not fit its hold {hold}")]
    Charge {
        /// Which charge.
        id: String,
        /// Its state.
        state: String,
        /// How much it says is charged.
        amount: i64,
        /// Of what.
        currency: String,
        /// Of which hold.
        hold: String,
    },
    /// A hold that pays for a resource has no charge.
    #[error("the charge of hold {0} is missing")]
    NoCharge(String),
    /// Entries name a hold that does not exist.
    #[error("hold {0} is missing")]
    NoHold(String),
    /// Entries name a counter that does not exist.
    #[error("counter {0} is missing")]
    NoCounter(String),
}

/// Why an account could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was read, and differs.
    #[error(transparent)]
    Different(#[from] Difference),
    /// It could not be read.
    #[error("the ledger could not be read")]
    Db(#[from] diesel::result::Error),
}

/// What the entries of one hold say.
struct OfHold {
    held: i64,
    spent: i64,
    reserved: i64,
    counter_ids: String,
    currency: String,
    resource_id: Option<String>,
    same: bool,
    same_resource: bool,
}

impl OfHold {
    /// A hold without entries: nothing moved.
    const NONE: Self = Self {
        held: 0,
        spent: 0,
        reserved: 0,
        counter_ids: String::new(),
        currency: String::new(),
        resource_id: None,
        same: false,
        same_resource: false,
    };

    fn add(&mut self, entry: &LedgerEntry) {
        self.reserved = self.reserved.saturating_add(entry.held_change.max(0));
        self.same_resource &= self.resource_id == entry.resource_id;
        self.held = self.held.saturating_add(entry.held_change);
        self.spent = self.spent.saturating_add(entry.spent_change);
        self.same &= self.counter_ids == entry.counter_ids && self.currency == entry.currency;
    }
}

/// What the ledger says, by counter and by hold.
#[derive(Default)]
struct Sums {
    counters: BTreeMap<String, (i64, i64)>,
    holds: BTreeMap<String, OfHold>,
}

impl Sums {
    fn add(&mut self, entry: &LedgerEntry) {
        for id in entry.counter_ids.split(' ') {
            let (held, spent) = self.counters.entry(id.to_owned()).or_default();
            *held = held.saturating_add(entry.held_change);
            *spent = spent.saturating_add(entry.spent_change);
        }
        if let Some(id) = &entry.hold_id {
            let first = || OfHold {
                counter_ids: entry.counter_ids.clone(),
                currency: entry.currency.clone(),
                resource_id: entry.resource_id.clone(),
                same: true,
                same_resource: true,
                ..OfHold::NONE
            };
            self.holds.entry(id.clone()).or_insert_with(first).add(entry);
        }
    }
}

/// Recomputes the account's chain, counters and holds, and compares the charges. Ceilings are not compared: no entry has
/// them. Read it in a [`crate::db::Db::read_snapshot`] when money may move meanwhile.
///
/// # Errors
/// The first difference, or that a statement failed.
pub fn verify(conn: &mut DbConnection, account: &AccountId) -> Result<Verified, VerifyError> {
    let mut sums = Sums::default();
    let (mut sequence, mut hash) = (0, String::new());
    loop {
        let page = hold_store::entries_after(conn, account, sequence, PAGE)?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            if entry.sequence != sequence + 1 {
                return Err(Difference::Gap { expected: sequence + 1, found: entry.sequence }.into());
            }
            if entry.previous_hash != hash {
                return Err(Difference::Link(entry.sequence).into());
            }
            if entry.hash != entry.computed_hash() {
                return Err(Difference::Changed(entry.sequence).into());
            }
            sums.add(&entry);
            (sequence, hash) = (entry.sequence, entry.hash);
        }
    }
    let (head, head_hash) = hold_store::head(conn, account)?.unwrap_or_default();
    if (head, &head_hash) != (sequence, &hash) {
        return Err(Difference::Head { entries: sequence, head }.into());
    }
    counters(conn, account, sums.counters)?;
    let holds = holds(conn, account, sums.holds)?;
    charges(conn, account, &holds)?;
    Ok(Verified { entries: sequence, hash })
}

fn counters(
    conn: &mut DbConnection,
    account: &AccountId,
    mut sums: BTreeMap<String, (i64, i64)>,
) -> Result<(), VerifyError> {
    let mut after = String::new();
    loop {
        let page = hold_store::counters_after(conn, account, &after, PAGE)?;
        if page.is_empty() {
            break;
        }
        for (id, held, spent) in page {
            let (entries_held, entries_spent) = sums.remove(&id).unwrap_or_default();
            if (held, spent) != (entries_held, entries_spent) {
                return Err(Difference::Counter { id, held, spent, entries_held, entries_spent }.into());
            }
            after = id;
        }
    }
    match sums.into_keys().next() {
        Some(missing) => Err(Difference::NoCounter(missing).into()),
        None => Ok(()),
    }
}

/// Compares every hold with its entries, and answers what the charges have to fit.
fn holds(
    conn: &mut DbConnection,
    account: &AccountId,
    mut sums: BTreeMap<String, OfHold>,
) -> Result<BTreeMap<String, StoredHold>, VerifyError> {
    let (mut after, mut found) = (String::new(), BTreeMap::new());
    loop {
        let page = hold_store::holds_after(conn, account, &after, PAGE)?;
        if page.is_empty() {
            break;
        }
        for row in page {
            after.clone_from(&row.id);
            hold(&row, &sums.remove(&row.id).unwrap_or(OfHold::NONE))?;
            found.insert(row.id.clone(), row);
        }
    }
    match sums.into_keys().next() {
        Some(missing) => Err(Difference::NoHold(missing).into()),
        None => Ok(found),
    }
}

fn hold(row: &StoredHold, said: &OfHold) -> Result<(), Difference> {
    let expected = match row.state.as_str() {
        "held" if row.captured == 0 => Some((row.amount, 0)),
        "captured" => Some((0, row.captured)),
        "released" if row.captured == 0 => Some((0, 0)),
        _ => None,
    };
    let id = row.id.clone();
    if expected != Some((said.held, said.spent)) {
        let (state, amount, captured) = (row.state.clone(), row.amount, row.captured);
        let (entries_held, entries_spent) = (said.held, said.spent);
        return Err(Difference::Hold { id, state, amount, captured, entries_held, entries_spent });
    }
    if said.reserved != row.amount {
        return Err(Difference::HoldAmount { id, amount: row.amount, entry: said.reserved });
    }
    if !said.same || (&said.counter_ids, &said.currency) != (&row.counter_ids, &row.currency) {
        return Err(Difference::HoldCeilings(id));
    }
    if !said.same_resource || said.resource_id != row.resource_id {
        return Err(Difference::HoldResource(id));
    }
    Ok(())
}

/// Compares every charge with its hold: the last attempt says what became of the money, the ones before it took nothing.
fn charges(
    conn: &mut DbConnection,
    account: &AccountId,
    holds: &BTreeMap<String, StoredHold>,
) -> Result<(), VerifyError> {
    let (mut after, mut last) = (String::new(), BTreeMap::new());
    loop {
        let page = charge::after(conn, account, &after, PAGE)?;
        if page.is_empty() {
            break;
        }
        for row in page {
            after.clone_from(&row.id);
            let newest = last.get(&row.hold_id).is_none_or(|known: &charge::StoredCharge| known.attempt < row.attempt);
            let older = if newest { last.insert(row.hold_id.clone(), row) } else { Some(row) };
            if let Some(older) = older.filter(|older| older.state != ChargeState::Refused.as_str()) {
                return Err(different(older).into());
            }
        }
    }
    let paid = holds.values().filter(|hold| hold.resource_id.is_some());
    if let Some(hold) = paid.into_iter().find(|hold| !last.contains_key(&hold.id)) {
        return Err(Difference::NoCharge(hold.id.clone()).into());
    }
    let wrong = last.into_values().find(|charge| !holds.get(&charge.hold_id).is_some_and(|hold| fits(charge, hold)));
    wrong.map_or(Ok(()), |charge| Err(different(charge).into()))
}

fn fits(charge: &charge::StoredCharge, hold: &StoredHold) -> bool {
    let Some(state) = ChargeState::from_word(&charge.state) else { return false };
    let (expected, captured) = match state {
        ChargeState::Captured => ("captured", charge.amount),
        ChargeState::Voided | ChargeState::Refused => ("released", 0),
        ChargeState::Authorizing | ChargeState::Authorized | ChargeState::Unknown => ("held", 0),
    };
    (hold.state.as_str(), hold.captured) == (expected, captured)
        && (charge.amount, &charge.currency) == (hold.amount, &hold.currency)
}

fn different(charge: charge::StoredCharge) -> Difference {
    let charge::StoredCharge { id, hold_id: hold, state, amount, currency, .. } = charge;
    Difference::Charge { id, state, amount, currency, hold }
}
