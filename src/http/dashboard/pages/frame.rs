//! What stands around every page, and how a page becomes an answer.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use askama::Template;

use crate::http::assets::{HTMX, asset_url};

/// The policy that every page holds (CSP Level 3): only our own files, no inline code, no framing.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Whose page it is, and who is logged in.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The provider's name, as in the catalog.
    pub provider: String,
    /// The e-mail address (or another name) of the user with a session; without one, no log-out is offered.
    pub user: Option<String>,
}

impl Frame {
    /// The frame for somebody without a session.
    #[must_use]
    pub fn anonymous(provider: impl Into<String>) -> Self {
        Self { provider: provider.into(), user: None }
    }

    pub(super) fn stylesheet() -> String {
        asset_url("portreeve.css")
    }

    pub(super) fn icon() -> String {
        asset_url("favicon.svg")
    }

    pub(super) fn htmx() -> String {
        asset_url(HTMX)
    }

    pub(super) fn behaviour() -> String {
        asset_url("dashboard.js")
    }
}

/// What came of the last thing that the user did, told once, below the controls.
#[derive(Debug, Clone)]
pub enum Notice {
    /// It was done.
    Done(String),
    /// It was not done, and why.
    Refused(String),
}

/// A page, or a part of one, as an HTTP answer, with the headers that every page has. Pages are personal: nobody stores them.
///
/// A page that cannot be rendered is a 500 without content.
#[must_use]
pub fn respond(page: &impl Template, status: StatusCode) -> HttpResponse {
    let Ok(html) = page.render() else {
        return HttpResponse::InternalServerError().finish();
    };
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .body(html)
}
