//! Settling a hold by hand, when a resource needs a human: the operator says what became of the money, and the issuer is
//! asked whether that is so.

use serde_json::json;

use super::store;
use super::{Resource, ResourceState};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, HoldId};
use crate::payment::cashier::{self, Cashier, CashierError, LookUpError};
use crate::payment::charge::{self, Charge, ChargeState};

/// What the operator says became of the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The issuer took it: it is spent.
    Captured,
    /// The issuer did not, and will not: it is free again.
    Released,
}

impl Verdict {
    fn charge(self) -> ChargeState {
        match self {
            Self::Captured => ChargeState::Captured,
            Self::Released => ChargeState::Voided,
        }
    }
}

/// Why a hold is not settled by hand.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The account has no hold of this name with a charge and a resource.
    #[error("the account has no such hold")]
    NoSuchHold,
    /// It is settled.
    #[error("the hold is settled: its charge is `{}`", .0.as_str())]
    Settled(ChargeState),
    /// The provider itself still goes on with it.
    #[error("the resource is `{}`: only what needs attention is settled by hand", .0.as_str())]
    NotNeeded(ResourceState),
    /// The issuer says otherwise, or nothing.
    #[error("the issuer does not confirm it: {0}")]
    NotConfirmed(String),
    /// The charge moved meanwhile.
    #[error("the charge moved meanwhile: look again")]
    Moved,
    /// The money's side.
    #[error(transparent)]
    Cashier(#[from] CashierError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for SettleError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Settles the charge, the hold and the ledger as `verdict` says, and answers where the resource is now. The issuer must
/// confirm it, unless there is a reason to do it all the same (`force`). Repeating it answers [`SettleError::Settled`].
///
/// # Errors
/// See [`SettleError`]; nothing was changed then.
pub async fn settle_hold(
    cashier: &Cashier,
    (account, hold): (&AccountId, &HoldId),
    verdict: Verdict,
    force: Option<&str>,
    now: Timestamp,
) -> Result<ResourceState, SettleError> {
    let (charge, resource) = find(cashier, account, hold).await?;
    if matches!(charge.state, ChargeState::Captured | ChargeState::Voided | ChargeState::Refused) {
        return Err(SettleError::Settled(charge.state));
    }
    if resource.state != ResourceState::NeedsAttention {
        return Err(SettleError::NotNeeded(resource.state));
    }
    let said = cashier.look_up(&charge, now).await;
    let told = told(&said);
    if !confirms(&said, verdict) && force.is_none() {
        return Err(SettleError::NotConfirmed(told));
    }
    let id = said.ok().flatten().map(|(_, id)| id);
    let fact = json!({"hold": hold, "amount": charge.amount, "currency": charge.currency, "as": verdict.charge().as_str(),
        "issuer": told, "forced": force});
    let work = move |conn: &mut DbConnection| {
        if !cashier::settle(conn, &charge, verdict.charge(), (id.as_deref(), "settled by the operator"), now)? {
            return Err(SettleError::Moved);
        }
        let to = move_resource(conn, &resource, verdict, now)?;
        let fact = Fact {
            actor: "operator".to_owned(),
            action: "hold.settled",
            account_id: Some(&resource.account_id),
            subject: resource.id.to_string(),
            detail: fact.clone(),
        };
        audit::append(conn, &fact, now)?;
        Ok(to)
    };
    cashier.db.write(account.as_str(), work).await
}

async fn find(cashier: &Cashier, account: &AccountId, hold: &HoldId) -> Result<(Charge, Resource), SettleError> {
    let (account, hold) = (account.clone(), hold.clone());
    let read = move |conn: &mut DbConnection| {
        let resource = store::of_hold(conn, &account, &hold)?.ok_or(SettleError::NoSuchHold)?;
        Ok((charge::of_hold(conn, &account, &hold)?, resource))
    };
    cashier.db.read(read).await
}

type Said = Result<Option<(ChargeState, String)>, LookUpError>;

fn told(said: &Said) -> String {
    match said {
        Ok(Some((ChargeState::Voided, _))) => "it was given back".to_owned(),
        Ok(Some((state, _))) => format!("it is {}", state.as_str()),
        Ok(None) => "it has nothing under this hold".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn confirms(said: &Said, verdict: Verdict) -> bool {
    match said {
        Ok(Some((state, _))) => *state == verdict.charge(),
        Ok(None) => verdict == Verdict::Released,
        Err(_) => false,
    }
}

/// Where the money's fate leads the resource. Work that is still open finds the charge settled, and goes on by itself.
fn move_resource(
    conn: &mut DbConnection,
    resource: &Resource,
    verdict: Verdict,
    now: Timestamp,
) -> Result<ResourceState, SettleError> {
    let whose = (&resource.account_id, &resource.id);
    if store::is_worked_on(conn, whose.0, whose.1)? {
        return Ok(ResourceState::NeedsAttention);
    }
    let (to, why) = match (verdict, resource.sealed_credentials.is_some()) {
        (Verdict::Captured, true) => (ResourceState::Ready, None),
        (Verdict::Captured, false) => (ResourceState::NeedsAttention, Some("paid, and not there")),
        (Verdict::Released, true) => (ResourceState::NeedsAttention, Some("unpaid, and still there")),
        (Verdict::Released, false) => (ResourceState::Failed, Some("the money was given back")),
    };
    let from = [ResourceState::NeedsAttention];
    if !store::set_state(conn, whose, &from, to, why, now)? {
        return Err(SettleError::Moved);
    }
    let action = match to {
        ResourceState::Ready => "resource.ready",
        ResourceState::Failed => "resource.failed",
        _ => "resource.needs_attention",
    };
    super::remove::record(conn, resource, action, why, now)?;
    Ok(to)
}
