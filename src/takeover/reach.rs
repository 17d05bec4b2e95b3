//! Which accounts and things a scope reaches: its own accounts, and what came out of them into others of the same owners.
//! There it reaches those things and nothing else; and in an account that several people of an orchestrator share, of what
//! was made there only what is younger than its person's way in.

use super::scope::{Scope, Whom};
use super::store;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId, ResourceId};
use crate::resource::{self, Origin};

/// An account that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached {
    /// Which.
    pub(super) account: AccountId,
    /// Whether it is one of the scope's accounts itself; if not, only things that came to it are meant.
    pub(super) own: bool,
}

/// A page of what is reached after the id `after`, in order, at most `limit`.
///
/// # Errors
/// When the database fails.
pub(super) fn page(conn: &mut DbConnection, scope: &Scope, after: &str, limit: i64) -> Result<Vec<Reached>, DbError> {
    let own = store::accounts(conn, scope, after, limit)?;
    let mut all = store::holders(conn, scope, after, limit)?;
    all.extend(own.iter().cloned());
    all.sort();
    all.dedup();
    all.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(all.into_iter().map(|account| Reached { own: own.contains(&account), account }).collect())
}

/// The ids of these.
pub(super) fn ids(reached: &[Reached]) -> Vec<AccountId> {
    reached.iter().map(|one| one.account.clone()).collect()
}

/// The ids of the scope's own among these.
pub(super) fn own_ids(reached: &[Reached]) -> Vec<AccountId> {
    reached.iter().filter(|one| one.own).map(|one| one.account.clone()).collect()
}

/// What is there through the orchestrator and was made since `since`, or got other credentials since then; at most `limit`,
/// without what the distrust `except` holds back already.
///
/// # Errors
/// When the database fails.
pub(super) fn things(
    conn: &mut DbConnection,
    (scope, reached): (&Scope, &[Reached]),
    since: Timestamp,
    except: Option<&DistrustId>,
    limit: i64,
) -> Result<Vec<(AccountId, ResourceId)>, DbError> {
    let of = &scope.orchestrator_id;
    if matches!(scope.whom, Whom::All | Whom::Client(_)) {
        return resource::made_or_renewed(conn, (of, &ids(reached)), (since, Origin::Any), except, limit);
    }
    let mut found = Vec::new();
    for one in reached {
        let only = std::slice::from_ref(&one.account);
        if one.own {
            let made = (since.max(way_in(conn, scope, &one.account)?), Origin::Here);
            found.extend(resource::made_or_renewed(conn, (of, only), made, except, left(&found, limit))?);
        }
        let mut from = Vec::new();
        for origin in store::origins(conn, &one.account, of)? {
            if store::reaches(conn, scope, &origin)? {
                from.push(origin);
            }
        }
        if !from.is_empty() {
            let brought = (since, Origin::From(&from));
            found.extend(resource::made_or_renewed(conn, (of, only), brought, except, left(&found, limit))?);
        }
    }
    Ok(found)
}

fn left(found: &[(AccountId, ResourceId)], limit: i64) -> i64 {
    limit.saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX)).max(0)
}

/// Since when the person of a scope has the account: what is older is others'. A key signs for everybody.
fn way_in(conn: &mut DbConnection, scope: &Scope, account: &AccountId) -> Result<Timestamp, DbError> {
    let Whom::Subject { tenant, subject } = &scope.whom else { return Ok(Timestamp::from_seconds(0)) };
    let since = store::reached_since(conn, (account, &scope.orchestrator_id), (tenant.as_deref(), subject))?;
    Ok(since.unwrap_or(Timestamp::from_seconds(0)))
}
