//! `POST /provisioning/resources/link`: an orchestrator takes up a resource that the account already has.

use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::envelope::{Refusal, Status};
use super::answer::{self, ResourceAnswer, Secrets};
use super::body::ResourceRequest;
use super::{adding, refused};
use crate::app::App;
use crate::http::limit::Limits;
use crate::ids::ResourceId;
use crate::resource::{self, Link, LinkError};

/// Links an existing resource: the first answer asks for its id. It hands over no secret; `rotate_credentials` does.
#[utoipa::path(post, path = "/provisioning/resources/link", tag = "provisioning", operation_id = "provisioning_link_resource",
    request_body = ResourceRequest, security(("access_token" = [], "stripe_signature" = [])),
    params(("API-Version" = String, Header, description = "0.1d")),
    responses((status = 200, body = ResourceAnswer), (status = 400), (status = 401), (status = 403), (status = 404),
        (status = 409), (status = 429), (status = 500), (status = 503)))]
pub(crate) async fn link_resource(
    app: Data<App>,
    limits: Data<Limits>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let (caller, allowance, body) = adding(&app, &limits, &request, payload).await?;
    let placement = body.placement()?;
    let edition = app.edition();
    let service_id = body.service_id().ok_or_else(refused::missing_service_id)?;
    let offer = edition.offer_of_wire_id(service_id).ok_or_else(|| refused::unknown_service(service_id))?;
    let submitted = body.submitted_information.as_ref().and_then(|given| given.get("resource_id"));
    let id = match submitted.filter(|id| !id.is_null()) {
        None => return Ok(answer::asks(schema(), None, &allowance)),
        Some(Value::String(id)) => id,
        Some(_) => return Err(Refusal::bad("`submitted_information.resource_id` is not a text.")),
    };
    // What is no id is no resource either.
    let id: ResourceId = id.parse().map_err(|_not_an_id| Refusal::from(LinkError::NotFound))?;
    let link = Link { agent: caller.agent(), id, plan: offer.name(), edition: edition.clone(), placement };
    let resource = resource::link(&app.desk, link, caller.now).await?;
    answer::of(&app, &caller, &resource, Secrets::Withheld, &allowance).await
}

/// What has to be said: which resource.
fn schema() -> Value {
    json!({
        "type": "object", "required": ["resource_id"], "additionalProperties": false,
        "properties": {"resource_id": {
            "type": "string", "maxLength": 64, "description": "The id of the existing resource: res_…",
        }},
    })
}
