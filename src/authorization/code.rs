//! Authorization codes of the provisioning wire: one use, five minutes, redeemed by whoever proves to have asked for it.

use chrono::TimeDelta;
use serde_json::json;

use super::agent::{self, EnterError};
use super::client::PresentedClient;
use super::pkce::{CodeChallenge, CodeVerifier};
use super::standing;
use super::wire_grant::{self, Holder, IssueError, WireSigner, WireTokens};
use super::wire_store::{self, CodeRow};
use crate::account::{self, AgentKey};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::orchestrator::{self, WireSettings};
use crate::secret::{NoRandomness, Secret, SecretHash};

/// How long a code works.
pub const CODE_LIFETIME: TimeDelta = TimeDelta::seconds(300);

/// A code that is not yet written down.
#[derive(Debug, Clone)]
pub struct NewCode {
    row: CodeRow,
}

impl NewCode {
    /// A code for `holder`, and what is kept of it. With a challenge, its verifier redeems it; without one, a signature.
    ///
    /// # Errors
    /// When there are no random bits.
    pub fn generate(
        holder: &Holder,
        challenge: Option<&CodeChallenge>,
        now: Timestamp,
    ) -> Result<(Secret, Self), NoRandomness> {
        let code = Secret::generate("ac")?;
        let row = CodeRow {
            code_hash: code.hash(),
            account_id: holder.account_id.clone(),
            orchestrator_id: holder.orchestrator_id.clone(),
            client: holder.client.clone(),
            scope: holder.scopes.to_string(),
            code_challenge: challenge.map(ToString::to_string),
            issued_at: now,
            expires_at: now.plus(CODE_LIFETIME),
            used_at: None,
            consent_id: None,
            redirect_uri: None,
            bound_to: None,
        };
        Ok((code, Self { row }))
    }

    /// Lets its agent through, before anything else is locked for it.
    pub(super) fn admit(&self, conn: &mut DbConnection, now: Timestamp) -> Result<(), EnterError> {
        let row = &self.row;
        let key = AgentKey {
            account_id: row.account_id.clone(),
            orchestrator_id: row.orchestrator_id.clone(),
            client: row.client.clone(),
        };
        account::admit(conn, &key, now)?;
        Ok(())
    }

    /// Writes it down. Call it inside `Db::write`.
    pub(super) fn insert(&self, conn: &mut DbConnection) -> diesel::QueryResult<()> {
        wire_store::insert_code(conn, &self.row)
    }
}

/// Who signed the request that redeems a code.
#[derive(Debug, Clone)]
pub enum SignedBy {
    /// Nobody.
    Nobody,
    /// The signature does not hold.
    Forged,
    /// This orchestrator.
    Orchestrator(OrchestratorId),
}

/// A code and what comes with it.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// The code.
    pub code: Secret,
    /// `code_verifier`, as it was sent.
    pub verifier: Option<String>,
    /// The request's signature.
    pub signed_by: SignedBy,
    /// The client, as far as it says who it is.
    pub client: PresentedClient,
}

/// Why a code was not redeemed. Only [`RedeemError::Spent`] and its like end it: a failed proof leaves it as it was.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// Unknown, used or expired: which of them is nobody's business.
    #[error("the code was used, expired or never existed")]
    Spent,
    /// The code is another client's.
    #[error("the code is another client's")]
    OtherClient,
    /// Neither the verifier nor the signature that it takes.
    #[error("{0}")]
    NoProof(&'static str),
    /// The verifier or the signature is not the right one.
    #[error("{0}")]
    WrongProof(&'static str),
    /// The account is frozen or closed, the orchestrator suspended or no longer on the wire.
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

impl From<EnterError> for RedeemError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Db(error) => Self::Db(error),
            barred => Self::Agent(barred),
        }
    }
}

impl From<diesel::result::Error> for RedeemError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// How the orchestrator speaks, if tokens may be given for this account through it now; if not, why not.
pub(super) fn standing(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> Result<Result<WireSettings, &'static str>, DbError> {
    let Some(settings) = orchestrator::wire_of(conn, orchestrator)? else {
        return Ok(Err("the orchestrator does not speak this wire any more"));
    };
    Ok(standing::refusal(conn, account, orchestrator)?.map_or(Ok(settings), Err))
}

