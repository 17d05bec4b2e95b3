//! How the orchestrator answers its agents: what was done, or why not, and what to do next, in one envelope.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::StartError;
use super::app_wire::WireError;
use super::shelf::Failing;
use super::store::StoreError;
use crate::secret::NoRandomness;
use crate::signing::SigningError;

/// Something was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) data: Value,
    pub(super) warnings: Vec<String>,
    pub(super) next_steps: Vec<String>,
}

impl Done {
    pub(super) fn of(data: Value) -> Self {
        Self { data, ..Self::default() }
    }

    pub(super) fn next(mut self, step: impl Into<String>) -> Self {
        self.next_steps.push(step.into());
        self
    }

    pub(super) fn answer(self) -> HttpResponse {
        let Self { data, warnings, next_steps } = self;
        HttpResponse::Ok()
            .insert_header(("cache-control", "no-store"))
            .json(json!({"ok": true, "data": data, "warnings": warnings, "next_steps": next_steps}))
    }
}

/// Something was not done.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    pub(super) code: &'static str,
    message: String,
    /// More members of `error`.
    more: Value,
    next_steps: Vec<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), more: Value::Null, next_steps: Vec::new() }
    }

    pub(super) fn next(mut self, step: impl Into<String>) -> Self {
        self.next_steps.push(step.into());
        self
    }

    /// Whether the provider said that there is no such thing.
    pub(super) fn says_not_found(&self) -> bool {
        self.more.pointer("/provider/status").and_then(Value::as_u64) == Some(404)
    }

    pub(super) fn more(mut self, more: Value) -> Self {
        self.more = more;
        self
    }

    pub(super) fn answer(self) -> HttpResponse {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(members), Value::Object(more)) = (error.as_object_mut(), self.more) {
            members.extend(more);
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        HttpResponse::build(status)
            .insert_header(("cache-control", "no-store"))
            .json(json!({"ok": false, "error": error, "warnings": [], "next_steps": self.next_steps}))
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        let (message, doubt) = (error.to_string(), error.leaves_doubt());
        match error {
            WireError::Failure(failure) => {
                let needs_payment = failure.code == "requires_payment_credentials";
                let refusal = Self::new(502, "provider_failure", message).more(json!({"provider": failure}));
                if needs_payment {
                    refusal.next("look at `billing`: the limit may be used up")
                } else if doubt {
                    refusal.next("repeat the same command: it does nothing twice")
                } else {
                    refusal
                }
            }
            WireError::Unreachable(_) => Self::new(502, "provider_unreachable", message),
            WireError::Unknown(_) => Self::new(502, "outcome_unknown", message)
                .next("repeat the same command: it goes on where this one was lost, and does nothing twice"),
            WireError::Shape(_) => Self::new(502, "provider_not_understood", message),
            WireError::Ours(_) => Self::new(500, "internal", message),
        }
    }
}

impl From<Failing> for Refusal {
    fn from(failing: Failing) -> Self {
        match failing {
            Failing::Wire(error) => error.into(),
            other => Self::new(502, "catalog_failing", other.to_string()),
        }
    }
}

macro_rules! internal {
    ($($error:ty),*) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::new(500, "internal", error.to_string())
            }
        }
    )*};
}

internal!(StoreError, SigningError, StartError, NoRandomness);
