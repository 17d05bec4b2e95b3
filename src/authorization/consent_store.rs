//! The table `consents`, and what ends with a consent.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::access_token::LogIn;
use super::agent;
use super::consent_grant::Consent;
use super::hot_store;
use crate::clock::Timestamp;
use crate::db::schema::{consents, grants, refresh_tokens};
use crate::db::{DbConnection, DbError, directly};
use crate::ids::{AccountId, ConsentId, OrchestratorId};

/// How much the clocks of two processes may differ: what is over for one is ended here for the other.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(5);

#[derive(Queryable)]
struct ConsentRow {
    id: ConsentId,
    account_id: AccountId,
    orchestrator_id: OrchestratorId,
    client: String,
    client_digest: String,
    resource: String,
    scope: String,
    details: String,
    auth_time: Option<Timestamp>,
    acr: Option<String>,
    created_at: Timestamp,
    _used_at: Timestamp,
    revoked_at: Option<Timestamp>,
    _remembered: bool,
}

impl TryFrom<ConsentRow> for Consent {
    type Error = DbError;

    fn try_from(row: ConsentRow) -> Result<Self, DbError> {
        let impossible = |name: &str| {
            let text = format!("table `consents`, row {}: `{name}` holds a value that is none", row.id);
            DbError::from(diesel::result::Error::DeserializationError(text.into()))
        };
        Ok(Self {
            scopes: row.scope.parse().map_err(|_unknown| impossible("scope"))?,
            details: serde_json::from_str(&row.details).map_err(|_no_json| impossible("details"))?,
            id: row.id,
            account_id: row.account_id,
            orchestrator_id: row.orchestrator_id,
            client: row.client,
            client_digest: row.client_digest,
            resource: row.resource,
            log_in: LogIn { at: row.auth_time, acr: row.acr },
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
    }
}

/// `remembered`: nobody was asked for it, because others covered it.
pub(super) fn insert(conn: &mut DbConnection, consent: &Consent, remembered: bool) -> Result<(), DbError> {
    let details = serde_json::to_string(&consent.details)
        .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    diesel::insert_into(consents::table)
        .values((
            consents::id.eq(&consent.id),
            consents::account_id.eq(&consent.account_id),
            consents::orchestrator_id.eq(&consent.orchestrator_id),
            consents::client.eq(&consent.client),
            consents::client_digest.eq(&consent.client_digest),
            consents::resource.eq(&consent.resource),
            consents::scope.eq(consent.scopes.to_string()),
            consents::details.eq(details),
            consents::auth_time.eq(consent.log_in.at),
            consents::acr.eq(consent.log_in.acr.as_deref()),
            consents::created_at.eq(consent.created_at),
            consents::used_at.eq(consent.created_at),
            consents::remembered.eq(remembered),
        ))
        .execute(conn)?;
    Ok(())
}

/// With what its owner has not taken back since.
pub(super) fn by_id(conn: &mut DbConnection, id: &ConsentId) -> Result<Option<Consent>, DbError> {
    let row: Option<ConsentRow> = directly!(conn, |conn| consents::table.find(id).get_result(conn)).optional()?;
    let Some(row) = row else { return Ok(None) };
    let mut consent = Consent::try_from(row)?;
    let agent = (&consent.account_id, &consent.orchestrator_id, consent.client.as_str());
    consent.scopes = agent::narrowed(conn, agent, consent.scopes.clone())?;
    Ok(Some(consent))
}

/// Up to `limit` consents of an account after the one named `after`, in order, as they were given.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn consents_after(
    conn: &mut DbConnection,
    account: &AccountId,
    after: &str,
    limit: i64,
) -> Result<Vec<Consent>, DbError> {
    let rows: Vec<ConsentRow> = consents::table
        .filter(consents::account_id.eq(account))
        .filter(consents::id.gt(after))
        .order(consents::id)
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(Consent::try_from).collect()
}

/// What the humans of an account allowed clients, newest first, at most `limit`; also what was taken back.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn consents_of_account(conn: &mut DbConnection, account: &AccountId, limit: i64) -> Result<Vec<Consent>, DbError> {
    let rows: Vec<ConsentRow> =
        consents::table.filter(consents::account_id.eq(account)).order(consents::id.desc()).limit(limit).load(conn)?;
    rows.into_iter().map(Consent::try_from).collect()
}

