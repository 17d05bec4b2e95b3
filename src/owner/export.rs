//! Everything that is kept about an account, for its owner: one JSON document, written page by page, so that a long ledger
//! never has to fit anywhere. `docs/export.md` says what stands in it. No secret does: neither tokens nor their hashes,
//! neither credentials nor keys.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::account;
use crate::attestation::EmailTrust;
use crate::audit;
use crate::authorization;
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::AccountId;
use crate::login;
use crate::payment;
use crate::resource;
use crate::signing::{SealError, Sealer};

/// Names the form of the document.
pub const FORMAT: &str = "portreeve-export/1";
/// How many rows are read at once.
const PIECE: i64 = 200;

/// One list of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Links,
    Information,
    LogIns,
    Passkeys,
    Sessions,
    Agents,
    Consents,
    Grants,
    Resources,
    Ledger,
    Holds,
    Usage,
    Trail,
}

const SECTIONS: [Section; 13] = [
    Section::Links,
    Section::Information,
    Section::LogIns,
    Section::Passkeys,
    Section::Sessions,
    Section::Agents,
    Section::Consents,
    Section::Grants,
    Section::Resources,
    Section::Ledger,
    Section::Holds,
    Section::Usage,
    Section::Trail,
];

/// Why the document ends early. What was written of it is no JSON then, so that nobody takes it for all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such account.
    #[error("there is no such account")]
    Unknown,
    /// What is known about a person could not be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A document that is being written.
#[derive(Debug, Clone)]
pub struct Export {
    db: Db,
    person_sealer: Arc<Sealer>,
    account: AccountId,
    now: Timestamp,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Head,
    /// In which list, after which row of it, and whether there was a row before.
    List(usize, String, bool),
    End,
}

impl Export {
    /// All about `account`, as of `now` and a moment later: it is read piece by piece.
    #[must_use]
    pub fn new(db: Db, person_sealer: Arc<Sealer>, account: AccountId, now: Timestamp) -> Self {
        Self { db, person_sealer, account, now, place: Place::Head }
    }

    /// The next piece of the document, and what is left to write. `None`: it is written.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn next(mut self) -> Result<Option<(String, Self)>, ExportError> {
        let (index, after, any) = match &self.place {
            Place::End => return Ok(None),
            Place::Head => {
                let head = self.head().await?;
                self.place = Place::List(0, String::new(), false);
                return Ok(Some((head, self)));
            }
            Place::List(index, after, any) => (*index, after.clone(), *any),
        };
        let Some(section) = SECTIONS.get(index).copied() else {
            self.place = Place::End;
            return Ok(Some(("}\n".to_owned(), self)));
        };
        let begin = if after.is_empty() { format!(",\n\"{}\":[", section.name()) } else { String::new() };
        let (account, sealer, now) = (self.account.clone(), self.person_sealer.clone(), self.now);
        let read = self.db.read(move |conn| section.read(conn, &account, &after, (&sealer, now)));
        let (rows, next) = read.await?;
        let texts: Vec<String> = rows.iter().map(Value::to_string).collect();
        let joint = if any && !texts.is_empty() { ",\n" } else { "" };
        let end = if next.is_none() { "]" } else { "" };
        let piece = format!("{begin}{joint}{}{end}", texts.join(",\n"));
        self.place = match next {
            Some(after) => Place::List(index, after, any || !texts.is_empty()),
            None => Place::List(index + 1, String::new(), false),
        };
        Ok(Some((piece, self)))
    }

    async fn head(&self) -> Result<String, ExportError> {
        let id = self.account.clone();
        let found = self.db.read(move |conn| account::by_id(conn, &id)).await?;
        let account = found.ok_or(ExportError::Unknown)?;
        let about = json!({
            "id": account.id, "state": account.state.as_str(), "opened_by": account.opened_by, "email": account.email,
            "email_trust": account.email_trust.map(EmailTrust::as_str),
            "created_at": account.created_at.to_rfc3339(),
            "spending_stopped_at": account.spending_stopped_at.map(Timestamp::to_rfc3339),
        });
        let at = self.now.to_rfc3339();
        Ok(format!("{{\"format\":\"{FORMAT}\",\n\"exported_at\":\"{at}\",\n\"account\":{about}"))
    }
}

