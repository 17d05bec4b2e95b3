//! What has to be known about a buyer before a service is sold to them, as its catalog entry says.

use crate::account::{self, PersonalField, SealedFact};
use crate::catalog::KycField;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};

/// More has to be known about the buyer. Nothing was bought or changed, and nothing that came with the request was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the service needs to know about its buyer: {}", .0.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", "))]
pub struct InformationNeeded(
    /// Everything that is not known yet, also what came with the request.
    pub Vec<PersonalField>,
);

/// What a service asks, in the words of accounts.
pub(super) fn asked(kyc: &[KycField]) -> Vec<PersonalField> {
    let field = |field: &KycField| match field {
        KycField::Name => PersonalField::Name,
        KycField::Email => PersonalField::Email,
        KycField::Phone => PersonalField::Phone,
        KycField::Country => PersonalField::Country,
    };
    kyc.iter().map(field).collect()
}

/// What is not known about a buyer and does not come with the request; if there is any, everything that is not known.
///
/// # Errors
/// When the database fails.
pub fn still_needed(
    conn: &mut DbConnection,
    whose: (&AccountId, &OrchestratorId),
    kyc: &[KycField],
    passed_on: &[PersonalField],
) -> Result<Result<(), InformationNeeded>, DbError> {
    let unknown = account::lacking(conn, whose, &asked(kyc))?;
    let enough = unknown.iter().all(|field| passed_on.contains(field));
    Ok(if enough { Ok(()) } else { Err(InformationNeeded(unknown)) })
}

/// Keeps what comes with a purchase or change, if then everything is known. Call it inside `Db::write`.
pub(super) fn pass_on(
    conn: &mut DbConnection,
    whose: (&AccountId, &OrchestratorId),
    kyc: &[KycField],
    passed_on: &[SealedFact],
    now: Timestamp,
) -> Result<Result<(), InformationNeeded>, DbError> {
    let fields: Vec<PersonalField> = passed_on.iter().map(|fact| fact.field).collect();
    let enough = still_needed(conn, whose, kyc, &fields)?;
    if enough.is_ok() {
        account::remember(conn, whose, passed_on, now)?;
    }
    Ok(enough)
}
