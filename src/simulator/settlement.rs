//! The settlement endpoint of the issuer: the contract of `openapi/settlement.json`.

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::books::{Asked, Authorization, AuthorizationStatus, Refused};
use super::client::{NotTheClient, authenticate};
use super::faults::{Fault, SettlementVerb};
use super::state::{State, World};
use super::tokens::read_payment_token;
use crate::money::Amount;
use crate::signing::parse_strict;

/// The longest body, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// The contract that this file keeps.
const CONTRACT: &str = include_str!("../../openapi/settlement.json");

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/settlement")
            .route("/openapi.json", web::get().to(contract))
            .route("/authorizations", web::post().to(authorize))
            .route("/authorizations", web::get().to(lookup))
            .route("/authorizations/{id}/capture", web::post().to(capture))
            .route("/authorizations/{id}/void", web::post().to(void)),
    );
}

/// RFC 9457.
pub(super) fn problem(status: u16, code: &str, detail: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "type": format!("urn:portreeve:settlement:{code}"),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    HttpResponse::build(status).content_type("application/problem+json").body(body.to_string())
}

async fn contract() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(CONTRACT)
}

async fn authorize(state: web::Data<State>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let ready = async {
        let client = provider(&state, request.headers()).await?;
        let key = idempotency_key(request.headers())?;
        Ok::<_, Box<HttpResponse>>((client, key, read_body::<Asked>(&body)?))
    };
    let (client, key, asked) = match ready.await {
        Ok(ready) => ready,
        Err(refusal) => return *refusal,
    };
    if asked.reference.is_empty() || asked.reference.len() > 255 {
        return problem(400, "body_invalid", "`reference` has 1 to 255 characters.");
    }
    let promised = read_payment_token(&state, &client, &asked.payment_token);
    // Two providers may choose the same key.
    let key = format!("{client} {key}");
    let now = state.clock.now();
    failing(&state, SettlementVerb::Authorize, move |world, fault| {
        answer(201, world.books.authorize(&key, &asked, promised, fault == Some(Fault::Decline), now))
    })
    .await
}

#[derive(Deserialize)]
struct Captured {
    amount: Amount,
}

async fn capture(
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
    body: web::Bytes,
) -> HttpResponse {
    let ready = async {
        let client = provider(&state, request.headers()).await?;
        Ok::<_, Box<HttpResponse>>((client, read_body::<Captured>(&body)?))
    };
    let (client, asked) = match ready.await {
        Ok(ready) => ready,
        Err(refusal) => return *refusal,
    };
    let now = state.clock.now();
    failing(&state, SettlementVerb::Capture, move |world, fault| {
        let declined = fault == Some(Fault::Decline);
        answer(200, world.books.of(&client, &id).and_then(|()| world.books.capture(&id, asked.amount, declined, now)))
    })
    .await
}

async fn void(state: web::Data<State>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let client = match provider(&state, request.headers()).await {
        Ok(client) => client,
        Err(refusal) => return *refusal,
    };
    let now = state.clock.now();
    failing(&state, SettlementVerb::Void, move |world, fault| {
        let declined = fault == Some(Fault::Decline);
        let outcome = world.books.of(&client, &id);
        answer(200, if declined { Err(Refused::Declined) } else { outcome.and_then(|()| world.books.void(&id, now)) })
    })
    .await
}

#[derive(Deserialize)]
struct Which {
    reference: String,
}

async fn lookup(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let client = match provider(&state, request.headers()).await {
        Ok(client) => client,
        Err(refusal) => return *refusal,
    };
    let Ok(which) = web::Query::<Which>::from_query(request.query_string()) else {
        return problem(400, "query_invalid", "`reference` is missing.");
    };
    let now = state.clock.now();
    failing(&state, SettlementVerb::Lookup, move |world, fault| {
        let mut found = world.books.lookup(&client, &which.reference, now);
        for authorization in &mut found {
            untrue(authorization, fault);
        }
        HttpResponse::Ok().json(json!({"data": found}))
    })
    .await
}

