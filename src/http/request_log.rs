//! One canonical line per request; and the one place where a problem document gets its request id and our address.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use super::problem::Problem;
use crate::app::App;
use crate::ids::{AccountId, RequestId};

/// Whose request it is, for the log; put there by the extractor that found out.
#[derive(Debug, Clone)]
pub(crate) struct AccountOfRequest(pub(crate) AccountId);

/// Runs the request, completes problem documents, sets the headers that every answer has, and writes the line.
///
/// The line names the route, never the path: paths can carry one-use links.
pub(crate) async fn run(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(app) = request.app_data::<web::Data<App>>().cloned() else {
        return next.call(request).await.map(|answer| answer.map_into_boxed_body());
    };
    let began = app.clock.now();
    let id = RequestId::new(began);
    let method = request.method().clone();
    // The router fills the request in and must be its only holder: it is looked at again when it comes back.
    let mut answer = next.call(request).await?.map_into_boxed_body();
    let problem = answer.response().error().and_then(|error| error.as_error::<Problem>());
    let (code, cause) = problem.map(|problem| (problem.doc.code, problem.cause.clone())).unzip();
    if let Some(problem) = problem {
        let written = problem.answer(&app.base_url, id.as_str());
        answer = answer.into_response(written).map_into_boxed_body();
    }
    let headers = answer.headers_mut();
    let header = actix_web::http::header::HeaderValue::from_str(id.as_str());
    if let Ok(value) = header {
        headers.insert(actix_web::http::header::HeaderName::from_static("x-request-id"), value);
    }
    let nosniff = actix_web::http::header::HeaderValue::from_static("nosniff");
    headers.insert(actix_web::http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let inner = answer.request();
    let account = inner.extensions().get::<AccountOfRequest>().map(|account| account.0.to_string());
    let micros = app.clock.now().since(began).num_microseconds().unwrap_or(0);
    tracing::info!(
        request.id = %id,
        http.method = %method,
        http.route = inner.match_pattern().unwrap_or_default(),
        http.status = answer.status().as_u16(),
        duration_us = micros,
        account.id = account,
        problem.code = code,
        problem.cause = cause.flatten(),
        "request"
    );
    Ok(answer)
}
