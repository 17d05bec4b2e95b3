//! Who signed a request, before anything of it is believed.
//!
//! The order of [`Signed`]: the body is read (bounded), then the signature (401 flat), then `API-Version` (400 flat).
//! Endpoints with another order, or with a body, ask for the pieces: [`read_body`], [`verify_signature`] or
//! [`verify_signature_of`], [`check_version`], [`parse_json`].

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::envelope::{Envelope, Refusal};
use super::without_prefix;
use crate::app::App;
use crate::attestation::request_signature::{
    NamedSignature, PublicKeySource, SignedRequest, SignerError, UnverifiedRequest, UseError,
};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::limit::Limited;
use crate::ids::{OrchestratorId, WireSecretId};
use crate::orchestrator::{self, Orchestrator, SignatureMode, WireSettings};
use crate::secret::sha256_base64url;
use crate::signing::parse_strict;

/// The version that is spoken.
pub(crate) const API_VERSION: &str = "0.1d";

/// The longest body that is read, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How long a whole body may take: a caller that stalls holds a connection.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a request waits for keys that are only asked for advice.
const ADVICE_WAIT: Duration = Duration::from_secs(2);

/// A request whose signature and version hold, of a caller who signs everything. Its body is read and says nothing.
#[derive(Debug)]
pub(crate) struct Signed<E: Envelope> {
    /// How its orchestrator speaks.
    pub(crate) settings: WireSettings,
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
            let body = read_body::<E>(payload).await?;
            let settings = verify_signature(&app, &request, &body, app.clock.now()).await?.settings;
            check_version(&request)?;
            Ok(Self { settings, envelope: PhantomData })
        })
    }
}

/// Reads the body, bounded in size and time.
///
/// # Errors
/// 413 when it is longer than [`MAX_BODY`]; 408 when it takes too long; 400 when it breaks off.
pub(crate) async fn read_body<E: Envelope>(payload: web::Payload) -> Result<Vec<u8>, Refusal<E>> {
    tokio::time::timeout(MAX_WAIT, collect(payload)).await.unwrap_or_else(|_elapsed| {
        let message = format!("The body did not arrive within {} s.", MAX_WAIT.as_secs());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_not_readable", message))
    })
}

async fn collect<E: Envelope>(mut payload: web::Payload) -> Result<Vec<u8>, Refusal<E>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "body_not_readable", "The body broke off.").because(error)
        })?;
        if bytes.len() + chunk.len() > MAX_BODY {
            let message = format!("The body is longer than {MAX_BODY} bytes.");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The content type of a request, as it was sent; empty when there is none.
pub(crate) fn content_type(request: &HttpRequest) -> &str {
    request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// A JSON body that says each thing once. Members that nobody knows are passed over; no body at all is `{}`.
///
/// # Errors
/// 415 for another content type than JSON (none is taken for JSON), 400 for what is not the JSON that it should be.
pub(crate) fn parse_json<T: DeserializeOwned, E: Envelope>(content_type: &str, body: &[u8]) -> Result<T, Refusal<E>> {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if !(kind.is_empty() || kind == "application/json" || kind.ends_with("+json")) {
        let message = "Send the body as `application/json`.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", message));
    }
    if std::str::from_utf8(body).is_err() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "body_not_decodable", "The body is not UTF-8."));
    }
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let value = parse_strict::<Value>(body);
    let value = value.map_err(|error| Refusal::bad(format!("The body is not JSON as it should be: {error}.")))?;
    if !value.is_object() {
        return Err(Refusal::bad("The body is not a JSON object."));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("`{path}`: ") };
        Refusal::bad(format!("{at}{}.", error.inner()))
    })
}

/// Who signed a request, and with what.
pub(crate) struct Signature {
    /// Who.
    pub(crate) orchestrator: Orchestrator,
    /// How it speaks.
    pub(crate) settings: WireSettings,
    /// Names the request.
    pub(crate) hash: String,
    /// Which of its secrets fits.
    pub(crate) secret: WireSecretId,
}

/// Finds out who signed the request, by whichever registered secret fits. No signature, a malformed, stale or wrong one,
/// one of a suspended orchestrator: 401 `invalid_signature`, flat. No secret registered at all: 500 `server_error`, flat.
///
/// # Errors
/// As said; and 503 when the database is busy.
pub(crate) async fn verify_signature<E: Envelope>(
    app: &App,
    request: &HttpRequest,
    body: &[u8],
    now: Timestamp,
) -> Result<Signature, Refusal<E>> {
    let unverified = unverified(app, request, body);
    let signed = app.wire_secrets.find_signer(&app.db, &unverified, now).await.map_err(unsigned)?;
    let (orchestrator, settings) = known(app, signed.orchestrator_id()).await?;
    if orchestrator.distrusts_key(signed.secret_id().as_str()) {
        return Err(refusal("the secret is distrusted"));
    }
    let named = check_v2(app, &unverified, &signed, &settings, now).await?;
    let named = used(app, request, body, named, &settings).await?;
    // What names itself is that request whenever its first signature was made.
    let name = named.map_or_else(|| signed.signed_at().to_string(), |named| named.name().to_owned());
    let hash = request_hash(app, request, &name, body);
    Ok(Signature { orchestrator, settings, hash, secret: signed.secret_id().clone() })
}

