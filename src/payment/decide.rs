//! The one place where money is decided: pure, the same on both databases, in the order of the requests.

#![expect(clippy::result_large_err, reason = "both sides are answers, moved once; `?` only ends the thought early")]

use std::collections::{BTreeMap, BTreeSet};

use super::hold::{
    CapRefusal, CaptureRequest, Ceilings, Counter, EntryKind, Hold, HoldRequest, HoldState, Movement, Outcome,
    ReleaseRequest, SpendRequest,
};
use super::ledger_entry::LedgerEntry;
use crate::clock::Timestamp;
use crate::ids::{AccountId, CounterId, HoldId, LedgerEntryId, ResourceId};
use crate::money::{Amount, Currency, Money};

/// Where an account's chain ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// How many entries there are.
    pub sequence: i64,
    /// The hash of the last; empty when there is none.
    pub hash: String,
    /// Whether the row exists.
    pub stored: bool,
}

/// What the database says, locked: every counter, hold and head that the movements name and that exists.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Ceilings.
    pub counters: BTreeMap<(AccountId, CounterId), Counter>,
    /// Holds.
    pub holds: BTreeMap<(AccountId, HoldId), Hold>,
    /// Ends of chains.
    pub heads: BTreeMap<AccountId, Head>,
    /// Accounts that may not spend.
    pub stopped: BTreeSet<AccountId>,
}

/// What to write so that the outcomes become true.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Counters with new values.
    pub counters: Vec<Counter>,
    /// Heads with new values.
    pub heads: Vec<(AccountId, Head)>,
    /// Holds that did not exist.
    pub new_holds: Vec<Hold>,
    /// Holds that existed and are now settled.
    pub settled_holds: Vec<Hold>,
    /// New entries, in order.
    pub entries: Vec<LedgerEntry>,
}

/// Decides every movement, as if each came alone, in order. Answers one outcome each, and what to write.
#[must_use]
pub fn decide(facts: Facts, movements: &[Movement]) -> (Vec<Outcome>, Changes) {
    let mut desk = Desk { facts, ..Desk::default() };
    let outcomes = movements
        .iter()
        .map(|movement| match movement {
            Movement::Hold(request) => desk.hold(request),
            Movement::Capture(request) => desk.capture(request),
            Movement::Release(request) => desk.release(request),
            Movement::Spend(request) => desk.spend(request),
        })
        .map(|decided| decided.unwrap_or_else(|refused| refused))
        .collect();
    (outcomes, desk.changes())
}

/// How one movement changes each of its counters: new `held` and `spent`.
struct Change {
    held: i64,
    spent: i64,
}

/// What an entry says besides its numbers and its place.
struct About<'a> {
    account_id: &'a AccountId,
    kind: EntryKind,
    entry_id: &'a LedgerEntryId,
    hold_id: Option<&'a HoldId>,
    resource_id: Option<&'a ResourceId>,
    ceilings: &'a Ceilings,
    currency: Currency,
    description: &'a str,
    at: Timestamp,
}

#[derive(Default)]
struct Desk {
    facts: Facts,
    touched: BTreeSet<(AccountId, CounterId)>,
    touched_heads: BTreeSet<AccountId>,
    made: BTreeSet<(AccountId, HoldId)>,
    settled: BTreeSet<(AccountId, HoldId)>,
    entries: Vec<LedgerEntry>,
}

/// Both sides are an answer; `Err` only ends the thought early.
type Decided = Result<Outcome, Outcome>;

impl Desk {
    fn hold(&mut self, request: &HoldRequest) -> Decided {
        let key = (request.account_id.clone(), request.hold_id.clone());
        if let Some(hold) = self.facts.holds.get(&key) {
            return Err(Outcome::Duplicate(hold.clone()));
        }
        let counters = self.passed(&request.account_id, &request.ceilings, request.money)?;
        let amount = request.money.amount.minor();
        let counters = self.put(counters, &Change { held: amount, spent: 0 })?;
        let hold = Hold {
            account_id: request.account_id.clone(),
            id: request.hold_id.clone(),
            ceilings: request.ceilings.clone(),
            resource_id: request.resource_id.clone(),
            currency: request.money.currency,
            amount: request.money.amount,
            captured: Amount::ZERO,
            state: HoldState::Held,
            description: request.description.clone(),
            created_at: request.now,
            expires_at: request.expires_at,
            settled_at: None,
        };
        self.record(&about(EntryKind::Hold, &hold, &request.entry_id, request.now), &Change { held: amount, spent: 0 });
        self.made.insert(key.clone());
        self.facts.holds.insert(key, hold);
        Ok(Outcome::Held(counters))
    }

