//! A user's account at a provider, as the orchestrator holds it: asked for, consented to in a browser, and kept alive.

use actix_web::{HttpResponse, web};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app_wire::{AccountAnswer, AccountRequest, TokensSaid, Wire, WireError};
use super::refusal::{Done, Refusal};
use super::registry::{Kept, Member, Provider};
use super::state::State;
use super::tokens::unique;
use crate::clock::Timestamp;
use crate::secret::{Secret, sha256_base64url};

/// How long a provider may take to open an account, and a person to consent.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);
/// A token is refreshed so long before its end.
const MARGIN: TimeDelta = TimeDelta::seconds(30);

/// As it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) user: String,
    pub(super) provider: String,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// A person must consent at `url`.
    Waiting { request: String, secret: Kept, verifier: Option<Kept>, url: String, expires_at: Timestamp },
    /// The account is there.
    Linked(Linked),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Linked {
    pub(super) access_token: Kept,
    pub(super) refresh_token: Option<Kept>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) account: Option<String>,
    /// `orchestrator` or `provider`: who pays.
    pub(super) payment_credentials: Option<String>,
}

impl Connection {
    /// One user has one connection to one provider.
    pub(super) fn key(&self) -> String {
        Self::key_of(&self.user, &self.provider)
    }

    pub(super) fn key_of(user: &str, provider: &str) -> String {
        format!("{provider} {user}")
    }
}

impl Linked {
    fn of(said: TokensSaid, before: Option<&Self>, now: Timestamp) -> Self {
        Self {
            access_token: said.access_token,
            refresh_token: said.refresh_token,
            expires_at: said.expires_in.map(|seconds| now.plus(TimeDelta::seconds(seconds.clamp(0, 100_000_000)))),
            // A refresh need not repeat them.
            account: said.account_id.or(before.and_then(|before| before.account.clone())),
            payment_credentials: said
                .payment_credentials
                .or(before.and_then(|before| before.payment_credentials.clone())),
        }
    }
}

/// Opens or finds the user's account at the provider.
pub(super) async fn link(
    state: &State,
    user: &Member,
    provider: &Provider,
    configuration: Value,
) -> Result<Done, Refusal> {
    let key = Connection::key_of(&user.subject, &provider.name);
    if let Some(Connection { stage: Stage::Linked(linked), .. }) = state.world().connections.get(&key) {
        return Ok(Done::of(shown(provider, linked, true)));
    }
    let (request, secret) = (unique("acctreq")?, Kept::from(Secret::generate("cs")?));
    let verifier = if provider.pkce { Some(Kept::from(Secret::generate("cv")?)) } else { None };
    let expires_at = Timestamp::from_seconds(state.clock.now().seconds()).plus(PATIENCE);
    let asked = AccountRequest {
        id: &request,
        confirmation_secret: secret.expose(),
        expires_at,
        challenge: verifier.as_ref().map(|verifier| sha256_base64url(verifier.expose().as_bytes())),
        configuration,
    };
    let wire = Wire::to(state, provider);
    let said = match wire.request_account(user, &asked).await? {
        AccountAnswer::Code(code) => wire.exchange(&code, verifier.as_ref()).await?,
        AccountAnswer::Tokens(tokens) => *tokens,
        AccountAnswer::RequiresAuth(url) => {
            let url = url.to_string();
            let waiting = Stage::Waiting { request, secret, verifier, url: url.clone(), expires_at };
            keep(state, user, provider, waiting)?;
            let text = format!("{} has an account for {} already: its owner must agree", provider.name, user.email);
            return Err(Refusal::new(409, "BROWSER_AUTH_REQUIRED", text)
                .more(json!({"url": url, "expires_at": expires_at}))
                .next(format!("open {url} in a browser, agree, and look at `status`")));
        }
        AccountAnswer::NeedsInformation(schema) => {
            let text = format!("{} needs to know more before it opens an account", provider.name);
            return Err(Refusal::new(409, "NEEDS_INFORMATION", text)
                .more(json!({"schema": schema}))
                .next("say it with `--config NAME=VALUE`"));
        }
    };
    let linked = Linked::of(said, None, state.clock.now());
    let answer = shown(provider, &linked, false);
    keep(state, user, provider, Stage::Linked(linked))?;
    Ok(Done::of(answer).next(format!("`catalog {}` shows what it sells", provider.name)))
}

fn keep(state: &State, user: &Member, provider: &Provider, reached: Stage) -> Result<(), Refusal> {
    let connection = Connection { user: user.subject.clone(), provider: provider.name.clone(), stage: reached };
    Ok(state.world().keep_connection(connection)?)
}

