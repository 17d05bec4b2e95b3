//! The ways in to an account: which there are, and that the last one stays. A person of the upstream issuer is connected
//! from inside an account that its human has claimed, or by claiming it; never because an address is the same.

use serde_json::json;

use super::who::Upstreamer;
use super::{store, way_store};
use crate::account;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::SecretHash;

/// The ways in, besides passkeys, that are set up here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaysIn {
    /// Links by mail.
    pub mail: bool,
    /// The provider's own OpenID provider.
    pub upstream: bool,
}

/// Why a person was not connected or disconnected. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody has claimed the account: nothing that opens it may be added before.
    #[error("the account is not claimed")]
    NotClaimed,
    /// Another person of the issuer is connected.
    #[error("somebody else there is connected to this account")]
    Another,
    /// Nobody is.
    #[error("nobody there is connected to this account")]
    Nobody,
    /// It is the only way in.
    #[error("the last way to log in cannot be removed")]
    LastWayIn,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for ConnectError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Which way in is about to go.
pub(super) enum Without<'a> {
    /// This passkey.
    Passkey(&'a str),
    /// Everybody of the upstream issuer.
    Upstream,
}

/// Whether another way in is left. The account's ways in must be locked.
pub(super) fn is_another_left(
    conn: &mut DbConnection,
    account: &AccountId,
    ways: WaysIn,
    without: &Without<'_>,
) -> Result<bool, DbError> {
    // An address that is shown, and that nobody is found by any more, opens nothing.
    if ways.mail && account::mailbox(conn, account)?.is_some() {
        return Ok(true);
    }
    let known = store::passkeys(conn, account)?;
    match without {
        Without::Passkey(id) => {
            let others = known.iter().any(|passkey| passkey.credential_id != *id);
            Ok(others || (ways.upstream && store::has_upstream(conn, account)?))
        }
        Without::Upstream => Ok(!known.is_empty()),
    }
}

/// Who of the issuer is connected to the account.
///
/// # Errors
/// When the database fails.
pub fn is_connected(conn: &mut DbConnection, account: &AccountId, issuer: &str) -> Result<bool, DbError> {
    Ok(way_store::is_connected(conn, account, issuer)?)
}

/// Connects a person of the upstream issuer to a claimed account, for its human who logged in just now. Call it inside
/// `Db::write`.
///
/// # Errors
/// See [`ConnectError`].
pub fn connect(
    conn: &mut DbConnection,
    account: &AccountId,
    person: &Upstreamer,
    now: Timestamp,
) -> Result<(), ConnectError> {
    store::lock_account(conn, account)?;
    if !account::by_id(conn, account)?.is_some_and(|account| account.is_claimed()) {
        return Err(ConnectError::NotClaimed);
    }
    if store::is_anothers_upstream(conn, account, &person.issuer, &person.subject)? {
        return Err(ConnectError::Another);
    }
    store::link_upstream(conn, &person.issuer, &person.subject, account, now)?;
    record(conn, account, "upstream.connected", &person.issuer, now)
}

/// Disconnects whoever of the issuer is connected, unless nothing else opens the account. Call it inside `Db::write`.
///
/// # Errors
/// See [`ConnectError`].
pub fn disconnect(
    conn: &mut DbConnection,
    account: &AccountId,
    issuer: &str,
    ways: WaysIn,
    now: Timestamp,
) -> Result<(), ConnectError> {
    // Two who remove the last two wait for each other.
    store::lock_account(conn, account)?;
    if !is_another_left(conn, account, ways, &Without::Upstream)? {
        return Err(ConnectError::LastWayIn);
    }
    if way_store::disconnect(conn, account, issuer)? == 0 {
        return Err(ConnectError::Nobody);
    }
    record(conn, account, "upstream.disconnected", issuer, now)
}

/// Ends every session, link and way in that an account had. Call it inside the transaction that has locked the account.
///
/// # Errors
/// When the database fails.
pub fn end_all(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<(), DbError> {
    way_store::end_sessions(conn, account, now)?;
    way_store::end_links(conn, account, now)?;
    way_store::delete_passkeys(conn, account)?;
    Ok(way_store::delete_upstream(conn, account)?)
}

/// Ends what agents opened with links: unused links, and every session that began with one, but for the one that asks
/// (`except`). Whose link it was is not kept, so all go. The account is locked first, before any agent: an agent that makes a
/// link or opens one at this moment comes before, and it ends here, or after, and is barred. Call it first in the transaction
/// that bars the agent.
///
/// # Errors
/// When the database fails.
pub fn end_opened_by_links(
    conn: &mut DbConnection,
    account: &AccountId,
    except: Option<&SecretHash>,
    now: Timestamp,
) -> Result<(), DbError> {
    store::locked_usable(conn, account)?;
    way_store::end_links(conn, account, now)?;
    Ok(way_store::end_linked_sessions(conn, account, except, now)?)
}

fn record(
    conn: &mut DbConnection,
    account: &AccountId,
    action: &'static str,
    issuer: &str,
    now: Timestamp,
) -> Result<(), ConnectError> {
    let fact = Fact {
        actor: format!("user:{account}"),
        action,
        account_id: Some(account),
        subject: account.to_string(),
        detail: json!({"issuer": issuer}),
    };
    Ok(audit::append(conn, &fact, now)?)
}
