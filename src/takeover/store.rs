//! The tables `distrust_items` and `precautions`, and which accounts are reached by whom.

use std::str::FromStr;

use diesel::IntoSql as _;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::precaution::Precautions;
use super::scope::{Scope, Whom};
use crate::account::Account;
use crate::clock::Timestamp;
use crate::db::schema::{
    account_requests, authorization_codes, brought_resources, budgets, consents, counters, deep_links, delegations,
    distrust_items, grants, identity_links, precautions, refresh_tokens, resources, sessions,
};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId, OrchestratorId};
use crate::login::Method;
use crate::money::{Amount, Currency};

/// What is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// A whole account, frozen.
    Account,
    /// An account's spending through the orchestrator.
    Spending,
    /// A resource.
    Resource,
}

/// A word that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of: account, spending, resource")]
pub struct UnknownKind(String);

impl ItemKind {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Spending => "spending",
            Self::Resource => "resource",
        }
    }
}

impl FromStr for ItemKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let all = [Self::Account, Self::Spending, Self::Resource];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// Something that a distrust holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What.
    pub kind: ItemKind,
    /// Whose.
    pub account_id: AccountId,
    /// The account, the orchestrator through which nothing is spent, or the resource.
    pub subject: String,
    /// How it was before.
    pub was: String,
    /// Since when.
    pub at: Timestamp,
    /// Since when not any more.
    pub restored_at: Option<Timestamp>,
}

type ItemRow = (String, AccountId, String, String, Timestamp, Option<Timestamp>);
type ItemColumns = (
    distrust_items::kind,
    distrust_items::account_id,
    distrust_items::subject,
    distrust_items::was,
    distrust_items::at,
    distrust_items::restored_at,
);

const ITEM: ItemColumns = (
    distrust_items::kind,
    distrust_items::account_id,
    distrust_items::subject,
    distrust_items::was,
    distrust_items::at,
    distrust_items::restored_at,
);

fn item((kind, account_id, subject, was, at, restored_at): ItemRow) -> Result<Item, DbError> {
    let kind = kind
        .parse()
        .map_err(|error: UnknownKind| DbError::from(diesel::result::Error::DeserializationError(error.into())))?;
    Ok(Item { kind, account_id, subject, was, at, restored_at })
}

/// What a distrust holds or held back, in the order of kind, account and subject; at most `limit`, after `after`.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn items(
    conn: &mut DbConnection,
    distrust: &DistrustId,
    after: Option<&Item>,
    limit: i64,
) -> Result<Vec<Item>, DbError> {
    let mut query = distrust_items::table
        .filter(distrust_items::distrust_id.eq(distrust))
        .order((distrust_items::kind, distrust_items::account_id, distrust_items::subject))
        .limit(limit)
        .select(ITEM)
        .into_boxed();
    if let Some(last) = after {
        let (kind, account, subject) = (last.kind.as_str(), last.account_id.as_str(), last.subject.as_str());
        let same_kind = distrust_items::kind.eq(kind);
        query = query.filter(
            distrust_items::kind.gt(kind).or(same_kind.and(
                distrust_items::account_id
                    .gt(account)
                    .or(distrust_items::account_id.eq(account).and(distrust_items::subject.gt(subject))),
            )),
        );
    }
    query.load::<ItemRow>(conn)?.into_iter().map(item).collect()
}

/// What a distrust holds or held back of one account, at most 1,000.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn items_of(conn: &mut DbConnection, distrust: &DistrustId, account: &AccountId) -> Result<Vec<Item>, DbError> {
    let rows: Vec<ItemRow> = distrust_items::table
        .filter(distrust_items::distrust_id.eq(distrust))
        .filter(distrust_items::account_id.eq(account))
        .order((distrust_items::kind, distrust_items::subject))
        .limit(1_000)
        .select(ITEM)
        .load(conn)?;
    rows.into_iter().map(item).collect()
}

/// The item of a distrust that names this resource or account.
///
/// # Errors
/// When the database fails or holds an impossible row.
pub fn find_item(
    conn: &mut DbConnection,
    distrust: &DistrustId,
    kind: ItemKind,
    subject: &str,
) -> Result<Option<Item>, DbError> {
    let row: Option<ItemRow> = distrust_items::table
        .filter(distrust_items::distrust_id.eq(distrust))
        .filter(distrust_items::kind.eq(kind.as_str()))
        .filter(distrust_items::subject.eq(subject))
        .select(ITEM)
        .first(conn)
        .optional()?;
    row.map(item).transpose()
}

