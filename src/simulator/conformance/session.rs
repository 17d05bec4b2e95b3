//! The runner's side of one run: it signs, sends, keeps the pace and the bounds, and remembers what it made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::call::{
    ACCOUNT_REQUESTS, Call, DEEP_LINKS, HEALTH, RESOURCES, SERVICES, Signing, TOKEN, Verb, resource_verb,
};
use super::case::{Finding, Stop, not_applicable};
use super::making::Made;
use super::party::Party;
use super::services::{Service, Services};
use super::sign::{self, V2Key};
use super::{Options, RunError, shown};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::fetch::{Fetch, FetchError, FetchSettings, Outgoing};
use crate::ids::RequestId;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
/// How often a call is repeated after "too many".
const REPEATS: u32 = 3;

/// One run.
pub(super) struct Session {
    pub(super) options: Options,
    pub(super) v2_key: Option<V2Key>,
    clock: SystemClock,
    fetch: Fetch,
    /// Eight characters that no other run has.
    run: String,
    names: AtomicU32,
    calls: AtomicU32,
    tally: Mutex<Tally>,
    slot: tokio::sync::Mutex<Option<Instant>>,
    pub(super) services: OnceCell<Services>,
    /// The service that was named where the catalog cannot be read.
    pub(super) told: OnceLock<Service>,
    /// The first refusal of a burst, and what was sent.
    pub(super) limited: OnceCell<(Answer, Value)>,
    pub(super) party: OnceCell<Party>,
    pub(super) resource: OnceCell<Made>,
    /// The id of the paid service that the cases use.
    pub(super) paid: OnceCell<String>,
}

/// What was made at the target.
#[derive(Debug, Default)]
struct Tally {
    emails: BTreeSet<String>,
    /// Resource → the access token that made it.
    resources: BTreeMap<String, String>,
    removed: BTreeSet<String>,
    /// Old access token → the one that replaced it.
    renewed: BTreeMap<String, String>,
}

/// What a run leaves behind, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    pub(super) calls: u32,
    pub(super) accounts: usize,
    pub(super) resources: usize,
    pub(super) removed: usize,
}

