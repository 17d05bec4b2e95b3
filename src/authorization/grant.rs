//! Grants: what the holder of an access token may do.

use serde_json::json;

use super::access_token::{LogIn, VerifiedToken};
use super::scope::Scopes;
use super::store;
use crate::account::{self, Account};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ConsentId, GrantId, OrchestratorId};
use crate::orchestrator::{self, Orchestrator};

/// What was granted, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token's `jti`.
    pub id: GrantId,
    /// On which account.
    pub account_id: AccountId,
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// To which client.
    pub client: String,
    /// What.
    pub scopes: Scopes,
    /// From when on.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// What the human allowed, if it came of that.
    pub consent_id: Option<ConsentId>,
}

/// Who is asking, as the database knows them now.
#[derive(Debug, Clone)]
pub struct Access {
    /// The grant.
    pub grant_id: GrantId,
    /// The account: usable.
    pub account: Account,
    /// The orchestrator: not suspended.
    pub orchestrator: Orchestrator,
    /// What is allowed.
    pub scopes: Scopes,
    /// How the person had logged in.
    pub log_in: LogIn,
}

/// Why a believed token no longer works.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no such grant.
    #[error("the grant does not exist")]
    NoGrant,
    /// The grant was revoked.
    #[error("the grant was revoked")]
    Revoked,
    /// One of these, as this process remembers it.
    #[error("{0}")]
    Ended(&'static str),
    /// The account is frozen or closed.
    #[error("the account is {0}")]
    Unusable(&'static str),
    /// The orchestrator is suspended.
    #[error("the orchestrator is suspended")]
    Suspended,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Looks whether the grant of a believed token still stands, and who that makes the caller.
///
/// # Errors
/// See [`AccessError`].
pub fn access(conn: &mut DbConnection, token: &VerifiedToken) -> Result<Access, AccessError> {
    let row = store::grant(conn, &token.grant_id).map_err(DbError::from)?.ok_or(AccessError::NoGrant)?;
    if row.account_id != token.account_id {
        return Err(AccessError::NoGrant);
    }
    if row.revoked_at.is_some() {
        return Err(AccessError::Revoked);
    }
    let account = account::by_id(conn, &row.account_id)?.ok_or(AccessError::NoGrant)?;
    if !account.state.is_usable() {
        return Err(AccessError::Unusable(account.state.as_str()));
    }
    let orchestrator = orchestrator::by_id(conn, &row.orchestrator_id)?.ok_or(AccessError::NoGrant)?;
    if orchestrator.suspended_at.is_some() {
        return Err(AccessError::Suspended);
    }
    let (scopes, log_in) = (token.scopes.clone(), token.log_in.clone());
    Ok(Access { grant_id: token.grant_id.clone(), account, orchestrator, scopes, log_in })
}

/// Revokes a grant. Answers whether this call did it.
///
/// # Errors
/// When the database fails.
pub fn revoke(conn: &mut DbConnection, id: &GrantId, actor: &str, now: Timestamp) -> Result<bool, DbError> {
    if !store::set_revoked(conn, id, now)? {
        return Ok(false);
    }
    let fact = Fact {
        actor: actor.to_owned(),
        action: "grant.revoked",
        account_id: None,
        subject: id.as_str().to_owned(),
        detail: json!({}),
    };
    audit::append(conn, &fact, now)?;
    Ok(true)
}
