//! The `orchestrators` table.

use std::str::FromStr;

use diesel::prelude::*;

use super::{EmailDomain, ExistingAccount, Orchestrator};
use crate::clock::Timestamp;
use crate::db::schema::orchestrators;
use crate::db::{DbConnection, DbError, directly};
use crate::ids::OrchestratorId;
use crate::money::{Amount, Currency};
use crate::signing::SignatureAlgorithm;

#[derive(Queryable, Insertable)]
#[diesel(table_name = orchestrators)]
struct Row {
    id: OrchestratorId,
    name: String,
    issuer: String,
    client_id: String,
    algorithms: String,
    existing_account: String,
    may_open_accounts: bool,
    email_domains: String,
    settlement_url: Option<String>,
    currency: Currency,
    monthly_ceiling: Amount,
    provisional_ceiling: Amount,
    origin: String,
    created_at: Timestamp,
    suspended_at: Option<Timestamp>,
    distrusted_keys: String,
}

impl TryFrom<Row> for Orchestrator {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let algorithms: Vec<SignatureAlgorithm> = words(&row.id, "algorithms", &row.algorithms)?;
        let email_domains: Vec<EmailDomain> = words(&row.id, "email_domains", &row.email_domains)?;
        let settlement_url = row.settlement_url.as_deref().map(|text| column(&row.id, "settlement_url", text));
        let distrusted_keys = keys_of(&row.id, &row.distrusted_keys)?;
        Ok(Self {
            distrusted_keys,
            name: column(&row.id, "name", &row.name)?,
            issuer: column(&row.id, "issuer", &row.issuer)?,
            client_id: row.client_id,
            algorithms,
            existing_account: column(&row.id, "existing_account", &row.existing_account)?,
            may_open_accounts: row.may_open_accounts,
            email_domains,
            settlement_url: settlement_url.transpose()?,
            currency: row.currency,
            monthly_ceiling: row.monthly_ceiling,
            provisional_ceiling: row.provisional_ceiling,
            origin: column(&row.id, "origin", &row.origin)?,
            created_at: row.created_at,
            suspended_at: row.suspended_at,
            id: row.id,
        })
    }
}

/// Reading parses: a value that could not have been written is an error that says where it stands.
fn column<T: FromStr>(id: &OrchestratorId, name: &str, text: &str) -> Result<T, DbError> {
    text.parse().map_err(|_impossible| impossible(id, name))
}

fn words<T: FromStr>(id: &OrchestratorId, name: &str, text: &str) -> Result<Vec<T>, DbError> {
    text.split_ascii_whitespace().map(|word| column(id, name, word)).collect()
}

fn impossible(id: &OrchestratorId, name: &str) -> DbError {
    let text = format!("table `orchestrators`, row {id}: `{name}` holds a value that is none");
    diesel::result::Error::DeserializationError(text.into()).into()
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) fn insert(conn: &mut DbConnection, new: &Orchestrator) -> QueryResult<()> {
    let row = Row {
        id: new.id.clone(),
        name: new.name.to_string(),
        issuer: new.issuer.to_string(),
        client_id: new.client_id.clone(),
        algorithms: joined(&new.algorithms),
        existing_account: new.existing_account.as_str().to_owned(),
        may_open_accounts: new.may_open_accounts,
        email_domains: joined(&new.email_domains),
        settlement_url: new.settlement_url.as_ref().map(ToString::to_string),
        currency: new.currency,
        monthly_ceiling: new.monthly_ceiling,
        provisional_ceiling: new.provisional_ceiling,
        origin: new.origin.as_str().to_owned(),
        created_at: new.created_at,
        suspended_at: new.suspended_at,
        distrusted_keys: "[]".to_owned(),
    };
    diesel::insert_into(orchestrators::table).values(&row).execute(conn).map(drop)
}

