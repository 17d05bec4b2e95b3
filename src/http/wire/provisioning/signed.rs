//! Who signed a request, before anything of it is believed: an extractor with the raw body.
//!
//! Order: the body is read (bounded), then the signature (401 flat), then `API-Version` (400 flat). Endpoints with
//! another order ([`SignedBody`]'s parts) ask for the pieces themselves.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};

use super::envelope::{Envelope, Refusal};
use crate::app::App;
use crate::clock::Timestamp;
use crate::orchestrator::{Orchestrator, WireSettings};

/// The version that is spoken.
pub(crate) const API_VERSION: &str = "0.1d";

/// A request whose signature holds: who sent it, and the bytes that they signed.
#[derive(Debug)]
pub(crate) struct Signed<E: Envelope> {
    /// Who.
    pub(crate) orchestrator: Orchestrator,
    /// How it speaks.
    pub(crate) settings: WireSettings,
    /// The raw body.
    pub(crate) body: Vec<u8>,
    /// Names this very request: the same signed bytes to the same path again are the same request. A key for
    /// idempotency where the caller sent none.
    pub(crate) request_hash: String,
    /// The one instant of this request.
    pub(crate) now: Timestamp,
    envelope: PhantomData<fn() -> E>,
}

impl<E: Envelope> FromRequest for Signed<E> {
    type Error = Refusal<E>;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refusal<E>>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        Box::pin(async move {
            let payload = payload.await.map_err(|error| Refusal::bad(error.to_string()))?;
            let app = request.app_data::<web::Data<App>>().cloned().ok_or_else(|| Refusal::broken("no app"))?;
            let now = app.clock.now();
            let body = read_body::<E>(payload).await?;
            let (orchestrator, settings, request_hash) = verify_signature(&app, &request, &body, now).await?;
            check_version(&request)?;
            Ok(Self { orchestrator, settings, body, request_hash, now, envelope: PhantomData })
        })
    }
}

/// Reads the body, bounded in size and time.
pub(crate) async fn read_body<E: Envelope>(_payload: web::Payload) -> Result<Vec<u8>, Refusal<E>> {
    Err(Refusal::broken("not written yet"))
}

/// Finds out who signed the request. No signature, a malformed, stale or wrong one: 401 `invalid_signature`, flat.
pub(crate) async fn verify_signature<E: Envelope>(
    _app: &App,
    _request: &HttpRequest,
    _body: &[u8],
    _now: Timestamp,
) -> Result<(Orchestrator, WireSettings, String), Refusal<E>> {
    Err(Refusal::flat(StatusCode::UNAUTHORIZED, "invalid_signature", "The request is not signed."))
}

/// `API-Version` is there and is one that is spoken.
pub(crate) fn check_version<E: Envelope>(request: &HttpRequest) -> Result<(), Refusal<E>> {
    let given = request.headers().get("api-version").and_then(|value| value.to_str().ok());
    if given == Some(API_VERSION) {
        return Ok(());
    }
    let message = format!("Send the header `API-Version: {API_VERSION}`: it is the supported version.");
    Err(Refusal::flat(StatusCode::BAD_REQUEST, "invalid_api_version", message))
}
