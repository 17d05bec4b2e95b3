//! What each use-case's refusal means in HTTP. Causes go to the log; clients hear what is true for them.

use serde_json::json;

use super::{Problem, table};
use crate::account::{Barred, CountError, PersonalField};
use crate::authorization::{ExchangeError, Scope};
use crate::catalog::LoadError;
use crate::db::DbError;
use crate::http::limit::Limited;
use crate::login::DeepLinkError;
use crate::money::Money;
use crate::payment::hold::{CapRefusal, CounterKind};
use crate::payment::token::PaymentTokenError;
use crate::resource::usage::UsageError;
use crate::resource::{
    AdvanceError, AllowanceError, BuyError, InformationNeeded, OpenCredentialsError, PayError, RemoveError,
    ResourceState, RotateError, UnclaimedError,
};

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        db_problem(&error)
    }
}

/// What a failure of the database means.
fn db_problem(error: &DbError) -> Problem {
    match error {
        DbError::Busy => Problem::new(&table::UNAVAILABLE, "Too much is waiting to be written."),
        DbError::Connection(cause) => {
            Problem::new(&table::UNAVAILABLE, "The database cannot be reached.").because(cause)
        }
        DbError::Unknown(cause) => {
            Problem::new(&table::PRECONDITION, "The outcome is unknown; retry with the same key.").because(cause)
        }
        other => internal(other),
    }
}

fn internal(error: &dyn std::error::Error) -> Problem {
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        cause = format!("{cause}: {next}");
        source = next.source();
    }
    Problem::new(&table::INTERNAL, "Something broke here. Nothing of it is your fault.").because(cause)
}

impl From<crate::signing::SigningError> for Problem {
    fn from(error: crate::signing::SigningError) -> Self {
        internal(&error)
    }
}

impl From<crate::signing::SealError> for Problem {
    fn from(error: crate::signing::SealError) -> Self {
        internal(&error)
    }
}

impl From<crate::secret::NoRandomness> for Problem {
    fn from(error: crate::secret::NoRandomness) -> Self {
        internal(&error)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        internal(&error)
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        internal(&error)
    }
}

impl From<Barred> for Problem {
    fn from(barred: Barred) -> Self {
        let (table, detail) = match barred {
            Barred::Paused => (&table::AGENT_PAUSED, "The owner of the account paused this agent."),
            Barred::Revoked => (&table::AGENT_ENDED, "The owner of the account ended what this agent may do."),
        };
        Self::new(table, detail).next("tell_human", table.human)
    }
}

impl From<ExchangeError> for Problem {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Attestation(error) if error.code() == "issuer_unavailable" => {
                Self::new(&table::UNAVAILABLE, "The orchestrator's keys cannot be fetched.").because(error)
            }
            ExchangeError::Attestation(error) => {
                Self::new(&table::INVALID_ATTESTATION, "The identity token is not believed.").because(error)
            }
            error @ ExchangeError::ProofUsed => Self::new(&table::INVALID_PROOF, format!("{error}.")),
            error @ (ExchangeError::OtherClient | ExchangeError::OtherKey | ExchangeError::ClientReplayed) => {
                Self::new(&table::INVALID_ATTESTATION, "The assertion was not given to whoever presents it.")
                    .because(error)
            }
            error @ (ExchangeError::Unauthorized | ExchangeError::Details(_)) => {
                Self::new(&table::BAD_REQUEST, format!("{error}."))
            }
            ExchangeError::Replayed => {
                Self::new(&table::INVALID_ATTESTATION, "The identity token was used before.").because("replayed")
            }
            ExchangeError::NeedsConsent => {
                Self::new(&table::CONSENT_NEEDED, "The person has to consent before this orchestrator can act here.")
            }
            error @ (ExchangeError::AccountUnusable(_) | ExchangeError::MayNotOpen) => {
                Self::new(&table::ACCOUNT_UNUSABLE, "No account can be used for this person.").because(error)
            }
            ExchangeError::Barred(barred) => barred.into(),
            ExchangeError::Count(CountError::TooMany { at_most, wait }) => Limited::openings(at_most, wait).into(),
            ExchangeError::Scope => Self::new(
                &table::BAD_REQUEST,
                "None of the scopes in `scope` is known, or the account's owner allowed none of them.",
            ),
            ExchangeError::Target => Self::new(&table::BAD_REQUEST, "`resource` names another API."),
            ExchangeError::Contended => Self::new(&table::UNAVAILABLE, "Too many requests about the same person."),
            ExchangeError::Count(CountError::Db(error)) | ExchangeError::Db(error) => error.into(),
            other => internal(&other),
        }
    }
}

