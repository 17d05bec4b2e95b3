//! Everything that speaks HTTP: the whole surface on one page.

pub mod assets;
pub mod dashboard;
pub mod openapi;
pub mod problem;

mod caller;
mod claim;
mod even;
mod limit;
mod log_in;
mod not_mine;
mod private;
mod request_log;
mod server;
mod wire;

pub use server::{Running, ServeError, serve};

use actix_web::web::{self, Data, ServiceConfig};

use crate::app::App;
use problem::{Problem, table};
use wire::{provisioning, v1};

/// Reads the body of a token request as the endpoint does.
#[cfg(fuzzing)]
pub fn fuzz_token_request(bytes: &[u8]) {
    drop(serde_urlencoded::from_bytes::<wire::oauth::token::TokenRequest>(bytes));
}

/// Every public route. A path is one resource with all its methods, so that a refusal of another one can list them;
/// HEAD comes with GET (`request_log`).
fn routes(config: &mut ServiceConfig, app: &App) {
    provisioning::configure(config, app);
    wire::oauth::configure(config, app);
    config
        // Discovery: everybody.
        .configure(wire::well_known::configure)
        .configure(wire::catalog::configure)
        .service(web::resource("/catalog/context/{service}.md").get(provisioning::services::llm_context))
        .configure(wire::docs::configure)
        .configure(assets::configure)
        // Orchestrators and agents.
        .service(web::resource("/v1/accounts").post(v1::accounts::open_account))
        .service(web::resource("/v1/resources").get(v1::resources::list_resources).post(v1::resources::create_resource))
        .service(
            web::resource("/v1/resources/{id}").get(v1::resources::get_resource).delete(v1::resources::delete_resource),
        )
        .service(web::resource("/v1/resources/{id}/rotate").post(v1::rotate::rotate_resource))
        .service(web::resource("/v1/budget").get(v1::budget::get_budget))
        .service(web::resource("/v1/ledger").get(v1::budget::list_ledger))
        .service(web::resource("/v1/deep-links").post(v1::deep_links::create_deep_link))
        .service(web::resource("/security-events").post(wire::security_events::push))
        // The provider's own platform.
        .service(web::resource("/v1/usage").post(v1::usage::record_usage))
        // Users.
        .configure(|config| dashboard::configure(config, app))
        .configure(log_in::configure)
        .configure(not_mine::configure)
        .configure(claim::configure)
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
    let in_api = request.path() == "/v1" || request.path().starts_with("/v1/");
    if in_api && request.headers().get(actix_web::http::header::AUTHORIZATION).is_none() {
        let problem = Problem::new(&table::UNAUTHORIZED, "The call carries no access token.");
        return Err(caller::Challenge::new(&app, &[]).invite(problem));
    }
    Err(Problem::new(&table::NOT_FOUND, "There is nothing at this path."))
}
