//! What moves from account to account in `payment_tokens` and `counters`; what is still held in `holds`.

use diesel::prelude::*;

use crate::clock::{Period, Timestamp};
use crate::db::DbConnection;
use crate::db::schema::{counters, holds, payment_tokens};
use crate::ids::{AccountId, CounterId, PaymentTokenId, ResourceId};
use crate::money::{Amount, Currency};
use crate::payment::hold::{CounterKind, HoldState};
use crate::payment::hold_store::{NewCounter, open_counter};

/// Ids and seals of these tokens of an account, and, with `living`, of all that still pay at that time; at most `limit`.
pub(super) fn tokens(
    conn: &mut DbConnection,
    account: &AccountId,
    (ids, living): (&[PaymentTokenId], Option<Timestamp>),
    limit: i64,
) -> QueryResult<Vec<(PaymentTokenId, String)>> {
    let ids: Vec<&str> = ids.iter().map(PaymentTokenId::as_str).collect();
    // Nothing expires after the end of time.
    let after = living.unwrap_or(Timestamp::from_micros(i64::MAX));
    payment_tokens::table
        .filter(payment_tokens::account_id.eq(account))
        .filter(payment_tokens::id.eq_any(ids).or(payment_tokens::expires_at.gt(after)))
        .order(payment_tokens::id)
        .limit(limit)
        .select((payment_tokens::id, payment_tokens::sealed_token))
        .load(conn)
}

/// Whether this call moved a token that was still sealed as it was seen.
pub(super) fn move_token(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    id: &PaymentTokenId,
    (seen, sealed): (&str, &str),
) -> QueryResult<bool> {
    let row = payment_tokens::table.find((from, id)).filter(payment_tokens::sealed_token.eq(seen));
    let set = (payment_tokens::account_id.eq(to), payment_tokens::sealed_token.eq(sealed));
    Ok(diesel::update(row).set(set).execute(conn)? == 1)
}

/// A limit in force.
#[derive(Queryable)]
pub(super) struct Limit {
    currency: Currency,
    start: Timestamp,
    end: Timestamp,
    ceiling: Amount,
    spent: Amount,
    carried: Amount,
}

/// The limits of one kind on one thing whose period goes on.
pub(super) fn limits_on(
    conn: &mut DbConnection,
    account: &AccountId,
    (kind, subject): (CounterKind, &str),
    now: Timestamp,
) -> QueryResult<Vec<Limit>> {
    counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq(kind.as_str()))
        .filter(counters::subject.eq(subject))
        .filter(counters::period_end.gt(now))
        .order(counters::period_start)
        .limit(4)
        .select((
            counters::currency,
            counters::period_start,
            counters::period_end,
            counters::ceiling,
            counters::spent,
            counters::carried,
        ))
        .load(conn)
}

/// Goes on with a limit in another account: what was spent under it so far is gone from it for good.
pub(super) fn go_on(
    conn: &mut DbConnection,
    account: &AccountId,
    (kind, subject): (CounterKind, &str),
    limit: &Limit,
    now: Timestamp,
) -> QueryResult<()> {
    let new = NewCounter {
        account_id: account.clone(),
        id: CounterId::new(now),
        kind,
        subject: subject.to_owned(),
        currency: limit.currency,
        period: Period { start: limit.start, end: limit.end },
        ceiling: limit.ceiling.saturating_sub(limit.spent),
    };
    open_counter(conn, &new)?;
    let carried = limit.carried.checked_add(limit.spent).unwrap_or(limit.spent);
    diesel::update(counters::table.find((account, &new.id))).set(counters::carried.eq(carried)).execute(conn).map(drop)
}

/// Whether money is held in the account: for one of `resources`, or, without them, for anything.
pub(super) fn any_held(
    conn: &mut DbConnection,
    account: &AccountId,
    resources: Option<&[ResourceId]>,
) -> QueryResult<bool> {
    let mut query = holds::table
        .filter(holds::account_id.eq(account))
        .filter(holds::state.eq(HoldState::Held.as_str()))
        .select(holds::id)
        .into_boxed();
    if let Some(resources) = resources {
        let ids: Vec<Option<&str>> = resources.iter().map(|id| Some(id.as_str())).collect();
        query = query.filter(holds::resource_id.eq_any(ids));
    }
    Ok(query.first::<String>(conn).optional()?.is_some())
}
