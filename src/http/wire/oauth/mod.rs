//! `/oauth/…`: our authorization server for programs. What humans see of it is in `dashboard::authorize`.

pub(crate) mod authorize;
pub(crate) mod client;
pub(crate) mod device;
pub(crate) mod par;
mod plan;
pub(crate) mod refusal;
pub(crate) mod register;
pub(crate) mod token;
pub(crate) mod tokens_of;

use actix_web::web::{self, ServiceConfig};

use crate::app::App;

/// Routes. What is off is not there.
pub(crate) fn configure(config: &mut ServiceConfig, app: &App) {
    config
        .service(web::resource("/oauth/authorize").get(authorize::authorize))
        .service(web::resource("/oauth/par").post(par::push))
        .service(web::resource("/oauth/revoke").post(tokens_of::revoke))
        .service(web::resource("/oauth/introspect").post(tokens_of::introspect));
    if app.device.is_some() {
        config.service(web::resource("/oauth/device").post(device::begin));
    }
    if app.oauth.dynamic_registration {
        config.service(web::resource("/oauth/register").post(register::register));
    }
}
