//! Signatures of the second scheme that carry a `jti`: each is good for one request. The same request again is a
//! repetition, and is answered as such by whoever acts on it; another request under the same `jti` is refused.

use super::store;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::idempotency;
use crate::ids::OrchestratorId;
use crate::secret::sha256_base64url;

/// How much longer than it could be accepted a use is remembered, in seconds: clocks differ.
const REMEMBER_LONGER: i64 = 120;
/// How often a lost race is run again.
const TRIES: u32 = 3;

/// A signature of the second scheme that holds for its request, by its `jti`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSignature {
    orchestrator_id: OrchestratorId,
    jti_hash: String,
    refused_from: Timestamp,
}

/// Why a named signature is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// It was used for another request.
    #[error("the second signature's `jti` was used for another request")]
    Other,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl NamedSignature {
    pub(super) fn new(orchestrator_id: &OrchestratorId, jti: &str, exp: i64) -> Self {
        Self {
            orchestrator_id: orchestrator_id.clone(),
            jti_hash: sha256_base64url(jti.as_bytes()),
            refused_from: Timestamp::from_seconds(exp.saturating_add(REMEMBER_LONGER)),
        }
    }

    /// Names the request: whatever else was signed anew, the same `jti` is the same request.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.jti_hash
    }

    /// Notes that the signature was used for a request: SHA-256 of everything that makes it this request.
    ///
    /// # Errors
    /// [`UseError::Other`] when it was used for another one before.
    pub async fn use_for(&self, db: &Db, request_hash: &str) -> Result<(), UseError> {
        let mut tries = TRIES;
        loop {
            let (named, request_hash) = (self.clone(), request_hash.to_owned());
            let work = move |conn: &mut DbConnection| note(conn, &named, &request_hash);
            match db.write(&self.jti_hash, work).await {
                Err(UseError::Db(error)) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
                other => return other,
            }
        }
    }
}

fn note(conn: &mut DbConnection, named: &NamedSignature, request_hash: &str) -> Result<(), UseError> {
    let (id, jti) = (&named.orchestrator_id, named.jti_hash.as_str());
    match store::used_for(conn, id, jti).map_err(DbError::from)? {
        Some(known) if known == request_hash => Ok(()),
        Some(_) => Err(UseError::Other),
        None => Ok(store::insert(conn, (id, jti), request_hash, named.refused_from).map_err(DbError::from)?),
    }
}

/// Forgets at most `limit` of the uses whose signatures nobody accepts any more. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn forget_signatures(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<usize, DbError> {
    Ok(store::delete_before(conn, now, limit)?)
}
