//! What the orchestrator keeps over a restart: JSON records by kind and name in one SQLite file of its own.
//!
//! It does not use the provider's `db`: that brings the provider's schema, migrations and write lanes, and the other side
//! must not share the provider's mistakes. One process owns the file; every write is on disk before it is answered.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

diesel::table! {
    records (kind, id) {
        kind -> Text,
        id -> Text,
        body -> Text,
    }
}

/// A file that is older than this program is brought up by adding kinds; a record never changes its meaning.
const SCHEMA: &str = "
    PRAGMA busy_timeout = 1000;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS records (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    BEGIN IMMEDIATE;
    COMMIT;
";

/// Why something was not kept or not found again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened, or another process has it.
    #[error("the orchestrator's file cannot be opened: is another one running on it?")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database says no.
    #[error("the orchestrator's file cannot be read or written")]
    Database(#[from] diesel::result::Error),
    /// A record is not what this program writes.
    #[error("a record of the orchestrator's file cannot be read")]
    Record(#[from] serde_json::Error),
}

/// One record to be written.
pub(super) struct Record {
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) body: String,
}

impl Record {
    pub(super) fn of(kind: &'static str, id: &str, value: &impl Serialize) -> Result<Self, StoreError> {
        Ok(Self { kind, id: id.to_owned(), body: serde_json::to_string(value)? })
    }
}

/// The file, or nothing: an orchestrator without a file forgets.
pub(super) struct Store(Option<SqliteConnection>);

impl Store {
    pub(super) fn nowhere() -> Self {
        Self(None)
    }

    /// Opens or makes the file; it holds private keys and tokens, so only its owner may read it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| StoreError::Open(error.into()))?;
        let mut connection =
            SqliteConnection::establish(&path.display().to_string()).map_err(|error| StoreError::Open(error.into()))?;
        connection.batch_execute(SCHEMA).map_err(|error| StoreError::Open(error.into()))?;
        Ok(Self(Some(connection)))
    }

    /// Writes all records, or none.
    pub(super) fn put(&mut self, written: &[Record]) -> Result<(), StoreError> {
        let Some(connection) = &mut self.0 else { return Ok(()) };
        connection.transaction(|connection| {
            for record in written {
                diesel::replace_into(records::table)
                    .values((records::kind.eq(record.kind), records::id.eq(&record.id), records::body.eq(&record.body)))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    pub(super) fn forget(&mut self, kind: &str, id: &str) -> Result<(), StoreError> {
        let Some(connection) = &mut self.0 else { return Ok(()) };
        diesel::delete(records::table.find((kind, id))).execute(connection)?;
        Ok(())
    }

    /// Every record of a kind, by name.
    pub(super) fn all<T: DeserializeOwned>(&mut self, kind: &str) -> Result<Vec<(String, T)>, StoreError> {
        let Some(connection) = &mut self.0 else { return Ok(Vec::new()) };
        let rows: Vec<(String, String)> = records::table
            .filter(records::kind.eq(kind))
            .order(records::id)
            .select((records::id, records::body))
            .load(connection)?;
        rows.into_iter().map(|(id, body)| Ok((id, serde_json::from_str(&body)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_put_is_found_again_and_only_its_owner_may_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sim.db");
        let mut store = Store::open(&path).unwrap();
        store.put(&[Record::of("a", "1", &"x").unwrap(), Record::of("b", "1", &"y").unwrap()]).unwrap();
        store.put(&[Record::of("a", "1", &"z").unwrap()]).unwrap();
        store.forget("b", "1").unwrap();
        assert!(Store::open(&path).is_err(), "another process may not have it too");
        drop(store);
        let mut store = Store::open(&path).unwrap();
        assert_eq!(store.all::<String>("a").unwrap(), [("1".to_owned(), "z".to_owned())]);
        assert!(store.all::<String>("b").unwrap().is_empty());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
