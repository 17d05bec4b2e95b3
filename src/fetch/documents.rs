//! JSON documents at URLs that strangers name, such as the metadata of a client whose id is a URL.
//!
//! Promises: of each URL one fetch is under way at a time, whoever asks; a good answer is kept as long as its host says,
//! within bounds, and for a bounded time longer while its host cannot be asked (RFC 9111 §4.2.4, RFC 5861 §4); after a
//! failure nobody fetches that URL for a moment; a host, and all hosts together, are asked only so often, apart for what
//! was good before: whoever names URLs that lead nowhere uses up no turn of those; what is kept is bounded. Refuses: other ports than 443, redirects, compressed and long answers, slow ones, and
//! what is not JSON by its content type.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use moka::future::Cache;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use url::Url;

use super::{Fetch, FetchError, Incoming, Outgoing};
use crate::clock::Timestamp;

/// The only port of strangers: the one of https.
const PORT: u16 = 443;

/// How documents are fetched and kept.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The longest document, in bytes.
    pub max_body: usize,
    /// The longest a fetch takes, from its first to its last byte.
    pub deadline: Duration,
    /// The least and the most time that a document is kept, whatever its host says.
    pub kept: (TimeDelta, TimeDelta),
    /// How long a document is kept whose host says nothing.
    pub usual: TimeDelta,
    /// How long nobody fetches a URL again that failed.
    pub pause: TimeDelta,
    /// How long a good document is still taken after its time, while its host cannot be asked.
    pub stale: TimeDelta,
    /// Fetches from one host within a minute: of URLs that were good, and of all others as many again.
    pub host_per_minute: u32,
    /// Fetches from all hosts within a minute: of URLs that were good, and of all others as many again.
    pub all_per_minute: u32,
    /// Fetches under way at a time: of URLs that were good, and of all others as many again.
    pub at_once: usize,
    /// Documents kept at a time, failures remembered, and hosts counted.
    pub max_kept: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_body: 64 * 1024,
            deadline: Duration::from_secs(3),
            kept: (TimeDelta::minutes(1), TimeDelta::hours(24)),
            usual: TimeDelta::minutes(5),
            pause: TimeDelta::seconds(10),
            stale: TimeDelta::hours(24),
            host_per_minute: 30,
            all_per_minute: 600,
            at_once: 32,
            max_kept: 10_000,
        }
    }
}

/// Why there is no document.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DocumentError {
    /// The URL, or where it leads, is not allowed; or the document is not what it should be. Its owner can mend that.
    #[error("the document is refused: {0}")]
    Refused(String),
    /// Its host did not give it. Later it may.
    #[error("the document cannot be had now: {0}")]
    Unreachable(String),
    /// This host, or all together, were asked too often.
    #[error("too many documents were asked of this host: ask again in {0} seconds")]
    TooMany(i64),
}

impl DocumentError {
    /// Whether the same document may be had later: nothing was learned about it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TooMany(_))
    }
}

/// Reads a document.
///
/// # Errors
/// What is wrong with it, in a sentence that its owner understands.
pub type Read<T> = fn(&Url, &[u8]) -> Result<T, String>;

struct Kept<T> {
    outcome: Result<Arc<T>, DocumentError>,
    until: Timestamp,
}

/// The last good document of a URL.
struct Good<T> {
    document: Arc<T>,
    fresh_until: Timestamp,
    taken_until: Timestamp,
}

/// Fetches within the minute that began at the first member.
type Count = Mutex<(Timestamp, u32)>;

/// How often anybody may be asked.
#[derive(Clone)]
struct Turns {
    hosts: Cache<String, Arc<Count>>,
    all: Arc<Count>,
    at_once: Arc<Semaphore>,
}

impl Turns {
    fn new(bounds: &Bounds) -> Self {
        Self {
            hosts: Cache::new(bounds.max_kept),
            all: Arc::new(Mutex::new((Timestamp::from_seconds(0), 0))),
            at_once: Arc::new(Semaphore::new(bounds.at_once)),
        }
    }

    /// One of them, held until it is dropped.
    async fn take(&self, url: &Url, bounds: &Bounds, now: Timestamp) -> Result<SemaphorePermit<'_>, DocumentError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let begun = async { Arc::new(Mutex::new((now, 0))) };
        let of_host = self.hosts.get_with(host, begun).await;
        count(&of_host, bounds.host_per_minute, now).await?;
        count(&self.all, bounds.all_per_minute, now).await?;
        self.at_once.try_acquire().map_err(|_busy| DocumentError::TooMany(1))
    }
}

/// The documents of one kind. Cheap to clone; the clones share what is kept.
#[derive(Clone)]
pub struct Documents<T: Send + Sync + 'static> {
    fetch: Fetch,
    bounds: Bounds,
    read: Read<T>,
    kept: Cache<String, Arc<Kept<T>>>,
    /// Apart from what is kept of each URL, where strangers can put as many failures as they like.
    good: Cache<String, Arc<Good<T>>>,
    strangers: Turns,
    known: Turns,
}

