//! The conformance runner: plays the orchestrator against any provider of the provisioning wire (APP 0.1d), and tells
//! of each rule whether it holds.
//!
//! Promises: a bounded number of calls, each bounded in time and size; no secret in any report; what it made is
//! counted and removed again; a case that cannot be asked says why.
//! Refuses: to know anything of a provider but its address, its signing secret and what its own catalog says.

mod answer;
mod call;
mod case;
#[expect(clippy::indexing_slicing, reason = "members of JSON objects that the runner itself makes")]
mod cases;
mod junit;
mod key_endpoint;
#[expect(clippy::indexing_slicing, reason = "members of JSON objects that the runner itself makes")]
mod making;
mod page;
#[expect(clippy::indexing_slicing, reason = "members of JSON objects that the runner itself makes")]
mod party;
mod profile;
mod report;
mod services;
mod session;
mod shown;
mod sign;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::fetch::FetchError;
use crate::secret::Secret;
use crate::signing::SigningError;

pub use case::{Case, Finding, Group};
pub use profile::{Profile, UnknownProfile};
pub use report::{CaseReport, Counts, GroupCounts, Outcome, Report};

use case::Stop;
use session::Session;

/// How the second signature scheme is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V2Mode {
    /// It is sent; a bad one is tolerated.
    Advisory,
    /// It is sent and must be right.
    Required,
}

/// What the second signature scheme needs.
#[derive(Debug, Clone)]
pub struct V2Options {
    /// What the provider is expected to do.
    pub mode: V2Mode,
    /// An Ed25519 key as PKCS #8 (DER or PEM); without one, a new key is made.
    pub key: Option<Vec<u8>>,
    /// Where the runner itself serves `/v2/provisioning/public_keys`.
    pub listen: Option<SocketAddr>,
    /// The bearer token with which the provider asks for the keys.
    pub token: Secret,
}

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The provider's base URL: everything below `/provisioning`.
    pub target: Url,
    /// Its token endpoint, if that is not `{target}/oauth/token`.
    pub token_url: Option<Url>,
    /// The signing secrets that the provider accepts. The first signs.
    pub secrets: Vec<Secret>,
    /// Which shapes are expected.
    pub profile: Profile,
    /// Only cases whose id begins with one of these; all when empty.
    pub only: Vec<String>,
    /// `orchestrator.type` of account requests.
    pub orchestrator_type: String,
    /// The client id of a public client (profile `generic`).
    pub client_id: Option<String>,
    /// The second signature scheme.
    pub v2: Option<V2Options>,
    /// Where payment tokens are made: `POST {"currency","max_amount","subject"}` → `{"payment_token"}`.
    pub payment_tokens: Option<Url>,
    /// The bearer token with which they are asked for.
    pub payment_tokens_bearer: Option<Secret>,
    /// The currency of those tokens.
    pub currency: String,
    /// The limit of a token that is meant to be enough, in minor units.
    pub payment_limit: u64,
    /// The domain of the e-mail addresses that are made up.
    pub email_domain: String,
    /// The e-mail address of somebody who has an account at the provider already.
    pub existing_email: Option<String>,
    /// The provider links existing accounts without asking, and means to.
    pub allow_silent_link: bool,
    /// The service to use, instead of the plainest free one of the catalog.
    pub service: Option<String>,
    /// Configurations by service id, where the schema does not say enough.
    pub configurations: BTreeMap<String, Value>,
    /// Calls per second; without one, as fast as the answers come.
    pub rate: Option<u32>,
    /// The limit of one call.
    pub timeout: Duration,
    /// The longest `Retry-After` that is waited for.
    pub patience: Duration,
    /// The most calls of a run.
    pub max_calls: u32,
    /// The most calls that a rate limit is looked for with.
    pub burst: u32,
    /// Whether plain HTTP and special addresses are allowed for the hosts named here.
    pub allow_loopback: bool,
}

