//! Pages that explain: every problem code, and why an account is never linked by its e-mail address.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path};

use crate::app::App;
use crate::http::dashboard::pages::{
    ConsentNeededPage, Frame, HomePage, HomeService, MessagePage, ProblemIndexPage, ProblemPage, respond,
};
use crate::http::problem::table;

/// Routes.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/").get(home))
        .service(web::resource("/docs/problems").get(problems))
        .service(web::resource("/docs/problems/{code}").get(problem))
        .service(web::resource("/consent/needed").get(consent_needed));
}

async fn problems(app: Data<App>) -> HttpResponse {
    let page = ProblemIndexPage { frame: Frame::anonymous(app.provider_name()), problems: table::ALL.to_vec() };
    respond(&page, StatusCode::OK)
}

async fn problem(app: Data<App>, code: Path<String>) -> HttpResponse {
    let frame = Frame::anonymous(app.provider_name());
    match table::ALL.iter().find(|doc| doc.code == code.as_str()) {
        Some(doc) => respond(&ProblemPage { frame, problem: *doc }, StatusCode::OK),
        None => respond(&MessagePage::not_found(frame), StatusCode::NOT_FOUND),
    }
}

async fn consent_needed(app: Data<App>) -> HttpResponse {
    respond(&ConsentNeededPage { frame: Frame::anonymous(app.provider_name()) }, StatusCode::OK)
}

async fn home(app: Data<App>) -> HttpResponse {
    let edition = app.edition();
    let services = edition.offers().map(|offer| HomeService {
        name: format!("{} · {}", offer.service_title, offer.plan.title),
        description: offer.plan.description.as_ref().map(ToString::to_string).unwrap_or_default(),
        price: offer.plan.price.to_string(),
    });
    let page = HomePage {
        frame: Frame::anonymous(app.provider_name()),
        base_url: app.base_url.clone(),
        catalog_version: u64::try_from(edition.version.number()).unwrap_or(0),
        services: services.collect(),
    };
    respond(&page, StatusCode::OK)
}
