//! `GET /provisioning/resources/{id}`.

use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::super::bearer::{allows, caller};
use super::super::envelope::{Refusal, Status};
use super::answer::{self, ResourceAnswer, Secrets};
use super::own;
use crate::app::App;
use crate::authorization::Scope;
use crate::http::limit::Allowance;

/// A resource as it is now. It mints nothing, and repeats no secret.
#[utoipa::path(get, path = "/provisioning/resources/{id}", tag = "provisioning", operation_id = "provisioning_get_resource",
    security(("access_token" = [], "stripe_signature" = [])),
    params(("id" = String, Path), ("API-Version" = String, Header, description = "0.1d")),
    responses((status = 200, body = ResourceAnswer), (status = 400), (status = 401), (status = 403), (status = 404),
        (status = 500), (status = 503)))]
pub(crate) async fn show_resource(
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let caller = caller(&app, &request, payload).await?;
    let id = own::id(&path)?;
    allows(&caller.access, Scope::ResourcesRead)?;
    let resource = own::own(&app, &caller, &id).await?;
    answer::of(&app, &caller, &resource, Secrets::Withheld, &Allowance::default()).await
}
