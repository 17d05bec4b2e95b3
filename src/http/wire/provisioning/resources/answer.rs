//! How the wire says what became of a resource.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::super::bearer::WireCaller;
use super::super::envelope::{Refusal, Status};
use super::super::person;
use super::refused;
use crate::account::PersonalField;
use crate::app::App;
use crate::catalog::{Edition, LoadError, Offer, PlanRef, Version};
use crate::db::DbError;
use crate::http::limit::Allowance;
use crate::ids::{AccountId, ResourceId};
use crate::resource::{self, Came, Changed, Resource, ResourceState, Shown};

/// A resource on the wire; which members there are depends on `status`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResourceAnswer {
    /// `complete`, `pending`, `needs_information`, `pending_removal`, `removed`; refusals are `error`.
    status: &'static str,
    /// The resource: `res_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Its service, where the orchestrator's profile echoes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_id: Option<String>,
    /// What it is used with.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<Complete>,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_information: Option<NeedsInformation>,
}

/// What a resource is used with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Complete {
    /// Names and values, all of them texts; nothing for a tier.
    #[schema(value_type = Object)]
    access_configuration: Map<String, Value>,
}

/// What is missing: send the request again with it as `submitted_information`.
#[derive(Serialize, ToSchema)]
pub(crate) struct NeedsInformation {
    /// JSON Schema (draft 2020-12).
    schema: Value,
}

/// Whether an answer hands over secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// To the request that made them, and its retries.
    HandedOver,
    /// To everybody else.
    Withheld,
}

fn respond(answer: &ResourceAnswer, allowance: &Allowance) -> HttpResponse {
    let mut builder = HttpResponse::Ok();
    builder.insert_header((header::CACHE_CONTROL, "no-store"));
    allowance.tell(&mut builder);
    builder.json(answer)
}

fn plain(status: &'static str, id: Option<&ResourceId>) -> ResourceAnswer {
    let id = id.map(ToString::to_string);
    ResourceAnswer { status, id, service_id: None, complete: None, needs_information: None }
}

/// It is gone.
pub(super) fn removed(id: &ResourceId) -> HttpResponse {
    respond(&plain("removed", Some(id)), &Allowance::default())
}

/// The schema of everything that has to be said about a plan that is to be had.
pub(super) fn schema(offer: &Offer, configured: bool, needed: &[PersonalField]) -> Value {
    match (configured, needed.is_empty()) {
        (true, _) => person::schema(needed),
        (false, true) => offer.plan.configuration_schema(),
        (false, false) => person::schema_with(offer.plan.configuration_schema(), needed),
    }
}

/// What has to be said first.
pub(super) fn asks(schema: Value, id: Option<&ResourceId>, allowance: &Allowance) -> HttpResponse {
    let answer =
        ResourceAnswer { needs_information: Some(NeedsInformation { schema }), ..plain("needs_information", id) };
    respond(&answer, allowance)
}

/// The resource as it is now.
///
/// # Errors
/// One that never came to be, in the words in which the purchase was refused.
pub(super) async fn of(
    app: &App,
    caller: &WireCaller,
    resource: &Resource,
    secrets: Secrets,
    allowance: &Allowance,
) -> Result<HttpResponse, Refusal<Status>> {
    let status = match resource.state {
        ResourceState::Ready => return complete(app, caller, resource, secrets, allowance).await,
        ResourceState::Failed => return Err(never_came_to_be(app, resource).await?),
        ResourceState::NeedsAttention if !is_worked_on(app, resource).await? => {
            return Err(refused::needs_human(resource).about(resource.id.as_str()));
        }
        ResourceState::Removed => "removed",
        ResourceState::Removing => "pending_removal",
        ResourceState::Requested
        | ResourceState::Provisioning
        | ResourceState::Changing
        | ResourceState::Suspended
        | ResourceState::NeedsAttention => "pending",
    };
    Ok(respond(&plain(status, Some(&resource.id)), allowance))
}

