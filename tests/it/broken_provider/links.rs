//! Deep links, and the page on which an existing user consents.

use actix_web::HttpResponse;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::world::Link;
use super::{Asked, Fault, Form, Reply, State, accounts, object, page, refuse};

pub(super) fn make(state: &State, asked: &Asked) -> Reply {
    accounts::bearer(state, asked, &Form::Flat)?;
    let body = object(state, asked, &Form::Flat)?;
    let path = body.get("path").and_then(Value::as_str).unwrap_or("/dashboard");
    let safe = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\r', '\n']);
    if !safe && !state.has(Fault::OpenRedirect) {
        return Err(refuse(&Form::Flat, 400, "invalid_path"));
    }
    let mut world = state.world();
    let token = match asked.header("authorization") {
        Some(header) if state.has(Fault::TokenInLink) => {
            format!("{}{}", header.replace("Bearer ", ""), world.fresh("x"))
        }
        _ => world.fresh("dl"),
    };
    world.links.insert(token.clone(), Link { used: false, path: path.to_owned() });
    let lifetime = if state.has(Fault::EndlessDeepLink) { 365 * 86_400 } else { 600 };
    let expires_at = Timestamp::from_seconds(SystemClock.now().seconds() + lifetime).to_rfc3339();
    let url = format!("{}/login?token={token}", state.url);
    Ok(HttpResponse::Ok().json(json!({"purpose": "dashboard", "url": url, "expires_at": expires_at})))
}

pub(super) fn open(state: &State, asked: &Asked) -> HttpResponse {
    let token = asked.head.query_string().trim_start_matches("token=").to_owned();
    let mut world = state.world();
    let usable = world.links.get_mut(&token).filter(|link| !link.used || state.has(Fault::DeepLinkReusable));
    let Some(link) = usable else {
        return HttpResponse::Found().insert_header(("location", "/?error=expired_or_invalid")).finish();
    };
    link.used = true;
    let path = link.path.clone();
    let session = world.fresh("ses");
    let mut answer = HttpResponse::Found();
    answer.insert_header(("location", path.replace(['\r', '\n'], "")));
    answer.insert_header(("set-cookie", format!("session={session}; HttpOnly; Path=/")));
    answer.finish()
}

pub(super) fn consent(state: &State, asked: &Asked) -> HttpResponse {
    let request = asked.head.query_string().trim_start_matches("state=").to_owned();
    let known = state.world().consents.contains(&request);
    if state.has(Fault::ConsentGivesCode) {
        let to = format!("https://orchestrator.example/callback?code=stolen&state={request}");
        return HttpResponse::Found().insert_header(("location", to)).finish();
    }
    match known {
        true => page(200, "<h1>Log in to go on</h1>"),
        false if state.has(Fault::Consent500) => page(500, "Oops"),
        false => page(404, "<h1>This request is over</h1>"),
    }
}
