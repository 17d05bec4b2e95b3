//! The books as records: what changed since it was last written, and everything back again.

use serde::{Deserialize, Serialize};

use super::super::store::{Record, Store, StoreError};
use super::{Answer, Authorization, BookEntry, Books, Refused};

const ENTRY: &str = "entry";
const ANSWER: &str = "answer";
const REVOKED: &str = "revoked";

/// A decision under a key.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    request: String,
    said: Said,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Done(Authorization),
    LimitExceeded { left: i64 },
    CapExceeded { left: i64 },
    TokenExpired,
    TokenRevoked,
    Declined,
}

impl Said {
    /// Only decisions are kept under a key; a remark about the request is made anew.
    fn of(answer: &Answer) -> Option<Self> {
        Some(match answer {
            Ok(done) => Self::Done(done.clone()),
            Err(Refused::LimitExceeded { left }) => Self::LimitExceeded { left: *left },
            Err(Refused::CapExceeded { left }) => Self::CapExceeded { left: *left },
            Err(Refused::TokenExpired) => Self::TokenExpired,
            Err(Refused::TokenRevoked) => Self::TokenRevoked,
            Err(Refused::Declined) => Self::Declined,
            Err(_remark) => return None,
        })
    }

    fn answer(self) -> Answer {
        match self {
            Self::Done(done) => Ok(done),
            Self::LimitExceeded { left } => Err(Refused::LimitExceeded { left }),
            Self::CapExceeded { left } => Err(Refused::CapExceeded { left }),
            Self::TokenExpired => Err(Refused::TokenExpired),
            Self::TokenRevoked => Err(Refused::TokenRevoked),
            Self::Declined => Err(Refused::Declined),
        }
    }
}

impl Books {
    /// Writes what changed. What could not be written is tried again with the next change.
    pub(in crate::simulator) fn keep(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let mut written = Vec::new();
        for id in &self.changed {
            if let Some(entry) = self.entries.get(id) {
                written.push(Record::of(ENTRY, id, entry)?);
            }
        }
        for key in &self.newly_answered {
            if let Some((request, said)) =
                self.answered.get(key).and_then(|(request, answer)| Some((request.clone(), Said::of(answer)?)))
            {
                written.push(Record::of(ANSWER, key, &KeptAnswer { request, said })?);
            }
        }
        for jti in &self.newly_revoked {
            written.push(Record::of(REVOKED, jti, &())?);
        }
        if !written.is_empty() {
            store.put(&written)?;
        }
        self.changed.clear();
        self.newly_answered.clear();
        self.newly_revoked.clear();
        Ok(())
    }

    /// The books of a file.
    pub(in crate::simulator) fn restore(store: &mut Store) -> Result<Self, StoreError> {
        let entries = store.all::<BookEntry>(ENTRY)?.into_iter().collect();
        let mut books = Self { entries, ..Self::default() };
        for (key, kept) in store.all::<KeptAnswer>(ANSWER)? {
            books.answered.insert(key, (kept.request, kept.said.answer()));
        }
        books.revoked = store.all::<()>(REVOKED)?.into_iter().map(|(jti, ())| jti).collect();
        Ok(books)
    }
}
