//! The grants of the provisioning wire at the token endpoint: a code, proven by its verifier or by the request's signature,
//! and a refresh token, proven by possession. Saying which client asks is optional; what is said must be true.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, AUTHORIZATION, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::account_requests::wire_signer;
use super::envelope::Flat;
use super::signed::verify_signature;
use crate::app::App;
use crate::authorization::{
    self, ClientCredentials, ClientError, PresentedClient, RedeemError, Redemption, RefreshError, SignedBy, WireTokens,
};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::limit::{Allowance, Limit, Limits};
use crate::http::problem::Problem;
use crate::http::wire::oauth::{TokenRefusal, TokenRequest, bad, too_many};
use crate::secret::Secret;

/// Tokens for the provisioning wire.
#[derive(Serialize, ToSchema)]
pub(crate) struct WireTokenResponse {
    /// `bearer`.
    token_type: &'static str,
    access_token: String,
    /// Works once: it is replaced with every use.
    refresh_token: String,
    /// Seconds.
    expires_in: i64,
    /// `{"id", "payment_credentials": "orchestrator"}`; left out when a token was refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Value>,
}

/// `grant_type=authorization_code`.
pub(crate) async fn redeem(
    app: &App,
    limits: &Limits,
    http: &HttpRequest,
    (request, bytes): (TokenRequest, &[u8]),
) -> Result<HttpResponse, TokenRefusal> {
    let now = app.clock.now();
    let code = present(request.code).ok_or_else(|| bad("invalid_request", "`code` is missing."))?;
    let client = client(app, http, request.client_id, request.client_secret).await?;
    let verifier = present(request.code_verifier).map(|verifier| verifier.expose().to_owned());
    let signed_by = signed_by(app, http, bytes, now).await?;
    let redemption = Redemption { code, verifier, signed_by, client };
    let tokens = authorization::redeem(&app.db, wire_signer(app), redemption, now).await.map_err(unredeemed)?;
    // The code is used up before the limit is looked at; tokens that nobody hears of do no harm.
    match limits.take(&[(Limit::TokenExchanges, tokens.account_id.as_str())]) {
        Ok(allowance) => Ok(given(&tokens, true, &allowance)),
        Err(limited) => Ok(too_many(Some("authorization_code"), limited)),
    }
}

/// `grant_type=refresh_token`.
pub(crate) async fn refresh(
    app: &App,
    limits: &Limits,
    http: &HttpRequest,
    request: TokenRequest,
) -> Result<HttpResponse, TokenRefusal> {
    let now = app.clock.now();
    let token = present(request.refresh_token).ok_or_else(|| bad("invalid_request", "`refresh_token` is missing."))?;
    let client = client(app, http, request.client_id, request.client_secret).await?;
    let hash = token.hash();
    let owner = app.db.read(move |conn| authorization::refresh_owner(conn, &hash)).await.map_err(Problem::from)?;
    // Before anything is replaced: whoever is refused here keeps a token that works.
    let key = owner.map(|owner| owner.to_string());
    let wanted: Vec<(Limit, &str)> = key.iter().map(|owner| (Limit::TokenExchanges, owner.as_str())).collect();
    let allowance = match limits.take(&wanted) {
        Ok(allowance) => allowance,
        Err(limited) => return Ok(too_many(Some("refresh_token"), limited)),
    };
    let refreshed = authorization::refresh(&app.db, wire_signer(app), &token, &client, now).await;
    Ok(given(&refreshed.map_err(not_refreshed)?, false, &allowance))
}

/// An empty parameter is one that was left out (RFC 6749 §3.2).
fn present(sent: Option<SecretString>) -> Option<Secret> {
    sent.filter(|sent| !sent.expose_secret().is_empty()).map(|sent| Secret::presented(sent.expose_secret()))
}

fn given(tokens: &WireTokens, with_account: bool, allowance: &Allowance) -> HttpResponse {
    let (access_token, refresh_token) = tokens.expose();
    let account = serde_json::json!({"id": tokens.account_id, "payment_credentials": "orchestrator"});
    let answer = WireTokenResponse {
        token_type: "bearer",
        access_token: access_token.to_owned(),
        refresh_token: refresh_token.to_owned(),
        expires_in: tokens.expires_in,
        account: with_account.then_some(account),
    };
    let mut builder = HttpResponse::Ok();
    allowance.tell(&mut builder);
    builder.insert_header((header::CACHE_CONTROL, "no-store")).insert_header((header::PRAGMA, "no-cache")).json(answer)
}

