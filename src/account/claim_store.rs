//! The table `claims`, and what a claim changes in those of accounts.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::claim::Reach;
use super::{AccountState, store};
use crate::clock::Timestamp;
use crate::db::schema::{accounts, claims, email_owners, identity_links};
use crate::db::{DbConnection, prepared};
use crate::ids::{AccountId, OrchestratorId};

/// More than an account ever has.
const MAX_LINKS: i64 = 64;

pub(super) fn insert(conn: &mut DbConnection, id: &AccountId, method: &str, now: Timestamp) -> QueryResult<()> {
    diesel::insert_into(claims::table)
        .values((claims::account_id.eq(id), claims::method.eq(method), claims::claimed_at.eq(now)))
        .execute(conn)
        .map(drop)
}

pub(super) fn claimed_at(conn: &mut DbConnection, id: &AccountId) -> QueryResult<Option<Timestamp>> {
    claims::table.find(id).select(claims::claimed_at).first(conn).optional()
}

/// Every method that takes the mailbox is named after it first.
pub(super) fn claimed_without_mailbox_at(conn: &mut DbConnection, id: &AccountId) -> QueryResult<Option<Timestamp>> {
    let claim = claims::table.find(id).filter(claims::method.not_like("mail%"));
    claim.select(claims::claimed_at).first(conn).optional()
}

/// A write that changes nothing, as long as nobody has claimed the account.
pub(super) fn hold_provisional(conn: &mut DbConnection, id: &AccountId) -> QueryResult<bool> {
    let state = AccountState::Provisional.as_str();
    match conn {
        DbConnection::Postgres(conn) => Ok(HoldProvisional { id, state }.execute(conn)? == 1),
        // It has one writer, and this is a part of what it does.
        DbConnection::Sqlite(conn) => {
            let found: Option<String> = accounts::table.find(id).select(accounts::state).get_result(conn).optional()?;
            Ok(found.as_deref() == Some(state))
        }
    }
}

prepared! {
    /// A write that changes nothing, where nobody claimed the account.
    HoldProvisional:
    "UPDATE accounts SET changed_at = changed_at WHERE id = " (id: AccountId as Text)
    " AND state = " (state: str as Text)
}

pub(super) fn reached_through(conn: &mut DbConnection, id: &AccountId) -> QueryResult<Vec<Reach>> {
    let links: Vec<(OrchestratorId, Timestamp, Option<String>)> = identity_links::table
        .filter(identity_links::account_id.eq(id))
        .order((identity_links::created_at, identity_links::orchestrator_id))
        .limit(MAX_LINKS)
        .select((identity_links::orchestrator_id, identity_links::created_at, identity_links::scopes))
        .load(conn)?;
    let mut reached: Vec<Reach> = Vec::new();
    for (orchestrator_id, since, scopes) in links {
        if !reached.iter().any(|known| known.orchestrator_id == orchestrator_id) {
            reached.push(Reach { orchestrator_id, since, scopes });
        }
    }
    Ok(reached)
}

pub(super) fn allow_through(
    conn: &mut DbConnection,
    (id, orchestrator): (&AccountId, &OrchestratorId),
    scopes: &str,
) -> QueryResult<()> {
    let links = identity_links::table
        .filter(identity_links::account_id.eq(id))
        .filter(identity_links::orchestrator_id.eq(orchestrator));
    diesel::update(links).set(identity_links::scopes.eq(Some(scopes))).execute(conn).map(drop)
}

pub(super) fn drop_address(conn: &mut DbConnection, id: &AccountId) -> QueryResult<()> {
    diesel::delete(email_owners::table.filter(email_owners::account_id.eq(id))).execute(conn)?;
    diesel::update(accounts::table.find(id))
        .set((
            accounts::email.eq(None::<&str>),
            accounts::email_index.eq(None::<&str>),
            accounts::email_skeleton.eq(None::<&str>),
            accounts::email_trust.eq(store::NO_EMAIL),
        ))
        .execute(conn)
        .map(drop)
}
