//! The grants of our OAuth clients at the token endpoint: codes that a human's consent led to, refresh tokens that come of
//! them, and what a client gets for itself.
//!
//! A refresh token leads to one successor, always the same, and works until that successor is used: programs that share a
//! token, or lose an answer, do not lose the human's consent. One that comes back after that was copied: the consent ends.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::json;

use super::access_token::{self, ACCESS_TOKEN_LIFETIME, Extra, LogIn};
use super::agent::{self, EnterError};
use super::client::{self, Authenticated, GrantType};
use super::consent_grant::{Consent, revoke_consent};
use super::dpop::{self, ProofError, SingleUse, VerifiedProof};
use super::grant::Grant;
use super::pkce::{CodeChallenge, CodeVerifier};
use super::scope::Scopes;
use super::wire_store::{self, CodeRow, RefreshRow};
use super::{REFRESH_TOKEN_LIFETIME, consent_store, standing, store};
use crate::account::{self, Barred};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, ConsentId, GrantId};
use crate::secret::{NoRandomness, Secret, SecretHash};
use crate::signing::{KeyRing, SigningError};

/// For how long refresh tokens can be replaced by others at all.
pub(super) const CONSENT_LIFETIME: TimeDelta = TimeDelta::days(180);

/// Why a consent ended, in words.
const CODE_CAME_BACK: &str = "a code came back";
const REFRESH_CAME_BACK: &str = "a refresh token came back after its successor was used";

/// Makes of a refresh token its successor. Every process of an installation has the same key, so all make the same.
pub struct Successors(hmac::Key);

impl std::fmt::Debug for Successors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Successors")
    }
}

impl Successors {
    /// Successors under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn of(&self, token: &Secret) -> Secret {
        let tag = hmac::sign(&self.0, token.expose().as_bytes());
        Secret::presented(&format!("rt_{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The code that answers a request without a page: the same however often the browser asks for it.
    #[must_use]
    pub fn code_of(&self, handle: &Secret) -> Secret {
        let tag = hmac::sign(&self.0, format!("code {}", handle.expose()).as_bytes());
        Secret::presented(&format!("ac_{}", URL_SAFE_NO_PAD.encode(tag)))
    }
}

/// What giving tokens reaches.
#[derive(Debug, Clone, Copy)]
pub struct GrantParts<'a> {
    /// The database.
    pub db: &'a Db,
    /// Our keys.
    pub ring: &'a KeyRing,
    /// Our issuer identifier.
    pub issuer: &'a str,
    /// The API that tokens are for.
    pub audience: &'a str,
    /// Makes successors of refresh tokens.
    pub successors: &'a Successors,
}

/// Who asks, with what must be used up when it gets something.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The client.
    pub client: Authenticated,
    /// That it holds a key.
    pub proof: Option<VerifiedProof>,
    /// `scope`.
    pub scope: Option<String>,
    /// `resource`, each.
    pub resources: Vec<String>,
}

/// What is given.
#[derive(Debug, Clone)]
pub struct Given {
    /// `at+jwt`. Secret.
    pub access_token: SecretString,
    /// `rt_…`. Secret.
    pub refresh_token: Option<Secret>,
    /// Whether the access token is bound to a key.
    pub bound: bool,
    /// What it allows.
    pub scopes: Scopes,
    /// Within which limits.
    pub details: Option<serde_json::Value>,
    /// Whose account.
    pub account_id: AccountId,
}

