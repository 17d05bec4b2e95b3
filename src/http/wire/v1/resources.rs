//! `/v1/resources`: buying, looking, removing.

use actix_web::HttpResponse;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::budget::BudgetView;
use super::page::PageQuery;
use super::usage::CostView;
use crate::account::{self, SealedFact};
use crate::app::App;
use crate::catalog::{self, Edition, Offer, PlanId, ServiceId};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::caller::{Body, Caller, Key, ResourcesRead, ResourcesRemove, ResourcesWrite};
use crate::http::problem::{Problem, table};
use crate::http::wire::personal_fact;
use crate::idempotency::Keyed;
use crate::ids::{AccountId, OrchestratorId, ResourceId};
use crate::money::{Amount, Money};
use crate::orchestrator;
use crate::payment::budget;
use crate::payment::hold::CounterKind;
use crate::payment::token::{self, PaymentToken};
use crate::resource::{self, BuyError, By, PayError, Purchase, Resource, ResourceState, Shown, Wanted, Within};
use crate::secret::Secret;
use crate::unseen::unseen;

/// What to buy, and who pays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateResourceRequest {
    /// A service of the catalog.
    service: String,
    /// One of its plans.
    plan: String,
    /// What the owner calls it: up to 80 characters; `service/plan` when absent.
    name: Option<String>,
    /// As the plan's `configuration` in the catalog says.
    #[schema(value_type = Object)]
    configuration: Option<Map<String, Value>>,
    /// What is said about the buyer, for services whose `kyc` asks for it: `name`, `email`, `phone`, `country`.
    #[schema(value_type = Object)]
    information: Option<Map<String, Value>>,
    /// A payment token of the account's orchestrator; needed for plans that cost money.
    payment_token: Option<String>,
    /// The digest of the catalog that the buyer saw: refused with what changed when the offer is another now.
    catalog_digest: Option<String>,
}

/// A resource.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourceView {
    id: String,
    service: String,
    plan: String,
    name: String,
    /// `provisioning`, `ready`, `changing`, `suspended`, `removing`, `removed`, `failed`, `needs_attention`.
    state: &'static str,
    /// Why, where that needs saying.
    state_reason: Option<String>,
    created_at: String,
    changed_at: String,
    /// The catalog revision under which it was sold.
    catalog_version: i64,
}

impl From<&Resource> for ResourceView {
    fn from(resource: &Resource) -> Self {
        Self {
            id: resource.id.to_string(),
            service: resource.service.clone(),
            plan: resource.plan.clone(),
            name: resource.name.clone(),
            state: resource.state.as_str(),
            state_reason: resource.state_reason.clone(),
            created_at: resource.created_at.to_rfc3339(),
            changed_at: resource.changed_at.to_rfc3339(),
            catalog_version: resource.catalog_version,
        }
    }
}

/// What was bought.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreateResourceResponse {
    resource: ResourceView,
    /// Names and values for the environment. Only here, and in retries under the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<Shown>,
    /// What was taken at once; nothing of it for what is free or metered.
    cost: CostView,
    budget: BudgetView,
}

/// A page of resources, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourcePage {
    data: Vec<ResourceView>,
    /// For the next page; nothing on the last one.
    next_cursor: Option<String>,
}

/// Buys a resource: the money is held, the thing is made, the money is taken, the credentials are handed over.
#[utoipa::path(post, path = "/v1/resources", tag = "resources",
    request_body = CreateResourceRequest, params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = CreateResourceResponse), (status = 202, body = CreateResourceResponse),
        (status = 400), (status = 401), (status = 402), (status = 403), (status = 409), (status = 422)),
    security(("access_token" = ["resources:write"])))]
