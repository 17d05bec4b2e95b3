//! The revisions at rest. Rows are only ever added; the database refuses anything else.

use diesel::prelude::*;

use super::edition::{BrokenRevision, Edition};
use super::published::Version;
use crate::clock::Timestamp;
use crate::db::schema::catalog_revisions;
use crate::db::{DbConnection, DbError};

/// One stored revision.
#[derive(Clone, Debug, Queryable, Insertable)]
#[diesel(table_name = catalog_revisions)]
pub(super) struct Row {
    pub(super) version: Version,
    pub(super) digest: String,
    pub(super) content_digest: String,
    pub(super) document: Vec<u8>,
    pub(super) jws: Vec<u8>,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// Why a revision could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// What is stored is not what was published.
    #[error(transparent)]
    Broken(#[from] BrokenRevision),
}

impl From<diesel::result::Error> for LoadError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

pub(super) fn latest_row(conn: &mut DbConnection) -> QueryResult<Option<Row>> {
    catalog_revisions::table.order(catalog_revisions::version.desc()).first(conn).optional()
}

pub(super) fn insert(conn: &mut DbConnection, row: &Row) -> QueryResult<()> {
    diesel::insert_into(catalog_revisions::table).values(row).execute(conn).map(drop)
}

/// The newest revision; `None` before the first.
///
/// # Errors
/// When the database fails or the row is broken.
pub fn latest(conn: &mut DbConnection) -> Result<Option<Edition>, LoadError> {
    Ok(latest_row(conn)?.map(Edition::from_row).transpose()?)
}

/// The newest revision, if it is newer than `known`: what a process asks that shares its database with others.
///
/// # Errors
/// When the database fails or the row is broken.
pub fn newer_than(conn: &mut DbConnection, known: Version) -> Result<Option<Edition>, LoadError> {
    let newer = catalog_revisions::table
        .filter(catalog_revisions::version.gt(known))
        .order(catalog_revisions::version.desc())
        .first::<Row>(conn)
        .optional()?;
    Ok(newer.map(Edition::from_row).transpose()?)
}

/// One revision; `None` when there is none of that number.
///
/// # Errors
/// When the database fails or the row is broken.
pub fn revision(conn: &mut DbConnection, version: Version) -> Result<Option<Edition>, LoadError> {
    let row = catalog_revisions::table.find(version).first::<Row>(conn).optional()?;
    Ok(row.map(Edition::from_row).transpose()?)
}

/// The revision with this digest: what a buyer was shown. `None` when we never published it.
///
/// # Errors
/// When the database fails or the row is broken.
pub fn by_digest(conn: &mut DbConnection, digest: &str) -> Result<Option<Edition>, LoadError> {
    let row = catalog_revisions::table.filter(catalog_revisions::digest.eq(digest)).first::<Row>(conn).optional()?;
    Ok(row.map(Edition::from_row).transpose()?)
}
