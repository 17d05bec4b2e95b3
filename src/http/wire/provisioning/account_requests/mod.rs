//! `POST /provisioning/account_requests`: an orchestrator asks for an account for one of its users. What is checked when
//! is observable, and stands in one function.

mod body;
mod generic;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::envelope::{Refusal, Typed};
use super::person;
use super::signed::{Signature, check_version, content_type, is_signed, read_body, verify_signature};
use crate::account::{Barred, CountError};
use crate::app::App;
use crate::attestation::{Attestation, AttestationError, attest_signed, attest_unsigned};
use crate::authorization::{self, AccountAnswered, AccountAsked, AccountRequestError, AccountRequestParts, WireSigner};
use crate::clock::Timestamp;
use crate::http::even::Even;
use crate::http::limit::{Allowance, Limit, Limited, Limits};
use crate::orchestrator::{Orchestrator, WireSettings};
use body::RequestBody;

/// Routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(request_account);
}

/// A request for an account. Members that are not named here are passed over; `null` is absence.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "names the form for the OpenAPI document; the strict reading stands in `body`")]
pub(crate) struct AccountRequestBody {
    /// The caller's name of the request: the same request under the same name gets the same answer.
    id: Option<String>,
    /// `account_request`.
    object: Option<String>,
    /// The person's address.
    email: String,
    name: Option<String>,
    phone: Option<String>,
    /// Two letters (ISO 3166-1).
    country: Option<String>,
    /// `{"verified_fields": […]}`: any of `name`, `email`, `phone`, `country`.
    kyc: Option<Value>,
    /// Wanted scopes. When none is named: what the owner allowed; all, where nobody was asked.
    scopes: Option<Vec<String>>,
    client_capabilities: Option<Vec<String>>,
    /// `{"email", "ip_address"}` of whoever acts.
    actor: Option<Value>,
    configuration: Option<Value>,
    /// Opaque; given back as `state` after the person answered in a browser.
    confirmation_secret: Option<String>,
    /// RFC 3339; without an offset it is UTC.
    expires_at: Option<String>,
    /// `{"type": "stripe", "stripe": {"account": "acct_…", "organization": "org_…"}}`.
    orchestrator: Option<Value>,
    /// PKCE (RFC 7636): 43 to 128 characters of base64url.
    code_challenge: Option<String>,
    /// `S256`.
    code_challenge_method: Option<String>,
    /// For public clients that sign nothing, where the provider lets them in.
    client_id: Option<String>,
    /// What an earlier answer `needs_information` asked for.
    submitted_information: Option<Value>,
}

/// The answer; `type` names the member that is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountAnswer {
    /// The request's id.
    id: Option<String>,
    /// `oauth`, `credentials`, `requires_auth` or `needs_information`.
    r#type: String,
    /// `{"code"}` for the token endpoint.
    oauth: Option<Value>,
    /// `{"type": "bearer", "bearer": {"access_token", "refresh_token", "expires_in", "account"}}`.
    credentials: Option<Value>,
    /// `{"type": "redirect", "redirect": {"url"}}`: where the person allows it.
    requires_auth: Option<Value>,
    /// `{"schema"}`: what to send again with the same id.
    needs_information: Option<Value>,
}

/// 400 `expired`.
fn expired(message: &str) -> Refusal<Typed> {
    Refusal::new(StatusCode::BAD_REQUEST, "expired", message)
}

/// Asks for an account for a person. New: opened. Linked: used. Existing and not linked: its owner is asked.
#[utoipa::path(tag = "provisioning", operation_id = "provisioning_account_requests",
    request_body = AccountRequestBody, security(("stripe_signature" = [])),
    params(("API-Version" = String, Header, description = "0.1d")),
    responses((status = 200, body = AccountAnswer), (status = 400), (status = 401), (status = 403), (status = 422),
        (status = 429), (status = 500), (status = 503)))]
