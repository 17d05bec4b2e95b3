//! The table `account_information`.

use diesel::prelude::*;

use super::information::SealedFact;
use crate::clock::Timestamp;
use crate::db::schema::account_information::{self, table};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};

/// More than an account ever has: a few fields for each of a few orchestrators.
const MAX_FACTS: i64 = 256;

/// Keeps one value in place of the one before.
pub(super) fn set(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    fact: &SealedFact,
    now: Timestamp,
) -> QueryResult<()> {
    let field = fact.field.as_str();
    let values = (
        account_information::sealed_value.eq(&fact.sealed),
        account_information::verified.eq(fact.verified),
        account_information::changed_at.eq(now),
    );
    if diesel::update(table.find((account, orchestrator, field))).set(values).execute(conn)? == 1 {
        return Ok(());
    }
    diesel::insert_into(table)
        .values((
            account_information::account_id.eq(account),
            account_information::orchestrator_id.eq(orchestrator),
            account_information::field.eq(field),
            account_information::sealed_value.eq(&fact.sealed),
            account_information::verified.eq(fact.verified),
            account_information::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// What is known about the person of an account, by one orchestrator or by all of them.
pub(super) fn of(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: Option<&OrchestratorId>,
) -> Result<Vec<(OrchestratorId, SealedFact)>, DbError> {
    let mut query = table
        .filter(account_information::account_id.eq(account))
        .order((account_information::orchestrator_id, account_information::field))
        .limit(MAX_FACTS)
        .select((
            account_information::orchestrator_id,
            account_information::field,
            account_information::sealed_value,
            account_information::verified,
        ))
        .into_boxed();
    if let Some(orchestrator) = orchestrator {
        query = query.filter(account_information::orchestrator_id.eq(orchestrator));
    }
    let rows: Vec<(OrchestratorId, String, String, bool)> = query.load(conn)?;
    let read = |(orchestrator, field, sealed, verified): (OrchestratorId, String, String, bool)| {
        let field = field.parse().map_err(|unknown: super::UnknownField| {
            DbError::from(diesel::result::Error::DeserializationError(unknown.into()))
        })?;
        Ok((orchestrator, SealedFact { field, sealed, verified }))
    };
    rows.into_iter().map(read).collect()
}
