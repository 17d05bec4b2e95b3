//! Failing on order: what a test asks the issuer to do wrong next.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::settlement::problem;
use super::state::State;
use crate::signing::SigningError;

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It is done, and the line is cut before the answer.
    TimeOutAfterEffect,
    /// The line is cut, and nothing is done.
    TimeOutBeforeEffect,
    /// Refused for good: 402 `declined`.
    Decline,
    /// 500, and nothing is done.
    ServerError,
    /// Only late.
    Delay,
    /// It is done, and the answer says that it was refused: 402 `declined`.
    RefuseAfterEffect,
    /// A look-up that tells everything as captured, with nothing taken.
    TellCapturedNothing,
    /// A look-up that tells another amount: one minor unit.
    TellOtherAmount,
    /// A look-up that tells another currency: JPY.
    TellOtherCurrency,
}

/// Which settlement call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettlementVerb {
    /// `POST /authorizations`.
    #[default]
    Authorize,
    /// `POST /authorizations/{id}/capture`.
    Capture,
    /// `POST /authorizations/{id}/void`.
    Void,
    /// `GET /authorizations?reference=`.
    Lookup,
}

/// The next calls that fail.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextFault {
    /// How.
    pub fault: Fault,
    /// How many calls.
    #[serde(default = "once")]
    pub count: u32,
    /// Milliseconds to wait first.
    #[serde(default)]
    pub delay_ms: u64,
    /// Which call.
    #[serde(default)]
    pub on: SettlementVerb,
}

fn once() -> u32 {
    1
}

/// What `/jwks` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JwksState {
    /// The keys.
    #[default]
    Working,
    /// 200 and half a document.
    Broken,
    /// 503.
    Down,
}

/// The body of `POST /faults`. Every member is optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultOrder {
    /// Fail the next calls.
    pub next: Option<NextFault>,
    /// Sign with new keys; the old stay published.
    pub rotate_keys: bool,
    /// Publish only the present keys.
    pub forget_old_keys: bool,
    /// What `/jwks` answers from now on.
    pub jwks: Option<JwksState>,
    /// The `jti` of a payment token that the user takes back.
    pub revoke_payment_token: Option<String>,
}

/// Orders that wait.
#[derive(Default)]
pub(super) struct Faults {
    next: Vec<NextFault>,
    pub(super) jwks: JwksState,
}

impl Faults {
    /// The fault of this call, if there is one, and how long to wait first.
    pub(super) fn take(&mut self, verb: SettlementVerb) -> Option<(Fault, Duration)> {
        let order = self.next.iter_mut().find(|order| order.on == verb && order.count > 0)?;
        order.count -= 1;
        let taken = (order.fault, Duration::from_millis(order.delay_ms));
        self.next.retain(|order| order.count > 0);
        Some(taken)
    }
}

pub(super) fn carry_out(state: &State, order: FaultOrder) -> Result<(), SigningError> {
    let mut world = state.world();
    world.faults.next.extend(order.next);
    if order.rotate_keys {
        world.issuer_keys.rotate()?;
    }
    if order.forget_old_keys {
        world.issuer_keys.forget_old();
    }
    if let Some(jwks) = order.jwks {
        world.faults.jwks = jwks;
    }
    if let Some(jti) = order.revoke_payment_token {
        world.books.revoke(&jti);
    }
    Ok(())
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/faults", web::post().to(faults)).route("/books", web::get().to(books));
}

async fn faults(state: web::Data<State>, order: web::Json<FaultOrder>) -> HttpResponse {
    match carry_out(&state, order.into_inner()) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => problem(500, "signing_failed", &error.to_string()),
    }
}

async fn books(state: web::Data<State>) -> HttpResponse {
    let snapshot = state.world().books.snapshot(state.clock.now());
    HttpResponse::Ok().json(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_fails_as_many_calls_of_its_kind_as_it_says() {
        let mut faults = Faults::default();
        let on = SettlementVerb::Capture;
        faults.next.push(NextFault { fault: Fault::ServerError, count: 2, delay_ms: 0, on });
        assert!(faults.take(SettlementVerb::Authorize).is_none());
        assert!(faults.take(on).is_some() && faults.take(on).is_some());
        assert!(faults.take(on).is_none());
    }
}