pub(crate) async fn create_resource(
    app: Data<App>,
    caller: Caller<ResourcesWrite>,
    key: Key,
    body: Body<CreateResourceRequest>,
) -> Result<HttpResponse, Problem> {
    let keyed = Keyed::new(&caller.operation("create_resource"), &key.0, &body.bytes);
    if let Some(wanted) = done_before(&app, &caller, &keyed).await? {
        return bought(&app, &caller, &wanted).await;
    }
    let edition = app.edition();
    let offer = choose(&edition, &body.value)?;
    same_offer(&app, &edition, offer, body.value.catalog_digest.as_deref()).await?;
    let purchase = purchase(&app, &caller, &edition, offer, &body.value)?;
    let token = match &body.value.payment_token {
        Some(presented) => Some(payer(&app, &caller, presented).await?),
        None => None,
    };
    match resource::buy(&app.desk, purchase, token, keyed, caller.now).await {
        Ok(wanted) => bought(&app, &caller, &wanted).await,
        Err(error) => refused(&app, &caller, error).await,
    }
}

/// What is refused by a cap that stands as high as it may before the account is claimed leads to claiming it.
async fn refused(app: &App, caller: &Caller<ResourcesWrite>, error: BuyError) -> Result<HttpResponse, Problem> {
    let by_budget = matches!(&error, BuyError::Pay(PayError::Cap(cap)) if cap.kind == CounterKind::Budget);
    let problem = Problem::from(error);
    if !by_budget {
        return Err(problem);
    }
    Err(led_to_claim(app, (&caller.token.account_id, &caller.token.orchestrator_id), problem, caller.now).await?)
}

/// The refusal of a budget, with the way to claim the account where only that leads further.
pub(super) async fn led_to_claim(
    app: &App,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    problem: Problem,
    now: Timestamp,
) -> Result<Problem, Problem> {
    let (account, orchestrator) = (account.clone(), orchestrator.clone());
    let at_the_top = app.db.read(move |conn| {
        let (Some(account), Some(orchestrator)) =
            (account::by_id(conn, &account)?, orchestrator::by_id(conn, &orchestrator)?)
        else {
            return Ok(false);
        };
        let ceiling = budget::view(conn, &account.id, &orchestrator.id, now)?.own.ceiling;
        Ok::<_, DbError>(!account.is_claimed() && orchestrator.opening_ceiling() <= ceiling)
    });
    Ok(if at_the_top.await? { problem.leading_to_claim() } else { problem })
}

/// A retry finds what its first request made, also when the catalog or the payment token have moved on since.
async fn done_before(app: &App, caller: &Caller<ResourcesWrite>, keyed: &Keyed) -> Result<Option<Wanted>, Problem> {
    let (account, keyed, now) = (caller.token.account_id.clone(), keyed.clone(), caller.now);
    Ok(app.db.read(move |conn| resource::of_key(conn, &account, &keyed, now)).await?)
}

fn choose<'a>(edition: &'a Edition, request: &CreateResourceRequest) -> Result<&'a Offer, Problem> {
    let unknown = |name: &str| Problem::new(&table::UNKNOWN_PLAN, format!("`{name}` is not in the catalog."));
    let service: ServiceId = request.service.parse().map_err(|_bad| unknown("service"))?;
    let plan: PlanId = request.plan.parse().map_err(|_bad| unknown("plan"))?;
    edition.plan(&service, &plan).ok_or_else(|| unknown("plan"))
}

/// The offer that was seen must be the offer that is sold, whatever else changed in the catalog.
async fn same_offer(app: &App, edition: &Edition, offer: &Offer, digest: Option<&str>) -> Result<(), Problem> {
    let Some(digest) = digest.filter(|digest| *digest != edition.digest) else { return Ok(()) };
    let refusal = Problem::new(&table::PRICE_CHANGED, "`catalog_digest` is not that of the published catalog.")
        .with("catalog_digest", edition.digest.as_str())
        .with("catalog_version", edition.version.number());
    let Some(seen) = app.edition_with(digest).await? else {
        return Err(refusal.with("changes", json!([{"field": "catalog", "was": null, "now": null}])));
    };
    let changes = catalog::changes(&seen, edition, &offer.service, &offer.plan.id);
    if changes.is_empty() { Ok(()) } else { Err(refusal.with("changes", json!(changes))) }
}

