//! The walk: from nothing to a 402 at the cap, over the provider's real HTTP surface, and then in at the orchestrators'
//! door. It is the demo, the end-to-end test and the recording of the README in one; it believes nothing that it can check.

mod buy;
mod cap;
mod discover;
mod look;
mod money;
mod open;
mod wire;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::agent::{Agent, Ask, Judged, Party, Step, Stopped};
use super::state::loopback_client;
use super::{Platform, Simulator, User};
use crate::clock::Timestamp;
use crate::fetch::Incoming;
use crate::ids::{Id, Named};
use crate::money::Amount;
use crate::secret::Secret;

#[derive(Debug)]
enum WalkKind {}
impl Named for WalkKind {
    const PREFIX: &'static str = "walk";
}

/// How the agent walks.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// Whose agent it is. An account must not exist for her yet.
    pub user: User,
    /// The monthly limit of the payment token in minor units of USD; above the provider's budget, so that the budget binds.
    pub payment_limit: Amount,
    /// Requests that one call of the metered API counts as on the way to the cap.
    pub batch: u64,
    /// The second half, over the orchestrators' wire; nothing of it without.
    pub wire: Option<WireOptions>,
}

/// How the orchestrator calls, after the agent of the first user is done.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// The second user. An account must not exist for him yet.
    pub user: User,
    /// The file with the orchestrator's signing secret, which the printed commands read.
    pub secret_file: PathBuf,
}

impl Default for WalkOptions {
    fn default() -> Self {
        let payment_limit = Amount::from_minor(20_000).unwrap_or_default();
        Self { user: User::ada(), payment_limit, batch: 20_000, wire: None }
    }
}

/// How a walk went.
#[derive(Debug, Clone, Serialize)]
pub struct WalkReport {
    /// Whether every step went as expected, to the end.
    pub ok: bool,
    /// Every step.
    #[serde(skip)]
    pub steps: Vec<Step>,
    /// From the first request to the last answer, in milliseconds.
    pub millis: u64,
    /// Where to look now.
    pub links: Links,
}

/// Where a human looks after the walk.
#[derive(Debug, Clone, Serialize)]
pub struct Links {
    /// One-use log-in link to the user's dashboard, unless the walk ended before.
    pub dashboard: Option<String>,
    /// The signed catalog.
    pub catalog: String,
    /// The API description.
    pub openapi: String,
    /// The orchestrator's issuer URL.
    pub issuer: String,
    /// The example provider's metered API.
    pub platform: String,
}

/// A walk under way.
struct Walk<'w> {
    agent: Agent<'w>,
    provider: Url,
    orchestrator: Url,
    platform: Url,
    now: Timestamp,
    /// Makes the idempotency keys of this walk its own.
    id: Id<WalkKind>,
    options: &'w WalkOptions,
    /// With which the orchestrator signs; empty when there is none.
    signing_secret: Secret,
    /// The catalog that was believed.
    catalog: Catalog,
}

/// A catalog whose signatures were good.
#[derive(Debug, Default)]
struct Catalog {
    digest: String,
    document: Value,
}

/// Walks once. `on_step` hears of each step as it happens; the first that does not go as expected is the last.
///
/// # Errors
/// When a URL is none or the outgoing client cannot be built: nothing was walked.
pub async fn walk(
    provider_base: &Url,
    simulator: &Simulator,
    platform: &Platform,
    options: &WalkOptions,
    mut on_step: impl FnMut(&Step),
) -> Result<WalkReport, WalkError> {
    let orchestrator: Url = simulator.issuer_url.parse()?;
    let platform: Url = platform.url.parse()?;
    let fetch = loopback_client(&[provider_base, &orchestrator, &platform])?;
    let links = Links {
        dashboard: None,
        catalog: at(provider_base, "/catalog").into(),
        openapi: at(provider_base, "/openapi.json").into(),
        issuer: simulator.issuer_url.clone(),
        platform: platform.as_str().trim_end_matches('/').to_owned(),
    };
    let told = simulator.introduction();
    let mut walk = Walk {
        agent: Agent::new(fetch, &mut on_step),
        provider: provider_base.clone(),
        orchestrator,
        platform,
        now: simulator.now(),
        id: Id::new(simulator.now()),
        options,
        signing_secret: Secret::presented(told.get("signing_secret").and_then(Value::as_str).unwrap_or_default()),
        catalog: Catalog::default(),
    };
    walk.let_others_repeat_it();
    let begun = Instant::now();
    let dashboard = walk.all_stages().await;
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let links = Links { dashboard: dashboard.as_ref().ok().cloned(), ..links };
    Ok(WalkReport { ok: dashboard.is_ok(), steps: walk.agent.into_steps(), millis, links })
}

