//! The owner's answer to an orchestrator that asks for an account which exists: allow or deny, once, within ten minutes,
//! by whoever is logged in as that account.

use std::str::FromStr;

use serde_json::json;

use super::agent::NarrowError;
use super::code::NewCode;
use super::device;
use super::memory;
use super::oauth_grant::CONSENT_LIFETIME;
use super::pkce::CodeChallenge;
use super::request;
use super::scope::Scopes;
use super::wire_grant::Holder;
use super::wire_store;
use crate::account::{self, Account, AgentKey, Facts, LinkError, LinkedBy, SealedFact};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, AccountRequestId, OrchestratorId};
use crate::orchestrator::{self, Belief, Orchestrator, Statement, WireSettings};
use crate::secret::Secret;
use crate::signing::{SealError, Sealer};

/// How long a question of an OAuth client that nobody answered is kept after its time ended.
const UNDECIDED_KEPT: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Nobody has answered.
    Pending,
    /// The owner allowed it.
    Allowed,
    /// The owner refused.
    Denied,
}

/// A stored word that is no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state of a request is one of: pending, allowed, denied")]
pub struct UnknownState;

impl RequestState {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

impl FromStr for RequestState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        [Self::Pending, Self::Allowed, Self::Denied]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownState)
    }
}

/// A request for an account that waits for its human, or has heard from them.
#[derive(Debug, Clone)]
pub struct AccountRequest {
    /// Names the page.
    pub id: AccountRequestId,
    /// Who asks.
    pub orchestrator_id: OrchestratorId,
    /// Names the request among all of this orchestrator.
    pub request_key: String,
    /// SHA-256 of the request.
    pub request_hash: String,
    /// For whom, with the next: as in an attestation.
    pub tenant: String,
    /// The person, as the orchestrator names them.
    pub subject: String,
    /// The address in its one spelling.
    pub email: Option<String>,
    /// Whose consent is needed.
    pub account_id: AccountId,
    /// Who gets the tokens.
    pub client: String,
    /// What they shall allow.
    pub scopes: Scopes,
    /// With which proof the code is redeemed.
    pub code_challenge: Option<CodeChallenge>,
    /// What is given back verbatim, sealed; empty when nothing was sent.
    pub sealed_confirmation_secret: String,
    /// Where it stands.
    pub state: RequestState,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Until when it can be answered.
    pub expires_at: Timestamp,
    /// What was passed on about the person, sealed for the account that is asked for.
    pub information: Vec<SealedFact>,
}

/// Where the confirmation secret of a request is kept: it opens nowhere else.
pub(super) fn place(id: &AccountRequestId) -> String {
    format!("account_requests/{id}/confirmation_secret")
}

/// A question with everything that its page shows.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request.
    pub request: AccountRequest,
    /// Who asks.
    pub orchestrator: Orchestrator,
    /// How it speaks; `None`: not any more.
    pub settings: Option<WireSettings>,
    /// Who is asked.
    pub owner: Account,
    /// What they allowed before.
    pub allowed: Option<Scopes>,
    /// Given back verbatim with the answer. Secret.
    pub state: Option<Secret>,
}

/// What the owner of an account allowed the orchestrator of a person. `None`: there is no link, or nobody was asked.
fn allowed(
    conn: &mut DbConnection,
    (orchestrator, tenant, subject): (&OrchestratorId, &str, &str),
) -> Result<Option<Scopes>, DbError> {
    read_allowed(orchestrator, account::allowed(conn, (orchestrator, tenant, subject))?.as_deref())
}

/// The same, of facts that were read already.
pub(super) fn allowed_in(orchestrator: &OrchestratorId, facts: &Facts) -> Result<Option<Scopes>, DbError> {
    read_allowed(orchestrator, facts.allowed.as_deref())
}

