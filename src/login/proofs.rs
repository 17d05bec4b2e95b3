//! What the human behind a session proved so far, and when. One log-in proves one thing; a second one in the same browser
//! adds to it, because a claim needs more than a mailbox.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::proof_store as rows;
use super::store;
use super::who::{Proof, Upstreamer};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::SecretHash;

/// How long what was proved is remembered.
const KEPT: TimeDelta = TimeDelta::days(1);

/// That somebody reads a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its canonical address.
    pub address: String,
    /// When the link was taken, in microseconds since 1970.
    pub at: i64,
    /// Whether the link was taken in the browser that asked for it: then whoever asked is who reads.
    pub here: bool,
}

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proofs {
    /// A mailbox.
    pub mailbox: Option<Mailbox>,
    /// To be a person of the upstream issuer.
    pub upstream: Option<Upstreamer>,
}

impl Proofs {
    /// What one log-in proves.
    pub(super) fn of(proof: &Proof, here: bool, now: Timestamp) -> Self {
        match proof {
            Proof::Mailbox(address) => {
                let mailbox = Mailbox { address: address.clone(), at: now.micros(), here };
                Self { mailbox: Some(mailbox), upstream: None }
            }
            Proof::Upstream(person) => Self { mailbox: None, upstream: Some(person.clone()) },
        }
    }

    /// With what was proved before and is not proved anew.
    fn with(self, before: Self) -> Self {
        Self { mailbox: self.mailbox.or(before.mailbox), upstream: self.upstream.or(before.upstream) }
    }
}

/// What the human behind a session proved. Nothing for a session of a link.
///
/// # Errors
/// When the database fails or holds something else.
pub fn proofs(conn: &mut DbConnection, session: &SecretHash) -> Result<Proofs, DbError> {
    let Some(text) = rows::of(conn, session)? else { return Ok(Proofs::default()) };
    Ok(serde_json::from_str(&text).map_err(|error| diesel::result::Error::DeserializationError(error.into()))?)
}

/// What was proved in the session that a new one takes the place of, if that goes on and is of the same account.
pub(super) fn of_replaced(
    conn: &mut DbConnection,
    replaced: Option<&SecretHash>,
    account: &AccountId,
    now: Timestamp,
) -> Result<Proofs, DbError> {
    let Some(replaced) = replaced else { return Ok(Proofs::default()) };
    match store::session(conn, replaced, now)? {
        Some((owner, _)) if owner == *account => proofs(conn, replaced),
        _ => Ok(Proofs::default()),
    }
}

/// Remembers what was proved in a session, now and before.
pub(super) fn keep(
    conn: &mut DbConnection,
    session: &SecretHash,
    (proved, before): (Proofs, Proofs),
    now: Timestamp,
) -> Result<(), DbError> {
    let text = serde_json::to_string(&proved.with(before))
        .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    Ok(rows::insert(conn, session, &text, now)?)
}

/// Forgets what was proved a day ago.
pub(super) fn forget_old(conn: &mut DbConnection, now: Timestamp) -> Result<usize, DbError> {
    Ok(rows::delete_before(conn, now.minus(KEPT))?)
}
