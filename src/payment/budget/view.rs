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
    Ok(Budget { own, tokens, stopped_at: store::stopped_at(conn, account)?, as_of: now })
}
