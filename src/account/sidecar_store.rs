//! The table `sidecars`, and what their owner's decision changes in `accounts` and `identity_links`.

use diesel::prelude::*;

use super::sidecar::{Outcome, Sidecar};
use crate::clock::Timestamp;
use crate::db::schema::{accounts, email_owners, identity_links, sidecars};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};

#[derive(Queryable, Selectable)]
#[diesel(table_name = sidecars)]
struct Row {
    account_id: AccountId,
    orchestrator_id: OrchestratorId,
    tenant: String,
    subject: String,
    opened_at: Timestamp,
}

impl From<Row> for Sidecar {
    fn from(row: Row) -> Self {
        Self {
            account_id: row.account_id,
            orchestrator_id: row.orchestrator_id,
            tenant: row.tenant,
            subject: row.subject,
            opened_at: row.opened_at,
        }
    }
}

pub(super) fn insert(conn: &mut DbConnection, new: &Sidecar, email_index: &str) -> QueryResult<()> {
    diesel::insert_into(sidecars::table)
        .values((
            sidecars::account_id.eq(&new.account_id),
            sidecars::email_index.eq(email_index),
            sidecars::orchestrator_id.eq(&new.orchestrator_id),
            sidecars::tenant.eq(&new.tenant),
            sidecars::subject.eq(&new.subject),
            sidecars::opened_at.eq(new.opened_at),
        ))
        .execute(conn)
        .map(drop)
}

/// The canonical address of an account, and whether it is that account's own.
pub(super) fn address(conn: &mut DbConnection, account: &AccountId) -> Result<Option<(String, bool)>, DbError> {
    let index: Option<Option<String>> =
        accounts::table.find(account).select(accounts::email_index).first(conn).optional()?;
    let Some(index) = index.flatten() else { return Ok(None) };
    let owner: Option<AccountId> =
        email_owners::table.find(&index).select(email_owners::account_id).first(conn).optional()?;
    Ok(Some((index, owner.as_ref() == Some(account))))
}

/// Undecided ones with this address, oldest first, at most `limit`; only those whose account nobody claimed or froze.
pub(super) fn waiting(
    conn: &mut DbConnection,
    (email_index, owner): (&str, &AccountId),
    only: Option<&AccountId>,
    limit: i64,
) -> QueryResult<Vec<Sidecar>> {
    let mut query = sidecars::table
        .inner_join(accounts::table.on(accounts::id.eq(sidecars::account_id)))
        .filter(sidecars::email_index.eq(email_index))
        .filter(sidecars::outcome.is_null())
        .filter(sidecars::account_id.ne(owner))
        .filter(accounts::state.eq("provisional"))
        .filter(accounts::email_index.eq(email_index))
        .order(sidecars::account_id)
        .limit(limit)
        .select(Row::as_select())
        .into_boxed();
    if let Some(only) = only {
        query = query.filter(sidecars::account_id.eq(only));
    }
    Ok(query.load::<Row>(conn)?.into_iter().map(Sidecar::from).collect())
}

/// Whether this call decided it.
pub(super) fn decide(
    conn: &mut DbConnection,
    (id, outcome): (&AccountId, Outcome),
    by: &AccountId,
    now: Timestamp,
) -> QueryResult<bool> {
    let open = sidecars::table.find(id).filter(sidecars::outcome.is_null());
    let set = (sidecars::outcome.eq(outcome.as_str()), sidecars::decided_by.eq(by), sidecars::decided_at.eq(now));
    Ok(diesel::update(open).set(set).execute(conn)? == 1)
}

/// A write that changes nothing: whoever else changes this account, or moves its money, waits.
pub(super) fn lock(conn: &mut DbConnection, id: &AccountId) -> QueryResult<()> {
    diesel::update(accounts::table.find(id)).set(accounts::changed_at.eq(accounts::changed_at)).execute(conn).map(drop)
}

/// Takes away every identity link of an account.
pub(super) fn unlink_all(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    diesel::delete(identity_links::table.filter(identity_links::account_id.eq(account))).execute(conn).map(drop)
}
