//! Whose resource it is: the caller's account has it, it was bought through the caller's orchestrator, and that one bought
//! or linked it on this wire. Whoever did not sell it neither pays for it nor has its credentials.

use actix_web::http::StatusCode;

use super::super::bearer::WireCaller;
use super::super::envelope::{Refusal, Status};
use crate::app::App;
use crate::db::DbError;
use crate::ids::ResourceId;
use crate::resource::{self, Resource};

/// An id of the right form: else 400 `invalid_resource_id`.
pub(super) fn id(path: &str) -> Result<ResourceId, Refusal<Status>> {
    path.parse().map_err(|_not_an_id| {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_resource_id", "The path does not name a resource: `res_…`.")
    })
}

/// What there is no resource of is told apart from what is another's: ids cannot be guessed.
///
/// # Errors
/// 404 `not_found`; 403 `forbidden` for one of another account, or that another orchestrator or nobody provisioned here.
pub(super) async fn own(app: &App, caller: &WireCaller, id: &ResourceId) -> Result<Resource, Refusal<Status>> {
    let wanted = id.clone();
    let found = app.db.read(move |conn| {
        let Some(resource) = resource::owner_of(conn, &wanted)? else { return Ok::<_, DbError>(None) };
        let holder = resource::holder(conn, &resource.account_id, &wanted)?;
        Ok(Some((resource, holder)))
    });
    let refused = |status, code, message: &str| Refusal::new(status, code, message).about(id.as_str());
    let Some((resource, holder)) = found.await? else {
        return Err(refused(StatusCode::NOT_FOUND, "not_found", "There is no such resource."));
    };
    let (account, orchestrator) = (&caller.access.account.id, &caller.access.orchestrator.id);
    let bought = resource.account_id == *account && resource.orchestrator_id == *orchestrator;
    if !bought || holder.as_ref() != Some(orchestrator) {
        return Err(refused(StatusCode::FORBIDDEN, "forbidden", "The resource is another's."));
    }
    Ok(resource)
}
