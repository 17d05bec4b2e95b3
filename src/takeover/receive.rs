//! Taking a security event: once, whoever sends it how often.

use serde_json::json;

use super::ladder::{self, Meant, Step};
use super::set::{self, Presented, SecurityEvent, SetError, SubjectId};
use super::sweep::{self, Bounds};
use crate::account;
use crate::attestation::CanonicalEmail;
use crate::audit::{self, Fact};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbConnection, DbError};
use crate::ids::{AccountId, DistrustId};
use crate::orchestrator::{self, KeyCache, Orchestrator, SeenEvent};

/// What receiving reaches.
#[derive(Debug, Clone, Copy)]
pub struct EventParts<'a> {
    /// The database.
    pub db: &'a Db,
    /// The keys of orchestrators.
    pub keys: &'a KeyCache,
}

/// What became of an event that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The event's name in its issuer's stream.
    pub jti: String,
    /// Whether it came before.
    pub duplicate: bool,
    /// What it led to.
    pub outcome: String,
}

/// What one transaction did.
struct Acted {
    received: Received,
    begun: Vec<DistrustId>,
}

/// Takes an event. When it is answered, what it asks for is done, or written down so that it will be.
///
/// # Errors
/// See [`SetError`]; then nothing was done.
pub async fn receive(
    parts: EventParts<'_>,
    text: &str,
    presented: &Presented,
    clock: &dyn Clock,
) -> Result<Received, SetError> {
    let now = clock.now();
    let (orchestrator, event) = set::read(parts.db, parts.keys, text, presented, now).await?;
    let mut tries = 3;
    let acted = loop {
        let (known, event) = (orchestrator.clone(), event.clone());
        match parts.db.write(orchestrator.id.as_str(), move |conn| act(conn, &known, &event, now)).await {
            // Its copy was faster: it is found now.
            Err(error) if error.is_unique_violation() && tries > 0 => tries -= 1,
            other => break other?,
        }
    };
    for id in &acted.begun {
        // What is left of it a worker takes up.
        if let Err(error) = sweep::run(parts.db, id, Bounds::default(), clock).await {
            tracing::error!(distrust = %id, error = %error, "a distrust could not be finished");
        }
    }
    Ok(acted.received)
}

fn act(
    conn: &mut DbConnection,
    orchestrator: &Orchestrator,
    event: &SecurityEvent,
    now: Timestamp,
) -> Result<Acted, DbError> {
    if let Some(seen) = orchestrator::seen_event(conn, &orchestrator.id, &event.jti)? {
        let received = Received { jti: event.jti.clone(), duplicate: true, outcome: seen.outcome };
        return Ok(Acted { received, begun: Vec::new() });
    }
    let meant = whom(conn, orchestrator, &event.subject)?;
    let (outcome, begun) = answer(conn, orchestrator, &meant, event, now)?;
    let accounts: Vec<AccountId> = meant.into_iter().map(|meant| meant.account).collect();
    let name = event.uri.rsplit('/').next().unwrap_or_default().to_owned();
    let seen = SeenEvent { event: name, account_id: accounts.first().cloned(), outcome };
    orchestrator::remember_event(conn, (&orchestrator.id, &event.jti), &seen, now)?;
    let fact = Fact {
        actor: format!("orchestrator:{}", orchestrator.id),
        action: "security_event.received",
        account_id: seen.account_id.as_ref(),
        subject: orchestrator.id.to_string(),
        detail: json!({
            "jti": event.jti, "event": event.uri.chars().take(200).collect::<String>(), "outcome": seen.outcome,
            "at": event.at, "accounts": accounts,
        }),
    };
    audit::append(conn, &fact, now)?;
    Ok(Acted { received: Received { jti: event.jti.clone(), duplicate: false, outcome: seen.outcome }, begun })
}

/// What it asks for is done, or begun. Answers the word for it.
fn answer(
    conn: &mut DbConnection,
    orchestrator: &Orchestrator,
    meant: &[Meant],
    event: &SecurityEvent,
    now: Timestamp,
) -> Result<(String, Vec<DistrustId>), DbError> {
    let mut begun = Vec::new();
    let outcome = match Step::of(event) {
        Step::Verified => {
            orchestrator::stream_verified(conn, &orchestrator.id, now)?;
            "verified"
        }
        Step::Nothing => "recorded",
        _ if meant.is_empty() => "nobody_known",
        step => {
            let mut done = false;
            for meant in meant {
                let climbed = ladder::climb(conn, orchestrator, meant, (step, event), now)?;
                done |= climbed.is_some();
                begun.extend(climbed.into_iter().flatten());
            }
            if done { step.as_str() } else { Step::Nothing.as_str() }
        }
    };
    Ok((outcome.to_owned(), begun))
}

/// The accounts of the person, all of them linked to this orchestrator, and by which names there.
fn whom(conn: &mut DbConnection, orchestrator: &Orchestrator, subject: &SubjectId) -> Result<Vec<Meant>, DbError> {
    match subject {
        SubjectId::Person { tenant, subject } => {
            let found = account::by_link(conn, &orchestrator.id, tenant, subject)?;
            let people = vec![(tenant.clone(), subject.clone())];
            Ok(found.map(|found| Meant { account: found.id, people }).into_iter().collect())
        }
        SubjectId::Email { address, tenant } => match address.parse::<CanonicalEmail>() {
            Ok(email) => with_address(conn, orchestrator, (&email, tenant.as_deref())),
            Err(_no_address) => Ok(Vec::new()),
        },
        SubjectId::Opaque | SubjectId::Unknown => Ok(Vec::new()),
    }
}

/// By address: the people of the tenant alone, where one is named.
fn with_address(
    conn: &mut DbConnection,
    orchestrator: &Orchestrator,
    (email, tenant): (&CanonicalEmail, Option<&str>),
) -> Result<Vec<Meant>, DbError> {
    let mut meant = Vec::new();
    for account in account::with_email_through(conn, &orchestrator.id, email.as_str())? {
        let mut people = account::subjects(conn, &account, &orchestrator.id)?;
        people.retain(|(of, _)| tenant.is_none_or(|tenant| tenant == of));
        if !people.is_empty() {
            meant.push(Meant { account, people });
        }
    }
    Ok(meant)
}
