//! `POST /oauth/register`: a client registers itself (RFC 7591), where the operator lets them. Nobody checks what it says:
//! its human is told so, always asked, and it is forgotten when it is not used.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::refusal::{TokenRefusal, bad};
use crate::app::{App, HOUSE};
use crate::authorization::{self, ClientMetadata, ClientOrigin, GrantType, NewClient, RegisterError};
use crate::http::caller::Body;
use crate::http::limit::{Limit, Limits};
use crate::http::problem::Problem;

/// Registers a client.
#[utoipa::path(post, path = "/oauth/register", tag = "oauth", request_body = Value,
    responses((status = 201, body = Value, description = "RFC 7591 §3.2.1"),
        (status = 400, description = "`invalid_redirect_uri`, `invalid_client_metadata`"),
        (status = 401, description = "Never: anybody may ask, where it is on"),
        (status = 404, description = "Registration is off"), (status = 429), (status = 503)))]
pub(crate) async fn register(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
    body: Result<Body<Value>, Problem>,
) -> Result<HttpResponse, TokenRefusal> {
    limits.take(&[(Limit::AddressRegistrations, &limits.address(&http))])?;
    let document = body?.value;
    let mut metadata = ClientMetadata::read_registration(&document)
        .map_err(|error| TokenRefusal::new(StatusCode::BAD_REQUEST, error.code(), format!("{error}.")))?;
    // Neither for itself nor by assertion: nobody vouches for it.
    metadata.grant_types.retain(|grant| matches!(grant, GrantType::AuthorizationCode | GrantType::RefreshToken));
    // What it would ask for first is no bound that anybody set: with one, it could never ask its human for more.
    metadata.scope = None;
    let now = app.clock.now();
    let new = NewClient { metadata, origin: ClientOrigin::Registration, account_id: None, introspects: false };
    let registered = new.prepare(now).map_err(Problem::from)?;
    let client = registered.client.clone();
    let written = app.db.write(HOUSE, move |conn| authorization::register_client(conn, &client, now)).await;
    written.map_err(|error| match error {
        RegisterError::Db(error) => Problem::from(error).into(),
        error @ RegisterError::TooLong => bad("invalid_client_metadata", &format!("{error}.")),
        error => TokenRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", format!("{error}.")),
    })?;
    let mut answer = registered.client.metadata.to_json();
    if let Value::Object(members) = &mut answer {
        members.insert("client_id".to_owned(), json!(registered.client.id));
        members.insert("client_id_issued_at".to_owned(), json!(now.seconds()));
        if let Some(secret) = &registered.secret {
            members.insert("client_secret".to_owned(), json!(secret.expose()));
            members.insert("client_secret_expires_at".to_owned(), json!(0));
        }
    }
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