/// What a client was allowed on an account since `since` and was not taken back, newest first.
pub(super) fn standing_of(
    conn: &mut DbConnection,
    (account, client, resource): (&AccountId, &str, &str),
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Consent>, DbError> {
    let rows: Vec<ConsentRow> = consents::table
        .filter(consents::account_id.eq(account))
        .filter(consents::client.eq(client.to_owned()))
        .filter(consents::resource.eq(resource.to_owned()))
        .filter(consents::revoked_at.is_null())
        .filter(consents::created_at.gt(since))
        .order(consents::id.desc())
        .limit(limit)
        .load(conn)?;
    rows.into_iter().map(Consent::try_from).collect()
}

/// Whether it stands; if so, its human has logged in as `log_in` says since.
pub(super) fn use_again(conn: &mut DbConnection, id: &ConsentId, log_in: &LogIn, now: Timestamp) -> QueryResult<bool> {
    let standing = consents::table.find(id).filter(consents::revoked_at.is_null());
    let changes =
        (consents::used_at.eq(now), consents::auth_time.eq(log_in.at), consents::acr.eq(log_in.acr.as_deref()));
    Ok(diesel::update(standing).set(changes).execute(conn)? == 1)
}

/// Whether it stands. Its row is locked: whoever takes it back at this moment waits for us, or we for them, so that no token
/// comes of a consent after it was taken back.
pub(super) fn use_it(conn: &mut DbConnection, id: &ConsentId, now: Timestamp) -> QueryResult<bool> {
    hot_store::use_consent(conn, id, now)
}

/// Takes it back; whose it was, if this call did it. Tokens end in the same transaction, and so does what the client was
/// given there without a question: it may rest on this one.
pub(super) fn revoke(conn: &mut DbConnection, id: &ConsentId, now: Timestamp) -> QueryResult<Option<AccountId>> {
    let standing = consents::table.find(id).filter(consents::revoked_at.is_null());
    let place: Option<(AccountId, String, String)> = diesel::update(standing)
        .set(consents::revoked_at.eq(Some(now)))
        .returning((consents::account_id, consents::client, consents::resource))
        .get_result(conn)
        .optional()?;
    let Some((account, client, resource)) = place else { return Ok(None) };
    let rests_on_it = consents::table
        .filter(consents::account_id.eq(&account))
        .filter(consents::client.eq(&client))
        .filter(consents::resource.eq(resource))
        .filter(consents::remembered.eq(true))
        .filter(consents::revoked_at.is_null());
    let mut ended: Vec<ConsentId> = diesel::update(rests_on_it)
        .set(consents::revoked_at.eq(Some(now)))
        .returning(consents::id)
        .get_results(conn)?;
    ended.push(id.clone());
    let ended: Vec<Option<&str>> = ended.iter().map(|id| Some(id.as_str())).collect();
    // Found by the agent: an index by consent would be one more that every token writes.
    let tokens = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq(&account))
        .filter(refresh_tokens::client.eq(&client))
        .filter(refresh_tokens::consent_id.eq_any(ended.clone()))
        .filter(refresh_tokens::revoked_at.is_null());
    diesel::update(tokens).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn)?;
    let of_it = grants::table
        .filter(grants::account_id.eq(&account))
        .filter(grants::client.eq(&client))
        .filter(grants::expires_at.gt(now.minus(CLOCKS_DIFFER)))
        .filter(grants::consent_id.eq_any(ended))
        .filter(grants::revoked_at.is_null());
    diesel::update(of_it).set(grants::revoked_at.eq(Some(now))).execute(conn)?;
    Ok(Some(account))
}

pub(super) fn living_of(conn: &mut DbConnection, client: &str, limit: i64) -> QueryResult<Vec<ConsentId>> {
    consents::table
        .filter(consents::client.eq(client.to_owned()))
        .filter(consents::revoked_at.is_null())
        .select(consents::id)
        .limit(limit)
        .load(conn)
}

pub(super) fn revoke_grants_of(conn: &mut DbConnection, client: &str, now: Timestamp) -> QueryResult<()> {
    let living = grants::table
        .filter(grants::client.eq(client.to_owned()))
        .filter(grants::expires_at.gt(now))
        .filter(grants::revoked_at.is_null());
    diesel::update(living).set(grants::revoked_at.eq(Some(now))).execute(conn).map(drop)
}
