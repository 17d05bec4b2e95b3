//! "I did not start this": whoever reads the mail of an account that an agent opened says that nobody asked for it. It only
//! ever takes power away, needs no log-in, and may be said twice.

use serde_json::json;

use super::case::{self, Case, CaseKind, CloseError};
use crate::account::{self, Account, AccountState};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId};
use crate::login;
use crate::orchestrator::security_event::{self, AccountEvent};
use crate::orchestrator::{self, BeginError, Depth, NewDistrust, WhoseDistrust};
use crate::outbox;
use crate::payment::budget::{self, ChangeBudgetError, ResumedBy};

/// Who is said to have done it: a mailbox proves no more than that somebody reads it.
const MAIL: &str = "mail";

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
    /// It is closed: there is nothing left to stop.
    #[error("the account is closed")]
    Closed,
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
pub fn disown(conn: &mut DbConnection, id: &AccountId, now: Timestamp) -> Result<Disowned, DisownError> {
    // Whoever buys or gets a token at this moment is waited for, and whoever says the same is second.
    account::lock(conn, std::slice::from_ref(id))?;
    let account = account::by_id(conn, id)?.ok_or_else(|| DisownError::Unknown(id.clone()))?;
    if matches!(account.state, AccountState::Closed { .. }) {
        return Err(DisownError::Closed);
    }
    budget::stop_spending(conn, id, now)?;
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
    case::close(conn, &case, ("owner", "the owner logged in and took it back"), now)?;
    Ok(true)
}
