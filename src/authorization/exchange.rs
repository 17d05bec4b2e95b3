//! An attestation (an ID token or an ID-JAG) for an access token: the one way in, behind `/v1/accounts` and the token
//! endpoint (RFC 7523).
//!
//! Verify; look whether the assertion was used; decide; prepare the token and the sealed answer; then one transaction.
//! Whoever loses a race in it looks again and finds what the winner left. About somebody familiar the first look is saved:
//! the transaction finds out whether all is as it was.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access_token::{self, ACCESS_TOKEN_LIFETIME, Extra, LogIn};
use super::agent::{self, EnterError};
use super::client::{Authenticated, GrantType};
use super::consent;
use super::dpop::{self, ProofError, VerifiedProof};
use super::familiar::{FamiliarPeople, Found};
use super::grant::Grant;
use super::request::{Detail, DetailError, Pricing, can_be_made};
use super::scope::Scopes;
use crate::account::{self, Account, AssertionUse, Barred, Decision, OpenError, Opening, PastUse};
use crate::attestation::{Assertion, Attestation, AttestationError, IdJag};
use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::ids::{AccountId, GrantId};
use crate::orchestrator::{self, KeyCache, Orchestrator};
use crate::signing::{KeyRing, SealError, Sealer, SigningError};

/// How often a lost race is looked at again.
const ATTEMPTS: usize = 6;

/// What an exchange reaches.
#[derive(Clone, Copy)]
pub struct ExchangeParts<'a> {
    /// The database.
    pub db: &'a Db,
    /// The keys of orchestrators.
    pub keys: &'a KeyCache,
    /// Our own keys.
    pub ring: &'a KeyRing,
    /// Seals answers that are kept for a retry.
    pub sealer: &'a Sealer,
    /// Our issuer identifier.
    pub issuer: &'a str,
    /// The API that tokens are for.
    pub audience: &'a str,
    /// How many accounts one orchestrator may open in an hour; 0 is any number.
    pub accounts_per_hour: u32,
    /// What plans cost.
    pub prices: &'a dyn Pricing,
    /// Whom this process knows.
    pub familiar: &'a FamiliarPeople,
}

impl std::fmt::Debug for ExchangeParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("authorization::ExchangeParts")
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ExchangeRequest {
    /// The ID token or the ID-JAG.
    pub assertion: String,
    /// Who presents it, if it says so. An ID-JAG is good for the client that it names alone.
    pub client: Option<Authenticated>,
    /// The scopes wanted, parted by spaces; all when absent.
    pub scope: Option<String>,
    /// The API wanted (RFC 8707); ours when absent.
    pub resource: Option<String>,
    /// SHA-256 of the request that carries the assertion: a retry is the same request.
    pub request_hash: String,
    /// That the caller holds a key: the token is bound to it (RFC 9449 §5). Used up when the assertion holds.
    pub proof: Option<VerifiedProof>,
}

/// What was given.
#[derive(Debug, Clone)]
pub struct Exchanged {
    /// The account, as it was when the assertion was used.
    pub account: Account,
    /// Through whom.
    pub orchestrator: Orchestrator,
    /// The access token. Secret.
    pub access_token: secrecy::SecretString,
    /// What it allows.
    pub scopes: Scopes,
    /// Within which limits, with the worst case of a plan.
    pub details: Option<Value>,
    /// Whether it is bound to a key.
    pub bound: bool,
    /// For how many seconds it works.
    pub expires_in: i64,
    /// Whether this request opened the account.
    pub opened: bool,
}

