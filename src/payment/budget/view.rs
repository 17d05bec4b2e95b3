//! What was spent against which ceiling, now.

use super::store;
use crate::clock::{Period, Timestamp};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::money::{Amount, Currency};
use crate::payment::hold::CounterKind;

/// One ceiling in its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// Which kind of limit.
    pub kind: CounterKind,
    /// Whose: the last four characters of a token, nothing for the budget.
    pub label: String,
    /// Of what.
    pub currency: Currency,
    /// The limit.
    pub ceiling: Amount,
    /// Taken.
    pub spent: Amount,
    /// Reserved.
    pub held: Amount,
    /// Where it counts.
    pub period: Period,
}

impl Ceiling {
    /// What is left: the limit less what is spent and held.
    #[must_use]
    pub fn remaining(&self) -> Amount {
        self.ceiling.saturating_sub(self.spent).saturating_sub(self.held)
    }
}

/// The budget of an account at an orchestrator, and the ceilings beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The budget itself.
    pub own: Ceiling,
    /// Limits of payment tokens in use.
    pub tokens: Vec<Ceiling>,
    /// Since when the human has stopped new spending.
    pub stopped_at: Option<Timestamp>,
    /// When this was true.
    pub as_of: Timestamp,
}

/// The ceiling that binds: the least remaining; of equals, the budget.
#[must_use]
pub fn binding(budget: &Budget) -> &Ceiling {
    budget.tokens.iter().fold(&budget.own, |least, one| if one.remaining() < least.remaining() { one } else { least })
}

/// The budget at `now`. Ceilings without spending yet count as zero of their limit.
///
/// # Errors
/// When the database fails, or the account has no budget at this orchestrator.
pub fn view(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    now: Timestamp,
) -> Result<Budget, DbError> {
    let stored = store::budget(conn, account, orchestrator)?;
    let period = Period::month_of(now);
    let (spent, held) = store::counted(conn, account, CounterKind::Budget, orchestrator.as_str(), period.start)?;
    let own = Ceiling {
        kind: CounterKind::Budget,
        label: String::new(),
        currency: stored.currency,
        ceiling: stored.ceiling,
        spent,
        held,
        period,
    };
    let mut tokens = Vec::new();
    for token in store::tokens_of(conn, account, orchestrator, now)? {
        let period = token.recurrence.period(token.created_at, token.expires_at, now);
        let (spent, held) = store::counted(conn, account, CounterKind::PaymentToken, token.id.as_str(), period.start)?;
        tokens.push(Ceiling {
            kind: CounterKind::PaymentToken,
            label: token.last4,
            currency: token.currency,
            ceiling: token.max_amount,
            spent,
            held,
            period,
        });
    }
    let stopped_at = store::stopped_at(conn, account)?.or(stored.stopped_at);
    Ok(Budget { own, tokens, stopped_at, as_of: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn ceiling(label: &str, [ceiling, spent, held]: [i64; 3]) -> Ceiling {
        let minor = |amount| Amount::from_minor(amount).unwrap();
        Ceiling {
            kind: if label.is_empty() { CounterKind::Budget } else { CounterKind::PaymentToken },
            label: label.to_owned(),
            currency: Currency::USD,
            ceiling: minor(ceiling),
            spent: minor(spent),
            held: minor(held),
            period: Period::month_of(NOW),
        }
    }

    fn bound_by(own: [i64; 3], tokens: &[(&str, [i64; 3])]) -> (String, i64) {
        let tokens = tokens.iter().map(|(label, numbers)| ceiling(label, *numbers)).collect();
        let budget = Budget { own: ceiling("", own), tokens, stopped_at: None, as_of: NOW };
        let least = binding(&budget);
        (least.label.clone(), least.remaining().minor())
    }

    #[test]
    fn the_least_remaining_binds_not_the_lowest_limit_and_of_equals_the_budget() {
        assert_eq!(bound_by([100, 0, 0], &[]), (String::new(), 100));
        assert_eq!(bound_by([100, 90, 5], &[("1111", [50, 0, 0])]), (String::new(), 5));
        assert_eq!(bound_by([100, 0, 0], &[("1111", [500, 450, 0]), ("2222", [500, 0, 490])]), ("2222".into(), 10));
        assert_eq!(bound_by([100, 50, 0], &[("1111", [60, 0, 10])]), (String::new(), 50));
        assert_eq!(bound_by([100, 0, 0], &[("1111", [10, 0, 0]), ("2222", [10, 0, 0])]), ("1111".into(), 10));
    }

    #[test]
    fn nothing_remains_of_a_limit_that_was_lowered_below_what_is_spent_and_held() {
        assert_eq!(bound_by([10, 30, 5], &[("1111", [50, 0, 0])]), (String::new(), 0));
    }
}