/// The same for an endpoint whose bearer token already says who must have signed: another orchestrator's signature is as
/// bad as none. An orchestrator of public clients signs nothing, if the operator allows such clients; then no hash names
/// the request, because nothing tells a repetition from a new one. A request that is signed all the same is its signer's.
///
/// # Errors
/// Like [`verify_signature`].
pub(crate) async fn verify_signature_of<E: Envelope>(
    app: &App,
    request: &HttpRequest,
    body: &[u8],
    expected: &OrchestratorId,
    now: Timestamp,
) -> Result<(Orchestrator, WireSettings, Option<String>), Refusal<E>> {
    let (orchestrator, settings) = known(app, expected).await?;
    if settings.signature_mode == SignatureMode::Unsigned && app.wire.generic_clients && !is_signed(request) {
        return Ok((orchestrator, settings, None));
    }
    let Signature { orchestrator: signer, settings, hash, .. } = verify_signature(app, request, body, now).await?;
    if &signer.id == expected {
        Ok((signer, settings, Some(hash)))
    } else {
        Err(refusal("the signature is of another orchestrator"))
    }
}

/// Whether a request claims to be signed.
pub(crate) fn is_signed(request: &HttpRequest) -> bool {
    ["stripe-signature", "stripe-signature-v2"].iter().any(|name| request.headers().contains_key(*name))
}

/// Names a request: the same signed bytes to the same endpoint, about the same thing, are the same request, under whatever
/// prefix, and however the address is written: no signature of the first scheme says anything about that.
fn request_hash(app: &App, request: &HttpRequest, name: &str, body: &[u8]) -> String {
    let pattern = request.match_pattern().unwrap_or_else(|| request.path().to_owned());
    let endpoint = without_prefix(app, &pattern);
    let about: Vec<&str> = request.match_info().iter().map(|(_, value)| value).collect();
    let head = format!("{}\n{endpoint}\n{}\n{name}\n", request.method(), about.join("\n"));
    sha256_base64url(&[head.as_bytes(), body].concat())
}

fn target(request: &HttpRequest) -> &str {
    request.uri().path_and_query().map_or("/", |target| target.as_str())
}

fn unverified<'a>(app: &'a App, request: &'a HttpRequest, body: &'a [u8]) -> UnverifiedRequest<'a> {
    let only = |name: &str| {
        let mut all = request.headers().get_all(name);
        let first = all.next()?;
        if all.next().is_some() { None } else { first.to_str().ok() }
    };
    UnverifiedRequest {
        method: request.method().as_str(),
        target: target(request),
        base_url: &app.base_url,
        signature: only("stripe-signature"),
        signature_v2: only("stripe-signature-v2"),
        body,
    }
}

/// The orchestrator and its settings as they are now: a suspended one is believed nothing, and one without settings does
/// not speak the wire.
async fn known<E: Envelope>(app: &App, id: &OrchestratorId) -> Result<(Orchestrator, WireSettings), Refusal<E>> {
    let id = id.clone();
    let found = app.db.read(move |conn| {
        let settings = orchestrator::wire_of(conn, &id)?;
        Ok::<_, DbError>(orchestrator::by_id(conn, &id)?.zip(settings))
    });
    match found.await? {
        Some((orchestrator, _)) if orchestrator.suspended_at.is_some() => Err(refusal("the orchestrator is suspended")),
        Some(found) => Ok(found),
        None => Err(refusal("the orchestrator does not speak the wire")),
    }
}

async fn check_v2<E: Envelope>(
    app: &App,
    unverified: &UnverifiedRequest<'_>,
    signed: &SignedRequest,
    settings: &WireSettings,
    now: Timestamp,
) -> Result<Option<NamedSignature>, Refusal<E>> {
    if matches!(settings.signature_mode, SignatureMode::Hmac | SignatureMode::Unsigned) {
        return Ok(None);
    }
    let required = settings.signature_mode == SignatureMode::V2Required;
    if !required && unverified.signature_v2.is_none() {
        return Ok(None);
    }
    let sealed_token = settings.sealed_public_keys_token.as_deref();
    let source = PublicKeySource { url: settings.public_keys_url.as_ref(), sealed_token };
    let judged = unverified.verify_v2(signed, &source, &app.wire_keys, now);
    if required {
        return judged.await.map_err(|error| refusal(&error.to_string()));
    }
    let reason = match tokio::time::timeout(ADVICE_WAIT, judged).await {
        Ok(Ok(named)) => return Ok(named),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "its keys did not come in time".to_owned(),
    };
    tracing::warn!(orchestrator = %signed.orchestrator_id(), reason, "a second signature does not hold");
    Ok(None)
}

