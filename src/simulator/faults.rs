//! Failing on order: what a test asks the issuer to do wrong next.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::StartError;
use super::mischief::{CallOrder, Mischief};
use super::operator::operator;
use super::settlement::problem;
use super::state::State;
use super::v2_keys::V2Order;

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
    /// It is done, and the answer is 500.
    ServerErrorAfterEffect,
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

/// The body of `POST /test/faults`, and a file for `--misbehave`. Every member is optional. What each order does stands in
/// one table in `docs/simulator.md`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultOrder {
    /// Fail the next calls.
    pub next: Option<NextFault>,
    /// More of the same: a script, carried out in order.
    pub settlement: Vec<NextFault>,
    /// Do the next calls to providers wrong, in order.
    pub calls: Vec<CallOrder>,
    /// What `/v2/provisioning/public_keys` answers from now on.
    pub public_keys: Option<JwksState>,
    /// What becomes of the keys of `Stripe-Signature-V2`.
    pub v2_keys: Option<V2Order>,
    /// Answer the next notifications with 500, after they were recorded.
    pub refuse_notifications: Option<u32>,
    /// Forget every order that was not yet carried out, before anything else.
    pub clear: bool,
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
    pub(super) public_keys: JwksState,
    pub(super) refuse_notifications: u32,
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

pub(super) fn carry_out(state: &State, order: FaultOrder) -> Result<(), StartError> {
    let now = state.clock.now();
    let mut world = state.world();
    if order.clear {
        world.faults = Faults::default();
        world.mischief = Mischief::default();
    }
    world.faults.next.extend(order.next.into_iter().chain(order.settlement));
    world.mischief.order(order.calls);
    if order.rotate_keys {
        world.issuer_keys.rotate()?;
    }
    if order.forget_old_keys {
        world.issuer_keys.forget_old();
    }
    if order.rotate_keys || order.forget_old_keys {
        world.keep_issuer_keys()?;
    }
    if let Some(v2) = order.v2_keys {
        world.order_v2(v2, now)?;
    }
    if let Some(answers) = order.public_keys {
        world.faults.public_keys = answers;
    }
    if let Some(count) = order.refuse_notifications {
        world.faults.refuse_notifications = count;
    }
    if let Some(jwks) = order.jwks {
        world.faults.jwks = jwks;
    }
    if let Some(jti) = order.revoke_payment_token {
        world.revoke(&jti)?;
    }
    Ok(())
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/faults", web::post().to(faults))
        .route("/test/faults", web::post().to(faults))
        .route("/books", web::get().to(books));
}

async fn faults(state: web::Data<State>, request: HttpRequest, order: web::Json<FaultOrder>) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
    match carry_out(&state, order.into_inner()) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => problem(500, "signing_failed", &error.to_string()),
    }
}

async fn books(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    if let Err(refusal) = operator(&state, &request) {
        return *refusal;
    }
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
