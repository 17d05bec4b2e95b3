//! Lets `openidconnect` speak through our one outgoing client.

use openidconnect::http::{self, HeaderName};
use openidconnect::{HttpRequest, HttpResponse};

use crate::fetch::{Fetch, FetchError, Outgoing};

/// Why an answer could not be carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The call itself.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A URL of the other side's.
    #[error("a URL in its document is none")]
    Url(#[from] openidconnect::url::ParseError),
    /// The answer.
    #[error("its answer is no HTTP answer")]
    Answer(#[from] http::Error),
}

/// What of an answer's headers is told.
const TOLD: [HeaderName; 2] = [http::header::CONTENT_TYPE, http::header::CACHE_CONTROL];

/// Carries one request: GET, or POST of a form.
///
/// # Errors
/// See [`CarryError`].
pub async fn carry(fetch: Fetch, request: HttpRequest) -> Result<HttpResponse, CarryError> {
    let url = request.uri().to_string().parse()?;
    let mut outgoing = if request.method() == http::Method::POST {
        Outgoing::post(url, "application/x-www-form-urlencoded", request.body().clone())
    } else {
        Outgoing::get(url)
    };
    if let Some(value) = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        outgoing = outgoing.header("authorization", value);
    }
    let incoming = fetch.send(outgoing.header("accept", "application/json")).await?;
    let mut answer = http::Response::builder().status(incoming.status);
    for name in TOLD {
        if let Some(value) = incoming.header(name.as_str()) {
            answer = answer.header(name, value);
        }
    }
    Ok(answer.body(incoming.body)?)
}
