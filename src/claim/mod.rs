//! Claiming: an account that was opened on somebody's word becomes its human's own.
//!
//! Promises: of many who claim at once one does; in that one transaction everything ends that anybody could have prepared
//! before (sessions, links, ways in, codes, consents, tokens, questions, an address that nobody proved), and only what the
//! human ticked on one page begins anew; resources stay, and their credentials become others. Refuses: whoever proved one
//! thing only, unless that is to be the very person whom the asserting issuer named.

mod proof;
mod view;

use serde_json::json;

use crate::account::{self, Account};
use crate::attestation::EmailTrust;
use crate::audit::{self, Fact};
use crate::authorization;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::login::{self, Authentication, ConnectError, Method, NewSession, PasskeyError, Upstreamer};
use crate::orchestrator;
use crate::outbox;
use crate::resource;
use crate::secret::SecretHash;
use crate::takeover;

pub use proof::{By, FRESH, FirstPasskey, MAIL_FRESH, Missing, Standing, standing};
pub use view::{Agent, View, view};

/// A claim about to be made. Everything slow is done.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Which account, as it was when it was shown.
    pub account: Account,
    /// What was proved, and is enough.
    pub by: By,
    /// Orchestrators that may go on.
    pub keep: Vec<OrchestratorId>,
    /// Clients of the account's own that may go on.
    pub keep_clients: Vec<String>,
    /// Of the session in which the human goes on.
    pub session: SecretHash,
}

/// Why an account was not claimed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The account.
    #[error(transparent)]
    Account(#[from] account::ClaimError),
    /// An orchestrator told that somebody touched how the account is recovered: it changes no owner for a while.
    #[error("the account rests until {0}")]
    Rests(Timestamp),
    /// The passkey.
    #[error(transparent)]
    Passkey(#[from] PasskeyError),
    /// The person of the upstream issuer.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for ClaimError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Claims. Call it inside `Db::write`: everything of it happens, or nothing.
///
/// # Errors
/// See [`ClaimError`].
pub fn claim(conn: &mut DbConnection, claim: &Claim, now: Timestamp) -> Result<(), ClaimError> {
    let id = &claim.account.id;
    account::claim(conn, id, claim.by.as_str(), now)?;
    authorization::end_agents(conn, id, (&claim.keep, &claim.keep_clients), now)?;
    authorization::end_all(conn, id, &claim.keep_clients, now)?;
    login::end_all(conn, id, now)?;
    if !is_address_proven(claim) {
        account::drop_address(conn, id)?;
    }
    let reached = account::reached_through(conn, id)?;
    for reach in &reached {
        rests(conn, id, &reach.orchestrator_id, now)?;
        authorization::allow_or_not(conn, id, reach, claim.keep.contains(&reach.orchestrator_id))?;
    }
    begin_anew(conn, claim, now)?;
    let renewed = resource::renew_all(conn, id, now)?;
    record(conn, claim, renewed, now)?;
    for reach in &reached {
        let told = json!({
            "account": {"id": id, "state": "active"},
            "may_act": claim.keep.contains(&reach.orchestrator_id),
        });
        outbox::notify(conn, "account.claimed", &reach.orchestrator_id, id, &told, now)?;
    }
    Ok(())
}

/// Nobody takes an account over while an orchestrator says that somebody else may be at it.
fn rests(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    now: Timestamp,
) -> Result<(), ClaimError> {
    let until = takeover::precautions(conn, account, orchestrator)?.cooling_until.filter(|until| now < *until);
    until.map_or(Ok(()), |until| Err(ClaimError::Rests(until)))
}

/// A mailbox opens accounts: only an address of which more than somebody's word is known stays.
fn is_address_proven(claim: &Claim) -> bool {
    let By::Issuer(person) = &claim.by else { return true };
    let own = proof::address_of(&claim.account);
    claim.account.email_trust == Some(EmailTrust::Verified) || (own.is_some() && own == person.email)
}

/// The human's way in, and their session.
fn begin_anew(conn: &mut DbConnection, claim: &Claim, now: Timestamp) -> Result<(), ClaimError> {
    let id = &claim.account.id;
    let authentication = match &claim.by {
        By::Issuer(person) | By::MailAndUpstream(person) => {
            login::connect(conn, id, person, now)?;
            Authentication { method: Method::Upstream, at: Timestamp::from_seconds(person.auth_time).min(now) }
        }
        By::MailAndPasskey(first) => {
            login::add_first_passkey(conn, id, (&first.name, &first.passkey), &first.step, now)?;
            Authentication { method: Method::Passkey, at: now }
        }
    };
    let session = NewSession { hash: claim.session.clone(), account: id.clone(), authentication, replaces: None };
    Ok(login::begin(conn, &session, now)?)
}

fn record(conn: &mut DbConnection, claim: &Claim, renewed: usize, now: Timestamp) -> Result<(), ClaimError> {
    let id = &claim.account.id;
    let mut kept = Vec::new();
    for orchestrator in &claim.keep {
        kept.extend(orchestrator::by_id(conn, orchestrator)?.map(|known| known.name.to_string()));
    }
    kept.extend(claim.keep_clients.iter().cloned());
    let fact = Fact {
        actor: format!("user:{id}"),
        action: "account.claimed",
        account_id: Some(id),
        subject: id.to_string(),
        detail: json!({"method": claim.by.as_str(), "kept": kept, "renewed": renewed}),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// Whether the person of the upstream issuer is the one whom that same issuer, as an orchestrator, named for the account.
///
/// # Errors
/// When the database fails.
pub fn is_asserted(conn: &mut DbConnection, account: &AccountId, person: &Upstreamer) -> Result<bool, DbError> {
    let named = account::named_by(conn, &person.issuer, &person.subject)?;
    Ok(named.is_some_and(|named| named.id == *account))
}
