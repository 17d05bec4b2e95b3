//! The `DPoP` header: a proof that the caller holds a key (RFC 9449).

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use super::bearer::app;
use crate::app::App;
use crate::authorization::{self, ProofError, ProvenRequest, VerifiedProof};
use crate::clock::Timestamp;
use crate::http::problem::{Problem, table};
use crate::http::request_log::RealMethod;

/// Where a good nonce is told (RFC 9449 §8).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The key that a new token is to be bound to: the one that the caller of a token endpoint proves to hold, if any. The
/// proof holds, and is still to be used up.
#[derive(Debug)]
pub(crate) struct BoundTo(pub(crate) Option<VerifiedProof>);

impl BoundTo {
    /// Tells requests apart that differ only in who sends them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map(|proof| proof.thumbprint.as_bytes()).unwrap_or_default()
    }
}

/// That the caller holds a key; `None` when there is no proof. Nothing was written: see [`use_up`].
pub(super) fn proof_of(
    app: &App,
    request: &HttpRequest,
    access_token: Option<&str>,
    now: Timestamp,
) -> Result<Option<VerifiedProof>, Problem> {
    let mut headers = request.headers().get_all("dpop");
    let (first, second) = (headers.next(), headers.next());
    let Some(first) = first else { return Ok(None) };
    let (Ok(proof), None) = (first.to_str(), second) else {
        return Err(Problem::new(&table::INVALID_PROOF, "Send one proof in one `DPoP` header."));
    };
    let url = format!("{}{}", app.base_url, request.path());
    // HEAD is carried out as GET; what was signed is what was sent.
    let sent = request.extensions().get::<RealMethod>().map(|real| real.0.clone());
    let method = sent.as_ref().unwrap_or(request.method()).as_str();
    let proven = ProvenRequest { method, url: &url, access_token };
    authorization::verify_proof(proof, proven, &app.nonces, now).map(Some).map_err(|error| refused(app, error, now))
}

/// Uses a proof up: it is good once. A write, so it comes when everything else about the request holds.
pub(super) async fn use_up(app: &App, lane: &str, proof: VerifiedProof, now: Timestamp) -> Result<(), Problem> {
    let used = app.db.write(lane, move |conn| authorization::use_proof(conn, &proof)).await;
    used.map_err(|error| refused(app, error, now))
}

fn refused(app: &App, error: ProofError, now: Timestamp) -> Problem {
    match error {
        ProofError::Db(error) => error.into(),
        ProofError::Nonce => Problem::new(&table::PROOF_NONCE, "The proof carries no nonce that is good now.")
            .header(DPOP_NONCE, app.nonces.current(now)),
        other => Problem::new(&table::INVALID_PROOF, format!("{other}.")),
    }
}

impl FromRequest for BoundTo {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let app = app(&request)?;
            let now = app.clock.now();
            Ok(Self(proof_of(&app, &request, None, now)?))
        })
    }
}