impl Options {
    /// The usual run against `target`, signed with `secrets`.
    #[must_use]
    pub fn new(target: Url, secrets: Vec<Secret>) -> Self {
        Self {
            target,
            token_url: None,
            secrets,
            profile: Profile::default(),
            only: Vec::new(),
            orchestrator_type: "stripe".to_owned(),
            client_id: None,
            v2: None,
            payment_tokens: None,
            payment_tokens_bearer: None,
            currency: "USD".to_owned(),
            payment_limit: 100_000,
            email_domain: "example.com".to_owned(),
            existing_email: None,
            allow_silent_link: false,
            service: None,
            configurations: BTreeMap::new(),
            rate: None,
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            max_calls: 3000,
            burst: 80,
            allow_loopback: false,
        }
    }
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The outgoing client could not be built.
    #[error("the outgoing client could not be built")]
    Client(#[from] reqwest::Error),
    /// The Ed25519 key cannot be read or made.
    #[error("the key of the second signature scheme is no Ed25519 key in PKCS #8")]
    Key(#[from] SigningError),
    /// The key endpoint could not be served.
    #[error("could not serve the key endpoint on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The target is no URL.
    #[error("the target is no URL")]
    Url(#[source] url::ParseError),
    /// Nobody may be asked there.
    #[error("a target on this machine, in this network or by plain HTTP needs --allow-loopback")]
    Forbidden(#[source] FetchError),
    /// Nobody answers.
    #[error("nobody answers at the target")]
    Unreachable(#[source] FetchError),
    /// A signed profile without a secret.
    #[error("a secret is needed to sign with")]
    NoSecret,
    /// A public client without a name.
    #[error("a public client (profile generic) needs a client id")]
    NoClient,
    /// Nothing begins so.
    #[error("no case begins with `{0}`; see --list")]
    NoSuchCase(String),
}

/// Every case, in the order in which they run.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    cases::ALL.iter().flat_map(|group| group.iter())
}

/// Runs the cases, telling each result as it comes, and removes what it made.
///
/// # Errors
/// When nothing could be asked at all: see [`RunError`]. What a provider does wrong is in the report.
pub async fn run(options: Options, mut told: impl FnMut(&CaseReport)) -> Result<Report, RunError> {
    let chosen = chosen(&options.only)?;
    if options.secrets.is_empty() && options.profile.signed {
        return Err(RunError::NoSecret);
    }
    if options.client_id.is_none() && !options.profile.signed {
        return Err(RunError::NoClient);
    }
    let session = Session::new(options)?;
    let keys = key_endpoint::serve(&session)?;
    session.probe().await?;
    let started_at = session.now();
    let mut cases = Vec::with_capacity(chosen.len());
    for case in chosen {
        let began = tokio::time::Instant::now();
        let outcome = match (case.run)(&session).await {
            Ok(()) => Outcome::Pass,
            Err(Stop::Finding(finding)) => Outcome::Fail(finding),
            Err(Stop::NotApplicable(reason)) => Outcome::NotApplicable { reason },
        };
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report =
            CaseReport { id: case.id, group: case.group, title: case.title, origin: case.origin, millis, outcome };
        told(&report);
        cases.push(report);
    }
    let left = session.clean_up().await;
    if let Some(keys) = keys {
        keys.stop(false).await;
    }
    Ok(Report::new(&session, started_at, cases, left))
}

fn chosen(only: &[String]) -> Result<Vec<&'static Case>, RunError> {
    let of = |prefix: &String, case: &Case| {
        case.id
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || prefix.contains('.') || rest.starts_with('.'))
    };
    if let Some(nothing) = only.iter().find(|prefix| !cases().any(|case| of(prefix, case))) {
        return Err(RunError::NoSuchCase(nothing.clone()));
    }
    Ok(cases().filter(|case| only.is_empty() || only.iter().any(|prefix| of(prefix, case))).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_in_its_group_and_a_rule_behind_it() {
        let names: BTreeSet<_> = cases().map(|case| case.id).collect();
        assert_eq!(names.len(), cases().count());
        for case in cases() {
            assert_eq!(case.id.split_once('.').unwrap().0, case.group.as_str(), "{}", case.id);
            assert!(!case.title.is_empty() && !case.origin.is_empty(), "{}", case.id);
        }
        assert!(names.len() >= 120, "{}", names.len());
    }

    #[test]
    fn one_case_one_group_or_nothing_is_chosen() {
        assert_eq!(chosen(&["version.missing".to_owned()]).unwrap().len(), 1);
        assert!(chosen(&["signature".to_owned()]).unwrap().iter().all(|case| case.group == Group::Signature));
        assert!(matches!(chosen(&["sig".to_owned()]), Err(RunError::NoSuchCase(_))));
    }
}