    fn spend(&mut self, request: &SpendRequest) -> Decided {
        let counters = self.passed(&request.account_id, &request.ceilings, request.money)?;
        let change = Change { held: 0, spent: request.money.amount.minor() };
        let about = About {
            account_id: &request.account_id,
            kind: EntryKind::Usage,
            entry_id: &request.entry_id,
            hold_id: None,
            resource_id: request.resource_id.as_ref(),
            ceilings: &request.ceilings,
            currency: request.money.currency,
            description: &request.description,
            at: request.now,
        };
        let counters = self.put(counters, &change)?;
        self.record(&about, &change);
        Ok(Outcome::Spent(counters))
    }

    fn capture(&mut self, request: &CaptureRequest) -> Decided {
        let hold = self.found(&request.account_id, &request.hold_id)?;
        let counters = self.counters(&hold.account_id, &hold.ceilings)?;
        match hold.state {
            HoldState::Captured if hold.captured == request.amount => return Ok(Outcome::Captured(hold, counters)),
            HoldState::Captured | HoldState::Released => return Err(Outcome::Settled(hold)),
            HoldState::Held if request.amount > hold.amount => return Err(Outcome::MoreThanHeld(hold)),
            HoldState::Held => {}
        }
        let change = Change { held: -hold.amount.minor(), spent: request.amount.minor() };
        let counters = self.put(counters, &change)?;
        self.record(&about(EntryKind::Capture, &hold, &request.entry_id, request.now), &change);
        let hold = self.settle(hold, HoldState::Captured, request.amount, request.now);
        Ok(Outcome::Captured(hold, counters))
    }

    fn release(&mut self, request: &ReleaseRequest) -> Decided {
        let hold = self.found(&request.account_id, &request.hold_id)?;
        let counters = self.counters(&hold.account_id, &hold.ceilings)?;
        match hold.state {
            HoldState::Released => return Ok(Outcome::Released(hold, counters)),
            HoldState::Captured => return Err(Outcome::Settled(hold)),
            HoldState::Held => {}
        }
        let change = Change { held: -hold.amount.minor(), spent: 0 };
        let counters = self.put(counters, &change)?;
        self.record(&about(EntryKind::Release, &hold, &request.entry_id, request.now), &change);
        let hold = self.settle(hold, HoldState::Released, Amount::ZERO, request.now);
        Ok(Outcome::Released(hold, counters))
    }

    fn found(&self, account_id: &AccountId, hold_id: &HoldId) -> Result<Hold, Outcome> {
        self.facts.holds.get(&(account_id.clone(), hold_id.clone())).cloned().ok_or(Outcome::NoSuchHold)
    }

    fn counters(&self, account_id: &AccountId, ceilings: &Ceilings) -> Result<Vec<Counter>, Outcome> {
        let counter = |id: &CounterId| {
            let found = self.facts.counters.get(&(account_id.clone(), id.clone())).cloned();
            found.ok_or_else(|| Outcome::NoSuchCounter(id.clone()))
        };
        ceilings.iter().map(counter).collect()
    }

    /// The counters of a movement that passes all of them. Nothing passes by much: a sum out of range does not fit.
    fn passed(&self, account_id: &AccountId, ceilings: &Ceilings, money: Money) -> Result<Vec<Counter>, Outcome> {
        if self.facts.stopped.contains(account_id) {
            return Err(Outcome::SpendingStopped);
        }
        let counters = self.counters(account_id, ceilings)?;
        if let Some(other) = counters.iter().find(|counter| counter.currency != money.currency) {
            return Err(Outcome::OtherCurrency(other.id.clone()));
        }
        match counters.iter().min_by_key(|counter| counter.remaining()) {
            Some(least) if least.remaining() < money.amount => Err(Outcome::Refused(refusal(least, money.amount))),
            _ => Ok(counters),
        }
    }

    /// Puts new values into all of the counters, or into none.
    fn put(&mut self, mut counters: Vec<Counter>, change: &Change) -> Result<Vec<Counter>, Outcome> {
        for counter in &mut counters {
            let drifted = || Outcome::Drifted(counter.id.clone());
            let held = moved(counter.held, change.held).ok_or_else(drifted)?;
            let spent = moved(counter.spent, change.spent).ok_or_else(drifted)?;
            (counter.held, counter.spent) = (held, spent);
        }
        for counter in &counters {
            let key = (counter.account_id.clone(), counter.id.clone());
            self.touched.insert(key.clone());
            self.facts.counters.insert(key, counter.clone());
        }
        Ok(counters)
    }

