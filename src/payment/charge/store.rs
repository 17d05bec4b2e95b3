//! The table `charges`.

use diesel::prelude::*;

use super::{Charge, ChargeState};
use crate::clock::Timestamp;
use crate::db::schema::charges;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ChargeId, HoldId, OrchestratorId, PaymentTokenId};
use crate::money::{Amount, Currency};

/// A charge about to begin.
#[derive(Debug, Insertable)]
#[diesel(table_name = charges)]
pub struct NewCharge<'a> {
    /// Whose.
    pub account_id: &'a AccountId,
    /// Ours.
    pub id: &'a ChargeId,
    /// For which hold.
    pub hold_id: &'a HoldId,
    /// Which attempt, from 1.
    pub attempt: i64,
    /// At which issuer.
    pub orchestrator_id: &'a OrchestratorId,
    /// With which token.
    pub payment_token_id: &'a PaymentTokenId,
    /// Of what.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// Always [`ChargeState::Authorizing`]'s word.
    pub state: &'a str,
    /// When.
    pub created_at: Timestamp,
    /// When.
    pub changed_at: Timestamp,
}

/// Begins a charge, in the transaction that holds the money.
///
/// # Errors
/// When the database fails.
pub fn create(conn: &mut DbConnection, charge: &NewCharge<'_>) -> QueryResult<()> {
    diesel::insert_into(charges::table).values(charge).execute(conn).map(drop)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = charges)]
struct ChargeRow {
    account_id: AccountId,
    id: ChargeId,
    hold_id: HoldId,
    attempt: i64,
    orchestrator_id: OrchestratorId,
    payment_token_id: PaymentTokenId,
    currency: Currency,
    amount: Amount,
    state: String,
    authorization_id: Option<String>,
    reason: Option<String>,
    created_at: Timestamp,
}

/// A state in the database that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("charges.state of {0} is not understood")]
struct CorruptCharge(ChargeId);

impl TryFrom<ChargeRow> for Charge {
    type Error = DbError;

    fn try_from(row: ChargeRow) -> Result<Self, DbError> {
        let state = ChargeState::from_word(&row.state).ok_or_else(|| {
            DbError::Query(diesel::result::Error::DeserializationError(CorruptCharge(row.id.clone()).into()))
        })?;
        Ok(Self {
            account_id: row.account_id,
            id: row.id,
            hold_id: row.hold_id,
            attempt: row.attempt,
            orchestrator_id: row.orchestrator_id,
            payment_token_id: row.payment_token_id,
            currency: row.currency,
            amount: row.amount,
            state,
            authorization_id: row.authorization_id,
            reason: row.reason,
            created_at: row.created_at,
        })
    }
}

/// The newest charge of a hold.
///
/// # Errors
/// When the database fails or the hold has none.
pub fn of_hold(conn: &mut DbConnection, account: &AccountId, hold: &HoldId) -> Result<Charge, DbError> {
    charges::table
        .filter(charges::account_id.eq(account))
        .filter(charges::hold_id.eq(hold))
        .order(charges::attempt.desc())
        .select(ChargeRow::as_select())
        .first::<ChargeRow>(conn)?
        .try_into()
}

/// What a check compares of a charge: the texts as stored, so that a bad one is a finding and not a failure.
#[derive(Queryable)]
pub(in crate::payment) struct StoredCharge {
    pub(in crate::payment) id: String,
    pub(in crate::payment) hold_id: String,
    pub(in crate::payment) attempt: i64,
    pub(in crate::payment) state: String,
    pub(in crate::payment) amount: i64,
    pub(in crate::payment) currency: String,
}

/// Up to `limit` charges of the account after `id`, in order, as stored.
pub(in crate::payment) fn after(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &str,
    limit: i64,
) -> QueryResult<Vec<StoredCharge>> {
    charges::table
        .filter(charges::account_id.eq(account))
        .filter(charges::id.gt(id))
        .order(charges::id)
        .limit(limit)
        .select((charges::id, charges::hold_id, charges::attempt, charges::state, charges::amount, charges::currency))
        .load(conn)
}

/// Moves a charge from `from` to `to`, with what the issuer said.
/// `false`: it was no longer in `from`, somebody else moved it.
///
/// # Errors
/// When the database fails.
pub fn record(
    conn: &mut DbConnection,
    charge: &Charge,
    to: ChargeState,
    (authorization_id, reason): (Option<&str>, Option<&str>),
    now: Timestamp,
) -> QueryResult<bool> {
    let changed = diesel::update(
        charges::table.find((&charge.account_id, &charge.id)).filter(charges::state.eq(charge.state.as_str())),
    )
    .set((
        charges::state.eq(to.as_str()),
        charges::authorization_id.eq(authorization_id.or(charge.authorization_id.as_deref())),
        charges::reason.eq(reason),
        charges::changed_at.eq(now),
    ))
    .execute(conn)?;
    Ok(changed == 1)
}
