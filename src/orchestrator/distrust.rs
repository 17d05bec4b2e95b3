//! Distrust since an instant: of an issuer, of one of its keys, or of one person there. From the moment it begins nothing
//! new of it is believed; what to do about what was made before is the affair of `takeover`.

use std::str::FromStr;

use serde_json::json;

use super::{Orchestrator, UnknownWord, distrust_store, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, DistrustId, OrchestratorId};

/// Whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhoseDistrust {
    /// Everything of the issuer.
    Issuer,
    /// What one key signed: its `kid`, or the id of a wire secret.
    Key(String),
    /// One person, in one tenant or in all.
    Subject {
        /// The tenant; `None` for every tenant.
        tenant: Option<String>,
        /// The person, as the orchestrator names them.
        subject: String,
    },
}

/// How far it goes. Each does what stands before it as well, but only the last three end belief.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Nothing new is spent.
    Spending,
    /// Tokens die; nothing else is touched, not even spending.
    Tokens,
    /// What was made since is held back.
    Things,
    /// Unclaimed accounts that it opened are frozen, whenever that was.
    Freeze,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Tokens are killed.
    Tokens,
    /// What was about to be written when it began is waited for.
    Barrier,
    /// Tokens that were written meanwhile are killed.
    Again,
    /// Spending stops, and what was made since is held back.
    Things,
    /// Nothing.
    Done,
}

/// A distrust, and how much of it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    /// Its id.
    pub id: DistrustId,
    /// Of whose registration.
    pub orchestrator_id: OrchestratorId,
    /// What was made from then on is held back.
    pub since: Timestamp,
    /// Whom.
    pub whose: WhoseDistrust,
    /// How far.
    pub depth: Depth,
    /// On whose word: `operator`, or `event:` and the name of a security event.
    pub cause: String,
    /// Whether it suspended the orchestrator, and so ends that when it is lifted.
    pub suspended: bool,
    /// What comes next.
    pub phase: Phase,
    /// The last account with which this phase is done; empty at first.
    pub done_to: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// When the last token was dead.
    pub tokens_dead_at: Option<Timestamp>,
    /// When everything was done.
    pub finished_at: Option<Timestamp>,
    /// When it was lifted: from then on it is believed again.
    pub lifted_at: Option<Timestamp>,
    /// When what a security event told of happened; `None` when no event caused it.
    pub event_at: Option<Timestamp>,
}

/// A distrust about to begin.
#[derive(Debug, Clone)]
pub struct NewDistrust {
    /// Of whose registration.
    pub orchestrator_id: OrchestratorId,
    /// Since when.
    pub since: Timestamp,
    /// Whom.
    pub whose: WhoseDistrust,
    /// How far.
    pub depth: Depth,
    /// On whose word.
    pub cause: String,
    /// When what a security event told of happened; `None` when no event causes it.
    pub event_at: Option<Timestamp>,
}

/// Why it did not begin, or was not lifted.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// There is no such orchestrator.
    #[error("there is no orchestrator `{0}`")]
    Unknown(OrchestratorId),
    /// It was lifted already.
    #[error("it was lifted already")]
    Lifted,
    /// Its work is not done yet.
    #[error("its work is not done yet: run the same command again, or wait for `serve`")]
    Unfinished,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for BeginError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What was stated, as far as belief depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// By whom.
    pub orchestrator: &'a OrchestratorId,
    /// Signed with which key; `None` when nobody knows.
    pub key: Option<&'a str>,
    /// About whom.
    pub tenant: &'a str,
    /// About whom.
    pub subject: &'a str,
}

/// Why a statement is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// It is believed.
    Stands,
    /// The orchestrator is suspended, or its key or the person is distrusted.
    Distrusted,
}

/// Whether a statement may not be believed now. Ask it at the end of the transaction that acts on the statement: what it
/// writes refers to the orchestrator's row, for which [`super::barrier`] waits.
///
/// # Errors
/// When the database fails, or there is no such orchestrator.
pub fn is_disbelieved(conn: &mut DbConnection, statement: &Statement<'_>) -> Result<Belief, DbError> {
    let Statement { orchestrator, key, tenant, subject } = *statement;
    let known = distrust_store::trust_in(conn, (orchestrator, tenant, subject))?;
    let (suspended_at, keys, person) = known.ok_or(DbError::Query(diesel::result::Error::NotFound))?;
    let keys = store::keys_of(orchestrator, &keys)?;
    let distrusted = suspended_at.is_some() || person || key.is_some_and(|key| keys.iter().any(|known| known == key));
    Ok(if distrusted { Belief::Distrusted } else { Belief::Stands })
}

/// Why nothing is given through an orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrusted {
    /// It may do nothing here any more, or is not known.
    Suspended,
    /// One of these people is not believed, whoever signs.
    Person,
}

/// Whether an orchestrator, or what it says about the people by whom it reaches the account, is not believed now. Whose key
/// said so is no matter here: what a distrusted key led to was withdrawn.
///
/// # Errors
/// When the database fails.
pub fn distrusts(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    account: &AccountId,
) -> Result<Option<Distrusted>, DbError> {
    Ok(match distrust_store::trust_about(conn, orchestrator, account)? {
        None | Some((Some(_), _)) => Some(Distrusted::Suspended),
        Some((None, true)) => Some(Distrusted::Person),
        Some((None, false)) => None,
    })
}