/// Which problem a ceiling's refusal is: one whose ceiling is closed is a stop.
fn cap(refusal: &CapRefusal) -> Problem {
    let money = |amount| Money { amount, currency: refusal.currency };
    let which = match refusal.kind {
        CounterKind::Budget => "the account's monthly budget",
        CounterKind::PaymentToken => "the limit of the payment token",
        CounterKind::Agent => "the agent's cap",
        CounterKind::Plan => "the most that this plan may cost in a month",
    };
    let detail = format!(
        "This needs {}, and {} has {} left until {}.",
        money(refusal.needed),
        which,
        money(refusal.remaining),
        refusal.period_end
    );
    Problem::new(&table::CAP_REACHED, detail)
        .with("binding", refusal.kind.as_str())
        .with("currency", refusal.currency.code())
        .with("needed", refusal.needed.minor())
        .with("held", refusal.held.minor())
        .with("spent", refusal.spent.minor())
        .with("ceiling", refusal.ceiling.minor())
        .with("remaining", refusal.remaining.minor())
        .with("resets_at", refusal.period_end.to_rfc3339())
        .with("raise_url", "/dashboard")
        .next("tell_human", table::CAP_REACHED.human)
}

fn stopped() -> Problem {
    Problem::new(&table::SPENDING_STOPPED, "The owner of the account has stopped new spending.")
        .with("raise_url", "/dashboard")
        .next("tell_human", table::SPENDING_STOPPED.human)
}

impl From<PaymentTokenError> for Problem {
    fn from(error: PaymentTokenError) -> Self {
        use crate::orchestrator::KeyError;
        let detail = match &error {
            PaymentTokenError::Keys(KeyError::Unavailable(..)) => {
                return Self::new(&table::UNAVAILABLE, "The orchestrator's keys cannot be fetched.").because(error);
            }
            PaymentTokenError::Jws(_) | PaymentTokenError::Keys(_) => "`payment_token` cannot be verified.".to_owned(),
            other => format!("`payment_token`: {other}."),
        };
        Self::new(&table::TOKEN_UNVERIFIED, detail).because(error)
    }
}

impl From<PayError> for Problem {
    fn from(error: PayError) -> Self {
        match error {
            PayError::TokenNeeded => Self::new(&table::TOKEN_NEEDED, "The plan costs money: send `payment_token`."),
            PayError::TokenTaken => Self::new(&table::TOKEN_TAKEN, "`payment_token` was seen with another account."),
            PayError::OtherCurrency { .. } => Self::new(&table::OTHER_CURRENCY, error.to_string()),
            PayError::Cap(refusal) => cap(&refusal),
            PayError::Stopped => stopped(),
            PayError::Db(error) => error.into(),
            other @ PayError::Inconsistent(_) => internal(&other),
        }
    }
}

/// The owner took the scope from the agent while the request was on its way.
fn narrowed() -> Problem {
    let why = "The owner of the account took this from the agent a moment ago.";
    Problem::new(&table::INSUFFICIENT_SCOPE, why).with("scope", Scope::ResourcesWrite.as_str())
}

impl From<BuyError> for Problem {
    fn from(error: BuyError) -> Self {
        match error {
            BuyError::UnknownPlan => Self::new(&table::UNKNOWN_PLAN, "`plan` is not in the catalog."),
            BuyError::Constraint(error) => Self::new(&table::NOT_ALONE, format!("{error}.")),
            BuyError::Information(InformationNeeded(needed)) => Self::information_needed(&needed),
            BuyError::Pay(error) => error.into(),
            error @ BuyError::Distrusted => {
                Self::new(&table::ACCOUNT_UNUSABLE, "Nothing is bought through this orchestrator.").because(error)
            }
            BuyError::KeyReused(_) => key_reused(),
            BuyError::Barred(barred) => barred.into(),
            BuyError::Narrowed => narrowed(),
            BuyError::Advance(error) => error.into(),
            BuyError::Unclaimed(UnclaimedError::Db(error))
            | BuyError::Allowance(AllowanceError::Db(error))
            | BuyError::Db(error) => error.into(),
            BuyError::Unclaimed(error) => Self::claim_needed(format!("{error}.")),
            BuyError::Allowance(
                error
                @ (AllowanceError::NotPlanned | AllowanceError::PlanUsedUp { .. } | AllowanceError::Dearer { .. }),
            ) => outside_plan(&error),
            BuyError::Allowance(error) => {
                Self::new(&table::NOT_ALLOWED, format!("{error}.")).next("tell_human", table::NOT_ALLOWED.human)
            }
            other @ (BuyError::Seal(_) | BuyError::Inconsistent(_)) => internal(&other),
        }
    }
}

impl Problem {
    /// Only the human can do something about it, by claiming the account.
    fn claim_needed(detail: String) -> Self {
        Self::new(&table::CLAIM_NEEDED, detail)
            .with("claim_url", "/claim")
            .next("tell_human", table::CLAIM_NEEDED.human)
    }