/// Notes that everything was taken out, before the first piece: who takes out so much leaves a trace.
///
/// # Errors
/// When the database fails.
pub fn note(conn: &mut DbConnection, account: &AccountId, by: login::Method, now: Timestamp) -> Result<(), DbError> {
    let fact = audit::Fact {
        actor: format!("user:{account}"),
        action: "account.exported",
        account_id: Some(account),
        subject: account.to_string(),
        detail: json!({"method": by.as_str()}),
    };
    Ok(audit::append(conn, &fact, now)?)
}

/// Rows, and where the next ones begin, when there may be more.
type Page = (Vec<Value>, Option<String>);

fn is_full(count: usize) -> bool {
    i64::try_from(count).is_ok_and(|count| count == PIECE)
}

/// A page that begins after a count of rows.
fn counted(rows: Vec<Value>, skipped: i64) -> Page {
    let next = is_full(rows.len()).then(|| (skipped + PIECE).to_string());
    (rows, next)
}

fn told(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::to_rfc3339)
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Links => "identity_links",
            Self::Information => "information",
            Self::LogIns => "upstream_log_ins",
            Self::Passkeys => "passkeys",
            Self::Sessions => "sessions",
            Self::Agents => "agents",
            Self::Consents => "consents",
            Self::Grants => "grants",
            Self::Resources => "resources",
            Self::Ledger => "ledger",
            Self::Holds => "holds",
            Self::Usage => "usage_totals",
            Self::Trail => "audit_trail",
        }
    }

    /// The rows after `after`, which is empty at the beginning.
    fn read(
        self,
        conn: &mut DbConnection,
        account: &AccountId,
        after: &str,
        (sealer, now): (&Sealer, Timestamp),
    ) -> Result<Page, ExportError> {
        let skipped: i64 = after.parse().unwrap_or(0);
        Ok(match self {
            Self::Links => (links(conn, account)?, None),
            Self::Information => (information(conn, account, sealer)?, None),
            Self::LogIns => (upstream(conn, account)?, None),
            Self::Passkeys => (passkeys(conn, account)?, None),
            Self::Sessions => counted(sessions(conn, account, skipped)?, skipped),
            Self::Agents => agents(conn, account, after, now)?,
            Self::Consents => consents(conn, account, after)?,
            Self::Grants => grants(conn, account, after)?,
            Self::Resources => resources(conn, account, after)?,
            Self::Ledger => ledger(conn, account, after)?,
            Self::Holds => holds(conn, account, after)?,
            Self::Usage => counted(usage(conn, account, skipped)?, skipped),
            Self::Trail => trail(conn, account, after)?,
        })
    }
}