/// Why nothing was given.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The assertion is not believed.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// The proof was used before.
    #[error("the proof was used before")]
    ProofUsed,
    /// The client's statement was used before.
    #[error("the client's statement was used before")]
    ClientReplayed,
    /// The assertion is another client's, or its client proved nothing.
    #[error("the assertion was not given to this client")]
    OtherClient,
    /// The assertion, or the client, asks for a key that was not proven.
    #[error("the key that the token must be bound to was not proven")]
    OtherKey,
    /// The client may not use assertions.
    #[error("the client may not use this grant")]
    Unauthorized,
    /// The assertion was used before, by another request or too long ago.
    #[error("the assertion was used before")]
    Replayed,
    /// No more accounts may be opened now.
    #[error(transparent)]
    Count(#[from] account::CountError),
    /// The address has an account, whose owner must consent.
    #[error("the person may already have an account, and must consent to linking it")]
    NeedsConsent,
    /// The account is frozen or closed.
    #[error("the account is {0}")]
    AccountUnusable(String),
    /// The owner barred the agent.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The orchestrator may not open accounts.
    #[error("the orchestrator may not open accounts")]
    MayNotOpen,
    /// None of the scopes is known.
    #[error("none of the requested scopes can be granted")]
    Scope,
    /// Another API was asked for.
    #[error("the requested resource is not served here")]
    Target,
    /// The assertion states limits that are not known here: nobody would keep them.
    #[error("the assertion's {0}")]
    Details(#[from] DetailError),
    /// Too many requests about the same person at once: nothing was done.
    #[error("too many requests about the same person at once")]
    Contended,
    /// The answer could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The token could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The answer could not be written or read.
    #[error("a kept answer cannot be read")]
    Answer(#[from] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What the one transaction of an exchange can end with.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Enter(#[from] EnterError),
    #[error("the client's statement: {0}")]
    Statement(#[source] ProofError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<SettleError> for ExchangeError {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Open(OpenError::AlreadyUsed | OpenError::Changed)
            | SettleError::Enter(EnterError::Narrowed) => Self::Contended,
            SettleError::Open(OpenError::Distrusted) => AttestationError::Distrusted.into(),
            SettleError::Enter(EnterError::Barred(barred)) => barred.into(),
            SettleError::Proof(error) => error.into(),
            SettleError::Statement(ProofError::Db(error))
            | SettleError::Open(OpenError::Db(error))
            | SettleError::Enter(EnterError::Db(error))
            | SettleError::Db(error) => error.into(),
            SettleError::Statement(_used) => Self::ClientReplayed,
        }
    }
}

impl From<ProofError> for ExchangeError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Db(error) => Self::Db(error),
            _ => Self::ProofUsed,
        }
    }
}

/// The codes of RFC 6749 §5.2 and RFC 8707 §2 that an exchange can end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthError {
    /// The assertion, or the person behind it.
    InvalidGrant,
    /// The scopes.
    InvalidScope,
    /// The resource.
    InvalidTarget,
    /// The limits (RFC 9396 §5).
    InvalidAuthorizationDetails,
    /// The client may not.
    UnauthorizedClient,
    /// The client is not who it says.
    InvalidClient,
    /// The owner of the account paused the agent. RFC 6749 has no word for it here; that of §4.1.2.1 is not taken for a
    /// reason to ask the human anew.
    AccessDenied,
}

impl OAuthError {
    /// The code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidClient => "invalid_client",
            Self::AccessDenied => "access_denied",
        }
    }
}

impl ExchangeError {
    /// The page of ours that tells the human what to do (`error_uri`, RFC 6749 §5.2): a path.
    #[must_use]
    pub fn explained_at(&self) -> Option<&'static str> {
        match self {
            Self::NeedsConsent => Some("/consent/needed"),
            Self::AccountUnusable(_) | Self::MayNotOpen => Some("/docs/problems/account_unusable"),
            _ => None,
        }
    }

    /// The code for the token endpoint; `None` when the fault is ours or passing, and the same request may be sent again.
    #[must_use]
    pub fn oauth(&self) -> Option<OAuthError> {
        match self {
            Self::Attestation(error) if error.code() == "issuer_unavailable" => None,
            Self::Attestation(_)
            | Self::Replayed
            | Self::OtherClient
            | Self::OtherKey
            | Self::NeedsConsent
            | Self::Barred(Barred::Revoked)
            | Self::AccountUnusable(_)
            | Self::MayNotOpen => Some(OAuthError::InvalidGrant),
            Self::Barred(Barred::Paused) => Some(OAuthError::AccessDenied),
            Self::Unauthorized => Some(OAuthError::UnauthorizedClient),
            Self::ClientReplayed => Some(OAuthError::InvalidClient),
            Self::Scope => Some(OAuthError::InvalidScope),
            Self::Target => Some(OAuthError::InvalidTarget),
            Self::Details(_) => Some(OAuthError::InvalidAuthorizationDetails),
            Self::ProofUsed
            | Self::Count(_)
            | Self::Contended
            | Self::Seal(_)
            | Self::Signing(_)
            | Self::Answer(_)
            | Self::Db(_) => None,
        }
    }
}

