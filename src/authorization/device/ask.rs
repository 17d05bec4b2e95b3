//! A program begins to wait, and a human who types its code sees who asks.

use serde_json::json;

use super::store::{self, DeviceRow};
use super::{DEVICE_LIFETIME, DeviceFlow, POLL_SECONDS, TYPING_LIFETIME, UserCode};
use crate::account::Account;
use crate::audit::{self, Fact};
use crate::authorization::client::{Client, GrantType};
use crate::authorization::pkce::CodeChallenge;
use crate::authorization::request::{self, AuthorizationRequest};
use crate::authorization::scope::Scopes;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::secret::{NoRandomness, Secret, SecretHash};

/// What is asked for when nothing is.
const DEFAULT_SCOPE: &str = "resources:read budget:read";

/// A request about to be kept: both codes, once.
#[derive(Debug)]
pub struct NewDevice {
    /// With which the program asks whether it was answered. Secret.
    pub device_code: Secret,
    /// What its human types. Secret.
    pub user_code: UserCode,
    row: DeviceRow,
}

/// Why a program cannot wait for its human.
#[derive(Debug, thiserror::Error)]
pub enum DeviceAskError {
    /// The client is not registered for it.
    #[error("the client may not use this grant")]
    Unauthorized,
    /// None of the scopes can be given this way.
    #[error("none of the scopes can be given to a device")]
    Scope,
    /// No random bits.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl NewDevice {
    /// The request of `client`, which called from `address`.
    ///
    /// # Errors
    /// See [`DeviceAskError`].
    pub fn prepare(
        flow: &DeviceFlow,
        client: &Client,
        scope: Option<&str>,
        address: &str,
        now: Timestamp,
    ) -> Result<Self, DeviceAskError> {
        if !client.may(GrantType::DeviceCode) {
            return Err(DeviceAskError::Unauthorized);
        }
        let scopes = client.scopes(Some(scope.unwrap_or(DEFAULT_SCOPE))).intersection(&flow.scopes);
        if scopes.is_empty() {
            return Err(DeviceAskError::Scope);
        }
        let (device_code, user_code) = (Secret::generate("dc")?, UserCode::generate()?);
        let row = DeviceRow {
            device_hash: device_code.hash(),
            user_hash: flow.name_of(&user_code),
            client: client.id.clone(),
            scope: scopes.to_string(),
            address: address.to_owned(),
            state: "waiting".to_owned(),
            handle_hash: None,
            code_challenge: None,
            wait_seconds: POLL_SECONDS,
            next_poll_at: now,
            created_at: now,
            expires_at: now.plus(DEVICE_LIFETIME),
        };
        Ok(Self { device_code, user_code, row })
    }
}

/// Keeps a request. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn keep(conn: &mut DbConnection, new: &NewDevice) -> Result<(), DbError> {
    Ok(store::insert(conn, &new.row)?)
}

/// A request whose code was typed.
#[derive(Debug, Clone)]
pub struct DeviceAsked {
    /// Who asks.
    pub client: String,
    /// For what.
    pub scopes: Scopes,
    /// From where: the address that called.
    pub address: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// The request with this code, if it waits for its human.
///
/// # Errors
/// When the database fails.
pub fn asked(conn: &mut DbConnection, code: &SecretHash, now: Timestamp) -> Result<Option<DeviceAsked>, DbError> {
    let Some(row) = store::waiting(conn, code, now.minus(TYPING_LIFETIME))? else { return Ok(None) };
    let scopes = Scopes::known_of(&row.scope);
    Ok(Some(DeviceAsked { client: row.client, scopes, address: row.address, created_at: row.created_at }))
}

/// The question that a typed code becomes, prepared before the transaction.
#[derive(Debug)]
pub struct DeviceAnswered {
    handle: SecretHash,
    request: AuthorizationRequest,
}

impl DeviceAnswered {
    /// The question, and the handle of its page. Its code is redeemed by the device alone: nobody knows a verifier.
    ///
    /// # Errors
    /// When there are no random bits.
    pub fn prepare(
        asked: &DeviceAsked,
        client: &Client,
        (resource, back): (&str, &str),
    ) -> Result<(Secret, Self), NoRandomness> {
        let (handle, nobodys) = (Secret::generate("oreq")?, Secret::generate("v")?);
        let request = AuthorizationRequest {
            client: client.id.clone(),
            client_name: client.called(),
            client_digest: client.digest(),
            redirect_uri: back.to_owned(),
            state: None,
            resource: resource.to_owned(),
            scopes: asked.scopes.clone(),
            details: Vec::new(),
            code_challenge: CodeChallenge::nobodys(&nobodys),
            bound_to: None,
            max_age: None,
            optional_scopes: None,
            // Somebody may have been talked into typing the code: what was allowed before is no answer to that.
            prompt_consent: true,
        };
        let question = Self { handle: handle.hash(), request };
        Ok((handle, question))
    }
}

/// The human goes on to the question. `false`: somebody was there first, or it is too late. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn go_on(
    conn: &mut DbConnection,
    code: &SecretHash,
    question: &DeviceAnswered,
    now: Timestamp,
) -> Result<bool, DbError> {
    let found = (&question.handle, question.request.code_challenge.as_str());
    if !store::ask(conn, code, found, now.minus(TYPING_LIFETIME))? {
        return Ok(false);
    }
    request::keep(conn, &question.handle, &question.request, true, now)?;
    Ok(true)
}

/// The human says that the request is not theirs. `false`: as for [`go_on`]. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn deny(
    conn: &mut DbConnection,
    code: &SecretHash,
    (asked, owner): (&DeviceAsked, &Account),
    now: Timestamp,
) -> Result<bool, DbError> {
    if !store::deny(conn, code, now.minus(TYPING_LIFETIME))? {
        return Ok(false);
    }
    let fact = Fact {
        actor: format!("user:{}", owner.id),
        action: "consent.refused",
        account_id: Some(&owner.id),
        subject: owner.id.to_string(),
        detail: json!({"client": asked.client, "device_at": asked.address, "scope": asked.scopes.to_string()}),
    };
    audit::append(conn, &fact, now)?;
    Ok(true)
}
