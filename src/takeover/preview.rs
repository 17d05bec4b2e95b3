//! What a distrust would do, without doing it.

use super::reach;
use super::scope::Scope;
use super::store;
use super::sweep::is_its_own;
use crate::account;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ResourceId};
use crate::orchestrator::Distrust;

/// The most resources of one page that are listed.
const MAX_RESOURCES: i64 = 10_000;

/// One page of what would be done.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// Accounts that would spend nothing more through the orchestrator.
    pub accounts: Vec<AccountId>,
    /// Of these, accounts that would be frozen.
    pub frozen: Vec<AccountId>,
    /// Resources that would be held back.
    pub resources: Vec<(AccountId, ResourceId)>,
    /// Tokens, refresh tokens, codes and open questions that would die.
    pub tokens: i64,
    /// Sessions that would end.
    pub sessions: i64,
    /// After which account the next page begins; `None`: there is none.
    pub next: Option<AccountId>,
}

/// What `planned`, which never began, would do to the accounts after `after`, at most `limit`. Writes nothing.
///
/// # Errors
/// When the database fails.
pub fn preview(
    conn: &mut DbConnection,
    planned: &Distrust,
    after: &str,
    limit: i64,
    now: Timestamp,
) -> Result<Preview, DbError> {
    let scope = Scope::from(planned);
    let page = reach::page(conn, &scope, after, limit)?;
    let accounts = reach::own_ids(&page);
    let mut frozen = Vec::new();
    for id in &accounts {
        let found = account::by_id(conn, id)?.filter(|found| found.state.is_usable());
        if let Some(found) = found
            && is_its_own(conn, planned, &found)?
        {
            frozen.push(id.clone());
        }
    }
    let full = i64::try_from(page.len()).is_ok_and(|length| length >= limit);
    Ok(Preview {
        resources: reach::things(conn, (&scope, &page), planned.since, None, MAX_RESOURCES)?,
        next: page.last().filter(|_| full).map(|one| one.account.clone()),
        tokens: store::tokens(conn, &planned.orchestrator_id, &accounts, now)?,
        sessions: store::sessions_since(conn, &accounts, planned.since, now)?,
        frozen,
        accounts,
    })
}
