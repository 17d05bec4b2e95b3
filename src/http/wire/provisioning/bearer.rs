//! Whoever holds an access token of the provisioning wire. Its audience is that of this wire: a token of `/v1` is none
//! here, and the reverse.

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use actix_web::{HttpMessage as _, HttpRequest, web};

use super::envelope::{Refusal, Status};
use super::signed::{check_version, read_body, verify_signature_of};
use crate::account::{AgentKey, Barred};
use crate::app::App;
use crate::authorization::{self, Access, AccessError, Scope};
use crate::clock::Timestamp;
use crate::http::request_log::AccountOfRequest;
use crate::orchestrator::WireSettings;
use crate::takeover;

/// A call about an account: token, signature and version were checked, in this order.
#[derive(Debug)]
pub(crate) struct WireCaller {
    /// Who, and what they may do.
    pub(crate) access: Access,
    /// How its orchestrator speaks.
    pub(crate) settings: WireSettings,
    /// The raw body.
    pub(crate) body: Vec<u8>,
    /// Names this very request, as its signature does: the same signed bytes to the same path again are the same request.
    /// `None` when nobody signed it: then nothing tells a repetition from a new request.
    pub(crate) request_hash: Option<String>,
    /// The one instant of this request.
    pub(crate) now: Timestamp,
}

impl WireCaller {
    /// The agent that calls.
    pub(crate) fn agent(&self) -> AgentKey {
        AgentKey {
            account_id: self.access.account.id.clone(),
            orchestrator_id: self.access.orchestrator.id.clone(),
            client: self.access.client.clone(),
        }
    }
}

/// Reads a call: 401 `unauthorized`, then 401 `invalid_signature` (flat), then 400 `invalid_api_version` (flat). A token
/// works only in a request that its own orchestrator signed; clients of an orchestrator that signs nothing need none.
pub(crate) async fn caller(
    app: &App,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<WireCaller, Refusal<Status>> {
    let now = app.clock.now();
    let access = bearer(app, request, now).await?;
    if request.method() != actix_web::http::Method::GET {
        cautious(app, &access, request).await?;
    }
    let body = read_body::<Status>(payload).await?;
    let (_, settings, request_hash) = verify_signature_of(app, request, &body, &access.orchestrator.id, now).await?;
    check_version(request)?;
    Ok(WireCaller { access, settings, body, request_hash, now })
}

/// The access behind the request's token: usable account, orchestrator that is not suspended. A token that never was,
/// has expired or was replaced: 401. One whose account or orchestrator may nothing any more: 403.
pub(crate) async fn bearer(app: &App, request: &HttpRequest, now: Timestamp) -> Result<Access, Refusal<Status>> {
    let token = presented(request)?;
    let refused = |cause: String| unauthorized("The access token does not work here.").because(cause);
    let believed = authorization::verify_access_token(&token, &app.ring, &app.wire_audience, &app.base_url, now)
        .map_err(|error| refused(error.to_string()))?;
    if believed.bound_to.is_some() {
        return Err(refused("a bound token was sent as a bearer token".to_owned()));
    }
    let access =
        app.db.read(move |conn| authorization::access(conn, &believed)).await.map_err(|error| match error {
            AccessError::Db(error) => error.into(),
            gone @ (AccessError::NoGrant
            | AccessError::Revoked
            | AccessError::Ended(_)
            | AccessError::Barred(Barred::Revoked)) => refused(gone.to_string()),
            AccessError::Unusable(_) => forbidden("The account may not be used any more."),
            AccessError::Barred(Barred::Paused) => forbidden("The owner of the account paused this agent."),
            AccessError::Suspended => forbidden("The orchestrator may do nothing here any more."),
        })?;
    request.extensions_mut().insert(AccountOfRequest(access.account.id.clone()));
    Ok(access)
}

/// Nothing is changed after the orchestrator told of a risk, until its person logged in again: tokens of this wire do not
/// say when that was.
async fn cautious(app: &App, access: &Access, request: &HttpRequest) -> Result<(), Refusal<Status>> {
    let (account, orchestrator) = (access.account.id.clone(), access.orchestrator.id.clone());
    let asked = app.db.read(move |conn| takeover::precautions(conn, &account, &orchestrator)).await?;
    if asked.allow(&access.log_in, request.path().ends_with("/remove")) {
        return Ok(());
    }
    Err(forbidden("The orchestrator told of a risk: the person must log in again, or ask the provider."))
}

/// Whether the token allows `scope`: else 403 `forbidden`.
pub(crate) fn allows(access: &Access, scope: Scope) -> Result<(), Refusal<Status>> {
    if access.scopes.contains(scope) {
        return Ok(());
    }
    Err(forbidden(&format!("The access token does not allow `{scope}`; it allows: {}.", access.scopes)))
}

fn presented(request: &HttpRequest) -> Result<String, Refusal<Status>> {
    let mut values = request.headers().get_all(AUTHORIZATION);
    let (first, second) = (values.next(), values.next());
    let token = first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        let one = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ');
        one.then(|| token.to_owned())
    });
    token.ok_or_else(|| unauthorized("Send one access token as `Authorization: Bearer`."))
}

fn unauthorized(message: &str) -> Refusal<Status> {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message).header(WWW_AUTHENTICATE, "Bearer".to_owned())
}

fn forbidden(message: &str) -> Refusal<Status> {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
}
