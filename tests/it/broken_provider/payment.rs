//! Payment tokens of a pretended orchestrator, and whether one pays.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::world::World;
use super::{Asked, Fault, Form, Reply, State, object, refuse};

pub(super) fn mint(state: &State, asked: &Asked) -> Reply {
    let body = object(state, asked, &Form::Flat)?;
    let mut world = state.world();
    let token = world.fresh("spt");
    let (most, subject) = (body["max_amount"].as_u64().unwrap_or(0), body["subject"].as_str().unwrap_or("").to_owned());
    world.tokens.insert(token.clone(), (most, subject));
    Ok(HttpResponse::Ok().json(json!({"payment_token": token})))
}

/// Takes the money, or says why not.
pub(super) fn pay(
    state: &State,
    world: &mut World,
    body: &Value,
    price: u64,
    account: usize,
) -> Result<(), HttpResponse> {
    let code = if state.has(Fault::OtherPaymentCode) { "payment_required" } else { "requires_payment_credentials" };
    let needed = || refuse(&Form::Status(String::new()), 400, code);
    let credentials = &body["payment_credentials"];
    if price == 0 {
        return Ok(());
    }
    if credentials.is_null() {
        return Err(needed());
    }
    if credentials["type"] != "stripe_payment_token" {
        let pays = state.has(Fault::UnknownPaymentPays);
        return if pays { Ok(()) } else { Err(refuse(&Form::Status(String::new()), 400, "invalid_request")) };
    }
    let token = credentials["stripe_payment_token"].as_str().unwrap_or("");
    let subject = world.accounts[account].1.clone();
    match world.tokens.get_mut(token) {
        None if state.has(Fault::FalseTokenPays) && !token.is_empty() => Ok(()),
        None => Err(needed()),
        Some((most, _)) if *most < price && !state.has(Fault::TokenLimitIgnored) => Err(needed()),
        Some((_, whose)) if *whose != subject && !state.has(Fault::TokenOfAnother) => Err(needed()),
        Some((most, _)) => {
            *most = most.saturating_sub(price);
            Ok(())
        }
    }
}
