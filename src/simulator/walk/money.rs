//! What the provider says about money, as the agent reads it.

use serde::Deserialize;

use super::ensure;
use crate::clock::Timestamp;
use crate::money::{Amount, Currency, Money};

/// `GET /v1/budget`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Budget {
    pub(super) currency: Currency,
    pub(super) ceiling: Amount,
    pub(super) spent: Amount,
    pub(super) held: Amount,
    pub(super) remaining: Amount,
    pub(super) resets_at: Timestamp,
}

impl Budget {
    /// Nothing passes the cap, by one minor unit, and the numbers agree among themselves.
    pub(super) fn check(&self) -> Result<(), String> {
        let taken = self.spent.checked_add(self.held).ok_or("spent and held leave the range of money")?;
        ensure(taken <= self.ceiling, format!("spent and held pass the cap: {taken:?} of {:?}", self.ceiling))?;
        let left = self.ceiling.saturating_sub(taken);
        ensure(left == self.remaining, format!("`remaining` is {:?}, not {left:?}", self.remaining))
    }

    pub(super) fn money(&self, amount: Amount) -> Money {
        Money { amount, currency: self.currency }
    }

    /// "$9.00 of $100.00 spent, $0.00 held, $91.00 left"
    pub(super) fn sentence(&self) -> String {
        let [spent, ceiling] = [self.spent, self.ceiling].map(|amount| self.money(amount));
        let [held, left] = [self.held, self.remaining].map(|amount| self.money(amount));
        format!("{spent} of {ceiling} spent, {held} held, {left} left")
    }
}

/// What something cost.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Cost {
    pub(super) currency: Currency,
    pub(super) amount: Amount,
}

impl Cost {
    pub(super) fn money(self) -> Money {
        Money { amount: self.amount, currency: self.currency }
    }
}

/// The body of a 402: all that an agent needs to decide what to do.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CapReached {
    pub(super) code: String,
    pub(super) binding: String,
    pub(super) currency: Currency,
    pub(super) needed: Amount,
    pub(super) held: Amount,
    pub(super) spent: Amount,
    pub(super) remaining: Amount,
    pub(super) resets_at: Timestamp,
    pub(super) raise_url: String,
}

impl CapReached {
    /// The refusal is one, and says what it must.
    pub(super) fn check(&self) -> Result<(), String> {
        ensure(self.code == "cap_reached", format!("the code is `{}`, not `cap_reached`", self.code))?;
        ensure(self.binding == "budget", format!("`{}` binds, not the budget", self.binding))?;
        ensure(self.needed > self.remaining, "it was refused although it fits")?;
        ensure(!self.raise_url.is_empty(), "`raise_url` is empty")
    }

    pub(super) fn sentence(&self) -> String {
        let money = |amount| Money { amount, currency: self.currency };
        let (needed, left) = (money(self.needed), money(self.remaining));
        let (spent, held) = (money(self.spent), money(self.held));
        let resets = self.resets_at.date().map(|day| day.format("%-d %b").to_string()).unwrap_or_default();
        format!("cap reached: needs {needed}, {left} left ({spent} spent, {held} held) until {resets}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_budget_that_passes_its_cap_or_does_not_add_up_is_noticed() {
        let budget = |spent: i64, held: i64, remaining: i64| -> Budget {
            let body = json!({"currency": "USD", "ceiling": 10_000, "spent": spent, "held": held,
                "remaining": remaining, "resets_at": "2026-12-01T00:00:00Z"});
            serde_json::from_value(body).unwrap()
        };
        assert!(budget(9_000, 1_000, 0).check().is_ok());
        assert_eq!(budget(4_120, 900, 4_980).sentence(), "$41.20 of $100.00 spent, $9.00 held, $49.80 left");
        assert!(budget(9_000, 1_001, 0).check().is_err());
        assert!(budget(9_000, 500, 501).check().is_err());
    }
}
