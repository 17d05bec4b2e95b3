//! A request on its way: kept, shown to a human, answered once.

use chrono::TimeDelta;
use serde_json::json;

use super::AuthorizationRequest;
use super::store::{self, RequestRow};
use crate::account::{self, Account};
use crate::audit::{self, Fact};
use crate::authorization::access_token::LogIn;
use crate::authorization::client;
use crate::authorization::consent_grant::Consent;
use crate::authorization::memory::{Reuse, Waiting};
use crate::authorization::scope::Scopes;
use crate::authorization::wire_store::{self, CodeRow};
use crate::authorization::{agent, consent_store, standing};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ConsentId};
use crate::secret::{NoRandomness, Secret, SecretHash};

/// How long a pushed request waits to be shown.
pub const PUSHED_LIFETIME: TimeDelta = TimeDelta::seconds(90);
/// How long a request that was shown can be answered.
const ASKED_LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// How long a code works.
const CODE_LIFETIME: TimeDelta = TimeDelta::seconds(60);
/// What stands before the handle of a pushed request (RFC 9126 §2.2).
pub const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";

/// A request as it stands.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Names it; the handle itself is in the address of its page.
    pub hash: SecretHash,
    /// What is asked.
    pub request: AuthorizationRequest,
    /// Whether it can be answered.
    pub open: bool,
    /// Whose question it is, since it was shown.
    pub account_id: Option<AccountId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be answered.
    pub expires_at: Timestamp,
}

/// Why a request was not answered. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It was answered before, or its time is over.
    #[error("the request was answered before, or its time is over")]
    Closed,
    /// Nothing can be given on the account now.
    #[error("{0}")]
    Unusable(&'static str),
    /// Another question of the client is open.
    #[error("another question of the client is open")]
    Waits(Box<Waiting>),
    /// The client asked, or was denied, too often.
    #[error("the client has to wait until {until}")]
    TooOften {
        /// When it may ask again.
        until: Timestamp,
    },
    /// No random bits.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for AnswerError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Keeps a request under `handle`: pushed, to be shown once, or (`shown`) on its way to the human already. Call it inside
/// `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn keep(
    conn: &mut DbConnection,
    handle: &SecretHash,
    request: &AuthorizationRequest,
    shown: bool,
    now: Timestamp,
) -> Result<(), DbError> {
    let (state, lifetime) = if shown { ("asked", ASKED_LIFETIME) } else { ("pushed", PUSHED_LIFETIME) };
    let text =
        serde_json::to_string(request).map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    let row = RequestRow {
        handle_hash: handle.clone(),
        client: request.client.clone(),
        request: text,
        state: state.to_owned(),
        account_id: None,
        created_at: now,
        expires_at: now.plus(lifetime),
        decided_at: None,
    };
    Ok(store::insert_request(conn, &row)?)
}

/// Shows a pushed request of `client`, once. `false`: it was never pushed by this client, was shown before, or its time is
/// over. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn show(conn: &mut DbConnection, handle: &SecretHash, client: &str, now: Timestamp) -> Result<bool, DbError> {
    Ok(store::show_request(conn, (handle, client), now.plus(ASKED_LIFETIME), now)?)
}

/// The request with this handle, if it was shown.
///
/// # Errors
/// When the database fails.
pub fn asked(conn: &mut DbConnection, handle: &SecretHash, now: Timestamp) -> Result<Option<Asked>, DbError> {
    let Some(row) = store::request(conn, handle)? else { return Ok(None) };
    if row.state == "pushed" {
        return Ok(None);
    }
    let request = serde_json::from_str(&row.request)
        .map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    Ok(Some(Asked {
        hash: row.handle_hash,
        request,
        open: row.state == "asked" && now < row.expires_at,
        account_id: row.account_id,
        created_at: row.created_at,
        expires_at: row.expires_at,
    }))
}

/// A human's yes, prepared before the transaction.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(in crate::authorization) consent: Consent,
    /// Whether the consent begins with it.
    pub(in crate::authorization) is_new: bool,
    pub(in crate::authorization) client_name: String,
    pub(in crate::authorization) code: CodeRow,
    pub(in crate::authorization) hash: SecretHash,
    /// What was allowed.
    pub scopes: Scopes,
}

impl Answer {
    /// What the human `owner`, who logged in as `log_in` says, allows of what was asked; and the code that says so.
    ///
    /// # Errors
    /// When there are no random bits.
    pub fn allow(
        asked: &Asked,
        owner: &Account,
        scopes: Scopes,
        log_in: LogIn,
        now: Timestamp,
    ) -> Result<(Secret, Self), NoRandomness> {
        let code = Secret::generate("ac")?;
        let consent = consent(asked, owner, (ConsentId::new(now), scopes), log_in, now);
        let answer = Self::with(asked, consent, &code, now);
        Ok((code, answer))
    }

