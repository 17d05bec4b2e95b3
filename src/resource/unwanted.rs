//! What an owner wants gone: noted on the resource, in the transaction that decides it. A worker does the rest, again and
//! again until it is done, whatever dies meanwhile.
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
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;

/// How many are taken up in one turn.
const BATCH: i64 = 32;
/// How many are worked on at once; the rest when it is due.
const HURRIED: i64 = 1_000;
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

/// The owner wants everything gone that an agent bought since `since`. Answers how much that is. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn unwant_made_by(
    conn: &mut DbConnection,
    agent: &AgentKey,
    since: Timestamp,
    now: Timestamp,
) -> Result<usize, DbError> {
    let made = unwanted_store::ids_made_by(conn, agent, since, HURRIED)?;
    unwanted_store::hurry(conn, &agent.account_id, made, now)?;
    Ok(unwanted_store::mark_made_by(conn, agent, since, now)?)
}

/// The owner wants everything gone. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn unwant_all(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<(), DbError> {
    let there = unwanted_store::ids_present(conn, account, HURRIED)?;
    unwanted_store::hurry(conn, account, there, now)?;
    Ok(unwanted_store::mark_all(conn, account, now)?)
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
