//! Freezing an account: nothing works any more, nothing is deleted.

use serde_json::json;

use super::{InvalidTransition, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::outbox;

/// Why an account was not frozen.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// There is no such account.
    #[error("there is no account `{0}`")]
    Unknown(AccountId),
    /// It is frozen or closed already.
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
    for orchestrator in store::linked_orchestrators(conn, id).map_err(DbError::from)? {
        outbox::notify(conn, "account.frozen", &orchestrator, id, &told, now).map_err(DbError::from)?;
    }
    Ok(())
}
