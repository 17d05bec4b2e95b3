//! A request on its way: kept, shown to a human, answered once.

use chrono::TimeDelta;
use serde_json::json;

use super::AuthorizationRequest;
use super::store::{self, RequestRow};
use crate::account::Account;
use crate::audit::{self, Fact};
use crate::authorization::access_token::LogIn;
use crate::authorization::client;
use crate::authorization::consent_grant::Consent;
use crate::authorization::scope::Scopes;
use crate::authorization::wire_store::{self, CodeRow};
use crate::authorization::{consent_store, standing};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::ConsentId;
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
        created_at: row.created_at,
        expires_at: row.expires_at,
    }))
}

/// A human's yes, prepared before the transaction.
#[derive(Debug, Clone)]
pub struct Answer {
    consent: Consent,
    client_name: String,
    code: CodeRow,
    hash: SecretHash,
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
        let (code, request) = (Secret::generate("ac")?, &asked.request);
        let consent = Consent {
            id: ConsentId::new(now),
            account_id: owner.id.clone(),
            // Payment tokens and the cap are those of the orchestrator that opened the account.
            orchestrator_id: owner.opened_by.clone(),
            client: request.client.clone(),
            client_digest: request.client_digest.clone(),
            resource: request.resource.clone(),
            scopes: scopes.clone(),
            details: request.details.clone(),
            log_in,
            created_at: now,
            revoked_at: None,
        };
        let row = CodeRow {
            code_hash: code.hash(),
            account_id: consent.account_id.clone(),
            orchestrator_id: consent.orchestrator_id.clone(),
            client: request.client.clone(),
            scope: scopes.to_string(),
            code_challenge: Some(request.code_challenge.to_string()),
            issued_at: now,
            expires_at: now.plus(CODE_LIFETIME),
            used_at: None,
            consent_id: Some(consent.id.clone()),
            redirect_uri: Some(request.redirect_uri.clone()),
            bound_to: request.bound_to.clone(),
        };
        Ok((
            code,
            Self { consent, client_name: request.client_name.clone(), code: row, hash: asked.hash.clone(), scopes },
        ))
    }

    /// Names what was allowed.
    #[must_use]
    pub fn consent_id(&self) -> &ConsentId {
        &self.consent.id
    }
}

/// The human allows it: from now on the code works. Call it inside `Db::write`.
///
/// # Errors
/// See [`AnswerError`].
pub fn allow_request(conn: &mut DbConnection, answer: &Answer, now: Timestamp) -> Result<(), AnswerError> {
    let consent = &answer.consent;
    if !store::decide_request(conn, &answer.hash, ("allowed", &consent.account_id), now)? {
        return Err(AnswerError::Closed);
    }
    consent_store::insert(conn, consent)?;
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
    match standing::refusal(conn, &consent.account_id, &consent.orchestrator_id)? {
        None => Ok(()),
        Some(why) => Err(AnswerError::Unusable(why)),
    }
}

/// The human refuses. Call it inside `Db::write`.
///
/// # Errors
/// See [`AnswerError`].
pub fn deny_request(
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