/// Why nothing was given.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The code or token: which of many reasons is for the log.
    #[error("{0}")]
    Grant(&'static str),
    /// The refresh token's successor was used meanwhile.
    #[error("the refresh token came back after its successor was used")]
    CameBack,
    /// The owner of the account barred the agent. What was presented was not used up.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The client may not use the grant.
    #[error("the client may not use this grant")]
    Unauthorized,
    /// More was asked for than there is.
    #[error("none of the scopes can be given")]
    Scope,
    /// Another API.
    #[error("the resource is not served here")]
    Target,
    /// The proof, or its absence.
    #[error("{0}")]
    Proof(&'static str),
    /// The client's statement was used before.
    #[error("the client's statement was used before")]
    ClientReplayed,
    /// No random bits.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The token could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<EnterError> for GrantError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Barred(barred) => Self::Barred(barred),
            EnterError::Narrowed => Self::Grant("the owner narrowed what the agent may do at this moment"),
            EnterError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for GrantError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Whether a code is of an OAuth client, used or not.
///
/// # Errors
/// When the database fails.
pub fn code_is_of_consent(conn: &mut DbConnection, code: &SecretHash) -> Result<bool, DbError> {
    Ok(wire_store::code(conn, code)?.is_some_and(|row| row.consent_id.is_some()))
}

/// A refresh token of an OAuth client, good or not, as the database knows it before anybody is asked who they are.
#[derive(Debug, Clone)]
pub struct KnownRefresh {
    row: RefreshRow,
    consent: Consent,
    successor: Secret,
    next: Option<RefreshRow>,
}

/// What is known of a refresh token; `None`: it is of no OAuth client.
///
/// # Errors
/// When the database fails.
pub async fn known_refresh(parts: GrantParts<'_>, token: &Secret) -> Result<Option<KnownRefresh>, DbError> {
    let (hash, successor) = (token.hash(), parts.successors.of(token));
    let look = move |conn: &mut DbConnection| {
        let Some(row) = wire_store::refresh(conn, &hash)? else { return Ok(None) };
        let Some(id) = &row.consent_id else { return Ok(None) };
        let consent = consent_store::by_id(conn, id)?.ok_or(diesel::result::Error::NotFound)?;
        let next = wire_store::refresh(conn, &successor.hash())?;
        Ok(Some(KnownRefresh { row, consent, successor, next }))
    };
    parts.db.look_up(look).await
}

/// Uses up what is good once: the client's statement, and the proof.
///
/// # Errors
/// When one was used before, or the database fails.
pub fn use_up(
    conn: &mut DbConnection,
    statement: Option<&SingleUse>,
    proof: Option<&VerifiedProof>,
) -> Result<(), GrantError> {
    match statement.map_or(Ok(()), |statement| statement.use_up(conn)) {
        Ok(()) => {}
        Err(ProofError::Db(error)) => return Err(error.into()),
        Err(_used) => return Err(GrantError::ClientReplayed),
    }
    match proof.map_or(Ok(()), |proof| dpop::use_proof(conn, proof)) {
        Ok(()) => Ok(()),
        Err(ProofError::Db(error)) => Err(error.into()),
        Err(_used) => Err(GrantError::Proof("The proof was used before.")),
    }
}

/// The key that a token is bound to: the one that must be proven, if there is one, or else the one that is.
fn binding(asking: &Asking, needed: Option<&str>) -> Result<Option<String>, GrantError> {
    let proven = asking.proof.as_ref().map(|proof| proof.thumbprint.as_str());
    match (needed, proven) {
        (Some(needed), Some(proven)) if needed != proven => Err(GrantError::Grant("another key was proven")),
        (Some(_), None) => Err(GrantError::Proof("The request carries no `DPoP` header, and needs a proof.")),
        (None, None) if asking.client.client.metadata.dpop_bound => {
            Err(GrantError::Proof("The client is registered for tokens that are bound to a key."))
        }
        _ => Ok(proven.map(str::to_owned)),
    }
}

/// What is asked for of `all`: no more than that (RFC 6749 §6).
fn narrowed(asking: &Asking, all: &Scopes, audience: &str) -> Result<Scopes, GrantError> {
    if asking.resources.iter().any(|resource| resource != audience) {
        return Err(GrantError::Target);
    }
    let Some(wanted) = &asking.scope else { return Ok(all.clone()) };
    let scopes = all.intersection(&Scopes::known_of(wanted));
    if scopes.is_empty() { Err(GrantError::Scope) } else { Ok(scopes) }
}

/// A token that is signed and not yet written down.
#[derive(Debug, Clone)]
struct Prepared {
    grant: Grant,
    given: Given,
}

fn prepare(
    parts: GrantParts<'_>,
    consent: &Consent,
    scopes: Scopes,
    bound_to: Option<String>,
    now: Timestamp,
) -> Result<Prepared, GrantError> {
    let grant = Grant {
        id: GrantId::new(now),
        account_id: consent.account_id.clone(),
        orchestrator_id: consent.orchestrator_id.clone(),
        client: consent.client.clone(),
        scopes: scopes.clone(),
        issued_at: now,
        expires_at: now.plus(ACCESS_TOKEN_LIFETIME),
        consent_id: Some(consent.id.clone()),
    };
    let details = (!consent.details.is_empty()).then(|| json!(consent.details));
    let bound = bound_to.is_some();
    let extra = Extra { bound_to, log_in: consent.log_in.clone(), details: details.clone() };
    let token = access_token::issue(parts.ring, parts.issuer, &consent.resource, &grant, &extra)?;
    let account_id = grant.account_id.clone();
    let given = Given { access_token: token.into(), refresh_token: None, bound, scopes, details, account_id };
    Ok(Prepared { grant, given })
}

/// Writes the token of an agent that was let through down, and then asks whether it may be given on this account through its orchestrator.
fn insert_usable(conn: &mut DbConnection, grant: &Grant) -> Result<(), GrantError> {
    store::insert(conn, grant)?;
    match standing::refusal(conn, &grant.account_id, &grant.orchestrator_id)? {
        None => Ok(()),
        Some(why) => Err(GrantError::Grant(why)),
    }
}

/// A code and what comes with it.
#[derive(Debug, Clone)]
pub struct CodeRedemption {
    /// The code.
    pub code: Secret,
    /// `code_verifier`.
    pub verifier: Option<String>,
    /// `redirect_uri`.
    pub redirect_uri: Option<String>,
}

/// Redeems a code of an OAuth client. A code that comes back ends the consent that it stood for; a failed proof leaves it
/// as it was.
///
/// # Errors
/// See [`GrantError`].
pub async fn redeem_code(
    parts: GrantParts<'_>,
    asking: Asking,
    redemption: CodeRedemption,
    now: Timestamp,
) -> Result<Given, GrantError> {
    if !asking.client.client.may(GrantType::AuthorizationCode) {
        return Err(GrantError::Unauthorized);
    }
    let hash = redemption.code.hash();
    let (row, consent) = code_of(parts.db, hash.clone()).await?;
    if row.client != asking.client.client.id {
        return Err(GrantError::Grant("the code is another client's"));
    }
    let lane = row.account_id.to_string();
    if row.used_at.is_some() {
        return replayed(parts.db, &lane, consent.id, CODE_CAME_BACK, now).await;
    }
    fits(&row, &redemption, now)?;
    let ticket = Ticket { hash, take: wire_store::use_code, scope: row.scope };
    give(parts, asking, (consent, row.bound_to.as_deref()), ticket, now).await
}

/// What is used up for tokens.
pub(super) struct Ticket {
    pub(super) hash: SecretHash,
    /// What it stands for: the consent, or a part of it.
    pub(super) scope: String,
    /// How it is used up: whether this call did it.
    pub(super) take: fn(&mut DbConnection, &SecretHash, Timestamp) -> diesel::QueryResult<bool>,
}

/// Gives the first tokens of a consent, to whoever proves to hold `key`, if there is one.
pub(super) async fn give(
    parts: GrantParts<'_>,
    asking: Asking,
    (consent, key): (Consent, Option<&str>),
    ticket: Ticket,
    now: Timestamp,
) -> Result<Given, GrantError> {
    let lane = consent.account_id.to_string();
    stands(&consent, &asking)?;
    let bound_to = binding(&asking, key)?;
    let all = scopes_of(&ticket.scope, &consent)?;
    let scopes = narrowed(&asking, &all, parts.audience)?;
    let mut prepared = prepare(parts, &consent, scopes, bound_to.clone(), now)?;
    let mut refresh = None;
    if asking.client.client.may(GrantType::RefreshToken) {
        let (secret, until) = (Secret::generate("rt")?, refresh_end(&consent, now));
        let bound_to = refresh_binding(&asking, bound_to);
        refresh = Some(refresh_row(&secret, &prepared.grant, (&consent.id, &all), bound_to, until));
        prepared.given.refresh_token = Some(secret);
    }
    let spending = Spending { consent: consent.id.clone(), grant: prepared.grant, asking };
    let written = parts.db.write(&lane, move |conn| {
        if !(ticket.take)(conn, &ticket.hash, now)? {
            return Ok(Err(()));
        }
        spending.spend(conn, now)?;
        refresh.as_ref().map_or(Ok(()), |row| wire_store::insert_refresh(conn, row))?;
        Ok::<_, GrantError>(Ok(()))
    });
    match written.await? {
        Ok(()) => Ok(prepared.given),
        // Another request used it at this moment.
        Err(()) => replayed(parts.db, &lane, consent.id, CODE_CAME_BACK, now).await,
    }
}

/// Whether a code and what comes with it belong together. A failure leaves the code as it was.
fn fits(row: &CodeRow, redemption: &CodeRedemption, now: Timestamp) -> Result<(), GrantError> {
    if row.expires_at <= now {
        return Err(GrantError::Grant("the code has expired"));
    }
    if redemption.redirect_uri.as_ref().is_some_and(|uri| Some(uri) != row.redirect_uri.as_ref()) {
        return Err(GrantError::Grant("the redirect URI is another than that of the request"));
    }
    verify(row, redemption.verifier.as_deref())
}

/// Whether a consent still is what the human gave. What the client says of itself decides where tokens go: a change is for
/// the human to see (draft-ietf-oauth-client-id-metadata-document §8).
fn stands(consent: &Consent, asking: &Asking) -> Result<(), GrantError> {
    if consent.revoked_at.is_some() {
        return Err(GrantError::Grant("the consent was taken back"));
    }
    if asking.client.client.digest() != consent.client_digest {
        return Err(GrantError::Grant("the client is not what it was when the human allowed it"));
    }
    Ok(())
}

/// A token about to be written down, with everything that is used up for it.
struct Spending {
    consent: ConsentId,
    grant: Grant,
    asking: Asking,
}

impl Spending {
    /// Writes the token down. The consent's row is locked by it: whoever takes the consent back at this moment comes
    /// before, and then there is no token, or after, and then the token ends.
    fn spend(&self, conn: &mut DbConnection, now: Timestamp) -> Result<(), GrantError> {
        // The agent before the consent, as everywhere.
        agent::admit(conn, &self.grant, now)?;
        if !consent_store::use_it(conn, &self.consent, now)? {
            return Err(GrantError::Grant("the consent was taken back"));
        }
        use_up(conn, self.asking.client.proof.as_ref(), self.asking.proof.as_ref())?;
        client::used(conn, &self.asking.client.client, now)?;
        insert_usable(conn, &self.grant)
    }
}

async fn code_of(db: &Db, hash: SecretHash) -> Result<(CodeRow, Consent), GrantError> {
    let unknown = || GrantError::Grant("the code never existed");
    db.look_up(move |conn| {
        let row = wire_store::code(conn, &hash)?.ok_or_else(unknown)?;
        let id = row.consent_id.clone().ok_or_else(unknown)?;
        let consent = consent_store::by_id(conn, &id)?.ok_or_else(unknown)?;
        Ok((row, consent))
    })
    .await
}

/// Ends what a copied code or token stood for.
pub(super) async fn replayed<T>(
    db: &Db,
    lane: &str,
    id: ConsentId,
    reason: &'static str,
    now: Timestamp,
) -> Result<T, GrantError> {
    db.write(lane, move |conn| revoke_consent(conn, &id, ("house", reason), now)).await?;
    Err(GrantError::Grant(reason))
}

fn verify(row: &CodeRow, verifier: Option<&str>) -> Result<(), GrantError> {
    let wrong = GrantError::Grant("the verifier is not the one behind the challenge");
    let (Some(challenge), Some(verifier)) = (&row.code_challenge, verifier) else { return Err(wrong) };
    match (challenge.parse::<CodeChallenge>(), verifier.parse::<CodeVerifier>()) {
        (Ok(challenge), Ok(verifier)) if challenge.is_met_by(&verifier) => Ok(()),
        _ => Err(wrong),
    }
}

/// Refresh tokens of clients that prove nothing are bound to their key (RFC 9449 §5); others prove who they are anyway.
fn refresh_binding(asking: &Asking, bound_to: Option<String>) -> Option<String> {
    bound_to.filter(|_| !asking.client.client.is_confidential())
}

/// What a code or refresh token stands for: a code can be of less than its consent.
fn scopes_of(written: &str, consent: &Consent) -> Result<Scopes, GrantError> {
    // Written by ourselves from a `Scopes`.
    let scopes =
        written.parse::<Scopes>().map_err(|_unknown| GrantError::Grant("it is of scopes that nobody knows"))?;
    Ok(consent.scopes.intersection(&scopes))
}

fn refresh_end(consent: &Consent, now: Timestamp) -> Timestamp {
    now.plus(REFRESH_TOKEN_LIFETIME).min(consent.created_at.plus(CONSENT_LIFETIME))
}

fn refresh_row(
    secret: &Secret,
    grant: &Grant,
    (consent, scopes): (&ConsentId, &Scopes),
    bound_to: Option<String>,
    expires_at: Timestamp,
) -> RefreshRow {
    RefreshRow {
        token_hash: secret.hash(),
        family: consent.to_string(),
        grant_id: grant.id.clone(),
        account_id: grant.account_id.clone(),
        orchestrator_id: grant.orchestrator_id.clone(),
        client: grant.client.clone(),
        // A narrower access token does not narrow what the human allowed (RFC 6749 §6).
        scope: scopes.to_string(),
        issued_at: grant.issued_at,
        expires_at,
        replaced_at: None,
        revoked_at: None,
        consent_id: Some(consent.clone()),
        bound_to,
    }
}

/// Exchanges a refresh token of an OAuth client for a new access token and its successor. Whatever was known of it is
/// looked at again where it is replaced.
///
/// # Errors
/// See [`GrantError`].
pub async fn refresh_consent(
    parts: GrantParts<'_>,
    asking: Asking,
    known: KnownRefresh,
    now: Timestamp,
) -> Result<Given, GrantError> {
    if !asking.client.client.may(GrantType::RefreshToken) {
        return Err(GrantError::Unauthorized);
    }
    let KnownRefresh { row, consent, successor, next } = known;
    if row.client != asking.client.client.id {
        return Err(GrantError::Grant("the refresh token is another client's"));
    }
    if row.expires_at <= now || row.revoked_at.is_some() {
        return Err(GrantError::Grant("the refresh token has expired or was revoked"));
    }
    // Without its key a copy does nothing, not even harm.
    let bound_to = binding(&asking, row.bound_to.as_deref())?;
    let lane = row.account_id.to_string();
    if next.is_some_and(|next| next.replaced_at.is_some()) {
        return replayed(parts.db, &lane, consent.id, REFRESH_CAME_BACK, now).await;
    }
    stands(&consent, &asking)?;
    let all = scopes_of(&row.scope, &consent)?;
    let scopes = narrowed(&asking, &all, parts.audience)?;
    let mut prepared = prepare(parts, &consent, scopes, bound_to, now)?;
    let until = refresh_end(&consent, now);
    let new_row = refresh_row(&successor, &prepared.grant, (&consent.id, &all), row.bound_to.clone(), until);
    prepared.given.refresh_token = Some(successor);
    let spending = Spending { consent: consent.id.clone(), grant: prepared.grant, asking };
    let written = parts.db.write(&lane, move |conn| {
        // First, because it locks: whoever refreshes at this moment waits.
        spending.spend(conn, now)?;
        succeed(conn, &row.token_hash, &new_row, now)
    });
    match written.await {
        Ok(()) => Ok(prepared.given),
        Err(GrantError::CameBack) => replayed(parts.db, &lane, consent.id, REFRESH_CAME_BACK, now).await,
        Err(error) => Err(error),
    }
}

/// Replaces a refresh token by its successor, or finds that it was replaced by it before; then the successor, given anew, is
/// good as long as a new one.
fn succeed(
    conn: &mut DbConnection,
    token: &SecretHash,
    successor: &RefreshRow,
    now: Timestamp,
) -> Result<(), GrantError> {
    if wire_store::replace_refresh(conn, token, now)? {
        return Ok(wire_store::insert_refresh(conn, successor)?);
    }
    match wire_store::refresh(conn, &successor.token_hash)? {
        Some(next) if next.replaced_at.is_some() => Err(GrantError::CameBack),
        Some(next) if next.revoked_at.is_none() => {
            Ok(wire_store::prolong_refresh(conn, &successor.token_hash, successor.expires_at)?)
        }
        _ => Err(GrantError::Grant("the refresh token has expired or was revoked")),
    }
}

/// What a client gets for itself, on the account that the operator named for it (RFC 6749 §4.4).
///
/// # Errors
/// See [`GrantError`].
pub async fn client_credentials(parts: GrantParts<'_>, asking: Asking, now: Timestamp) -> Result<Given, GrantError> {
    let client = &asking.client.client;
    let account_id = client.account_id.clone().filter(|_| client.is_confidential());
    let account_id = account_id.filter(|_| client.may(GrantType::ClientCredentials)).ok_or(GrantError::Unauthorized)?;
    let bound_to = binding(&asking, None)?;
    let scopes = narrowed(&asking, &client.scopes(None), parts.audience)?;
    if scopes.is_empty() {
        return Err(GrantError::Scope);
    }
    let (lane, id) = (account_id.to_string(), GrantId::new(now));
    let written = parts.db.write(&lane, move |conn| {
        let account = account::by_id(conn, &account_id)?.ok_or(GrantError::Grant("there is no such account"))?;
        if !account::is_as_seen(conn, &account.id, account.is_claimed())? {
            return Err(GrantError::Grant("the account was claimed at the same moment"));
        }
        use_up(conn, asking.client.proof.as_ref(), asking.proof.as_ref())?;
        let (issued_at, expires_at) = (now, now.plus(ACCESS_TOKEN_LIFETIME));
        let mut grant = Grant {
            id: id.clone(),
            account_id: account.id,
            orchestrator_id: account.opened_by,
            client: asking.client.client.id.clone(),
            scopes: scopes.clone(),
            issued_at,
            expires_at,
            consent_id: None,
        };
        agent::admit_narrowed(conn, &mut grant, now)?;
        if grant.scopes.is_empty() {
            return Err(GrantError::Scope);
        }
        insert_usable(conn, &grant)?;
        Ok::<_, GrantError>(grant)
    });
    // Signed after it was written: only the account says through whom, and looking there before would be one more read.
    let grant = written.await?;
    let bound = bound_to.is_some();
    let extra = Extra { bound_to, log_in: LogIn::default(), details: None };
    let token = access_token::issue(parts.ring, parts.issuer, parts.audience, &grant, &extra)?;
    let Grant { account_id, scopes, .. } = grant;
    Ok(Given { access_token: token.into(), refresh_token: None, bound, scopes, details: None, account_id })
}
