//! The device flow (RFC 8628): a program without a browser shows a code, its human types it elsewhere, sees who asks, and
//! answers the question that every other client asks too. Off unless the operator turns it on, because whoever talks a
//! human into typing a code gets what the human allows; so it gives nothing but looking.
//!
//! Promises: a device code gives tokens once, to the client that asked; neither code is kept, only hashes. Refuses:
//! scopes that spend, change or delete anything, whatever the operator or the client says.

mod ask;
mod poll;
mod store;
mod user_code;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;

use super::scope::{Scope, Scopes};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::secret::SecretHash;

pub use ask::{DeviceAnswered, DeviceAskError, DeviceAsked, NewDevice, asked, deny, go_on, keep};
pub use poll::{PollError, poll};
pub use user_code::{InvalidUserCode, UserCode};

/// How long a code can be typed.
pub const TYPING_LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// How long a program may wait: the human has ten minutes to type, and ten more to answer.
pub const DEVICE_LIFETIME: TimeDelta = TimeDelta::minutes(20);
/// How many seconds a program waits between two questions (RFC 8628 §3.2).
pub const POLL_SECONDS: i64 = 5;

/// The flow as the operator set it up.
pub struct DeviceFlow {
    scopes: Scopes,
    key: hmac::Key,
}

impl std::fmt::Debug for DeviceFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceFlow").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// A scope that the flow never gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device flow gives only scopes that look: `resources:read` and `budget:read`; not `{0}`")]
pub struct RiskyScope(pub String);

impl DeviceFlow {
    /// The flow with the scopes that the operator names. `key` is one of our own: user codes are short, and their plain
    /// hashes could be tried out by whoever gets hold of the database.
    ///
    /// # Errors
    /// When a scope is none that only looks, or there is none at all.
    pub fn new(scopes: &[String], key: &[u8; 32]) -> Result<Self, RiskyScope> {
        let looks = |scope: &Scope| matches!(scope, Scope::ResourcesRead | Scope::BudgetRead);
        let risky = |word: &&String| !word.parse::<Scope>().is_ok_and(|scope| looks(&scope));
        if let Some(word) = scopes.iter().find(risky) {
            return Err(RiskyScope(word.clone()));
        }
        let scopes = Scopes::known_of(&scopes.join(" "));
        if scopes.is_empty() {
            return Err(RiskyScope(String::new()));
        }
        Ok(Self { scopes, key: hmac::Key::new(hmac::HMAC_SHA256, key) })
    }

    /// Under what a user code is kept.
    #[must_use]
    pub fn name_of(&self, code: &UserCode) -> SecretHash {
        SecretHash::of(&URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, code.as_str().as_bytes())))
    }
}

/// Forgets at most `limit` requests that ended before `end`.
///
/// # Errors
/// When the database fails.
pub(super) fn delete_ended_before(conn: &mut DbConnection, end: Timestamp, limit: i64) -> Result<usize, DbError> {
    Ok(store::delete_ended_before(conn, end, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(words: &[&str]) -> Result<DeviceFlow, RiskyScope> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        DeviceFlow::new(&words, &[7; 32])
    }

    #[test]
    fn no_operator_can_let_the_flow_do_more_than_look() {
        assert!(flow(&["budget:read"]).is_ok() && flow(&["resources:read", "budget:read"]).is_ok());
        for words in [&["resources:write"][..], &["budget:read", "dashboard:link"], &["admin"], &[""], &[]] {
            assert!(flow(words).is_err(), "{words:?}");
        }
        for scope in Scope::ALL.into_iter().filter(|scope| !scope.as_str().ends_with(":read")) {
            assert!(flow(&[scope.as_str()]).is_err(), "{scope}");
        }
    }

    #[test]
    fn a_code_is_kept_under_a_name_that_needs_our_key() {
        let code: UserCode = "BCDF-GHJK".parse().unwrap();
        let here = flow(&["budget:read"]).unwrap();
        let elsewhere = DeviceFlow::new(&["budget:read".to_owned()], &[8; 32]).unwrap();
        assert_ne!(here.name_of(&code), elsewhere.name_of(&code));
        assert_ne!(here.name_of(&code), SecretHash::of(code.as_str()));
        assert_eq!(here.name_of(&code), here.name_of(&"bcdf ghjk".parse().unwrap()));
    }
}
