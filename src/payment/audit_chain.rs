//! Recomputes an account's chain, counters and holds from its ledger, and names the first difference.

use std::collections::BTreeMap;

use super::hold_store;
use super::ledger_entry::LedgerEntry;
use crate::db::DbConnection;
use crate::ids::AccountId;

/// How many rows are read at a time.
const PAGE: i64 = 500;

/// The ledger, its head, the counters and the holds agree.
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
    counter_ids: String,
    currency: String,
    same: bool,
}

impl OfHold {
    /// A hold without entries: nothing moved.
    const NONE: Self = Self { held: 0, spent: 0, counter_ids: String::new(), currency: String::new(), same: false };

    fn add(&mut self, entry: &LedgerEntry) {
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
                same: true,
                ..OfHold::NONE
            };
            self.holds.entry(id.clone()).or_insert_with(first).add(entry);
        }
    }
}

/// Recomputes the account's chain, counters and holds. Read it in one transaction when money may move meanwhile.
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
    holds(conn, account, sums.holds)?;
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

fn holds(conn: &mut DbConnection, account: &AccountId, mut sums: BTreeMap<String, OfHold>) -> Result<(), VerifyError> {
    let mut after = String::new();
    loop {
        let page = hold_store::holds_after(conn, account, &after, PAGE)?;
        if page.is_empty() {
            break;
        }
        for row in page {
            let said = sums.remove(&row.id).unwrap_or(OfHold::NONE);
            let expected = match row.state.as_str() {
                "held" if row.captured == 0 => Some((row.amount, 0)),
                "captured" => Some((0, row.captured)),
                "released" if row.captured == 0 => Some((0, 0)),
                _ => None,
            };
            after.clone_from(&row.id);
            if expected != Some((said.held, said.spent)) {
                let (id, state, amount, captured) = (row.id, row.state, row.amount, row.captured);
                let (entries_held, entries_spent) = (said.held, said.spent);
                return Err(Difference::Hold { id, state, amount, captured, entries_held, entries_spent }.into());
            }
            if !said.same || (said.counter_ids, said.currency) != (row.counter_ids, row.currency) {
                return Err(Difference::HoldCeilings(row.id).into());
            }
        }
    }
    match sums.into_keys().next() {
        Some(missing) => Err(Difference::NoHold(missing).into()),
        None => Ok(()),
    }
}