impl<T: Send + Sync + 'static> fmt::Debug for Documents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Documents<T> {
    /// Documents that `read` reads.
    #[must_use]
    pub fn new(fetch: Fetch, bounds: Bounds, read: Read<T>) -> Self {
        Self {
            kept: Cache::new(bounds.max_kept),
            good: Cache::new(bounds.max_kept),
            strangers: Turns::new(&bounds),
            known: Turns::new(&bounds),
            fetch,
            bounds,
            read,
        }
    }

    /// The document at a URL: the one that is kept, or else a new one, or else the last good one.
    ///
    /// # Errors
    /// See [`DocumentError`]. A refused document is asked for again after the pause.
    pub async fn get(&self, url: &Url, now: Timestamp) -> Result<Arc<T>, DocumentError> {
        let entry = self
            .kept
            .entry_by_ref(url.as_str())
            .or_insert_with_if(self.fetched(url, now), |kept| kept.until <= now)
            .await;
        entry.into_value().outcome.clone()
    }

    async fn fetched(&self, url: &Url, now: Timestamp) -> Arc<Kept<T>> {
        let last = self.good.get(url.as_str()).await.filter(|good| now < good.taken_until);
        let kept = |outcome, until| Arc::new(Kept { outcome, until });
        if let Some(fresh) = last.as_ref().filter(|good| now < good.fresh_until) {
            return kept(Ok(fresh.document.clone()), fresh.fresh_until);
        }
        let turns = if last.is_some() { &self.known } else { &self.strangers };
        let pause = now.plus(self.bounds.pause);
        match (self.fetch_new(url, turns, now).await, last) {
            (Ok((document, age)), _) => {
                let (document, fresh_until) = (Arc::new(document), now.plus(age));
                let taken_until = fresh_until.plus(self.bounds.stale);
                let good = Good { document: document.clone(), fresh_until, taken_until };
                self.good.insert(url.as_str().to_owned(), Arc::new(good)).await;
                kept(Ok(document), fresh_until)
            }
            (Err(error), Some(last)) if error.is_passing() => {
                tracing::debug!(%url, %error, "the last good document is taken");
                kept(Ok(last.document.clone()), pause.min(last.taken_until))
            }
            (Err(error), _) => {
                self.good.invalidate(url.as_str()).await;
                kept(Err(error), pause)
            }
        }
    }

    async fn fetch_new(&self, url: &Url, turns: &Turns, now: Timestamp) -> Result<(T, TimeDelta), DocumentError> {
        self.judge(url)?;
        let turn = turns.take(url, &self.bounds, now).await?;
        let answer = self.ask(url).await?;
        drop(turn);
        check_form(&answer, &self.bounds)?;
        let document = (self.read)(url, &answer.body).map_err(DocumentError::Refused)?;
        Ok((document, self.age(&answer)))
    }

    fn judge(&self, url: &Url) -> Result<(), DocumentError> {
        let port = url.port_or_known_default();
        if port != Some(PORT) && !url.host_str().is_some_and(|host| self.fetch.may_be_special(host)) {
            return Err(DocumentError::Refused(format!("documents are fetched from port {PORT} only")));
        }
        Ok(())
    }

    async fn ask(&self, url: &Url) -> Result<Incoming, DocumentError> {
        let outgoing = Outgoing::get(url.clone()).header("accept", "application/json");
        let unreachable = |why: String| DocumentError::Unreachable(why);
        match tokio::time::timeout(self.bounds.deadline, self.fetch.send_within(outgoing, self.bounds.max_body)).await {
            Err(_elapsed) => Err(unreachable("its host took too long".to_owned())),
            Ok(Err(error @ (FetchError::Refused(..) | FetchError::TooLarge(..)))) => {
                Err(DocumentError::Refused(error.to_string()))
            }
            Ok(Err(error)) => {
                tracing::debug!(?error, "a document was not fetched");
                Err(unreachable(error.to_string()))
            }
            // 429 (RFC 6585 §4): the host has enough of us, whatever stands there.
            Ok(Ok(answer)) if answer.status >= 500 || answer.status == 429 => {
                Err(unreachable(format!("its host answered {}", answer.status)))
            }
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    /// RFC 9111 §5.2.2, as far as it matters to us: `max-age`, `no-store` and `no-cache`.
    fn age(&self, answer: &Incoming) -> TimeDelta {
        let (least, most) = self.bounds.kept;
        let said = answer.headers("cache-control").join(",").to_ascii_lowercase();
        let mut said = said.split(',').map(str::trim);
        let mut age = self.bounds.usual;
        if said.clone().any(|word| word == "no-store" || word == "no-cache") {
            age = least;
        } else if let Some(seconds) =
            said.find_map(|word| word.strip_prefix("max-age=")?.trim_matches('"').parse().ok())
        {
            age = TimeDelta::try_seconds(seconds).unwrap_or(most);
        }
        age.clamp(least, most)
    }
}

/// Status, content type and coding. Compressed answers were not asked for: small ones that grow are an attack.
fn check_form(answer: &Incoming, bounds: &Bounds) -> Result<(), DocumentError> {
    let refused = |why: String| Err(DocumentError::Refused(why));
    if answer.status != 200 {
        return refused(format!("its host answered {} instead of 200", answer.status));
    }
    if answer.header("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return refused("it is compressed".to_owned());
    }
    let kind = answer.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        return refused(format!("its content type is not JSON, or it has more than {} bytes", bounds.max_body));
    }
    Ok(())
}

async fn count(count: &Count, most: u32, now: Timestamp) -> Result<(), DocumentError> {
    let minute = TimeDelta::minutes(1);
    let mut count = count.lock().await;
    let (begun, taken) = *count;
    if now.since(begun) >= minute {
        *count = (now, 1);
        return Ok(());
    }
    if taken >= most {
        return Err(DocumentError::TooMany((minute - now.since(begun)).num_seconds().max(1)));
    }
    *count = (begun, taken + 1);
    Ok(())
}
