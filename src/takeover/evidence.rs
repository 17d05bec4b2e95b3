//! What was known about an account when a case was opened: one signed JSON document that anybody checks with our published
//! keys and nothing else. It holds hashes of assertions, never the assertions; no secrets, and no credentials.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::case::{self, Case};
use super::case_store;
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbConnection, DbError};
use crate::ids::CaseId;
use crate::payment::ledger_entry::LedgerEntry;
use crate::resource::Resource;
use crate::secret::sha256_base64url;
use crate::signing::{
    Algorithm, JwsError, KeyPurpose, KeyRing, SignatureAlgorithm, SigningError, Unverified, VerifyingKey,
    canonical_json,
};
use crate::{account, audit, authorization, orchestrator, payment, resource};

/// The `typ` of the signature.
const TYPE: &str = "case-evidence+jwt";
/// The most of each kind that is written down; how much there is more is not counted.
const MOST: i64 = 1_000;
/// The most cases that are looked at in one turn.
const AT_ONCE: i64 = 16;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// It could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for EvidenceError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// The document: what is said, for people to read, and the signature over exactly that.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    evidence: Value,
    /// A JWS (RFC 7515 §7.1) that names the SHA-256 of the canonical form (RFC 8785) of `evidence`.
    signature: String,
}

/// What is signed.
#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    iss: String,
    iat: i64,
    sha256: String,
}

/// Why a document is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum NotEvidence {
    /// It is no such document.
    #[error("it is no evidence document: {0}")]
    Form(#[from] serde_json::Error),
    /// No key of the set made the signature.
    #[error("no key of the set made its signature")]
    Key,
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] JwsError),
    /// What can be read is not what was signed.
    #[error("what it says is not what was signed")]
    Changed,
}

/// Collects the evidence of cases that have none yet. Answers of how many.
///
/// # Errors
/// See [`EvidenceError`]; what could not be done is done in the next turn.
pub async fn collect_evidence(
    db: &Db,
    ring: &KeyRing,
    issuer: &str,
    clock: &dyn Clock,
) -> Result<usize, EvidenceError> {
    let waiting = db.read(move |conn| case_store::without_evidence(conn, AT_ONCE)).await?;
    for case in &waiting {
        collect(db, ring, issuer, &case.id, clock.now()).await?;
    }
    Ok(waiting.len())
}

/// Collects the evidence of one case, unless it is there.
///
/// # Errors
/// See [`EvidenceError`].
pub async fn collect(db: &Db, ring: &KeyRing, issuer: &str, id: &CaseId, now: Timestamp) -> Result<(), EvidenceError> {
    let (wanted, ours) = (id.clone(), issuer.to_owned());
    let known = db.read(move |conn| {
        let Some(case) = case::by_id(conn, &wanted)?.filter(|case| case.evidence.is_none()) else { return Ok(None) };
        Ok::<_, DbError>(Some(gather(conn, &case, &ours, now)?))
    });
    let Some(evidence) = known.await? else { return Ok(()) };
    let sha256 = sha256_base64url(&canonical_json(&evidence).map_err(SigningError::from)?);
    let signed = Signed { iss: issuer.to_owned(), iat: now.seconds(), sha256 };
    let signature = ring.key(KeyPurpose::Evidence, Algorithm::Es256)?.sign_compact(TYPE, &signed)?;
    let document = serde_json::to_string(&Document { evidence, signature }).map_err(SigningError::from)?;
    let (lane, id) = (id.to_string(), id.clone());
    // Whoever was faster has written the same, as of a moment before.
    let write = move |conn: &mut DbConnection| case_store::set_evidence(conn, &id, &document).map_err(DbError::from);
    db.write(&lane, write).await?;
    Ok(())
}

