//! The work of a distrust: one bounded piece after another, each in one transaction together with the progress. Whoever
//! finds it unfinished goes on, and several at once do no piece twice.

use std::time::Duration;

use serde_json::json;

use super::reach;
use super::scope::Scope;
use super::store::{self, ItemKind};
use crate::account::{self, Account, AccountState, FreezeError};
use crate::audit::{self, Fact};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, DistrustId};
use crate::orchestrator::{self, Depth, Distrust, Phase, WhoseDistrust};
use crate::payment::budget;
use crate::{authorization, login, resource};

/// How often a piece that met somebody else is tried again.
const TRIES: u32 = 20;
/// How long is waited before.
const PAUSE: Duration = Duration::from_millis(100);
/// The most unfinished distrusts that are looked at.
const AT_ONCE: i64 = 16;

/// How large the pieces are.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Accounts whose tokens die in one transaction.
    pub tokens: i64,
    /// Accounts whose things are held back in one transaction.
    pub accounts: i64,
    /// Resources in one transaction.
    pub resources: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tokens: 500, accounts: 50, resources: 200 }
    }
}

/// Why the work stopped. It goes on from where it is.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// There is no such distrust.
    #[error("there is no distrust `{0}`")]
    Unknown(DistrustId),
    /// An account could not be frozen.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for SweepError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Works until everything is done.
