//! The tables of log-ins: `deep_links`, `sessions`, `log_in_steps`, `upstream_links`, `passkeys`.

use diesel::prelude::*;

use super::passkey::KnownPasskey;
use super::session::{Authentication, NewSession, Stronger, UnknownMethod};
use super::step::{NewStep, Step, StepKind};
use crate::account;
use crate::clock::Timestamp;
use crate::db::schema::{accounts, deep_links, log_in_steps, passkeys, sessions, upstream_links};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, LogInStepId};
use crate::secret::SecretHash;

pub(super) fn insert_link(
    conn: &mut DbConnection,
    hash: &SecretHash,
    account: &AccountId,
    now: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<()> {
    let values = (
        deep_links::token_hash.eq(hash),
        deep_links::account_id.eq(account),
        deep_links::created_at.eq(now),
        deep_links::expires_at.eq(expires_at),
    );
    diesel::insert_into(deep_links::table).values(values).execute(conn).map(drop)
}

pub(super) fn link_is_usable(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let usable: i64 = deep_links::table
        .filter(deep_links::token_hash.eq(hash))
        .filter(deep_links::used_at.is_null())
        .filter(deep_links::expires_at.gt(now))
        .count()
        .get_result(conn)?;
    Ok(usable == 1)
}

/// Uses the link up: check and change in one statement, so that two cannot both win. The account is locked before, so
/// that whoever ends all that it has (a claim, "I did not start this") comes before, and the link is used up, or after, and
/// ends the session that begins with it.
pub(super) fn use_link(
    conn: &mut DbConnection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<AccountId>, DbError> {
    let of: Option<AccountId> = deep_links::table.find(hash).select(deep_links::account_id).first(conn).optional()?;
    let Some(of) = of else { return Ok(None) };
    if !locked_usable(conn, &of)? {
        return Ok(None);
    }
    let usable = deep_links::table
        .filter(deep_links::token_hash.eq(hash))
        .filter(deep_links::used_at.is_null())
        .filter(deep_links::expires_at.gt(now));
    let used = diesel::update(usable).set(deep_links::used_at.eq(now)).returning(deep_links::account_id);
    Ok(used.get_result(conn).optional()?)
}

pub(super) fn insert_session(
    conn: &mut DbConnection,
    new: &NewSession,
    now: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<()> {
    let values = (
        sessions::token_hash.eq(&new.hash),
        sessions::account_id.eq(&new.account),
        sessions::created_at.eq(now),
        sessions::expires_at.eq(expires_at),
        sessions::method.eq(new.authentication.method.as_str()),
        sessions::authenticated_at.eq(new.authentication.at),
    );
    diesel::insert_into(sessions::table).values(values).execute(conn).map(drop)
}

/// A session that goes on: whose, and how its human logged in.
pub(super) fn session(
    conn: &mut DbConnection,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<(AccountId, Authentication)>, DbError> {
    let found: Option<(AccountId, String, Timestamp)> = sessions::table
        .filter(sessions::token_hash.eq(hash))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .select((sessions::account_id, sessions::method, sessions::authenticated_at))
        .first(conn)
        .optional()?;
    let Some((account, method, at)) = found else { return Ok(None) };
    let method =
        method.parse().map_err(|error: UnknownMethod| diesel::result::Error::DeserializationError(Box::new(error)))?;
    Ok(Some((account, Authentication { method, at })))
}

pub(super) fn end_session(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<()> {
    let row = sessions::table.filter(sessions::token_hash.eq(hash)).filter(sessions::ended_at.is_null());
    diesel::update(row).set(sessions::ended_at.eq(now)).execute(conn).map(drop)
}

pub(super) fn insert_step(
    conn: &mut DbConnection,
    new: &NewStep,
    now: Timestamp,
    expires_at: Timestamp,
) -> QueryResult<()> {
    let values = (
        log_in_steps::id.eq(&new.id),
        log_in_steps::token_hash.eq(new.token.as_ref()),
        log_in_steps::kind.eq(new.kind.as_str()),
        log_in_steps::browser_hash.eq(&new.browser),
        log_in_steps::sealed_facts.eq(new.sealed_facts()),
        log_in_steps::created_at.eq(now),
        log_in_steps::expires_at.eq(expires_at),
    );
    diesel::insert_into(log_in_steps::table).values(values).execute(conn).map(drop)
}

type StepRow = (LogInStepId, SecretHash, Timestamp, Timestamp, String);

fn step_of((id, browser, created_at, expires_at, sealed_facts): StepRow) -> Step {
    Step { id, browser, created_at, expires_at, sealed_facts }
}

/// A step that waits, by its secret.
pub(super) fn step(
    conn: &mut DbConnection,
    token: &SecretHash,
    kind: StepKind,
    now: Timestamp,
) -> QueryResult<Option<Step>> {
    let found: Option<StepRow> = log_in_steps::table
        .filter(log_in_steps::token_hash.eq(token))
        .filter(log_in_steps::kind.eq(kind.as_str()))
        .filter(log_in_steps::used_at.is_null())
        .filter(log_in_steps::expires_at.gt(now))
        .select((
            log_in_steps::id,
            log_in_steps::browser_hash,
            log_in_steps::created_at,
            log_in_steps::expires_at,
            log_in_steps::sealed_facts,
        ))
        .first(conn)
        .optional()?;
    Ok(found.map(step_of))
}

/// A mail link that waits.
pub(super) fn step_by_id(conn: &mut DbConnection, id: &LogInStepId, now: Timestamp) -> QueryResult<Option<Step>> {
    let found: Option<StepRow> = log_in_steps::table
        .find(id)
        .filter(log_in_steps::kind.eq(StepKind::MailLink.as_str()))
        .filter(log_in_steps::used_at.is_null())
        .filter(log_in_steps::expires_at.gt(now))
        .select((
            log_in_steps::id,
            log_in_steps::browser_hash,
            log_in_steps::created_at,
            log_in_steps::expires_at,
            log_in_steps::sealed_facts,
        ))
        .first(conn)
        .optional()?;
    Ok(found.map(step_of))
}

/// Gives a mail link its secret; a secret from before no longer works.
pub(super) fn set_step_token(
    conn: &mut DbConnection,
    id: &LogInStepId,
    token: &SecretHash,
    now: Timestamp,
) -> QueryResult<bool> {
    let waits =
        log_in_steps::table.find(id).filter(log_in_steps::used_at.is_null()).filter(log_in_steps::expires_at.gt(now));
    Ok(diesel::update(waits).set(log_in_steps::token_hash.eq(Some(token))).execute(conn)? == 1)
}

/// Takes a step: check and change in one statement, so that two cannot both win.
pub(super) fn use_step(
    conn: &mut DbConnection,
    token: &SecretHash,
    kind: StepKind,
    now: Timestamp,
) -> QueryResult<bool> {
    let waits = log_in_steps::table
        .filter(log_in_steps::token_hash.eq(token))
        .filter(log_in_steps::kind.eq(kind.as_str()))
        .filter(log_in_steps::used_at.is_null())
        .filter(log_in_steps::expires_at.gt(now));
    Ok(diesel::update(waits).set(log_in_steps::used_at.eq(Some(now))).execute(conn)? == 1)
}

pub(super) fn delete_steps_before(conn: &mut DbConnection, before: Timestamp) -> QueryResult<usize> {
    diesel::delete(log_in_steps::table.filter(log_in_steps::expires_at.lt(before))).execute(conn)
}

/// The accounts that a person of the upstream issuer logged in to before.
pub(super) fn linked_upstream(
    conn: &mut DbConnection,
    issuer: &str,
    subject: &str,
    limit: i64,
) -> QueryResult<Vec<AccountId>> {
    upstream_links::table
        .filter(upstream_links::issuer.eq(issuer))
        .filter(upstream_links::subject.eq(subject))
        .order(upstream_links::account_id)
        .limit(limit)
        .select(upstream_links::account_id)
        .load(conn)
}

/// Whether the account belongs to another person of the issuer.
pub(super) fn is_anothers_upstream(
    conn: &mut DbConnection,
    account: &AccountId,
    issuer: &str,
    subject: &str,
) -> QueryResult<bool> {
    let others: i64 = upstream_links::table
        .filter(upstream_links::account_id.eq(account))
        .filter(upstream_links::issuer.eq(issuer))
        .filter(upstream_links::subject.ne(subject))
        .count()
        .get_result(conn)?;
    Ok(others > 0)
}

pub(super) fn has_upstream(conn: &mut DbConnection, account: &AccountId) -> QueryResult<bool> {
    let linked: i64 = upstream_links::table.filter(upstream_links::account_id.eq(account)).count().get_result(conn)?;
    Ok(linked > 0)
}

/// The ways in to the account that prove more than its mailbox; `None` when it has none.
pub(super) fn stronger(conn: &mut DbConnection, account: &AccountId) -> QueryResult<Option<Stronger>> {
    let upstream = has_upstream(conn, account)?;
    let keys: i64 = passkeys::table.filter(passkeys::account_id.eq(account)).count().get_result(conn)?;
    let passkey = keys > 0;
    Ok((passkey || upstream).then_some(Stronger { passkey, upstream }))
}

/// Remembers who logged in to the account.
pub(super) fn link_upstream(
    conn: &mut DbConnection,
    issuer: &str,
    subject: &str,
    account: &AccountId,
    now: Timestamp,
) -> QueryResult<()> {
    lock_account(conn, account)?;
    let linked: i64 = upstream_links::table.find((issuer, subject, account)).count().get_result(conn)?;
    if linked > 0 {
        return Ok(());
    }
    diesel::insert_into(upstream_links::table)
        .values((
            upstream_links::issuer.eq(issuer),
            upstream_links::subject.eq(subject),
            upstream_links::account_id.eq(account),
            upstream_links::created_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// The people of upstream issuers that an account knows, oldest first.
pub(super) fn upstream_links(
    conn: &mut DbConnection,
    account: &AccountId,
) -> QueryResult<Vec<(String, String, Timestamp)>> {
    upstream_links::table
        .filter(upstream_links::account_id.eq(account))
        .order(upstream_links::created_at)
        .limit(100)
        .select((upstream_links::issuer, upstream_links::subject, upstream_links::created_at))
        .load(conn)
}

/// A session, without its secret or the hash of it.
#[derive(Debug, Clone, Queryable)]
pub struct KnownSession {
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
    /// How its human proved who they are.
    pub method: String,
    /// When.
    pub authenticated_at: Timestamp,
}

pub(super) fn sessions_of(
    conn: &mut DbConnection,
    account: &AccountId,
    (skip, limit): (i64, i64),
) -> QueryResult<Vec<KnownSession>> {
    sessions::table
        .filter(sessions::account_id.eq(account))
        .order((sessions::created_at, sessions::token_hash))
        .offset(skip)
        .limit(limit)
        .select((
            sessions::created_at,
            sessions::expires_at,
            sessions::ended_at,
            sessions::method,
            sessions::authenticated_at,
        ))
        .load(conn)
}

/// A write that changes nothing, so that whoever changes this account's ways in waits for the others.
pub(super) fn lock_account(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    diesel::update(accounts::table.find(account))
        .set(accounts::changed_at.eq(accounts::changed_at))
        .execute(conn)
        .map(drop)
}

/// Locks the account before a session of it begins. `false`: it cannot be used.
pub(super) fn locked_usable(conn: &mut DbConnection, account: &AccountId) -> Result<bool, DbError> {
    lock_account(conn, account)?;
    Ok(account::by_id(conn, account)?.is_some_and(|account| account.state.is_usable()))
}

pub(super) fn passkeys(conn: &mut DbConnection, account: &AccountId) -> QueryResult<Vec<KnownPasskey>> {
    let rows: Vec<(String, String, Timestamp, Option<Timestamp>)> = passkeys::table
        .filter(passkeys::account_id.eq(account))
        .order((passkeys::created_at, passkeys::credential_id))
        .limit(100)
        .select((passkeys::credential_id, passkeys::name, passkeys::created_at, passkeys::used_at))
        .load(conn)?;
    let known = rows.into_iter().map(|(credential_id, name, created_at, used_at)| KnownPasskey {
        credential_id,
        name,
        created_at,
        used_at,
    });
    Ok(known.collect())
}

pub(super) fn passkey(conn: &mut DbConnection, id: &str) -> QueryResult<Option<(AccountId, String)>> {
    passkeys::table.find(id).select((passkeys::account_id, passkeys::credential)).first(conn).optional()
}

pub(super) fn insert_passkey(
    conn: &mut DbConnection,
    account: &AccountId,
    (id, name, credential): (&str, &str, &str),
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(passkeys::table)
        .values((
            passkeys::credential_id.eq(id),
            passkeys::account_id.eq(account),
            passkeys::name.eq(name),
            passkeys::credential.eq(credential),
            passkeys::created_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Whether the passkey is (still) there; keeps when it was used, and what of it changed.
pub(super) fn use_passkey(
    conn: &mut DbConnection,
    id: &str,
    changed: Option<&str>,
    now: Timestamp,
) -> QueryResult<bool> {
    let row = passkeys::table.find(id);
    let used = match changed {
        Some(text) => {
            diesel::update(row).set((passkeys::used_at.eq(Some(now)), passkeys::credential.eq(text))).execute(conn)?
        }
        None => diesel::update(row).set(passkeys::used_at.eq(Some(now))).execute(conn)?,
    };
    Ok(used == 1)
}

/// The name of the passkey that was removed.
pub(super) fn delete_passkey(conn: &mut DbConnection, account: &AccountId, id: &str) -> QueryResult<Option<String>> {
    let name: Option<String> = passkeys::table
        .find(id)
        .filter(passkeys::account_id.eq(account))
        .select(passkeys::name)
        .first(conn)
        .optional()?;
    let row = passkeys::table.find(id).filter(passkeys::account_id.eq(account));
    let gone = diesel::delete(row).execute(conn)? == 1;
    Ok(name.filter(|_| gone))
}
