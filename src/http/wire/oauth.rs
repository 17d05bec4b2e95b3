//! `/oauth/token`, in the token endpoint's envelope (RFC 6749 §5): the JWT bearer grant (RFC 7523 §2.1), the same use-case
//! as `POST /v1/accounts`; and the grants of the provisioning wire.

use actix_web::http::header::HeaderName;
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::provisioning::envelope::{Refusal, Typed};
use super::provisioning::tokens::{self, WireTokenResponse};
use super::v1::accounts::{exchange_parts, token_type};
use crate::app::App;
use crate::authorization::{self, ExchangeError, ExchangeRequest};
use crate::http::caller::{BoundTo, DPOP_NONCE, Form};
use crate::http::limit::{Limit, Limited, Limits};
use crate::http::problem::Problem;
use crate::secret::sha256_base64url;
use secrecy::{ExposeSecret as _, SecretString};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token request (RFC 6749 §4.1.3, §4.5, §6).
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`, `authorization_code` or `refresh_token`.
    grant_type: Option<String>,
    /// The identity token.
    assertion: Option<String>,
    /// Wanted scopes, parted by spaces; all when absent.
    scope: Option<String>,
    /// The wanted API (RFC 8707).
    resource: Option<String>,
    /// The code of an account request.
    #[schema(value_type = Option<String>)]
    pub(super) code: Option<SecretString>,
    /// PKCE (RFC 7636): for a code with a challenge. Any other code takes a signed request.
    #[schema(value_type = Option<String>)]
    pub(super) code_verifier: Option<SecretString>,
    /// The refresh token.
    #[schema(value_type = Option<String>)]
    pub(super) refresh_token: Option<SecretString>,
    /// Who asks: optional, here or by HTTP Basic; verified when a secret comes with it.
    pub(super) client_id: Option<String>,
    /// The secret of the client.
    #[schema(value_type = Option<String>)]
    pub(super) client_secret: Option<SecretString>,
}

/// What the token endpoint answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names the forms for the OpenAPI document")]
pub(crate) enum TokenAnswer {
    /// To the JWT bearer grant.
    Bearer(TokenResponse),
    /// To the grants of the provisioning wire.
    Wire(WireTokenResponse),
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
    headers: Vec<(HeaderName, String)>,
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
        for (name, value) in &self.headers {
            builder.append_header((name, value.as_str()));
        }
        builder.insert_header((header::CACHE_CONTROL, "no-store")).json(body)
    }
}

impl TokenRefusal {
    pub(super) fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        let (uri, nonce, headers, cause) = (None, None, Vec::new(), None);
        Self { status, error, description: description.into(), uri, nonce, headers, cause }
    }

    pub(super) fn because(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
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
        Self { nonce, cause: problem.cause.map(String::from), ..Self::new(status, error, problem.detail) }
    }
}

pub(super) fn bad(error: &'static str, description: &str) -> TokenRefusal {
    TokenRefusal::new(StatusCode::BAD_REQUEST, error, description)
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
            TokenRefusal { uri, ..bad(code.as_str(), &problem.detail).because(cause) }
        }
        None => Problem::from(error).into(),
    }
}

/// Exchanges an identity token for an access token, opening the account when there is none; or, on the provisioning wire,
/// a code or a refresh token for new tokens.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth", request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    params(("DPoP" = Option<String>, Header, description = "A proof (RFC 9449): the token is bound to its key.")),
    responses((status = 200, body = TokenAnswer), (status = 400, description = "RFC 6749 §5.2 error"),
        (status = 401, description = "RFC 6749 §5.2 error"), (status = 429), (status = 503)))]
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
        Some("authorization_code") => return tokens::redeem(&app, &limits, &http, (request, &bytes)).await,
        Some("refresh_token") => return tokens::refresh(&app, &limits, &http, (request, &bytes)).await,
        Some(_) => return Err(bad("unsupported_grant_type", "This grant is not supported.")),
        None => return Err(bad("invalid_request", "`grant_type` is missing.")),
    }
    let assertion = request.assertion.ok_or_else(|| bad("invalid_request", "`assertion` is missing."))?;
    let exchange = ExchangeRequest {
        assertion,
        scope: request.scope,
        resource: request.resource,
        request_hash: sha256_base64url(&[b"/oauth/token\n", bound_to.as_bytes(), b"\n", &bytes].concat()),
        proof: bound_to.0,
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