///
/// # Errors
/// See [`SweepError`].
pub async fn run(db: &Db, id: &DistrustId, bounds: Bounds, clock: &dyn Clock) -> Result<Distrust, SweepError> {
    let wanted = id.clone();
    let found = db.read(move |conn| orchestrator::distrust_by_id(conn, &wanted)).await?;
    let mut seen = found.ok_or_else(|| SweepError::Unknown(id.clone()))?;
    let mut tries = TRIES;
    while seen.finished_at.is_none() {
        match step(db, &seen, bounds, clock.now()).await {
            Ok(moved) => (seen, tries) = (moved, TRIES),
            // Somebody holds what it needs, or it and somebody else waited for each other. The piece was undone.
            Err(SweepError::Db(error)) if tries > 0 && passing(&error) => {
                tracing::warn!(distrust = %id, error = %error, "a piece is tried again");
                tries -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

fn passing(error: &DbError) -> bool {
    matches!(error, DbError::Busy | DbError::Query(diesel::result::Error::DatabaseError(..)))
}

/// Takes up what nobody finished. Answers how many distrusts were worked on.
///
/// # Errors
/// When the database fails.
pub async fn resume_unfinished(db: &Db, clock: &dyn Clock) -> Result<usize, SweepError> {
    let left = db.read(move |conn| orchestrator::unfinished_distrusts(conn, AT_ONCE)).await?;
    for one in &left {
        run(db, &one.id, Bounds::default(), clock).await?;
    }
    Ok(left.len())
}

/// One piece. Answers how it stands then, whoever did it.
///
/// # Errors
/// See [`SweepError`]; the piece was undone.
pub async fn step(db: &Db, seen: &Distrust, bounds: Bounds, now: Timestamp) -> Result<Distrust, SweepError> {
    let (lane, seen) = (seen.id.to_string(), seen.clone());
    db.write(&lane, move |conn| {
        match seen.phase {
            Phase::Tokens | Phase::Again => kill(conn, &seen, bounds, now)?,
            // In a transaction of its own: what it waits for may wait for what the others lock.
            Phase::Barrier => {
                if orchestrator::advance_distrust(conn, &seen, (Phase::Again, ""), now)? {
                    orchestrator::barrier(conn, &seen.orchestrator_id)?;
                }
            }
            Phase::Things => hold_back(conn, &seen, bounds, now)?,
            Phase::Done => {}
        }
        orchestrator::distrust_by_id(conn, &seen.id)?.ok_or_else(|| SweepError::Unknown(seen.id.clone()))
    })
    .await
}

/// Where the work goes from a page: on in this phase, or to the beginning of the next.
fn onward(seen: &Distrust, last: Option<&AccountId>, length: usize, limit: i64, next: Phase) -> (Phase, String) {
    match last {
        Some(last) if i64::try_from(length).is_ok_and(|length| length >= limit) => (seen.phase, last.to_string()),
        _ => (next, String::new()),
    }
}

/// Everything that the orchestrator holds for a page of accounts dies, and so do sessions that began since.
fn kill(conn: &mut DbConnection, seen: &Distrust, bounds: Bounds, now: Timestamp) -> Result<(), SweepError> {
    let page = store::accounts(conn, &Scope::from(seen), &seen.done_to, bounds.tokens)?;
    let next = match (seen.phase, seen.depth) {
        (Phase::Tokens, _) => Phase::Barrier,
        (_, Depth::Tokens) => Phase::Done,
        _ => Phase::Things,
    };
    let (phase, done_to) = onward(seen, page.last(), page.len(), bounds.tokens, next);
    if !orchestrator::advance_distrust(conn, seen, (phase, &done_to), now)? || page.is_empty() {
        return Ok(());
    }
    let whose = (&seen.orchestrator_id, page.as_slice());
    let first = authorization::withdraw(conn, whose, None, now)?;
    // Whoever was writing a token for one of them is waited for, and what they wrote dies as well.
    account::lock(conn, &page)?;
    let second = authorization::withdraw(conn, whose, None, now)?;
    let sessions = end_sessions(conn, seen, &page, now)?;
    if first.total() + second.total() + sessions == 0 {
        return Ok(());
    }
    let detail = json!({
        "accounts": page.len(), "from": page.first(), "to": page.last(),
        "tokens": first.grants + second.grants, "refresh_tokens": first.refresh_tokens + second.refresh_tokens,
        "codes": first.codes + second.codes, "consents": first.consents + second.consents, "questions": first.questions + second.questions, "sessions": sessions,
    });
    Ok(record(conn, seen, "distrust.tokens_ended", detail, now)?)
}

/// Sessions that began since end, with one exception: an event says nothing about the log-ins of somebody who claimed the
/// account. What agents of theirs were given links for ends there too.
fn end_sessions(
    conn: &mut DbConnection,
    seen: &Distrust,
    page: &[AccountId],
    now: Timestamp,
) -> Result<usize, SweepError> {
    if seen.is_the_operators() {
        return Ok(login::end_since(conn, page, seen.since, now)?);
    }
    let (mut claimed, mut others) = (Vec::new(), Vec::new());
    for id in page {
        let is_claimed = account::by_id(conn, id)?.is_some_and(|account| account.is_claimed());
        if is_claimed { claimed.push(id.clone()) } else { others.push(id.clone()) }
    }
    let by_link = store::end_by_link_since(conn, &claimed, seen.since, now)?;
    Ok(by_link + login::end_since(conn, &others, seen.since, now)?)
}

/// A page of accounts spends nothing through the orchestrator any more, and what was made since is held back.
fn hold_back(conn: &mut DbConnection, seen: &Distrust, bounds: Bounds, now: Timestamp) -> Result<(), SweepError> {
    // Says nothing new, and lets nobody else do this piece meanwhile.
    if !orchestrator::advance_distrust(conn, seen, (seen.phase, &seen.done_to), now)? {
        return Ok(());
    }
    let scope = Scope::from(seen);
    let page = reach::page(conn, &scope, &seen.done_to, bounds.accounts)?;
    // What is being bought is waited for; what is bought after this finds the spending stopped.
    account::lock(conn, &reach::ids(&page))?;
    if reach::page(conn, &scope, &seen.done_to, bounds.accounts)? != page {
        // While they were waited for, things went from one account to another: once more.
        return Ok(());
    }
    for id in &reach::own_ids(&page) {
        stop(conn, seen, id, now)?;
        if seen.depth >= Depth::Things {
            freeze(conn, seen, id, now)?;
        }
    }
    let mut left = false;
    if seen.depth >= Depth::Things {
        let made = reach::things(conn, (&scope, &page), seen.since, Some(&seen.id), bounds.resources)?;
        left = i64::try_from(made.len()).is_ok_and(|length| length >= bounds.resources);
        for (account, id) in &made {
            store::insert_item(conn, &seen.id, (ItemKind::Resource, account, id.as_str()), "free", now)?;
            resource::quarantine(conn, (account, id), &actor(seen), now)?;
        }
    }
    let last = page.last().map(|one| &one.account);
    let (phase, done_to) = onward(seen, last, page.len(), bounds.accounts, Phase::Done);
    if left {
        // The same page once more: what is held back by now is not found again.
        return Ok(());
    }
    orchestrator::advance_distrust(conn, seen, (phase, &done_to), now)?;
    if phase == Phase::Done {
        record(conn, seen, "distrust.finished", json!({}), now)?;
    }
    Ok(())
}

fn stop(conn: &mut DbConnection, seen: &Distrust, id: &AccountId, now: Timestamp) -> Result<(), SweepError> {
    let what = (ItemKind::Spending, id, seen.orchestrator_id.as_str());
    if store::has_item(conn, &seen.id, what)? {
        return Ok(());
    }
    store::insert_item(conn, &seen.id, what, "going", now)?;
    budget::stop_through(conn, (id, &seen.orchestrator_id), &actor(seen), now)?;
    Ok(())
}

/// An account that it opened since, or, when that is how far it goes, any that nobody claimed.
fn freeze(conn: &mut DbConnection, seen: &Distrust, id: &AccountId, now: Timestamp) -> Result<(), SweepError> {
    let what = (ItemKind::Account, id, id.as_str());
    let Some(account) = account::by_id(conn, id)? else { return Ok(()) };
    if !is_its_own(conn, seen, &account)? || store::has_item(conn, &seen.id, what)? {
        return Ok(());
    }
    let was = match account.state {
        AccountState::Frozen { .. } => store::held_as(conn, what)?,
        AccountState::Closed { .. } => None,
        state => Some(state.as_str().to_owned()),
    };
    // What the operator froze by other means stays so whatever becomes of this.
    let Some(was) = was else { return Ok(()) };
    store::insert_item(conn, &seen.id, what, &was, now)?;
    if account.state.is_usable() {
        account::freeze(conn, id, &actor(seen), "distrusted", now)?;
    }
    Ok(())
}

/// Whether the account is to be frozen.
pub(super) fn is_its_own(conn: &mut DbConnection, seen: &Distrust, account: &Account) -> Result<bool, DbError> {
    // What its human claimed is frozen by nobody but the operator.
    if account.opened_by != seen.orchestrator_id || (account.is_claimed() && !seen.is_the_operators()) {
        return Ok(false);
    }
    let unclaimed = seen.depth == Depth::Freeze && account.state == AccountState::Provisional;
    if !unclaimed && account.created_at < seen.since {
        return Ok(false);
    }
    match &seen.whose {
        WhoseDistrust::Key(key) => Ok(store::opened_by_key(conn, account, key)?),
        _ => Ok(true),
    }
}

/// Who is said to have done it.
pub(super) fn actor(distrust: &Distrust) -> String {
    format!("distrust:{}", distrust.id)
}

fn record(
    conn: &mut DbConnection,
    seen: &Distrust,
    action: &'static str,
    detail: serde_json::Value,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let fact = Fact { actor: actor(seen), action, account_id: None, subject: seen.id.to_string(), detail };
    audit::append(conn, &fact, now)
}