fn read_allowed(orchestrator: &OrchestratorId, text: Option<&str>) -> Result<Option<Scopes>, DbError> {
    let Some(text) = text else { return Ok(None) };
    // Whoever claimed the account did not keep this one.
    if text.is_empty() {
        return Ok(Some(Scopes::known_of("")));
    }
    let scopes = text.parse().map_err(|_unknown| {
        let text = format!("table `identity_links`, {orchestrator}: `scopes` holds a value that is none");
        DbError::from(diesel::result::Error::DeserializationError(text.into()))
    })?;
    Ok(Some(scopes))
}

/// Why a question was not answered. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// It was answered before, its time is over, or it is somebody else's.
    #[error("the request was answered before, or its time is over")]
    Closed,
    /// The person of the orchestrator is linked to another account.
    #[error(transparent)]
    Link(LinkError),
    /// What is given back cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<NarrowError> for ConsentError {
    fn from(error: NarrowError) -> Self {
        match error {
            NarrowError::Db(error) => Self::Db(error),
            // Somebody changed the agent at the same moment.
            NarrowError::Unknown | NarrowError::Nothing | NarrowError::Changed => Self::Closed,
        }
    }
}

impl From<diesel::result::Error> for ConsentError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl Question {
    /// Whether it can be answered at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.request.state == RequestState::Pending
            && now < self.request.expires_at
            && self.orchestrator.suspended_at.is_none()
            && self.settings.is_some()
    }

    /// Whom it lets act.
    #[must_use]
    pub fn agent(&self) -> AgentKey {
        AgentKey {
            account_id: self.request.account_id.clone(),
            orchestrator_id: self.request.orchestrator_id.clone(),
            client: self.request.client.clone(),
        }
    }

    /// Who gets a code when so much of it is allowed.
    #[must_use]
    pub fn holder(&self, granted: &Scopes) -> Holder {
        Holder {
            account_id: self.request.account_id.clone(),
            orchestrator_id: self.request.orchestrator_id.clone(),
            client: self.request.client.clone(),
            scopes: granted.clone(),
        }
    }
}

/// The question with this id, if there is one.
///
/// # Errors
/// When the database fails or what is given back cannot be opened.
pub async fn question(db: &Db, sealer: &Sealer, id: &AccountRequestId) -> Result<Option<Question>, ConsentError> {
    let wanted = id.clone();
    let found = db.read(move |conn| {
        let Some(request) = wire_store::request_by_id(conn, &wanted)? else { return Ok(None) };
        let orchestrator = orchestrator::by_id(conn, &request.orchestrator_id)?;
        let settings = orchestrator::wire_of(conn, &request.orchestrator_id)?;
        let owner = account::by_id(conn, &request.account_id)?;
        let before = allowed(conn, (&request.orchestrator_id, &request.tenant, &request.subject))?;
        let who = orchestrator.zip(owner);
        Ok::<_, DbError>(who.map(|(orchestrator, owner)| (request, orchestrator, settings, owner, before)))
    });
    let Some((request, orchestrator, settings, owner, allowed)) = found.await? else { return Ok(None) };
    let opened = sealer.open(&place(id), &request.sealed_confirmation_secret)?;
    let state = String::from_utf8_lossy(&opened);
    let state = (!state.is_empty()).then(|| Secret::presented(&state));
    Ok(Some(Question { request, orchestrator, settings, owner, allowed, state }))
}

