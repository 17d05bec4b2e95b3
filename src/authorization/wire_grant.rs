//! What an orchestrator of the provisioning wire holds for an account: an access token for that wire alone, and a
//! refresh token that stands for it.

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};

use super::access_token::{self, Extra};
use super::agent::{self, EnterError};
use super::grant::Grant;
use super::scope::Scopes;
use super::store;
use super::wire_store::{self, RefreshRow};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::ids::{AccountId, GrantId, OrchestratorId};
use crate::secret::{NoRandomness, Secret};
use crate::signing::{KeyRing, SigningError};

/// How long a refresh token works.
pub const REFRESH_TOKEN_LIFETIME: TimeDelta = TimeDelta::days(30);

/// Who signs tokens, and for which API.
#[derive(Debug, Clone, Copy)]
pub struct WireSigner<'a> {
    /// Our keys.
    pub ring: &'a KeyRing,
    /// Our issuer identifier.
    pub issuer: &'a str,
    /// The API of the wire: never that of `/v1`.
    pub audience: &'a str,
}

/// Who gets tokens, and what they allow.
#[derive(Debug, Clone)]
pub struct Holder {
    /// For which account.
    pub account_id: AccountId,
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// To which client: the orchestrator's id, or the name of a public client.
    pub client: String,
    /// What.
    pub scopes: Scopes,
}

/// What is handed out. Shown once.
#[derive(Debug, Clone)]
pub struct WireTokens {
    /// `at+jwt`. Secret.
    pub access_token: SecretString,
    /// `rt_…`. Secret.
    pub refresh_token: Secret,
    /// For how many seconds the access token works.
    pub expires_in: i64,
    /// Whose account.
    pub account_id: AccountId,
    /// Through whom.
    pub orchestrator_id: OrchestratorId,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The token could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// No random bits.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Tokens that are signed and not yet written down.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    grant: Grant,
    refresh: RefreshRow,
    pub(super) tokens: WireTokens,
}

/// Signs tokens for `holder`. A family is all refresh tokens that came of one consent; without one, a new begins.
pub(super) fn issue(
    signer: WireSigner<'_>,
    holder: &Holder,
    family: Option<String>,
    lifetime: TimeDelta,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    let grant = Grant {
        id: GrantId::new(now),
        account_id: holder.account_id.clone(),
        orchestrator_id: holder.orchestrator_id.clone(),
        client: holder.client.clone(),
        scopes: holder.scopes.clone(),
        issued_at: now,
        expires_at: now.plus(lifetime),
        consent_id: None,
    };
    let access_token = access_token::issue(signer.ring, signer.issuer, signer.audience, &grant, &Extra::default())?;
    let refresh_token = Secret::generate("rt")?;
    let refresh = RefreshRow {
        token_hash: refresh_token.hash(),
        family: family.unwrap_or_else(|| grant.id.to_string()),
        grant_id: grant.id.clone(),
        account_id: grant.account_id.clone(),
        orchestrator_id: grant.orchestrator_id.clone(),
        client: grant.client.clone(),
        scope: grant.scopes.to_string(),
        issued_at: now,
        expires_at: now.plus(REFRESH_TOKEN_LIFETIME),
        replaced_at: None,
        revoked_at: None,
        consent_id: None,
        bound_to: None,
    };
    let tokens = WireTokens {
        access_token: access_token.into(),
        refresh_token,
        expires_in: lifetime.num_seconds(),
        account_id: grant.account_id.clone(),
        orchestrator_id: grant.orchestrator_id.clone(),
    };
    Ok(Issued { grant, refresh, tokens })
}

impl Issued {
    /// Writes them down for an agent that was let through: from then on they work. Call it inside `Db::write`.
    pub(super) fn insert(&self, conn: &mut DbConnection) -> diesel::QueryResult<()> {
        store::insert(conn, &self.grant)?;
        wire_store::insert_refresh(conn, &self.refresh)
    }

    /// Lets its agent through, before anything else is locked for it.
    pub(super) fn admit(&self, conn: &mut DbConnection, now: Timestamp) -> Result<(), EnterError> {
        agent::admit(conn, &self.grant, now)
    }

    /// The grant that the access token stands for.
    pub(super) fn grant_id(&self) -> &GrantId {
        &self.grant.id
    }
}

impl WireTokens {
    /// Both tokens in clear, to be sealed or handed out.
    #[must_use]
    pub fn expose(&self) -> (&str, &str) {
        (self.access_token.expose_secret(), self.refresh_token.expose())
    }
}
