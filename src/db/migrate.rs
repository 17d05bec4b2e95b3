//! Embedded migrations: one tree per database, the same folder names in both.

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{DbConnection, DbError};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Applies what is missing and answers its names. One process does it at a time: under SQLite's write lock, or an
/// advisory lock of PostgreSQL. `conn` is used for nothing else afterwards.
pub(super) fn run(conn: &mut DbConnection) -> Result<Vec<String>, DbError> {
    match conn {
        DbConnection::Sqlite(conn) => conn.exclusive_transaction(|conn| {
            conn.run_pending_migrations(SQLITE).map(|done| names(&done)).map_err(DbError::Connection)
        }),
        DbConnection::Postgres(conn) => {
            use diesel::connection::SimpleConnection as _;
            // Waiting for another process, or for a big table, may take its time. The lock ends with the connection.
            conn.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock(7236273)")?;
            conn.run_pending_migrations(POSTGRES).map(|done| names(&done)).map_err(DbError::Connection)
        }
    }
}

fn names(versions: &[diesel::migration::MigrationVersion<'_>]) -> Vec<String> {
    versions.iter().map(ToString::to_string).collect()
}

/// What [`run`] would apply.
pub(super) fn pending(conn: &mut DbConnection) -> Result<Vec<String>, DbError> {
    match conn {
        DbConnection::Sqlite(conn) => {
            conn.pending_migrations(SQLITE).map(|found| found.iter().map(|m| m.name().to_string()).collect())
        }
        DbConnection::Postgres(conn) => {
            conn.pending_migrations(POSTGRES).map(|found| found.iter().map(|m| m.name().to_string()).collect())
        }
    }
    .map_err(DbError::Connection)
}
