//! Merging and moving: what is in a sidecar comes to its owner's account.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::{DecideError, Deciding};
use crate::account::{self, Sidecar, SidecarOutcome};
use crate::audit::{self, Fact};
use crate::authorization::{self, Scope, Scopes};
use crate::catalog::Edition;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId, PaymentTokenId, ResourceId};
use crate::login;
use crate::orchestrator;
use crate::payment::budget::{self, CarriedToken};
use crate::resource::{self, Coming, Desk, MAX_AT_ONCE, RehomeError, Resource};
use crate::takeover;

/// How often others may get in between.
const TRIES: u32 = 5;

/// What is to come over.
#[derive(Debug, Clone)]
pub enum Bring {
    /// Everything. The agent may do this in the owner's account from then on; what it was given before ends, and the
    /// sidecar is closed.
    Everything(Scopes),
    /// These things. The rest stays, with the agent.
    Chosen(BTreeSet<ResourceId>),
}

/// What came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// How many things.
    pub resources: usize,
    /// What people call the orchestrator.
    pub orchestrator: String,
}

/// Everything slow, done before the transaction: secrets sealed for their new place.
#[derive(Debug, Clone)]
struct Prepared {
    coming: Vec<Coming>,
    tokens: Vec<CarriedToken>,
    orchestrators: BTreeSet<OrchestratorId>,
}

/// Brings things of a sidecar to its owner's account: all of it happens, or nothing.
///
/// # Errors
/// See [`DecideError`].
pub async fn bring(
    desk: &Desk,
    edition: Arc<Edition>,
    deciding: &Deciding,
    what: &Bring,
    now: Timestamp,
) -> Result<Brought, DecideError> {
    match what {
        Bring::Everything(scopes) if scopes.is_empty() => return Err(DecideError::NothingChosen),
        Bring::Chosen(chosen) if chosen.is_empty() => return Err(DecideError::NothingChosen),
        _ => {}
    }
    for _ in 0..TRIES {
        let prepared = prepare(desk, deciding, what, now).await?;
        let (edition, deciding, what) = (Arc::clone(&edition), deciding.clone(), what.clone());
        let lane = deciding.owner.to_string();
        let work = move |conn: &mut DbConnection| carry_out(conn, &edition, &deciding, (&what, &prepared), now);
        match desk.cashier.db.write(&lane, work).await {
            Err(error) if error.may_pass() => {}
            other => return other,
        }
    }
    Err(DecideError::Contended)
}

async fn prepare(desk: &Desk, deciding: &Deciding, what: &Bring, now: Timestamp) -> Result<Prepared, DecideError> {
    let (asked, chosen) = (deciding.clone(), what.clone());
    let read = move |conn: &mut DbConnection| {
        let sidecar = account::sidecar_for(conn, asked.owner(), &asked.sidecar)?;
        let there = in_use(conn, &sidecar.account_id)?;
        let coming = wanted(&chosen, there)?;
        let paying: Vec<PaymentTokenId> =
            coming.iter().filter_map(|resource| resource.payment_token_id.clone()).collect();
        let living = matches!(chosen, Bring::Everything(_)).then_some(now);
        let tokens = budget::tokens_with_seals(conn, &sidecar.account_id, (&paying, living))?;
        Ok::<_, DecideError>((coming, tokens))
    };
    let (resources, tokens) = desk.cashier.db.read(read).await?;
    let orchestrators = resources.iter().map(|resource| resource.orchestrator_id.clone()).collect();
    let seal = |resource: &Resource| Coming::seal(resource, &deciding.owner, &desk.credential_sealer);
    let coming = resources.iter().map(seal).collect::<Result<_, _>>()?;
    let whose = (&deciding.sidecar, &deciding.owner);
    let seal = |token| CarriedToken::seal(token, whose, &desk.cashier.sealer);
    let tokens = tokens.into_iter().map(seal).collect::<Result<_, _>>()?;
    Ok(Prepared { coming, tokens, orchestrators })
}

/// What is in use in the account, at most as much as can come at once.
fn in_use(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<Resource>, DecideError> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = resource::list(conn, account, before.as_ref(), 100)?;
        let Some(last) = page.last() else { return Ok(found) };
        before = Some(last.id.clone());
        found.extend(page.into_iter().filter(resource::is_in_use));
        if i64::try_from(found.len()).is_ok_and(|count| count > MAX_AT_ONCE) {
            return Ok(found);
        }
    }
}

fn wanted(what: &Bring, there: Vec<Resource>) -> Result<Vec<Resource>, DecideError> {
    let coming: Vec<Resource> = match what {
        Bring::Everything(_) => there,
        Bring::Chosen(chosen) => there.into_iter().filter(|resource| chosen.contains(&resource.id)).collect(),
    };
    match what {
        // Somebody else's, gone, or never there: all the same from here.
        Bring::Chosen(chosen) if coming.len() != chosen.len() => Err(DecideError::Gone),
        _ if i64::try_from(coming.len()).is_ok_and(|count| count > MAX_AT_ONCE) => {
            Err(DecideError::Resource(RehomeError::TooMany))
        }
        _ => Ok(coming),
    }
}

