//! `GET /provisioning/health` and `GET /provisioning/services`: the catalog as the orchestrator's profile writes it, from
//! the signed revision and from nothing else.

use actix_web::http::header::{self, HeaderName};
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::envelope::{Flat, Refusal};
use super::nothing_here;
use super::signed::{API_VERSION, Signed};
use crate::app::App;
use crate::catalog::{AllowedUpdatesShape, CatalogShape, NextCursor as Cursor, PaidShape as Paid, ServiceId};
use crate::http::problem::{Problem, table};
use crate::orchestrator::{NextCursor, PaidShape, Profile, UpdatesShape};
use crate::secret::sha256_base64url;

/// How many services stand on a page, for a reader that knows pages.
const PAGE: usize = 100;

/// The digest of the signed revision from which an answer was made.
pub(crate) const CATALOG_DIGEST: HeaderName = HeaderName::from_static("portreeve-catalog-digest");

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    let at = |path: &str| web::resource(path).default_service(web::to(nothing_here));
    config.service(at("/provisioning/health").get(health)).service(at("/provisioning/services").get(list_services));
}

/// The provider is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// The versions of the wire that are spoken.
    supported_versions: [&'static str; 1],
    /// `ok`.
    status: &'static str,
}

/// The catalog on the wire.
#[derive(Serialize, ToSchema)]
pub(crate) struct Services {
    /// The services, in the shape of the orchestrator's profile.
    data: Vec<Value>,
    /// Where the next page begins; how the end is written depends on the profile.
    next_cursor: Option<String>,
}

/// Whether the provider speaks this wire.
#[utoipa::path(get, path = "/provisioning/health", tag = "provisioning", operation_id = "provisioning_health", security(("stripe_signature" = [])),
    params(("API-Version" = String, Header, description = "0.1d")),
    responses((status = 200, body = Health), (status = 400), (status = 401), (status = 500)))]
pub(crate) async fn health(_signed: Signed<Flat>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Health { supported_versions: [API_VERSION], status: "ok" })
}

/// What can be provisioned, page by page.
#[utoipa::path(get, path = "/provisioning/services", tag = "provisioning", operation_id = "provisioning_services", security(("stripe_signature" = [])),
    params(("API-Version" = String, Header, description = "0.1d"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before.")),
    responses((status = 200, body = Services, headers(("Portreeve-Catalog-Digest" = String), ("ETag" = String))),
        (status = 304), (status = 400), (status = 401), (status = 500)))]
pub(crate) async fn list_services(
    app: Data<App>,
    signed: Signed<Flat>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal<Flat>> {
    let edition = app.edition();
    let cursor = cursor(request.query_string())?;
    let shape = shape(&signed.settings.profile);
    let page = edition.wire_page(&shape, cursor.as_deref(), PAGE).map_err(|error| Refusal::bad(error.to_string()))?;
    let body = page.to_string();
    let etag = format!("\"{}\"", sha256_base64url(body.as_bytes()));
    let known = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let known = known
        .flat_map(|value| value.split(','))
        .any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == etag);
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((CATALOG_DIGEST, edition.digest.as_str()))
        .insert_header((header::ETAG, etag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"));
    Ok(if known { answer.finish() } else { answer.content_type("application/json").body(body) })
}

/// `cursor`, at most once; other parameters are passed over. An empty one is none.
fn cursor(query: &str) -> Result<Option<String>, Refusal<Flat>> {
    let mut all = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "cursor");
    let first = all.next().map(|(_, value)| value.into_owned());
    if all.next().is_some() {
        return Err(Refusal::bad("`cursor` is there twice."));
    }
    Ok(first.filter(|value| !value.is_empty()))
}

/// What the profile says, in the words of the catalog.
fn shape(profile: &Profile) -> CatalogShape {
    let wanted = profile.catalog;
    CatalogShape {
        allowed_updates: match wanted.updates {
            UpdatesShape::Ids => AllowedUpdatesShape::Strings,
            UpdatesShape::Directed => AllowedUpdatesShape::Objects,
        },
        paid: match wanted.paid {
            PaidShape::One => Paid::Object,
            PaidShape::Many => Paid::Array,
        },
        component: wanted.component,
        kind: wanted.kind,
        group: wanted.kind,
        scope: wanted.scope,
        kyc: true,
        configuration_schema: true,
        constraints: wanted.scope,
        // Closed schemas of signing orchestrators do not have it.
        llm_context: !profile.signed,
        next_cursor: match (wanted.next_cursor, profile.signed) {
            (NextCursor::Empty, _) => Cursor::Empty,
            // A closed schema without the member knows no pages.
            (NextCursor::Absent, true) => Cursor::Absent,
            (NextCursor::Absent, false) => Cursor::WhenMore,
        },
    }
}

/// The page about a service, written for agents, as it was published.
pub(crate) async fn llm_context(app: Data<App>, service: Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(&table::NOT_FOUND, "There is no page about such a service.");
    let id: ServiceId = service.parse().map_err(|_no_id| missing())?;
    let edition = app.edition();
    let found = edition.document.services.iter().find(|service| service.id() == &id);
    let page = found.and_then(|service| service.facts().llm_context.as_ref()).ok_or_else(missing)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, format!("\"{}\"", page.digest())))
        .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
        .content_type("text/markdown; charset=utf-8")
        .body(page.text().to_owned()))
}
