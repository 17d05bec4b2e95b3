//! The tables `consent_turns`, `consent_patience` and `scope_refusals`.

use diesel::prelude::*;

use super::turn::Turn;
use crate::authorization::scope::{Scope, Scopes};
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::{consent_patience, consent_turns, scope_refusals};
use crate::ids::AccountId;
use crate::secret::SecretHash;

/// An account, a client, an API.
pub(super) type Place<'a> = (&'a AccountId, &'a str, &'a str);

/// A refusal as it is kept.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = scope_refusals)]
pub(super) struct RefusalRow {
    account_id: AccountId,
    client: String,
    resource: String,
    scope: String,
    pub(super) client_digest: String,
    pub(super) details_digest: String,
    pub(super) refused_at: Timestamp,
}

impl RefusalRow {
    /// `None`: a scope of another version of us.
    pub(super) fn scope(&self) -> Option<Scope> {
        self.scope.parse().ok()
    }
}

pub(super) fn refusals(
    conn: &mut DbConnection,
    (account, client, resource): Place<'_>,
    since: Timestamp,
) -> QueryResult<Vec<RefusalRow>> {
    scope_refusals::table
        .filter(scope_refusals::account_id.eq(account))
        .filter(scope_refusals::client.eq(client.to_owned()))
        .filter(scope_refusals::resource.eq(resource.to_owned()))
        .filter(scope_refusals::refused_at.gt(since))
        .load(conn)
}

/// From now on `refused` is refused within these limits, and nothing else of `decided` within any.
pub(super) fn set_refusals(
    conn: &mut DbConnection,
    (account, client, resource): Place<'_>,
    (decided, refused): (&Scopes, &Scopes),
    (client_digest, details_digest): (&str, &str),
    now: Timestamp,
) -> QueryResult<()> {
    let words = |scopes: &Scopes| scopes.iter().map(Scope::as_str).collect::<Vec<_>>();
    let allowed = scope_refusals::scope.eq_any(words(&decided.without(refused)));
    let again =
        scope_refusals::scope.eq_any(words(refused)).and(scope_refusals::details_digest.eq(details_digest.to_owned()));
    let old = scope_refusals::table
        .filter(scope_refusals::account_id.eq(account))
        .filter(scope_refusals::client.eq(client.to_owned()))
        .filter(scope_refusals::resource.eq(resource.to_owned()))
        .filter(allowed.or(again));
    diesel::delete(old).execute(conn)?;
    for scope in refused.iter() {
        let row = RefusalRow {
            account_id: account.clone(),
            client: client.to_owned(),
            resource: resource.to_owned(),
            scope: scope.as_str().to_owned(),
            client_digest: client_digest.to_owned(),
            details_digest: details_digest.to_owned(),
            refused_at: now,
        };
        diesel::insert_into(scope_refusals::table).values(row).execute(conn)?;
    }
    Ok(())
}

