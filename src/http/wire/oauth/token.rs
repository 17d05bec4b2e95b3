//! `/oauth/token`, in the token endpoint's envelope (RFC 6749 §5): assertions (RFC 7523 §2.1), the same use-case as `POST
//! /v1/accounts`; codes and refresh tokens that a human's consent led to; what a client gets for itself; and the grants of
//! the provisioning wire, which have the same names: the code or token says whose it is.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::client::{ClientFields, authenticated, client_parts, presented};
use super::refusal::{TokenRefusal, bad, not_exchanged};
use crate::app::App;
use crate::authorization::{
    self, Asking, CodeRedemption, ExchangeRequest, Given, GrantParts, PresentedClient, VerifiedProof,
};
use crate::clock::Timestamp;
use crate::http::caller::{BoundTo, Form};
use crate::http::limit::{Limit, Limited, Limits};
use crate::http::problem::Problem;
use crate::http::wire::provisioning::envelope::{Refusal, Typed};
use crate::http::wire::provisioning::tokens::{self, WireTokenResponse};
use crate::http::wire::v1::accounts::{exchanged, token_type};
use crate::http::wire::well_known::DEVICE_CODE;
use crate::secret::{Secret, sha256_base64url};
use secrecy::{ExposeSecret as _, SecretString};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The same with a proof of possession (draft-parecki-oauth-jwt-dpop-grant).
const JWT_DPOP: &str = "urn:ietf:params:oauth:grant-type:jwt-dpop";
/// Where limits are stated.
const NO_DETAILS: &str = "Limits are not stated at the token endpoint. Send `authorization_details` to /oauth/par or \
    /oauth/authorize, where the human sees them; the answer of this endpoint tells which hold.";

/// A token request (RFC 6749 §4.1.3, §4.5, §6).
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    /// `authorization_code`, `refresh_token`, `client_credentials` or `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    grant_type: Option<String>,
    /// The identity token, or an ID-JAG.
    assertion: Option<String>,
    /// Wanted scopes, parted by spaces; all when absent.
    scope: Option<String>,
    /// The wanted API (RFC 8707).
    resource: Option<String>,
    /// Refused, unless it is empty or `[]`: limits (RFC 9396) are asked for where a human sees them, at `/oauth/par` or
    /// `/oauth/authorize`.
    authorization_details: Option<String>,
    /// The code.
    #[schema(value_type = Option<String>)]
    pub(crate) code: Option<SecretString>,
    /// PKCE (RFC 7636): for a code with a challenge. Any other code, of the provisioning wire, takes a signed request.
    #[schema(value_type = Option<String>)]
    pub(crate) code_verifier: Option<SecretString>,
    /// That of the authorization request, when it is sent.
    redirect_uri: Option<String>,
    /// The device code (RFC 8628 §3.4).
    #[schema(value_type = Option<String>)]
    device_code: Option<SecretString>,
    /// The refresh token.
    #[schema(value_type = Option<String>)]
    pub(crate) refresh_token: Option<SecretString>,
    /// Who asks: here, by HTTP Basic, or in a signed statement. Optional on the provisioning wire; never wrong.
    client_id: Option<String>,
    /// The secret of the client.
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretString>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// A statement signed by the client (RFC 7523 §2.2) for our issuer identifier.
    client_assertion: Option<String>,
}

impl TokenRequest {
    /// What it says of its client.
    pub(crate) fn client_fields(&mut self) -> ClientFields {
        ClientFields {
            client_id: self.client_id.take(),
            client_secret: self.client_secret.take(),
            client_assertion_type: self.client_assertion_type.take(),
            client_assertion: self.client_assertion.take(),
        }
    }
}

/// What the token endpoint answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names the forms for the OpenAPI document")]
pub(crate) enum TokenAnswer {
    /// To an assertion.
    Bearer(TokenResponse),
    /// To an OAuth client.
    Client(ClientTokenResponse),
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
    /// The limits that the ID-JAG stated, with the worst case of a plan (RFC 9396 §7).
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<Value>,
    account_id: String,
}