/// Redeems a code for tokens.
///
/// # Errors
/// See [`RedeemError`].
pub async fn redeem(
    db: &Db,
    signer: WireSigner<'_>,
    redemption: Redemption,
    now: Timestamp,
) -> Result<WireTokens, RedeemError> {
    let hash = redemption.code.hash();
    let (row, settings) = look(db, hash.clone(), now).await?;
    if !redemption.client.is(&row.client, &settings) {
        return Err(RedeemError::OtherClient);
    }
    prove(&row, &redemption)?;
    let holder = Holder {
        account_id: row.account_id.clone(),
        orchestrator_id: row.orchestrator_id.clone(),
        client: row.client.clone(),
        // Written by ourselves from a `Scopes`.
        scopes: row.scope.parse().map_err(|_unknown| RedeemError::Spent)?,
    };
    let lifetime = settings.profile.access_token_lifetime;
    let issued = wire_grant::issue(signer, &holder, None, lifetime, now)?;
    let tokens = issued.tokens.clone();
    let lane = row.account_id.to_string();
    db.write(&lane, move |conn| {
        issued.admit(conn, now)?;
        if !wire_store::use_code(conn, &hash, now)? {
            return Err(RedeemError::Spent);
        }
        issued.insert(conn)?;
        still_stands(conn, &row)?;
        let fact = Fact {
            actor: format!("orchestrator:{}", row.orchestrator_id),
            action: "grant.issued",
            account_id: Some(&row.account_id),
            subject: issued.grant_id().to_string(),
            detail: json!({"by": "code", "client": row.client, "scope": row.scope}),
        };
        Ok(audit::append(conn, &fact, now)?)
    })
    .await?;
    Ok(tokens)
}

async fn look(db: &Db, hash: SecretHash, now: Timestamp) -> Result<(CodeRow, WireSettings), RedeemError> {
    db.read(move |conn| {
        let mut row = wire_store::code(conn, &hash)?.ok_or(RedeemError::Spent)?;
        if row.used_at.is_some() || row.expires_at <= now || row.consent_id.is_some() {
            return Err(RedeemError::Spent);
        }
        let settings = standing(conn, &row.account_id, &row.orchestrator_id)?.map_err(RedeemError::Unusable)?;
        let scopes = row.scope.parse().map_err(|_unknown| RedeemError::Spent)?;
        let agent = (&row.account_id, &row.orchestrator_id, row.client.as_str());
        row.scope = agent::narrowed(conn, agent, scopes)?.to_string();
        Ok((row, settings))
    })
    .await
}

fn still_stands(conn: &mut DbConnection, row: &CodeRow) -> Result<(), RedeemError> {
    standing(conn, &row.account_id, &row.orchestrator_id)?.map(drop).map_err(RedeemError::Unusable)
}

/// A code with a challenge takes its verifier and nothing else; one without takes the signature of its orchestrator.
/// Neither works in a request that another orchestrator signed.
fn prove(row: &CodeRow, redemption: &Redemption) -> Result<(), RedeemError> {
    if matches!(&redemption.signed_by, SignedBy::Orchestrator(id) if *id != row.orchestrator_id) {
        return Err(RedeemError::OtherClient);
    }
    let Some(challenge) = &row.code_challenge else {
        return match &redemption.signed_by {
            SignedBy::Orchestrator(_) => Ok(()),
            SignedBy::Nobody => Err(RedeemError::NoProof("The code needs a signed request.")),
            SignedBy::Forged => Err(RedeemError::NoProof("The request's signature does not hold.")),
        };
    };
    let verifier = redemption.verifier.as_deref().ok_or(RedeemError::NoProof("The code needs its `code_verifier`."))?;
    let wrong = RedeemError::WrongProof("The `code_verifier` is not the one behind the code's challenge.");
    let (Ok(challenge), Ok(verifier)) = (challenge.parse::<CodeChallenge>(), verifier.parse::<CodeVerifier>()) else {
        return Err(wrong);
    };
    if challenge.is_met_by(&verifier) { Ok(()) } else { Err(wrong) }
}
