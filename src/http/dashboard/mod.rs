//! What the user sees and can do in a browser.

pub(crate) mod onward;
pub mod pages;

mod change;
mod consent;
mod facts;
mod log_in;
mod overview;

use actix_web::web::ServiceConfig;

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(log_in::show_link)
        .service(log_in::use_link)
        .service(log_in::log_out)
        .service(consent::show_question)
        .service(consent::allow)
        .service(consent::deny)
        .service(overview::show_overview)
        .service(change::lower_cap)
        .service(change::stop)
        .service(change::resume);
}
