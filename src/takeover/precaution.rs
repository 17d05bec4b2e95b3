//! What an orchestrator's word about a risk asks of its person: to log in again before something is done, or to wait.

use serde_json::json;

use super::store;
use crate::audit::{self, Fact};
use crate::authorization::LogIn;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};

/// What is asked for; nothing, as a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Precautions {
    /// Whoever removes something must have logged in after this.
    pub remove_after: Option<Timestamp>,
    /// Whoever changes anything must have logged in after this.
    pub write_after: Option<Timestamp>,
    /// Until then nobody takes the account over, and no limit is raised.
    pub cooling_until: Option<Timestamp>,
}

impl Precautions {
    /// Whether a log-in is enough to change something; with `removes`, to remove something. What the orchestrator did not
    /// say of the log-in is not enough.
    #[must_use]
    pub fn allow(&self, log_in: &LogIn, removes: bool) -> bool {
        let after = |wanted: Option<Timestamp>| wanted.is_none_or(|wanted| log_in.at.is_some_and(|at| wanted < at));
        after(self.write_after) && (!removes || after(self.remove_after))
    }

    /// Whether the account is still to be left as it is.
    #[must_use]
    pub fn is_cooling(&self, now: Timestamp) -> bool {
        self.cooling_until.is_some_and(|until| now < until)
    }
}

/// What is asked of an account's person at an orchestrator.
///
/// # Errors
/// When the database fails.
pub fn precautions(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> Result<Precautions, DbError> {
    Ok(store::precautions(conn, account, orchestrator)?)
}

/// Asks for nothing any more, whichever orchestrator told of a risk. Answers whether something was asked for. Call it
/// inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn lift_precautions(
    conn: &mut DbConnection,
    account: &AccountId,
    actor: &str,
    now: Timestamp,
) -> Result<bool, DbError> {
    if store::clear_precautions(conn, account)? == 0 {
        return Ok(false);
    }
    let fact = Fact {
        actor: actor.to_owned(),
        action: "precautions.lifted",
        account_id: Some(account),
        subject: account.to_string(),
        detail: json!({}),
    };
    audit::append(conn, &fact, now)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_in_after_the_event_is_enough_and_silence_is_not() {
        let at = |seconds| Timestamp::from_seconds(seconds);
        let log_in = |seconds| LogIn { at: Some(at(seconds)), acr: None };
        let removal = Precautions { remove_after: Some(at(10)), ..Precautions::default() };
        assert!(
            removal.allow(&log_in(5), false) && !removal.allow(&log_in(10), true) && removal.allow(&log_in(11), true)
        );
        let all = Precautions { write_after: Some(at(10)), cooling_until: Some(at(20)), ..Precautions::default() };
        assert!(!all.allow(&LogIn::default(), false) && !all.allow(&log_in(10), false) && all.allow(&log_in(11), true));
        assert!(all.is_cooling(at(19)) && !all.is_cooling(at(20)) && !removal.is_cooling(at(0)));
    }
}
