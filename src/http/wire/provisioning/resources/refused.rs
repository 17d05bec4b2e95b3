//! What a use-case refuses, in the wire's codes. `requires_payment_credentials` is the one that an orchestrator acts on,
//! by sending a token or asking its user: every way in which money cannot be had is called so.

use actix_web::http::StatusCode;

use super::super::envelope::{Refusal, Status};
use super::key::Named;
use crate::account::Barred;
use crate::orchestrator::KeyError;
use crate::payment::hold::CounterKind;
use crate::payment::token::PaymentTokenError;
use crate::resource::{
    AdvanceError, BuyError, ChangeError, LinkError, OpenCredentialsError, PayError, RemoveError, Resource, RotateError,
    UnclaimedError,
};

/// 400: the money cannot be had.
pub(super) fn payment(message: impl Into<String>) -> Refusal<Status> {
    Refusal::new(StatusCode::BAD_REQUEST, "requires_payment_credentials", message)
}

/// 409: not in this state of things.
pub(super) fn state(message: impl Into<String>) -> Refusal<Status> {
    Refusal::new(StatusCode::CONFLICT, "invalid_state", message)
}

/// 400: the catalog does not have it.
pub(super) fn unknown_service(name: &str) -> Refusal<Status> {
    let name: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    Refusal::new(StatusCode::BAD_REQUEST, "unknown_service", format!("`{name}` is not in the catalog."))
}

/// 400: it was not said.
pub(super) fn missing_service_id() -> Refusal<Status> {
    Refusal::new(StatusCode::BAD_REQUEST, "missing_service_id", "`service_id` is missing.")
}

/// 500, with a code that says what did not work.
pub(super) fn failed(code: &'static str, why: &str) -> Refusal<Status> {
    let message = "It could not be done here, and everything is as it was before.";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, code, message).because(why)
}

/// 500: nothing more happens before a human has looked.
pub(super) fn needs_human(resource: &Resource) -> Refusal<Status> {
    let message = "A human has to look at the resource: ask the provider's support.";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
        .because(resource.state_reason.as_deref().unwrap_or("no reason"))
}

/// The key belongs to another request.
pub(super) fn key_reused(named: Named) -> Refusal<Status> {
    match named {
        Named::Header | Named::Request => Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_request",
            "The `Idempotency-Key` was used before for another request.",
        ),
        Named::Place(members) => state(format!(
            "Something else was made under this {members} before: send that again, or name another place."
        )),
    }
}

/// Why a payment token is not accepted.
pub(super) fn token(error: &PaymentTokenError) -> Refusal<Status> {
    match error {
        PaymentTokenError::Keys(KeyError::Unavailable(..)) => {
            let message = "The keys of the payment token's issuer cannot be fetched: send the same request again.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
                .header(actix_web::http::header::RETRY_AFTER, "5".to_owned())
                .because(error)
        }
        PaymentTokenError::Jws(_) | PaymentTokenError::Keys(_) => {
            payment("The payment token cannot be verified.").because(error)
        }
        other => payment(format!("{other}.")).because(error),
    }
}

impl From<PayError> for Refusal<Status> {
    fn from(error: PayError) -> Self {
        match error {
            PayError::TokenNeeded => payment("This costs money: send a payment token."),
            PayError::TokenTaken => payment("The payment token was seen with another account."),
            PayError::OtherCurrency { .. } => payment(format!("{error}.")),
            PayError::Cap(refusal) => {
                let which = match refusal.kind {
                    CounterKind::PaymentToken => "the limit of the payment token",
                    CounterKind::Budget => "the account's monthly budget, which its owner sets",
                    CounterKind::Agent => "the agent's cap",
                    CounterKind::Plan => "the most that this plan may cost in a month",
                };
                let (needed, remaining) = (refusal.needed.minor(), refusal.remaining.minor());
                let code = refusal.currency.code();
                payment(format!("This needs {needed} minor units of {code}, and {which} has {remaining} left."))
            }
            PayError::Stopped => payment("The owner of the account has stopped new spending."),
            PayError::Db(error) => error.into(),
            PayError::Inconsistent(_) => Self::broken(error),
        }
    }
}

/// The owner paused or ended the agent after its token was looked at.
impl From<Barred> for Refusal<Status> {
    fn from(barred: Barred) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", sentence(&format!("{barred}.")))
    }
}

