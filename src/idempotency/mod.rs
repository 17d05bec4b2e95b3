//! Idempotency keys (draft-ietf-httpapi-idempotency-key-header-07): what a keyed request did is found again by its retry.
//!
//! Promises: a key is recorded in the transaction that does the work, so that work happens once. Refuses: the same key
//! with another request. Failed requests record nothing, so that they may be tried again.

mod store;

pub use store::{NewKey, find, forget, insert, move_keys};

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use crate::db::DbError;
use crate::secret::sha256_base64url;

/// How long a key of a request is remembered.
pub const LIFETIME: TimeDelta = TimeDelta::days(30);

/// How long a key is remembered that names a place, in which one thing stays until it is gone: for good.
pub const PLACE_LIFETIME: TimeDelta = TimeDelta::days(36_500);

/// A key that a caller chose: 1 to 255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to 255 visible ASCII characters, such as a UUID")]
pub struct InvalidKey;

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let visible = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if (1..=255).contains(&text.len()) && visible { Ok(Self(text.to_owned())) } else { Err(InvalidKey) }
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

/// A request under its key: what it is found by, and what it must be equal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// SHA-256 of the operation's name and the key.
    pub key_hash: String,
    /// SHA-256 of the request.
    pub fingerprint: String,
}

impl Keyed {
    /// The request `body` to `operation` under `key`. The same key may be used once for each operation.
    #[must_use]
    pub fn new(operation: &str, key: &IdempotencyKey, body: &[u8]) -> Self {
        Self {
            key_hash: sha256_base64url(format!("{operation}\n{}", key.0).as_bytes()),
            fingerprint: sha256_base64url(body),
        }
    }
}

/// What the first request under a key did.
#[derive(Debug, Clone)]
pub struct Done {
    /// Of the first request.
    pub fingerprint: String,
    /// What it made, by id, if it made something that can be looked at again.
    pub subject: Option<String>,
    /// Its answer, sealed, if it was kept.
    pub sealed_answer: Option<String>,
}

/// The key was used before for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency key was used before for another request")]
pub struct KeyReused;

impl Done {
    /// Whether `keyed` is the same request.
    ///
    /// # Errors
    /// When it is another one.
    pub fn same(self, keyed: &Keyed) -> Result<Self, KeyReused> {
        if self.fingerprint == keyed.fingerprint { Ok(self) } else { Err(KeyReused) }
    }
}

/// Whether a database error says that somebody was faster: a row with this key was already there. The work was undone, and
/// can be run again.
#[must_use]
pub fn lost_race(error: &DbError) -> bool {
    error.is_unique_violation()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        for bad in ["", " ", "a b", "é", "a\n", &"a".repeat(256)] {
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(255).parse::<IdempotencyKey>().is_ok());
    }

    #[test]
    fn a_key_belongs_to_one_operation() {
        let key: IdempotencyKey = "k".parse().unwrap();
        assert_ne!(Keyed::new("a", &key, b"").key_hash, Keyed::new("b", &key, b"").key_hash);
    }

    #[test]
    fn the_same_request_finds_its_answer_and_another_under_its_key_is_refused() {
        let key: IdempotencyKey = "k".parse().unwrap();
        let (one, other) = (Keyed::new("buy", &key, b"{}"), Keyed::new("buy", &key, b"{ }"));
        assert_eq!(one, Keyed::new("buy", &key, b"{}"));
        assert_eq!(one.key_hash, other.key_hash, "found by its key, whatever it says");
        let done =
            Done { fingerprint: one.fingerprint.clone(), subject: Some("res_1".to_owned()), sealed_answer: None };
        assert_eq!(done.clone().same(&one).unwrap().subject.as_deref(), Some("res_1"));
        assert_eq!(done.same(&other).unwrap_err(), KeyReused);
    }

    #[test]
    fn neither_the_key_nor_the_request_is_kept_or_printed() {
        let key: IdempotencyKey = "my-key".parse().unwrap();
        let keyed = Keyed::new("buy", &key, b"my-card");
        let shown = format!("{key:?} {keyed:?}");
        assert!(!shown.contains("my-key") && !shown.contains("my-card"), "{shown}");
    }

    #[test]
    fn only_a_unique_violation_is_a_lost_race() {
        use diesel::result::{DatabaseErrorKind, Error};
        let of = |kind| DbError::Query(Error::DatabaseError(kind, Box::new("said the database".to_owned())));
        assert!(lost_race(&of(DatabaseErrorKind::UniqueViolation)));
        assert!(!lost_race(&of(DatabaseErrorKind::ForeignKeyViolation)));
        assert!(!lost_race(&DbError::Query(Error::NotFound)) && !lost_race(&DbError::Busy));
    }
}
