//! Account requests and the token endpoint.

use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::secret::sha256_base64url;
use serde_json::{Value, json};

use super::world::Code;
use super::{Asked, Fault, Form, Reply, State, object, refuse, signature};

/// Calls of one subject in one window.
const RATE: u32 = 20;
const WINDOW: Duration = Duration::from_secs(4);

pub(super) async fn request(state: &State, asked: &Asked) -> Reply {
    signature::check(state, asked)?;
    let body = object(state, asked, &Form::Typed)?;
    let bad = || refuse(&Form::Typed, 400, "invalid_request");
    let email = match &body["email"] {
        Value::String(email) => email.to_lowercase(),
        Value::Null => String::new(),
        other if state.has(Fault::TellsInside) => {
            let told = json!({"type": "error", "error": {"code": "invalid_request",
                "message": format!("psycopg: SELECT * FROM users WHERE email = {other}, at /home/app/users.py")}});
            return Err(HttpResponse::BadRequest().json(told));
        }
        _ if state.has(Fault::WrongType500) => return Err(refuse(&Form::Typed, 500, "server_error")),
        _ => return Err(bad()),
    };
    let address = email.len() < 255
        && !email.contains(|c: char| c.is_control() || c.is_whitespace() || c == ',')
        && email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'));
    let let_through = email.is_empty() && state.has(Fault::EmptyEmail);
    if !address && !let_through {
        return Err(bad());
    }
    expiry(state, &body)?;
    let optional = ["name", "phone", "country", "kyc", "actor", "configuration"];
    if state.has(Fault::NullsRefused) && optional.iter().any(|name| body.get(name).is_some_and(Value::is_null)) {
        return Err(bad());
    }
    if body.get("scopes").is_some_and(|scopes| !scopes.is_array()) {
        return Err(bad());
    }
    let kind = body["orchestrator"]["type"].as_str().unwrap_or("");
    let subject = body["orchestrator"][kind]["account"].as_str().unwrap_or("").to_owned();
    if kind != "stripe" && !state.has(Fault::NoSubject) || subject.is_empty() && !state.has(Fault::NoSubject) {
        return Err(bad());
    }
    let challenge = challenge(state, &body)?;
    limit(state, &subject)?;
    open(state, &body, email, subject, challenge).await
}

fn expiry(state: &State, body: &Value) -> Result<(), HttpResponse> {
    let bad = || refuse(&Form::Typed, 400, "invalid_request");
    let Some(text) = body.get("expires_at").filter(|at| !at.is_null()) else {
        return Ok(());
    };
    let text = text.as_str().ok_or_else(bad)?;
    let at = match Timestamp::parse_rfc3339(text) {
        Ok(at) => at,
        Err(_) if state.has(Fault::OffsetlessExpiry500) => return Err(refuse(&Form::Typed, 500, "server_error")),
        Err(_) => Timestamp::parse_rfc3339(&format!("{text}Z")).map_err(|_no_date| bad())?,
    };
    if at <= SystemClock.now() && !state.has(Fault::ExpiredAccepted) {
        return Err(refuse(&Form::Typed, 400, "expired"));
    }
    Ok(())
}

fn challenge(state: &State, body: &Value) -> Result<Option<String>, HttpResponse> {
    let Some(text) = body.get("code_challenge").and_then(Value::as_str) else {
        return Ok(None);
    };
    let alphabet = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let right = body["code_challenge_method"] == "S256" && (43..=128).contains(&text.len()) && alphabet;
    if right || state.has(Fault::PlainChallenge) {
        return Ok(Some(text.to_owned()));
    }
    Err(refuse(&Form::Typed, 400, "invalid_request"))
}

fn limit(state: &State, subject: &str) -> Result<(), HttpResponse> {
    let mut world = state.world();
    let window = world.windows.entry(subject.to_owned()).or_insert((Instant::now(), 0));
    if window.0.elapsed() > WINDOW && !state.has(Fault::LimitForever) {
        *window = (Instant::now(), 0);
    }
    window.1 += 1;
    let global = state.has(Fault::LimitForever) && world.windows.values().any(|window| window.1 > RATE);
    if world.windows[subject].1 <= RATE && !global {
        return Ok(());
    }
    if state.has(Fault::LimitPlain) {
        return Err(HttpResponse::TooManyRequests().insert_header(("retry-after", "5")).body("Slow down"));
    }
    let mut answer = refuse(&Form::Typed, 429, "rate_limited");
    if !state.has(Fault::NoRetryAfter) {
        answer.headers_mut().insert("retry-after".parse().unwrap(), "5".parse().unwrap());
    }
    answer.headers_mut().insert("ratelimit".parse().unwrap(), "\"subject\";r=0;t=5".parse().unwrap());
    Err(answer)
}