pub(super) fn has_item(
    conn: &mut DbConnection,
    distrust: &DistrustId,
    (kind, account, subject): (ItemKind, &AccountId, &str),
) -> QueryResult<bool> {
    let found = distrust_items::table.find((distrust, kind.as_str(), account, subject));
    Ok(found.count().get_result::<i64>(conn)? > 0)
}

pub(super) fn insert_item(
    conn: &mut DbConnection,
    distrust: &DistrustId,
    (kind, account, subject): (ItemKind, &AccountId, &str),
    was: &str,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::insert_into(distrust_items::table)
        .values((
            distrust_items::distrust_id.eq(distrust),
            distrust_items::kind.eq(kind.as_str()),
            distrust_items::account_id.eq(account),
            distrust_items::subject.eq(subject),
            distrust_items::was.eq(was),
            distrust_items::at.eq(now),
        ))
        .execute(conn)
        .map(drop)
}

/// Whether this call gave it back.
pub(super) fn set_restored(
    conn: &mut DbConnection,
    distrust: &DistrustId,
    item: &Item,
    now: Timestamp,
) -> QueryResult<bool> {
    let held = distrust_items::table
        .find((distrust, item.kind.as_str(), &item.account_id, &item.subject))
        .filter(distrust_items::restored_at.is_null());
    Ok(diesel::update(held).set(distrust_items::restored_at.eq(Some(now))).execute(conn)? == 1)
}

/// How it was before some distrust that still holds it back.
pub(super) fn held_as(
    conn: &mut DbConnection,
    (kind, account, subject): (ItemKind, &AccountId, &str),
) -> QueryResult<Option<String>> {
    distrust_items::table
        .filter(distrust_items::account_id.eq(account))
        .filter(distrust_items::kind.eq(kind.as_str()))
        .filter(distrust_items::subject.eq(subject))
        .filter(distrust_items::restored_at.is_null())
        .order(distrust_items::distrust_id)
        .select(distrust_items::was)
        .first(conn)
        .optional()
}

/// Whether anything of the account is held back by any distrust.
pub(super) fn has_open_item(conn: &mut DbConnection, account: &AccountId) -> QueryResult<bool> {
    let held = distrust_items::table
        .filter(distrust_items::account_id.eq(account))
        .filter(distrust_items::restored_at.is_null());
    Ok(held.count().get_result::<i64>(conn)? > 0)
}

/// Whether an account is one of those of a scope.
pub(super) fn reaches(conn: &mut DbConnection, scope: &Scope, account: &AccountId) -> QueryResult<bool> {
    let orchestrator = &scope.orchestrator_id;
    let found: i64 = match &scope.whom {
        Whom::All => budgets::table.find((account, orchestrator)).count().get_result(conn)?,
        Whom::Key(key) => delegations::table
            .filter(delegations::orchestrator_id.eq(orchestrator))
            .filter(delegations::key_id.eq(key))
            .filter(delegations::account_id.eq(account))
            .filter(delegations::last_at.ge(scope.since.unwrap_or(Timestamp::from_seconds(0))))
            .count()
            .get_result(conn)?,
        Whom::Subject { tenant, subject } => {
            i64::from(reached_since(conn, (account, orchestrator), (tenant.as_deref(), subject))?.is_some())
        }
        Whom::Client(client) => grants::table
            .filter(grants::account_id.eq(account))
            .filter(grants::orchestrator_id.eq(orchestrator))
            .filter(grants::client.eq(client))
            .count()
            .get_result(conn)?,
    };
    Ok(found > 0)
}

/// Since when a person of an orchestrator has an account, by a link or by a word. `None`: they have not.
pub(super) fn reached_since(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    (tenant, subject): (Option<&str>, &str),
) -> QueryResult<Option<Timestamp>> {
    let mut links = identity_links::table
        .filter(identity_links::account_id.eq(account))
        .filter(identity_links::orchestrator_id.eq(orchestrator))
        .filter(identity_links::subject.eq(subject))
        .order(identity_links::created_at)
        .select(identity_links::created_at)
        .into_boxed();
    let mut words = delegations::table
        .filter(delegations::account_id.eq(account))
        .filter(delegations::orchestrator_id.eq(orchestrator))
        .filter(delegations::subject.eq(subject))
        .order(delegations::first_at)
        .select(delegations::first_at)
        .into_boxed();
    if let Some(tenant) = tenant {
        links = links.filter(identity_links::tenant.eq(tenant));
        words = words.filter(delegations::tenant.eq(tenant));
    }
    let linked: Option<Timestamp> = links.first(conn).optional()?;
    let attested: Option<Timestamp> = words.first(conn).optional()?;
    Ok(match (linked, attested) {
        (Some(linked), Some(attested)) => Some(linked.min(attested)),
        (linked, attested) => linked.or(attested),
    })
}

