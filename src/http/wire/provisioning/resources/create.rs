//! `POST /provisioning/resources`.

use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::super::bearer::WireCaller;
use super::super::envelope::{Refusal, Status};
use super::answer::{self, ResourceAnswer, Secrets};
use super::body::{self, ResourceRequest};
use super::key::{self, Named, WireKey};
use super::{adding, refused};
use crate::app::App;
use crate::http::limit::{Allowance, Limits};
use crate::resource::{self, Purchase, Wanted};

/// Makes a resource: the money is held, the thing is made, the money is taken, the credentials are handed over.
#[utoipa::path(post, path = "/provisioning/resources", tag = "provisioning", operation_id = "provisioning_create_resource",
    request_body = ResourceRequest, security(("access_token" = [], "stripe_signature" = [])),
    params(("API-Version" = String, Header, description = "0.1d"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Else `orchestrator_resource_id`, else `project_id` with `service_id`, finds the request again.")),
    responses((status = 200, body = ResourceAnswer), (status = 400), (status = 401), (status = 403), (status = 409),
        (status = 422), (status = 429), (status = 500), (status = 503)))]
pub(crate) async fn create_resource(
    app: Data<App>,
    limits: Data<Limits>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<Status>> {
    let (caller, allowance, body) = adding(&app, &limits, &request, payload).await?;
    let header = key::header(&request)?;
    let placement = body.placement()?;
    let prefix = body::label_prefix(body.label_prefix.as_ref(), "")?;
    let token = body.payment_token()?;
    let edition = app.edition();
    let offer = body.service_id().and_then(|id| edition.offer_of_wire_id(id));
    let kyc = offer.map(|offer| offer.kyc.as_slice()).unwrap_or_default();
    let key = key::of_purchase(&caller, header.as_ref(), &body, kyc, &placement)?;
    let again = matches!(key.named, Named::Place(_));
    if let Some(wanted) = done_before(&app, &caller, &key, again).await? {
        return bought(&app, &caller, &wanted, &allowance).await;
    }
    let service_id = body.service_id().ok_or_else(refused::missing_service_id)?;
    let offer = offer.ok_or_else(|| refused::unknown_service(service_id))?;
    let (configuration, person) = (body.configured(kyc), body.person(kyc)?);
    let configured = body::configuration_fits(offer, &configuration)?;
    let needed = body::still_needed(&app, &caller, kyc, &person).await?;
    if !configured || !needed.is_empty() {
        return Ok(answer::asks(answer::schema(offer, configured, &needed), None, &allowance));
    }
    let token = body::payer(&app, &caller, token, "").await?;
    let purchase = Purchase {
        account_id: caller.access.account.id.clone(),
        orchestrator_id: caller.access.orchestrator.id.clone(),
        client: caller.access.client.clone(),
        plan: offer.name(),
        name: prefix.map_or_else(|| service_id.to_owned(), |prefix| format!("{prefix} {service_id}")),
        configuration: Value::Object(configuration),
        placement: Some(placement),
        allowance: None,
        information: body::sealed(&app, &caller, &person)?,
        again,
        edition: edition.clone(),
    };
    let WireKey { keyed, named } = key;
    let wanted = resource::buy(&app.desk, purchase, token, keyed, caller.now).await;
    bought(&app, &caller, &wanted.map_err(|error| refused::purchase(error, named))?, &allowance).await
}

/// A retry finds what its first request made, also when the catalog or the payment token have moved on since.
async fn done_before(
    app: &App,
    caller: &WireCaller,
    key: &WireKey,
    again: bool,
) -> Result<Option<Wanted>, Refusal<Status>> {
    let (account, keyed, now) = (caller.access.account.id.clone(), key.keyed.clone(), caller.now);
    let found = app.db.read(move |conn| resource::standing(conn, &account, &keyed, again, now)).await;
    found.map_err(|error| refused::purchase(error, key.named))
}

async fn bought(
    app: &App,
    caller: &WireCaller,
    wanted: &Wanted,
    allowance: &Allowance,
) -> Result<HttpResponse, Refusal<Status>> {
    let (account, id) = (caller.access.account.id.clone(), wanted.id.clone());
    let found = app.db.read(move |conn| resource::by_id(conn, &account, &id)).await?;
    // Its owner may have merged the account into another one since it was bought.
    let resource = found.ok_or_else(refused::not_found)?;
    answer::of(app, caller, &resource, Secrets::HandedOver, allowance).await
}
