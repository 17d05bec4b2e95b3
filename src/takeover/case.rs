//! Cases: what somebody says is wrong with an account. Each is for the operator to judge, and stays when it is closed.

use std::str::FromStr;

use serde_json::json;

use super::case_store;
use super::restore::{self, RestoreError};
use crate::account;
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, CaseId};
use crate::orchestrator::{self, BeginError, Distrust};
use crate::payment::budget::{self, ChangeBudgetError, ResumedBy};

pub use super::case_store::{by_id, list, open_of};

/// The longest note, in characters.
pub const MAX_NOTE: usize = 2_000;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseKind {
    /// Whoever reads the account's mail: "I did not start this".
    NotStarted,
    /// An orchestrator: its person was taken over (RISC `account-disabled`, `hijacking`).
    Hijacked,
    /// An orchestrator: its person is one of many that a machine made (RISC `account-disabled`, `bulk-account`).
    BulkAccount,
}

/// A word that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of: not_started, hijacked, bulk_account")]
pub struct UnknownCaseKind(String);

impl CaseKind {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Hijacked => "hijacked",
            Self::BulkAccount => "bulk_account",
        }
    }
}

impl FromStr for CaseKind {
    type Err = UnknownCaseKind;

    fn from_str(text: &str) -> Result<Self, UnknownCaseKind> {
        let all = [Self::NotStarted, Self::Hijacked, Self::BulkAccount];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownCaseKind(text.to_owned()))
    }
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its id.
    pub id: CaseId,
    /// About which account.
    pub account_id: AccountId,
    /// What is said.
    pub kind: CaseKind,
    /// On whose word: `mail`, or `event:` and the name of a security event.
    pub cause: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What was known then, signed; absent for a moment.
    pub evidence: Option<String>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// By whom: `operator`, `owner`.
    pub closed_by: Option<String>,
    /// What came out.
    pub note: Option<String>,
}

impl Case {
    /// The cause of the distrusts that belong to it.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.kind {
            CaseKind::NotStarted => format!("case:{}", self.id),
            CaseKind::Hijacked | CaseKind::BulkAccount => self.cause.clone(),
        }
    }
}

/// Opens a case, unless one of the kind is open; that it was opened now is told beside it. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails, or somebody opened it at this moment (a unique violation).
pub(super) fn open(
    conn: &mut DbConnection,
    account: &AccountId,
    (kind, cause): (CaseKind, &str),
    now: Timestamp,
) -> Result<(Case, bool), DbError> {
    if let Some(open) = case_store::open_of(conn, account, kind)? {
        return Ok((open, false));
    }
    let opened = Case {
        id: CaseId::new(now),
        account_id: account.clone(),
        kind,
        cause: cause.to_owned(),
        opened_at: now,
        evidence: None,
        closed_at: None,
        closed_by: None,
        note: None,
    };
    case_store::insert(conn, &opened)?;
    let fact = Fact {
        actor: cause.to_owned(),
        action: "case.opened",
        account_id: Some(account),
        subject: opened.id.to_string(),
        detail: json!({"kind": kind.as_str()}),
    };
    audit::append(conn, &fact, now)?;
    Ok((opened, true))
}

/// Why a case stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// It is closed already.
    #[error("the case is closed already")]
    Closed,
    /// What belongs to it cannot be believed again.
    #[error(transparent)]
    Lift(#[from] BeginError),
    /// Something cannot be given back.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Spending.
    #[error(transparent)]
    Budget(#[from] ChangeBudgetError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for CloseError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Closes a case; what it stopped stays stopped. Call it inside `Db::write`.
///
/// # Errors
/// See [`CloseError`].
pub fn close(conn: &mut DbConnection, case: &Case, (by, note): (&str, &str), now: Timestamp) -> Result<(), CloseError> {
    let note: String = note.chars().take(MAX_NOTE).collect();
    if !case_store::close(conn, &case.id, (by, &note), now)? {
        return Err(CloseError::Closed);
    }
    let fact = Fact {
        actor: if by == "owner" { format!("user:{}", case.account_id) } else { by.to_owned() },
        action: "case.closed",
        account_id: Some(&case.account_id),
        subject: case.id.to_string(),
        detail: json!({"kind": case.kind.as_str(), "note": note}),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// What was distrusted because of it and is not lifted.
///
/// # Errors
/// When the database fails.
pub fn distrusts(conn: &mut DbConnection, case: &Case) -> Result<Vec<Distrust>, DbError> {
    let (mut found, reason) = (Vec::new(), case.reason());
    for orchestrator in account::linked_orchestrators(conn, &case.account_id)? {
        for (tenant, subject) in account::subjects(conn, &case.account_id, &orchestrator)? {
            found.extend(orchestrator::distrusts_by(conn, (&orchestrator, &tenant, &subject), &reason)?);
        }
    }
    Ok(found)
}

/// The operator found that nothing is wrong: everything that the case stopped is given back and believed again, and it is
/// closed. Tokens that died stay dead. Run again, it goes on where it stopped.
///
/// # Errors
/// See [`CloseError`]; what was given back stays so.
pub async fn give_back(db: &Db, case: &Case, (by, note): (&str, &str), now: Timestamp) -> Result<(), CloseError> {
    let seen = case.clone();
    for distrust in db.read(move |conn| distrusts(conn, &seen)).await? {
        restore::restore_all(db, &distrust, by, now).await?;
        let by = by.to_owned();
        db.write(case.account_id.as_str(), move |conn| orchestrator::lift(conn, &distrust, &by, now)).await?;
    }
    let (case, by, note) = (case.clone(), by.to_owned(), note.to_owned());
    let lane = case.account_id.to_string();
    db.write(&lane, move |conn| {
        if case.kind == CaseKind::NotStarted {
            budget::resume_spending(conn, &case.account_id, ResumedBy::Operator, now)?;
        }
        close(conn, &case, (&by, &note), now)
    })
    .await
}
