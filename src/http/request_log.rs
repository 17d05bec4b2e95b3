//! One canonical line per request; and the one place where a problem document gets its request id and our address, where
//! HEAD becomes GET, and where a refused method gets its `Allow`.

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _, web};

use futures_util::stream;

use super::dashboard::pages::{Frame, MessagePage, respond};
use super::dashboard::take_whole;
use super::problem::{Problem, table};
use super::wire::provisioning::is_wire;
use crate::app::App;
use crate::ids::{AccountId, RequestId};

/// Whose request it is, for the log; put there by the extractor that found out.
#[derive(Debug, Clone)]
pub(crate) struct AccountOfRequest(pub(crate) AccountId);

/// The method on the request line, before HEAD became GET: what a proof of possession names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RealMethod(pub(crate) Method);

/// A problem document for programs; outside the API, a page for people whose browser asks for one.
fn told(request: &HttpRequest, app: &App, problem: &Problem, request_id: &str) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if request.path().starts_with("/v1") || !accept.contains("text/html") {
        return problem.answer(&app.base_url, request_id);
    }
    let frame = Frame::anonymous(app.provider_name());
    let page = match problem.doc.status {
        404 | 405 => MessagePage::not_found(frame),
        429 => MessagePage::too_often(frame, 3600),
        503 => MessagePage::busy(frame),
        // Anybody can write an address: a page of ours does not repeat what stands in it.
        400 if request.method() == Method::GET => MessagePage::unreadable(frame),
        400 | 408 | 413 | 415 | 422 => MessagePage::refused(frame, problem.detail.clone()),
        401..=499 => MessagePage::not_done(frame, problem.detail.clone()),
        _ => MessagePage::broken(frame, request_id),
    };
    respond(&page, problem.status_code())
}

/// The methods of the path (RFC 9110 §10.2.1) when the answer refuses another one. Routes do not list HEAD: it is there
/// wherever GET is.
fn allowed(answer: &ServiceResponse) -> Option<HeaderValue> {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return None;
    }
    let listed = answer.headers().get(header::ALLOW)?.to_str().ok()?;
    let methods =
        listed.split(", ").flat_map(|method| if method == "GET" { vec!["GET", "HEAD"] } else { vec![method] });
    HeaderValue::from_str(&methods.collect::<Vec<_>>().join(", ")).ok()
}

/// Runs the request, completes problem documents, sets the headers that every answer has, and writes the line.
///
/// The line names the route, never the path: paths can carry one-use links.
pub(crate) async fn run(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(app) = request.app_data::<web::Data<App>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let began = app.clock.now();
    let id = RequestId::new(began);
    let method = request.method().clone();
    request.extensions_mut().insert(RealMethod(method.clone()));
    if method == Method::HEAD {
        // RFC 9110 §9.3.2: the same answer; its body is left out below.
        request.head_mut().method = Method::GET;
    }
    let mut answer = next.call(request).await?.map_into_boxed_body();
    let allowed = allowed(&answer);
    // The provisioning wire has said it in its own envelope.
    let unsaid = allowed.is_some() && !is_wire(&app, answer.request().path());
    let refused = unsaid.then(|| Problem::new(&table::METHOD, format!("{method} is not allowed here.")));
    let problem = answer.response().error().and_then(|error| error.as_error::<Problem>()).or(refused.as_ref());
    let (code, cause) = problem.map(|problem| (problem.doc.code, problem.cause.clone())).unzip();
    if let Some(problem) = problem {
        let written = told(answer.request(), &app, problem, id.as_str());
        answer = answer.into_response(written).map_into_boxed_body();
    }
    take_whole(&mut answer);
    let headers = answer.headers_mut();
    if let Some(methods) = allowed {
        headers.insert(header::ALLOW, methods);
    }
    let header = HeaderValue::from_str(id.as_str());
    if let Ok(value) = header {
        headers.insert(header::HeaderName::from_static("x-request-id"), value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
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
    Ok(if method == Method::HEAD { without_body(answer) } else { answer })
}

/// The head of an answer alone, with the length of the body that GET would have got (RFC 9110 §9.3.2). The server leaves
/// the body of a HEAD out by itself, but what it goes by is the last request line that it has read: with requests sent
/// one after another without waiting, that may be the next one.
fn without_body(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let size = answer.response().body().size();
    let mut answer = answer.map_body(|_, _| BoxBody::new(()));
    if let BodySize::Sized(length @ 1..) = size {
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        answer.response_mut().head_mut().no_chunking(true);
        return answer.map_body(|_, _| BoxBody::new(BodyStream::new(stream::empty::<Result<web::Bytes, Error>>())));
    }
    answer
}
