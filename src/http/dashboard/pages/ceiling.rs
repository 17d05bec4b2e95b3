//! The ceilings that stand over what may be spent, and the form that lowers the one the user owns.

use super::format;
use crate::clock::Period;
use crate::money::{Amount, Currency, Money};

/// Whose ceiling it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CeilingKind {
    /// The budget of this account; the user can lower it here.
    Budget,
    /// The limit in a payment token.
    PaymentToken {
        /// The name of the orchestrator that issued it.
        issuer: String,
        /// The last four characters that name the token.
        last4: String,
    },
    /// A limit that an orchestrator or the provider set, by name.
    Other(String),
}

/// One ceiling with what counts against it.
#[derive(Debug, Clone)]
pub struct Ceiling {
    /// Whose.
    pub kind: CeilingKind,
    /// At most this much in the period.
    pub limit: Amount,
    /// Captured so far.
    pub spent: Amount,
    /// Reserved now.
    pub held: Amount,
    /// When it counts; the end may be [`Period::FOREVER`].
    pub period: Period,
}

impl Ceiling {
    /// What may still be spent under this ceiling.
    #[must_use]
    pub fn left(&self) -> Amount {
        self.limit.saturating_sub(self.spent).saturating_sub(self.held)
    }

    pub(super) fn name(&self) -> String {
        match &self.kind {
            CeilingKind::Budget => "Your cap".to_owned(),
            CeilingKind::PaymentToken { issuer, last4 } => format!("{issuer} payment token ••{last4}"),
            CeilingKind::Other(name) => name.clone(),
        }
    }

    pub(super) fn limit_text(&self, currency: Currency) -> String {
        format::money(self.limit, currency)
    }

    pub(super) fn left_text(&self, currency: Currency) -> String {
        format::money(self.left(), currency)
    }

    pub(super) fn ends(&self) -> bool {
        self.period.end < Period::FOREVER
    }
}

/// What the user can do with the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Lowering the cap.
    Cap,
    /// Stopping new spending, and allowing it again.
    Switch,
}

/// The form that lowers the cap: empty at first; after a refusal with what was typed and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct CapForm {
    /// What the user typed, in major units, as it came.
    pub typed: String,
    /// Why it was refused, in words that say what to type instead.
    pub problem: Option<String>,
    /// The amount in minor units, when it is below what is spent and pressing once more is all that is wanted.
    pub sure: Option<String>,
}

/// An amount that could be typed: about four fifths of the cap, in whole units where there are some.
pub(in crate::http::dashboard) fn example_below(cap: Amount, currency: Currency) -> String {
    let unit = 10_i64.saturating_pow(currency.exponent());
    let fifths = cap.minor() / 5 * 4;
    let whole = if fifths < unit { fifths } else { fifths / unit * unit };
    Money { amount: Amount::from_minor(whole).unwrap_or_default(), currency }.major()
}
