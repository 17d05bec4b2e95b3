//! Recomputes an account's chain and counters from its ledger, and names the first difference.

use std::collections::BTreeMap;

use super::hold_store;
use crate::db::DbConnection;
use crate::ids::AccountId;

/// How many rows are read at a time.
const PAGE: i64 = 500;

/// The ledger, its head and the counters agree.
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

/// Recomputes the account's chain and counters. Read it in one transaction when money may move meanwhile.
///
/// # Errors
/// The first difference, or that a statement failed.
pub fn verify(conn: &mut DbConnection, account: &AccountId) -> Result<Verified, VerifyError> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
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
            for id in entry.counter_ids.split(' ') {
                let (held, spent) = sums.entry(id.to_owned()).or_default();
                *held = held.saturating_add(entry.held_change);
                *spent = spent.saturating_add(entry.spent_change);
            }
            (sequence, hash) = (entry.sequence, entry.hash);
        }
    }
    let (head, head_hash) = hold_store::head(conn, account)?.unwrap_or_default();
    if (head, &head_hash) != (sequence, &hash) {
        return Err(Difference::Head { entries: sequence, head }.into());
    }
    counters(conn, account, sums)?;
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
