//! `POST /v1/usage`: the provider's platform reports what was used (CloudEvents 1.0, JSON format, one event).

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::resources::led_to_claim;
use crate::app::App;
use crate::catalog::{MeterId, PlanId, Price, ServiceId, Version};
use crate::clock::Timestamp;
use crate::http::caller::{Event, Meter};
use crate::http::problem::{Problem, table};
use crate::ids::ResourceId;
use crate::payment::budget;
use crate::payment::hold::CounterKind;
use crate::resource::usage::{self, Metering, UsageError, UsageEvent};
use crate::resource::{self, Resource};

/// A CloudEvent about usage.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UsageRequest {
    /// `1.0`.
    specversion: String,
    /// Unique within `source`.
    id: String,
    /// Who reports.
    source: String,
    /// `portreeve.usage`.
    #[serde(rename = "type")]
    kind: String,
    /// The resource: `res_…`.
    subject: String,
    /// When it was used (RFC 3339); now when absent.
    time: Option<String>,
    data: UsageData,
}

/// What was used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageData {
    /// A meter of the plan.
    meter: String,
    /// Above zero, as a decimal text: `1`, `0.25`.
    quantity: String,
    /// Which of the resource's credentials were used: 0 for the first, then one more for each rotation. Credentials that
    /// were replaced, and whose time to work on is over, are refused with 403.
    generation: Option<i64>,
}

/// What became of the event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageResponse {
    /// `recorded`, or `duplicate` when it had been recorded before.
    event: &'static str,
    cost: CostView,
    /// What is left under the ceiling that binds, in minor units.
    remaining: i64,
}

/// An amount in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostView {
    pub(crate) currency: String,
    pub(crate) amount: i64,
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(&table::BAD_REQUEST, detail)
}

/// The event, with every member of the right form.
fn read(request: &UsageRequest, now: Timestamp) -> Result<(ResourceId, UsageEvent), Problem> {
    if request.specversion != "1.0" {
        return Err(bad("`specversion` must be `1.0`."));
    }
    if request.kind != "portreeve.usage" {
        return Err(bad("`type` must be `portreeve.usage`."));
    }
    for (name, text) in [("id", &request.id), ("source", &request.source)] {
        if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            return Err(bad(format!("`{name}` has 1 to 255 bytes without control characters.")));
        }
    }
    let subject = request.subject.parse().map_err(|error| bad(format!("`subject`: {error}.")))?;
    let quantity = quantity(&request.data.quantity)?;
    let at = match &request.time {
        Some(text) => Timestamp::parse_rfc3339(text).map_err(|_bad| bad("`time` is not RFC 3339."))?,
        None => now,
    };
    let (source, id) = (request.source.clone(), request.id.clone());
    let (meter, generation) = (request.data.meter.clone(), request.data.generation);
    Ok((subject, UsageEvent { source, id, meter, quantity, at, generation }))
}

fn quantity(text: &str) -> Result<Decimal, Problem> {
    let refused = || bad("`data.quantity` is plain digits above zero with at most 6 after a point, such as `1`.");
    let plain = text.len() <= 20 && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let value = Decimal::from_str_exact(text).ok().filter(|value| plain && value.scale() <= 6);
    value.filter(|value| *value > Decimal::ZERO).ok_or_else(refused)
}

/// What the meter costs in the revision under which the resource was sold.
async fn metering(app: &App, resource: &Resource, meter: &str) -> Result<Metering, Problem> {
    let unknown = || Problem::new(&table::UNKNOWN_PLAN, "`data.meter` is not a meter of the resource's plan.");
    let version = Version::try_from(resource.catalog_version).map_err(|_bad| unknown())?;
    let sold = app.edition_of(version).await?.ok_or_else(unknown)?;
    let service: ServiceId = resource.service.parse().map_err(|_bad| unknown())?;
    let plan: PlanId = resource.plan.parse().map_err(|_bad| unknown())?;
    let meter_id: MeterId = meter.parse().map_err(|_bad| unknown())?;
    let offer = sold.plan(&service, &plan).ok_or_else(unknown)?;
    let parent = resource.price_parent.as_deref().and_then(|parent| parent.parse().ok());
    let Price::Metered(price) = resource::price_under(offer, parent.as_ref()) else { return Err(unknown()) };
    let meter = price.meters().iter().find(|meter| meter.id == meter_id).ok_or_else(unknown)?;
    Ok(Metering {
        rate: meter.rate,
        per: meter.per.decimal(),
        per_month: price.max_exposure().money().amount,
        title: format!("{} · {meter_id}", offer.service_title),
    })
}

/// Records one usage event and charges for it; refused with 402 when it no longer fits under a ceiling.
#[utoipa::path(post, path = "/v1/usage", tag = "usage",
    request_body(content = UsageRequest, content_type = "application/cloudevents+json"),
    responses((status = 200, body = UsageResponse), (status = 400), (status = 401), (status = 402), (status = 403), (status = 404),
        (status = 409), (status = 422)),
    security(("meter_key" = [])))]
pub(crate) async fn record_usage(
    app: Data<App>,
    meter: Meter,
    body: Event<UsageRequest>,
) -> Result<HttpResponse, Problem> {
    let (subject, event) = read(&body.0, meter.now)?;
    let found = app.db.read(move |conn| resource::owner_of(conn, &subject)).await?;
    let resource = found.ok_or_else(|| Problem::new(&table::NOT_FOUND, "`subject` is no resource."))?;
    let metering = metering(&app, &resource, &event.meter).await?;
    let recorded = match usage::record(&app.db, &resource, &metering, &event, meter.now).await {
        Ok(recorded) => recorded,
        Err(UsageError::Cap(refusal)) if refusal.kind == CounterKind::Budget => {
            let whose = (&resource.account_id, &resource.orchestrator_id);
            return Err(led_to_claim(&app, whose, UsageError::Cap(refusal).into(), meter.now).await?);
        }
        Err(error) => return Err(error.into()),
    };
    let now = meter.now;
    let budget =
        app.db.read(move |conn| budget::view(conn, &resource.account_id, &resource.orchestrator_id, now)).await?;
    let answer = UsageResponse {
        event: if recorded.duplicate { "duplicate" } else { "recorded" },
        cost: CostView { currency: recorded.cost.currency.to_string(), amount: recorded.cost.amount.minor() },
        remaining: budget::binding(&budget).remaining().minor(),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
