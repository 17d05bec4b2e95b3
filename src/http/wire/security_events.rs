//! `POST /security-events`: orchestrators push what happened to their people (RFC 8935).

use actix_web::http::header::{self, AUTHORIZATION};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::caller::SecurityEventToken;
use crate::http::problem::{Problem, table};
use crate::secret::Secret;
use crate::takeover::{self, EventParts, Presented, SetError};

/// Why an event was not taken (RFC 8935 §2.3).
#[derive(Serialize, ToSchema)]
pub(crate) struct EventRefusal {
    /// `invalid_request`, `invalid_key`, `invalid_issuer`, `invalid_audience`, `authentication_failed` or `access_denied`.
    err: &'static str,
    /// For people.
    description: String,
}

/// Takes a security event token. The same event again changes nothing.
#[utoipa::path(post, path = "/security-events", tag = "security events", operation_id = "push_security_event",
    request_body(content = String, content_type = "application/secevent+jwt"),
    responses((status = 202, description = "It was taken, now or before."), (status = 400, body = EventRefusal),
        (status = 408), (status = 413), (status = 415), (status = 503)))]
pub(crate) async fn push(
    app: Data<App>,
    request: HttpRequest,
    token: SecurityEventToken,
) -> Result<HttpResponse, Problem> {
    let presented = Presented::Pushed(bearer(&request));
    let parts = EventParts { db: &app.db, keys: &app.keys };
    match takeover::receive(parts, &token.0, &presented, app.clock.as_ref()).await {
        Ok(_) => {
            // Here at once; in other processes within a second.
            app.revocations.forget();
            Ok(HttpResponse::Accepted().insert_header((header::CACHE_CONTROL, "no-store")).finish())
        }
        Err(error) => refused(&error),
    }
}

fn bearer(request: &HttpRequest) -> Option<Secret> {
    let mut values = request.headers().get_all(AUTHORIZATION);
    let (first, second) = (values.next(), values.next());
    let (scheme, token) = first.filter(|_| second.is_none())?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::presented(token.trim()))
}

fn refused(error: &SetError) -> Result<HttpResponse, Problem> {
    tracing::warn!(error = %error, "a security event was not taken");
    match error.code() {
        Some(err) => Ok(HttpResponse::BadRequest()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::CONTENT_LANGUAGE, "en"))
            .json(EventRefusal { err, description: error.to_string() })),
        None => Err(Problem::new(&table::UNAVAILABLE, "The event cannot be judged now.").because(error)),
    }
}
