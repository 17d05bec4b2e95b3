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
mod key;
mod own;
mod refused;

use actix_web::web::{self, ServiceConfig};

use super::nothing_here;

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
