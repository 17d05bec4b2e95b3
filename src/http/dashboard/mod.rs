//! What the user sees and can do in a browser.

pub(crate) mod onward;
pub mod pages;

mod authorize;
mod change;
mod consent;
mod facts;
mod log_in;
mod overview;
mod part;
mod sidecars;

use actix_web::web::{self, ServiceConfig};

pub(super) use part::take_whole;

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(web::resource("/d/{token}").get(log_in::show_link).post(log_in::use_link))
        .service(web::resource("/link/{id}").get(consent::show_question))
        .service(web::resource("/link/{id}/allow").post(consent::allow))
        .service(web::resource("/link/{id}/deny").post(consent::deny))
        .service(web::resource("/consent/{handle}").get(authorize::show))
        .service(web::resource("/consent/{handle}/allow").post(authorize::allow))
        .service(web::resource("/consent/{handle}/deny").post(authorize::deny))
        .service(web::resource("/dashboard").get(overview::show_overview))
        .service(web::resource("/dashboard/logout").post(log_in::log_out))
        .service(web::resource("/dashboard/cap").post(change::lower_cap))
        .service(web::resource("/dashboard/cap/raise").post(change::raise_cap))
        .service(web::resource("/dashboard/sidecars").get(sidecars::list))
        .service(web::resource("/dashboard/sidecars/{id}").get(sidecars::show))
        .service(web::resource("/dashboard/sidecars/{id}/merge").post(sidecars::merge))
        .service(web::resource("/dashboard/sidecars/{id}/move").post(sidecars::move_some))
        .service(web::resource("/dashboard/sidecars/{id}/discard").post(sidecars::discard))
        .service(web::resource("/dashboard/stop").post(change::stop))
        .service(web::resource("/dashboard/resume").post(change::resume));
}
