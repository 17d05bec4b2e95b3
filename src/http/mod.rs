//! Everything that speaks HTTP: the whole surface on one page.

pub mod assets;
pub mod dashboard;
pub mod openapi;
pub mod problem;

mod caller;
mod limit;
mod private;
mod request_log;
mod server;
mod wire;

pub use server::{Running, ServeError, serve};

use actix_web::web::{self, Data, ServiceConfig};

use crate::app::App;
use problem::{Problem, table};
use wire::{provisioning, v1};

/// Every public route.
fn routes(config: &mut ServiceConfig, app: &App) {
    provisioning::configure(config, app);
    config
        // Discovery: everybody.
        .configure(wire::well_known::configure)
        .configure(wire::catalog::configure)
        .service(provisioning::services::llm_context)
        .service(wire::docs::home)
        .service(wire::docs::problems)
        .service(wire::docs::problem)
        .service(wire::docs::consent_needed)
        .configure(assets::configure)
        // Orchestrators and agents.
        .service(wire::oauth::token)
        .service(v1::accounts::open_account)
        .service(v1::resources::create_resource)
        .service(v1::resources::list_resources)
        .service(v1::resources::get_resource)
        .service(v1::resources::delete_resource)
        .service(v1::budget::get_budget)
        .service(v1::budget::list_ledger)
        .service(v1::deep_links::create_deep_link)
        // The provider's own platform.
        .service(v1::usage::record_usage)
        // Users.
        .configure(dashboard::configure)
        .app_data(
            web::QueryConfig::default()
                .error_handler(|error, _| Problem::new(&table::BAD_REQUEST, format!("The query: {error}.")).into()),
        )
        .app_data(
            web::PathConfig::default()
                .error_handler(|error, _| Problem::new(&table::NOT_FOUND, format!("The path: {error}.")).into()),
        )
        .default_service(web::to(nothing_here));
}

/// Paths under `/v1` belong to the API: without a token they say where to get one. Anything else is a real 404.
/// Paths of the provisioning wire have envelopes of their own.
async fn nothing_here(request: actix_web::HttpRequest, app: Data<App>) -> Result<actix_web::HttpResponse, Problem> {
    if provisioning::is_wire(&app, request.path()) {
        return Ok(provisioning::nothing_here(request, app).await);
    }
    let known = request.resource_map().has_resource(request.path());
    let problem = if known {
        Problem::new(&table::METHOD, format!("{} is not allowed here.", request.method()))
    } else {
        Problem::new(&table::NOT_FOUND, "There is nothing at this path.")
    };
    let in_api = request.path() == "/v1" || request.path().starts_with("/v1/");
    if in_api && !known && request.headers().get(actix_web::http::header::AUTHORIZATION).is_none() {
        let problem = Problem::new(&table::UNAUTHORIZED, "The call carries no access token.");
        return Err(caller::Challenge::new(&app, &[]).invite(problem));
    }
    Err(problem)
}
