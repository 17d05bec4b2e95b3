//! `POST /provisioning/resources/{id}/remove`.

use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::super::bearer::{WireCaller, allows, caller};
use super::super::envelope::{Refusal, Status};
use super::answer::{self, ResourceAnswer, Secrets};
use super::body::{self, ActorRequest};
use super::{own, refused};
use crate::app::App;
use crate::authorization::Scope;
use crate::http::limit::Allowance;
use crate::ids::ResourceId;
use crate::resource::{self, By, ResourceState};

/// Removes a resource. Repeating it is safe.
#[utoipa::path(post, path = "/provisioning/resources/{id}/remove", tag = "provisioning",
    operation_id = "provisioning_remove_resource", request_body = ActorRequest,
    security(("access_token" = [], "stripe_signature" = [])),
    params(("id" = String, Path), ("API-Version" = String, Header, description = "0.1d")),
    responses((status = 200, body = ResourceAnswer), (status = 400), (status = 401), (status = 403), (status = 404),
        (status = 409), (status = 500), (status = 503)))]
pub(crate) async fn remove_resource(
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let caller = caller(&app, &request, payload).await?;
    let id = own::id(&path)?;
    allows(&caller.access, Scope::ResourcesDelete)?;
    own::own(&app, &caller, &id).await?;
    let _: ActorRequest = body::read(&caller, &request, id.as_str())?;
    remove(&app, &caller, &id).await.map_err(|refusal| refusal.about(id.as_str()))
}

async fn remove(app: &App, caller: &WireCaller, id: &ResourceId) -> Result<HttpResponse, Refusal<Status>> {
    let account = caller.access.account.id.clone();
    resource::remove(&app.desk, app.edition(), (&account, id), &By::Agent(caller.agent()), caller.now).await?;
    let wanted = id.clone();
    let found = app.db.read(move |conn| resource::by_id(conn, &account, &wanted)).await?;
    let resource = found.ok_or_else(refused::not_found)?;
    match resource.state {
        ResourceState::NeedsAttention => {
            Err(refused::failed("remove_failed", resource.state_reason.as_deref().unwrap_or("no reason")))
        }
        // What never came to be is as gone as what was removed.
        ResourceState::Failed => Ok(answer::removed(id)),
        _ => answer::of(app, caller, &resource, Secrets::Withheld, &Allowance::default()).await,
    }
}
