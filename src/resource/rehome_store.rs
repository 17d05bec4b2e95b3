//! What moves from account to account of a resource: `resources`, `operations`, `plan_changes`, `usage_totals` and
//! `wire_resources`; and from where, in `brought_resources`.

use diesel::prelude::*;

use super::store::IN_USE;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{brought_resources, operations, plan_changes, resources, usage_totals, wire_resources};
use crate::ids::{AccountId, OperationId, OrchestratorId, PaymentTokenId, ResourceId};

/// Ids of what an account has that is neither gone nor failed, locked until the end of the transaction: usage and other
/// work wait. In order, at most `limit`.
pub(super) fn lock_in_use(conn: &mut DbConnection, account: &AccountId, limit: i64) -> QueryResult<Vec<ResourceId>> {
    let in_use = || resources::table.filter(resources::account_id.eq(account)).filter(resources::state.eq_any(IN_USE));
    diesel::update(in_use()).set(resources::changed_at.eq(resources::changed_at)).execute(conn)?;
    in_use().order(resources::id).limit(limit).select(resources::id).load(conn)
}

/// A resource outside of `chosen` that is in use and paid with one of the tokens that pay for `chosen`: its name.
pub(super) fn paid_together(
    conn: &mut DbConnection,
    account: &AccountId,
    chosen: &[ResourceId],
    tokens: &[PaymentTokenId],
) -> QueryResult<Option<String>> {
    let tokens: Vec<Option<&str>> = tokens.iter().map(|id| Some(id.as_str())).collect();
    let chosen: Vec<&str> = chosen.iter().map(ResourceId::as_str).collect();
    resources::table
        .filter(resources::account_id.eq(account))
        .filter(resources::state.eq_any(IN_USE))
        .filter(resources::payment_token_id.eq_any(tokens))
        .filter(resources::id.ne_all(chosen))
        .order(resources::id)
        .select(resources::name)
        .first(conn)
        .optional()
}

/// Whether this call moved a resource whose credentials are still sealed as they were seen. What paid for it when it was
/// bought stays in the books of the account that bought it, and so does its agent's allowance.
pub(super) fn move_resource(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    id: &ResourceId,
    (seen, sealed): (Option<&str>, Option<&str>),
) -> QueryResult<bool> {
    let mut row = diesel::update(resources::table.find((from, id)))
        .set((
            resources::account_id.eq(to),
            resources::sealed_credentials.eq(sealed),
            resources::hold_id.eq(None::<String>),
            resources::allowance_id.eq(None::<String>),
        ))
        .into_boxed();
    row = match seen {
        Some(seen) => row.filter(resources::sealed_credentials.eq(seen.to_owned())),
        None => row.filter(resources::sealed_credentials.is_null()),
    };
    Ok(row.execute(conn)? == 1)
}

/// Remembers from which account a resource came, for whoever distrusts those who had their hands on it there.
pub(super) fn note_origin(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    (id, orchestrator): (&ResourceId, &OrchestratorId),
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(brought_resources::table)
        .values((
            brought_resources::account_id.eq(to),
            brought_resources::resource_id.eq(id),
            brought_resources::from_account.eq(from),
            brought_resources::orchestrator_id.eq(orchestrator),
            brought_resources::brought_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Moves what hangs on the resources, and answers the operations that were done on them.
pub(super) fn move_what_hangs_on(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    ids: &[ResourceId],
) -> QueryResult<Vec<OperationId>> {
    let ids: Vec<&str> = ids.iter().map(ResourceId::as_str).collect();
    let of_them =
        operations::table.filter(operations::account_id.eq(from)).filter(operations::resource_id.eq_any(ids.clone()));
    let done: Vec<OperationId> = of_them.clone().select(operations::id).load(conn)?;
    diesel::update(of_them).set(operations::account_id.eq(to)).execute(conn)?;
    let names: Vec<&str> = done.iter().map(OperationId::as_str).collect();
    let changes =
        plan_changes::table.filter(plan_changes::account_id.eq(from)).filter(plan_changes::operation_id.eq_any(names));
    diesel::update(changes).set(plan_changes::account_id.eq(to)).execute(conn)?;
    let totals = usage_totals::table
        .filter(usage_totals::account_id.eq(from))
        .filter(usage_totals::resource_id.eq_any(ids.clone()));
    diesel::update(totals).set(usage_totals::account_id.eq(to)).execute(conn)?;
    let held = wire_resources::table
        .filter(wire_resources::account_id.eq(from))
        .filter(wire_resources::resource_id.eq_any(ids));
    diesel::update(held).set(wire_resources::account_id.eq(to)).execute(conn)?;
    Ok(done)
}
