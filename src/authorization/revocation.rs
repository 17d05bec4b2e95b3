//! Tokens that ended before their time. Every process reads them again and again, and looks into its own memory when a
//! token is used: the hot path asks no database.
//!
//! Promises: a token that was revoked, whose account was frozen, or whose orchestrator was suspended, is refused on every
//! process within a second. A memory that is too old, or that had to leave something out, decides nothing: then the
//! database is asked, and without it nobody gets in.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::access_token::VerifiedToken;
use super::grant::{AccessError, access};
use super::store;
use crate::account;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, GrantId, OrchestratorId};
use crate::orchestrator;

/// How often the memory is made anew.
pub const TURN: Duration = Duration::from_millis(400);
/// How old the memory may be and still decide.
const STALE: Duration = Duration::from_secs(2);
/// The most of each kind that is remembered.
const MAX_REMEMBERED: i64 = 100_000;
/// Tokens that were given before an account was frozen live no longer than this.
const LONGEST_TOKEN: TimeDelta = TimeDelta::hours(2);

/// What ended, as of one moment.
#[derive(Debug, Default)]
pub struct Ended {
    grants: HashSet<GrantId>,
    accounts: HashSet<AccountId>,
    orchestrators: HashSet<OrchestratorId>,
    /// Whether nothing was left out.
    whole: bool,
}

#[derive(Debug)]
struct Known {
    ended: Ended,
    read_at: Instant,
}

/// The memory of one process.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<Memory>);

#[derive(Debug, Default)]
struct Memory {
    known: Option<Known>,
    /// What was read before this is not taken up any more.
    forgotten_at: Option<Instant>,
}

/// What the memory says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Stands,
    Ended(&'static str),
    /// It does not know.
    Unsure,
}

/// Reads what ended and could still be used.
///
/// # Errors
/// When the database fails.
pub fn read_ended(conn: &mut DbConnection, now: Timestamp) -> Result<Ended, DbError> {
    let grants = store::revoked_grants(conn, now, MAX_REMEMBERED)?;
    let accounts = account::unusable_since(conn, now.minus(LONGEST_TOKEN), MAX_REMEMBERED)?;
    let orchestrators = orchestrator::suspended(conn, MAX_REMEMBERED)?;
    let full = |count: usize| i64::try_from(count).is_ok_and(|count| count >= MAX_REMEMBERED);
    let whole = !full(grants.len()) && !full(accounts.len()) && !full(orchestrators.len());
    Ok(Ended {
        grants: grants.into_iter().collect(),
        accounts: accounts.into_iter().collect(),
        orchestrators: orchestrators.into_iter().collect(),
        whole,
    })
}

impl Revocations {
    /// Takes up what was read; `began` is the moment before it was.
    pub fn take_up(&self, ended: Ended, began: Instant) {
        let mut memory = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if memory.forgotten_at.is_none_or(|forgotten| forgotten <= began) {
            memory.known = Some(Known { ended, read_at: began });
        }
    }

    /// Forgets: until it is made anew, the database decides.
    pub fn forget(&self) {
        let mut memory = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *memory = Memory { known: None, forgotten_at: Some(Instant::now()) };
    }

    fn says(&self, token: &VerifiedToken) -> Verdict {
        let memory = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = memory.known.as_ref() else { return Verdict::Unsure };
        let ended = &known.ended;
        if ended.grants.contains(&token.grant_id) {
            return Verdict::Ended("the grant was revoked");
        }
        if ended.accounts.contains(&token.account_id) {
            return Verdict::Ended("the account is frozen or closed");
        }
        if ended.orchestrators.contains(&token.orchestrator_id) {
            return Verdict::Ended("the orchestrator is suspended");
        }
        let decides = ended.whole && known.read_at.elapsed() < STALE;
        if decides { Verdict::Stands } else { Verdict::Unsure }
    }

    /// Whether a believed token still stands: by memory, or, where that does not decide, by the database.
    ///
    /// # Errors
    /// See [`AccessError`]; with [`AccessError::Db`] nobody knows, and the token is not to be accepted.
    pub async fn check(&self, db: &Db, token: &VerifiedToken) -> Result<(), AccessError> {
        match self.says(token) {
            Verdict::Stands => Ok(()),
            Verdict::Ended(why) => Err(AccessError::Ended(why)),
            Verdict::Unsure => {
                let token = token.clone();
                db.read(move |conn| access(conn, &token)).await.map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::access_token::LogIn;
    use super::super::scope::Scopes;
    use super::*;

    fn token() -> VerifiedToken {
        let now = Timestamp::from_seconds(1_800_000_000);
        VerifiedToken {
            grant_id: GrantId::new(now),
            account_id: AccountId::new(now),
            orchestrator_id: OrchestratorId::new(now),
            consent_id: None,
            client: "c".to_owned(),
            scopes: Scopes::all(),
            bound_to: None,
            log_in: LogIn::default(),
            details: None,
            issued_at: now,
            expires_at: now,
        }
    }

    #[test]
    fn what_ended_is_refused_and_only_a_fresh_and_whole_memory_lets_anybody_in() {
        let (memory, token) = (Revocations::default(), token());
        assert_eq!(memory.says(&token), Verdict::Unsure, "nothing was read yet");
        let whole = || Ended { whole: true, ..Ended::default() };
        memory.take_up(whole(), Instant::now());
        assert_eq!(memory.says(&token), Verdict::Stands);
        memory.take_up(Ended::default(), Instant::now());
        assert_eq!(memory.says(&token), Verdict::Unsure, "something was left out");
        let long_ago = Instant::now().checked_sub(STALE).unwrap();
        memory.take_up(whole(), long_ago);
        assert_eq!(memory.says(&token), Verdict::Unsure, "too old");
        for ended in [
            Ended { grants: [token.grant_id.clone()].into(), ..Ended::default() },
            Ended { accounts: [token.account_id.clone()].into(), ..Ended::default() },
            Ended { orchestrators: [token.orchestrator_id.clone()].into(), ..Ended::default() },
        ] {
            memory.take_up(ended, long_ago);
            assert!(matches!(memory.says(&token), Verdict::Ended(_)), "also in an old memory");
        }
        memory.forget();
        memory.take_up(whole(), long_ago);
        assert_eq!(memory.says(&token), Verdict::Unsure, "what was read before is not taken up");
    }
}
