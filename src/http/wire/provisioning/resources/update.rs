//! `POST /provisioning/resources/{id}/update_service`.

use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::super::bearer::{WireCaller, allows, caller};
use super::super::envelope::{Refusal, Status};
use super::super::person;
use super::answer::{self, ResourceAnswer, Secrets};
use super::body::{self, ResourceRequest};
use super::{key, own, refused};
use crate::app::App;
use crate::authorization::Scope;
use crate::catalog::Offer;
use crate::http::limit::Allowance;
use crate::ids::ResourceId;
use crate::resource::{self, Came, Change, ChangeError, Changed, InformationNeeded};

/// Moves a resource to another service of the catalog, or gives it another configuration.
#[utoipa::path(post, path = "/provisioning/resources/{id}/update_service", tag = "provisioning",
    operation_id = "provisioning_update_service", request_body = ResourceRequest,
    security(("access_token" = [], "stripe_signature" = [])),
    params(("id" = String, Path), ("API-Version" = String, Header, description = "0.1d"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = ResourceAnswer), (status = 400), (status = 401), (status = 403), (status = 404),
        (status = 409), (status = 422), (status = 500), (status = 503)))]
pub(crate) async fn update_service(
    app: Data<App>,
    path: Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let caller = caller(&app, &request, payload).await?;
    let id = own::id(&path)?;
    allows(&caller.access, Scope::ResourcesWrite)?;
    own::own(&app, &caller, &id).await?;
    change(&app, &caller, &id, &request).await.map_err(|refusal| refusal.about(id.as_str()))
}

async fn change(
    app: &App,
    caller: &WireCaller,
    id: &ResourceId,
    request: &HttpRequest,
) -> Result<HttpResponse, Refusal<Status>> {
    let body: ResourceRequest = body::read(caller, request, id.as_str())?;
    let header = key::header(request)?;
    let token = body.payment_token()?;
    if body.service_id().is_none() && body.configuration.is_none() && body.submitted_information.is_none() {
        return Err(refused::missing_service_id());
    }
    let edition = app.edition();
    let to = match body.service_id() {
        Some(name) => Some(edition.offer_of_wire_id(name).ok_or_else(|| refused::unknown_service(name))?),
        None => None,
    };
    let kyc = to.map(|offer| offer.kyc.as_slice()).unwrap_or_default();
    let (configuration, said) = (body.configured(kyc), body.person(kyc)?);
    let content = json!({
        "service_id": body.service_id(), "configuration": configuration,
        "payment_token": token.as_ref().map(|token| token.hash().as_str().to_owned()),
    });
    let operation = format!("provisioning.update/{id}");
    let key = key::of(caller, &operation, header.as_ref(), &content)?;
    let account_id = caller.access.account.id.clone();
    let change = Change {
        account_id,
        orchestrator_id: caller.access.orchestrator.id.clone(),
        id: id.clone(),
        edition: edition.clone(),
        to: to.map(Offer::name),
        configuration,
        information: body::sealed(app, caller, &said)?,
    };
    let changed = if let Some(changed) = before(app, &change, &key).await? {
        Ok(changed)
    } else {
        let token = body::payer(app, caller, token, id.as_str()).await?;
        resource::change_plan(&app.desk, change, token, key.keyed, caller.now).await
    };
    match changed {
        Ok(changed) => came(app, caller, id, &changed).await,
        Err(ChangeError::Configuration(plan, wrong)) if !body::fits(&wrong, id.as_str())? => {
            let offer = edition.offer(&plan).ok_or_else(|| refused::unknown_service(&plan.to_string()))?;
            let needed = body::still_needed(app, caller, kyc, &said).await?;
            Ok(answer::asks(answer::schema(offer, false, &needed), Some(id), &Allowance::default()))
        }
        Err(ChangeError::Information(InformationNeeded(needed))) => {
            Ok(answer::asks(person::schema(&needed), Some(id), &Allowance::default()))
        }
        Err(error) => Err(refused::change(error)),
    }
}

/// A retry finds what its first request did, also when its payment token has expired since.
async fn before(app: &App, change: &Change, key: &key::WireKey) -> Result<Option<Changed>, Refusal<Status>> {
    let (account, keyed, now) = (change.account_id.clone(), key.keyed.clone(), app.clock.now());
    let found = app.db.read(move |conn| resource::changed_before(conn, &account, &keyed, now)).await;
    found.map_err(refused::change)
}

/// What became of the change.
async fn came(
    app: &App,
    caller: &WireCaller,
    id: &ResourceId,
    changed: &Changed,
) -> Result<HttpResponse, Refusal<Status>> {
    let (came, resource) = answer::came_of(app, (&caller.access.account.id, id), changed).await?;
    // Where there was nothing to do, nothing was made that could be handed over.
    let secrets = if changed.operation.is_some() { Secrets::HandedOver } else { Secrets::Withheld };
    match came {
        Came::Done | Came::Pending => answer::of(app, caller, &resource, secrets, &Allowance::default()).await,
        Came::Refused { payment: true, why } => {
            Err(refused::payment(format!("The payment was refused ({why}): the resource is what it was.")))
        }
        Came::Refused { payment: false, why } => Err(refused::failed("server_error", &why)),
    }
}