/// A named signature is good for one request: with the same `Idempotency-Key` too, which nobody signs. What changes
/// nothing may be asked for as often as its signature holds. Where the second signature is only advice, so is this.
async fn used<E: Envelope>(
    app: &App,
    request: &HttpRequest,
    body: &[u8],
    named: Option<NamedSignature>,
    settings: &WireSettings,
) -> Result<Option<NamedSignature>, Refusal<E>> {
    let Some(named) = named.filter(|_| !request.method().is_safe()) else { return Ok(None) };
    let keys: Vec<&[u8]> = request.headers().get_all("idempotency-key").map(HeaderValue::as_bytes).collect();
    let hash = request_hash(app, request, &sha256_base64url(&keys.join(&b'\n')), body);
    match named.use_for(&app.db, &hash).await {
        Ok(()) => Ok(Some(named)),
        Err(UseError::Db(error)) => Err(error.into()),
        Err(error) if settings.signature_mode == SignatureMode::V2Required => Err(refusal(&error.to_string())),
        Err(error) => {
            tracing::warn!(orchestrator = %settings.orchestrator_id, reason = %error, "a second signature does not hold");
            Ok(None)
        }
    }
}

/// One coarse answer for every reason; the reason goes to the log.
fn refusal<E: Envelope>(reason: &str) -> Refusal<E> {
    let message = "The request is not signed by a registered orchestrator, or not now.";
    Refusal::flat(StatusCode::UNAUTHORIZED, "invalid_signature", message).because(reason)
}

fn unsigned<E: Envelope>(error: SignerError) -> Refusal<E> {
    match error {
        SignerError::Signature(error) => refusal(&error.to_string()),
        SignerError::NoSecrets => {
            let message = "This provider is not set up for orchestrators yet.";
            Refusal::flat(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).because(SignerError::NoSecrets)
        }
        SignerError::Db(error) => error.into(),
    }
}

/// `API-Version` is there and is one that is spoken.
///
/// # Errors
/// 400 `invalid_api_version`, flat.
pub(crate) fn check_version<E: Envelope>(request: &HttpRequest) -> Result<(), Refusal<E>> {
    let given = request.headers().get("api-version").and_then(|value| value.to_str().ok());
    if given == Some(API_VERSION) {
        return Ok(());
    }
    let message = format!("Send the header `API-Version: {API_VERSION}`: it is the supported version.");
    Err(Refusal::flat(StatusCode::BAD_REQUEST, "invalid_api_version", message))
}

impl<E: Envelope> From<Limited> for Refusal<E> {
    fn from(limited: Limited) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", limited.message());
        limited.headers().into_iter().fold(refusal, |refusal, (name, value)| refusal.header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::envelope::Typed;
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        email: Option<String>,
        count: Option<u32>,
    }

    fn read(content_type: &str, body: &[u8]) -> Result<Wanted, (u16, &'static str)> {
        parse_json::<Wanted, Typed>(content_type, body).map_err(|refusal| (refusal.status.as_u16(), refusal.code))
    }

    #[test]
    fn a_body_is_read_tolerantly_where_nothing_can_be_misunderstood() {
        let dana = Wanted { email: Some("dana@example.com".to_owned()), count: None };
        let body = br#"{"email": "dana@example.com", "count": null, "unknown": {"a": [1]}}"#;
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", ""] {
            assert_eq!(read(kind, body), Ok(Wanted { ..read("", body).unwrap() }), "{kind}");
        }
        assert_eq!(read("application/json", body), Ok(dana));
        let nothing = Wanted { email: None, count: None };
        assert_eq!(read("", b""), Ok(Wanted { ..nothing }), "no body at all");
    }

    #[test]
    fn anything_else_is_refused_and_says_why() {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"] {
            assert_eq!(read(kind, b"{}"), Err((415, "invalid_request")), "{kind}");
        }
        assert_eq!(read("", b"{\"email\": \"\xff\"}"), Err((400, "body_not_decodable")));
        let deep = "[".repeat(10_000);
        for body in [
            "{",
            "[]",
            "null",
            "1",
            "\"a\"",
            "{\"email\": 1}",
            "{\"count\": -1}",
            "{\"count\": 1.5}",
            "{} {}",
            "\u{feff}{}",
            "{\"email\": \"a\", \"email\": \"b\"}",
            "{'email': 'a'}",
            "{\"email\": \"\\ud800\"}",
            deep.as_str(),
        ] {
            assert_eq!(read("", body.as_bytes()), Err((400, "invalid_request")), "{body:.40}");
        }
    }
}
