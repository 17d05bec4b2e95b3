//! The table `allowances`.

use diesel::prelude::*;

use super::Allowance;
use crate::clock::Timestamp;
use crate::db::schema::allowances;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::money::{Amount, Currency, Money};

#[derive(Queryable)]
struct AllowanceRow {
    currency: Option<Currency>,
    per_month: Option<Amount>,
    single: Option<Amount>,
    ends_at: Option<Timestamp>,
    offers: Option<String>,
    max_count: Option<i64>,
}

pub(super) fn insert(conn: &mut DbConnection, account: &AccountId, id: &str, allowance: &Allowance) -> QueryResult<()> {
    let offers = allowance.offers.as_ref().map(serde_json::to_string).transpose();
    let offers = offers.map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    diesel::insert_into(allowances::table)
        .values((
            allowances::account_id.eq(account),
            allowances::id.eq(id),
            allowances::currency.eq(allowance.per_month.map(|limit| limit.currency)),
            allowances::per_month.eq(allowance.per_month.map(|limit| limit.amount)),
            allowances::single.eq(allowance.single),
            allowances::ends_at.eq(allowance.ends_at),
            allowances::offers.eq(offers),
            allowances::max_count.eq(allowance.max_count.map(i64::from)),
            allowances::made.eq(0_i64),
        ))
        .execute(conn)
        .map(drop)
}

pub(super) fn find(conn: &mut DbConnection, account: &AccountId, id: &str) -> Result<Allowance, DbError> {
    let row: AllowanceRow = allowances::table
        .find((account, id))
        .select((
            allowances::currency,
            allowances::per_month,
            allowances::single,
            allowances::ends_at,
            allowances::offers,
            allowances::max_count,
        ))
        .first(conn)?;
    let offers = row.offers.as_deref().map(serde_json::from_str).transpose();
    let offers = offers.map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    let money = |(amount, currency)| Money { amount, currency };
    Ok(Allowance {
        per_month: row.per_month.zip(row.currency).map(money),
        single: row.single,
        ends_at: row.ends_at,
        offers,
        max_count: row.max_count.and_then(|count| u32::try_from(count).ok()),
    })
}

/// Counts one more, if one more is allowed: check and change in one statement.
pub(super) fn count_one(conn: &mut DbConnection, account: &AccountId, id: &str) -> QueryResult<bool> {
    let free = allowances::table
        .find((account, id))
        .filter(allowances::max_count.is_null().or(allowances::max_count.assume_not_null().gt(allowances::made)));
    Ok(diesel::update(free).set(allowances::made.eq(allowances::made + 1)).execute(conn)? == 1)
}
