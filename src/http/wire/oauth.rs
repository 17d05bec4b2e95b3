//! `/oauth/token`: the JWT bearer grant (RFC 7523 §2.1), the same use-case as `POST /v1/accounts` in the token
//! endpoint's envelope (RFC 6749 §5).

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::provisioning::envelope::{Refusal, Typed};
use super::v1::accounts::{exchange_parts, token_type};
use crate::app::App;
use crate::authorization::{self, ExchangeError, ExchangeRequest};
use crate::http::caller::{BoundTo, DPOP_NONCE, Form};
use crate::http::limit::{Limit, Limited, Limits};
use crate::http::problem::Problem;
use crate::secret::sha256_base64url;
use secrecy::ExposeSecret as _;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token request (RFC 6749 §4.5).
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    grant_type: Option<String>,
    /// The identity token.
    assertion: Option<String>,
    /// Wanted scopes, parted by spaces; all when absent.
    scope: Option<String>,
    /// The wanted API (RFC 8707).
    resource: Option<String>,
}

/// A token (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenResponse {
    access_token: String,
    /// `Bearer`, or `DPoP` when the request proved to hold a key (RFC 9449 §5).
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    scope: String,
    account_id: String,
}

/// A refusal in the envelope of RFC 6749 §5.2.
#[derive(Debug)]
pub(crate) struct TokenRefusal {
    status: StatusCode,
    error: &'static str,
    description: String,
    uri: Option<String>,
    nonce: Option<String>,
    cause: Option<String>,
}

impl std::fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error, self.description)
    }
}

impl actix_web::ResponseError for TokenRefusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        if let Some(cause) = &self.cause {
            tracing::info!(error = self.error, cause, "token refused");
        }
        let mut body = json!({"error": self.error, "error_description": self.description});
        if let (Some(uri), Some(members)) = (&self.uri, body.as_object_mut()) {
            members.insert("error_uri".to_owned(), json!(uri));
        }
        let mut builder = HttpResponse::build(self.status);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            builder.insert_header((header::RETRY_AFTER, "2"));
        }
        if let Some(nonce) = &self.nonce {
            builder.insert_header((DPOP_NONCE, nonce.as_str()));
        }
        builder.insert_header((header::CACHE_CONTROL, "no-store")).json(body)
    }
}

impl From<Problem> for TokenRefusal {
    fn from(problem: Problem) -> Self {
        let status = match problem.doc.status {
            503 => StatusCode::SERVICE_UNAVAILABLE,
            500 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = match problem.doc.code {
            code @ ("use_dpop_nonce" | "invalid_dpop_proof") => code,
            _ if status == StatusCode::BAD_REQUEST => "invalid_request",
            _ => "temporarily_unavailable",
        };
        let nonce = problem.header_value(&DPOP_NONCE).map(str::to_owned);
        Self { status, error, description: problem.detail, uri: None, nonce, cause: problem.cause.map(String::from) }
    }
}

fn bad(error: &'static str, description: &str) -> TokenRefusal {
    let (status, description) = (StatusCode::BAD_REQUEST, description.to_owned());
    TokenRefusal { status, error, description, uri: None, nonce: None, cause: None }
}

/// 429: in the typed envelope for the grants of the provisioning wire, as its orchestrators know it; else in OAuth's.
pub(crate) fn too_many(grant_type: Option<&str>, limited: Limited) -> HttpResponse {
    if matches!(grant_type, Some("authorization_code" | "refresh_token")) {
        return Refusal::<Typed>::from(limited).error_response();
    }
    let mut builder = HttpResponse::TooManyRequests();
    for (name, value) in limited.headers() {
        builder.insert_header((name, value));
    }
    builder
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({"error": "rate_limited", "error_description": limited.message()}))
}

fn refused(app: &App, error: ExchangeError) -> TokenRefusal {
    let uri = matches!(error, ExchangeError::NeedsConsent).then(|| format!("{}/consent/needed", app.base_url));
    match error.oauth() {
        Some(code) => {
            let cause = error.to_string();
            let problem = Problem::from(error);
            TokenRefusal {
                status: StatusCode::BAD_REQUEST,
                error: code.as_str(),
                description: problem.detail,
                uri,
                nonce: None,
                cause: Some(cause),
            }
        }
        None => Problem::from(error).into(),
    }
}

/// Exchanges an identity token for an access token; opens the account when there is none.
#[utoipa::path(tag = "oauth", request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    params(("DPoP" = Option<String>, Header, description = "A proof (RFC 9449): the token is bound to its key.")),
    responses((status = 200, body = TokenResponse), (status = 400, description = "RFC 6749 §5.2 error"),
        (status = 429), (status = 503)))]
#[post("/oauth/token")]
pub(crate) async fn token(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
    bound_to: Result<BoundTo, Problem>,
    form: Result<Form<TokenRequest>, Problem>,
) -> Result<HttpResponse, TokenRefusal> {
    let (bound_to, Form(request, bytes)) = (bound_to?, form?);
    if let Err(limited) = limits.take(&[(Limit::AddressTokens, &limits.address(&http))]) {
        return Ok(too_many(request.grant_type.as_deref(), limited));
    }
    match request.grant_type.as_deref() {
        Some(JWT_BEARER) => {}
        Some(_) => return Err(bad("unsupported_grant_type", "Only the JWT bearer grant is supported.")),
        None => return Err(bad("invalid_request", "`grant_type` is missing.")),
    }
    let assertion = request.assertion.ok_or_else(|| bad("invalid_request", "`assertion` is missing."))?;
    let exchange = ExchangeRequest {
        assertion,
        scope: request.scope,
        resource: request.resource,
        request_hash: sha256_base64url(&[b"/oauth/token\n", bound_to.as_bytes(), b"\n", &bytes].concat()),
        bound_to: bound_to.0,
    };
    let now = app.clock.now();
    let given =
        authorization::exchange(exchange_parts(&app), exchange, now).await.map_err(|error| refused(&app, error))?;
    let answer = TokenResponse {
        access_token: given.access_token.expose_secret().to_owned(),
        token_type: token_type(given.bound),
        expires_in: given.expires_in,
        scope: given.scopes.to_string(),
        account_id: given.account.id.to_string(),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