/// Who signed the request. Whether that was needed, the code says.
async fn signed_by(app: &App, http: &HttpRequest, bytes: &[u8], now: Timestamp) -> Result<SignedBy, TokenRefusal> {
    if !http.headers().contains_key("stripe-signature") && !http.headers().contains_key("stripe-signature-v2") {
        return Ok(SignedBy::Nobody);
    }
    match verify_signature::<Flat>(app, http, bytes, now).await {
        Ok(signature) => Ok(SignedBy::Orchestrator(signature.orchestrator.id)),
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => Ok(SignedBy::Forged),
        Err(refusal) => Err(TokenRefusal::new(refusal.status, "server_error", refusal.message)),
    }
}

/// Who the client says it is: by HTTP Basic or in the body, never both (RFC 6749 §2.3).
async fn client(
    app: &App,
    http: &HttpRequest,
    id: Option<String>,
    secret: Option<SecretString>,
) -> Result<PresentedClient, TokenRefusal> {
    let unknown = || TokenRefusal::new(StatusCode::UNAUTHORIZED, "invalid_client", "The client is not who it says.");
    let challenge = |refusal: TokenRefusal| refusal.header(WWW_AUTHENTICATE, "Basic realm=\"token\"");
    let basic = http.headers().get(AUTHORIZATION);
    let sent = match (basic, id) {
        (Some(_), _) if secret.is_some() => {
            return Err(bad("invalid_request", "Send the client's secret in one place."));
        }
        (Some(value), id) => {
            let sent = value.to_str().ok().and_then(basic_credentials).ok_or_else(|| challenge(unknown()))?;
            if id.is_some_and(|id| id != sent.id) {
                return Err(bad("invalid_request", "`client_id` is another than that of the header."));
            }
            sent
        }
        (None, Some(id)) => ClientCredentials { id, secret },
        (None, None) if secret.is_some() => return Err(bad("invalid_request", "`client_id` is missing.")),
        (None, None) => return Ok(PresentedClient::Unnamed),
    };
    let found = app.db.read(move |conn| authorization::authenticate_client(conn, &sent)).await;
    found.map_err(|error| match error {
        ClientError::Unknown if basic.is_some() => challenge(unknown()),
        ClientError::Unknown => unknown(),
        ClientError::Db(error) => Problem::from(error).into(),
    })
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
fn basic_credentials(header: &str) -> Option<ClientCredentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    let decoded = |half: &str| {
        let pair = format!("v={half}");
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some(ClientCredentials { id: decoded(id)?, secret: Some(decoded(secret)?.into()) })
}

fn broken(error: DbError) -> TokenRefusal {
    Problem::from(error).into()
}

fn unredeemed(error: RedeemError) -> TokenRefusal {
    match error {
        RedeemError::NoProof(why) => TokenRefusal::new(StatusCode::UNAUTHORIZED, "invalid_request", why),
        RedeemError::Db(error) => broken(error),
        RedeemError::Issue(error) => server_error(error),
        RedeemError::WrongProof(why) => bad("invalid_grant", why),
        error => bad("invalid_grant", "The code does not work: it was used, has expired, or is another client's.")
            .because(error),
    }
}

fn not_refreshed(error: RefreshError) -> TokenRefusal {
    match error {
        RefreshError::Db(error) => broken(error),
        RefreshError::Issue(error) => server_error(error),
        error => {
            bad("invalid_grant", "The refresh token does not work: it was used, has expired, or is another client's.")
                .because(error)
        }
    }
}

fn server_error(error: impl std::fmt::Display) -> TokenRefusal {
    TokenRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Something broke here.").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded_halves() {
        let read = |text: &str| basic_credentials(&format!("Basic {}", STANDARD.encode(text)));
        let sent = read("a%3Ab:s%2Bt+u").unwrap();
        assert_eq!((sent.id.as_str(), sent.secret.unwrap().expose_secret()), ("a:b", "s+t u"));
        assert!(read("nothing").is_none() && basic_credentials("Bearer YTpi").is_none());
        assert!(basic_credentials("Basic !").is_none() && basic_credentials("Basic").is_none());
    }
}
