//! Opening an account, or finding it again, by attestation: one transaction.
//!
//! The assertion is claimed first, by a key; then the facts are read again and must lead where the caller thought they
//! would; then the account, its link and its budget are written. Keys decide every race: whoever loses one gets `Err`,
//! its transaction is undone, and it looks again.

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use serde_json::json;

use super::claim::stays_as_seen;
use super::decide::{Decision, EmailUse, Facts, Flags, decide};
use super::link::{LinkError, LinkedBy, link};
use super::sidecar::{self, Sidecar};
use super::store::{self, NewAccount, UseRow};
use crate::attestation::{Attestation, EmailTrust};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::orchestrator::{self, Belief, Orchestrator, Statement};
use crate::{mail, outbox};

use chrono::TimeDelta;

/// How long the same request gets the same answer.
const SAME_ANSWER: TimeDelta = TimeDelta::seconds(30);
/// How much longer than it could be accepted the use of an assertion is remembered: clocks differ.
const REMEMBER_LONGER: TimeDelta = TimeDelta::seconds(120);
/// The letter that tells a human of their new account.
pub const OPENED_LETTER: &str = "mail.account_opened";

/// What binds an assertion to one request, and what that request is answered.
#[derive(Debug, Clone)]
pub struct AssertionUse {
    /// SHA-256 of what was asked for with the assertion.
    pub request_hash: String,
    /// The answer, sealed.
    pub sealed_answer: String,
}

/// An earlier use of an assertion.
#[derive(Debug, Clone)]
pub struct PastUse {
    assertion_hash: String,
    request_hash: String,
    used_at: Timestamp,
    /// The answer of that time, sealed.
    pub sealed_answer: String,
}

impl PastUse {
    /// Whether the assertion and what was asked for with it are the same as then.
    #[must_use]
    pub fn is_same(&self, attestation: &Attestation, request_hash: &str) -> bool {
        self.assertion_hash == attestation.assertion_hash && self.request_hash == request_hash
    }

    /// When that was.
    #[must_use]
    pub fn used_at(&self) -> Timestamp {
        self.used_at
    }

    /// Whether this is the same request again, soon enough to get the same answer. Anything else is a replay.
    #[must_use]
    pub fn is_retry(&self, attestation: &Attestation, request_hash: &str, now: Timestamp) -> bool {
        self.is_same(attestation, request_hash) && now.since(self.used_at).abs() <= SAME_ANSWER
    }
}

/// Everything that was prepared before the transaction.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Who.
    pub attestation: Attestation,
    /// Through whom.
    pub orchestrator: Orchestrator,
    /// What the facts led to when somebody looked last: they are looked at again.
    pub decision: Decision,
    /// Whether the account that they led to was claimed then.
    pub claimed: bool,
    /// The id of the account if one is opened.
    pub account_id: AccountId,
    /// How the assertion is used.
    pub assertion: AssertionUse,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The assertion was used already: look at [`past_use`].
    #[error("the assertion was used already")]
    AlreadyUsed,
    /// Whoever stated it is distrusted.
    #[error("the statement is not believed any more")]
    Distrusted,
    /// The facts are not those that the answer was prepared with: look again.
    #[error("the facts have changed")]
    Changed,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl OpenError {
    /// A unique key said no: `otherwise` is what that means here.
    fn of(error: QueryError, otherwise: Self) -> Self {
        match error {
            QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => otherwise,
            error => Self::Db(error.into()),
        }
    }
}

