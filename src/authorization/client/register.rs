//! Clients come and go: by the operator's word, or by their own (RFC 7591), which is bounded, untrusted, and forgotten
//! when nobody uses it, sooner when its place is needed.

use chrono::TimeDelta;
use serde_json::json;

use super::metadata::{AuthMethod, ClientMetadata};
use super::{Client, ClientOrigin, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ClientId};
use crate::secret::{NoRandomness, Secret};

/// The most clients that registered themselves, at one time. One more takes the place of the oldest that was never used.
pub const MAX_DYNAMIC: i64 = 10_000;
/// How long nobody takes the place of a client that was never used: its human may be about to answer.
const UNUSED_AT_LEAST: TimeDelta = TimeDelta::hours(1);
/// The longest metadata that is kept of a client that nobody checked, in bytes.
const MAX_METADATA: usize = 8 * 1024;
/// After how long without use such a client is forgotten.
pub const UNUSED_LIFETIME: TimeDelta = TimeDelta::days(30);

/// A client about to be registered.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// What it says of itself.
    pub metadata: ClientMetadata,
    /// Who says so.
    pub origin: ClientOrigin,
    /// For which account it acts without a human.
    pub account_id: Option<AccountId>,
    /// Whether it may ask about tokens of others.
    pub introspects: bool,
}

/// A client that is registered, with its secret in clear: shown once.
#[derive(Debug)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// Its secret.
    pub secret: Option<Secret>,
}

/// Why a client was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// There is no room for another that nobody checked.
    #[error("too many clients have registered themselves")]
    Full,
    /// What it says of itself is too long to be kept.
    #[error(
        "the metadata has more than {MAX_METADATA} bytes: give fewer or shorter `redirect_uris`, or `jwks_uri` in the \
         place of `jwks`"
    )]
    TooLong,
    /// There is no such client.
    #[error("there is no such client")]
    Unknown,
    /// It has no secret that could be replaced.
    #[error("the client has no secret")]
    NoSecret,
    /// No random bits.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for RegisterError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl NewClient {
    /// The client as it will be, and its secret.
    ///
    /// # Errors
    /// When there are no random bits.
    pub fn prepare(self, now: Timestamp) -> Result<Registered, NoRandomness> {
        let shared = matches!(self.metadata.auth_method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost);
        let secret = shared.then(|| Secret::generate("cs")).transpose()?;
        let client = Client {
            id: ClientId::new(now).to_string(),
            origin: self.origin,
            secret_hash: secret.as_ref().map(Secret::hash),
            metadata: self.metadata,
            account_id: self.account_id,
            introspects: self.introspects,
            created_at: now,
            last_used_at: now,
        };
        Ok(Registered { client, secret })
    }
}

fn fact(client: &str, actor: &str, action: &'static str, detail: serde_json::Value) -> Fact<'static> {
    Fact { actor: actor.to_owned(), action, account_id: None, subject: client.to_owned(), detail }
}

/// Writes a client down. Call it inside `Db::write`.
///
/// # Errors
/// See [`RegisterError`].
pub fn register(conn: &mut DbConnection, client: &Client, now: Timestamp) -> Result<(), RegisterError> {
    if client.origin == ClientOrigin::Registration {
        if store::written(&client.metadata)?.len() > MAX_METADATA {
            return Err(RegisterError::TooLong);
        }
        make_room(conn, now)?;
    }
    store::insert(conn, client)?;
    if client.origin == ClientOrigin::Operator {
        let detail = json!({"name": client.metadata.name, "digest": client.digest()});
        audit::append(conn, &fact(&client.id, "operator", "client.registered", detail), now)?;
    }
    Ok(())
}

/// Room for one more that nobody checked. Whoever fills it up with clients that nobody uses keeps nobody out for longer
/// than an hour.
fn make_room(conn: &mut DbConnection, now: Timestamp) -> Result<(), RegisterError> {
    let excess = store::count(conn, ClientOrigin::Registration)? - MAX_DYNAMIC + 1;
    if excess <= 0 {
        return Ok(());
    }
    let gone = store::delete_never_used(conn, ClientOrigin::Registration, now.minus(UNUSED_AT_LEAST), excess)?;
    if i64::try_from(gone).is_ok_and(|gone| gone >= excess) { Ok(()) } else { Err(RegisterError::Full) }
}

/// The clients after `after`, in the order of their ids, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn list(conn: &mut DbConnection, after: Option<&str>, limit: i64) -> Result<Vec<Client>, DbError> {
    store::after(conn, after.unwrap_or(""), limit)
}

/// The client that is registered under this id.
///
/// # Errors
/// When the database fails.
pub fn registered(conn: &mut DbConnection, id: &str) -> Result<Option<Client>, DbError> {
    store::by_id(conn, id)
}

/// Removes a client: what it was given ends with it. Call it inside `Db::write`.
///
/// # Errors
/// See [`RegisterError`].
pub fn remove(conn: &mut DbConnection, id: &str, now: Timestamp) -> Result<(), RegisterError> {
    if !store::delete(conn, id)? {
        return Err(RegisterError::Unknown);
    }
    crate::authorization::consent_grant::revoke_client(conn, id, now)?;
    Ok(audit::append(conn, &fact(id, "operator", "client.removed", json!({})), now)?)
}

/// Replaces a client's secret: the old one stops at once. Call it inside `Db::write`.
///
/// # Errors
/// See [`RegisterError`].
pub fn rotate(conn: &mut DbConnection, id: &str, secret: &Secret, now: Timestamp) -> Result<(), RegisterError> {
    let client = store::by_id(conn, id)?.ok_or(RegisterError::Unknown)?;
    if client.secret_hash.is_none() {
        return Err(RegisterError::NoSecret);
    }
    store::set_secret(conn, id, &secret.hash())?;
    Ok(audit::append(conn, &fact(id, "operator", "client.secret_replaced", json!({})), now)?)
}

/// Forgets clients that registered themselves and were not used for [`UNUSED_LIFETIME`], at most `limit`. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn forget_unused(conn: &mut DbConnection, now: Timestamp, limit: i64) -> Result<usize, DbError> {
    Ok(store::delete_unused(conn, ClientOrigin::Registration, now.minus(UNUSED_LIFETIME), limit)?)
}