fn purchase(
    app: &App,
    caller: &Caller<ResourcesWrite>,
    edition: &Arc<Edition>,
    offer: &Offer,
    request: &CreateResourceRequest,
) -> Result<Purchase, Problem> {
    let configuration = request.configuration.clone().unwrap_or_default();
    offer.plan.configuration.check(&configuration).map_err(|wrong| {
        let each: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Problem::new(&table::BAD_CONFIGURATION, format!("`configuration`: {}", each.join(" ")))
            .with("wrong", json!(each))
    })?;
    Ok(Purchase {
        account_id: caller.token.account_id.clone(),
        orchestrator_id: caller.token.orchestrator_id.clone(),
        edition: edition.clone(),
        plan: offer.name(),
        name: name(request)?,
        configuration: Value::Object(configuration),
        placement: None,
        client: caller.token.client.clone(),
        allowance: Within::of(&caller.token)
            .map_err(|error| Problem::new(&table::INTERNAL, "Something broke here.").because(error))?,
        information: information(app, caller, request)?,
        again: false,
    })
}

/// What is said about the buyer, sealed for the account.
fn information(
    app: &App,
    caller: &Caller<ResourcesWrite>,
    request: &CreateResourceRequest,
) -> Result<Vec<SealedFact>, Problem> {
    let (account, orchestrator) = (&caller.token.account_id, &caller.token.orchestrator_id);
    let bad = |why| Problem::new(&table::BAD_REQUEST, why).with("field", "information");
    let said = request.information.iter().flatten().filter(|(_, said)| !said.is_null());
    said.map(|(name, said)| {
        let fact = personal_fact(name, said).map_err(bad)?;
        Ok(fact.seal(&app.person_sealer, account, orchestrator)?)
    })
    .collect()
}

fn name(request: &CreateResourceRequest) -> Result<String, Problem> {
    let Some(name) = &request.name else { return Ok(format!("{}/{}", request.service, request.plan)) };
    let refused = |why: String| Problem::new(&table::BAD_REQUEST, format!("`name` {why}.")).with("field", "name");
    let name = name.trim();
    if let Some(c) = unseen(name) {
        let code = u32::from(c);
        return Err(refused(format!(
            "has the character U+{code:04X}, which is not seen or changes how others are read"
        )));
    }
    if name.is_empty() || name.chars().count() > 80 {
        return Err(refused("has 1 to 80 characters".to_owned()));
    }
    Ok(name.to_owned())
}

/// Verifies the payment token before any transaction is open.
async fn payer(app: &App, caller: &Caller<ResourcesWrite>, presented: &str) -> Result<PaymentToken, Problem> {
    let (account, orchestrator) = (caller.token.account_id.clone(), caller.token.orchestrator_id.clone());
    let (orchestrator, subjects) = app
        .db
        .read(move |conn| {
            let found = orchestrator::by_id(conn, &orchestrator)?.ok_or(diesel::result::Error::NotFound)?;
            let subjects = account::subjects(conn, &account, &orchestrator)?;
            Ok::<_, DbError>((found, subjects))
        })
        .await?;
    if subjects.is_empty() {
        // Its owner merged or closed it since the access token was looked at.
        let why = "The account is not linked to this orchestrator any more.";
        return Err(Problem::new(&table::ACCOUNT_UNUSABLE, why));
    }
    let presented = Secret::presented(presented);
    Ok(token::verify(&presented, &orchestrator, &subjects, &app.keys, caller.now).await?)
}