/// The accounts of a scope after the id `after`, in order, at most `limit`.
pub(super) fn accounts(
    conn: &mut DbConnection,
    scope: &Scope,
    after: &str,
    limit: i64,
) -> Result<Vec<AccountId>, DbError> {
    let orchestrator = &scope.orchestrator_id;
    let found = match &scope.whom {
        // Every link comes with a budget.
        Whom::All => budgets::table
            .filter(budgets::orchestrator_id.eq(orchestrator))
            .filter(budgets::account_id.gt(after))
            .order(budgets::account_id)
            .limit(limit)
            .select(budgets::account_id)
            .load(conn)?,
        Whom::Key(key) => delegations::table
            .filter(delegations::orchestrator_id.eq(orchestrator))
            .filter(delegations::key_id.eq(key))
            .filter(delegations::account_id.gt(after))
            .filter(delegations::last_at.ge(scope.since.unwrap_or(Timestamp::from_seconds(0))))
            .order(delegations::account_id)
            .distinct()
            .limit(limit)
            .select(delegations::account_id)
            .load(conn)?,
        Whom::Subject { tenant, subject } => of_person(conn, orchestrator, (tenant.as_deref(), subject), after, limit)?,
        Whom::Client(client) => grants::table
            .filter(grants::orchestrator_id.eq(orchestrator))
            .filter(grants::client.eq(client))
            .filter(grants::account_id.gt(after))
            .order(grants::account_id)
            .distinct()
            .limit(limit)
            .select(grants::account_id)
            .load(conn)?,
    };
    Ok(found)
}

/// Accounts after `after` to which things came from accounts of the scope, in order, at most `limit`: through one of its
/// keys or people.
pub(super) fn holders(conn: &mut DbConnection, scope: &Scope, after: &str, limit: i64) -> QueryResult<Vec<AccountId>> {
    let of = &scope.orchestrator_id;
    let brought = brought_resources::table
        .filter(brought_resources::orchestrator_id.eq(of))
        .filter(brought_resources::account_id.gt(after))
        .order(brought_resources::account_id)
        .distinct()
        .limit(limit)
        .select(brought_resources::account_id);
    match &scope.whom {
        // A budget came along: they are among its accounts.
        Whom::All | Whom::Client(_) => Ok(Vec::new()),
        Whom::Key(key) => {
            let signed = delegations::table
                .filter(delegations::orchestrator_id.eq(of))
                .filter(delegations::key_id.eq(key))
                .filter(delegations::last_at.ge(scope.since.unwrap_or(Timestamp::from_seconds(0))))
                .select(delegations::account_id);
            brought.filter(brought_resources::from_account.eq_any(signed)).load(conn)
        }
        Whom::Subject { tenant, subject } => {
            let (named, any) = (tenant.as_deref().unwrap_or_default(), tenant.is_none());
            let words = delegations::table
                .filter(delegations::orchestrator_id.eq(of))
                .filter(delegations::subject.eq(subject))
                .filter(delegations::tenant.eq(named).or(any.into_sql::<Bool>()))
                .select(delegations::account_id);
            let links = identity_links::table
                .filter(identity_links::orchestrator_id.eq(of))
                .filter(identity_links::subject.eq(subject))
                .filter(identity_links::tenant.eq(named).or(any.into_sql::<Bool>()))
                .select(identity_links::account_id);
            let from = brought_resources::from_account;
            brought.filter(from.eq_any(words).or(from.eq_any(links))).load(conn)
        }
    }
}

