//! What the framework refuses below the wire's paths, in the envelope of the endpoint that was meant: no such path, no
//! such method.

use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde_json::json;

use super::envelope::{Envelope, Flat, Refusal, Status, Typed};
use super::without_prefix;
use crate::app::App;

/// The envelope of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Flat,
    Typed,
    Status,
    OAuth,
}

/// Which endpoint a path is, with the only method that it has; `None` for a path that is nothing.
fn endpoint(path: &str) -> Option<(Family, &'static str)> {
    if path == "/oauth/token" {
        return Some((Family::OAuth, "POST"));
    }
    let segments: Vec<&str> = path.strip_prefix("/provisioning/")?.split('/').collect();
    match segments.as_slice() {
        ["health" | "services"] => Some((Family::Flat, "GET")),
        ["account_requests"] => Some((Family::Typed, "POST")),
        ["resources" | "deep_links"] | ["resources", "link"] => Some((Family::Status, "POST")),
        ["resources", id] if !id.is_empty() => Some((Family::Status, "GET")),
        ["resources", id, "update_service" | "remove" | "rotate_credentials"] if !id.is_empty() => {
            Some((Family::Status, "POST"))
        }
        _ => None,
    }
}

/// Whether a path belongs to the wire, so that its refusals are written in the wire's envelopes.
pub(crate) fn is_wire(app: &App, path: &str) -> bool {
    let below = without_prefix(app, path);
    below != path || below == "/provisioning" || below.starts_with("/provisioning/") || below == "/oauth/token"
}

/// 404, or 405 with `Allow`.
pub(crate) async fn nothing_here(request: HttpRequest, app: Data<App>) -> HttpResponse {
    let Some((family, allowed)) = endpoint(without_prefix(&app, request.path())) else {
        return refused::<Flat>(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.", None);
    };
    let message = format!("{} is not allowed here: use {allowed}.", request.method());
    let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, "invalid_request");
    match family {
        Family::Flat => refused::<Flat>(status, code, &message, Some(allowed)),
        Family::Typed => refused::<Typed>(status, code, &message, Some(allowed)),
        Family::Status => refused::<Status>(status, code, &message, Some(allowed)),
        Family::OAuth => HttpResponse::build(status)
            .insert_header((ALLOW, allowed))
            .insert_header(("cache-control", "no-store"))
            .json(json!({"error": code, "error_description": message})),
    }
}

fn refused<E: Envelope>(status: StatusCode, code: &'static str, message: &str, allow: Option<&str>) -> HttpResponse {
    let refusal = Refusal::<E>::new(status, code, message);
    match allow {
        Some(method) => refusal.header(ALLOW, method.to_owned()),
        None => refusal,
    }
    .error_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_one_method_and_one_envelope() {
        for (path, family, method) in [
            ("/oauth/token", Family::OAuth, "POST"),
            ("/provisioning/health", Family::Flat, "GET"),
            ("/provisioning/services", Family::Flat, "GET"),
            ("/provisioning/deep_links", Family::Status, "POST"),
            ("/provisioning/account_requests", Family::Typed, "POST"),
            ("/provisioning/resources", Family::Status, "POST"),
            ("/provisioning/resources/link", Family::Status, "POST"),
            ("/provisioning/resources/res_1", Family::Status, "GET"),
            ("/provisioning/resources/res_1/remove", Family::Status, "POST"),
            ("/provisioning/resources/res_1/update_service", Family::Status, "POST"),
            ("/provisioning/resources/res_1/rotate_credentials", Family::Status, "POST"),
        ] {
            assert_eq!(endpoint(path), Some((family, method)), "{path}");
        }
        for path in [
            "/",
            "/provisioning",
            "/provisioning/",
            "/provisioning/x",
            "/provisioning/resources/",
            "/v1/budget",
            "/provisioning/resources/res_1/sell",
            "/provisioning/health/",
            "/provisioning/resources//remove",
        ] {
            assert_eq!(endpoint(path), None, "{path}");
        }
    }
}