/// Why a walk did not begin.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A base URL is none.
    #[error("not a URL")]
    Url(#[from] url::ParseError),
    /// The outgoing client could not be built.
    #[error("the outgoing client could not be built")]
    Client(#[from] reqwest::Error),
}

impl Walk<'_> {
    /// The twelve stages of an agent, and the seven of an orchestrator; gives the first human's one-use link.
    async fn all_stages(&mut self) -> Result<String, Stopped> {
        self.agent.act("One agent, starting from nothing:");
        self.find_the_catalog().await?;
        self.check_the_catalog().await?;
        self.follow_the_challenge().await?;
        let token = self.open_an_account().await?;
        let cap = self.see_the_budget(&token).await?;
        let bought = self.buy(&token, &cap).await?;
        let budget = self.use_until_the_cap(&token, &bought).await?;
        self.buy_what_does_not_fit(&token, &bought).await?;
        self.compare_the_books(&token, &bought, &budget).await?;
        let link = self.look_at_the_dashboard(&token, &budget).await?;
        self.come_by_the_wire(&cap).await?;
        Ok(link)
    }

    /// `curl` lines name what must be new each time they are run: the person, and the idempotency keys.
    fn let_others_repeat_it(&mut self) {
        let User { subject, email, .. } = &self.options.user;
        let (name, domain) = email.split_once('@').unwrap_or((email, "example.test"));
        let name = name.split('+').next().unwrap_or(name);
        self.agent.vary("KEY", self.id.as_str());
        self.agent.vary("SUBJECT", subject);
        self.agent.vary("EMAIL", email);
        self.agent.set_before(format!("KEY=$(date +%s); SUBJECT=user-$KEY; EMAIL={name}-$KEY@{domain}\n     "));
    }

    /// The provider's issuer: its base URL without a trailing slash.
    fn issuer(&self) -> String {
        self.provider.as_str().trim_end_matches('/').to_owned()
    }

    fn at_provider(&self, method: &'static str, path: &str, expected: u16) -> Ask {
        Ask::new(Party::Provider, method, at(&self.provider, path), expected)
    }

    fn at_orchestrator(&self, method: &'static str, path: &str, expected: u16) -> Ask {
        Ask::new(Party::Orchestrator, method, at(&self.orchestrator, path), expected)
    }

    /// An idempotency key of this walk.
    fn key(&self, what: &str) -> String {
        format!("{}-{what}", self.id)
    }
}

/// A path, and perhaps a query, at the same origin.
fn at(base: &Url, path: &str) -> Url {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(query);
    url.set_fragment(None);
    url
}

/// The answer as JSON of the expected form, or what is wrong with it.
fn body<T: serde::de::DeserializeOwned>(answer: &Incoming) -> Result<T, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the answer is not of the promised form: {error}"))
}

/// What is wrong, unless `holds`.
fn ensure(holds: bool, wrong: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong.into()) }
}

/// Only a note.
#[expect(clippy::unnecessary_wraps, reason = "it is the good end of a judgement")]
fn noted(note: impl Into<String>) -> Judged<()> {
    Ok(((), note.into()))
}

#[cfg(test)]
mod tests;
