//! The secrets of all orchestrators, opened and kept for a few seconds: a new or retired one counts soon in every process.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::TimeDelta;

use super::{SignatureError, SignedRequest, SigningSecret, UnverifiedRequest};
use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::orchestrator::{self, WireSecret};
use crate::signing::Sealer;

/// How long the opened secrets are in force.
const FRESH: TimeDelta = TimeDelta::seconds(5);
/// When nothing fits, they are read again if they are older than this: a secret may be new.
const FRESH_FOR_STRANGERS: TimeDelta = TimeDelta::seconds(1);

/// Opens secrets, and finds the one that fits.
#[derive(Debug)]
pub struct SecretBook {
    sealer: Arc<Sealer>,
    kept: RwLock<Option<Kept>>,
}

#[derive(Debug, Clone)]
struct Kept {
    secrets: Arc<Vec<SigningSecret>>,
    read_at: Timestamp,
}

/// Why nobody is found.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// No orchestrator has a secret: the wire is closed.
    #[error("no orchestrator has a secret: see `portreeve orchestrator wire secret add`")]
    NoSecrets,
    /// The signature is not believed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl SecretBook {
    /// A book that opens secrets with `sealer`.
    #[must_use]
    pub fn new(sealer: Arc<Sealer>) -> Self {
        Self { sealer, kept: RwLock::new(None) }
    }

    /// Who signed the request by the first scheme.
    ///
    /// # Errors
    /// When nobody's secret fits, there are no secrets, or the database fails.
    pub async fn find_signer(
        &self,
        db: &Db,
        request: &UnverifiedRequest<'_>,
        now: Timestamp,
    ) -> Result<SignedRequest, SignerError> {
        let kept = self.kept(db, now, FRESH).await?;
        let mut found = request.verify(&kept.secrets, now);
        if matches!(found, Err(SignatureError::Mismatch)) && now.since(kept.read_at) >= FRESH_FOR_STRANGERS {
            found = request.verify(&self.kept(db, now, FRESH_FOR_STRANGERS).await?.secrets, now);
        }
        match found {
            Err(_) if kept.secrets.is_empty() && self.kept(db, now, FRESH_FOR_STRANGERS).await?.secrets.is_empty() => {
                Err(SignerError::NoSecrets)
            }
            found => Ok(found?),
        }
    }

    /// Reads everything again at the next request: for whoever changed a secret in this process.
    pub fn forget(&self) {
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn kept(&self, db: &Db, now: Timestamp, fresh: TimeDelta) -> Result<Kept, DbError> {
        let known = self.kept.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.read_at <= now && now.since(known.read_at) < fresh) {
            return Ok(known);
        }
        let sealed = db.read(orchestrator::secrets).await?;
        let kept = Kept { secrets: Arc::new(sealed.iter().filter_map(|one| self.open(one)).collect()), read_at: now };
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
        Ok(kept)
    }

    /// A secret that cannot be opened signs nothing; the others go on.
    fn open(&self, secret: &WireSecret) -> Option<SigningSecret> {
        let place = WireSecret::place(&secret.orchestrator_id, &secret.id);
        match self.sealer.open(&place, &secret.sealed) {
            // An empty key would fit anybody.
            Ok(text) if text.is_empty() => None,
            Ok(text) => Some(SigningSecret::new(secret.orchestrator_id.clone(), secret.id.clone(), &text)),
            Err(error) => {
                tracing::error!(secret = %secret.id, error = %error, "a secret of an orchestrator cannot be opened");
                None
            }
        }
    }
}
