//! What the user sees and can do in a browser.

pub(crate) mod onward;
pub mod pages;

mod agent_facts;
mod agent_undo;
mod agents;
mod authorize;
mod change;
mod consent;
mod device;
mod effects;
mod facts;
mod log_in;
mod overview;
mod owner;
mod part;
mod question;
mod safety;
mod sidecars;
mod ticks;
mod trail;

use actix_web::web::{self, ServiceConfig};

use crate::app::App;
pub(super) use change::CLAIMED;

pub(super) use part::take_whole;

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig, app: &App) {
    if app.device.is_some() {
        config
            .service(web::resource("/device").get(device::show).post(device::look))
            .service(web::resource("/device/ask").post(device::go_on))
            .service(web::resource("/device/deny").post(device::deny))
            .service(web::resource("/device/answered").get(device::answered));
    }
    config
        .service(web::resource("/d/{token}").get(log_in::show_link).post(log_in::use_link))
        .service(web::resource("/link/{id}").get(consent::show_question))
        .service(web::resource("/link/{id}/allow").post(consent::allow))
        .service(web::resource("/link/{id}/deny").post(consent::deny))
        .service(web::resource("/consent/{handle}").get(authorize::show))
        .service(web::resource("/consent/{handle}/allow").post(authorize::allow))
        .service(web::resource("/consent/{handle}/deny").post(authorize::deny))
        .service(web::resource("/safety/{link}").get(safety::show))
        .service(web::resource("/safety/{link}/{deed}").post(safety::take))
        .service(web::resource("/dashboard/agents").get(agents::list))
        .service(web::resource("/dashboard/agents/{id}").get(agents::show))
        .service(web::resource("/dashboard/agents/{id}/pause").post(agents::pause))
        .service(web::resource("/dashboard/agents/{id}/resume").post(agents::resume))
        .service(web::resource("/dashboard/agents/{id}/revoke").post(agents::revoke))
        .service(web::resource("/dashboard/agents/{id}/scope").post(agents::drop_scope))
        .service(web::resource("/dashboard/agents/{id}/cap").post(agents::lower_cap))
        .service(web::resource("/dashboard/agents/{id}/undo").get(agent_undo::show).post(agent_undo::undo))
        .service(web::resource("/dashboard/account").get(owner::show_account))
        .service(web::resource("/dashboard/export").get(owner::show_export).post(owner::export))
        .service(web::resource("/dashboard/close").get(owner::show_close).post(owner::close))
        .service(web::resource("/dashboard/resources/{id}").get(owner::show_resource))
        .service(web::resource("/dashboard/resources/{id}/remove").post(owner::remove_resource))
        .service(web::resource("/consent/{handle}/instead").post(authorize::answer_instead))
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
