//! How much an account has, in `resources`.

use diesel::prelude::*;

use super::ResourceState;
use crate::db::DbConnection;
use crate::db::schema::resources;
use crate::ids::AccountId;

/// How many resources are not gone.
pub(super) fn living(conn: &mut DbConnection, account: &AccountId) -> QueryResult<i64> {
    let gone = [ResourceState::Removed.as_str(), ResourceState::Failed.as_str()];
    resources::table
        .filter(resources::account_id.eq(account))
        .filter(resources::state.ne_all(gone))
        .count()
        .get_result(conn)
}