    fn settle(&mut self, mut hold: Hold, state: HoldState, captured: Amount, now: Timestamp) -> Hold {
        hold.state = state;
        hold.captured = captured;
        hold.settled_at = Some(now);
        let key = (hold.account_id.clone(), hold.id.clone());
        self.settled.insert(key.clone());
        self.facts.holds.insert(key, hold.clone());
        hold
    }

    /// Appends an entry to the account's chain.
    fn record(&mut self, about: &About<'_>, change: &Change) {
        let head = self.facts.heads.entry(about.account_id.clone()).or_default();
        let mut entry = LedgerEntry {
            account_id: about.account_id.to_string(),
            sequence: head.sequence + 1,
            id: about.entry_id.to_string(),
            kind: about.kind.as_str().to_owned(),
            hold_id: about.hold_id.map(ToString::to_string),
            resource_id: about.resource_id.map(ToString::to_string),
            counter_ids: about.ceilings.to_string(),
            currency: about.currency.to_string(),
            held_change: change.held,
            spent_change: change.spent,
            description: about.description.to_owned(),
            at: about.at,
            previous_hash: head.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.computed_hash();
        head.sequence = entry.sequence;
        head.hash.clone_from(&entry.hash);
        self.touched_heads.insert(about.account_id.clone());
        self.entries.push(entry);
    }

    fn changes(self) -> Changes {
        let Self { facts, touched, touched_heads, made, settled, entries } = self;
        let Facts { mut counters, mut holds, mut heads, stopped: _ } = facts;
        Changes {
            counters: touched.iter().filter_map(|key| counters.remove(key)).collect(),
            heads: touched_heads.into_iter().filter_map(|key| heads.remove_entry(&key)).collect(),
            new_holds: made.iter().filter_map(|key| holds.remove(key)).collect(),
            settled_holds: settled.iter().filter_map(|key| holds.remove(key)).collect(),
            entries,
        }
    }
}

fn about<'a>(kind: EntryKind, hold: &'a Hold, entry_id: &'a LedgerEntryId, at: Timestamp) -> About<'a> {
    About {
        account_id: &hold.account_id,
        kind,
        entry_id,
        hold_id: Some(&hold.id),
        resource_id: hold.resource_id.as_ref(),
        ceilings: &hold.ceilings,
        currency: hold.currency,
        description: &hold.description,
        at,
    }
}

fn moved(amount: Amount, by: i64) -> Option<Amount> {
    amount.minor().checked_add(by).and_then(|sum| Amount::from_minor(sum).ok())
}

fn refusal(counter: &Counter, needed: Amount) -> CapRefusal {
    CapRefusal {
        binding: counter.id.clone(),
        kind: counter.kind,
        currency: counter.currency,
        needed,
        held: counter.held,
        spent: counter.spent,
        ceiling: counter.ceiling,
        remaining: counter.remaining(),
        period_end: counter.period_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::hold::CounterKind;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn usd(minor: i64) -> Money {
        Money { amount: Amount::from_minor(minor).unwrap(), currency: Currency::USD }
    }

    /// What the database would say after the changes were written.
    fn written(mut facts: Facts, changes: &Changes) -> Facts {
        let counters = changes.counters.iter().cloned();
        facts.counters.extend(counters.map(|counter| ((counter.account_id.clone(), counter.id.clone()), counter)));
        let holds = changes.new_holds.iter().chain(&changes.settled_holds).cloned();
        facts.holds.extend(holds.map(|hold| ((hold.account_id.clone(), hold.id.clone()), hold)));
        facts
            .heads
            .extend(changes.heads.iter().cloned().map(|(account, head)| (account, Head { stored: true, ..head })));
        facts
    }

    fn counter(account: &AccountId, ceiling: i64, held: i64, spent: i64) -> Counter {
        Counter {
            account_id: account.clone(),
            id: CounterId::new(NOW),
            kind: CounterKind::Budget,
            currency: Currency::USD,
            period_end: NOW,
            ceiling: usd(ceiling).amount,
            held: usd(held).amount,
            spent: usd(spent).amount,
        }
    }

    fn facts(counters: &[Counter]) -> Facts {
        let counters =
            counters.iter().map(|counter| ((counter.account_id.clone(), counter.id.clone()), counter.clone()));
        Facts { counters: counters.collect(), ..Facts::default() }
    }

    fn spend(account: &AccountId, counters: &[Counter], minor: i64) -> Movement {
        Movement::Spend(SpendRequest {
            account_id: account.clone(),
            ceilings: Ceilings::new(counters.iter().map(|counter| counter.id.clone())).unwrap(),
            money: usd(minor),
            resource_id: None,
            description: String::new(),
            entry_id: LedgerEntryId::new(NOW),
            now: NOW,
        })
    }

    #[test]
    fn a_sum_out_of_range_does_not_fit() {
        let account = AccountId::new(NOW);
        let counters = [counter(&account, i64::MAX, i64::MAX - 1, 0)];
        let (outcomes, changes) = decide(facts(&counters), &[spend(&account, &counters, i64::MAX)]);
        assert!(matches!(outcomes.as_slice(), [Outcome::Refused(refusal)] if refusal.remaining.minor() == 1));
        assert!(changes.entries.is_empty() && changes.counters.is_empty());
    }

    #[test]
    fn nothing_fits_under_a_ceiling_that_was_lowered_below_what_is_used_except_nothing() {
        let account = AccountId::new(NOW);
        let counters = [counter(&account, 10, 30, 0)];
        let (outcomes, _) = decide(facts(&counters), &[spend(&account, &counters, 1), spend(&account, &counters, 0)]);
        assert!(matches!(outcomes.as_slice(), [Outcome::Refused(_), Outcome::Spent(_)]));
    }

    #[test]
    fn a_counter_that_lost_what_was_held_is_not_made_negative() {
        let account = AccountId::new(NOW);
        let counters = [counter(&account, 100, 0, 0), counter(&account, 100, 0, 0)];
        let id = HoldId::new(NOW);
        let hold = Movement::Hold(HoldRequest {
            account_id: account.clone(),
            hold_id: id.clone(),
            ceilings: Ceilings::new(counters.iter().map(|counter| counter.id.clone())).unwrap(),
            money: usd(10),
            resource_id: None,
            description: String::new(),
            entry_id: LedgerEntryId::new(NOW),
            now: NOW,
            expires_at: NOW,
        });
        let (_, changes) = decide(facts(&counters), &[hold]);
        let mut after = written(facts(&counters), &changes);
        if let Some(last) = after.counters.values_mut().last() {
            last.held = Amount::ZERO;
        }
        let release = ReleaseRequest { account_id: account, hold_id: id, entry_id: LedgerEntryId::new(NOW), now: NOW };
        let (outcomes, changes) = decide(after, &[Movement::Release(release)]);
        assert!(matches!(outcomes.as_slice(), [Outcome::Drifted(_)]));
        assert!(changes.entries.is_empty() && changes.counters.is_empty() && changes.settled_holds.is_empty());
    }

    proptest! {
        #[test]
        fn all_ceilings_pass_or_none_changes_and_batches_do_not_matter(
            ceilings in prop::collection::vec(0_i64..200, 3),
            spends in prop::collection::vec((1..8_usize, 0_i64..60), 1..40),
            cut in 0..40_usize,
        ) {
            let account = AccountId::new(NOW);
            let counters: Vec<_> = ceilings.iter().map(|ceiling| counter(&account, *ceiling, 0, 0)).collect();
            let mut used = vec![0; 3];
            let mut expected = Vec::new();
            let movements: Vec<_> = spends.iter().map(|(mask, minor)| {
                let named: Vec<usize> = (0..3).filter(|one| mask & (1 << one) != 0).collect();
                let fits = named.iter().all(|one| used[*one] + minor <= ceilings[*one]);
                if fits {
                    for one in &named {
                        used[*one] += minor;
                    }
                }
                expected.push(fits);
                let named: Vec<_> = named.into_iter().map(|one| counters[one].clone()).collect();
                spend(&account, &named, *minor)
            }).collect();
            let (outcomes, changes) = decide(facts(&counters), &movements);
            let passed: Vec<_> = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Spent(_))).collect();
            prop_assert_eq!(&passed, &expected);
            let after = written(facts(&counters), &changes);
            for (counter, used) in counters.iter().zip(used) {
                let found = &after.counters[&(account.clone(), counter.id.clone())];
                prop_assert_eq!((found.spent.minor(), found.held.minor()), (used, 0));
            }
            // The same in two batches: also the chain comes out the same.
            let (first, second) = movements.split_at(cut.min(movements.len()));
            let (mut early, early_changes) = decide(facts(&counters), first);
            let (late, late_changes) = decide(written(facts(&counters), &early_changes), second);
            early.extend(late);
            prop_assert_eq!(early, outcomes);
            let entries: Vec<_> = early_changes.entries.into_iter().chain(late_changes.entries).collect();
            prop_assert_eq!(entries, changes.entries);
        }
    }
}