    /// The same from what is remembered, under `code`.
    #[must_use]
    pub fn again(
        asked: &Asked,
        owner: &Account,
        (reuse, code): (&Reuse, &Secret),
        log_in: LogIn,
        now: Timestamp,
    ) -> Self {
        let id = reuse.under.clone().unwrap_or_else(|| ConsentId::new(now));
        // It lasts no longer than what it rests on.
        let consent = consent(asked, owner, (id, reuse.scopes.clone()), log_in, reuse.since);
        Self { is_new: reuse.under.is_none(), ..Self::with(asked, consent, code, now) }
    }

    fn with(asked: &Asked, consent: Consent, code: &Secret, now: Timestamp) -> Self {
        let request = &asked.request;
        let row = CodeRow {
            code_hash: code.hash(),
            account_id: consent.account_id.clone(),
            orchestrator_id: consent.orchestrator_id.clone(),
            client: request.client.clone(),
            scope: consent.scopes.to_string(),
            code_challenge: Some(request.code_challenge.to_string()),
            issued_at: now,
            expires_at: now.plus(CODE_LIFETIME),
            used_at: None,
            consent_id: Some(consent.id.clone()),
            redirect_uri: Some(request.redirect_uri.clone()),
            bound_to: request.bound_to.clone(),
        };
        let (client_name, hash) = (request.client_name.clone(), asked.hash.clone());
        let scopes = consent.scopes.clone();
        Self { consent, is_new: true, client_name, code: row, hash, scopes }
    }

    /// Whom it lets act.
    #[must_use]
    pub fn agent(&self) -> account::AgentKey {
        self.consent.agent()
    }

    /// Names what was allowed, if it is allowed by this answer and not by an earlier one.
    #[must_use]
    pub fn new_consent(&self) -> Option<&ConsentId> {
        self.is_new.then_some(&self.consent.id)
    }
}

fn consent(
    asked: &Asked,
    owner: &Account,
    (id, scopes): (ConsentId, Scopes),
    log_in: LogIn,
    since: Timestamp,
) -> Consent {
    let request = &asked.request;
    Consent {
        id,
        account_id: owner.id.clone(),
        // Payment tokens and the cap are those of the orchestrator that opened the account.
        orchestrator_id: owner.opened_by.clone(),
        client: request.client.clone(),
        client_digest: request.client_digest.clone(),
        resource: request.resource.clone(),
        scopes,
        details: request.details.clone(),
        log_in,
        created_at: since,
        revoked_at: None,
    }
}

/// The human allows it: from now on the code works. Call it inside `Db::write`.
///
/// # Errors
/// See [`AnswerError`].
pub(in crate::authorization) fn allow_request(
    conn: &mut DbConnection,
    answer: &Answer,
    now: Timestamp,
) -> Result<(), AnswerError> {
    let consent = &answer.consent;
    if !store::decide_request(conn, &answer.hash, ("allowed", &consent.account_id), now)? {
        return Err(AnswerError::Closed);
    }
    agent::welcome(conn, &consent.agent(), (Some(&answer.client_name), &consent.scopes), now)?;
    consent_store::insert(conn, consent, false)?;
    wire_store::insert_code(conn, &answer.code)?;
    client::touch(conn, &consent.client, now)?;
    let fact = Fact {
        actor: format!("user:{}", consent.account_id),
        action: "consent.given",
        account_id: Some(&consent.account_id),
        subject: consent.id.to_string(),
        detail: json!({
            "client": consent.client, "client_name": answer.client_name, "client_digest": consent.client_digest, "scope": consent.scopes.to_string(),
            "authorization_details": consent.details,
        }),
    };
    audit::append(conn, &fact, now)?;
    still_stands(conn, consent)
}

/// Whether anything may be given on the account of a consent; asked when everything is written.
pub(in crate::authorization) fn still_stands(conn: &mut DbConnection, consent: &Consent) -> Result<(), AnswerError> {
    let refused = standing::refusal(conn, &consent.account_id, &consent.orchestrator_id)?;
    refused.map_or(Ok(()), |why| Err(AnswerError::Unusable(why)))
}

/// The human refuses. Call it inside `Db::write`.
///
/// # Errors
/// See [`AnswerError`].
pub(in crate::authorization) fn deny_request(
    conn: &mut DbConnection,
    asked: &Asked,
    owner: &Account,
    now: Timestamp,
) -> Result<(), AnswerError> {
    if !store::decide_request(conn, &asked.hash, ("denied", &owner.id), now)? {
        return Err(AnswerError::Closed);
    }
    let fact = Fact {
        actor: format!("user:{}", owner.id),
        action: "consent.refused",
        account_id: Some(&owner.id),
        subject: owner.id.to_string(),
        detail: json!({"client": asked.request.client, "client_name": asked.request.client_name, "scope": asked.request.scopes.to_string()}),
    };
    Ok(audit::append(conn, &fact, now)?)
}
