//! The provisioning wire of orchestrators (APP 0.1d): faces over the use-cases that `/v1` uses, in the wire's own
//! envelopes. It hangs under `/` and under every configured prefix.

pub(crate) mod account_requests;
pub(crate) mod bearer;
pub(crate) mod deep_links;
pub(crate) mod envelope;
pub(crate) mod person;
pub(crate) mod resources;
pub(crate) mod services;
pub(crate) mod signed;
pub(crate) mod tokens;

mod unknown;

use actix_web::web::{self, ServiceConfig};

use crate::app::App;

pub(crate) use unknown::{is_wire, nothing_here};

/// Every endpoint of the wire, under `/` and under each prefix.
pub(crate) fn configure(config: &mut ServiceConfig, app: &App) {
    endpoints(config);
    for prefix in &app.wire.prefixes {
        let scope = web::scope(prefix.as_str()).configure(endpoints);
        config.service(scope.default_service(web::to(nothing_here)));
    }
}

fn endpoints(config: &mut ServiceConfig) {
    config
        // Routes are tried in their order: the one that is asked for most comes first.
        .service(web::resource("/oauth/token").post(super::oauth::token::token).default_service(web::to(nothing_here)))
        .configure(services::configure)
        .configure(account_requests::configure)
        .configure(resources::configure)
        .configure(deep_links::configure);
}

/// A path (and query) as it stands under `/`.
pub(crate) fn without_prefix<'a>(app: &App, path: &'a str) -> &'a str {
    let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'));
    app.wire.prefixes.iter().find_map(|prefix| below(prefix.as_str())).unwrap_or(path)
}
