//! Linking: an orchestrator takes up a resource that the account already has.

use std::sync::Arc;

use super::buy::TRIES;
use super::constraints::{self, Candidate, ConstraintError};
use super::placement::Placement;
use super::{Desk, Resource, ResourceState, store, wire_store};
use crate::account::{self, AdmitError, AgentKey, Barred};
use crate::audit::{self, Fact};
use crate::catalog::{Edition, PlanRef};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::idempotency;
use crate::ids::ResourceId;

/// What is to be linked, by whom.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whose it is, and who takes it up.
    pub agent: AgentKey,
    /// Which.
    pub id: ResourceId,
    /// What it must be.
    pub plan: PlanRef,
    /// The catalog, whose limits count in the project too.
    pub edition: Arc<Edition>,
    /// Where it is put.
    pub placement: Placement,
}

/// Why nothing is linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such resource, or it is not this account's, is of another plan, is gone or held back, was bought through another
    /// orchestrator or is held by one: who asks does not learn which.
    #[error("the account has no such resource to link")]
    NotFound,
    /// The owner barred the agent, or the account was claimed a moment ago.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The catalog forbids it in that project.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<AdmitError> for LinkError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Barred(barred) => Self::Barred(barred),
            AdmitError::Db(error) => Self::Db(error),
        }
    }
}

impl From<diesel::result::Error> for LinkError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Links a resource. Linking it again changes nothing.
///
/// # Errors
/// See [`LinkError`].
pub async fn link(desk: &Desk, link: Link, now: Timestamp) -> Result<Resource, LinkError> {
    let account = link.agent.account_id.clone();
    let mut tries = TRIES;
    loop {
        let link = link.clone();
        let work = move |conn: &mut DbConnection| take_up(conn, &link, now);
        match desk.cashier.db.write(account.as_str(), work).await {
            // Somebody took it up at the same moment: perhaps a copy of this request.
            Err(LinkError::Db(error)) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => return other,
        }
    }
}

fn take_up(conn: &mut DbConnection, link: &Link, now: Timestamp) -> Result<Resource, LinkError> {
    let AgentKey { account_id: account, orchestrator_id: orchestrator, .. } = &link.agent;
    let id = &link.id;
    account::act(conn, &link.agent, now)?;
    let resource = store::by_id(conn, account, id)?.ok_or(LinkError::NotFound)?;
    let same_plan =
        (resource.service.as_str(), resource.plan.as_str()) == (link.plan.service.as_str(), link.plan.plan.as_str());
    // Whoever bought it is who pays for it, under that orchestrator's ceilings and with its tokens.
    let theirs = resource.orchestrator_id == *orchestrator;
    let held = resource.quarantined_at.is_some();
    if !same_plan || !theirs || held || matches!(resource.state, ResourceState::Removed | ResourceState::Failed) {
        return Err(LinkError::NotFound);
    }
    match wire_store::holder(conn, account, id)? {
        Some(holder) if holder == *orchestrator => return Ok(resource),
        Some(_) => return Err(LinkError::NotFound),
        None => {}
    }
    let project = link.placement.project_id.as_deref();
    let candidate = Candidate { account, edition: &link.edition, plan: &link.plan, project, itself: Some(id) };
    match constraints::check(conn, &candidate)? {
        // What it needed it had when it was bought.
        Ok(_) | Err(ConstraintError::Requires { .. }) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    wire_store::insert(conn, (account, id), orchestrator, &link.placement, now)?;
    wire_store::set_project(conn, (account, id), project)?;
    let fact = Fact {
        actor: format!("account:{account}"),
        action: "resource.linked",
        account_id: Some(account),
        subject: id.to_string(),
        detail: serde_json::json!({"orchestrator": orchestrator, "project": project}),
    };
    audit::append(conn, &fact, now)?;
    Ok(resource)
}
