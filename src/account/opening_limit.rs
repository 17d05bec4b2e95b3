//! How many accounts an orchestrator opens in an hour, in all and for one address with its aliases and look-alikes:
//! counted in the database, so that it holds for all processes together. Counted before an account is opened: when it
//! cannot be counted, none is. An orchestrator's own openings alone count, so that it learns nothing about anybody else's.

use chrono::TimeDelta;

use super::opening_store as rows;
use crate::attestation::Attestation;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::idempotency;
use crate::secret::sha256_base64url;

/// How often a lost race is run again.
const TRIES: u32 = 3;
/// How long the counts of past hours are kept.
const KEPT: TimeDelta = TimeDelta::days(1);
/// An hour, in seconds.
const HOUR: i64 = 3600;
/// The most for one address, its aliases and what looks like it, wherever openings are limited at all. Requests that lose a
/// race about one person count as well.
const PER_ADDRESS: u32 = 100;

/// Why no account may be opened now.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// As many were opened as may be in one hour.
    #[error("the orchestrator opened {at_most} accounts in this hour, in all or for one address, as many as it may")]
    TooMany {
        /// How many.
        at_most: u32,
        /// Until the next hour, in whole seconds.
        wait: u64,
    },
    /// The database failed: what cannot be counted is not opened.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Counts an account that is about to be opened. Nothing is counted when `at_most` is 0.
///
/// # Errors
/// See [`CountError`]: then no account may be opened.
pub async fn count_opening(db: &Db, attestation: &Attestation, at_most: u32, now: Timestamp) -> Result<(), CountError> {
    if at_most == 0 {
        return Ok(());
    }
    let orchestrator = &attestation.orchestrator_id;
    let fold = attestation.email.as_ref().map(|email| sha256_base64url(email.canonical.fold().as_bytes()));
    let per_address = at_most.min(PER_ADDRESS);
    let hour = Timestamp::from_seconds(now.seconds().div_euclid(HOUR) * HOUR);
    let mut tries = TRIES;
    let full = loop {
        let (id, fold) = (orchestrator.clone(), fold.clone());
        let work = move |conn: &mut DbConnection| {
            if let Some(fold) = &fold
                && !rows::count_address(conn, (&id, fold), hour, i64::from(per_address))?
            {
                return Ok(Some(per_address));
            }
            let counted = rows::count(conn, &id, hour, i64::from(at_most))?;
            Ok::<_, DbError>((!counted).then_some(at_most))
        };
        match db.write(orchestrator.as_str(), work).await {
            Err(error) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => break other?,
        }
    };
    let wait = u64::try_from(HOUR - now.seconds().rem_euclid(HOUR)).unwrap_or(1);
    full.map_or(Ok(()), |at_most| Err(CountError::TooMany { at_most, wait }))
}

/// Forgets the counts of hours that are over. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn forget_openings(conn: &mut DbConnection, now: Timestamp) -> Result<usize, DbError> {
    Ok(rows::delete_before(conn, now.minus(KEPT))?)
}
