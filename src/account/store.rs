//! The tables of accounts: `accounts`, `identity_links`, `email_owners`, `assertion_uses`, and the first row of `budgets`.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{Account, AccountState};
use crate::attestation::{CanonicalEmail, EmailTrust};
use crate::clock::Timestamp;
use crate::db::schema::{accounts, assertion_uses, budgets, delegations, email_owners, identity_links};
use crate::db::{DbConnection, DbError, directly, prepared};
use crate::ids::{AccountId, OrchestratorId};
use crate::money::{Amount, Currency};
use crate::orchestrator::Statement;

/// Written where an account has no address.
pub(super) const NO_EMAIL: &str = "none";

#[derive(Queryable)]
struct Row {
    id: AccountId,
    state: String,
    opened_by: OrchestratorId,
    email: Option<String>,
    _email_index: Option<String>,
    _email_skeleton: Option<String>,
    email_trust: String,
    created_at: Timestamp,
    changed_at: Timestamp,
    spending_stopped_at: Option<Timestamp>,
}

impl TryFrom<Row> for Account {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let impossible = |name: &str| {
            let text = format!("table `accounts`, row {}: `{name}` holds a value that is none", row.id);
            DbError::from(diesel::result::Error::DeserializationError(text.into()))
        };
        let state = AccountState::from_row(&row.state, row.changed_at).ok_or_else(|| impossible("state"))?;
        let email_trust = match row.email_trust.as_str() {
            NO_EMAIL => None,
            word => Some(word.parse().map_err(|_unknown| impossible("email_trust"))?),
        };
        Ok(Self {
            id: row.id,
            state,
            opened_by: row.opened_by,
            email: row.email,
            email_trust,
            created_at: row.created_at,
            spending_stopped_at: row.spending_stopped_at,
        })
    }
}

/// The account with this id.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_id(conn: &mut DbConnection, id: &AccountId) -> Result<Option<Account>, DbError> {
    let row: Option<Row> = directly!(conn, |conn| accounts::table.find(id).get_result(conn)).optional()?;
    row.map(Account::try_from).transpose()
}

/// The account that a person of an orchestrator is linked to, and what its owner allowed, as it was written with the link.
pub(super) fn link_of(
    conn: &mut DbConnection,
    (orchestrator_id, tenant, subject): (&OrchestratorId, &str, &str),
) -> Result<Option<(Account, Option<String>)>, DbError> {
    let link = identity_links::table.find((orchestrator_id, tenant, subject));
    let account = link.inner_join(accounts::table).select((accounts::all_columns, identity_links::scopes));
    let row: Option<(Row, Option<String>)> = directly!(conn, |conn| account.get_result(conn)).optional()?;
    row.map(|(row, scopes)| Ok((Account::try_from(row)?, scopes))).transpose()
}

/// The account that a person of an orchestrator is linked to. The only way from an attestation to an account.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn by_link(
    conn: &mut DbConnection,
    orchestrator_id: &OrchestratorId,
    tenant: &str,
    subject: &str,
) -> Result<Option<Account>, DbError> {
    Ok(link_of(conn, (orchestrator_id, tenant, subject))?.map(|(account, _)| account))
}

/// The account whose own this canonical address is.
pub(super) fn by_email_owner(conn: &mut DbConnection, index: &str) -> Result<Option<Account>, DbError> {
    let owner = email_owners::table.filter(email_owners::email_index.eq(index)).select(email_owners::account_id);
    let row: Option<Row> = accounts::table.filter(accounts::id.eq_any(owner)).first(conn).optional()?;
    row.map(Account::try_from).transpose()
}

/// The oldest account with this canonical address.
pub(super) fn first_with_email(conn: &mut DbConnection, index: &str) -> QueryResult<Option<AccountId>> {
    accounts::table
        .filter(accounts::email_index.eq(index))
        .order(accounts::id)
        .select(accounts::id)
        .first(conn)
        .optional()
}

