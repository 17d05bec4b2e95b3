//! What a caller hears who may not: `WWW-Authenticate` (RFC 6750 §3, RFC 9449 §7.1, RFC 9470 §3, RFC 9728 §5.1).

use crate::app::App;
use crate::authorization::{PROOF_ALGORITHMS, Scope, StepUp};
use crate::http::problem::Problem;
use crate::signing::SignatureAlgorithm;

/// How an access token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Bearer,
    Dpop,
}

impl Scheme {
    /// Names of schemes have no case (RFC 9110 §11.1).
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Bearer, Self::Dpop].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

/// The challenges of one operation: where to go, and all scopes that it needs.
#[derive(Debug)]
pub(crate) struct Challenge<'a> {
    base_url: &'a str,
    scope: String,
}

impl<'a> Challenge<'a> {
    pub(crate) fn new(app: &'a App, scopes: &[Scope]) -> Self {
        let scope: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        Self { base_url: &app.base_url, scope: scope.join(" ") }
    }

    /// The metadata document that says where tokens come from.
    pub(crate) fn metadata(&self) -> String {
        format!("{}/.well-known/oauth-protected-resource/v1", self.base_url)
    }

    /// Nobody asked: every way in, and no error.
    pub(crate) fn invite(&self, problem: Problem) -> Problem {
        problem.challenge(self.of(Scheme::Bearer, "")).challenge(self.of(Scheme::Dpop, ""))
    }

    /// What was sent in `scheme` does not do.
    pub(crate) fn error(&self, problem: Problem, scheme: Scheme, error: &str) -> Problem {
        problem.challenge(self.of(scheme, &format!(", error=\"{error}\"")))
    }

    /// The log-in behind the token does not do: how it must be.
    pub(crate) fn step_up(&self, problem: Problem, scheme: Scheme, wanted: &StepUp) -> Problem {
        let mut more = vec![", error=\"insufficient_user_authentication\"".to_owned()];
        let mut problem = problem;
        if !wanted.acr_values.is_empty() {
            let values = wanted.acr_values.join(" ");
            more.push(format!(", acr_values=\"{values}\""));
            problem = problem.next("acr_values", values);
        }
        if let Some(max_age) = wanted.max_age {
            let seconds = max_age.num_seconds();
            more.push(format!(", max_age=\"{seconds}\""));
            problem = problem.next("max_age", seconds);
        }
        problem.challenge(self.of(scheme, &more.concat()))
    }

    fn of(&self, scheme: Scheme, more: &str) -> String {
        let first = match scheme {
            Scheme::Bearer => format!("realm=\"{}\"", self.base_url),
            Scheme::Dpop => format!("algs=\"{}\"", PROOF_ALGORITHMS.map(SignatureAlgorithm::as_str).join(" ")),
        };
        let scope = if self.scope.is_empty() { String::new() } else { format!(", scope=\"{}\"", self.scope) };
        format!("{} {first}, resource_metadata=\"{}\"{scope}{more}", scheme.as_str(), self.metadata())
    }
}
