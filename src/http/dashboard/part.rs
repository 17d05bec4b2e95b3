//! Parts of a page, for the script that puts them in place, and whole pages for everything else.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::{Payload, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY};
use actix_web::{FromRequest, HttpRequest, HttpResponse};

/// What htmx sends with every request of its own.
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

/// What the browser asks for. It chooses the form of the answer alone: who may do what does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A page.
    Page,
    /// A part of the page that it shows.
    Part,
}

impl Asked {
    fn of(headers: &HeaderMap) -> Self {
        if headers.get(HX_REQUEST).is_some_and(|value| value == "true") { Self::Part } else { Self::Page }
    }
}

impl FromRequest for Asked {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.headers())))
    }
}

/// The answer, marked as one that is different for a page and for a part.
pub(super) fn varied(mut answer: HttpResponse) -> HttpResponse {
    answer.headers_mut().insert(VARY, HeaderValue::from_static("hx-request"));
    answer
}

/// A script asked for a part, and the answer is another page (no session, from another site, something broke): nothing
/// of it may be put into the page that is shown. Without a session, the browser goes where it is told so. Any other
/// page takes the place of the shown one as a whole.
pub(in crate::http) fn take_whole(answer: &mut ServiceResponse) {
    let html = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
    let page = answer.headers().get(CONTENT_TYPE).is_some_and(html) && !answer.headers().contains_key(VARY);
    if !page || Asked::of(answer.request().headers()) == Asked::Page {
        return;
    }
    let told: &[(&'static str, &'static str)] = if answer.status() == StatusCode::UNAUTHORIZED {
        &[("hx-redirect", "/dashboard")]
    } else {
        &[("hx-retarget", "body"), ("hx-reselect", "body"), ("hx-reswap", "outerHTML")]
    };
    for (name, value) in [("vary", "hx-request")].iter().chain(told) {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