impl Session {
    pub(super) fn new(options: Options) -> Result<Self, RunError> {
        let urls = [Some(&options.target), options.token_url.as_ref(), options.payment_tokens.as_ref()];
        let hosts: Vec<_> = urls.into_iter().flatten().filter_map(Url::host_str).map(str::to_owned).collect();
        let special_hosts = if options.allow_loopback { hosts } else { Vec::new() };
        let fetch = Fetch::new(&FetchSettings { special_hosts, timeout: options.timeout, max_body: LONGEST_ANSWER })?;
        let v2_key = match &options.v2 {
            None => None,
            Some(v2) => Some(match &v2.key {
                Some(pkcs8) => V2Key::read(pkcs8)?,
                None => V2Key::generate()?,
            }),
        };
        let id = RequestId::new(SystemClock.now()).to_string();
        let run = id.get(id.len().saturating_sub(8)..).unwrap_or("run").to_owned();
        Ok(Self {
            options,
            v2_key,
            clock: SystemClock,
            fetch,
            run,
            names: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            tally: Mutex::default(),
            slot: tokio::sync::Mutex::default(),
            services: OnceCell::new(),
            told: OnceLock::new(),
            limited: OnceCell::new(),
            party: OnceCell::new(),
            resource: OnceCell::new(),
            paid: OnceCell::new(),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A name that nothing else at the target has.
    pub(super) fn name(&self) -> String {
        format!("conform-{}-{}", self.run, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// The base without a trailing slash.
    pub(super) fn base(&self) -> &str {
        self.options.target.as_str().trim_end_matches('/')
    }

    /// Where `path` is.
    pub(super) fn url(&self, path: &str) -> String {
        match (path, &self.options.token_url) {
            (TOKEN, Some(url)) => url.to_string(),
            (TOKEN, None) => format!("{}/oauth/token", self.base()),
            (path, _) if path.starts_with("http") => path.to_owned(),
            (path, _) => format!("{}{path}", self.base()),
        }
    }

    /// `Stripe-Signature` over `body`, as of `offset` seconds from now.
    pub(super) fn signature(&self, body: &[u8], offset: i64) -> Result<String, Stop> {
        match self.options.secrets.first() {
            Some(secret) => Ok(sign::header(secret, self.now().seconds() + offset, body)),
            None => not_applicable("no --secret was given"),
        }
    }

    /// The claims of a right V2 token for `call`.
    pub(super) fn v2_claims(&self, call: &Call) -> Value {
        sign::claims(verb(call), &self.url(&call.path), &call.body, self.now(), &self.name())
    }

    /// Whether the run may read the catalog: with a signature, which a public client does not have.
    pub(super) fn reads_catalog(&self) -> Result<(), Stop> {
        if self.options.secrets.is_empty() {
            return not_applicable("the catalog is for those who sign: give a --secret that may read it");
        }
        Ok(())
    }

    /// Whether the client signs what it sends.
    pub(super) fn signs(&self) -> Result<(), Stop> {
        if self.options.profile.signed { Ok(()) } else { not_applicable("public clients sign nothing") }
    }

    /// Whether somebody attests who the users are.
    pub(super) fn attests(&self) -> Result<(), Stop> {
        if self.options.profile.signed { Ok(()) } else { not_applicable("a public client attests nobody") }
    }

    fn usual_hmac(&self, call: &Call) -> Option<String> {
        // A public client signs nothing; the catalog it may have to read as somebody who can sign.
        let public = !self.options.profile.signed && ![SERVICES, HEALTH].contains(&call.path.as_str());
        if public { None } else { self.signature(&call.body, 0).ok() }
    }

    fn usual_v2(&self, call: &Call) -> Option<String> {
        if !self.options.profile.signed {
            return None;
        }
        self.v2_key.as_ref()?.sign(&self.v2_claims(call)).ok()
    }

    fn headers(&self, call: &Call) -> Vec<(&'static str, String)> {
        let chosen = |signing: &Signing, usual: fn(&Self, &Call) -> Option<String>| match signing {
            Signing::Usual => usual(self, call),
            Signing::None => None,
            Signing::Text(text) => Some(text.clone()),
        };
        let mut headers = Vec::new();
        let mut add = |name: &'static str, value: Option<String>| headers.extend(value.map(|value| (name, value)));
        add("api-version", call.version.clone());
        add("stripe-signature", chosen(&call.hmac, Self::usual_hmac));
        add("stripe-signature-v2", chosen(&call.v2, Self::usual_v2));
        add("authorization", call.bearer.as_ref().map(|token| format!("Bearer {token}")));
        add("content-type", call.content_type.clone());
        headers.extend(call.headers.iter().cloned());
        headers
    }

    /// Sends it. After "too many" it waits as long as it was told, a few times; a burst is told at once.
    pub(super) async fn send(&self, call: Call) -> Result<Answer, Stop> {
        for _ in 0..REPEATS {
            let answer = self.send_once(&call).await?;
            if answer.status != 429 || call.bursting {
                self.note(&call, &answer);
                return Ok(answer);
            }
            let wait = retry_after(&answer).unwrap_or(1);
            if wait > self.options.patience.as_secs() {
                return not_applicable(format!("the provider limits the rate: it asks to wait {wait} s"));
            }
            tokio::time::sleep(Duration::from_secs(wait.max(1))).await;
        }
        not_applicable("the provider limits the rate: raise its limits for the run, or lower --rate")
    }

    async fn send_once(&self, call: &Call) -> Result<Answer, Stop> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.options.max_calls {
            return not_applicable(format!("the run's bound of {} calls is reached", self.options.max_calls));
        }
        self.pace().await;
        let url = self.url(&call.path);
        let headers = self.headers(call);
        let secrets = self.secrets();
        let request = shown::request(&url, call, &headers, &secrets);
        let lost = |found: String| {
            let expected = format!("an HTTP answer within {} s", self.options.timeout.as_secs());
            let answer = String::new();
            Stop::Finding(Box::new(Finding { preparing: false, expected, found, request: request.clone(), answer }))
        };
        let parsed: Url = url.parse().map_err(|error| lost(format!("`{url}` is no URL: {error}")))?;
        let sent = self.fetch.send(outgoing(call, parsed, headers)).await;
        let incoming = sent.map_err(|error| lost(told(&error)))?;
        let shown = shown::answer(&incoming, &secrets);
        let json = serde_json::from_slice(&incoming.body).unwrap_or_default();
        let tolerant = self.options.profile.tolerant();
        Ok(Answer { status: incoming.status, json, incoming, request, shown, tolerant })
    }

    /// Asks the payment-token endpoint, which is no part of the provider.
    pub(super) async fn mint(&self, outgoing: Outgoing) -> Option<Value> {
        self.fetch.send(outgoing).await.ok()?.json().ok()
    }

    /// What no report may hold.
    fn secrets(&self) -> Vec<&str> {
        let tokens = self.options.v2.iter().map(|v2| v2.token.expose());
        let bearer = self.options.payment_tokens_bearer.iter();
        self.options.secrets.iter().chain(bearer).map(crate::secret::Secret::expose).chain(tokens).collect()
    }

    /// Waits until the next call may begin.
    async fn pace(&self) {
        let Some(rate) = self.options.rate else {
            return;
        };
        let gap = Duration::from_secs(1) / rate.max(1);
        let mut slot = self.slot.lock().await;
        let at = slot.map_or_else(Instant::now, |last| last + gap).max(Instant::now());
        *slot = Some(at);
        drop(slot);
        tokio::time::sleep_until(at).await;
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what the call made.
    fn note(&self, call: &Call, answer: &Answer) {
        if call.verb != Verb::Post || !answer.succeeded() {
            return;
        }
        let mut tally = self.tally();
        if call.path == ACCOUNT_REQUESTS && matches!(answer.kind(), Some("oauth" | "credentials")) {
            let sent: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            tally.emails.extend(sent.get("email").and_then(|email| email.as_str()).map(str::to_lowercase));
        }
        let Some(id) = answer.text("/id").filter(|id| !id.is_empty()) else {
            return;
        };
        if call.path.starts_with(RESOURCES) {
            match (answer.kind(), &call.bearer) {
                (Some("removed" | "pending_removal"), _) => {
                    tally.removed.insert(id.to_owned());
                }
                (Some("complete" | "pending"), Some(bearer)) => {
                    tally.resources.entry(id.to_owned()).or_insert_with(|| bearer.clone());
                }
                _ => {}
            }
        }
    }

    /// The access token `old` was replaced by `new`.
    pub(super) fn renewed(&self, old: &str, new: &str) {
        self.tally().renewed.insert(old.to_owned(), new.to_owned());
    }

    /// Removes what was made and is still there; answers what remains.
    pub(super) async fn clean_up(&self) -> Vec<String> {
        let (made, renewed) = {
            let tally = self.tally();
            let left = tally.resources.iter().filter(|(id, _)| !tally.removed.contains(*id));
            (left.map(|(id, token)| (id.clone(), token.clone())).collect::<Vec<_>>(), tally.renewed.clone())
        };
        let mut left = Vec::new();
        // The newest first: what depends on another goes before it.
        for (id, mut token) in made.into_iter().rev() {
            for _ in 0..renewed.len() {
                let Some(next) = renewed.get(&token) else { break };
                token.clone_from(next);
            }
            let call = Call::post(resource_verb(&id, "remove"), &serde_json::json!({})).bearer(&token);
            match self.send(call).await {
                Ok(answer) if answer.succeeded() => {}
                _ => left.push(id),
            }
        }
        left
    }

    pub(super) fn numbers(&self) -> Numbers {
        let tally = self.tally();
        Numbers {
            calls: self.calls.load(Ordering::Relaxed),
            accounts: tally.emails.len(),
            resources: tally.resources.len(),
            removed: tally.removed.iter().filter(|id| tally.resources.contains_key(*id)).count(),
        }
    }

    /// Whether anybody answers there at all.
    pub(super) async fn probe(&self) -> Result<(), RunError> {
        let url: Url = self.url(HEALTH).parse().map_err(RunError::Url)?;
        match self.fetch.send(Outgoing::get(url)).await {
            Err(error @ FetchError::Refused(..)) => Err(RunError::Forbidden(error)),
            Err(error @ FetchError::NotSent(..)) => Err(RunError::Unreachable(error)),
            _ => Ok(()),
        }
    }

    /// A right request for a link: a new one each time, which two signatures of one second would not tell.
    pub(super) fn deep_link(&self, token: &str) -> Call {
        Call::post(DEEP_LINKS, &serde_json::json!({"purpose": "dashboard"})).bearer(token).key(&self.name())
    }
}

fn verb(call: &Call) -> &'static str {
    match call.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Delete => "DELETE",
    }
}

fn outgoing(call: &Call, url: Url, headers: Vec<(&'static str, String)>) -> Outgoing {
    let (content, others): (Vec<_>, Vec<_>) = headers.into_iter().partition(|(name, _)| *name == "content-type");
    let outgoing = match call.verb {
        Verb::Get => Outgoing::get(url),
        Verb::Delete => Outgoing::delete(url),
        Verb::Post => {
            let content_type = content.into_iter().next().map(|(_, value)| value).unwrap_or_default();
            Outgoing::post(url, &content_type, call.body.clone())
        }
    };
    others.into_iter().fold(outgoing, |outgoing, (name, value)| outgoing.header(name, value))
}

/// `Retry-After` in whole seconds (RFC 9110 §10.2.3).
pub(super) fn retry_after(answer: &Answer) -> Option<u64> {
    answer.incoming.header("retry-after")?.trim().parse().ok()
}

fn told(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