#[post("/provisioning/account_requests")]
pub(crate) async fn request_account(
    app: Data<App>,
    limits: Data<Limits>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal<Typed>> {
    let now = app.clock.now();
    check_version(&request)?;
    let bytes = read_body::<Typed>(payload).await?;
    let value = RequestBody::parse(content_type(&request), &bytes)?;
    let id = RequestBody::echo(&value);
    let answered = async {
        let body = RequestBody::read(value, now)?;
        answer(&app, &limits, &request, (&body, &bytes), now).await
    };
    let (asker, allowance, mut answer) = answered.await.map_err(|refusal| refusal.about(id.as_str()))?;
    if let (true, false, Some(members)) = (asker.profile.echo.request_id, id.is_empty(), answer.as_object_mut()) {
        members.insert("id".to_owned(), json!(id));
    }
    let mut builder = HttpResponse::Ok();
    allowance.tell(&mut builder);
    Ok(builder.insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Everything after the address and the end: who signed, for whom, how often, with which proof; then the account.
async fn answer(
    app: &App,
    limits: &Limits,
    request: &HttpRequest,
    (body, bytes): (&RequestBody, &[u8]),
    now: Timestamp,
) -> Result<(WireSettings, Allowance, Value), Refusal<Typed>> {
    let asker = asker(app, limits, request, (body, bytes), now).await?;
    let code_challenge = body.code_challenge()?;
    if !asker.signed && code_challenge.is_none() {
        return Err(Refusal::bad("A client that signs nothing sends `code_challenge`."));
    }
    body.check_rest()?;
    let (scopes, confirmation_secret) = (body.scopes()?, body.confirmation_secret()?);
    let (information, lacking) = body.person(&asker.settings.required_information)?;
    if !lacking.is_empty() {
        let needed = json!({"schema": person::schema(&lacking)});
        let asks = json!({"type": "needs_information", "needs_information": needed});
        return Ok((asker.settings, asker.allowance, asks));
    }
    let state = confirmation_secret.as_deref().filter(|secret| is_state(secret)).map(str::to_owned);
    let wanted = AccountAsked {
        attestation: asker.attestation,
        orchestrator: asker.orchestrator,
        settings: asker.settings,
        signed: asker.signed,
        client: asker.client,
        scopes,
        code_challenge,
        confirmation_secret,
        expires_at: body.expires_at(),
        information,
    };
    let parts = AccountRequestParts {
        db: &app.db,
        signer: wire_signer(app),
        sealer: &app.answer_sealer,
        person_sealer: &app.person_sealer,
        accounts_per_hour: app.limits.orchestrator_accounts_per_hour,
    };
    // From here on: what comes before, whoever asks could draw out, and so choose where the step ends.
    let even = Even::begin();
    let answered = authorization::request_account(parts, &wanted, now).await;
    even.leave().await;
    let answered = answered.map_err(refused)?;
    Ok((wanted.settings, asker.allowance, written(app, answered, state.as_deref())))
}

/// Who signs tokens of the wire.
pub(crate) fn wire_signer(app: &App) -> WireSigner<'_> {
    WireSigner { ring: &app.ring, issuer: &app.base_url, audience: &app.wire_audience }
}

/// Who asks, for whom.
struct Asker {
    orchestrator: Orchestrator,
    settings: WireSettings,
    signed: bool,
    client: String,
    attestation: Attestation,
    allowance: Allowance,
}

async fn asker(
    app: &App,
    limits: &Limits,
    request: &HttpRequest,
    (body, bytes): (&RequestBody, &[u8]),
    now: Timestamp,
) -> Result<Asker, Refusal<Typed>> {
    if is_signed(request) {
        let Signature { orchestrator, settings, secret, .. } =
            verify_signature::<Typed>(app, request, bytes, now).await?;
        let account = body.orchestrator_account(&settings)?;
        let person = format!("{}/{account}", orchestrator.id);
        let id = orchestrator.id.to_string();
        let allowance = limits.take(&[(Limit::Orchestrator, &id), (Limit::AccountRequests, &person)])?;
        let attestation = attest_signed(&orchestrator, &account, &body.facts(bytes)?, now).map_err(disbelieved)?;
        let attestation = attestation.signed_with(&secret);
        return Ok(Asker { orchestrator, settings, signed: true, client: id, attestation, allowance });
    }
    let client = match body.client_id()? {
        Some(client) if app.wire.generic_clients => client.to_owned(),
        _ => return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "The request is not signed.")),
    };
    let address = limits.address(request);
    let person = format!("{address}/{client}");
    // Whom nobody knows is counted by where they come from alone.
    let allowance = limits.take(&[(Limit::AddressAccounts, &address)])?;
    let (orchestrator, settings) = generic::orchestrator_of(app, &client, now).await?;
    let narrower = [(Limit::Orchestrator, orchestrator.id.as_str()), (Limit::UnsignedRequests, &person)];
    let allowance = allowance.and(limits.take(&narrower)?);
    let attestation = attest_unsigned(&orchestrator, &client, &body.facts(bytes)?, now).map_err(disbelieved)?;
    Ok(Asker { orchestrator, settings, signed: false, client, attestation, allowance })
}