async fn open(state: &State, body: &Value, email: String, subject: String, challenge: Option<String>) -> Reply {
    let find = || {
        let world = state.world();
        let by_subject = world.accounts.iter().position(|(_, whose)| *whose == subject);
        let by_email = world.accounts.iter().position(|(whose, _)| *whose == email);
        (by_subject.filter(|_| !state.has(Fault::AlwaysNewAccount)), by_email)
    };
    let mut found = find();
    state.dawdle(Fault::RaceAccounts).await;
    if !state.has(Fault::RaceAccounts) {
        found = find();
    }
    let id = if state.has(Fault::OtherEcho) { json!("acctreq_mine") } else { body["id"].clone() };
    let account = match found {
        (Some(account), _) => account,
        (None, Some(account)) if state.has(Fault::SilentLink) => account,
        (None, Some(_)) if !state.has(Fault::AlwaysNewAccount) => {
            let mut world = state.world();
            let request = world.fresh("ar");
            let url = format!("{}/link?state={request}", state.url);
            world.consents.push(request);
            let answer = json!({"id": id, "type": "requires_auth",
                "requires_auth": {"type": "redirect", "redirect": {"url": url}}});
            return Ok(HttpResponse::Ok().json(answer));
        }
        _ => {
            let mut world = state.world();
            // The lock was given back in between: look again, unless that is the fault.
            match world.accounts.iter().position(|(_, whose)| *whose == subject) {
                Some(account) if !state.has(Fault::RaceAccounts) && !state.has(Fault::AlwaysNewAccount) => account,
                _ => {
                    world.accounts.push((email, subject));
                    world.accounts.len() - 1
                }
            }
        }
    };
    let mut world = state.world();
    let code = world.fresh("code");
    world.codes.insert(code.clone(), Code { account, challenge });
    Ok(HttpResponse::Ok().json(json!({"id": id, "type": "oauth", "oauth": {"code": code}})))
}

pub(super) async fn token(state: &State, asked: &Asked) -> Reply {
    let refused = |status, code| Err(refuse(&Form::OAuth, status, code));
    let Ok(fields) = serde_urlencoded::from_bytes::<Vec<(String, String)>>(&asked.body) else {
        return refused(400, "invalid_request");
    };
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if fields.iter().any(|(name, _)| fields.iter().filter(|(other, _)| other == name).count() > 1) {
        return refused(400, "invalid_request");
    }
    match field("grant_type").as_deref() {
        Some("authorization_code") => match field("code") {
            Some(code) => redeem(state, asked, &code, field("code_verifier")).await,
            None => refused(400, "invalid_request"),
        },
        Some("refresh_token") => match field("refresh_token") {
            Some(token) => refresh(state, &token),
            None => refused(400, "invalid_request"),
        },
        Some(_) if state.has(Fault::GrantEnvelope) => Err(refuse(&Form::Flat, 400, "unsupported_grant_type")),
        Some(_) => refused(400, "unsupported_grant_type"),
        None => refused(400, "invalid_request"),
    }
}

async fn redeem(state: &State, asked: &Asked, code: &str, verifier: Option<String>) -> Reply {
    let refused = |status, code| Err(refuse(&Form::OAuth, status, code));
    let known = state.world().codes.get(code).map(|found| (found.account, found.challenge.clone()));
    let Some((account, challenge)) = known else {
        return refused(400, "invalid_grant");
    };
    match (challenge, verifier) {
        (Some(_), None) => return refused(401, "invalid_request"),
        (Some(challenge), Some(verifier)) => {
            let right = sha256_base64url(verifier.as_bytes()) == challenge;
            if !right && !state.has(Fault::VerifierIgnored) {
                if state.has(Fault::CodeLostByVerifier) {
                    state.world().codes.remove(code);
                }
                return refused(400, "invalid_grant");
            }
        }
        (None, _) if state.has(Fault::UnsignedCode) => {}
        (None, _) => signature::signature(state, asked)?,
    }
    state.dawdle(Fault::RaceCode).await;
    let mut world = state.world();
    if world.codes.remove(code).is_none() && !state.has(Fault::RaceCode) {
        return refused(400, "invalid_grant");
    }
    if state.has(Fault::CodeReusable) {
        world.codes.insert(code.to_owned(), Code { account, challenge: None });
    }
    drop(world);
    Ok(tokens(state, account, None))
}

fn tokens(state: &State, account: usize, keep: Option<String>) -> HttpResponse {
    let mut world = state.world();
    let (access, fresh) = (world.fresh("at"), world.fresh("rt"));
    let refresh = keep.unwrap_or(fresh);
    world.access.insert(access.clone(), account);
    world.refresh.insert(refresh.clone(), (account, access.clone()));
    let body = json!({"token_type": "bearer", "access_token": access, "refresh_token": refresh, "expires_in": 3600,
        "account": {"id": format!("acc_{account}"), "payment_credentials": "orchestrator"}});
    let mut answer = HttpResponse::Ok();
    if !state.has(Fault::TokenCacheable) {
        answer.insert_header(("cache-control", "no-store"));
    }
    answer.json(body)
}

fn refresh(state: &State, token: &str) -> Reply {
    let mut world = state.world();
    let known = if state.has(Fault::OldRefreshLives) || state.has(Fault::RefreshNotRotated) {
        world.refresh.get(token).cloned()
    } else {
        world.refresh.remove(token)
    };
    let Some((account, access)) = known else {
        return Err(refuse(&Form::OAuth, 400, "invalid_grant"));
    };
    if !state.has(Fault::OldAccessLives) {
        world.access.remove(&access);
    }
    drop(world);
    Ok(tokens(state, account, state.has(Fault::RefreshNotRotated).then(|| token.to_owned())))
}

/// Whose bearer it is: first of all checks.
pub(super) fn bearer(state: &State, asked: &Asked, form: &Form) -> Result<usize, HttpResponse> {
    let refused = || refuse(form, 401, "unauthorized");
    let token = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(refused)?;
    let world = state.world();
    let refresh =
        || world.refresh.get(token).map(|(account, _)| *account).filter(|_| state.has(Fault::RefreshIsAccess));
    let account = world.access.get(token).copied().or_else(refresh).ok_or_else(refused)?;
    drop(world);
    if !state.has(Fault::UnsignedBearer) || asked.header("stripe-signature").is_some() {
        signature::check(state, asked)?;
    }
    Ok(account)
}