/// An authorization as a look-up tells it that was ordered to lie.
fn untrue(told: &mut Authorization, fault: Option<Fault>) {
    match fault {
        Some(Fault::TellCapturedNothing) => {
            (told.status, told.captured) = (AuthorizationStatus::Captured, Amount::ZERO);
        }
        Some(Fault::TellOtherAmount) => {
            told.amount = Amount::from_minor(1).unwrap_or(Amount::ZERO);
            told.captured = told.captured.min(told.amount);
        }
        Some(Fault::TellOtherCurrency) => told.currency = "JPY".parse().unwrap_or(told.currency),
        _ => {}
    }
}

/// Does `effect` unless, or although, this call was ordered to fail.
async fn failing(
    state: &State,
    verb: SettlementVerb,
    effect: impl FnOnce(&mut World, Option<Fault>) -> HttpResponse,
) -> HttpResponse {
    let fault = state.world().faults.take(verb);
    if let Some((_, delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    let effect = |fault| {
        let mut world = state.world();
        let answer = effect(&mut world, fault);
        match world.keep_books() {
            Ok(()) => answer,
            Err(error) => problem(500, "not_kept", &error.to_string()),
        }
    };
    match fault.map(|(fault, _)| fault) {
        Some(Fault::RefuseAfterEffect) => {
            effect(None);
            problem(402, "declined", "It was done all the same.")
        }
        Some(Fault::ServerError) => problem(500, "internal", "Nothing was done."),
        Some(Fault::ServerErrorAfterEffect) => {
            effect(None);
            problem(500, "internal", "It was done, and this answer does not say so.")
        }
        Some(Fault::TimeOutBeforeEffect) => cut(),
        Some(Fault::TimeOutAfterEffect) => {
            effect(None);
            cut()
        }
        honest_or_not => effect(honest_or_not),
    }
}

/// An answer that never arrives whole: the line is cut.
fn cut() -> HttpResponse {
    let lost = stream::once(async { Err::<web::Bytes, _>(std::io::Error::other("the line is cut on order")) });
    HttpResponse::Ok().no_chunking(1).streaming(lost)
}

fn answer(done: u16, outcome: Result<Authorization, Refused>) -> HttpResponse {
    match outcome {
        Ok(authorization) => {
            HttpResponse::build(StatusCode::from_u16(done).unwrap_or(StatusCode::OK)).json(authorization)
        }
        Err(refused) => {
            let (status, code) = refused.wire();
            problem(status, code, &refused.to_string())
        }
    }
}

/// The caller is the provider, or this refusal.
async fn provider(state: &State, headers: &HeaderMap) -> Result<String, Box<HttpResponse>> {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let refusal = match sent.and_then(|value| value.strip_prefix("Bearer ")) {
        None => NotTheClient::Untrue("there is no client assertion"),
        Some(assertion) => match authenticate(state, assertion).await {
            Ok(client) => return Ok(client),
            Err(refusal) => refusal,
        },
    };
    let detail = refusal.to_string();
    Err(Box::new(match refusal {
        NotTheClient::NoKeys => problem(503, "client_keys_unavailable", &detail),
        NotTheClient::Untrue(_) => {
            let mut answer = problem(401, "client_assertion_invalid", &detail);
            let challenge = actix_web::http::header::HeaderValue::from_static("Bearer error=\"invalid_token\"");
            answer.headers_mut().insert(actix_web::http::header::WWW_AUTHENTICATE, challenge);
            answer
        }
    }))
}

/// 1 to 255 visible ASCII characters.
fn idempotency_key(headers: &HeaderMap) -> Result<String, Box<HttpResponse>> {
    let sent = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let well_formed = |key: &&str| (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    sent.filter(well_formed).map(str::to_owned).ok_or_else(|| {
        let detail = "`Idempotency-Key` has 1 to 255 visible ASCII characters.";
        Box::new(problem(400, "idempotency_key_invalid", detail))
    })
}

fn read_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<HttpResponse>> {
    parse_strict(body).map_err(|error| Box::new(problem(400, "body_invalid", &error.to_string())))
}

#[cfg(test)]
mod tests;
