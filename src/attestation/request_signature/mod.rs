//! Signed requests of the provisioning wire: who sent these bytes.
//!
//! Promises: a [`SignedRequest`] exists only when a registered secret fits the exact bytes and the signature is not older
//! or younger than [`TOLERANCE_SECONDS`]; the second scheme binds method, path and body to a key that the orchestrator
//! itself publishes. Refuses: everything else, with one coarse answer for the caller and a precise reason for the log.
//! The first scheme binds neither method nor path and has no nonce: the same bytes again are the same request, so whoever
//! acts on it must be idempotent.

#[cfg(test)]
mod attacks;
mod hmac;
mod public_keys;
mod secret_book;
mod store;
mod uses;
mod v2;

use crate::ids::{OrchestratorId, WireSecretId};

pub use hmac::SigningSecret;
pub use public_keys::{PublicKeyCache, PublicKeyError, PublicKeySource};
pub use secret_book::{SecretBook, SignerError};
pub use uses::{NamedSignature, UseError, forget_signatures};

/// How far the time of a signature may be from ours, in both directions.
pub const TOLERANCE_SECONDS: i64 = 300;

/// A request as it came in. Nothing of it is believed.
#[derive(Debug, Clone, Copy)]
pub struct UnverifiedRequest<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// Path and query, as they stand on the request line.
    pub target: &'a str,
    /// Our address for the outside, without a trailing slash.
    pub base_url: &'a str,
    /// The header `Stripe-Signature`. `None` when it is missing, or there is more than one.
    pub signature: Option<&'a str>,
    /// The header `Stripe-Signature-V2`, by the same rule.
    pub signature_v2: Option<&'a str>,
    /// The bytes as they were sent.
    pub body: &'a [u8],
}

/// A request whose first signature fits a registered secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// Whose secret it is.
    orchestrator_id: OrchestratorId,
    /// Which secret.
    secret_id: WireSecretId,
    /// When they say that they signed, in seconds since 1970.
    signed_at: i64,
}

impl SignedRequest {
    /// Who signed.
    #[must_use]
    pub fn orchestrator_id(&self) -> &OrchestratorId {
        &self.orchestrator_id
    }

    /// With which secret.
    #[must_use]
    pub fn secret_id(&self) -> &WireSecretId {
        &self.secret_id
    }

    /// When, by their clock, in seconds since 1970.
    #[must_use]
    pub fn signed_at(&self) -> i64 {
        self.signed_at
    }
}

/// Why a request is not believed. For the log; a caller hears `invalid_signature`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is missing, or there is more than one.
    #[error("there is not exactly one signature header")]
    Missing,
    /// The header cannot be read.
    #[error("the signature header is malformed: {0}")]
    Malformed(&'static str),
    /// The time is too far from ours.
    #[error("the signature's time is too far from ours")]
    Stale,
    /// No registered secret fits.
    #[error("no registered secret fits")]
    Mismatch,
    /// The second scheme's token itself.
    #[error("the second signature does not hold: {0}")]
    Token(#[from] crate::signing::JwsError),
    /// The second scheme's key.
    #[error("the second signature's key: {0}")]
    Key(#[from] PublicKeyError),
    /// A claim of the second scheme.
    #[error("the second signature's `{0}` does not fit this request")]
    Claim(&'static str),
}
