//! The life of an account.

use crate::clock::Timestamp;

/// Where in its life an account is, with what is known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// Opened by attestation, not yet claimed by its human: low ceilings, nothing that cannot be undone.
    Provisional,
    /// Claimed.
    Active {
        /// When.
        since: Timestamp,
    },
    /// Distrusted: nothing works, nothing is deleted.
    Frozen {
        /// When.
        since: Timestamp,
    },
    /// Its owner ended it: nothing works any more, and what was in it is being settled.
    Closing {
        /// When.
        since: Timestamp,
    },
    /// Ended.
    Closed {
        /// When.
        since: Timestamp,
    },
}

/// A step that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account that is {from} cannot be {step}")]
pub struct InvalidTransition {
    /// The state.
    pub from: &'static str,
    /// The step.
    pub step: &'static str,
}

impl AccountState {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Active { .. } => "active",
            Self::Frozen { .. } => "frozen",
            Self::Closing { .. } => "closing",
            Self::Closed { .. } => "closed",
        }
    }

    /// Whether anything may be done with the account.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Provisional | Self::Active { .. })
    }

    /// Its human has claimed it.
    ///
    /// # Errors
    /// When it is not provisional.
    pub fn claim(self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Provisional => Ok(Self::Active { since: now }),
            other => Err(InvalidTransition { from: other.as_str(), step: "claimed" }),
        }
    }

    /// It is distrusted from now on.
    ///
    /// # Errors
    /// When it is frozen or closed already.
    pub fn freeze(self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Provisional | Self::Active { .. } => Ok(Self::Frozen { since: now }),
            other => Err(InvalidTransition { from: other.as_str(), step: "frozen" }),
        }
    }

    /// Its owner ends it: what is in it has to end first.
    ///
    /// # Errors
    /// When it is not in use.
    pub fn begin_closing(self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Provisional | Self::Active { .. } => Ok(Self::Closing { since: now }),
            other => Err(InvalidTransition { from: other.as_str(), step: "closed" }),
        }
    }

    /// It works again, as it did before it was frozen.
    ///
    /// # Errors
    /// When it is not frozen.
    pub fn thaw(self, was_claimed: bool, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Frozen { .. } if was_claimed => Ok(Self::Active { since: now }),
            Self::Frozen { .. } => Ok(Self::Provisional),
            other => Err(InvalidTransition { from: other.as_str(), step: "thawed" }),
        }
    }

    /// It ends.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn close(self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self {
            Self::Closed { .. } => Err(InvalidTransition { from: "closed", step: "closed" }),
            _ => Ok(Self::Closed { since: now }),
        }
    }

    /// The state that a row tells: its word, and when it last changed.
    pub(super) fn from_row(word: &str, changed_at: Timestamp) -> Option<Self> {
        match word {
            "provisional" => Some(Self::Provisional),
            "active" => Some(Self::Active { since: changed_at }),
            "frozen" => Some(Self::Frozen { since: changed_at }),
            "closing" => Some(Self::Closing { since: changed_at }),
            "closed" => Some(Self::Closed { since: changed_at }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_goes_one_way() {
        let (then, now) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
        let active = AccountState::Provisional.claim(then).unwrap();
        assert_eq!(active, AccountState::Active { since: then });
        assert!(active.claim(now).is_err());
        let frozen = active.freeze(now).unwrap();
        assert!(frozen.freeze(now).is_err() && frozen.claim(now).is_err() && !frozen.is_usable());
        assert!(frozen.begin_closing(now).is_err(), "only the operator ends what is frozen");
        let closing = active.begin_closing(now).unwrap();
        assert!(!closing.is_usable() && closing.begin_closing(now).is_err() && closing.freeze(now).is_err());
        assert!(closing.claim(now).is_err() && closing.close(now).unwrap().close(now).is_err());
        assert_eq!(frozen.thaw(false, now), Ok(AccountState::Provisional));
        assert_eq!(frozen.thaw(true, now), Ok(AccountState::Active { since: now }));
        assert!(active.thaw(true, now).is_err());
        assert!(frozen.close(now).unwrap().close(now).is_err());
    }

    #[test]
    fn a_state_reads_back() {
        let at = Timestamp::from_seconds(1);
        for state in [
            AccountState::Provisional,
            AccountState::Active { since: at },
            AccountState::Frozen { since: at },
            AccountState::Closing { since: at },
            AccountState::Closed { since: at },
        ] {
            assert_eq!(AccountState::from_row(state.as_str(), at), Some(state));
        }
    }
}