/// Whether something still goes on by itself, although a human was called.
async fn is_worked_on(app: &App, resource: &Resource) -> Result<bool, Refusal<Status>> {
    let (account, id) = (resource.account_id.clone(), resource.id.clone());
    Ok(app.db.read(move |conn| Ok::<_, DbError>(resource::is_worked_on(conn, &account, &id)?)).await?)
}

async fn complete(
    app: &App,
    caller: &WireCaller,
    resource: &Resource,
    secrets: Secrets,
    allowance: &Allowance,
) -> Result<HttpResponse, Refusal<Status>> {
    let sold = sold_under(app, resource).await?;
    let shown = match secrets {
        Secrets::HandedOver => resource::open_credentials(&app.desk, resource, caller.now).await?,
        Secrets::Withheld => resource::public_values(&app.desk, resource)?,
    };
    let plan = plan_of(resource)?;
    let service_id = sold.as_ref().and_then(|sold| sold.wire_service_id(&plan)).unwrap_or_else(|| plan.to_string());
    let answer = ResourceAnswer {
        service_id: caller.settings.profile.echo.service_id.then_some(service_id),
        complete: Some(Complete { access_configuration: access(sold.as_deref(), &plan, shown.unwrap_or_default()) }),
        ..plain("complete", Some(&resource.id))
    };
    Ok(respond(&answer, allowance))
}

/// The revision under which the resource was sold: its names are those that the buyer saw.
pub(super) async fn sold_under(
    app: &App,
    resource: &Resource,
) -> Result<Option<std::sync::Arc<Edition>>, Refusal<Status>> {
    let version = Version::try_from(resource.catalog_version).map_err(Refusal::broken)?;
    app.edition_of(version).await.map_err(|error: LoadError| Refusal::broken(error))
}

/// Which plan a resource is.
pub(super) fn plan_of(resource: &Resource) -> Result<PlanRef, Refusal<Status>> {
    format!("{}/{}", resource.service, resource.plan).parse().map_err(Refusal::broken)
}

/// The catalog's names for the values on this wire.
fn access(sold: Option<&Edition>, plan: &PlanRef, shown: Shown) -> Map<String, Value> {
    let Some(offer) = sold.and_then(|sold| sold.offer(plan)) else {
        return shown.into_iter().map(|(name, value)| (name, value.into())).collect();
    };
    let named = offer.plan.access().into_iter();
    named.filter_map(|(name, credential)| Some((name.to_owned(), json!(shown.get(credential.as_str())?)))).collect()
}

/// What became of work on a resource, and the resource as it is now.
pub(super) async fn came_of(
    app: &App,
    resource: (&AccountId, &ResourceId),
    changed: &Changed,
) -> Result<(Came, Resource), Refusal<Status>> {
    let (account, id, operation) = (resource.0.clone(), resource.1.clone(), changed.operation.clone());
    let read = app.db.read(move |conn| {
        let came = match &operation {
            Some(operation) => resource::came_of(conn, &account, operation)?,
            None => Some(Came::Done),
        };
        Ok::<_, DbError>(came.zip(resource::by_id(conn, &account, &id)?))
    });
    // Its owner may have merged the account into another one since the work was done.
    read.await?.ok_or_else(refused::not_found)
}

/// Why a purchase came to nothing: for the money, or because the platform could not.
async fn never_came_to_be(app: &App, resource: &Resource) -> Result<Refusal<Status>, Refusal<Status>> {
    let (account, id) = (resource.account_id.clone(), resource.id.clone());
    let came = app.db.read(move |conn| resource::came_of_purchase(conn, &account, &id)).await?;
    let refusal = match came {
        Some(Came::Refused { payment: true, why }) => {
            refused::payment(format!("The payment was refused ({why}): nothing was made, and nothing is held."))
        }
        Some(Came::Refused { payment: false, why }) => refused::failed("server_error", &why),
        _ => refused::failed("server_error", "a resource failed without a reason"),
    };
    Ok(refusal.about(resource.id.as_str()))
}
