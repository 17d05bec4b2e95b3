//! What ends when an account becomes its human's: in `account_requests`, `authorization_codes`, `consents`,
//! `refresh_tokens`, `grants` and `clients`.

use diesel::dsl::max;
use diesel::prelude::*;

use super::consent::RequestState;
use super::reset::Program;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{account_requests, authorization_codes, clients, consents, grants, refresh_tokens};
use crate::ids::{AccountId, OrchestratorId};

/// More than an account ever has.
const MAX_PROGRAMS: i64 = 64;

pub(super) fn programs(conn: &mut DbConnection, account: &AccountId) -> QueryResult<Vec<Program>> {
    let rows: Vec<(OrchestratorId, String, Option<Timestamp>)> = grants::table
        .filter(grants::account_id.eq(account))
        .group_by((grants::orchestrator_id, grants::client))
        .order(max(grants::issued_at).desc())
        .limit(MAX_PROGRAMS)
        .select((grants::orchestrator_id, grants::client, max(grants::issued_at)))
        .load(conn)?;
    let named = rows.into_iter().filter_map(|(orchestrator_id, client, last_token_at)| {
        Some(Program { orchestrator_id, client, last_token_at: last_token_at? })
    });
    Ok(named.collect())
}

pub(super) fn own_clients(conn: &mut DbConnection, account: &AccountId) -> QueryResult<Vec<String>> {
    clients::table
        .filter(clients::account_id.eq(account))
        .order(clients::id)
        .limit(MAX_PROGRAMS)
        .select(clients::id)
        .load(conn)
}

pub(super) fn end_questions(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let open = account_requests::table
        .filter(account_requests::account_id.eq(account))
        .filter(account_requests::state.eq(RequestState::Pending.as_str()));
    diesel::update(open)
        .set((account_requests::state.eq(RequestState::Denied.as_str()), account_requests::decided_at.eq(Some(now))))
        .execute(conn)
        .map(drop)
}

pub(super) fn end_codes(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let unused = authorization_codes::table
        .filter(authorization_codes::account_id.eq(account))
        .filter(authorization_codes::used_at.is_null());
    diesel::update(unused).set(authorization_codes::used_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn end_consents(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let standing = consents::table.filter(consents::account_id.eq(account)).filter(consents::revoked_at.is_null());
    diesel::update(standing).set(consents::revoked_at.eq(Some(now))).execute(conn).map(drop)
}

/// How many.
pub(super) fn end_refresh_tokens(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<usize> {
    let living = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq(account))
        .filter(refresh_tokens::revoked_at.is_null());
    diesel::update(living).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn)
}

pub(super) fn end_grants(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let living = grants::table.filter(grants::account_id.eq(account)).filter(grants::revoked_at.is_null());
    diesel::update(living).set(grants::revoked_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn unbind_clients(conn: &mut DbConnection, account: &AccountId, keep: &[String]) -> QueryResult<()> {
    let others = clients::table.filter(clients::account_id.eq(account)).filter(clients::id.ne_all(keep));
    diesel::update(others).set(clients::account_id.eq(None::<&AccountId>)).execute(conn).map(drop)
}
