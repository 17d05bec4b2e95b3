//! `POST /v1/accounts`: an identity attestation opens an account, or finds the one that it is linked to.

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::authorization::{self, ExchangeError, ExchangeParts, ExchangeRequest, Exchanged};
use crate::clock::Timestamp;
use crate::http::caller::{Body, BoundTo, Challenge, Scheme};
use crate::http::even::Even;
use crate::http::limit::{Limit, Limits};
use crate::http::problem::{Problem, table};
use crate::payment::budget;
use crate::secret::sha256_base64url;

/// Who the human is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenAccountRequest {
    /// An OIDC ID token of a registered orchestrator whose `aud` is this provider's client id there.
    id_token: String,
    /// Wanted scopes, parted by spaces; all when absent.
    scope: Option<String>,
}

/// An account and a token for it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAccountResponse {
    account: AccountView,
    access_token: String,
    /// `Bearer`, or `DPoP` when the request proved to hold a key (RFC 9449 §5).
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    scope: String,
    /// The API that the token is for.
    resource: String,
}

/// An account.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountView {
    id: String,
    /// `provisional`, `active`.
    state: &'static str,
    created_at: String,
    orchestrator: OrchestratorView,
    spending: SpendingView,
}

/// Through whom the account is used.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrchestratorView {
    id: String,
    name: String,
}

/// How much may be spent in a calendar month, in minor units.
#[derive(Serialize, ToSchema)]
pub(crate) struct SpendingView {
    currency: String,
    ceiling: i64,
}

/// How the token is sent.
pub(crate) fn token_type(bound: bool) -> &'static str {
    if bound { "DPoP" } else { "Bearer" }
}

/// What an exchange reaches.
pub(crate) fn exchange_parts(app: &App) -> ExchangeParts<'_> {
    ExchangeParts {
        db: &app.db,
        keys: &app.keys,
        ring: &app.ring,
        sealer: &app.answer_sealer,
        issuer: &app.base_url,
        audience: &app.audience,
        accounts_per_hour: app.limits.orchestrator_accounts_per_hour,
        prices: app,
        familiar: &app.familiar,
    }
}

/// Exchanges an assertion. What was found in a way that depends on who has an account with the same address leaves at an
/// even time after the assertion was verified: fetching keys takes as long as the orchestrator likes.
pub(crate) async fn exchanged(app: &App, request: ExchangeRequest, now: Timestamp) -> Result<Exchanged, ExchangeError> {
    let asserted = authorization::verify_assertion(exchange_parts(app), &request, now).await?;
    let even = Even::begin();
    let given = authorization::exchange_verified(exchange_parts(app), asserted, request, now).await;
    let somebody_new = match &given {
        Ok(given) => given.opened,
        Err(error) => matches!(error, ExchangeError::NeedsConsent | ExchangeError::MayNotOpen),
    };
    if somebody_new {
        even.leave().await;
    }
    given
}

fn refused(app: &App, error: ExchangeError) -> Problem {
    let (consent, explained_at) = (matches!(error, ExchangeError::NeedsConsent), error.explained_at());
    let problem = Problem::from(error);
    if let Some(page) = explained_at {
        let human = if consent { table::CONSENT_NEEDED.human } else { table::ACCOUNT_UNUSABLE.human };
        return problem.with("error_uri", page).next("tell_human", human);
    }
    if problem.doc.status == 401 {
        Challenge::new(app, &[]).error(problem, Scheme::Bearer, "invalid_token")
    } else {
        problem
    }
}

/// Opens an account from an identity attestation. The same request repeated within 30 seconds gets the same answer.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts",
    request_body = OpenAccountRequest,
    params(("DPoP" = Option<String>, Header, description = "A proof (RFC 9449): the token is bound to its key.")),
    responses((status = 201, body = OpenAccountResponse), (status = 200, body = OpenAccountResponse),
        (status = 400), (status = 401), (status = 403), (status = 429), (status = 503)))]
pub(crate) async fn open_account(
    app: Data<App>,
    limits: Data<Limits>,
    bound_to: BoundTo,
    body: Body<OpenAccountRequest>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let allowance = limits.take(&[(Limit::AddressAccounts, &limits.address(&request))])?;
    let now = app.clock.now();
    let exchange = ExchangeRequest {
        assertion: body.value.id_token,
        client: None,
        scope: body.value.scope,
        resource: None,
        request_hash: sha256_base64url(&[b"/v1/accounts\n", bound_to.as_bytes(), b"\n", &body.bytes].concat()),
        proof: bound_to.0,
    };
    let given = exchanged(&app, exchange, now).await.map_err(|error| refused(&app, error))?;
    let (account, orchestrator) = (given.account.id.clone(), given.orchestrator.id.clone());
    let budget = app.db.read(move |conn| budget::view(conn, &account, &orchestrator, now)).await?;
    let answer = OpenAccountResponse {
        account: AccountView {
            id: given.account.id.to_string(),
            state: given.account.state.as_str(),
            created_at: given.account.created_at.to_rfc3339(),
            orchestrator: OrchestratorView {
                id: given.orchestrator.id.to_string(),
                name: given.orchestrator.name.to_string(),
            },
            spending: SpendingView { currency: budget.own.currency.to_string(), ceiling: budget.own.ceiling.minor() },
        },
        access_token: given.access_token.expose_secret().to_owned(),
        token_type: token_type(given.bound),
        expires_in: given.expires_in,
        scope: given.scopes.to_string(),
        resource: app.audience.clone(),
    };
    let mut builder = if given.opened { HttpResponse::Created() } else { HttpResponse::Ok() };
    allowance.tell(&mut builder);
    Ok(builder.insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}
