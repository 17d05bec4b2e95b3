//! `POST /oauth/par`: a request is pushed before the browser carries it (RFC 9126), so that nobody on the way can change it.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::client::{ClientFields, authenticated};
use super::refusal::{TokenRefusal, bad};
use crate::app::{App, HOUSE};
use crate::authorization::{self, GrantError, PUSHED_LIFETIME, Params, ProofError, REQUEST_URI, Target, read_request};
use crate::http::caller::{BoundTo, Form};
use crate::http::limit::{Limit, Limits};
use crate::http::problem::Problem;
use crate::secret::Secret;

/// Where the pushed request is.
#[derive(Serialize, ToSchema)]
pub(crate) struct PushedResponse {
    /// `urn:ietf:params:oauth:request_uri:…`: good once, for this client.
    request_uri: String,
    /// Seconds.
    expires_in: i64,
}

/// Pushes an authorization request. The parameters are those of `/oauth/authorize`.
#[utoipa::path(post, path = "/oauth/par", tag = "oauth",
    request_body(content = super::authorize::AuthorizeParameters, content_type = "application/x-www-form-urlencoded"),
    params(("DPoP" = Option<String>, Header, description = "A proof (RFC 9449 §10.1): the code is bound to its key.")),
    responses((status = 201, body = PushedResponse), (status = 400, description = "RFC 6749 §4.1.2.1 error"),
        (status = 401, description = "`invalid_client`"), (status = 429), (status = 503)))]
pub(crate) async fn push(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
    bound_to: Result<BoundTo, Problem>,
    form: Result<Form<ClientFields>, Problem>,
) -> Result<HttpResponse, TokenRefusal> {
    let (BoundTo(proof), Form(fields, bytes)) = (bound_to?, form?);
    limits.take(&[(Limit::AddressRequests, &limits.address(&http))])?;
    let now = app.clock.now();
    let client = authenticated(&app, &http, fields, now).await?;
    let params = Params::parse(&bytes).ok_or_else(|| bad("invalid_request", "The request is longer than 16 KiB."))?;
    let target = Target::of(&params, &client.client)
        .map_err(|error| bad("invalid_request", &format!("`redirect_uri`: {error}.")))?;
    let mut request = read_request(&params, &client.client, &target, &app.audience)?.priced(&**app)?;
    request.bind(proof.as_ref())?;
    let handle = Secret::generate("oreq").map_err(Problem::from)?;
    let (hash, statement) = (handle.hash(), client.proof);
    let kept = app.db.write(HOUSE, move |conn| {
        authorization::use_up(conn, statement.as_ref(), proof.as_ref())?;
        Ok::<_, GrantError>(authorization::keep(conn, &hash, &request, false, now)?)
    });
    kept.await?;
    let answer = PushedResponse {
        request_uri: format!("{REQUEST_URI}{}", handle.expose()),
        expires_in: PUSHED_LIFETIME.num_seconds(),
    };
    Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Uses up what a client proved itself with, where nothing else is written.
pub(super) async fn use_up(app: &App, statement: Option<authorization::SingleUse>) -> Result<(), TokenRefusal> {
    let Some(statement) = statement else { return Ok(()) };
    let used = app.db.write(HOUSE, move |conn| statement.use_up(conn)).await;
    used.map_err(|error| match error {
        ProofError::Db(error) => Problem::from(error).into(),
        used => TokenRefusal::invalid_client(used),
    })
}
