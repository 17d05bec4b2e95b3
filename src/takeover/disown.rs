//! "I did not start this": whoever reads the mail of an account that an agent opened says that nobody asked for it. It only
//! ever takes power away, needs no log-in, and may be said twice. The link is over once the account is somebody's who never
//! read that mailbox, has another address, or was taken back by its owner: then who presses it has no say (any more).

use serde_json::json;

use super::case::{self, Case, CaseKind, CloseError};
use super::disown_store;
use crate::account::{self, Account, AccountState};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId};
use crate::login::{self, NotMineLink};
use crate::orchestrator::security_event::{self, AccountEvent};
use crate::orchestrator::{self, BeginError, Depth, NewDistrust, WhoseDistrust};
use crate::outbox;
use crate::payment::budget::{self, ChangeBudgetError, ResumedBy};

/// Who is said to have done it: a mailbox proves no more than that somebody reads it.
const MAIL: &str = "mail";
/// Who closes a case by taking the account back.
pub(super) const OWNER: &str = "owner";

/// Why a link does nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkOver {
    /// The account is closed: there is nothing left to stop.
    #[error("the account is closed")]
    Closed,
    /// Since the mail was written, somebody claimed the account who did not prove to read this mailbox.
    #[error("the account was claimed by somebody who did not prove to read this mailbox")]
    Claimed,
    /// The account does not have this address (any more).
    #[error("the account does not have the address of the mail any more")]
    OtherAddress,
    /// It was pressed, and the account's owner logged in and took the account back.
    #[error("the owner of the account took it back")]
    TakenBack,
}

/// Whether, and why, a link does nothing any more.
///
/// # Errors
/// When the database fails.
pub fn link_over(conn: &mut DbConnection, account: &Account, link: &NotMineLink) -> Result<Option<LinkOver>, DbError> {
    if matches!(account.state, AccountState::Closed { .. }) {
        return Ok(Some(LinkOver::Closed));
    }
    let claimed = account::claimed_without_mailbox_at(conn, &account.id)?;
    if claimed.is_some_and(|claimed| link.written_at <= claimed) {
        return Ok(Some(LinkOver::Claimed));
    }
    if !account::reached_at(conn, account)?.is_some_and(|address| link.is_of(&address)) {
        return Ok(Some(LinkOver::OtherAddress));
    }
    let over = disown_store::was_taken_back(conn, &account.id, link.written_at)?;
    Ok(over.then_some(LinkOver::TakenBack))
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disowned {
    /// The case: a new one, or the one that was open.
    pub case: Case,
    /// What was begun and is to be finished: see [`super::run`].
    pub begun: Vec<DistrustId>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum DisownError {
    /// There is no such account.
    #[error("there is no account `{0}`")]
    Unknown(AccountId),
    /// The link does nothing any more.
    #[error(transparent)]
    Over(#[from] LinkOver),
    /// A distrust did not begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Spending did not stop.
    #[error(transparent)]
    Budget(#[from] ChangeBudgetError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for DisownError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Stops the account's spending, ends what agents may do with it, opens a case, and tells its orchestrators. Of an account
/// that nobody claimed everything is held back and it freezes; a claimed one runs on, and its owner may undo it by logging
/// in. Call it inside `Db::write`.
///
/// # Errors
/// See [`DisownError`]; the transaction must then be undone.
pub fn disown(conn: &mut DbConnection, link: &NotMineLink, now: Timestamp) -> Result<Disowned, DisownError> {
    let id = &link.account;
    // Whoever buys or gets a token at this moment is waited for, and whoever says the same is second.
    account::lock(conn, std::slice::from_ref(id))?;
    let account = account::by_id(conn, id)?.ok_or_else(|| DisownError::Unknown(id.clone()))?;
    if let Some(over) = link_over(conn, &account, link)? {
        return Err(over.into());
    }
    budget::stop_spending(conn, id, "mail", now)?;
    let (case, new) = case::open(conn, id, (CaseKind::NotStarted, MAIL), now)?;
    if !new {
        return Ok(Disowned { case, begun: Vec::new() });
    }
    login::end_since(conn, std::slice::from_ref(id), Timestamp::from_seconds(0), now)?;
    let mut begun = Vec::new();
    for orchestrator in account::linked_orchestrators(conn, id)? {
        let people = account::subjects(conn, id, &orchestrator)?;
        for person in &people {
            begun.push(distrust(conn, (&account, &case), &orchestrator, person, now)?);
        }
        security_event::tell(conn, AccountEvent::Disputed, (&orchestrator, &people), id, now)?;
        let told = json!({"account": {"id": id, "state": account.state.as_str()}, "case": case.id});
        outbox::notify(conn, "account.disputed", &orchestrator, id, &told, now)?;
    }
    Ok(Disowned { case, begun })
}

fn is_claimed(account: &Account) -> bool {
    matches!(account.state, AccountState::Active { .. })
}

/// Nothing that the orchestrator says of this person counts any more.
fn distrust(
    conn: &mut DbConnection,
    (account, case): (&Account, &Case),
    orchestrator: &crate::ids::OrchestratorId,
    (tenant, subject): &(String, String),
    now: Timestamp,
) -> Result<DistrustId, BeginError> {
    let claimed = is_claimed(account);
    let new = NewDistrust {
        orchestrator_id: orchestrator.clone(),
        since: account.created_at,
        whose: WhoseDistrust::Subject { tenant: Some(tenant.clone()), subject: subject.clone() },
        depth: if claimed { Depth::Tokens } else { Depth::Freeze },
        cause: case.reason(),
        event_at: None,
    };
    Ok(orchestrator::begin(conn, &new, now)?.id)
}

/// The owner of a claimed account, who logged in, takes it back: agents may ask again, spending is allowed, the case is
/// closed. `false`: there is no such case. Call it inside `Db::write`.
///
/// # Errors
/// See [`CloseError`]; the transaction must then be undone.
pub fn take_back(conn: &mut DbConnection, account: &Account, now: Timestamp) -> Result<bool, CloseError> {
    let open = case::open_of(conn, &account.id, CaseKind::NotStarted)?;
    let Some(case) = open.filter(|_| is_claimed(account)) else { return Ok(false) };
    for distrust in case::distrusts(conn, &case)? {
        orchestrator::lift(conn, &distrust, &format!("user:{}", account.id), now)?;
    }
    budget::resume_spending(conn, &account.id, ResumedBy::Owner, now)?;
    case::close(conn, &case, (OWNER, "the owner logged in and took it back"), now)?;
    Ok(true)
}
