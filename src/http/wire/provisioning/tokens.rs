//! The grants of the provisioning wire at the token endpoint: a code, proven by its verifier or by the request's signature,
//! and a refresh token, proven by possession. Saying which client asks is optional; what is said must be true.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::account_requests::wire_signer;
use super::envelope::Flat;
use super::signed::{is_signed, verify_signature};
use crate::app::App;
use crate::authorization::{self, EnterError, RedeemError, Redemption, RefreshError, SignedBy, WireTokens};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::http::limit::{Allowance, Limit, Limits};
use crate::http::problem::Problem;
use crate::http::wire::oauth::client::presented;
use crate::http::wire::oauth::refusal::{TokenRefusal, bad};
use crate::http::wire::oauth::token::{TokenRequest, too_many};
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
    (mut request, bytes): (TokenRequest, &[u8]),
) -> Result<HttpResponse, TokenRefusal> {
    let now = app.clock.now();
    let code = present(request.code.take()).ok_or_else(|| bad("invalid_request", "`code` is missing."))?;
    let client = presented(app, http, request.client_fields(), now).await?;
    let verifier = present(request.code_verifier.take()).map(|verifier| verifier.expose().to_owned());
    let signed_by = signed_by(app, http, bytes, now).await?;
    let redemption = Redemption { code, verifier, signed_by, client };
    let tokens = authorization::redeem(&app.db, wire_signer(app), redemption, now).await.map_err(unredeemed)?;
    // The code is used up before the limit is looked at; tokens that nobody hears of do no harm.
    let holder = format!("{}/{}", tokens.orchestrator_id, tokens.account_id);
    match limits.take(&[(Limit::TokenExchanges, &holder)]) {
        Ok(allowance) => Ok(given(&tokens, true, &allowance)),
        Err(limited) => Ok(too_many(Some("authorization_code"), limited)),
    }
}

/// `grant_type=refresh_token`.
pub(crate) async fn refresh(
    app: &App,
    limits: &Limits,
    http: &HttpRequest,
    (mut request, bytes): (TokenRequest, &[u8]),
) -> Result<HttpResponse, TokenRefusal> {
    let now = app.clock.now();
    let token =
        present(request.refresh_token.take()).ok_or_else(|| bad("invalid_request", "`refresh_token` is missing."))?;
    let client = presented(app, http, request.client_fields(), now).await?;
    let hash = token.hash();
    let owner = app.db.read(move |conn| authorization::refresh_owner(conn, &hash, now)).await.map_err(Problem::from)?;
    // Possession is enough; but what another orchestrator signed is that one's request.
    if let (Some((theirs, _)), SignedBy::Orchestrator(signer)) = (&owner, signed_by(app, http, bytes, now).await?)
        && *theirs != signer
    {
        return Err(not_refreshed(RefreshError::OtherClient));
    }
    // Before anything is replaced: whoever is refused here keeps a token that works. Dead tokens are counted by address
    // alone: with them nobody holds up another.
    let key = owner.map(|(orchestrator, account)| format!("{orchestrator}/{account}"));
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
    if !is_signed(http) {
        return Ok(SignedBy::Nobody);
    }
    match verify_signature::<Flat>(app, http, bytes, now).await {
        Ok(signature) => Ok(SignedBy::Orchestrator(signature.orchestrator.id)),
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => Ok(SignedBy::Forged),
        Err(refusal) => Err(TokenRefusal::new(refusal.status, "server_error", refusal.message)),
    }
}

fn broken(error: DbError) -> TokenRefusal {
    Problem::from(error).into()
}

fn unredeemed(error: RedeemError) -> TokenRefusal {
    match error {
        RedeemError::NoProof(why) => TokenRefusal::new(StatusCode::UNAUTHORIZED, "invalid_request", why),
        RedeemError::Db(error) => broken(error),
        RedeemError::Agent(EnterError::Barred(barred)) => barred.into(),
        RedeemError::Issue(error) => server_error(error),
        RedeemError::WrongProof(why) => bad("invalid_grant", why),
        error => bad("invalid_grant", "The code does not work: it was used, has expired, or is another client's.")
            .because(error),
    }
}

fn not_refreshed(error: RefreshError) -> TokenRefusal {
    match error {
        RefreshError::Db(error) => broken(error),
        RefreshError::Agent(EnterError::Barred(barred)) => barred.into(),
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