/// The answer for a purchase, new or repeated: made from what became of the resource.
async fn bought(app: &App, caller: &Caller<ResourcesWrite>, wanted: &Wanted) -> Result<HttpResponse, Problem> {
    let (account, orchestrator, id, now) =
        (caller.token.account_id.clone(), caller.token.orchestrator_id.clone(), wanted.id.clone(), caller.now);
    let (resource, hold, budget) = app
        .db
        .read(move |conn| {
            let resource = resource::by_id(conn, &account, &id)?;
            let hold = resource::paid(conn, &account, &id)?;
            Ok::<_, DbError>((resource, hold, budget::view(conn, &account, &orchestrator, now)?))
        })
        .await?;
    let resource = resource.ok_or_else(left)?;
    if resource.state == ResourceState::Failed {
        let reason = resource.state_reason.clone().unwrap_or_default();
        return Err(Problem::new(&table::PAYMENT_REFUSED, "The purchase failed; what was held is free again.")
            .with("reason", reason)
            .with("resource_id", resource.id.as_str()));
    }
    let credentials = resource::open_credentials(&app.desk, &resource, caller.now).await?;
    let mut builder = match resource.state {
        ResourceState::Requested | ResourceState::Provisioning | ResourceState::NeedsAttention => {
            HttpResponse::Accepted()
        }
        _ => HttpResponse::Created(),
    };
    let cost = hold.unwrap_or(Money { amount: Amount::ZERO, currency: budget.own.currency });
    let answer = CreateResourceResponse {
        resource: ResourceView::from(&resource),
        credentials,
        cost: CostView { currency: cost.currency.to_string(), amount: cost.amount.minor() },
        budget: BudgetView::from(&budget),
    };
    Ok(builder
        .insert_header((header::LOCATION, format!("{}/resources/{}", app.audience, resource.id)))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(answer))
}

/// It was the account's a moment ago, when work on it was done.
pub(super) fn left() -> Problem {
    let why = "The resource is not in this account any more: its owner merged the account into another one.";
    Problem::new(&table::NOT_FOUND, why)
}

pub(super) fn resource_id(path: &str) -> Result<ResourceId, Problem> {
    path.parse().map_err(|_not_an_id| Problem::new(&table::NOT_FOUND, "The account has no such resource."))
}

/// One resource.
#[utoipa::path(get, path = "/v1/resources/{id}", tag = "resources",
    params(("id" = String, Path)),
    responses((status = 200, body = ResourceView), (status = 401), (status = 403), (status = 404)),
    security(("access_token" = ["resources:read"])))]
pub(crate) async fn get_resource(
    app: Data<App>,
    caller: Caller<ResourcesRead>,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (account, id) = (caller.token.account_id.clone(), resource_id(&path)?);
    let found = app.db.read(move |conn| resource::by_id(conn, &account, &id)).await?;
    let resource = found.ok_or_else(|| Problem::new(&table::NOT_FOUND, "The account has no such resource."))?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(ResourceView::from(&resource)))
}

/// The account's resources, newest first.
#[utoipa::path(get, path = "/v1/resources", tag = "resources",
    params(PageQuery),
    responses((status = 200, body = ResourcePage), (status = 400), (status = 401), (status = 403)),
    security(("access_token" = ["resources:read"])))]
pub(crate) async fn list_resources(
    app: Data<App>,
    caller: Caller<ResourcesRead>,
    page: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let (limit, before) = (page.limit()?, page.cursor::<ResourceId>()?);
    let account = caller.token.account_id.clone();
    let found = app.db.read(move |conn| resource::list(conn, &account, before.as_ref(), limit)).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == limit);
    let page = ResourcePage {
        next_cursor: found.last().filter(|_| full).map(|last| last.id.to_string()),
        data: found.iter().map(ResourceView::from).collect(),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(page))
}

/// Removes a resource. Repeating it is safe.
#[utoipa::path(delete, path = "/v1/resources/{id}", tag = "resources",
    params(("id" = String, Path)),
    responses((status = 200, body = ResourceView), (status = 401), (status = 403), (status = 404), (status = 409)),
    security(("access_token" = ["resources:delete"])))]
pub(crate) async fn delete_resource(
    app: Data<App>,
    caller: Caller<ResourcesRemove>,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (account, id) = (caller.token.account_id.clone(), resource_id(&path)?);
    resource::remove(&app.desk, app.edition(), (&account, &id), &By::Agent(caller.token.agent()), caller.now).await?;
    let found = app.db.read(move |conn| resource::by_id(conn, &account, &id)).await?;
    let resource = found.ok_or_else(|| Problem::new(&table::NOT_FOUND, "The account has no such resource."))?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(ResourceView::from(&resource)))
}
