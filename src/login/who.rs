//! What a log-in proved, and which accounts that opens.
//!
//! A mailbox opens the accounts of its address. A person of the upstream issuer opens the accounts that they are connected
//! to, and as long as nobody has claimed them, those that the same issuer named for them as an orchestrator, and, because
//! that issuer is the provider's own, those of the address that it verified. A claimed account is connected from inside ([`super::connect`]), never by an address: addresses change
//! hands. What was asked for before an account was claimed does not open it after.

use serde::{Deserialize, Serialize};

use super::proofs::{self, Proofs};
use super::session::{self, Authentication, Method, NewSession};
use super::step::{self, StepError, StepKind};
use super::store;
use crate::account::{self, Account};
use crate::attestation::CanonicalEmail;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::SecretHash;

/// The most accounts that one person chooses from.
pub const MAX_ACCOUNTS: i64 = 20;

/// A person of the upstream issuer, as its ID token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstreamer {
    /// The issuer, exactly.
    pub issuer: String,
    /// The person there.
    pub subject: String,
    /// The canonical address, when the issuer verified it.
    pub email: Option<String>,
    /// When they logged in there, in seconds since 1970.
    pub auth_time: i64,
}

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Whoever reads this mailbox: a canonical address.
    Mailbox(String),
    /// A person of the upstream issuer.
    Upstream(Upstreamer),
}

/// What a mail link, or the choice after the upstream issuer, knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proven {
    /// What is proved by taking the step.
    pub proof: Proof,
    /// The page of ours that the log-in leads to.
    pub onward: String,
}

/// A step that is taken with a log-in.
#[derive(Debug, Clone)]
pub struct Taking {
    /// Of its secret.
    pub token: SecretHash,
    /// Which.
    pub kind: StepKind,
    /// When it began.
    pub began_at: Timestamp,
    /// Whether it is taken in the browser in which it began.
    pub here: bool,
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum LogInError {
    /// The step does not wait (any more).
    #[error(transparent)]
    Step(#[from] StepError),
    /// What was proved does not open this account.
    #[error("this log-in does not open that account")]
    NotTheirs,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for LogInError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl Proof {
    /// Of a mailbox.
    #[must_use]
    pub fn of_mailbox(address: &CanonicalEmail) -> Self {
        Self::Mailbox(address.as_str().to_owned())
    }

    /// The accounts that it opens, oldest first, at most [`MAX_ACCOUNTS`].
    ///
    /// # Errors
    /// When the database fails.
    pub fn accounts(&self, conn: &mut DbConnection) -> Result<Vec<Account>, DbError> {
        let mut found = match self {
            Self::Mailbox(address) => account::with_address(conn, address, MAX_ACCOUNTS)?,
            Self::Upstream(person) => of_upstream(conn, person)?,
        };
        found.retain(|account| account.state.is_usable());
        Ok(found)
    }

    fn authentication(&self, now: Timestamp) -> Authentication {
        match self {
            Self::Mailbox(_) => Authentication { method: Method::MailLink, at: now },
            Self::Upstream(person) => {
                let at = Timestamp::from_seconds(person.auth_time).min(now);
                Authentication { method: Method::Upstream, at }
            }
        }
    }
}

fn of_upstream(conn: &mut DbConnection, person: &Upstreamer) -> Result<Vec<Account>, DbError> {
    let mut found = Vec::new();
    for id in store::linked_upstream(conn, &person.issuer, &person.subject, MAX_ACCOUNTS)? {
        found.extend(account::by_id(conn, &id)?);
    }
    // Until it is claimed: from then on only who is connected.
    if let Some(named) = account::named_by(conn, &person.issuer, &person.subject)?
        && !named.is_claimed()
        && !found.iter().any(|linked| linked.id == named.id)
    {
        found.push(named);
    }
    let Some(address) = &person.email else { return Ok(found) };
    for account in account::with_address(conn, address, MAX_ACCOUNTS)? {
        let known = found.iter().any(|linked: &Account| linked.id == account.id);
        if !known
            && !account.is_claimed()
            && !store::is_anothers_upstream(conn, &account.id, &person.issuer, &person.subject)?
        {
            found.push(account);
        }
    }
    found.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    Ok(found)
}

/// Somebody proved enough to open `account`: begins their session. With `step`, that is taken first, so that of many who
/// try one gets in. Call it inside `Db::write`.
///
/// # Errors
/// See [`LogInError`]; nothing was changed then.
pub fn log_in(
    conn: &mut DbConnection,
    (proof, account): (&Proof, &AccountId),
    step: Option<&Taking>,
    (session, replaces): (&SecretHash, Option<&SecretHash>),
    now: Timestamp,
) -> Result<(), LogInError> {
    if let Some(step) = step {
        step::take(conn, &step.token, step.kind, now)?;
    }
    // Whoever claims it at this moment comes before, and the step is too old, or after, and ends the session.
    store::lock_account(conn, account)?;
    if let Some(step) = step
        && account::claimed_at(conn, account)?.is_some_and(|claimed| step.began_at <= claimed)
    {
        return Err(LogInError::NotTheirs);
    }
    if !proof.accounts(conn)?.iter().any(|opened| opened.id == *account) {
        return Err(LogInError::NotTheirs);
    }
    let before = proofs::of_replaced(conn, replaces, account, now)?;
    let proved = Proofs::of(proof, step.is_some_and(|step| step.here), now);
    proofs::keep(conn, session, (proved, before), now)?;
    let new = NewSession {
        hash: session.clone(),
        account: account.clone(),
        authentication: proof.authentication(now),
        replaces: replaces.cloned(),
    };
    Ok(session::begin(conn, &new, now)?)
}
