//! The audit trail: who did what to whom, appended inside the transaction that did it. The database refuses changes.

use diesel::prelude::*;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::audit_facts;
use crate::ids::{AccountId, AuditFactId};

/// One fact. `detail` never carries a secret.
#[derive(Debug, Clone)]
pub struct Fact<'a> {
    /// Who: `orchestrator:orch_…`, `account:acct_…`, `user:acct_…`, `operator`, `system`.
    pub actor: String,
    /// What, as `thing.verb`: `account.opened`.
    pub action: &'static str,
    /// Whose account it concerns.
    pub account_id: Option<&'a AccountId>,
    /// To what: an id.
    pub subject: String,
    /// The particulars: before and after, amounts, reasons.
    pub detail: Value,
}

/// A fact as it was recorded.
#[derive(Debug, Clone)]
pub struct RecordedFact {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// The particulars.
    pub detail: Value,
}

#[derive(Insertable)]
#[diesel(table_name = audit_facts)]
struct NewFact<'a> {
    id: AuditFactId,
    at: Timestamp,
    actor: &'a str,
    action: &'a str,
    account_id: Option<&'a AccountId>,
    subject: &'a str,
    detail: String,
}

/// Appends a fact. Call it inside the transaction that makes the fact true.
///
/// # Errors
/// When the insert fails; the caller's transaction is then undone.
pub fn append(conn: &mut DbConnection, fact: &Fact<'_>, now: Timestamp) -> QueryResult<()> {
    let row = NewFact {
        id: AuditFactId::new(now),
        at: now,
        actor: &fact.actor,
        action: fact.action,
        account_id: fact.account_id,
        subject: &fact.subject,
        detail: fact.detail.to_string(),
    };
    diesel::insert_into(audit_facts::table).values(&row).execute(conn).map(drop)
}

type Row = (String, String, Timestamp, String, String, String);

fn recorded((id, subject, at, actor, action, detail): Row) -> QueryResult<(String, String, RecordedFact)> {
    let detail =
        serde_json::from_str(&detail).map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    Ok((id, subject, RecordedFact { at, actor, action, detail }))
}

/// Facts about an account before the one named `id` (empty: the newest), newest first, at most `limit`: name, subject, fact.
///
/// # Errors
/// When the database fails or a stored detail is no JSON.
pub fn before(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &str,
    limit: i64,
) -> QueryResult<Vec<(String, String, RecordedFact)>> {
    page(conn, (account, None), id, limit)
}

/// What one actor did to an account, likewise.
///
/// # Errors
/// When the database fails or a stored detail is no JSON.
pub fn by_actor(
    conn: &mut DbConnection,
    (account, actor): (&AccountId, &str),
    id: &str,
    limit: i64,
) -> QueryResult<Vec<(String, String, RecordedFact)>> {
    page(conn, (account, Some(actor)), id, limit)
}

fn page(
    conn: &mut DbConnection,
    (account, actor): (&AccountId, Option<&str>),
    id: &str,
    limit: i64,
) -> QueryResult<Vec<(String, String, RecordedFact)>> {
    let mut query = audit_facts::table
        .filter(audit_facts::account_id.eq(account))
        .order(audit_facts::id.desc())
        .limit(limit)
        .select((
            audit_facts::id,
            audit_facts::subject,
            audit_facts::at,
            audit_facts::actor,
            audit_facts::action,
            audit_facts::detail,
        ))
        .into_boxed();
    if let Some(actor) = actor {
        query = query.filter(audit_facts::actor.eq(actor.to_owned()));
    }
    if !id.is_empty() {
        query = query.filter(audit_facts::id.lt(id.to_owned()));
    }
    query.load::<Row>(conn)?.into_iter().map(recorded).collect()
}

/// How often one actor did something to an account.
///
/// # Errors
/// When the database fails.
pub fn count_by_actor(conn: &mut DbConnection, account: &AccountId, actor: &str) -> QueryResult<i64> {
    audit_facts::table
        .filter(audit_facts::account_id.eq(account))
        .filter(audit_facts::actor.eq(actor.to_owned()))
        .count()
        .get_result(conn)
}

/// The latest facts about an account, newest first, at most `limit`.
///
/// # Errors
/// When the database fails or a stored detail is no JSON.
pub fn latest(conn: &mut DbConnection, account: &AccountId, limit: i64) -> QueryResult<Vec<RecordedFact>> {
    let rows: Vec<(Timestamp, String, String, String)> = audit_facts::table
        .filter(audit_facts::account_id.eq(account))
        .order(audit_facts::id.desc())
        .limit(limit)
        .select((audit_facts::at, audit_facts::actor, audit_facts::action, audit_facts::detail))
        .load(conn)?;
    rows.into_iter()
        .map(|(at, actor, action, detail)| {
            let detail = serde_json::from_str(&detail)
                .map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
            Ok(RecordedFact { at, actor, action, detail })
        })
        .collect()
}
