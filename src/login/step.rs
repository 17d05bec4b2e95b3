//! Steps of a log-in that wait for a browser to come back: a link in a mail, a way to the upstream issuer, a passkey's
//! challenge, a choice of account. What a step knows is sealed, its secret is kept as a hash, and it works once.

use chrono::TimeDelta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{proofs, store};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::LogInStepId;
use crate::secret::{Secret, SecretHash};
use crate::signing::{SealError, Sealer};

/// How long a step waits.
pub(super) const LIFETIME: TimeDelta = TimeDelta::minutes(15);

/// Which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A link in a mail. It has a secret only when the mail is sent.
    MailLink,
    /// To the upstream issuer and back.
    Upstream,
    /// Which of several accounts, for somebody who came back from the upstream issuer.
    Choice,
    /// A challenge for a passkey.
    Passkey,
    /// A challenge for a passkey that is being added.
    NewPasskey,
    /// A challenge for the passkey with which an account is claimed.
    ClaimPasskey,
}

impl StepKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::MailLink => "mail_link",
            Self::Upstream => "upstream",
            Self::Choice => "choice",
            Self::Passkey => "passkey",
            Self::NewPasskey => "new_passkey",
            Self::ClaimPasskey => "claim_passkey",
        }
    }
}

/// Why a step cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Unknown, used, expired, or another browser's: which of them is nobody's business.
    #[error("the step was taken, expired, or never existed here")]
    Gone,
    /// What it knows cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What it knows cannot be written or read.
    #[error(transparent)]
    Facts(#[from] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for StepError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A step about to be written.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Names it.
    pub id: LogInStepId,
    /// Of the secret that takes it, when there is one already.
    pub token: Option<SecretHash>,
    /// Which.
    pub kind: StepKind,
    /// Of the secret in the browser that began.
    pub browser: SecretHash,
    sealed_facts: String,
}

/// A step that waits.
#[derive(Debug, Clone)]
pub struct Step {
    /// Names it.
    pub id: LogInStepId,
    /// Of the secret in the browser that began.
    pub browser: SecretHash,
    /// When it began.
    pub created_at: Timestamp,
    /// Until when it waits.
    pub expires_at: Timestamp,
    pub(super) sealed_facts: String,
}

fn place(id: &LogInStepId) -> String {
    format!("log_in_steps/{id}")
}

impl NewStep {
    /// A step of the browser with the secret `browser`, taken with `token`. Seals; call it before the transaction.
    ///
    /// # Errors
    /// When what it knows cannot be sealed.
    pub fn new(
        (kind, token): (StepKind, Option<&Secret>),
        browser: &Secret,
        facts: &impl Serialize,
        sealer: &Sealer,
        now: Timestamp,
    ) -> Result<Self, StepError> {
        let id = LogInStepId::new(now);
        let sealed_facts = sealer.seal(&place(&id), &serde_json::to_vec(facts)?)?;
        Ok(Self { id, token: token.map(Secret::hash), kind, browser: browser.hash(), sealed_facts })
    }

    pub(super) fn sealed_facts(&self) -> &str {
        &self.sealed_facts
    }
}

impl Step {
    /// What it knows.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn facts<Facts: DeserializeOwned>(&self, sealer: &Sealer) -> Result<Facts, StepError> {
        Ok(serde_json::from_slice(&sealer.open(&place(&self.id), &self.sealed_facts)?)?)
    }

    /// Whether it began in the browser with this secret.
    #[must_use]
    pub fn began_in(&self, browser: &Secret) -> bool {
        self.browser.matches(browser.expose())
    }
}

/// Writes a step. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn begin(conn: &mut DbConnection, new: &NewStep, now: Timestamp) -> Result<(), DbError> {
    Ok(store::insert_step(conn, new, now, now.plus(LIFETIME))?)
}

/// Looks at a step without taking it.
///
/// # Errors
/// When it does not wait (any more), or the database fails.
pub fn look(conn: &mut DbConnection, token: &SecretHash, kind: StepKind, now: Timestamp) -> Result<Step, StepError> {
    store::step(conn, token, kind, now)?.ok_or(StepError::Gone)
}

/// Takes a step: of many who try, one. Call it inside `Db::write`.
///
/// # Errors
/// When it does not wait (any more), or the database fails.
pub fn take(conn: &mut DbConnection, token: &SecretHash, kind: StepKind, now: Timestamp) -> Result<(), StepError> {
    if store::use_step(conn, token, kind, now)? { Ok(()) } else { Err(StepError::Gone) }
}

/// Forgets steps that ended. Answers how many. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn forget_ended(conn: &mut DbConnection, now: Timestamp) -> Result<usize, DbError> {
    let steps = store::delete_steps_before(conn, now.minus(TimeDelta::days(1)))?;
    Ok(steps.max(proofs::forget_old(conn, now)?))
}
