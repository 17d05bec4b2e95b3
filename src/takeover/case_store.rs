//! The table `cases`.

use diesel::prelude::*;

use super::case::{Case, CaseKind};
use crate::clock::Timestamp;
use crate::db::schema::cases;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, CaseId};

#[derive(Queryable, Insertable)]
#[diesel(table_name = cases)]
struct Row {
    id: CaseId,
    account_id: AccountId,
    kind: String,
    cause: String,
    opened_at: Timestamp,
    evidence: Option<String>,
    closed_at: Option<Timestamp>,
    closed_by: Option<String>,
    note: Option<String>,
}

impl TryFrom<Row> for Case {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let kind = row.kind.parse().map_err(|error: super::case::UnknownCaseKind| {
            DbError::from(diesel::result::Error::DeserializationError(error.into()))
        })?;
        Ok(Self {
            id: row.id,
            account_id: row.account_id,
            kind,
            cause: row.cause,
            opened_at: row.opened_at,
            evidence: row.evidence,
            closed_at: row.closed_at,
            closed_by: row.closed_by,
            note: row.note,
        })
    }
}

pub(super) fn insert(conn: &mut DbConnection, case: &Case) -> QueryResult<()> {
    let row = Row {
        id: case.id.clone(),
        account_id: case.account_id.clone(),
        kind: case.kind.as_str().to_owned(),
        cause: case.cause.clone(),
        opened_at: case.opened_at,
        evidence: None,
        closed_at: None,
        closed_by: None,
        note: None,
    };
    diesel::insert_into(cases::table).values(&row).execute(conn).map(drop)
}

/// The case with this id.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_id(conn: &mut DbConnection, id: &CaseId) -> Result<Option<Case>, DbError> {
    let row: Option<Row> = cases::table.find(id).first(conn).optional()?;
    row.map(Case::try_from).transpose()
}

/// The open case of a kind about an account, if there is one.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn open_of(conn: &mut DbConnection, account: &AccountId, kind: CaseKind) -> Result<Option<Case>, DbError> {
    let row: Option<Row> = cases::table
        .filter(cases::account_id.eq(account))
        .filter(cases::kind.eq(kind.as_str()))
        .filter(cases::closed_at.is_null())
        .first(conn)
        .optional()?;
    row.map(Case::try_from).transpose()
}

/// Cases, newest first, older than `before`, at most `limit`; `open`: those that wait for the operator.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn list(conn: &mut DbConnection, open: bool, before: Option<&CaseId>, limit: i64) -> Result<Vec<Case>, DbError> {
    let mut query = cases::table.order(cases::id.desc()).limit(limit).into_boxed();
    if open {
        query = query.filter(cases::closed_at.is_null());
    }
    if let Some(before) = before {
        query = query.filter(cases::id.lt(before.as_str()));
    }
    query.load::<Row>(conn)?.into_iter().map(Case::try_from).collect()
}

/// Cases whose evidence is not written down yet, oldest first, at most `limit`.
pub(super) fn without_evidence(conn: &mut DbConnection, limit: i64) -> Result<Vec<Case>, DbError> {
    let rows: Vec<Row> = cases::table.filter(cases::evidence.is_null()).order(cases::id).limit(limit).load(conn)?;
    rows.into_iter().map(Case::try_from).collect()
}

/// Whether this call wrote it: evidence never changes.
pub(super) fn set_evidence(conn: &mut DbConnection, id: &CaseId, evidence: &str) -> QueryResult<bool> {
    let without = cases::table.find(id).filter(cases::evidence.is_null());
    Ok(diesel::update(without).set(cases::evidence.eq(Some(evidence))).execute(conn)? == 1)
}

/// Whether this call closed it.
pub(super) fn close(
    conn: &mut DbConnection,
    id: &CaseId,
    (by, note): (&str, &str),
    now: Timestamp,
) -> QueryResult<bool> {
    let open = cases::table.find(id).filter(cases::closed_at.is_null());
    let closed = (cases::closed_at.eq(Some(now)), cases::closed_by.eq(Some(by)), cases::note.eq(Some(note)));
    Ok(diesel::update(open).set(closed).execute(conn)? == 1)
}