/// Accounts from which things came to this one through the orchestrator, at most 1,000.
pub(super) fn origins(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> QueryResult<Vec<AccountId>> {
    brought_resources::table
        .filter(brought_resources::account_id.eq(account))
        .filter(brought_resources::orchestrator_id.eq(orchestrator))
        .order(brought_resources::from_account)
        .distinct()
        .limit(1_000)
        .select(brought_resources::from_account)
        .load(conn)
}

/// Accounts to which a person is linked, or was attested for.
fn of_person(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    (tenant, subject): (Option<&str>, &str),
    after: &str,
    limit: i64,
) -> QueryResult<Vec<AccountId>> {
    let mut links = identity_links::table
        .filter(identity_links::orchestrator_id.eq(orchestrator))
        .filter(identity_links::subject.eq(subject))
        .filter(identity_links::account_id.gt(after))
        .order(identity_links::account_id)
        .distinct()
        .limit(limit)
        .select(identity_links::account_id)
        .into_boxed();
    let mut words = delegations::table
        .filter(delegations::orchestrator_id.eq(orchestrator))
        .filter(delegations::subject.eq(subject))
        .filter(delegations::account_id.gt(after))
        .order(delegations::account_id)
        .distinct()
        .limit(limit)
        .select(delegations::account_id)
        .into_boxed();
    if let Some(tenant) = tenant {
        links = links.filter(identity_links::tenant.eq(tenant));
        words = words.filter(delegations::tenant.eq(tenant));
    }
    let mut found: Vec<AccountId> = links.load(conn)?;
    found.extend(words.load::<AccountId>(conn)?);
    found.sort();
    found.dedup();
    found.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(found)
}

/// Whether a key's word opened the account.
pub(super) fn opened_by_key(conn: &mut DbConnection, account: &Account, key: &str) -> QueryResult<bool> {
    let word = delegations::table
        .filter(delegations::account_id.eq(&account.id))
        .filter(delegations::orchestrator_id.eq(&account.opened_by))
        .filter(delegations::key_id.eq(key))
        .filter(delegations::first_at.le(account.created_at));
    Ok(word.count().get_result::<i64>(conn)? > 0)
}

/// How many tokens, refresh tokens, codes, consents and open questions an orchestrator holds for these accounts now.
pub(super) fn tokens(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    accounts: &[AccountId],
    now: Timestamp,
) -> QueryResult<i64> {
    let questions: i64 = account_requests::table
        .filter(account_requests::account_id.eq_any(accounts))
        .filter(account_requests::orchestrator_id.eq(orchestrator))
        .filter(account_requests::state.eq("pending"))
        .filter(account_requests::expires_at.gt(now))
        .count()
        .get_result(conn)?;
    let allowed: i64 = consents::table
        .filter(consents::account_id.eq_any(accounts))
        .filter(consents::orchestrator_id.eq(orchestrator))
        .filter(consents::revoked_at.is_null())
        .count()
        .get_result(conn)?;
    Ok(bearers(conn, orchestrator, accounts, now)? + questions + allowed)
}

/// Tokens, refresh tokens and codes.
fn bearers(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    accounts: &[AccountId],
    now: Timestamp,
) -> QueryResult<i64> {
    let live: i64 = grants::table
        .filter(grants::account_id.eq_any(accounts))
        .filter(grants::orchestrator_id.eq(orchestrator))
        .filter(grants::revoked_at.is_null())
        .filter(grants::expires_at.gt(now))
        .count()
        .get_result(conn)?;
    let refresh: i64 = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq_any(accounts))
        .filter(refresh_tokens::orchestrator_id.eq(orchestrator))
        .filter(refresh_tokens::revoked_at.is_null())
        .filter(refresh_tokens::replaced_at.is_null())
        .filter(refresh_tokens::expires_at.gt(now))
        .count()
        .get_result(conn)?;
    let codes: i64 = authorization_codes::table
        .filter(authorization_codes::account_id.eq_any(accounts))
        .filter(authorization_codes::orchestrator_id.eq(orchestrator))
        .filter(authorization_codes::used_at.is_null())
        .filter(authorization_codes::expires_at.gt(now))
        .count()
        .get_result(conn)?;
    Ok(live + refresh + codes)
}

/// How many sessions of these accounts that began since then are open.
pub(super) fn sessions_since(
    conn: &mut DbConnection,
    accounts: &[AccountId],
    since: Timestamp,
    now: Timestamp,
) -> QueryResult<i64> {
    sessions::table
        .filter(sessions::account_id.eq_any(accounts))
        .filter(sessions::created_at.ge(since))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .count()
        .get_result(conn)
}

/// Ends what links of agents led to, and the links that nobody used: those since then. Answers how many.
pub(super) fn end_by_link_since(
    conn: &mut DbConnection,
    accounts: &[AccountId],
    since: Timestamp,
    now: Timestamp,
) -> QueryResult<usize> {
    let links = deep_links::table
        .filter(deep_links::account_id.eq_any(accounts))
        .filter(deep_links::created_at.ge(since))
        .filter(deep_links::used_at.is_null());
    let links = diesel::update(links).set(deep_links::used_at.eq(Some(now))).execute(conn)?;
    let open = sessions::table
        .filter(sessions::account_id.eq_any(accounts))
        .filter(sessions::method.eq(Method::DeepLink.as_str()))
        .filter(sessions::created_at.ge(since))
        .filter(sessions::ended_at.is_null());
    Ok(links + diesel::update(open).set(sessions::ended_at.eq(Some(now))).execute(conn)?)
}

