//! The wire's endpoints for resources. Every check in this order: token, signature, version, rate limit, the id's form,
//! what the token allows, whether there is such a resource, whose it is, the body.
//!
//! Secrets are handed over by the request that makes them (a purchase, a change, a rotation) and by its retries; a later
//! look repeats only what is no secret. Whoever lost them rotates.

pub(crate) mod create;
pub(crate) mod link;
pub(crate) mod remove;
pub(crate) mod rotate;
pub(crate) mod show;
pub(crate) mod update;

mod answer;
mod body;
pub(super) mod key;
mod own;
mod refused;

use actix_web::web::{self, ServiceConfig};

use actix_web::HttpRequest;

use super::bearer::{WireCaller, allows, caller};
use super::envelope::{Refusal, Status};
use super::nothing_here;
use crate::app::App;
use crate::authorization::Scope;
use crate::http::limit::{Allowance, Limit, Limits};
use body::ResourceRequest;

/// A call that adds a resource, counted, and its body.
async fn adding(
    app: &App,
    limits: &Limits,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<(WireCaller, Allowance, ResourceRequest), Refusal<Status>> {
    let caller = caller(app, request, payload).await?;
    let orchestrator = &caller.access.orchestrator.id;
    let theirs = format!("{orchestrator}/{}", caller.access.account.id);
    let allowance = limits.take(&[(Limit::Orchestrator, orchestrator.as_str()), (Limit::ResourceCreates, &theirs)])?;
    allows(&caller.access, Scope::ResourcesWrite)?;
    let body = body::read(&caller, request, "")?;
    Ok((caller, allowance, body))
}

/// Routes. A path with a word comes before the one with an id.
pub(super) fn configure(config: &mut ServiceConfig) {
    let at = |path: &str| web::resource(path).default_service(web::to(nothing_here));
    config
        .service(at("/provisioning/resources").post(create::create_resource))
        .service(at("/provisioning/resources/link").post(link::link_resource))
        .service(at("/provisioning/resources/{id}").get(show::show_resource))
        .service(at("/provisioning/resources/{id}/update_service").post(update::update_service))
        .service(at("/provisioning/resources/{id}/rotate_credentials").post(rotate::rotate_credentials))
        .service(at("/provisioning/resources/{id}/remove").post(remove::remove_resource));
}
