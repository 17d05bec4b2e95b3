//! Discarding: what is in a sidecar is removed, and the account ends.

use serde_json::json;

use super::bring::end;
use super::{DecideError, Deciding};
use crate::account::{self, SidecarOutcome};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::orchestrator;
use crate::payment::budget;
use crate::resource;

/// How often others may get in between.
const TRIES: u32 = 5;

/// Ends a sidecar: nothing more is spent there from this moment on, whatever was given for it works no more, and workers
/// remove what is in it. Answers how many things that are. What was spent stays in its ledger.
///
/// # Errors
/// See [`DecideError`].
pub async fn discard(db: &Db, deciding: &Deciding, now: Timestamp) -> Result<usize, DecideError> {
    for _ in 0..TRIES {
        let deciding = deciding.clone();
        let lane = deciding.owner.to_string();
        match db.write(&lane, move |conn| carry_out(conn, &deciding, now)).await {
            Err(error) if error.may_pass() => {}
            other => return other,
        }
    }
    Err(DecideError::Contended)
}

fn carry_out(conn: &mut DbConnection, deciding: &Deciding, now: Timestamp) -> Result<usize, DecideError> {
    let sidecar = account::lock_sidecar(conn, deciding.owner(), &deciding.sidecar)?;
    let (id, owner) = (&sidecar.account_id, &deciding.owner);
    let removed = resource::remove_all(conn, id, now)?;
    if budget::has_open_holds(conn, id, None)? {
        return Err(DecideError::MoneyHeld);
    }
    let missing = || DbError::Query(diesel::result::Error::NotFound);
    let attester = orchestrator::by_id(conn, &sidecar.orchestrator_id)?.ok_or_else(missing)?;
    for account in [owner, id] {
        let fact = Fact {
            actor: format!("user:{owner}"),
            action: "sidecar.discarded",
            account_id: Some(account),
            subject: id.to_string(),
            detail: json!({
                "orchestrator": attester.name.as_str(), "orchestrator_id": attester.id, "from": id, "to": owner,
                "resources": removed,
            }),
        };
        audit::append(conn, &fact, now)?;
    }
    end(conn, (&sidecar, SidecarOutcome::Discarded), owner, now)?;
    Ok(removed)
}