fn links(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<Value>, DbError> {
    let rows = account::links_of(conn, account)?;
    let row = |link: account::IdentityLink| {
        json!({
            "orchestrator_id": link.orchestrator_id, "tenant": link.tenant, "subject": link.subject,
            "created_at": link.created_at.to_rfc3339(), "allowed_scope": link.scopes,
        })
    };
    Ok(rows.into_iter().map(row).collect())
}

fn information(conn: &mut DbConnection, account: &AccountId, sealer: &Sealer) -> Result<Vec<Value>, ExportError> {
    let mut rows = Vec::new();
    for (orchestrator, fact) in account::information(conn, account)? {
        let opened = fact.open(sealer, account, &orchestrator)?;
        rows.push(json!({
            "passed_on_by": orchestrator, "field": fact.field.as_str(), "verified": fact.verified,
            "value": String::from_utf8_lossy(&opened),
        }));
    }
    Ok(rows)
}

fn upstream(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<Value>, DbError> {
    let rows = login::upstream_links(conn, account)?.into_iter();
    let row = |link: login::UpstreamLink| json!({"issuer": link.issuer, "subject": link.subject, "created_at": link.created_at.to_rfc3339()});
    Ok(rows.map(row).collect())
}

fn passkeys(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<Value>, DbError> {
    let rows = login::passkeys(conn, account)?.into_iter();
    let row = |known: login::KnownPasskey| json!({"name": known.name, "created_at": known.created_at.to_rfc3339(), "used_at": told(known.used_at)});
    Ok(rows.map(row).collect())
}

fn sessions(conn: &mut DbConnection, account: &AccountId, skipped: i64) -> Result<Vec<Value>, DbError> {
    let rows = login::sessions_of(conn, account, (skipped, PIECE))?.into_iter();
    let row = |session: login::KnownSession| {
        json!({
            "method": session.method, "authenticated_at": session.authenticated_at.to_rfc3339(),
            "created_at": session.created_at.to_rfc3339(), "expires_at": session.expires_at.to_rfc3339(),
            "ended_at": told(session.ended_at),
        })
    };
    Ok(rows.map(row).collect())
}

fn agents(conn: &mut DbConnection, account: &AccountId, after: &str, now: Timestamp) -> Result<Page, DbError> {
    let agents = account::agents_of(conn, account, after.parse().ok().as_ref(), PIECE)?;
    let mut rows = Vec::new();
    for agent in &agents {
        rows.push(json!({
            "id": agent.id, "client": agent.key.client, "orchestrator_id": agent.key.orchestrator_id,
            "name": agent.name, "scope": authorization::powers(conn, agent, now)?.to_string(),
            "cap_per_month": agent.cap.map(|cap| json!({"currency": cap.currency, "amount": cap.amount})),
            "created_at": agent.created_at.to_rfc3339(), "used_at": agent.used_at.to_rfc3339(),
            "paused_at": told(agent.paused_at), "revoked_at": told(agent.revoked_at),
        }));
    }
    Ok((rows, agents.last().filter(|_| is_full(agents.len())).map(|last| last.id.to_string())))
}

fn consents(conn: &mut DbConnection, account: &AccountId, after: &str) -> Result<Page, DbError> {
    let consents = authorization::consents_after(conn, account, after, PIECE)?;
    let row = |consent: &authorization::Consent| {
        json!({
            "id": consent.id, "client": consent.client, "orchestrator_id": consent.orchestrator_id,
            "resource": consent.resource, "scope": consent.scopes.to_string(),
            "authorization_details": consent.details, "created_at": consent.created_at.to_rfc3339(),
            "logged_in_at": told(consent.log_in.at), "logged_in_by": consent.log_in.acr,
            "revoked_at": told(consent.revoked_at),
        })
    };
    let rows = consents.iter().map(row).collect();
    Ok((rows, consents.last().filter(|_| is_full(consents.len())).map(|last| last.id.to_string())))
}

fn grants(conn: &mut DbConnection, account: &AccountId, after: &str) -> Result<Page, DbError> {
    // Written by ourselves, below.
    let broken = |error: serde_json::Error| diesel::result::Error::DeserializationError(error.into());
    let place: Option<authorization::GrantPlace> =
        if after.is_empty() { None } else { Some(serde_json::from_str(after).map_err(broken)?) };
    let grants = authorization::grants_after(conn, account, place.as_ref(), PIECE)?;
    let row = |line: &authorization::GrantLine| {
        json!({
            "id": line.id, "client": line.client, "orchestrator_id": line.orchestrator_id, "scope": line.scope,
            "consent_id": line.consent_id, "issued_at": line.issued_at.to_rfc3339(),
            "expires_at": line.expires_at.to_rfc3339(), "revoked_at": told(line.revoked_at),
        })
    };
    let rows = grants.iter().map(row).collect();
    Ok((rows, grants.last().filter(|_| is_full(grants.len())).map(|last| json!(last.place()).to_string())))
}

fn resources(conn: &mut DbConnection, account: &AccountId, after: &str) -> Result<Page, DbError> {
    let resources = resource::list(conn, account, after.parse().ok().as_ref(), PIECE)?;
    let row = |resource: &resource::Resource| {
        json!({
            "id": resource.id, "service": resource.service, "plan": resource.plan, "name": resource.name,
            "orchestrator_id": resource.orchestrator_id, "client": resource.client,
            "state": resource.state.as_str(), "state_reason": resource.state_reason,
            "configuration": serde_json::from_str::<Value>(&resource.configuration).unwrap_or(Value::Null),
            "catalog_version": resource.catalog_version, "project_id": resource.project_id,
            "hold_id": resource.hold_id, "created_at": resource.created_at.to_rfc3339(),
            "changed_at": resource.changed_at.to_rfc3339(),
        })
    };
    let rows = resources.iter().map(row).collect();
    Ok((rows, resources.last().filter(|_| is_full(resources.len())).map(|last| last.id.to_string())))
}

fn ledger(conn: &mut DbConnection, account: &AccountId, after: &str) -> Result<Page, DbError> {
    let before = if after.is_empty() { i64::MAX } else { after.parse().unwrap_or(0) };
    let entries = payment::entries_before(conn, account, before, PIECE)?;
    let row = |entry: &payment::ledger_entry::LedgerEntry| {
        json!({
            "sequence": entry.sequence, "id": entry.id, "kind": entry.kind, "hold_id": entry.hold_id,
            "resource_id": entry.resource_id, "counter_ids": entry.counter_ids, "currency": entry.currency,
            "held_change": entry.held_change, "spent_change": entry.spent_change, "description": entry.description,
            "at": entry.at.to_rfc3339(), "previous_hash": entry.previous_hash, "hash": entry.hash,
        })
    };
    let rows = entries.iter().map(row).collect();
    Ok((rows, entries.last().filter(|_| is_full(entries.len())).map(|last| last.sequence.to_string())))
}

fn holds(conn: &mut DbConnection, account: &AccountId, after: &str) -> Result<Page, DbError> {
    let holds = payment::holds_of(conn, account, after, PIECE)?;
    let row = |hold: &payment::HoldLine| {
        json!({
            "id": hold.id, "resource_id": hold.resource_id, "currency": hold.currency, "amount": hold.amount,
            "captured": hold.captured, "state": hold.state, "description": hold.description,
            "created_at": hold.created_at.to_rfc3339(), "settled_at": told(hold.settled_at),
        })
    };
    let rows = holds.iter().map(row).collect();
    Ok((rows, holds.last().filter(|_| is_full(holds.len())).map(|last| last.id.clone())))
}

fn usage(conn: &mut DbConnection, account: &AccountId, skipped: i64) -> Result<Vec<Value>, DbError> {
    let rows = resource::usage::totals_of(conn, account, (skipped, PIECE))?.into_iter();
    let row = |total: resource::usage::Total| {
        json!({
            "resource_id": total.resource_id, "meter": total.meter, "month": total.period_start.to_rfc3339(),
            "quantity": total.quantity, "charged": total.charged,
        })
    };
    Ok(rows.map(row).collect())
}

fn trail(conn: &mut DbConnection, account: &AccountId, after: &str) -> Result<Page, DbError> {
    let facts = audit::before(conn, account, after, PIECE)?;
    let row = |(id, subject, fact): &(String, String, audit::RecordedFact)| {
        json!({
            "id": id, "at": fact.at.to_rfc3339(), "actor": fact.actor, "action": fact.action, "subject": subject,
            "detail": fact.detail,
        })
    };
    let rows = facts.iter().map(row).collect();
    Ok((rows, facts.last().filter(|_| is_full(facts.len())).map(|(id, ..)| id.clone())))
}
