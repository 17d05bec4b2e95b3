//! Registering an orchestrator, and stopping or resuming belief in it.

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use serde_json::json;
use url::Url;

use super::{EmailDomain, ExistingAccount, Issuer, Orchestrator, OrchestratorName, Origin};
use super::{distrust_store, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::OrchestratorId;
use crate::money::{Amount, Currency};
use crate::signing::SignatureAlgorithm;

/// 100.00 USD.
const DEFAULT_CEILING_MINOR: i64 = 10_000;

/// An orchestrator to be registered. The fields mean what they mean in [`Orchestrator`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is that of `Orchestrator`")]
pub struct NewOrchestrator {
    pub name: OrchestratorName,
    pub issuer: Issuer,
    pub client_id: String,
    pub algorithms: Vec<SignatureAlgorithm>,
    pub existing_account: ExistingAccount,
    pub may_open_accounts: bool,
    pub email_domains: Vec<EmailDomain>,
    pub settlement_url: Option<Url>,
    pub currency: Currency,
    pub monthly_ceiling: Amount,
    pub provisional_ceiling: Amount,
    pub origin: Origin,
}

impl NewOrchestrator {
    /// With the defaults: ES256, EdDSA and RS256; consent for existing accounts; may open accounts; an authority over no
    /// mail domain; no settlement; 100 USD a month, claimed or not; registered by an operator.
    #[must_use]
    pub fn new(name: OrchestratorName, issuer: Issuer, client_id: impl Into<String>) -> Self {
        let ceiling = Amount::from_minor(DEFAULT_CEILING_MINOR).unwrap_or_default();
        Self {
            name,
            issuer,
            client_id: client_id.into(),
            algorithms: vec![SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa, SignatureAlgorithm::Rs256],
            existing_account: ExistingAccount::UserConsent,
            may_open_accounts: true,
            email_domains: Vec::new(),
            settlement_url: None,
            currency: Currency::USD,
            monthly_ceiling: ceiling,
            provisional_ceiling: ceiling,
            origin: Origin::Operator,
        }
    }
}

/// Why an orchestrator was not registered.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Another one has the name.
    #[error("an orchestrator named `{0}` is already registered")]
    NameTaken(String),
    /// Another one has the issuer.
    #[error("the issuer `{0}` is already registered")]
    IssuerTaken(String),
    /// Our client id there is no identifier.
    #[error("our client id at the orchestrator must be 1 to 255 visible ASCII characters")]
    ClientId,
    /// No algorithm is allowed.
    #[error("at least one signature algorithm must be allowed")]
    NoAlgorithm,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Registers an orchestrator.
///
/// # Errors
/// See [`AddError`]. After one of them the transaction must be undone.
pub fn add(conn: &mut DbConnection, new: &NewOrchestrator, now: Timestamp) -> Result<Orchestrator, AddError> {
    if new.client_id.is_empty() || new.client_id.len() > 255 || !new.client_id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(AddError::ClientId);
    }
    if new.algorithms.is_empty() {
        return Err(AddError::NoAlgorithm);
    }
    let added = Orchestrator {
        id: OrchestratorId::new(now),
        name: new.name.clone(),
        issuer: new.issuer.clone(),
        client_id: new.client_id.clone(),
        algorithms: new.algorithms.clone(),
        existing_account: new.existing_account,
        may_open_accounts: new.may_open_accounts,
        email_domains: new.email_domains.clone(),
        settlement_url: new.settlement_url.clone(),
        currency: new.currency,
        monthly_ceiling: new.monthly_ceiling,
        provisional_ceiling: new.provisional_ceiling,
        origin: new.origin,
        created_at: now,
        suspended_at: None,
        distrusted_keys: Vec::new(),
    };
    store::insert(conn, &added).map_err(|error| refusal(error, &added))?;
    let detail = json!({"name": added.name.as_str(), "issuer": added.issuer.as_str(), "client_id": added.client_id});
    record(conn, &added.id, "orchestrator.added", detail, now).map_err(DbError::from)?;
    Ok(added)
}

/// Which of the two unique keys refused.
fn refusal(error: QueryError, added: &Orchestrator) -> AddError {
    match &error {
        QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => {
            // PostgreSQL names the constraint (`orchestrators_issuer_key`), SQLite the column (`orchestrators.issuer`).
            if info.constraint_name().unwrap_or_else(|| info.message()).contains("issuer") {
                AddError::IssuerTaken(added.issuer.to_string())
            } else {
                AddError::NameTaken(added.name.to_string())
            }
        }
        _ => AddError::Db(error.into()),
    }
}

/// Why belief in an orchestrator was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    /// There is no such orchestrator.
    #[error("there is no orchestrator `{0}`")]
    Unknown(OrchestratorId),
    /// It is distrusted: that has to be lifted first.
    #[error("the orchestrator is distrusted: see `portreeve orchestrator restore`")]
    Distrusted,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// From now on nothing of it is believed: attestations are refused and the tokens of its accounts stop working.
/// Suspending twice changes nothing.
///
/// # Errors
/// When there is no such orchestrator, or the database fails.
pub fn suspend(conn: &mut DbConnection, id: &OrchestratorId, now: Timestamp) -> Result<Orchestrator, SuspendError> {
    if store::set_suspended(conn, id, now).map_err(DbError::from)? {
        record(conn, id, "orchestrator.suspended", json!({}), now).map_err(DbError::from)?;
    }
    present(conn, id)
}

/// It is believed again. Resuming twice changes nothing.
///
/// # Errors
/// When there is no such orchestrator, or the database fails.
pub fn resume(conn: &mut DbConnection, id: &OrchestratorId, now: Timestamp) -> Result<Orchestrator, SuspendError> {
    if distrust_store::keeps_suspended(conn, id).map_err(DbError::from)? {
        return Err(SuspendError::Distrusted);
    }
    if store::clear_suspended(conn, id).map_err(DbError::from)? {
        record(conn, id, "orchestrator.resumed", json!({}), now).map_err(DbError::from)?;
    }
    present(conn, id)
}

/// What happens from now on when it attests an address that already has an account. What was linked, asked or opened
/// before stays. The same word again changes nothing.
///
/// # Errors
/// When there is no such orchestrator, or the database fails.
pub fn set_existing_account(
    conn: &mut DbConnection,
    id: &OrchestratorId,
    policy: ExistingAccount,
    now: Timestamp,
) -> Result<Orchestrator, SuspendError> {
    if store::set_existing_account(conn, id, policy).map_err(DbError::from)? {
        let detail = json!({"existing_account": policy.as_str()});
        record(conn, id, "orchestrator.policy_changed", detail, now).map_err(DbError::from)?;
    }
    present(conn, id)
}

fn present(conn: &mut DbConnection, id: &OrchestratorId) -> Result<Orchestrator, SuspendError> {
    store::by_id(conn, id)?.ok_or_else(|| SuspendError::Unknown(id.clone()))
}

fn record(
    conn: &mut DbConnection,
    id: &OrchestratorId,
    action: &'static str,
    detail: serde_json::Value,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let fact = Fact { actor: "operator".to_owned(), action, account_id: None, subject: id.as_str().to_owned(), detail };
    audit::append(conn, &fact, now)
}
