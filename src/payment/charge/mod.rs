//! Charges: one attempt each to get the money of a hold from whoever issued the payment token.
//!
//! `authorizing → authorized → captured | voided`, `refused`, and `unknown`: nobody here knows, the hold stands, and a
//! worker looks it up under the hold's id.

mod store;

pub use store::{NewCharge, create, of_hold, record};
pub(in crate::payment) use store::{StoredCharge, after};

use crate::clock::Timestamp;
use crate::ids::{AccountId, ChargeId, HoldId, OrchestratorId, PaymentTokenId};
use crate::money::{Amount, Currency};

/// What became of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeState {
    /// The issuer is being asked to set the money aside.
    Authorizing,
    /// Money is set aside.
    Authorized,
    /// Money was taken.
    Captured,
    /// Money was given back before it was taken.
    Voided,
    /// The issuer's definitive no.
    Refused,
    /// The issuer's answer was lost.
    Unknown,
}

impl ChargeState {
    const ALL: [Self; 6] =
        [Self::Authorizing, Self::Authorized, Self::Captured, Self::Voided, Self::Refused, Self::Unknown];

    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorizing => "authorizing",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A charge as it is recorded.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Whose.
    pub account_id: AccountId,
    /// Ours.
    pub id: ChargeId,
    /// For which hold: the reference at the issuer.
    pub hold_id: HoldId,
    /// Which attempt for that hold.
    pub attempt: i64,
    /// At which issuer.
    pub orchestrator_id: OrchestratorId,
    /// With which token.
    pub payment_token_id: PaymentTokenId,
    /// Of what.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// What became of it.
    pub state: ChargeState,
    /// The issuer's id of the authorization.
    pub authorization_id: Option<String>,
    /// The issuer's refusal code, or why the outcome is unknown.
    pub reason: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
}
