//! Attestations: what an orchestrator states about a person, read strictly and believed only after verification.
//!
//! Promises: the type of a token is judged before any key is looked up; keys come from the registered issuer alone; an
//! [`Attestation`] exists only when signature, audience and times fit. Refuses: everything else, with one coarse code for
//! the caller and a precise reason for the log. Says nothing about accounts, and does not burn the assertion.

#[cfg(test)]
pub(crate) mod attacks;
mod email;
mod id_jag;
mod id_token;
mod request;
pub mod request_signature;

use crate::clock::Timestamp;
use crate::ids::{OrchestratorId, WireSecretId};
use crate::orchestrator::{KeyError, Statement};
use crate::signing::JwsError;

pub use email::{AssertedEmail, CanonicalEmail, EmailTrust, InvalidEmail, UnknownTrust};
pub use id_jag::{Assertion, IdJag, UnverifiedJag};
pub use id_token::Unverified;
pub use request::{AccountRequestFacts, attest_signed, attest_unsigned};

/// A verified statement of an orchestrator about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Whose statement it is.
    pub orchestrator_id: OrchestratorId,
    /// The tenant at an issuer that serves several; empty otherwise.
    pub tenant: String,
    /// The person, as the orchestrator names them: 1 to 255 bytes, compared byte for byte.
    pub subject: String,
    /// The address that the orchestrator gave for the person. A hint and a contact, never an identity.
    pub email: Option<AssertedEmail>,
    /// When the person last logged in there.
    pub auth_time: Option<Timestamp>,
    /// In which authentication context class they did (`acr`).
    pub acr: Option<String>,
    /// Names the assertion among all of this orchestrator: its `jti`, or its hash where it has none.
    pub assertion_key: String,
    /// SHA-256 of the whole assertion.
    pub assertion_hash: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// From when on nobody would accept it any more: until then its use is remembered.
    pub refused_from: Timestamp,
    /// Which key signed it: its `kid`, or the id of a wire secret. `None` when nobody signed it.
    pub key_id: Option<String>,
}

impl Attestation {
    /// As far as belief in it depends on it.
    #[must_use]
    pub fn statement(&self) -> Statement<'_> {
        Statement {
            orchestrator: &self.orchestrator_id,
            key: self.key_id.as_deref(),
            tenant: &self.tenant,
            subject: &self.subject,
        }
    }

    /// The same, signed with a secret of the provisioning wire.
    #[must_use]
    pub fn signed_with(mut self, secret: &WireSecretId) -> Self {
        self.key_id = Some(secret.to_string());
        self
    }
}

/// Why an assertion is not believed. For the log; a caller hears [`AttestationError::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// The token itself: form, type, algorithm, signature.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// `iss` is missing.
    #[error("the assertion names no issuer")]
    NoIssuer,
    /// Nobody registered the issuer.
    #[error("the issuer is not registered")]
    UnknownIssuer,
    /// The orchestrator is suspended.
    #[error("the orchestrator is suspended")]
    Suspended,
    /// The person is distrusted.
    #[error("the person is distrusted")]
    Distrusted,
    /// No key decides.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The OpenID Connect library does not believe it.
    #[error("the ID token does not hold: {0}")]
    IdToken(String),
    /// `aud` is not exactly our client id there, or `azp` is another's.
    #[error("the assertion is for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the assertion has expired")]
    Expired,
    /// `iat` lies in the future, or `nbf` or `auth_time` does.
    #[error("the assertion is from the future")]
    NotYet,
    /// `iat` is too long ago.
    #[error("the assertion is too old")]
    TooOld,
    /// It is good for longer than an assertion may be.
    #[error("the assertion is good for too long")]
    TooLong,
    /// A claim is outside its bounds.
    #[error("`{0}` is not 1 to 255 bytes without control characters")]
    Claim(&'static str),
}

impl AttestationError {
    /// What a caller hears. `issuer_unavailable` is worth a retry; the other is not.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Key(KeyError::Unavailable(_)) => "issuer_unavailable",
            _ => "invalid_attestation",
        }
    }
}
