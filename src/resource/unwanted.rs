//! What an owner wants gone: noted on the resource. A worker does the rest, again and again until it is done, whatever dies
//! meanwhile.
//!
//! What is being bought is taken back while its money is only set aside; what is paid is made and then removed. What
//! something else needs goes after it.

use std::sync::Arc;

use chrono::TimeDelta;

use super::remove::{self, By, RemoveError};
use super::unwanted_store;
use super::{Desk, Resource, ResourceState, store};
use crate::account::AgentKey;
use crate::catalog::Edition;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, ResourceId};

/// How many are taken up in one turn.
const BATCH: i64 = 32;
/// When what could not be removed is tried again.
const LATER: TimeDelta = TimeDelta::seconds(30);

/// What becomes of a resource that its owner wants gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmaking {
    /// It is removed.
    Removed,
    /// Its purchase is taken back: what is held for it is set free.
    TakenBack,
    /// It is gone, or on its way.
    Nothing,
    /// A human has to look at it first.
    Stuck,
}

/// What would become of it.
#[must_use]
pub fn unmaking(resource: &Resource) -> Unmaking {
    match resource.state {
        ResourceState::Ready | ResourceState::Changing | ResourceState::Suspended => Unmaking::Removed,
        ResourceState::Requested | ResourceState::Provisioning => Unmaking::TakenBack,
        ResourceState::Removing | ResourceState::Removed | ResourceState::Failed => Unmaking::Nothing,
        ResourceState::NeedsAttention => Unmaking::Stuck,
    }
}

/// What an agent bought since `since` and is not gone, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn made_by(
    conn: &mut DbConnection,
    agent: &AgentKey,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Resource>, DbError> {
    let ids = unwanted_store::ids_made_by(conn, agent, since, limit)?;
    let mut made = Vec::new();
    for id in ids {
        made.extend(store::by_id(conn, &agent.account_id, &id)?);
    }
    Ok(made)
}

/// What an agent bought in `[since, until]` and nobody has noted to go yet, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn wanted_of_agent(
    conn: &mut DbConnection,
    agent: &AgentKey,
    within: (Timestamp, Timestamp),
    limit: i64,
) -> Result<Vec<ResourceId>, DbError> {
    Ok(unwanted_store::wanted_of_agent(conn, agent, within, limit)?)
}

/// What an account has and nobody has noted to go yet, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn wanted_of_account(conn: &mut DbConnection, account: &AccountId, limit: i64) -> Result<Vec<ResourceId>, DbError> {
    Ok(unwanted_store::wanted_of_account(conn, account, limit)?)
}

/// Notes that the owner wants these gone: each in a write of its own, because they may be worked on at this moment, by
/// processes that hold several of them.
///
/// # Errors
/// When the database fails; what was noted stays so.
pub async fn unwant(db: &Db, account: &AccountId, ids: Vec<ResourceId>, now: Timestamp) -> Result<(), DbError> {
    for id in ids {
        let owner = account.clone();
        let note = move |conn: &mut DbConnection| Ok::<_, DbError>(unwanted_store::mark(conn, &owner, &id, now)?);
        db.write(account.as_str(), note).await?;
    }
    Ok(())
}

/// Removes what is unwanted and can be removed now. Answers how many were tried.
///
/// # Errors
/// When the database fails. What goes wrong with one is logged, and it is tried again.
pub async fn remove_unwanted(desk: &Desk, edition: &Arc<Edition>, now: Timestamp) -> Result<usize, DbError> {
    let due = desk.cashier.db.read(move |conn| Ok::<_, DbError>(unwanted_store::due(conn, now, BATCH)?)).await?;
    let tried = due.into_iter().map(|(account, id)| async move {
        match remove::remove(desk, edition.clone(), (&account, &id), &By::Owner, now).await {
            Ok(()) => {}
            Err(error) => {
                if !matches!(error, RemoveError::Constraint(_) | RemoveError::Busy(_)) {
                    tracing::error!(resource.id = %id, error = %error, "what is unwanted could not be removed");
                }
                let lane = account.to_string();
                let later = move |conn: &mut DbConnection| {
                    Ok::<_, DbError>(unwanted_store::postpone(conn, &account, &id, now.plus(LATER))?)
                };
                if let Err(error) = desk.cashier.db.write(&lane, later).await {
                    tracing::error!(error = %error, "what is unwanted could not be put off");
                }
            }
        }
    });
    Ok(futures_util::future::join_all(tried).await.len())
}