fn disbelieved(error: AttestationError) -> Refusal<Typed> {
    match error {
        AttestationError::Claim(_) => Refusal::bad(format!("{error}.")),
        error => {
            let message = "The request is not signed by an orchestrator that is believed.";
            Refusal::flat(StatusCode::UNAUTHORIZED, "invalid_signature", message).because(error)
        }
    }
}

fn refused(error: AccountRequestError) -> Refusal<Typed> {
    let forbidden = |message: &str| Refusal::new(StatusCode::FORBIDDEN, "forbidden", message);
    match error {
        AccountRequestError::IdReused => {
            let message = "Another request was made under this `id`: give each its own.";
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message)
        }
        AccountRequestError::Expired => {
            expired("The request was answered long ago, or nobody answered: make a new one.")
        }
        AccountRequestError::Denied => forbidden("The owner of the account refused."),
        AccountRequestError::AccountUnusable(_) => forbidden("No account can be used for this person.").because(error),
        AccountRequestError::Barred(barred) => forbidden(match barred {
            Barred::Paused => "The owner of the account paused this agent.",
            Barred::Revoked => "The owner of the account ended what this agent may do.",
        }),
        AccountRequestError::Distrusted => disbelieved(AttestationError::Distrusted),
        AccountRequestError::MayNotOpen => forbidden("This orchestrator may not open accounts here."),
        AccountRequestError::Contended => {
            let message = "Too many requests about the same person: send the same request again.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
                .header(header::RETRY_AFTER, "2".to_owned())
        }
        AccountRequestError::Count(CountError::TooMany { at_most, wait }) => Limited::openings(at_most, wait).into(),
        AccountRequestError::Count(CountError::Db(error)) | AccountRequestError::Db(error) => error.into(),
        error => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "account_creation_failed", "Something broke here.")
            .because(error),
    }
}

/// The answer in the wire's form.
fn written(app: &App, answered: AccountAnswered, state: Option<&str>) -> Value {
    match answered {
        AccountAnswered::Code { code } => json!({"type": "oauth", "oauth": {"code": code}}),
        AccountAnswered::Credentials { access_token, refresh_token, expires_in, account_id } => json!({
            "type": "credentials",
            "credentials": {"type": "bearer", "bearer": {
                "access_token": access_token, "refresh_token": refresh_token, "expires_in": expires_in,
                "account": {"id": account_id, "payment_credentials": "orchestrator"},
            }},
        }),
        AccountAnswered::NeedsConsent { id } => {
            let state = state.map(|state| format!("?state={state}")).unwrap_or_default();
            let url = format!("{}/link/{id}{state}", app.base_url);
            json!({"type": "requires_auth", "requires_auth": {"type": "redirect", "redirect": {"url": url}}})
        }
    }
}

/// A confirmation secret that may stand in a URL. Any other is kept sealed, and given back at the callback alone.
fn is_state(secret: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=256).contains(&secret.len()) && secret.bytes().all(plain)
}
