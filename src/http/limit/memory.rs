//! Where the counts of one limit are kept: there is room for so many keys, and nobody gets more than half of it. What is
//! known is counted however full it is; only a new key can find no room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// How long what was swept stays unswept, in nanoseconds: sweeping looks at every key.
const SWEEP_EVERY: u64 = 10_000_000_000;

/// The counts of one limit. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    counts: HashMap<String, Nanos>,
    /// How many keys each owner has.
    owners: HashMap<String, usize>,
    swept: Option<Nanos>,
}

/// Who makes a key: all of it before the first `/`.
fn owner(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the key is counted already.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.kept().counts.contains_key(key)
    }

    /// Whether the key can be counted where there is room for `most` keys.
    pub(super) fn has_room(&self, key: &str, most: usize) -> bool {
        let kept = self.kept();
        let owned = kept.owners.get(owner(key)).copied().unwrap_or(0);
        kept.counts.contains_key(key) || (kept.counts.len() < most && owned < most.div_ceil(2))
    }

    /// Whether it is time to sweep at `now`; says so to one caller only.
    pub(super) fn is_due(&self, now: Nanos) -> bool {
        let mut kept = self.kept();
        let due = kept.swept.is_none_or(|last| last.as_u64().saturating_add(SWEEP_EVERY) <= now.as_u64());
        if due {
            kept.swept = Some(now);
        }
        due
    }
}

impl StateStore for Memory {
    type Key = String;

    fn measure_and_replace<T, F, E>(&self, key: &String, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut kept = self.kept();
        let (outcome, count) = f(kept.counts.get(key).copied())?;
        if kept.counts.insert(key.clone(), count).is_none() {
            *kept.owners.entry(owner(key).to_owned()).or_default() += 1;
        }
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<String> for Memory {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut kept = self.kept();
        let Kept { counts, owners, .. } = &mut *kept;
        counts.retain(|_, count| drop_below < *count);
        owners.clear();
        for key in counts.keys() {
            *owners.entry(owner(key).to_owned()).or_default() += 1;
        }
    }

    fn len(&self) -> usize {
        self.kept().counts.len()
    }

    fn is_empty(&self) -> bool {
        self.kept().counts.is_empty()
    }
}