/// A turn as it is kept.
#[derive(Debug, Clone, Queryable, Insertable, AsChangeset)]
#[diesel(table_name = consent_turns)]
pub(super) struct TurnRow {
    pub(super) account_id: AccountId,
    pub(super) client: String,
    pub(super) resource: String,
    pub(super) handle_hash: SecretHash,
    pub(super) sealed_handle: String,
    pub(super) asked_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// Whether it is this question's turn: it was before, or that of another is over.
pub(super) fn keep_turn(conn: &mut DbConnection, turn: &Turn, now: Timestamp) -> QueryResult<bool> {
    let free = consent_turns::table
        .find(turn.place())
        .filter(consent_turns::handle_hash.eq(&turn.hash).or(consent_turns::expires_at.le(now)));
    let row = turn.row();
    Ok(diesel::update(free).set(&row).execute(conn)? == 1)
}

/// Makes it this question's turn, whosever it was. `false`: it was nobody's.
pub(super) fn replace_turn(conn: &mut DbConnection, turn: &Turn) -> QueryResult<bool> {
    let row = turn.row();
    Ok(diesel::update(consent_turns::table.find(turn.place())).set(&row).execute(conn)? == 1)
}

pub(super) fn turn_of(conn: &mut DbConnection, place: Place<'_>) -> QueryResult<Option<TurnRow>> {
    consent_turns::table.find(place).first(conn).optional()
}

pub(super) fn insert_turn(conn: &mut DbConnection, turn: &Turn) -> QueryResult<()> {
    diesel::insert_into(consent_turns::table).values(turn.row()).execute(conn).map(drop)
}

/// Ends the turn of this question, if it is its turn.
pub(super) fn delete_turn(conn: &mut DbConnection, turn: &Turn) -> QueryResult<bool> {
    let own = consent_turns::table.find(turn.place()).filter(consent_turns::handle_hash.eq(&turn.hash));
    Ok(diesel::delete(own).execute(conn)? == 1)
}

/// How long a client has to wait, and how often it asked.
#[derive(Debug, Clone, Copy, Queryable)]
pub(super) struct PatienceRow {
    pub(super) waits_until: Option<Timestamp>,
}

/// Counts one more prompt of the day that began at `day`, if there may be one: check and change in one statement each.
pub(super) fn count_prompt(
    conn: &mut DbConnection,
    (account, client): (&AccountId, &str),
    (day, at_most): (Timestamp, i64),
    now: Timestamp,
) -> QueryResult<bool> {
    let own = || {
        consent_patience::table
            .find((account, client))
            .filter(consent_patience::waits_until.is_null().or(consent_patience::waits_until.assume_not_null().le(now)))
    };
    let today = own().filter(consent_patience::day_start.eq(day)).filter(consent_patience::prompts.lt(at_most));
    let more = consent_patience::prompts.eq(consent_patience::prompts + 1);
    if diesel::update(today).set(more).execute(conn)? == 1 {
        return Ok(true);
    }
    let earlier = own().filter(consent_patience::day_start.lt(day));
    let first = (consent_patience::day_start.eq(day), consent_patience::prompts.eq(1_i64));
    Ok(diesel::update(earlier).set(first).execute(conn)? == 1)
}

pub(super) fn patience(
    conn: &mut DbConnection,
    (account, client): (&AccountId, &str),
) -> QueryResult<Option<PatienceRow>> {
    consent_patience::table.find((account, client)).select((consent_patience::waits_until,)).first(conn).optional()
}

/// The first prompt ever.
pub(super) fn insert_patience(
    conn: &mut DbConnection,
    (account, client): (&AccountId, &str),
    day: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(consent_patience::table)
        .values((
            consent_patience::account_id.eq(account),
            consent_patience::client.eq(client),
            consent_patience::day_start.eq(day),
            consent_patience::prompts.eq(1_i64),
            consent_patience::denials.eq(0_i64),
        ))
        .execute(conn)
        .map(drop)
}

/// A yes: whatever was denied before does not count any more.
pub(super) fn forget_denials(conn: &mut DbConnection, (account, client): (&AccountId, &str)) -> QueryResult<()> {
    let own = consent_patience::table.find((account, client));
    diesel::update(own).set(consent_patience::denials.eq(0_i64)).execute(conn).map(drop)
}

/// A no. With the one that makes `at_most` in a row the client waits until `until`.
pub(super) fn count_denial(
    conn: &mut DbConnection,
    (account, client): (&AccountId, &str),
    (at_most, until): (i64, Timestamp),
) -> QueryResult<()> {
    let own = || consent_patience::table.find((account, client));
    diesel::update(own()).set(consent_patience::denials.eq(consent_patience::denials + 1)).execute(conn)?;
    let enough = own().filter(consent_patience::denials.ge(at_most));
    let waits = (consent_patience::denials.eq(0_i64), consent_patience::waits_until.eq(Some(until)));
    diesel::update(enough).set(waits).execute(conn).map(drop)
}

/// Forgets turns whose time is over, refusals before `refused`, and patience of days before `day` that nobody waits for.
pub(in crate::authorization) fn delete_ended_before(
    conn: &mut DbConnection,
    (refused, day): (Timestamp, Timestamp),
    now: Timestamp,
    limit: i64,
) -> QueryResult<usize> {
    let turns: Vec<SecretHash> = consent_turns::table
        .filter(consent_turns::expires_at.le(now))
        .limit(limit)
        .select(consent_turns::handle_hash)
        .load(conn)?;
    let over =
        consent_turns::table.filter(consent_turns::handle_hash.eq_any(turns)).filter(consent_turns::expires_at.le(now));
    let turns = diesel::delete(over).execute(conn)?;
    let rows: Vec<(AccountId, String)> = consent_patience::table
        .filter(consent_patience::day_start.lt(day))
        .filter(consent_patience::denials.eq(0_i64))
        .filter(consent_patience::waits_until.is_null().or(consent_patience::waits_until.assume_not_null().le(now)))
        .limit(limit)
        .select((consent_patience::account_id, consent_patience::client))
        .load(conn)?;
    for (account, client) in &rows {
        let idle = consent_patience::table.find((account, client)).filter(consent_patience::day_start.lt(day));
        diesel::delete(idle).execute(conn)?;
    }
    let old: Vec<RefusalRow> =
        scope_refusals::table.filter(scope_refusals::refused_at.lt(refused)).limit(limit).load(conn)?;
    for known in &old {
        let row = scope_refusals::table
            .find((&known.account_id, &known.client, &known.resource, &known.scope, &known.details_digest))
            .filter(scope_refusals::refused_at.lt(refused));
        diesel::delete(row).execute(conn)?;
    }
    Ok(turns.max(rows.len()).max(old.len()))
}