/// What an OAuth client gets (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
pub(crate) struct ClientTokenResponse {
    access_token: String,
    /// `Bearer`, or `DPoP` when the request proved to hold a key (RFC 9449 §5).
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// What was given, which may be less than what was asked for.
    scope: String,
    /// Replaces the one that was sent, which goes on working until this one is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// The limits within which the human allowed it (RFC 9396 §7).
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<Value>,
    account_id: String,
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

/// Gives tokens: for a code or a refresh token, to a client for itself, or for an assertion, which opens the account when
/// there is none.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth", request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    params(("DPoP" = Option<String>, Header, description = "A proof (RFC 9449): the token is bound to its key.")),
    responses((status = 200, body = TokenAnswer),
        (status = 400, description = "RFC 6749 §5.2 error; `invalid_authorization_details` when any are sent"),
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
    let (app, now) = (app.as_ref(), app.clock.now());
    let mut request = request;
    if states_details(request.authorization_details.as_deref()) {
        return Err(bad("invalid_authorization_details", NO_DETAILS));
    }
    match request.grant_type.as_deref() {
        Some(JWT_BEARER | JWT_DPOP) => assertion(app, &http, request, bound_to, now).await,
        Some("authorization_code") => {
            let of_consent = match present(request.code.as_ref()) {
                Some(code) => of_consent(app, &code).await?,
                None => false,
            };
            if !of_consent {
                return tokens::redeem(app, &limits, &http, (request, &bytes)).await;
            }
            let client = authenticated(app, &http, request.client_fields(), now).await?;
            redeem(app, asking(client, &mut request, bound_to), request, now).await
        }
        Some("refresh_token") => {
            let known = match present(request.refresh_token.as_ref()) {
                Some(token) => authorization::known_refresh(grant_parts(app), &token).await,
                None => Ok(None),
            };
            let Some(known) = known.map_err(Problem::from)? else {
                return tokens::refresh(app, &limits, &http, (request, &bytes)).await;
            };
            let client = authenticated(app, &http, request.client_fields(), now).await?;
            let asking = asking(client, &mut request, bound_to);
            Ok(given(
                authorization::refresh_consent(grant_parts(app), asking, known, now)
                    .await
                    .inspect_err(|_| app.revocations.forget())?,
            ))
        }
        Some(DEVICE_CODE) if app.device.is_some() => {
            let client = authenticated(app, &http, request.client_fields(), now).await?;
            let code = present(request.device_code.as_ref());
            let code = code.ok_or_else(|| bad("invalid_request", "`device_code` is missing."))?;
            let asking = asking(client, &mut request, bound_to);
            let polled = authorization::poll_device(grant_parts(app), asking, &code, now).await;
            // A copy may have ended tokens that this process still believes in.
            Ok(given(polled.inspect_err(|_| app.revocations.forget())?))
        }
        Some("client_credentials") => {
            let client = authenticated(app, &http, request.client_fields(), now).await?;
            let asking = asking(client, &mut request, bound_to);
            Ok(given(authorization::client_credentials(grant_parts(app), asking, now).await?))
        }
        Some(_) => Err(bad("unsupported_grant_type", "This grant is not supported.")),
        None => Err(bad("invalid_request", "`grant_type` is missing.")),
    }
}

/// Whether a request states limits. Nothing here would keep them (RFC 9396 §6.1 lets a token request narrow what was allowed):
/// whoever believed that they hold would be wrong, so nothing is used up and nothing is given.
fn states_details(sent: Option<&str>) -> bool {
    sent.is_some_and(|sent| !sent.is_empty() && serde_json::from_str::<[(); 0]>(sent).is_err())
}

/// An empty parameter is one that was left out (RFC 6749 §3.2).
fn present(sent: Option<&SecretString>) -> Option<Secret> {
    sent.filter(|sent| !sent.expose_secret().is_empty()).map(|sent| Secret::presented(sent.expose_secret()))
}

/// Whether a code came of a human's consent to an OAuth client.
async fn of_consent(app: &App, code: &Secret) -> Result<bool, TokenRefusal> {
    let hash = code.hash();
    let found = app.db.read(move |conn| authorization::code_is_of_consent(conn, &hash)).await;
    Ok(found.map_err(Problem::from)?)
}

fn grant_parts(app: &App) -> GrantParts<'_> {
    let (issuer, audience) = (app.base_url.as_str(), app.audience.as_str());
    GrantParts { db: &app.db, ring: &app.ring, issuer, audience, successors: &app.successors }
}