/// How many resources an account has through the orchestrator that are not gone.
pub(super) fn resources_of(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> QueryResult<i64> {
    resources::table
        .filter(resources::account_id.eq(account))
        .filter(resources::orchestrator_id.eq(orchestrator))
        .filter(resources::state.ne_all(["removed", "failed"]))
        .count()
        .get_result(conn)
}

/// What was and is spent of an account through the orchestrator.
pub(super) struct Money {
    pub(super) currency: Currency,
    pub(super) held: i64,
    pub(super) spent: i64,
    /// What could still be spent in this period.
    pub(super) remaining: i64,
}

/// Of an account through the orchestrator. `None`: it has no budget there.
pub(super) fn money(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
    now: Timestamp,
) -> QueryResult<Option<Money>> {
    let budget: Option<(Currency, Amount, Option<Timestamp>)> = budgets::table
        .find((account, orchestrator))
        .select((budgets::currency, budgets::ceiling, budgets::stopped_at))
        .first(conn)
        .optional()?;
    let Some((currency, ceiling, stopped_at)) = budget else { return Ok(None) };
    // One for each month.
    let counted: Vec<(Amount, Amount, Timestamp)> = counters::table
        .filter(counters::account_id.eq(account))
        .filter(counters::kind.eq("budget"))
        .filter(counters::subject.eq(orchestrator.as_str()))
        .order(counters::period_start.desc())
        .limit(1_200)
        .select((counters::held, counters::spent, counters::period_end))
        .load(conn)?;
    let (mut held, mut spent, mut used) = (0_i64, 0_i64, 0_i64);
    for (one_held, one_spent, end) in counted {
        held = held.saturating_add(one_held.minor());
        spent = spent.saturating_add(one_spent.minor());
        if now < end {
            used = used.saturating_add(one_held.minor()).saturating_add(one_spent.minor());
        }
    }
    let remaining = if stopped_at.is_some() { 0 } else { ceiling.minor().saturating_sub(used).max(0) };
    Ok(Some(Money { currency, held, spent, remaining }))
}

pub(super) fn precautions(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> QueryResult<Precautions> {
    let found: Option<(Option<Timestamp>, Option<Timestamp>, Option<Timestamp>)> = precautions::table
        .find((account, orchestrator))
        .select((precautions::remove_after, precautions::write_after, precautions::cooling_until))
        .first(conn)
        .optional()?;
    let (remove_after, write_after, cooling_until) = found.unwrap_or_default();
    Ok(Precautions { remove_after, write_after, cooling_until })
}

/// What is asked of an account's people, by orchestrator.
pub(super) fn precautions_of(
    conn: &mut DbConnection,
    account: &AccountId,
) -> QueryResult<Vec<(OrchestratorId, Precautions)>> {
    type Row = (OrchestratorId, Option<Timestamp>, Option<Timestamp>, Option<Timestamp>);
    let rows: Vec<Row> = precautions::table
        .filter(precautions::account_id.eq(account))
        .order(precautions::orchestrator_id)
        .limit(1_000)
        .select((
            precautions::orchestrator_id,
            precautions::remove_after,
            precautions::write_after,
            precautions::cooling_until,
        ))
        .load(conn)?;
    let asked = |(orchestrator, remove_after, write_after, cooling_until)| {
        (orchestrator, Precautions { remove_after, write_after, cooling_until })
    };
    Ok(rows.into_iter().map(asked).collect())
}

pub(super) fn set_precautions(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    set: Precautions,
) -> QueryResult<()> {
    let values = (
        precautions::remove_after.eq(set.remove_after),
        precautions::write_after.eq(set.write_after),
        precautions::cooling_until.eq(set.cooling_until),
    );
    if diesel::update(precautions::table.find((account, orchestrator))).set(values).execute(conn)? == 1 {
        return Ok(());
    }
    diesel::insert_into(precautions::table)
        .values((
            precautions::account_id.eq(account),
            precautions::orchestrator_id.eq(orchestrator),
            values.0,
            values.1,
            values.2,
        ))
        .execute(conn)
        .map(drop)
}

/// Answers how many orchestrators had told of something.
pub(super) fn clear_precautions(conn: &mut DbConnection, account: &AccountId) -> QueryResult<usize> {
    diesel::delete(precautions::table.filter(precautions::account_id.eq(account))).execute(conn)
}