/// Everything that is known.
fn gather(conn: &mut DbConnection, case: &Case, issuer: &str, now: Timestamp) -> Result<Value, DbError> {
    let account = account::by_id(conn, &case.account_id)?.ok_or(DbError::Query(diesel::result::Error::NotFound))?;
    let trail = audit::latest(conn, &account.id, MOST)?;
    let resources = resource::list(conn, &account.id, None, MOST)?;
    let ledger = payment::entries_before(conn, &account.id, i64::MAX, MOST)?;
    let consents = authorization::consents_of_account(conn, &account.id, MOST)?;
    let opened = trail.iter().find(|fact| fact.action == "account.opened");
    let cut = [trail.len(), resources.len(), ledger.len(), consents.len()];
    let cut = cut.into_iter().any(|length| i64::try_from(length).is_ok_and(|length| length == MOST));
    let trail: Vec<Value> = trail
        .iter()
        .map(|fact| json!({"at": fact.at, "actor": fact.actor, "action": fact.action, "detail": fact.detail}))
        .collect();
    Ok(json!({
        "iss": issuer,
        "iat": now.seconds(),
        "case": {"id": case.id, "kind": case.kind.as_str(), "cause": case.cause, "opened_at": case.opened_at},
        "account": {
            "id": account.id, "state": account.state.as_str(), "opened_by": account.opened_by,
            "created_at": account.created_at, "email": account.email,
            "email_trust": account.email_trust.map(crate::attestation::EmailTrust::as_str),
        },
        "orchestrators": linked(conn, case)?,
        // On whose word and by which rule the account was opened; `null` when the trail is longer than what is told here.
        "basis": opened.map(|fact| json!({"at": fact.at, "actor": fact.actor, "detail": fact.detail})),
        "consents": consents.iter().map(consent).collect::<Vec<_>>(),
        "resources": resources.iter().map(thing).collect::<Vec<_>>(),
        "ledger": ledger.iter().map(entry).collect::<Vec<_>>(),
        "trail": trail,
        "newest_only": cut,
    }))
}

/// Who may act on the account, and for whom.
fn linked(conn: &mut DbConnection, case: &Case) -> Result<Vec<Value>, DbError> {
    let mut all = Vec::new();
    for id in account::linked_orchestrators(conn, &case.account_id)? {
        let people: Vec<Value> = account::subjects(conn, &case.account_id, &id)?
            .into_iter()
            .map(|(tenant, subject)| json!({"tenant": tenant, "subject": subject}))
            .collect();
        let known = orchestrator::by_id(conn, &id)?;
        let known = known.map(|known| (known.name.to_string(), known.issuer.as_str().to_owned())).unzip();
        all.push(json!({"id": id, "name": known.0, "issuer": known.1, "people": people}));
    }
    Ok(all)
}

fn consent(consent: &authorization::Consent) -> Value {
    json!({
        "id": consent.id, "client": consent.client, "client_digest": consent.client_digest,
        "scope": consent.scopes.to_string(), "authorization_details": consent.details,
        "created_at": consent.created_at, "revoked_at": consent.revoked_at,
    })
}

fn thing(resource: &Resource) -> Value {
    json!({
        "id": resource.id, "service": resource.service, "plan": resource.plan, "name": resource.name,
        "state": resource.state.as_str(), "created_at": resource.created_at,
        "catalog_version": resource.catalog_version, "quarantined_at": resource.quarantined_at,
    })
}

/// As it is hashed: whoever has the document can follow the chain.
fn entry(entry: &LedgerEntry) -> Value {
    json!({
        "sequence": entry.sequence, "id": entry.id, "kind": entry.kind, "hold_id": entry.hold_id,
        "resource_id": entry.resource_id, "counter_ids": entry.counter_ids, "currency": entry.currency,
        "held_change": entry.held_change, "spent_change": entry.spent_change, "description": entry.description,
        "at_micros": entry.at.micros(), "previous_hash": entry.previous_hash, "hash": entry.hash,
    })
}

/// Checks a document with the keys of a published set: that one of them signed it, and that it says what was signed.
/// Answers what it says.
///
/// # Errors
/// See [`NotEvidence`].
pub fn verify_evidence(document: &str, keys: &[VerifyingKey]) -> Result<Value, NotEvidence> {
    let document: Document = serde_json::from_str(document)?;
    let jws = Unverified::parse(&document.signature)?;
    jws.expect_type(&[TYPE])?;
    let key = keys.iter().find(|key| key.common.key_id.as_deref() == jws.kid()).ok_or(NotEvidence::Key)?;
    let signed: Signed = jws.verify(key, &[SignatureAlgorithm::Es256])?.claims;
    let sha256 = canonical_json(&document.evidence).map(|bytes| sha256_base64url(&bytes));
    if sha256.is_ok_and(|sha256| sha256 == signed.sha256) { Ok(document.evidence) } else { Err(NotEvidence::Changed) }
}
