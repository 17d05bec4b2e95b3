//! Publishing: the next revision, signed before the transaction, decided in it by its number.

use chrono::TimeDelta;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use serde_json::json;

use super::Catalog;
use super::edition::{BrokenRevision, Edition};
use super::published::{InvalidVersion, JWS_TYPE, LIFETIME, MAX_DOCUMENT, Said, Version};
use super::store::{self, Row};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::secret::sha256_name;
use crate::signing::{KeyPurpose, KeyRing, SigningError};

/// What became of publishing.
#[derive(Debug)]
pub enum Published {
    /// There is a new revision.
    New(Edition),
    /// The newest revision says the same already. Nothing was done.
    Unchanged(Edition),
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The number was taken in between.
    #[error("somebody published version {0} first; look at it and publish again")]
    SomebodyFirst(Version),
    /// The newest revision was issued later than now.
    #[error("version {version} was issued at {issued_at}, which is later than now: set this machine's clock")]
    IssuedLater {
        /// The newest.
        version: Version,
        /// When.
        issued_at: Timestamp,
    },
    /// More than anybody would fetch.
    #[error("the document has {0} bytes; at most {MAX_DOCUMENT} can be published")]
    TooLarge(usize),
    /// There are no more numbers.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// The document could not be written.
    #[error("the document could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// It could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// A stored revision is not what was published.
    #[error(transparent)]
    Broken(#[from] BrokenRevision),
    /// The database failed. After [`DbError::Unknown`], publish again: the number decides.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Publishes the catalog's content under the issuer `iss` (the base URL without a trailing slash).
///
/// Unchanged content is not published again unless the newest revision has expired.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish(
    db: &Db,
    keys: &KeyRing,
    catalog: &Catalog,
    iss: &str,
    now: Timestamp,
) -> Result<Published, PublishError> {
    let said = Said::new(iss, &catalog.content)?;
    let newest = newest(db).await?;
    if let Some(same) = the_same(newest.as_ref(), &said, now)? {
        return Ok(Published::Unchanged(same));
    }
    let row = next(keys, &said, newest.as_ref(), now)?;
    insert(db, row, "catalog.published", now).await.map(Published::New)
}

/// The newest revision, when publishing would change nothing.
///
/// # Errors
/// See [`PublishError`].
pub async fn unchanged(db: &Db, catalog: &Catalog, iss: &str, now: Timestamp) -> Result<Option<Edition>, PublishError> {
    the_same(newest(db).await?.as_ref(), &Said::new(iss, &catalog.content)?, now)
}

fn the_same(newest: Option<&Row>, said: &Said, now: Timestamp) -> Result<Option<Edition>, PublishError> {
    match newest {
        Some(row) if row.content_digest == said.digest()? && row.expires_at > now => {
            Ok(Some(Edition::from_row(row.clone())?))
        }
        _ => Ok(None),
    }
}

/// Issues the newest revision again, with the same content, when less than half of its lifetime is left. `None`: not due.
///
/// # Errors
/// See [`PublishError`]; [`PublishError::SomebodyFirst`] means that another process has done it.
pub async fn reissue_if_due(db: &Db, keys: &KeyRing, now: Timestamp) -> Result<Option<Edition>, PublishError> {
    let Some(newest) = newest(db).await? else { return Ok(None) };
    if newest.expires_at.since(now) >= half(LIFETIME) {
        return Ok(None);
    }
    let row = next(keys, &Said::of(&newest.document)?, Some(&newest), now)?;
    insert(db, row, "catalog.reissued", now).await.map(Some)
}

fn half(lifetime: TimeDelta) -> TimeDelta {
    TimeDelta::seconds(lifetime.num_seconds() / 2)
}

async fn newest(db: &Db) -> Result<Option<Row>, DbError> {
    db.read(|conn| store::latest_row(conn).map_err(DbError::from)).await
}

/// The revision after `newest`, signed.
fn next(keys: &KeyRing, said: &Said, newest: Option<&Row>, now: Timestamp) -> Result<Row, PublishError> {
    // Whole seconds read better, and nothing needs finer ones.
    let issued_at = Timestamp::from_seconds(now.seconds());
    if let Some(newest) = newest.filter(|newest| newest.issued_at > issued_at) {
        return Err(PublishError::IssuedLater { version: newest.version, issued_at: newest.issued_at });
    }
    let version = newest.map_or(Ok(Version::FIRST), |newest| newest.version.next())?;
    let document = said.issue(version, newest.map(|newest| newest.digest.as_str()), issued_at)?;
    if document.len() > MAX_DOCUMENT {
        return Err(PublishError::TooLarge(document.len()));
    }
    let jws = serde_json::to_vec(&keys.sign_general(KeyPurpose::Catalog, JWS_TYPE, &document)?)?;
    Ok(Row {
        version,
        digest: sha256_name(&document),
        content_digest: said.digest()?,
        document,
        jws,
        issued_at,
        expires_at: issued_at.plus(LIFETIME),
    })
}

/// Adds the revision and the fact that it was published. The primary key decides between two publishers.
async fn insert(db: &Db, row: Row, action: &'static str, now: Timestamp) -> Result<Edition, PublishError> {
    // Before the transaction, so that nothing is published that could not be served.
    let edition = Edition::from_row(row.clone())?;
    let work = move |conn: &mut _| {
        let version = row.version;
        store::insert(conn, &row).map_err(|error| match error {
            QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => PublishError::SomebodyFirst(version),
            other => PublishError::Db(other.into()),
        })?;
        let fact = Fact {
            actor: if action == "catalog.reissued" { "system" } else { "operator" }.to_owned(),
            action,
            account_id: None,
            subject: format!("catalog/{version}"),
            detail: json!({"digest": row.digest, "content_digest": row.content_digest}),
        };
        audit::append(conn, &fact, now).map_err(|error| PublishError::Db(error.into()))
    };
    db.write("catalog", work).await?;
    Ok(edition)
}