    /// The same refusal of a cap that cannot be raised before the account is claimed.
    #[must_use]
    pub(crate) fn leading_to_claim(self) -> Self {
        self.with("claim_url", "/claim").with("raise_url", "/claim").next(
            "tell_human",
            "The account is not claimed yet: claim it at claim_url, and then raise the cap. Or remove what is no longer needed, or wait for the next period.",
        )
    }

    /// What has to be said about the buyer, in `information`.
    fn information_needed(needed: &[PersonalField]) -> Self {
        let names: Vec<&str> = needed.iter().map(|field| field.as_str()).collect();
        let detail = format!("The service needs to know about its buyer: {}.", names.join(", "));
        Self::new(&table::INFORMATION_NEEDED, detail).with("needed", json!(names))
    }
}

/// What is outside a plan, and why, in a word.
fn outside_plan(error: &AllowanceError) -> Problem {
    let problem = Problem::new(&table::OUTSIDE_PLAN, format!("{error}."));
    let problem = match error {
        AllowanceError::PlanUsedUp { allowed } => problem.with("reason", "used_up").with("allowed", *allowed),
        AllowanceError::Dearer { .. } => problem.with("reason", "dearer"),
        _ => problem.with("reason", "not_planned"),
    };
    problem.next("tell_human", table::OUTSIDE_PLAN.human)
}

fn key_reused() -> Problem {
    Problem::new(&table::KEY_REUSED, "This Idempotency-Key was used before with another body.")
}

impl From<AdvanceError> for Problem {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Db(error) => error.into(),
            other => internal(&other),
        }
    }
}

impl From<OpenCredentialsError> for Problem {
    fn from(error: OpenCredentialsError) -> Self {
        match error {
            OpenCredentialsError::Db(error) => error.into(),
            other => internal(&other),
        }
    }
}

impl From<RemoveError> for Problem {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::NotFound => Self::new(&table::NOT_FOUND, "The account has no such resource."),
            RemoveError::Busy(ResourceState::NeedsAttention) => {
                Self::new(&table::NEEDS_HUMAN, "The resource cannot be removed before a human has looked at it.")
                    .with("state", json!(ResourceState::NeedsAttention.as_str()))
                    .next("tell_human", table::NEEDS_HUMAN.human)
            }
            RemoveError::Busy(state) => {
                Self::new(&table::BUSY, "The resource cannot be removed yet.").with("state", json!(state.as_str()))
            }
            RemoveError::Barred(barred) => barred.into(),
            RemoveError::Constraint(error) => Self::new(&table::NOT_ALONE, format!("{error}.")),
            RemoveError::Advance(error) => error.into(),
            RemoveError::Db(error) => error.into(),
            other @ RemoveError::Inconsistent(_) => internal(&other),
        }
    }
}

impl From<RotateError> for Problem {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::NotFound => Self::new(&table::NOT_FOUND, "The account has no such resource."),
            RotateError::NotReady(state) => {
                Self::new(&table::BUSY, "The resource is not ready.").with("state", json!(state.as_str()))
            }
            RotateError::Barred(barred) => barred.into(),
            RotateError::Narrowed => narrowed(),
            RotateError::Others => Self::new(
                &table::NOT_ITS_OWN,
                "Another program bought the resource: only that one gets its credentials.",
            ),
            RotateError::KeyReused(_) => key_reused(),
            RotateError::Advance(error) => error.into(),
            RotateError::Db(error) => error.into(),
            other @ RotateError::Inconsistent(_) => internal(&other),
        }
    }
}

impl From<UsageError> for Problem {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::Conflict => Self::new(&table::EVENT_CONFLICT, "`source` and `id` were used for another event."),
            UsageError::NotReady(state) => {
                Self::new(&table::NOT_READY, "The resource is not in use.").with("state", json!(state.as_str()))
            }
            UsageError::OldCredentials => {
                Self::new(&table::OLD_CREDENTIALS, "The credentials were replaced and no longer work.")
            }
            UsageError::Cap(refusal) => cap(&refusal),
            UsageError::Stopped => stopped(),
            UsageError::TokenExpired => {
                Self::new(&table::TOKEN_EXPIRED, "The payment token that pays for this resource expired.")
            }
            UsageError::OutOfRange(_) => Self::new(&table::BAD_REQUEST, "`data.quantity` is beyond all prices."),
            UsageError::Db(error) => error.into(),
            other @ UsageError::Inconsistent(_) => internal(&other),
        }
    }
}

impl From<DeepLinkError> for Problem {
    fn from(error: DeepLinkError) -> Self {
        match error {
            DeepLinkError::Spent => Self::new(&table::NOT_FOUND, "The link was used, expired or never existed."),
            DeepLinkError::Barred(barred) => barred.into(),
            DeepLinkError::KeyReused(_) => key_reused(),
            DeepLinkError::Db(error) => error.into(),
        }
    }
}
