//! What the user sees and can do in a browser.

pub mod pages;

mod change;
mod facts;
mod log_in;
mod overview;
mod part;

use actix_web::web::ServiceConfig;

pub(super) use part::take_whole;

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(log_in::show_link)
        .service(log_in::use_link)
        .service(log_in::log_out)
        .service(overview::show_overview)
        .service(change::lower_cap)
        .service(change::stop)
        .service(change::resume);
}
