//! `POST /oauth/revoke` (RFC 7009) and `POST /oauth/introspect` (RFC 7662).

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::client::{ClientFields, authenticated, client_parts, presented};
use super::par::use_up;
use super::refusal::{TokenRefusal, bad};
use crate::app::App;
use crate::authorization::{self, PresentedClient, Revoked, Revoker, TokenParts};
use crate::http::caller::Form;
use crate::http::limit::{Limit, Limits};
use crate::http::problem::Problem;
use crate::secret::Secret;

/// Which token, and who asks. `token_type_hint` is passed over: we see which it is.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenForm {
    /// An access token or a refresh token.
    #[schema(value_type = String)]
    token: Option<SecretString>,
    client_id: Option<String>,
    #[schema(value_type = Option<String>)]
    client_secret: Option<SecretString>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
}

impl TokenForm {
    #[expect(clippy::result_large_err, reason = "a refusal ends the request; it is made once")]
    fn take(self) -> Result<(Secret, ClientFields), TokenRefusal> {
        let token = self.token.filter(|token| !token.expose_secret().is_empty());
        let token = token.ok_or_else(|| bad("invalid_request", "`token` is missing."))?;
        let Self { client_id, client_secret, client_assertion_type, client_assertion, .. } = self;
        let fields = ClientFields { client_id, client_secret, client_assertion_type, client_assertion };
        Ok((Secret::presented(token.expose_secret()), fields))
    }
}

/// Ends a token; with a refresh token, everything that came of the same consent. A token that is none is ended already.
#[utoipa::path(post, path = "/oauth/revoke", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200), (status = 400, description = "The token is another client's"),
        (status = 401, description = "`invalid_client`"), (status = 429), (status = 503)))]
pub(crate) async fn revoke(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
    form: Result<Form<TokenForm>, Problem>,
) -> Result<HttpResponse, TokenRefusal> {
    let Form(form, _) = form?;
    limits.take(&[(Limit::AddressTokens, &limits.address(&http))])?;
    let (now, (token, fields)) = (app.clock.now(), form.take()?);
    let by = presented(&app, &http, fields, now).await?;
    let audiences = [app.audience.as_str(), app.wire_audience.as_str()];
    let parts = TokenParts { db: &app.db, ring: &app.ring, issuer: &app.base_url, audiences: &audiences };
    let done = if let PresentedClient::Proven(orchestrator) = &by {
        authorization::revoke_token(parts, Revoker::Orchestrator(orchestrator), &token, now).await
    } else {
        let client = by.into_client(client_parts(&app), now).await?;
        use_up(&app, client.proof).await?;
        authorization::revoke_token(parts, Revoker::Client(&client.client.id), &token, now).await
    };
    match done.map_err(Problem::from)? {
        Revoked::Done => {
            // What this process remembers is older than this.
            app.revocations.forget();
            Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).finish())
        }
        Revoked::NotYours => Err(bad("unauthorized_client", "The token was given to another client.")),
    }
}

/// What a token is worth now. A client hears of its own tokens; an API of the provider's own, of any.
#[utoipa::path(post, path = "/oauth/introspect", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Value, description = "RFC 7662 §2.2"), (status = 400),
        (status = 401, description = "`invalid_client`"), (status = 429), (status = 503)))]
pub(crate) async fn introspect(
    app: Data<App>,
    limits: Data<Limits>,
    http: HttpRequest,
    form: Result<Form<TokenForm>, Problem>,
) -> Result<HttpResponse, TokenRefusal> {
    let Form(form, _) = form?;
    limits.take(&[(Limit::AddressTokens, &limits.address(&http))])?;
    let (now, (token, fields)) = (app.clock.now(), form.take()?);
    let client = authenticated(&app, &http, fields, now).await?;
    if !client.client.is_confidential() {
        return Err(TokenRefusal::invalid_client("a client that proves nothing asks about tokens"));
    }
    use_up(&app, client.proof).await?;
    let audiences = [app.audience.as_str(), app.wire_audience.as_str()];
    let parts = TokenParts { db: &app.db, ring: &app.ring, issuer: &app.base_url, audiences: &audiences };
    let told: Value = authorization::introspect(parts, &client.client, &token, now).await.map_err(Problem::from)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(told))
}