/// The owner took the scope from the agent after its token was looked at.
fn narrowed() -> Refusal<Status> {
    let message = "The owner of the account took this from the agent a moment ago.";
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Why nothing was bought.
pub(super) fn purchase(error: BuyError, named: Named) -> Refusal<Status> {
    match error {
        BuyError::UnknownPlan => unknown_service("service_id"),
        BuyError::Constraint(error) => state(format!("{error}.")),
        BuyError::Unclaimed(error) => unclaimed(error),
        BuyError::Information(error) => Refusal::bad(format!("{error}.")),
        BuyError::Pay(error) => error.into(),
        BuyError::Distrusted => {
            let message = "Nothing is bought through this orchestrator any more.";
            Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
        }
        BuyError::KeyReused(_) => key_reused(named),
        BuyError::Barred(barred) => barred.into(),
        BuyError::Narrowed => narrowed(),
        BuyError::Db(error) => error.into(),
        BuyError::Advance(error) => error.into(),
        other @ (BuyError::Seal(_) | BuyError::Inconsistent(_) | BuyError::Allowance(_)) => Refusal::broken(other),
    }
}

impl From<AdvanceError> for Refusal<Status> {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Db(error) => error.into(),
            other => Self::broken(other),
        }
    }
}

impl From<OpenCredentialsError> for Refusal<Status> {
    fn from(error: OpenCredentialsError) -> Self {
        match error {
            OpenCredentialsError::Db(error) => error.into(),
            other => Self::broken(other),
        }
    }
}

/// 409: only the human can do something about it.
fn unclaimed(error: UnclaimedError) -> Refusal<Status> {
    match error {
        UnclaimedError::Db(error) => error.into(),
        told => state(format!("{told}. Its human claims it on the page /claim; show them that.")),
    }
}

pub(super) fn not_found() -> Refusal<Status> {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource.")
}

/// Why nothing was changed; a configuration that lacks something is not refused but asked for.
pub(super) fn change(error: ChangeError) -> Refusal<Status> {
    match error {
        ChangeError::NotFound => not_found(),
        ChangeError::NotReady(now) => state(format!("The resource is {}: try again when it is ready.", now.as_str())),
        ChangeError::UnknownPlan => unknown_service("service_id"),
        error @ ChangeError::NotAllowed { .. } => {
            Refusal::new(StatusCode::BAD_REQUEST, "destructive_update", format!("{error}."))
        }
        error @ ChangeError::Configuration(..) => Refusal::bad(format!("{error}.")),
        ChangeError::Unclaimed(error) => unclaimed(error),
        ChangeError::Information(error) => Refusal::bad(format!("{error}.")),
        ChangeError::Constraint(error) => state(format!("{error}.")),
        ChangeError::Pay(error) => error.into(),
        ChangeError::KeyReused(_) => key_reused(Named::Header),
        ChangeError::Advance(error) => error.into(),
        ChangeError::Barred(barred) => barred.into(),
        ChangeError::Narrowed => narrowed(),
        ChangeError::Db(error) => error.into(),
        other @ (ChangeError::Seal(_) | ChangeError::Inconsistent(_)) => Refusal::broken(other),
    }
}

impl From<RotateError> for Refusal<Status> {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::NotFound => not_found(),
            RotateError::NotReady(now) => {
                state(format!("The resource is {}: try again when it is ready.", now.as_str()))
            }
            RotateError::Barred(barred) => barred.into(),
            RotateError::Narrowed => narrowed(),
            error @ RotateError::Others => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", sentence(&format!("{error}.")))
            }
            RotateError::KeyReused(_) => key_reused(Named::Header),
            RotateError::Advance(error) => error.into(),
            RotateError::Db(error) => error.into(),
            other @ RotateError::Inconsistent(_) => Self::broken(other),
        }
    }
}

impl From<RemoveError> for Refusal<Status> {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::NotFound => not_found(),
            RemoveError::Busy(now) => {
                state(format!("The resource is {}: try again when work on it is finished.", now.as_str()))
            }
            RemoveError::Barred(barred) => barred.into(),
            RemoveError::Constraint(error) => state(format!("{error}.")),
            RemoveError::Advance(error) => error.into(),
            RemoveError::Db(error) => error.into(),
            other @ RemoveError::Inconsistent(_) => Self::broken(other),
        }
    }
}

impl From<LinkError> for Refusal<Status> {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "The account has no such resource of this service that could be linked.",
            ),
            LinkError::Barred(barred) => barred.into(),
            LinkError::Constraint(error) => state(format!("{error}.")),
            LinkError::Db(error) => error.into(),
        }
    }
}
