//! One canonical line per request; and the one place where a problem document gets its request id and our address.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _, web};

use super::dashboard::pages::{Frame, MessagePage, respond};
use super::dashboard::take_whole;
use super::problem::Problem;
use crate::app::App;
use crate::ids::{AccountId, RequestId};

/// Whose request it is, for the log; put there by the extractor that found out.
#[derive(Debug, Clone)]
pub(crate) struct AccountOfRequest(pub(crate) AccountId);

/// A problem document for programs; outside the API, a page for people whose browser asks for one.
fn told(request: &HttpRequest, app: &App, problem: &Problem, request_id: &str) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if request.path().starts_with("/v1") || !accept.contains("text/html") {
        return problem.answer(&app.base_url, request_id);
    }
    let frame = Frame::anonymous(app.provider_name());
    let page = match problem.doc.status {
        404 | 405 => MessagePage::not_found(frame),
        503 => MessagePage::busy(frame),
        _ => MessagePage::broken(frame, request_id),
    };
    respond(&page, problem.status_code())
}

/// Runs the request, completes problem documents, sets the headers that every answer has, and writes the line.
///
/// The line names the route, never the path: paths can carry one-use links.
pub(crate) async fn run(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(app) = request.app_data::<web::Data<App>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let began = app.clock.now();
    let id = RequestId::new(began);
    let method = request.method().clone();
    let mut answer = next.call(request).await?.map_into_boxed_body();
    let problem = answer.response().error().and_then(|error| error.as_error::<Problem>());
    let (code, cause) = problem.map(|problem| (problem.doc.code, problem.cause.clone())).unzip();
    if let Some(problem) = problem {
        let written = told(answer.request(), &app, problem, id.as_str());
        answer = answer.into_response(written).map_into_boxed_body();
    }
    take_whole(&mut answer);
    let headers = answer.headers_mut();
    let header = header::HeaderValue::from_str(id.as_str());
    if let Ok(value) = header {
        headers.insert(header::HeaderName::from_static("x-request-id"), value);
    }
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
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
