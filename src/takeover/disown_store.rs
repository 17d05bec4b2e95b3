//! What the table `cases` says of a link "I did not start this".

use diesel::prelude::*;

use super::case::CaseKind;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::cases;
use crate::ids::AccountId;

/// Whether the account's owner closed a case of its own that was opened since `since`.
pub(super) fn was_taken_back(conn: &mut DbConnection, account: &AccountId, since: Timestamp) -> QueryResult<bool> {
    let closed: i64 = cases::table
        .filter(cases::account_id.eq(account))
        .filter(cases::kind.eq(CaseKind::NotStarted.as_str()))
        .filter(cases::opened_at.ge(since))
        .filter(cases::closed_by.eq(super::disown::OWNER))
        .count()
        .get_result(conn)?;
    Ok(closed > 0)
}