impl From<QueryError> for OpenError {
    fn from(error: QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// The earlier use of the assertion, if there was one.
///
/// # Errors
/// When the database fails.
pub fn past_use(conn: &mut DbConnection, attestation: &Attestation) -> Result<Option<PastUse>, DbError> {
    let row = store::find_use(conn, &attestation.orchestrator_id, &attestation.assertion_key)?;
    Ok(row.map(|row| PastUse {
        assertion_hash: row.assertion_hash,
        request_hash: row.request_hash,
        used_at: row.used_at,
        sealed_answer: row.sealed_answer,
    }))
}

/// What is known about the person.
///
/// # Errors
/// When the database fails.
pub fn facts(conn: &mut DbConnection, attestation: &Attestation) -> Result<Facts, DbError> {
    let person = (&attestation.orchestrator_id, attestation.tenant.as_str(), attestation.subject.as_str());
    let (linked, allowed) =
        store::link_of(conn, person)?.map_or((None, None), |(account, scopes)| (Some(account), scopes));
    let (Some(email), None) = (&attestation.email, &linked) else {
        return Ok(Facts { linked, allowed, ..Facts::default() });
    };
    // The same questions are asked whether anybody has the address or not: how long it takes must not tell.
    let index = email.canonical.as_str();
    let same = store::first_with_email(conn, index)?;
    let owner_account = store::by_email_owner(conn, index)?;
    let same_issuer = store::has_email_linked_to(conn, index, &attestation.orchestrator_id)?;
    let same_email = owner_account.as_ref().map(|owner| owner.id.clone()).or(same);
    // Whoever opened or linked the account while the address was looked at may have been this very person: what the link
    // says last is true, and without this a copy of the same request would take itself for somebody else.
    let (linked, allowed) =
        store::link_of(conn, person)?.map_or((None, None), |(account, scopes)| (Some(account), scopes));
    let look_alike = store::has_look_alike(conn, &email.canonical.skeleton(), index)?;
    let proven_owner = owner_account.map(|account| account.state);
    Ok(Facts { linked, allowed, same_email, proven_owner, same_issuer, look_alike })
}

/// Uses the assertion and does what was decided. Answers what was known of the person before. Call it inside `Db::write`, with
/// everything slow already done.
///
/// # Errors
/// See [`OpenError`]; the transaction must then be undone.
pub fn open(conn: &mut DbConnection, opening: &Opening, now: Timestamp) -> Result<Facts, OpenError> {
    let Opening { attestation, orchestrator, .. } = opening;
    claim_assertion(conn, opening, now)?;
    let known = facts(conn, attestation)?;
    if decide(attestation, orchestrator, &known) != opening.decision {
        return Err(OpenError::Changed);
    }
    match &opening.decision {
        Decision::Use(_) => {
            // What was prepared may be more than a human who claims it at this moment allows.
            if let Some(account) = &known.linked
                && !stays_as_seen(conn, account, opening.claimed)?
            {
                return Err(OpenError::Changed);
            }
        }
        Decision::Link(owner) => link_owner(conn, opening, owner, now)?,
        Decision::Unusable(account, state) => {
            let detail = json!({"reason": "account_unusable", "state": state.as_str()});
            record(conn, opening, "attestation.refused", Some(account), detail, now)?;
        }
        Decision::MayNotOpen => {
            let detail = json!({"reason": "may_not_open"});
            record(conn, opening, "attestation.refused", None, detail, now)?;
        }
        Decision::NeedsConsent { owner, collision } => {
            record_collision(conn, opening, owner, *collision, now)?;
            record(conn, opening, "attestation.refused", Some(owner), json!({"reason": "needs_consent"}), now)?;
            let notice = json!({"orchestrator_id": orchestrator.id, "orchestrator": orchestrator.name.as_str()});
            outbox::append(conn, "account.link_wanted", Some(owner), &notice, now)?;
        }
        Decision::Open { email, flags } => {
            if let Some(owner) = &known.same_email {
                record_collision(conn, opening, owner, flags.collision, now)?;
            }
            insert_account(conn, opening, *email, *flags, now)?;
        }
    }
    stand_by(conn, opening, now)?;
    Ok(known)
}

/// Remembers on whose word it was done, and asks, now that everything is written, whether that word still counts.
fn stand_by(conn: &mut DbConnection, opening: &Opening, now: Timestamp) -> Result<(), OpenError> {
    let statement = opening.attestation.statement();
    let account = match &opening.decision {
        Decision::Use(account) | Decision::Link(account) => Some(account),
        Decision::Open { .. } => Some(&opening.account_id),
        _ => None,
    };
    match account {
        Some(account) => note_delegation(conn, &statement, account, now),
        None => believe(conn, &statement),
    }
}

fn believe(conn: &mut DbConnection, statement: &Statement<'_>) -> Result<(), OpenError> {
    match orchestrator::is_disbelieved(conn, statement)? {
        Belief::Stands => Ok(()),
        Belief::Distrusted => Err(OpenError::Distrusted),
    }
}

/// Remembers that somebody's word was taken about `account`, and then asks whether it still counts. Call it at the end of
/// the transaction that acts on that word.
///
/// # Errors
/// When it does not count, or the database fails; the transaction must then be undone.
pub fn note_delegation(
    conn: &mut DbConnection,
    statement: &Statement<'_>,
    account: &AccountId,
    now: Timestamp,
) -> Result<(), OpenError> {
    store::note_delegation(conn, statement, account, now).map_err(|error| OpenError::of(error, OpenError::Changed))?;
    believe(conn, statement)
}

/// Records that an assertion was presented again, by another request or too late.
///
/// # Errors
/// When the database fails.
pub fn record_replay(conn: &mut DbConnection, attestation: &Attestation, now: Timestamp) -> Result<(), DbError> {
    let fact = Fact {
        actor: format!("orchestrator:{}", attestation.orchestrator_id),
        action: "attestation.replayed",
        account_id: None,
        subject: attestation.orchestrator_id.as_str().to_owned(),
        detail: json!({"assertion_hash": attestation.assertion_hash}),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// Forgets the uses of assertions that nobody would accept any more. Answers how many.
///
/// # Errors
/// When the database fails.
pub fn forget_uses(conn: &mut DbConnection, now: Timestamp) -> Result<usize, DbError> {
    Ok(store::delete_uses_before(conn, now)?)
}

fn claim_assertion(conn: &mut DbConnection, opening: &Opening, now: Timestamp) -> Result<(), OpenError> {
    let Opening { attestation, assertion, .. } = opening;
    let row = UseRow {
        orchestrator_id: attestation.orchestrator_id.clone(),
        assertion_key: attestation.assertion_key.clone(),
        assertion_hash: attestation.assertion_hash.clone(),
        request_hash: assertion.request_hash.clone(),
        sealed_answer: assertion.sealed_answer.clone(),
        used_at: now,
        expires_at: attestation.refused_from.max(now.plus(SAME_ANSWER)).plus(REMEMBER_LONGER),
    };
    if row.insert(conn)? { Ok(()) } else { Err(OpenError::AlreadyUsed) }
}

/// The operator's policy stands for the owner's consent; the owner is told.
fn link_owner(conn: &mut DbConnection, opening: &Opening, owner: &AccountId, now: Timestamp) -> Result<(), OpenError> {
    let Opening { attestation, orchestrator, .. } = opening;
    let person = (attestation.tenant.as_str(), attestation.subject.as_str());
    let actor = format!("orchestrator:{}", orchestrator.id);
    link(conn, (orchestrator, person), (owner, None), (LinkedBy::Policy, &actor), now).map_err(|error| match error {
        LinkError::Taken | LinkError::Unusable(_) => OpenError::Changed,
        LinkError::Db(error) => OpenError::Db(error),
    })
}

fn insert_account(
    conn: &mut DbConnection,
    opening: &Opening,
    email_use: EmailUse,
    flags: Flags,
    now: Timestamp,
) -> Result<(), OpenError> {
    let Opening { attestation, orchestrator, account_id, .. } = opening;
    let mut account = NewAccount::provisional(account_id, &orchestrator.id, now);
    let email = attestation.email.as_ref();
    let looks = email.map(|email| email.canonical.skeleton());
    if let Some(email) = email {
        account.email = Some(&email.original);
        account.email_trust = email.trust.as_str();
    }
    if let Some(email) = email.filter(|_| email_use != EmailUse::Leave) {
        account.email_index = Some(email.canonical.as_str());
        account.email_skeleton = looks.as_deref();
    }
    account.insert(conn)?;
    let link = (&orchestrator.id, attestation.tenant.as_str(), attestation.subject.as_str());
    store::insert_link(conn, link, (account_id, None), now)
        .map_err(|error| OpenError::of(error, OpenError::Changed))?;
    if let (EmailUse::Own, Some(email)) = (email_use, email) {
        store::insert_email_owner(conn, email.canonical.as_str(), account_id, now)
            .map_err(|error| OpenError::of(error, OpenError::Changed))?;
    }
    if let (EmailUse::Keep, true, Some(email)) = (email_use, flags.sidecar, email) {
        let sidecar = Sidecar {
            account_id: account_id.clone(),
            orchestrator_id: orchestrator.id.clone(),
            tenant: attestation.tenant.clone(),
            subject: attestation.subject.clone(),
            opened_at: now,
        };
        sidecar::record(conn, &sidecar, email.canonical.as_str())?;
    }
    let ceiling = orchestrator.opening_ceiling();
    store::insert_budget(conn, (account_id, &orchestrator.id), (orchestrator.currency, ceiling), now)?;
    let detail = json!({
        "orchestrator_id": orchestrator.id,
        "email_trust": email.map(|email| email.trust.as_str()),
        "look_alike": flags.look_alike,
        "sidecar": flags.sidecar,
        "currency": orchestrator.currency,
        "ceiling": ceiling.minor(),
        // On which word, and by which rule of the operator.
        "assertion_hash": attestation.assertion_hash,
        "key": attestation.key_id,
        "existing_account": orchestrator.existing_account.as_str(),
    });
    if email.is_some_and(|email| email.trust != EmailTrust::Unverified) {
        let notice = json!({"account": account_id, "orchestrator": orchestrator.name.as_str(),
            "currency": orchestrator.currency, "ceiling": ceiling});
        mail::post(conn, OPENED_LETTER, Some(account_id), &notice, now)?;
    }
    let told = json!({"account": {"id": account_id, "state": "provisional"}});
    outbox::notify(conn, "account.opened", &orchestrator.id, account_id, &told, now)?;
    Ok(record(conn, opening, "account.opened", Some(account_id), detail, now)?)
}

fn record_collision(
    conn: &mut DbConnection,
    opening: &Opening,
    owner: &AccountId,
    collision: bool,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    if !collision {
        return Ok(());
    }
    let detail =
        json!({"orchestrator_id": opening.orchestrator.id, "assertion_hash": opening.attestation.assertion_hash});
    record(conn, opening, "account.identifier_collision", Some(owner), detail, now)
}

fn record(
    conn: &mut DbConnection,
    opening: &Opening,
    action: &'static str,
    account_id: Option<&AccountId>,
    detail: serde_json::Value,
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let orchestrator = &opening.orchestrator.id;
    let fact = Fact {
        actor: format!("orchestrator:{orchestrator}"),
        action,
        account_id,
        subject: account_id.map_or_else(|| orchestrator.as_str().to_owned(), |id| id.as_str().to_owned()),
        detail,
    };
    audit::append(conn, &fact, now)
}