/// What a request was answered, kept sealed for [`account::PastUse::is_retry`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
enum Answer {
    Granted {
        account_id: AccountId,
        access_token: String,
        scope: String,
        #[serde(default)]
        details: Option<Value>,
        bound: bool,
        opened: bool,
    },
    NeedsConsent,
    AccountUnusable {
        state: String,
    },
    MayNotOpen,
}

/// Exchanges an assertion for an access token, opening the account if need be.
///
/// # Errors
/// See [`ExchangeError`].
pub async fn exchange(
    parts: ExchangeParts<'_>,
    request: ExchangeRequest,
    now: Timestamp,
) -> Result<Exchanged, ExchangeError> {
    let asserted = verify_assertion(parts, &request, now).await?;
    exchange_verified(parts, asserted, request, now).await
}

/// The second half of [`exchange`]: what is decided about the person, and done.
///
/// # Errors
/// See [`ExchangeError`].
pub async fn exchange_verified(
    parts: ExchangeParts<'_>,
    mut asserted: Asserted,
    request: ExchangeRequest,
    now: Timestamp,
) -> Result<Exchanged, ExchangeError> {
    let (attestation, orchestrator) = (asserted.attestation.clone(), asserted.orchestrator.clone());
    let (wanted, mut counted) = (asserted.scopes.clone(), false);
    let mut familiar = parts.familiar.get(&attestation, &asserted.client).await;
    familiar = familiar.filter(|found| as_allowed(&wanted, found.allowed.as_ref()).is_ok());
    for _ in 0..ATTEMPTS {
        let (seen, looked) = match familiar.take() {
            Some(found) => (Seen::from(found), false),
            None => match look(parts.db, &asserted).await? {
                (Some(past), _) => {
                    return answer_again(parts, &past, &attestation, &orchestrator, &request, now).await;
                }
                (None, seen) => (seen, true),
            },
        };
        asserted.scopes = as_allowed(&wanted, seen.allowed.as_ref())?;
        let found = if looked { seen.found() } else { None };
        let (opening, grant, answer) = prepare(parts, &asserted, seen, &request, now)?;
        let lane = lane(&opening);
        if matches!(opening.decision, Decision::Open { .. }) && !std::mem::replace(&mut counted, true) {
            account::count_opening(parts.db, &attestation, parts.accounts_per_hour, now).await?;
        }
        let (proof, wanted) = (request.proof.clone(), wanted.clone());
        let statement = request.client.as_ref().and_then(|client| client.proof.clone());
        let settled = parts.db.write(&lane, move |conn| {
            let known = account::open(conn, &opening, now)?;
            statement.as_ref().map_or(Ok(()), |statement| statement.use_up(conn)).map_err(SettleError::Statement)?;
            proof.as_ref().map_or(Ok(()), |proof| dpop::use_proof(conn, proof))?;
            let Some(grant) = &grant else { return Ok::<_, SettleError>(None) };
            let most = consent::allowed_in(&grant.orchestrator_id, &known)?.unwrap_or_else(Scopes::all);
            agent::enter_on_word(conn, grant, &wanted.intersection(&most), now)?;
            match known.linked {
                Some(account) => Ok(Some(account)),
                None => Ok(account::by_id(conn, &grant.account_id)?),
            }
        });
        match settled.await {
            Ok(account) => {
                if let Some(found) = found {
                    parts.familiar.remember(&attestation, &asserted.client, found).await;
                }
                return conclude(account, orchestrator, answer);
            }
            // It never began: there is too much to do already, and a look would be still more.
            Err(SettleError::Db(error @ (DbError::Busy | DbError::Connection(_)))) => return Err(error.into()),
            // Whatever else it was: what it rested on was not looked at. If it was done after all, the look finds that.
            Err(_) if !looked => parts.familiar.forget(&attestation, &asserted.client).await,
            Err(
                SettleError::Open(OpenError::AlreadyUsed | OpenError::Changed)
                | SettleError::Enter(EnterError::Narrowed),
            ) => {}
            // Another request of the same program came first.
            Err(SettleError::Enter(EnterError::Db(error))) if error.is_unique_violation() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ExchangeError::Contended)
}

/// The lane of everything about the account, when there is one, or else about the person.
fn lane(opening: &Opening) -> String {
    if let Decision::Use(account) = &opening.decision {
        return account.to_string();
    }
    let Attestation { tenant, subject, .. } = &opening.attestation;
    format!("{}/{tenant}/{subject}", opening.orchestrator.id)
}

fn granted_scopes(requested: Option<&str>) -> Result<Scopes, ExchangeError> {
    let granted = requested.map_or_else(Scopes::all, Scopes::known_of);
    if granted.is_empty() { Err(ExchangeError::Scope) } else { Ok(granted) }
}

/// What an assertion that is believed, and its presenter, lead to.
#[derive(Debug)]
pub struct Asserted {
    attestation: Attestation,
    orchestrator: Orchestrator,
    /// To which client.
    client: String,
    /// What.
    scopes: Scopes,
    /// Within which limits.
    details: Option<Value>,
}

/// The first half of [`exchange`]: whether the assertion is to be believed, and is this client's. Nothing was written.
///
/// # Errors
/// See [`ExchangeError`].
pub async fn verify_assertion(
    parts: ExchangeParts<'_>,
    request: &ExchangeRequest,
    now: Timestamp,
) -> Result<Asserted, ExchangeError> {
    let unverified = Assertion::parse(&request.assertion)?;
    let issuer = unverified.issuer()?.to_owned();
    let registered = parts.db.look_up(move |conn| orchestrator::by_issuer(conn, &issuer)).await?;
    let orchestrator = registered.ok_or(AttestationError::UnknownIssuer)?;
    let requested = granted_scopes(request.scope.as_deref())?;
    if request.resource.as_deref().is_some_and(|resource| resource != parts.audience) {
        return Err(ExchangeError::Target);
    }
    match unverified {
        Assertion::IdToken(token) => {
            let attestation = token.verify(&orchestrator, parts.keys, now).await?;
            let client = orchestrator.id.as_str().to_owned();
            Ok(Asserted { attestation, orchestrator, client, scopes: requested, details: None })
        }
        Assertion::IdJag(jag) => {
            let jag = jag.verify(&orchestrator, parts.keys, parts.issuer, now).await?;
            let scopes = judge_jag(&jag, request, &requested, parts.audience)?;
            let details = jag.details.map(|stated| limits(stated, &scopes, parts)).transpose()?;
            Ok(Asserted { attestation: jag.attestation, orchestrator, client: jag.client_id, scopes, details })
        }
    }
}

/// Whose it is, which key it is bound to, and what it allows of what is asked for.
fn judge_jag(
    jag: &IdJag,
    request: &ExchangeRequest,
    requested: &Scopes,
    audience: &str,
) -> Result<Scopes, ExchangeError> {
    let presenter = request.client.as_ref().map(|presenter| &presenter.client);
    let client = presenter.filter(|client| client.is_confidential()).ok_or(ExchangeError::OtherClient)?;
    if client.id != jag.client_id {
        return Err(ExchangeError::OtherClient);
    }
    if !client.may(GrantType::JwtBearer) {
        return Err(ExchangeError::Unauthorized);
    }
    let proven = request.proof.as_ref().map(|proof| &proof.thumbprint);
    let other = jag.bound_to.as_ref().is_some_and(|bound| Some(bound) != proven);
    if other || (client.metadata.dpop_bound && proven.is_none()) {
        return Err(ExchangeError::OtherKey);
    }
    if !jag.resources.is_empty() && !jag.resources.iter().any(|resource| resource == audience) {
        return Err(ExchangeError::Target);
    }
    let allowed = jag.scope.as_deref().map_or_else(Scopes::all, Scopes::known_of);
    let scopes = requested.intersection(&allowed).intersection(&client.scopes(None));
    if scopes.is_empty() { Err(ExchangeError::Scope) } else { Ok(scopes) }
}

/// The limits that an assertion states, as they will be kept: read as those that a human allows, and priced like them.
fn limits(stated: Value, scopes: &Scopes, parts: ExchangeParts<'_>) -> Result<Value, DetailError> {
    let mut details = Detail::of(stated, parts.audience)?;
    can_be_made(&details, scopes)?;
    parts.prices.price(&mut details)?;
    Ok(json!(details))
}

/// What the database says of the person, and what that leads to.
struct Seen {
    decision: Decision,
    /// Whether the account, if there is one, is claimed.
    claimed: bool,
    /// What of everything may be given; everything when absent.
    allowed: Option<Scopes>,
}

impl Seen {
    /// What of it is worth remembering.
    fn found(&self) -> Option<Found> {
        let Decision::Use(account_id) = &self.decision else { return None };
        Some(Found { account_id: account_id.clone(), claimed: self.claimed, allowed: self.allowed.clone() })
    }
}

impl From<Found> for Seen {
    fn from(found: Found) -> Self {
        Self { decision: Decision::Use(found.account_id), claimed: found.claimed, allowed: found.allowed }
    }
}

async fn look(db: &Db, asserted: &Asserted) -> Result<(Option<PastUse>, Seen), DbError> {
    let Asserted { attestation, orchestrator, client, .. } = asserted;
    let (attestation, orchestrator, client) = (attestation.clone(), orchestrator.clone(), client.clone());
    db.look_up(move |conn| {
        let facts = account::facts(conn, &attestation)?;
        let decision = account::decide(&attestation, &orchestrator, &facts);
        let mut allowed = consent::allowed_in(&orchestrator.id, &facts)?;
        if let Decision::Use(account) | Decision::Link(account) = &decision {
            let most = allowed.unwrap_or_else(Scopes::all);
            allowed = Some(agent::narrowed_on_word(conn, (account, &orchestrator.id, &client), most)?);
        }
        let claimed = facts.linked.as_ref().is_some_and(Account::is_claimed);
        Ok((account::past_use(conn, &attestation)?, Seen { decision, claimed, allowed }))
    })
    .await
}

/// What is wanted, as far as the owner allowed it: nobody is asked here, so that nothing is added.
fn as_allowed(wanted: &Scopes, allowed: Option<&Scopes>) -> Result<Scopes, ExchangeError> {
    let granted = allowed.map_or_else(|| wanted.clone(), |allowed| wanted.intersection(allowed));
    if granted.is_empty() { Err(ExchangeError::Scope) } else { Ok(granted) }
}

/// Everything slow, before the transaction: ids, the signed token, the sealed answer.
fn prepare(
    parts: ExchangeParts<'_>,
    asserted: &Asserted,
    Seen { decision, claimed, .. }: Seen,
    request: &ExchangeRequest,
    now: Timestamp,
) -> Result<(Opening, Option<Grant>, Answer), ExchangeError> {
    let Asserted { attestation, orchestrator, client, scopes, details } = asserted;
    let (account_id, opened) = match &decision {
        Decision::Use(id) | Decision::Link(id) => (id.clone(), false),
        _ => (AccountId::new(now), true),
    };
    let grant = matches!(decision, Decision::Use(_) | Decision::Link(_) | Decision::Open { .. }).then(|| Grant {
        id: GrantId::new(now),
        account_id: account_id.clone(),
        orchestrator_id: orchestrator.id.clone(),
        client: client.clone(),
        scopes: scopes.clone(),
        issued_at: now,
        expires_at: now.plus(ACCESS_TOKEN_LIFETIME),
        consent_id: None,
    });
    let answer = match (&decision, &grant) {
        (Decision::Unusable(_, state), _) => Answer::AccountUnusable { state: state.as_str().to_owned() },
        (Decision::NeedsConsent { .. }, _) => Answer::NeedsConsent,
        (_, Some(grant)) => Answer::Granted {
            account_id: account_id.clone(),
            access_token: access_token::issue(
                parts.ring,
                parts.issuer,
                parts.audience,
                grant,
                &Extra {
                    bound_to: request.proof.as_ref().map(|proof| proof.thumbprint.clone()),
                    log_in: LogIn { at: attestation.auth_time, acr: attestation.acr.clone() },
                    details: details.clone(),
                },
            )?,
            scope: scopes.to_string(),
            details: details.clone(),
            bound: request.proof.is_some(),
            opened,
        },
        (_, None) => Answer::MayNotOpen,
    };
    let sealed_answer = parts.sealer.seal(&place(attestation), &serde_json::to_vec(&answer)?)?;
    let opening = Opening {
        attestation: attestation.clone(),
        orchestrator: orchestrator.clone(),
        decision,
        claimed,
        account_id,
        assertion: AssertionUse { request_hash: request.request_hash.clone(), sealed_answer },
    };
    Ok((opening, grant, answer))
}

/// Where an answer is kept: it opens nowhere else.
fn place(attestation: &Attestation) -> String {
    format!("assertion_uses/{}/{}/answer", attestation.orchestrator_id, attestation.assertion_hash)
}

/// The same request within 30 seconds gets the same answer; anything else is a replay, and is recorded.
async fn answer_again(
    parts: ExchangeParts<'_>,
    past: &PastUse,
    attestation: &Attestation,
    orchestrator: &Orchestrator,
    request: &ExchangeRequest,
    now: Timestamp,
) -> Result<Exchanged, ExchangeError> {
    if past.is_retry(attestation, &request.request_hash, now) {
        let statement = request.client.as_ref().and_then(|client| client.proof.clone());
        if request.proof.is_some() || statement.is_some() {
            let (lane, proof) = (attestation.orchestrator_id.as_str().to_owned(), request.proof.clone());
            let used = parts.db.write(&lane, move |conn| {
                statement
                    .as_ref()
                    .map_or(Ok(()), |statement| statement.use_up(conn))
                    .map_err(SettleError::Statement)?;
                Ok::<_, SettleError>(proof.as_ref().map_or(Ok(()), |proof| dpop::use_proof(conn, proof))?)
            });
            used.await?;
        }
        let opened = parts.sealer.open(&place(attestation), &past.sealed_answer)?;
        let answer = serde_json::from_slice(&opened)?;
        let account = match &answer {
            Answer::Granted { account_id, .. } => {
                let id = account_id.clone();
                parts.db.read(move |conn| account::by_id(conn, &id)).await?
            }
            _ => None,
        };
        return conclude(account, orchestrator.clone(), answer);
    }
    let attestation = attestation.clone();
    let lane = attestation.orchestrator_id.as_str().to_owned();
    parts.db.write(&lane, move |conn| account::record_replay(conn, &attestation, now)).await?;
    Err(ExchangeError::Replayed)
}

/// `account` is the one that an access token was given for.
fn conclude(account: Option<Account>, orchestrator: Orchestrator, answer: Answer) -> Result<Exchanged, ExchangeError> {
    match answer {
        Answer::NeedsConsent => Err(ExchangeError::NeedsConsent),
        Answer::AccountUnusable { state } => Err(ExchangeError::AccountUnusable(state)),
        Answer::MayNotOpen => Err(ExchangeError::MayNotOpen),
        Answer::Granted { access_token, scope, details, bound, opened, .. } => {
            let account = account.ok_or(DbError::Query(diesel::result::Error::NotFound))?;
            // Written by ourselves from a `Scopes`.
            let scopes = scope.parse().map_err(|_unknown| ExchangeError::Scope)?;
            let expires_in = ACCESS_TOKEN_LIFETIME.num_seconds();
            let access_token = access_token.into();
            Ok(Exchanged { account, orchestrator, access_token, scopes, details, bound, expires_in, opened })
        }
    }
}
