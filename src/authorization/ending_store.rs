//! What an account has in `consents`, `grants`, `refresh_tokens`, `authorization_codes` and `account_requests`, ended.

use diesel::prelude::*;

use super::consent::RequestState;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{account_requests, authorization_codes, consents, grants, refresh_tokens};
use crate::ids::AccountId;

pub(super) fn revoke_consents(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let standing = consents::table.filter(consents::account_id.eq(account)).filter(consents::revoked_at.is_null());
    diesel::update(standing).set(consents::revoked_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn revoke_refresh_tokens(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let living = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq(account))
        .filter(refresh_tokens::revoked_at.is_null());
    diesel::update(living).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn use_up_codes(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let unused = authorization_codes::table
        .filter(authorization_codes::account_id.eq(account))
        .filter(authorization_codes::used_at.is_null());
    diesel::update(unused).set(authorization_codes::used_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn revoke_grants(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let standing = grants::table.filter(grants::account_id.eq(account)).filter(grants::revoked_at.is_null());
    diesel::update(standing).set(grants::revoked_at.eq(Some(now))).execute(conn).map(drop)
}

pub(super) fn close_questions(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> QueryResult<()> {
    let open = account_requests::table
        .filter(account_requests::account_id.eq(account))
        .filter(account_requests::state.eq(RequestState::Pending.as_str()));
    let set = (account_requests::state.eq(RequestState::Denied.as_str()), account_requests::decided_at.eq(Some(now)));
    diesel::update(open).set(set).execute(conn).map(drop)
}