fn asking(client: authorization::Authenticated, request: &mut TokenRequest, bound_to: BoundTo) -> Asking {
    let proof: Option<VerifiedProof> = bound_to.0;
    let resources = request.resource.take().filter(|resource| !resource.is_empty()).into_iter().collect();
    Asking { client, proof, scope: request.scope.take().filter(|scope| !scope.is_empty()), resources }
}

fn given(given: Given) -> HttpResponse {
    let answer = ClientTokenResponse {
        access_token: given.access_token.expose_secret().to_owned(),
        token_type: token_type(given.bound),
        expires_in: authorization::ACCESS_TOKEN_LIFETIME.num_seconds(),
        scope: given.scopes.to_string(),
        refresh_token: given.refresh_token.map(|token| token.expose().to_owned()),
        authorization_details: given.details,
        account_id: given.account_id.to_string(),
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(answer)
}

/// A code of an OAuth client.
async fn redeem(
    app: &App,
    asking: Asking,
    request: TokenRequest,
    now: Timestamp,
) -> Result<HttpResponse, TokenRefusal> {
    let code = present(request.code.as_ref()).ok_or_else(|| bad("invalid_request", "`code` is missing."))?;
    let verifier = present(request.code_verifier.as_ref()).map(|verifier| verifier.expose().to_owned());
    let redemption = CodeRedemption { code, verifier, redirect_uri: request.redirect_uri };
    let redeemed = authorization::redeem_code(grant_parts(app), asking, redemption, now).await;
    // A copy may have ended tokens that this process still believes in.
    Ok(given(redeemed.inspect_err(|_| app.revocations.forget())?))
}

/// An ID token, which proves itself, or an ID-JAG, which is good for the client that it names.
async fn assertion(
    app: &App,
    http: &HttpRequest,
    mut request: TokenRequest,
    bound_to: BoundTo,
    now: Timestamp,
) -> Result<HttpResponse, TokenRefusal> {
    let assertion = request.assertion.take().ok_or_else(|| bad("invalid_request", "`assertion` is missing."))?;
    let client = match presented(app, http, request.client_fields(), now).await? {
        PresentedClient::Unnamed | PresentedClient::Proven(_) => None,
        named => Some(named.into_client(client_parts(app), now).await?),
    };
    // A retry is the same in everything that decides; the client's statement is a new one each time.
    let asked =
        json!([client.as_ref().map(|client| client.client.id.as_str()), request.scope, request.resource, assertion,]);
    let request_hash = [b"/oauth/token\n", bound_to.as_bytes(), b"\n", asked.to_string().as_bytes()].concat();
    let exchange = ExchangeRequest {
        assertion,
        client,
        scope: request.scope,
        resource: request.resource,
        request_hash: sha256_base64url(&request_hash),
        proof: bound_to.0,
    };
    let given = exchanged(app, exchange, now).await.map_err(|error| not_exchanged(app, error))?;
    let answer = TokenResponse {
        access_token: given.access_token.expose_secret().to_owned(),
        token_type: token_type(given.bound),
        expires_in: given.expires_in,
        scope: given.scopes.to_string(),
        authorization_details: given.details,
        account_id: given.account.id.to_string(),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