/// Whether any account with this canonical address is linked to the orchestrator.
pub(super) fn has_email_linked_to(
    conn: &mut DbConnection,
    index: &str,
    orchestrator_id: &OrchestratorId,
) -> QueryResult<bool> {
    let found: Option<AccountId> = identity_links::table
        .inner_join(accounts::table)
        .filter(accounts::email_index.eq(index))
        .filter(identity_links::orchestrator_id.eq(orchestrator_id))
        .select(accounts::id)
        .first(conn)
        .optional()?;
    Ok(found.is_some())
}

/// The orchestrators through which the account is reached; at most 64.
///
/// # Errors
/// When the database fails.
pub fn linked_orchestrators(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<OrchestratorId>, DbError> {
    Ok(identity_links::table
        .filter(identity_links::account_id.eq(account))
        .select(identity_links::orchestrator_id)
        .distinct()
        .limit(64)
        .load(conn)?)
}

/// Whether another address looks like this one.
pub(super) fn has_look_alike(conn: &mut DbConnection, skeleton: &str, index: &str) -> QueryResult<bool> {
    let found: Option<AccountId> = accounts::table
        .filter(accounts::email_skeleton.eq(skeleton))
        .filter(accounts::email_index.ne(index))
        .select(accounts::id)
        .first(conn)
        .optional()?;
    Ok(found.is_some())
}

#[derive(Insertable)]
#[diesel(table_name = accounts)]
pub(super) struct NewAccount<'a> {
    pub(super) id: &'a AccountId,
    pub(super) state: &'a str,
    pub(super) opened_by: &'a OrchestratorId,
    pub(super) email: Option<&'a str>,
    pub(super) email_index: Option<&'a str>,
    pub(super) email_skeleton: Option<&'a str>,
    pub(super) email_trust: &'a str,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
}

impl<'a> NewAccount<'a> {
    pub(super) fn provisional(id: &'a AccountId, opened_by: &'a OrchestratorId, now: Timestamp) -> Self {
        Self {
            id,
            state: AccountState::Provisional.as_str(),
            opened_by,
            email: None,
            email_index: None,
            email_skeleton: None,
            email_trust: NO_EMAIL,
            created_at: now,
            changed_at: now,
        }
    }

    pub(super) fn insert(&self, conn: &mut DbConnection) -> QueryResult<()> {
        diesel::insert_into(accounts::table).values(self).execute(conn).map(drop)
    }
}

pub(super) fn insert_link(
    conn: &mut DbConnection,
    (orchestrator_id, tenant, subject): (&OrchestratorId, &str, &str),
    (account_id, scopes): (&AccountId, Option<&str>),
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(identity_links::table)
        .values((
            identity_links::orchestrator_id.eq(orchestrator_id),
            identity_links::tenant.eq(tenant),
            identity_links::subject.eq(subject),
            identity_links::account_id.eq(account_id),
            identity_links::created_at.eq(now),
            identity_links::scopes.eq(scopes),
        ))
        .execute(conn)
        .map(drop)
}

/// What the owner of the account allowed a person's orchestrator, as it was written. `None`: there is no link, or nobody
/// was asked.
///
/// # Errors
/// When the database fails.
pub fn allowed(
    conn: &mut DbConnection,
    (orchestrator_id, tenant, subject): (&OrchestratorId, &str, &str),
) -> Result<Option<String>, DbError> {
    let link = identity_links::table.find((orchestrator_id, tenant, subject)).select(identity_links::scopes);
    Ok(directly!(conn, |conn| link.get_result::<Option<String>>(conn)).optional()?.flatten())
}

pub(super) fn set_allowed(
    conn: &mut DbConnection,
    person: (&OrchestratorId, &str, &str),
    scopes: &str,
) -> QueryResult<()> {
    diesel::update(identity_links::table.find(person)).set(identity_links::scopes.eq(scopes)).execute(conn).map(drop)
}