fn shown(provider: &Provider, linked: &Linked, before: bool) -> Value {
    json!({"provider": provider.name, "account": linked.account, "linked": true, "was_linked": before,
        "payment_credentials": linked.payment_credentials})
}

/// The connection's token, refreshed when it is about to end, or when `refused` says that it was refused.
pub(super) async fn bearer(
    state: &State,
    user: &Member,
    provider: &Provider,
    refused: Option<&Kept>,
) -> Result<Kept, Refusal> {
    let _one_at_a_time = state.refreshing.lock().await;
    let key = Connection::key_of(&user.subject, &provider.name);
    let found = state.world().connections.get(&key).cloned();
    let Some(Connection { stage: Stage::Linked(linked), .. }) = found else {
        let text = format!("you have no account at {} yet", provider.name);
        return Err(Refusal::new(409, "PROVIDER_NOT_LINKED", text).next(format!("link {}", provider.name)));
    };
    let now = state.clock.now();
    let ends = linked.expires_at.is_some_and(|end| end <= now.plus(MARGIN));
    let refused = refused.is_some_and(|refused| refused.expose() == linked.access_token.expose());
    if !ends && !refused {
        return Ok(linked.access_token);
    }
    let Some(refresh_token) = &linked.refresh_token else { return Ok(linked.access_token) };
    let fresh = match Wire::to(state, provider).refresh(refresh_token).await {
        Ok(said) => Linked::of(said, Some(&linked), now),
        Err(WireError::Failure(failure)) if failure.status == 400 || failure.status == 401 => {
            state.world().forget_connection(&key)?;
            let text = format!("{} has withdrawn the connection: {}", provider.name, failure.message);
            return Err(Refusal::new(409, "PROVIDER_NOT_LINKED", text).next(format!("link {}", provider.name)));
        }
        Err(error) => return Err(error.into()),
    };
    let token = fresh.access_token.clone();
    keep(state, user, provider, Stage::Linked(fresh))?;
    Ok(token)
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/callback", web::get().to(callback));
}

/// What the provider's page sends the browser back with.
#[derive(Deserialize)]
struct Returned {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// The end of consent in a browser: the code is redeemed here.
async fn callback(state: web::Data<State>, returned: web::Query<Returned>) -> HttpResponse {
    let outcome = finish(&state, returned.into_inner()).await;
    let (status, text) = match outcome {
        Ok(provider) => (200, format!("Your account at {provider} is linked. You can close this page.")),
        Err((status, why)) => (status, why),
    };
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{}</title><p>{}</p></html>",
        escaped(&state.name),
        escaped(&text)
    );
    HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap_or_default())
        .insert_header(("content-security-policy", "default-src 'none'"))
        .insert_header(("referrer-policy", "no-referrer"))
        .content_type("text/html; charset=utf-8")
        .body(page)
}

async fn finish(state: &State, returned: Returned) -> Result<String, (u16, String)> {
    let unknown = || {
        (
            400,
            "This orchestrator waits for no such answer: it came too late, or somebody else asked. What was answered \
             at the provider counts."
                .to_owned(),
        )
    };
    let secret = returned.state.ok_or_else(unknown)?;
    let now = state.clock.now();
    let found = {
        let world = state.world();
        let waits = |connection: &&Connection| match &connection.stage {
            Stage::Waiting { secret: kept, expires_at, .. } => {
                use subtle::ConstantTimeEq as _;
                *expires_at > now && bool::from(kept.expose().as_bytes().ct_eq(secret.as_bytes()))
            }
            Stage::Linked(_) => false,
        };
        let connection = world.connections.values().find(waits).cloned();
        connection.and_then(|connection| {
            let provider = world.providers.get(&connection.provider).cloned()?;
            Some((connection, provider))
        })
    };
    let (connection, provider) = found.ok_or_else(unknown)?;
    let Stage::Waiting { verifier, .. } = &connection.stage else { return Err(unknown()) };
    if let Some(error) = returned.error {
        return Err((400, format!("{} did not link the account: {}", provider.name, super::app_wire::clean(&error))));
    }
    let code = Kept::from(returned.code.ok_or_else(unknown)?);
    let said = Wire::to(state, &provider).exchange(&code, verifier.as_ref()).await;
    let said = said.map_err(|error| (502, format!("{} did not give a token: {error}", provider.name)))?;
    let linked = Stage::Linked(Linked::of(said, None, now));
    let kept = state.world().keep_connection(Connection { stage: linked, ..connection });
    kept.map_err(|error| (500, error.to_string()))?;
    Ok(provider.name)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