/// The owner allows it: the account is linked, and `code` works from now on. Call it inside `Db::write`.
///
/// # Errors
/// See [`ConsentError`].
pub fn allow(
    conn: &mut DbConnection,
    (question, granted): (&Question, &Scopes),
    code: Option<&NewCode>,
    now: Timestamp,
) -> Result<(), ConsentError> {
    let request = &question.request;
    if !wire_store::decide_request(conn, (&request.id, &request.account_id), RequestState::Allowed, now)? {
        return Err(ConsentError::Closed);
    }
    let linked = account::by_link(conn, &request.orchestrator_id, &request.tenant, &request.subject)?;
    match linked {
        Some(account) if account.id == request.account_id => settle(conn, (question, granted), now)?,
        Some(_) => return Err(ConsentError::Link(LinkError::Taken)),
        None => {
            let person = (request.tenant.as_str(), request.subject.as_str());
            let actor = format!("user:{}", request.account_id);
            let by = (LinkedBy::Consent, actor.as_str());
            let scopes = granted.to_string();
            let to = (&request.account_id, Some(scopes.as_str()));
            account::link(conn, (&question.orchestrator, person), to, by, now).map_err(ConsentError::Link)?;
        }
    }
    let agent = super::agent::welcome(conn, &question.agent(), (None, granted), now)?;
    // What was allowed before and is not left ticked is taken back.
    let before = question.allowed.clone().unwrap_or_default().intersection(&request.scopes);
    for scope in before.without(granted).iter() {
        super::agent::drop_scope(conn, (&request.account_id, &agent), scope, now)?;
    }
    account::remember(conn, (&request.account_id, &request.orchestrator_id), &request.information, now)?;
    // Which key signed the question is no matter here: with the key's distrust its questions were closed.
    let (orchestrator, tenant, subject) = (&request.orchestrator_id, &request.tenant, &request.subject);
    let statement = Statement { orchestrator, key: None, tenant, subject };
    if orchestrator::is_disbelieved(conn, &statement)? == Belief::Distrusted {
        return Err(ConsentError::Closed);
    }
    Ok(code.map_or(Ok(()), |code| code.insert(conn))?)
}

/// What is allowed now comes to what was allowed before, in place of what was asked for again.
fn settle(conn: &mut DbConnection, (question, granted): (&Question, &Scopes), now: Timestamp) -> Result<(), DbError> {
    let request = &question.request;
    let person = (request.tenant.as_str(), request.subject.as_str());
    match allowed(conn, (&request.orchestrator_id, person.0, person.1))? {
        Some(before) => {
            let allowed = before.without(&request.scopes).union(granted);
            if allowed == before {
                return Ok(());
            }
            let (to, grows) = (allowed.to_string(), allowed.contains_all(&before));
            account::set_allowed(conn, (&question.orchestrator, person), &request.account_id, (&to, grows), now)
        }
        None => Ok(()),
    }
}

/// The owner refuses. Call it inside `Db::write`.
///
/// # Errors
/// See [`ConsentError`].
pub fn deny(conn: &mut DbConnection, question: &Question, now: Timestamp) -> Result<(), ConsentError> {
    let request = &question.request;
    if !wire_store::decide_request(conn, (&request.id, &request.account_id), RequestState::Denied, now)? {
        return Err(ConsentError::Closed);
    }
    let fact = Fact {
        actor: format!("user:{}", request.account_id),
        action: "link.denied",
        account_id: Some(&request.account_id),
        subject: request.id.to_string(),
        detail: json!({
            "orchestrator_id": request.orchestrator_id, "orchestrator": question.orchestrator.name.as_str(),
        }),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// Forgets codes, refresh tokens and questions whose time ended a day ago, and questions of OAuth clients that nobody
/// answered, which anybody can make, an hour after their time ended; at most `limit` of each. Answers how many of the most.
///
/// # Errors
/// When the database fails.
pub fn forget_ended(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<usize, DbError> {
    let end = now.minus(chrono::TimeDelta::days(1));
    let of_wire = wire_store::delete_ended_before(conn, end, limit)?;
    let of_devices = device::delete_ended_before(conn, end, limit)?;
    let remembered = (now.minus(CONSENT_LIFETIME), end);
    let of_memory = memory::delete_ended_before(conn, remembered, now, limit)?;
    let of_questions = request::delete_ended_before(conn, (now.minus(UNDECIDED_KEPT), end), limit)?;
    Ok(of_wire.max(of_devices).max(of_memory).max(of_questions))
}
