//! `POST /provisioning/resources/{id}/rotate_credentials`.

use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::super::bearer::{WireCaller, allows, caller};
use super::super::envelope::{Refusal, Status};
use super::answer::{self, ResourceAnswer, Secrets};
use super::body::{self, ActorRequest};
use super::{key, own, refused};
use crate::app::App;
use crate::authorization::Scope;
use crate::http::limit::Allowance;
use crate::resource::{self, Came, Resource};

/// Replaces a resource's credentials. Whether the ones before work on for a while is the provider's word.
#[utoipa::path(post, path = "/provisioning/resources/{id}/rotate_credentials", tag = "provisioning",
    operation_id = "provisioning_rotate_credentials", request_body = ActorRequest,
    security(("access_token" = [], "stripe_signature" = [])),
    params(("id" = String, Path), ("API-Version" = String, Header, description = "0.1d"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ResourceAnswer), (status = 400), (status = 401), (status = 403), (status = 404),
        (status = 409), (status = 422), (status = 500), (status = 503)))]
pub(crate) async fn rotate_credentials(
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let caller = caller(&app, &request, payload).await?;
    let id = own::id(&path)?;
    allows(&caller.access, Scope::ResourcesWrite)?;
    let resource = own::own(&app, &caller, &id).await?;
    rotate(&app, &caller, &resource, &request).await.map_err(|refusal| refusal.about(id.as_str()))
}

async fn rotate(
    app: &App,
    caller: &WireCaller,
    resource: &Resource,
    request: &HttpRequest,
) -> Result<HttpResponse, Refusal<Status>> {
    let body: ActorRequest = body::read(caller, request, resource.id.as_str())?;
    body::label_prefix(body.label_prefix.as_ref(), resource.id.as_str())?;
    let header = key::header(request)?;
    let sold = answer::sold_under(app, resource).await?;
    let plan = answer::plan_of(resource)?;
    if sold.and_then(|sold| sold.offer(&plan).map(|offer| offer.plan.credentials.is_empty())) == Some(true) {
        return Err(refused::state("The resource has no credentials that could be replaced."));
    }
    let operation = format!("provisioning.rotate/{}", resource.id);
    let key = key::of(caller, &operation, header.as_ref(), &json!({}))?;
    let rotated = resource::rotate(&app.desk, &caller.agent(), &resource.id, key.keyed, caller.now).await?;
    let (came, resource) = answer::came_of(app, (&resource.account_id, &resource.id), &rotated).await?;
    match came {
        Came::Done | Came::Pending => {
            answer::of(app, caller, &resource, Secrets::HandedOver, &Allowance::default()).await
        }
        Came::Refused { why, .. } => Err(refused::failed("credential_rotation_failed", &why)),
    }
}
