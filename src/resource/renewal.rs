//! New credentials for what an account has, because it became its human's, or came to them from elsewhere: whoever knew the
//! old ones knows nothing any more. Wanted in the transaction of the claim, or of the move, and tried until it is so: a resource that is being made or
//! changed waits its turn, and a platform that refuses is asked again, later each time.

use chrono::TimeDelta;

use super::buy::{DEADLINE, HAND_OVER};
use super::renewal_store as rows;
use super::store::{self, NewOperation};
use super::{AdvanceError, Desk, Resource, ResourceState, advance, change_store};
use crate::clock::{Clock, Timestamp};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OperationId, ResourceId};

/// How many are looked at in one turn.
const BATCH: i64 = 32;
/// How many resources of an account are read at once.
const PAGE: i64 = 200;
/// The longest wait between two tries, in seconds.
const LONGEST_WAIT: i64 = 3600;

/// A resource whose credentials must become others.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    pub(super) account_id: AccountId,
    pub(super) resource_id: ResourceId,
    /// Which credentials must not be the last ones.
    pub(super) generation: i64,
    pub(super) attempts: i64,
    pub(super) next_try_at: Timestamp,
}

/// Wants new credentials for every resource of an account that is not gone. Answers how many. Call it inside the
/// transaction that has locked the account.
///
/// # Errors
/// When the database fails.
pub fn renew_all(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<usize, DbError> {
    let (mut before, mut wanted) = (None, 0);
    loop {
        let page = store::list(conn, account, before.as_ref(), PAGE)?;
        for resource in page.iter().filter(|resource| !is_gone(resource)) {
            rows::insert(conn, resource, now)?;
            wanted += 1;
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|read| read == PAGE) => before = Some(last.id.clone()),
            _ => return Ok(wanted),
        }
    }
}

/// Wants new credentials for these resources of an account. Call it inside the transaction that has locked the account.
///
/// # Errors
/// When the database fails.
pub fn renew_these(
    conn: &mut DbConnection,
    account: &AccountId,
    ids: &[ResourceId],
    now: Timestamp,
) -> Result<(), DbError> {
    for id in ids {
        if let Some(resource) = store::by_id(conn, account, id)?.filter(|resource| !is_gone(resource)) {
            rows::insert(conn, &resource, now)?;
        }
    }
    Ok(())
}

fn is_gone(resource: &Resource) -> bool {
    matches!(resource.state, ResourceState::Removed | ResourceState::Failed)
}

/// What is to be done about one.
enum Turn {
    /// It has new credentials, or none at all, or is gone.
    Over,
    /// Not now.
    Later,
    /// This operation makes them.
    Begun(OperationId),
}

/// Renews what is due. Answers how many were begun.
///
/// # Errors
/// When the database fails. What goes wrong with one is logged and keeps no other waiting.
pub async fn renew_due(desk: &Desk, clock: &dyn Clock) -> Result<usize, AdvanceError> {
    let now = clock.now();
    let due = desk.cashier.db.read(move |conn| Ok::<_, DbError>(rows::due(conn, now, BATCH)?)).await?;
    let mut begun = 0;
    for renewal in due {
        let account = renewal.account_id.clone();
        let work = move |conn: &mut DbConnection| take_turn(conn, &renewal, now);
        match desk.cashier.db.write(account.as_str(), work).await {
            Ok(Some(operation)) => {
                begun += 1;
                if let Err(error) = advance::advance(desk, &account, &operation, now).await {
                    tracing::error!(operation.id = %operation, error = %error, "credentials could not be renewed");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(error = %error, "credentials could not be renewed"),
        }
    }
    Ok(begun)
}

/// Claims one and begins it, if it is its turn. `None`: somebody else has it, or there is nothing to do.
fn take_turn(conn: &mut DbConnection, renewal: &Renewal, now: Timestamp) -> Result<Option<OperationId>, AdvanceError> {
    store::lock_account(conn, &renewal.account_id)?;
    let doubled = 2_i64.saturating_pow(u32::try_from(renewal.attempts.clamp(0, 20)).unwrap_or(0));
    let again = now.plus(TimeDelta::seconds(doubled.clamp(2, LONGEST_WAIT)));
    if !rows::claim(conn, renewal, again)? {
        return Ok(None);
    }
    match turn(conn, renewal, now)? {
        Turn::Over => rows::delete(conn, renewal)?,
        Turn::Later => {}
        Turn::Begun(operation) => return Ok(Some(operation)),
    }
    Ok(None)
}

fn turn(conn: &mut DbConnection, renewal: &Renewal, now: Timestamp) -> Result<Turn, AdvanceError> {
    let (account, id) = (&renewal.account_id, &renewal.resource_id);
    let Some(resource) = store::by_id(conn, account, id)? else { return Ok(Turn::Over) };
    let bare = resource.state == ResourceState::Ready && resource.sealed_credentials.is_none();
    if is_gone(&resource) || bare || renewal.generation < resource.generation {
        return Ok(Turn::Over);
    }
    if !change_store::begin(conn, (account, id), None, now)? {
        return Ok(Turn::Later);
    }
    let operation = OperationId::new(now);
    let row = NewOperation {
        account_id: account,
        id: &operation,
        resource_id: id,
        verb: "renew",
        state: "running",
        step: "rotate",
        attempts: 0,
        created_at: now,
        deadline_at: now.plus(DEADLINE),
        next_try_at: Some(now.plus(HAND_OVER)),
    };
    store::insert_operation(conn, &row)?;
    Ok(Turn::Begun(operation))
}
