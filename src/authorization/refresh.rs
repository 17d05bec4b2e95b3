//! Refresh tokens of the provisioning wire: each use replaces both tokens, and ends the old access token at once. A token
//! that comes back after it was replaced was copied: its whole family is revoked.

use serde_json::json;

use super::agent::{self, EnterError};
use super::client::PresentedClient;
use super::code::standing;
use super::store;
use super::wire_grant::{self, Holder, IssueError, Issued, WireSigner, WireTokens};
use super::wire_store::{self, RefreshRow};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::orchestrator::WireSettings;
use crate::secret::{Secret, SecretHash};

/// Why nothing was refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Unknown, revoked or expired: which of them is nobody's business.
    #[error("the refresh token was revoked, expired or never existed")]
    Spent,
    /// It had been replaced: whoever holds its successors loses them.
    #[error("the refresh token was used before; every token of its family is revoked")]
    Reused,
    /// It is another client's.
    #[error("the refresh token is another client's")]
    OtherClient,
    /// The account is frozen or closed, the orchestrator suspended or no longer on the wire. Nothing was changed.
    #[error("{0}")]
    Unusable(&'static str),
    /// The owner of the account barred or narrowed the agent. Nothing was changed.
    #[error(transparent)]
    Agent(EnterError),
    /// The tokens could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<EnterError> for RefreshError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Db(error) => Self::Db(error),
            barred => Self::Agent(barred),
        }
    }
}

impl From<diesel::result::Error> for RefreshError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Through whom and for whose account a refresh token works. `None`: it was replaced or revoked, has expired, or never was;
/// whoever holds such a one is nobody.
///
/// # Errors
/// When the database fails.
pub fn refresh_owner(
    conn: &mut DbConnection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<(OrchestratorId, AccountId)>, DbError> {
    let works = |row: &RefreshRow| row.replaced_at.is_none() && row.revoked_at.is_none() && now < row.expires_at;
    Ok(wire_store::refresh(conn, hash)?.filter(works).map(|row| (row.orchestrator_id, row.account_id)))
}

/// Exchanges a refresh token for two new tokens.
///
/// # Errors
/// See [`RefreshError`].
pub async fn refresh(
    db: &Db,
    signer: WireSigner<'_>,
    token: &Secret,
    client: &PresentedClient,
    now: Timestamp,
) -> Result<WireTokens, RefreshError> {
    let hash = token.hash();
    let (row, settings) = look(db, hash.clone()).await?;
    if !client.is(&row.client, &settings) {
        return Err(RefreshError::OtherClient);
    }
    let holder = Holder {
        account_id: row.account_id.clone(),
        orchestrator_id: row.orchestrator_id.clone(),
        client: row.client.clone(),
        // Written by ourselves from a `Scopes`.
        scopes: row.scope.parse().map_err(|_unknown| RefreshError::Spent)?,
    };
    let lifetime = settings.profile.access_token_lifetime;
    let issued = wire_grant::issue(signer, &holder, Some(row.family.clone()), lifetime, now)?;
    let tokens = issued.tokens.clone();
    let lane = row.account_id.to_string();
    // What happened to a copied token must stay written: it is an outcome, not an error that undoes itself.
    let replaced = db.write(&lane, move |conn| replace(conn, &hash, &row, &issued, now)).await?;
    replaced.map(|()| tokens)
}

async fn look(db: &Db, hash: SecretHash) -> Result<(RefreshRow, WireSettings), RefreshError> {
    db.read(move |conn| {
        let mut row =
            wire_store::refresh(conn, &hash)?.filter(|row| row.consent_id.is_none()).ok_or(RefreshError::Spent)?;
        let settings = standing(conn, &row.account_id, &row.orchestrator_id)?.map_err(RefreshError::Unusable)?;
        let scopes = row.scope.parse().map_err(|_unknown| RefreshError::Spent)?;
        let agent = (&row.account_id, &row.orchestrator_id, row.client.as_str());
        row.scope = agent::narrowed(conn, agent, scopes)?.to_string();
        Ok((row, settings))
    })
    .await
}

fn replace(
    conn: &mut DbConnection,
    hash: &SecretHash,
    row: &RefreshRow,
    issued: &Issued,
    now: Timestamp,
) -> Result<Result<(), RefreshError>, RefreshError> {
    issued.admit(conn, now)?;
    if wire_store::replace_refresh(conn, hash, now)? {
        store::set_revoked(conn, &row.grant_id, now)?;
        issued.insert(conn)?;
        standing(conn, &row.account_id, &row.orchestrator_id)?.map_err(RefreshError::Unusable)?;
        return Ok(Ok(()));
    }
    let known = wire_store::refresh(conn, hash)?.ok_or(RefreshError::Spent)?;
    if known.replaced_at.is_none() || known.revoked_at.is_some() || known.expires_at <= now {
        return Ok(Err(RefreshError::Spent));
    }
    for grant in wire_store::revoke_family(conn, &known.family, now)? {
        store::set_revoked(conn, &grant, now)?;
    }
    let fact = Fact {
        actor: format!("orchestrator:{}", known.orchestrator_id),
        action: "refresh_token.reused",
        account_id: Some(&known.account_id),
        subject: known.grant_id.to_string(),
        detail: json!({"family": known.family, "client": known.client}),
    };
    audit::append(conn, &fact, now)?;
    Ok(Err(RefreshError::Reused))
}