pub(super) fn insert_email_owner(
    conn: &mut DbConnection,
    index: &str,
    account_id: &AccountId,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(email_owners::table)
        .values((
            email_owners::email_index.eq(index),
            email_owners::account_id.eq(account_id),
            email_owners::claimed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

pub(super) fn insert_budget(
    conn: &mut DbConnection,
    (account_id, orchestrator_id): (&AccountId, &OrchestratorId),
    (currency, ceiling): (Currency, Amount),
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(budgets::table)
        .values((
            budgets::account_id.eq(account_id),
            budgets::orchestrator_id.eq(orchestrator_id),
            budgets::currency.eq(currency),
            budgets::ceiling.eq(ceiling),
            budgets::changed_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Whether the account has a budget at the orchestrator.
pub(super) fn has_budget(
    conn: &mut DbConnection,
    account_id: &AccountId,
    orchestrator_id: &OrchestratorId,
) -> QueryResult<bool> {
    let count: i64 = budgets::table.find((account_id, orchestrator_id)).count().get_result(conn)?;
    Ok(count > 0)
}

/// Whether the account was `from` and is `to` now.
pub(super) fn change_state(
    conn: &mut DbConnection,
    id: &AccountId,
    from: AccountState,
    to: AccountState,
    now: Timestamp,
) -> QueryResult<bool> {
    let changed = diesel::update(accounts::table.find(id).filter(accounts::state.eq(from.as_str())))
        .set((accounts::state.eq(to.as_str()), accounts::changed_at.eq(now)))
        .execute(conn)?;
    Ok(changed == 1)
}

/// That an assertion was used, by whom, and what was answered.
#[derive(Queryable, Insertable)]
#[diesel(table_name = assertion_uses)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct UseRow {
    pub(super) orchestrator_id: OrchestratorId,
    pub(super) assertion_key: String,
    pub(super) assertion_hash: String,
    pub(super) request_hash: String,
    pub(super) sealed_answer: String,
    pub(super) used_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl UseRow {
    /// Whether this call did it; else the assertion was used before.
    pub(super) fn insert(&self, conn: &mut DbConnection) -> QueryResult<bool> {
        let new = diesel::insert_into(assertion_uses::table).values(self).on_conflict_do_nothing();
        Ok(directly!(conn, |conn| new.execute(conn))? == 1)
    }
}

pub(super) fn find_use(conn: &mut DbConnection, of: &OrchestratorId, key: &str) -> QueryResult<Option<UseRow>> {
    directly!(conn, |conn| assertion_uses::table.find((of, key)).get_result(conn)).optional()
}

pub(super) fn delete_uses_before(conn: &mut DbConnection, now: Timestamp) -> QueryResult<usize> {
    diesel::delete(assertion_uses::table.filter(assertion_uses::expires_at.lt(now))).execute(conn)
}

/// The (tenant, subject) pairs by which an orchestrator knows the owner of an account.
///
/// # Errors
/// When the database fails.
pub fn subjects(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> Result<Vec<(String, String)>, DbError> {
    let links = identity_links::table
        .filter(identity_links::account_id.eq(account))
        .filter(identity_links::orchestrator_id.eq(orchestrator))
        .limit(100)
        .select((identity_links::tenant, identity_links::subject));
    Ok(directly!(conn, |conn| links.load(conn))?)
}

/// Ids of accounts after `after`, in order, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn ids_after(conn: &mut DbConnection, after: Option<&AccountId>, limit: i64) -> Result<Vec<AccountId>, DbError> {
    let mut query = accounts::table.select(accounts::id).order(accounts::id).limit(limit).into_boxed();
    if let Some(after) = after {
        query = query.filter(accounts::id.gt(after.as_str()));
    }
    Ok(query.load(conn)?)
}

/// A write that changes nothing: whoever changes what hangs on the account waits here for the others.
pub(super) fn lock_account(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    // SQLite has one writer, and this is a part of what it does.
    let DbConnection::Postgres(conn) = conn else { return Ok(()) };
    LockAccount { id: account }.execute(conn).map(drop)
}

prepared! {
    /// A write that changes nothing.
    LockAccount:
    "UPDATE accounts SET changed_at = changed_at WHERE id = " (id: AccountId as Text)
}

prepared! {
    /// That a word was taken again.
    Redelegate:
    "UPDATE delegations SET last_at = " (now: Timestamp as BigInt)
    " WHERE orchestrator_id = " (orchestrator: OrchestratorId as Text)
    " AND key_id = " (key: str as Text)
    " AND tenant = " (tenant: str as Text)
    " AND subject = " (subject: str as Text)
    " AND account_id = " (account: AccountId as Text)
}

/// Accounts in a state, the longest first, at most `limit`.
pub(super) fn in_state(
    conn: &mut DbConnection,
    state: &str,
    after: Option<&AccountId>,
    limit: i64,
) -> QueryResult<Vec<AccountId>> {
    let after = after.map(ToString::to_string).unwrap_or_default();
    let found = accounts::table.filter(accounts::state.eq(state.to_owned())).filter(accounts::id.gt(after));
    found.order(accounts::id).select(accounts::id).limit(limit).load(conn)
}

/// Nobody is found by the account's address any more, and nobody is written to.
pub(super) fn forget_address(conn: &mut DbConnection, account: &AccountId) -> QueryResult<()> {
    diesel::delete(email_owners::table.filter(email_owners::account_id.eq(account))).execute(conn)?;
    diesel::update(accounts::table.find(account))
        .set((
            accounts::email.eq(None::<String>),
            accounts::email_index.eq(None::<String>),
            accounts::email_skeleton.eq(None::<String>),
            accounts::email_trust.eq(NO_EMAIL),
        ))
        .execute(conn)
        .map(drop)
}

/// Deletes links of accounts that were closed before `end`, at most `limit`.
pub(super) fn delete_links_closed_before(conn: &mut DbConnection, end: Timestamp, limit: i64) -> QueryResult<usize> {
    let old =
        accounts::table.filter(accounts::state.eq("closed")).filter(accounts::changed_at.lt(end)).select(accounts::id);
    let linked: Vec<AccountId> = identity_links::table
        .filter(identity_links::account_id.eq_any(old))
        .select(identity_links::account_id)
        .limit(limit)
        .load(conn)?;
    diesel::delete(identity_links::table.filter(identity_links::account_id.eq_any(linked))).execute(conn)
}

/// By which name an orchestrator knows the owner of an account.
#[derive(Debug, Clone, Queryable)]
pub struct IdentityLink {
    /// Who knows them.
    pub orchestrator_id: OrchestratorId,
    /// In which of its tenants.
    pub tenant: String,
    /// By which name.
    pub subject: String,
    /// Since when.
    pub created_at: Timestamp,
    /// What the owner allowed when they were asked, as it was written.
    pub scopes: Option<String>,
}

/// The links of an account, at most 1,000.
///
/// # Errors
/// When the database fails.
pub fn links_of(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<IdentityLink>, DbError> {
    Ok(identity_links::table
        .filter(identity_links::account_id.eq(account))
        .order((identity_links::created_at, identity_links::subject))
        .limit(1_000)
        .select((
            identity_links::orchestrator_id,
            identity_links::tenant,
            identity_links::subject,
            identity_links::created_at,
            identity_links::scopes,
        ))
        .load(conn)?)
}

/// Remembers who attested whom, with which key, for which account; and when first and last.
pub(super) fn note_delegation(
    conn: &mut DbConnection,
    statement: &Statement<'_>,
    account: &AccountId,
    now: Timestamp,
) -> QueryResult<()> {
    let key = statement.key.unwrap_or("");
    let again = Redelegate {
        now: &now,
        orchestrator: statement.orchestrator,
        key,
        tenant: statement.tenant,
        subject: statement.subject,
        account,
    };
    if directly!(conn, |conn| again.execute(conn))? == 1 {
        return Ok(());
    }
    diesel::insert_into(delegations::table)
        .values((
            delegations::orchestrator_id.eq(statement.orchestrator),
            delegations::key_id.eq(key),
            delegations::tenant.eq(statement.tenant),
            delegations::subject.eq(statement.subject),
            delegations::account_id.eq(account),
            delegations::first_at.eq(now),
            delegations::last_at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Keeps everybody from writing anything for these accounts until this transaction is done, and waits for those who do.
/// SQLite has one writer.
///
/// # Errors
/// When the database fails, or it took longer than a lock may be waited for.
pub fn lock(conn: &mut DbConnection, ids: &[AccountId]) -> Result<(), DbError> {
    let DbConnection::Postgres(conn) = conn else { return Ok(()) };
    let rows = accounts::table.filter(accounts::id.eq_any(ids)).order(accounts::id).select(accounts::id);
    Ok(rows.for_update().load::<AccountId>(conn).map(drop)?)
}

/// Accounts with this address, in its one spelling, that are linked to the orchestrator: oldest first, at most 32.
///
/// # Errors
/// When the database fails.
pub fn with_email_through(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    email: &str,
) -> Result<Vec<AccountId>, DbError> {
    let same: Vec<AccountId> = with_address(conn, email, 32)?.into_iter().map(|account| account.id).collect();
    let linked: Vec<AccountId> = identity_links::table
        .filter(identity_links::account_id.eq_any(&same))
        .filter(identity_links::orchestrator_id.eq(orchestrator))
        .select(identity_links::account_id)
        .distinct()
        .load(conn)?;
    Ok(same.into_iter().filter(|id| linked.contains(id)).collect())
}

/// The account's address is not trusted any more; `forever`: it never again leads anybody here. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn distrust_email(conn: &mut DbConnection, id: &AccountId, forever: bool) -> Result<(), DbError> {
    let with_address = accounts::table.find(id).filter(accounts::email.is_not_null());
    diesel::update(with_address).set(accounts::email_trust.eq("unverified")).execute(conn)?;
    diesel::delete(email_owners::table.filter(email_owners::account_id.eq(id))).execute(conn)?;
    if forever {
        let nothing = (accounts::email_index.eq(None::<&str>), accounts::email_skeleton.eq(None::<&str>));
        diesel::update(accounts::table.find(id)).set(nothing).execute(conn)?;
    }
    Ok(())
}

/// Accounts that were frozen or closed after `since`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn unusable_since(conn: &mut DbConnection, since: Timestamp, limit: i64) -> Result<Vec<AccountId>, DbError> {
    Ok(accounts::table
        .filter(accounts::state.eq_any(["frozen", "closing", "closed"]))
        .filter(accounts::changed_at.gt(since))
        .select(accounts::id)
        .limit(limit)
        .load(conn)?)
}

/// The oldest accounts with this canonical address, at most `limit`: for whoever proved that the address is theirs, never
/// for anybody's word about it.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn with_address(conn: &mut DbConnection, index: &str, limit: i64) -> Result<Vec<Account>, DbError> {
    let rows: Vec<Row> =
        accounts::table.filter(accounts::email_index.eq(index)).order(accounts::id).limit(limit).load(conn)?;
    rows.into_iter().map(Account::try_from).collect()
}

/// The canonical address by which the account is found, and whose mailbox opens it. `None`: there is none (any more),
/// whatever address it shows.
///
/// # Errors
/// When the database fails.
pub fn mailbox(conn: &mut DbConnection, id: &AccountId) -> Result<Option<String>, DbError> {
    let index: Option<Option<String>> =
        accounts::table.find(id).select(accounts::email_index).first(conn).optional()?;
    Ok(index.flatten())
}

/// The canonical address at which the account's human is told of things: its mailbox, or else the one that it only shows, as
/// long as an issuer vouches for that. One that became somebody else's is none.
///
/// # Errors
/// When the database fails.
pub fn reached_at(conn: &mut DbConnection, account: &Account) -> Result<Option<String>, DbError> {
    if let Some(mailbox) = mailbox(conn, &account.id)? {
        return Ok(Some(mailbox));
    }
    let vouched_for = account.email_trust.is_some_and(|trust| trust != EmailTrust::Unverified);
    let shown = account.email.as_deref().filter(|_| vouched_for);
    Ok(shown.and_then(|shown| shown.parse::<CanonicalEmail>().ok()).map(|address| address.as_str().to_owned()))
}