/// Distrusts from now on. Whoever is half through a transaction is waited for later: see [`Phase::Barrier`]. Call it
/// inside `Db::write`.
///
/// # Errors
/// See [`BeginError`].
pub fn begin(conn: &mut DbConnection, new: &NewDistrust, now: Timestamp) -> Result<Distrust, BeginError> {
    let orchestrator = present(conn, &new.orchestrator_id)?;
    let whole = new.whose == WhoseDistrust::Issuer && new.depth != Depth::Spending;
    let suspended = whole
        && (store::set_suspended(conn, &orchestrator.id, now)?
            || distrust_store::keeps_suspended(conn, &orchestrator.id)?);
    let begun = Distrust {
        id: DistrustId::new(now),
        orchestrator_id: orchestrator.id.clone(),
        since: new.since,
        whose: new.whose.clone(),
        depth: new.depth,
        cause: new.cause.clone(),
        suspended,
        phase: if new.depth == Depth::Spending { Phase::Things } else { Phase::Tokens },
        done_to: String::new(),
        begun_at: now,
        tokens_dead_at: None,
        finished_at: None,
        lifted_at: None,
        event_at: new.event_at,
    };
    distrust_store::insert(conn, &begun)?;
    note_keys(conn, &orchestrator)?;
    let detail = json!({
        "orchestrator_id": orchestrator.id, "since": begun.since, "whose": begun.whose.describe(),
        "depth": begun.depth.as_str(), "suspended": suspended,
    });
    record(conn, &begun, "distrust.begun", detail, now)?;
    Ok(begun)
}

/// Believes again what comes from now on. What was held back stays so until it is restored. Call it inside `Db::write`.
///
/// # Errors
/// See [`BeginError`].
pub fn lift(conn: &mut DbConnection, distrust: &Distrust, actor: &str, now: Timestamp) -> Result<(), BeginError> {
    if distrust.finished_at.is_none() {
        return Err(BeginError::Unfinished);
    }
    if !distrust_store::set_lifted(conn, &distrust.id, now)? {
        return Err(BeginError::Lifted);
    }
    let orchestrator = present(conn, &distrust.orchestrator_id)?;
    note_keys(conn, &orchestrator)?;
    // Another distrust of the whole issuer keeps it suspended.
    if distrust.suspended && !distrust_store::keeps_suspended(conn, &orchestrator.id)? {
        store::clear_suspended(conn, &orchestrator.id)?;
    }
    let fact = Fact {
        actor: actor.to_owned(),
        action: "distrust.lifted",
        account_id: None,
        subject: distrust.id.to_string(),
        detail: json!({"orchestrator_id": orchestrator.id}),
    };
    Ok(audit::append(conn, &fact, now)?)
}

fn present(conn: &mut DbConnection, id: &OrchestratorId) -> Result<Orchestrator, BeginError> {
    store::by_id(conn, id)?.ok_or_else(|| BeginError::Unknown(id.clone()))
}

/// The row says which keys are distrusted now, so that whoever reads it needs no second look.
fn note_keys(conn: &mut DbConnection, orchestrator: &Orchestrator) -> Result<(), BeginError> {
    let keys = distrust_store::keys(conn, &orchestrator.id)?;
    Ok(store::set_distrusted_keys(conn, &orchestrator.id, &keys)?)
}

fn record(
    conn: &mut DbConnection,
    distrust: &Distrust,
    action: &'static str,
    detail: serde_json::Value,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let fact =
        Fact { actor: distrust.cause.clone(), action, account_id: None, subject: distrust.id.to_string(), detail };
    audit::append(conn, &fact, now)
}

impl Distrust {
    /// Whether the operator began it, not an orchestrator's event or somebody who reads a mailbox.
    #[must_use]
    pub fn is_the_operators(&self) -> bool {
        !self.cause.starts_with("event:") && !self.cause.starts_with("case:")
    }
}

impl WhoseDistrust {
    /// For people and for the trail.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Issuer => "issuer".to_owned(),
            Self::Key(key) => format!("key {key}"),
            Self::Subject { tenant: None, subject } => format!("subject {subject}"),
            Self::Subject { tenant: Some(tenant), subject } => format!("subject {subject} of tenant `{tenant}`"),
        }
    }
}

impl Depth {
    const ALL: [Self; 4] = [Self::Spending, Self::Tokens, Self::Things, Self::Freeze];

    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spending => "spending",
            Self::Tokens => "tokens",
            Self::Things => "things",
            Self::Freeze => "freeze",
        }
    }
}

impl FromStr for Depth {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = "spending, tokens, things, freeze";
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownWord { word: text.to_owned(), known })
    }
}

impl Phase {
    const ALL: [Self; 5] = [Self::Tokens, Self::Barrier, Self::Again, Self::Things, Self::Done];

    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Barrier => "barrier",
            Self::Again => "again",
            Self::Things => "things",
            Self::Done => "done",
        }
    }
}

impl FromStr for Phase {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = "tokens, barrier, again, things, done";
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownWord { word: text.to_owned(), known })
    }
}