/// The orchestrator with this issuer, compared byte for byte.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_issuer(conn: &mut DbConnection, issuer: &str) -> Result<Option<Orchestrator>, DbError> {
    let named = orchestrators::table.filter(orchestrators::issuer.eq(issuer));
    let row: Option<Row> = directly!(conn, |conn| named.get_result(conn)).optional()?;
    row.map(Orchestrator::try_from).transpose()
}

/// The orchestrator with this id.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_id(conn: &mut DbConnection, id: &OrchestratorId) -> Result<Option<Orchestrator>, DbError> {
    let row: Option<Row> = directly!(conn, |conn| orchestrators::table.find(id).get_result(conn)).optional()?;
    row.map(Orchestrator::try_from).transpose()
}

/// Keys, as they are written with the orchestrator.
pub(super) fn keys_of(id: &OrchestratorId, text: &str) -> Result<Vec<String>, DbError> {
    serde_json::from_str(text).map_err(|_no_list| {
        let text = format!("table `orchestrators`, row {id}: `distrusted_keys` is no JSON list");
        DbError::from(diesel::result::Error::DeserializationError(text.into()))
    })
}

/// The orchestrator that an operator means: by id, or by name.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_name_or_id(conn: &mut DbConnection, which: &str) -> Result<Option<Orchestrator>, DbError> {
    if let Ok(id) = which.parse() {
        return by_id(conn, &id);
    }
    let row: Option<Row> = orchestrators::table.filter(orchestrators::name.eq(which)).first(conn).optional()?;
    row.map(Orchestrator::try_from).transpose()
}

/// At most `limit` orchestrators in the order of their registration, after the one with the id `after`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn list(conn: &mut DbConnection, after: Option<&OrchestratorId>, limit: i64) -> Result<Vec<Orchestrator>, DbError> {
    let mut query = orchestrators::table.order(orchestrators::id).limit(limit).into_boxed();
    if let Some(after) = after {
        query = query.filter(orchestrators::id.gt(after.clone()));
    }
    let rows: Vec<Row> = query.load(conn)?;
    rows.into_iter().map(Orchestrator::try_from).collect()
}

/// Whether this call changed it.
pub(super) fn set_suspended(conn: &mut DbConnection, id: &OrchestratorId, now: Timestamp) -> QueryResult<bool> {
    let changed = diesel::update(orchestrators::table.find(id).filter(orchestrators::suspended_at.is_null()))
        .set(orchestrators::suspended_at.eq(Some(now)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Whether this call changed it.
pub(super) fn clear_suspended(conn: &mut DbConnection, id: &OrchestratorId) -> QueryResult<bool> {
    let changed = diesel::update(orchestrators::table.find(id).filter(orchestrators::suspended_at.is_not_null()))
        .set(orchestrators::suspended_at.eq(None::<Timestamp>))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Writes down which keys are believed no longer.
pub(super) fn set_distrusted_keys(conn: &mut DbConnection, id: &OrchestratorId, keys: &[String]) -> QueryResult<()> {
    diesel::update(orchestrators::table.find(id))
        .set(orchestrators::distrusted_keys.eq(serde_json::json!(keys).to_string()))
        .execute(conn)
        .map(drop)
}

/// Whether this call changed it.
pub(super) fn set_existing_account(
    conn: &mut DbConnection,
    id: &OrchestratorId,
    policy: ExistingAccount,
) -> QueryResult<bool> {
    let other = orchestrators::table.find(id).filter(orchestrators::existing_account.ne(policy.as_str()));
    let changed = diesel::update(other).set(orchestrators::existing_account.eq(policy.as_str())).execute(conn)?;
    Ok(changed == 1)
}

/// The suspended ones, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn suspended(conn: &mut DbConnection, limit: i64) -> Result<Vec<OrchestratorId>, DbError> {
    let suspended = orchestrators::table.filter(orchestrators::suspended_at.is_not_null());
    Ok(suspended.select(orchestrators::id).limit(limit).load(conn)?)
}
