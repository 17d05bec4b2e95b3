//! Freezing an account: nothing works any more, nothing is deleted.

use serde_json::json;

use super::{InvalidTransition, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::orchestrator::security_event::{self, AccountEvent};
use crate::outbox;

/// Why an account was not frozen.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// There is no such account.
    #[error("there is no account `{0}`")]
    Unknown(AccountId),
    /// Its state does not allow it.
    #[error(transparent)]
    State(#[from] InvalidTransition),
    /// Somebody changed it at the same moment; nothing was done.
    #[error("the account was changed at the same moment")]
    Changed,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Freezes an account. Its access tokens stop working, because every use looks at the account.
///
/// # Errors
/// See [`FreezeError`].
pub fn freeze(
    conn: &mut DbConnection,
    id: &AccountId,
    actor: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(), FreezeError> {
    let account = store::by_id(conn, id)?.ok_or_else(|| FreezeError::Unknown(id.clone()))?;
    let frozen = account.state.freeze(now)?;
    if !store::change_state(conn, id, account.state, frozen, now).map_err(DbError::from)? {
        return Err(FreezeError::Changed);
    }
    let fact = Fact {
        actor: actor.to_owned(),
        action: "account.frozen",
        account_id: Some(id),
        subject: id.as_str().to_owned(),
        detail: json!({"from": account.state.as_str(), "reason": reason}),
    };
    audit::append(conn, &fact, now).map_err(DbError::from)?;
    let told = json!({"account": {"id": id, "state": frozen.as_str()}});
    for orchestrator in store::linked_orchestrators(conn, id)? {
        outbox::notify(conn, "account.frozen", &orchestrator, id, &told, now).map_err(DbError::from)?;
    }
    Ok(tell(conn, id, AccountEvent::Frozen, now)?)
}

/// A frozen account works again; `was_claimed` says as what. Tokens that died stay dead.
///
/// # Errors
/// See [`FreezeError`].
pub fn thaw(
    conn: &mut DbConnection,
    id: &AccountId,
    was_claimed: bool,
    actor: &str,
    now: Timestamp,
) -> Result<(), FreezeError> {
    let account = store::by_id(conn, id)?.ok_or_else(|| FreezeError::Unknown(id.clone()))?;
    let thawed = account.state.thaw(was_claimed, now)?;
    if !store::change_state(conn, id, account.state, thawed, now).map_err(DbError::from)? {
        return Err(FreezeError::Changed);
    }
    let fact = Fact {
        actor: actor.to_owned(),
        action: "account.thawed",
        account_id: Some(id),
        subject: id.as_str().to_owned(),
        detail: json!({"to": thawed.as_str()}),
    };
    audit::append(conn, &fact, now).map_err(DbError::from)?;
    Ok(tell(conn, id, AccountEvent::Thawed, now)?)
}

/// Tells every orchestrator of the account, by the names of its people.
pub(super) fn tell(
    conn: &mut DbConnection,
    id: &AccountId,
    event: AccountEvent,
    now: Timestamp,
) -> Result<(), DbError> {
    for orchestrator in store::linked_orchestrators(conn, id)? {
        let subjects = store::subjects(conn, id, &orchestrator)?;
        security_event::tell(conn, event, (&orchestrator, &subjects), id, now)?;
    }
    Ok(())
}
