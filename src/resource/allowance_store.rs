//! The table `allowances`.

use diesel::prelude::*;

use super::{Allowance, AllowanceLine, WorstCase};
use crate::catalog::PlanRef;
use crate::clock::Timestamp;
use crate::db::schema::{allowance_lines, allowances};
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
        .execute(conn)?;
    for line in &allowance.lines {
        diesel::insert_into(allowance_lines::table)
            .values((
                allowance_lines::account_id.eq(account),
                allowance_lines::allowance_id.eq(id),
                allowance_lines::service.eq(&line.service),
                allowance_lines::plan.eq(&line.plan),
                allowance_lines::currency.eq(line.each.currency),
                allowance_lines::price_ceiling.eq(line.each.amount),
                allowance_lines::max_count.eq(i64::from(line.count)),
                allowance_lines::made.eq(0_i64),
            ))
            .execute(conn)?;
    }
    Ok(())
}

pub(super) fn find(conn: &mut DbConnection, account: &AccountId, id: &str) -> Result<Option<Allowance>, DbError> {
    let row: Option<AllowanceRow> = allowances::table
        .find((account, id))
        .select((
            allowances::currency,
            allowances::per_month,
            allowances::single,
            allowances::ends_at,
            allowances::offers,
            allowances::max_count,
        ))
        .first(conn)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let offers = row.offers.as_deref().map(serde_json::from_str).transpose();
    let offers = offers.map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    let money = |(amount, currency)| Money { amount, currency };
    Ok(Some(Allowance {
        per_month: row.per_month.zip(row.currency).map(money),
        single: row.single,
        ends_at: row.ends_at,
        offers,
        max_count: row.max_count.and_then(|count| u32::try_from(count).ok()),
        // A line is found when it is needed: see `line`.
        lines: Vec::new(),
    }))
}

/// The same is allowed for longer now.
pub(super) fn prolong(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &str),
    ends_at: Option<Timestamp>,
) -> QueryResult<()> {
    diesel::update(allowances::table.find((account, id))).set(allowances::ends_at.eq(ends_at)).execute(conn).map(drop)
}

/// Counts one more of a line, if the plan has one more and it costs no more than the human saw: check and change in one
/// statement.
pub(super) fn count_line(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &str),
    plan: &PlanRef,
    costs: WorstCase,
) -> QueryResult<bool> {
    let free = allowance_lines::table
        .find((account, id, plan.service.as_str(), plan.plan.as_str()))
        .filter(allowance_lines::max_count.gt(allowance_lines::made))
        .filter(allowance_lines::price_ceiling.ge(costs.amount));
    let more = allowance_lines::made.eq(allowance_lines::made + 1);
    let changed = match costs.currency {
        Some(currency) => {
            diesel::update(free.filter(allowance_lines::currency.eq(Some(currency)))).set(more).execute(conn)?
        }
        None => diesel::update(free).set(more).execute(conn)?,
    };
    Ok(changed == 1)
}

/// A line of a plan, and how many of it were made.
pub(super) fn line(
    conn: &mut DbConnection,
    (account, id): (&AccountId, &str),
    plan: &PlanRef,
) -> QueryResult<Option<(AllowanceLine, i64)>> {
    let (service, plan) = (plan.service.as_str(), plan.plan.as_str());
    let row: Option<(Option<Currency>, Amount, i64, i64)> = allowance_lines::table
        .find((account, id, service, plan))
        .select((
            allowance_lines::currency,
            allowance_lines::price_ceiling,
            allowance_lines::max_count,
            allowance_lines::made,
        ))
        .first(conn)
        .optional()?;
    Ok(row.map(|(currency, amount, count, made)| {
        let each = WorstCase { currency, amount };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        (AllowanceLine { service: service.to_owned(), plan: plan.to_owned(), count, each }, made)
    }))
}

/// Whether there is a plan at all.
pub(super) fn has_lines(conn: &mut DbConnection, (account, id): (&AccountId, &str)) -> QueryResult<bool> {
    let first: Option<i64> = allowance_lines::table
        .filter(allowance_lines::account_id.eq(account))
        .filter(allowance_lines::allowance_id.eq(id.to_owned()))
        .select(allowance_lines::made)
        .first(conn)
        .optional()?;
    Ok(first.is_some())
}

/// Counts one more, if one more is allowed: check and change in one statement.
pub(super) fn count_one(conn: &mut DbConnection, account: &AccountId, id: &str) -> QueryResult<bool> {
    let free = allowances::table
        .find((account, id))
        .filter(allowances::max_count.is_null().or(allowances::max_count.assume_not_null().gt(allowances::made)));
    Ok(diesel::update(free).set(allowances::made.eq(allowances::made + 1)).execute(conn)? == 1)
}
