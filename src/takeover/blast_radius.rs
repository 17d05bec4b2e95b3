//! What somebody could do if they were hostile: the accounts, resources and money that an orchestrator, a key, a client or
//! a person reaches.

use super::reach;
use super::scope::Scope;
use super::store;
use crate::account;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::money::Currency;

/// The most new resources of one account that are counted.
const MAX_NEW: i64 = 10_000;

/// One account that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Which.
    pub account_id: AccountId,
    /// In which state it is.
    pub state: &'static str,
    /// Whether this orchestrator opened it.
    pub opened: bool,
    /// When it was opened.
    pub created_at: Timestamp,
    /// Resources bought through the orchestrator that are not gone; where only what came there is reached, of that.
    pub resources: i64,
    /// Of these, those made since the scope's instant, or with credentials from since then.
    pub resources_since: i64,
    /// Tokens, refresh tokens, codes and open questions that are good now.
    pub tokens: i64,
    /// In which money; `None` when there is no budget through the orchestrator.
    pub currency: Option<Currency>,
    /// Minor units that are set aside.
    pub held: i64,
    /// Minor units that were captured or charged, ever.
    pub captured: i64,
    /// Minor units that could still be spent this month.
    pub remaining: i64,
}

/// The accounts of a scope after `after`, in order, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn blast_radius(
    conn: &mut DbConnection,
    scope: &Scope,
    after: &str,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Reach>, DbError> {
    let mut reached = Vec::new();
    for one in reach::page(conn, scope, after, limit)? {
        let (id, own) = (one.account.clone(), one.own);
        let Some(found) = account::by_id(conn, &id)? else { continue };
        let orchestrator = &scope.orchestrator_id;
        let since = match scope.since {
            Some(since) => made(conn, scope, &one, since)?,
            None => 0,
        };
        let resources = if own {
            store::resources_of(conn, &id, orchestrator)?
        } else {
            made(conn, scope, &one, Timestamp::from_seconds(0))?
        };
        let money = if own { store::money(conn, &id, orchestrator, now)? } else { None };
        let of = |take: fn(&store::Money) -> i64| money.as_ref().map_or(0, take);
        reached.push(Reach {
            state: found.state.as_str(),
            opened: found.opened_by == *orchestrator,
            created_at: found.created_at,
            resources,
            resources_since: since,
            tokens: if own { store::tokens(conn, orchestrator, std::slice::from_ref(&id), now)? } else { 0 },
            currency: money.as_ref().map(|money| money.currency),
            held: of(|money| money.held),
            captured: of(|money| money.spent),
            remaining: of(|money| money.remaining),
            account_id: id,
        });
    }
    Ok(reached)
}

/// How much of what is reached there was made since.
fn made(conn: &mut DbConnection, scope: &Scope, one: &reach::Reached, since: Timestamp) -> Result<i64, DbError> {
    let things = reach::things(conn, (scope, std::slice::from_ref(one)), since, None, MAX_NEW)?;
    Ok(i64::try_from(things.len()).unwrap_or(i64::MAX))
}