/// The one transaction: both accounts first, as everywhere.
fn carry_out(
    conn: &mut DbConnection,
    edition: &Edition,
    deciding: &Deciding,
    (what, prepared): (&Bring, &Prepared),
    now: Timestamp,
) -> Result<Brought, DecideError> {
    let sidecar = account::lock_sidecar(conn, deciding.owner(), &deciding.sidecar)?;
    let (from, to) = (&sidecar.account_id, &deciding.owner);
    let ids: Vec<ResourceId> = prepared.coming.iter().map(|one| one.id.clone()).collect();
    let missing = || DbError::Query(diesel::result::Error::NotFound);
    let attester = orchestrator::by_id(conn, &sidecar.orchestrator_id)?.ok_or_else(missing)?;
    may_leave(conn, from, now)?;
    let everything = matches!(what, Bring::Everything(_));
    resource::take_over(conn, edition, (from, to), &prepared.coming, now)?;
    let at_rest = if everything { None } else { Some(ids.as_slice()) };
    if budget::has_open_holds(conn, from, at_rest)? {
        return Err(DecideError::MoneyHeld);
    }
    bring_money(conn, (from, to), (prepared, &ids), now)?;
    if !keeps_secrets(what) {
        resource::renew_these(conn, to, &ids, now)?;
    }
    let name = attester.name.to_string();
    record(conn, (&sidecar, to), (what, ids.len(), &name), now)?;
    takeover::carry_precautions(conn, (from, to))?;
    // A distrust that began meanwhile waits for what was written here, or is seen now.
    may_leave(conn, from, now)?;
    if let Bring::Everything(scopes) = what {
        // Nothing may have come in since it was looked at: it would be left in a closed account.
        if !in_use(conn, from)?.is_empty() {
            return Err(DecideError::Resource(RehomeError::Changed));
        }
        account::relink(conn, (&sidecar, &attester), (to, &scopes.to_string()), now)?;
        end(conn, (&sidecar, SidecarOutcome::Merged), to, now)?;
    }
    Ok(Brought { resources: ids.len(), orchestrator: name })
}

/// What pays for the things and limits them goes on where they then are.
fn bring_money(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    (prepared, ids): (&Prepared, &[ResourceId]),
    now: Timestamp,
) -> Result<(), DecideError> {
    let missing = || DbError::Query(diesel::result::Error::NotFound);
    let own = account::by_id(conn, to)?.ok_or_else(missing)?;
    for id in &prepared.orchestrators {
        let through = orchestrator::by_id(conn, id)?.ok_or_else(missing)?;
        account::ensure_budget(conn, &own, &through, now)?;
    }
    if !budget::take_over_tokens(conn, (from, to), &prepared.tokens, now)? {
        return Err(DecideError::Resource(RehomeError::Changed));
    }
    Ok(budget::take_over_limits(conn, (from, to), ids, now)?)
}

/// Whether the agent goes along with what comes over, and may do there what it could with its secrets.
fn keeps_secrets(what: &Bring) -> bool {
    matches!(what, Bring::Everything(scopes) if scopes.contains(Scope::ResourcesWrite))
}

/// Nothing leaves an account that is held fast: it would be free where it comes to.
fn may_leave(conn: &mut DbConnection, from: &AccountId, now: Timestamp) -> Result<(), DecideError> {
    if takeover::is_held_fast(conn, from, now)? { Err(DecideError::Suspended) } else { Ok(()) }
}

/// Everything that was given for the sidecar ends, and the account with it.
pub(super) fn end(
    conn: &mut DbConnection,
    (sidecar, outcome): (&Sidecar, SidecarOutcome),
    owner: &AccountId,
    now: Timestamp,
) -> Result<(), DecideError> {
    authorization::end_everything_of(conn, &sidecar.account_id, now)?;
    login::end_all(conn, &sidecar.account_id, now)?;
    Ok(account::close_sidecar(conn, (sidecar, outcome), owner, now)?)
}

/// The fact, in the trails of both accounts.
fn record(
    conn: &mut DbConnection,
    (sidecar, owner): (&Sidecar, &AccountId),
    (what, count, orchestrator): (&Bring, usize, &str),
    now: Timestamp,
) -> diesel::QueryResult<()> {
    let (action, scopes) = match what {
        Bring::Everything(scopes) => ("sidecar.merged", Some(scopes.to_string())),
        Bring::Chosen(_) => ("sidecar.moved", None),
    };
    for account in [owner, &sidecar.account_id] {
        let fact = Fact {
            actor: format!("user:{owner}"),
            action,
            account_id: Some(account),
            subject: sidecar.account_id.to_string(),
            detail: json!({
                "orchestrator": orchestrator, "orchestrator_id": sidecar.orchestrator_id, "from": sidecar.account_id,
                "to": owner, "resources": count, "scopes": scopes,
            }),
        };
        audit::append(conn, &fact, now)?;
    }
    Ok(())
}
