//! How often anybody may do what: counted in memory, by orchestrator, account and address, for this process alone (how
//! many accounts an orchestrator opens is counted in the database: `account::count_opening`). A refusal says how long to wait, in `Retry-After` and in the fields of draft-ietf-httpapi-ratelimit-headers.
//!
//! The widest limit of a request is counted first. Where one refuses, the others count only keys that they know, so that a
//! refused request takes up no room; the longest wait is told. The number of keys is bounded: when there is no room for
//! another, opening accounts is refused, and everything else goes on uncounted; whoever is known is counted as ever.

mod memory;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use crate::app::App;
use crate::clock::Clock;
use crate::http::problem::{Problem, table};
use memory::Memory;

/// The most keys of one limit.
const MAX_KEYS: usize = 65_536;
/// How long a caller waits when there is no room for another key, in seconds.
const FULL_WAIT: u64 = 60;

/// draft-ietf-httpapi-ratelimit-headers §4.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// draft-ietf-httpapi-ratelimit-headers §3.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Signed account requests on the wire; the key names orchestrator and person.
    AccountRequests,
    /// Account requests that nobody signed; the key names address and client. They take no room from the signed ones.
    UnsignedRequests,
    /// Tokens on the wire; the key names orchestrator and account.
    TokenExchanges,
    /// New resources on the wire; the key names orchestrator and account.
    ResourceCreates,
    /// Everything above of one orchestrator; the key is its id.
    Orchestrator,
    /// Accounts asked for by an address.
    AddressAccounts,
    /// Tokens asked for by an address.
    AddressTokens,
    /// Authorization requests by an address.
    AddressRequests,
    /// Clients that an address registers.
    AddressRegistrations,
    /// Accounts opened through an orchestrator: counted in the database, by all processes together.
    OrchestratorAccounts,
    /// Log-ins begun by an address.
    AddressLogIns,
    /// Mails with a log-in link; the key is the canonical address of mail, known here or not.
    EmailLogIns,
    /// Codes of devices that are typed; the key is an address or an account.
    DeviceCodes,
}

impl Limit {
    /// What is counted here.
    const ALL: [Self; 12] = [
        Self::AccountRequests,
        Self::UnsignedRequests,
        Self::TokenExchanges,
        Self::ResourceCreates,
        Self::Orchestrator,
        Self::AddressAccounts,
        Self::AddressTokens,
        Self::AddressRequests,
        Self::AddressRegistrations,
        Self::AddressLogIns,
        Self::EmailLogIns,
        Self::DeviceCodes,
    ];

    /// The policy's name.
    fn name(self) -> &'static str {
        match self {
            Self::AccountRequests => "account-requests",
            Self::UnsignedRequests => "unsigned-requests",
            Self::TokenExchanges => "token-exchanges",
            Self::ResourceCreates => "resource-creates",
            Self::Orchestrator => "orchestrator",
            Self::AddressAccounts => "address-accounts",
            Self::AddressTokens => "address-tokens",
            Self::AddressRequests => "address-requests",
            Self::AddressRegistrations => "address-registrations",
            Self::OrchestratorAccounts => "orchestrator-accounts",
            Self::AddressLogIns => "address-log-ins",
            Self::EmailLogIns => "email-log-ins",
            Self::DeviceCodes => "device-codes",
        }
    }

    fn per_hour(self, app: &App) -> u32 {
        match self {
            Self::AccountRequests | Self::UnsignedRequests => app.wire.account_requests_per_hour,
            Self::TokenExchanges => app.wire.token_exchanges_per_hour,
            Self::ResourceCreates => app.wire.resource_creates_per_hour,
            Self::Orchestrator => app.wire.orchestrator_requests_per_hour,
            Self::AddressAccounts => app.limits.address_accounts_per_hour,
            Self::AddressTokens => app.limits.address_tokens_per_hour,
            Self::AddressRequests => app.limits.address_requests_per_hour,
            Self::AddressRegistrations => app.limits.address_registrations_per_hour,
            Self::OrchestratorAccounts => app.limits.orchestrator_accounts_per_hour,
            Self::AddressLogIns => app.limits.address_log_ins_per_hour,
            Self::EmailLogIns => app.limits.email_log_ins_per_hour,
            Self::DeviceCodes => app.limits.device_codes_per_hour,
        }
    }

    /// Whether a full memory refuses: accounts are not opened uncounted, and mails are not sent.
    fn fails_closed(self) -> bool {
        matches!(
            self,
            Self::AccountRequests
                | Self::UnsignedRequests
                | Self::AddressAccounts
                | Self::AddressRegistrations
                | Self::EmailLogIns
                | Self::DeviceCodes
        )
    }
}

/// The house's clock, for the counters.
#[derive(Clone)]
struct HouseClock(Arc<dyn Clock>);

impl governor::clock::Clock for HouseClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let micros = u64::try_from(self.0.now().micros()).unwrap_or(0);
        Nanos::from(Duration::from_micros(micros))
    }
}

type Counters = RateLimiter<String, Memory, HouseClock, StateInformationMiddleware>;

struct Bucket {
    limit: Limit,
    per_hour: NonZeroU32,
    memory: Memory,
    counters: Counters,
}

/// All limits that are on.
pub(crate) struct Limits {
    buckets: Vec<Bucket>,
    clock: HouseClock,
    behind_proxy: bool,
    max_keys: usize,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.buckets.iter().map(|bucket| bucket.limit)).finish()
    }
}

/// A limit as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    limit: Limit,
    per_hour: u32,
    remaining: u32,
    /// Seconds until there is more: whole, rounded up.
    seconds: u64,
}

/// The request is within its limits.
#[derive(Debug, Default)]
pub(crate) struct Allowance(Vec<Standing>);

/// The request is beyond a limit: the one with the longest wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited(Standing);

impl Limits {
    /// As configured.
    pub(crate) fn new(app: &App) -> Self {
        Self::with(app.clock.clone(), app.behind_tls_proxy, MAX_KEYS, |limit| limit.per_hour(app))
    }

    fn with(clock: Arc<dyn Clock>, behind_proxy: bool, max_keys: usize, rate: impl Fn(Limit) -> u32) -> Self {
        let clock = HouseClock(clock);
        let bucket = |limit| {
            let per_hour = NonZeroU32::new(rate(limit))?;
            let memory = Memory::default();
            let counters = RateLimiter::new(Quota::per_hour(per_hour), memory.clone(), clock.clone());
            Some(Bucket { limit, per_hour, memory, counters })
        };
        let buckets = Limit::ALL.into_iter().filter_map(bucket).collect();
        Self { buckets, clock, behind_proxy, max_keys }
    }

    /// Counts a request in each of the limits, the widest first; a limit that is off counts nothing.
    ///
    /// # Errors
    /// When one is reached: the one with the longest wait.
    pub(crate) fn take(&self, wanted: &[(Limit, &str)]) -> Result<Allowance, Limited> {
        let (mut allowed, mut refused) = (Vec::new(), None::<Standing>);
        for (limit, key) in wanted {
            let Some(bucket) = self.buckets.iter().find(|bucket| bucket.limit == *limit) else { continue };
            if refused.is_some() && !bucket.memory.knows(key) {
                continue;
            }
            match self.count(bucket, key) {
                Ok(standing) => allowed.extend(standing),
                Err(standing) if refused.is_none_or(|worse| worse.seconds < standing.seconds) => {
                    refused = Some(standing);
                }
                Err(_) => {}
            }
        }
        match refused {
            Some(standing) => Err(Limited(standing)),
            None => Ok(Allowance(allowed)),
        }
    }

    fn count(&self, bucket: &Bucket, key: &str) -> Result<Option<Standing>, Standing> {
        let (limit, per_hour) = (bucket.limit, bucket.per_hour.get());
        if !bucket.memory.has_room(key, self.max_keys) {
            if bucket.memory.is_due(governor::clock::Clock::now(&self.clock)) {
                tracing::warn!(limit = limit.name(), "no room for another key of this limit");
                bucket.counters.retain_recent();
            }
            if !bucket.memory.has_room(key, self.max_keys) {
                let full = Standing { limit, per_hour, remaining: 0, seconds: FULL_WAIT };
                return if limit.fails_closed() { Err(full) } else { Ok(None) };
            }
        }
        match bucket.counters.check_key(&key.to_owned()) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let spent = u64::from(per_hour.saturating_sub(remaining));
                let seconds = (spent * 3600).div_ceil(u64::from(per_hour));
                Ok(Some(Standing { limit, per_hour, remaining, seconds }))
            }
            Err(until) => {
                let wait = until.wait_time_from(governor::clock::Clock::now(&self.clock));
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Err(Standing { limit, per_hour, remaining: 0, seconds: seconds.max(1) })
            }
        }
    }

    /// Who calls: the peer, or whom the proxy in front names last (what stands before that, anybody can write). A network
    /// of 64 bits counts as one caller.
    pub(crate) fn address(&self, request: &HttpRequest) -> String {
        let forwarded = || {
            let last = request.headers().get_all("x-forwarded-for").last()?.to_str().ok()?.rsplit(',').next()?.trim();
            last.parse::<IpAddr>().or_else(|_| last.parse::<std::net::SocketAddr>().map(|at| at.ip())).ok()
        };
        let peer = || request.peer_addr().map(|peer| peer.ip());
        let address = if self.behind_proxy { forwarded().or_else(peer) } else { peer() };
        address.map(network).unwrap_or_default()
    }
}

fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

impl Standing {
    fn policy(&self) -> String {
        format!("\"{}\";q={};w=3600", self.limit.name(), self.per_hour)
    }

    fn state(&self) -> String {
        format!("\"{}\";r={};t={}", self.limit.name(), self.remaining, self.seconds)
    }
}

impl Allowance {
    /// This, and what was counted after it.
    #[must_use]
    pub(crate) fn and(mut self, narrower: Self) -> Self {
        self.0.extend(narrower.0);
        self
    }

    /// Says in a good answer what is left, of the narrowest limit first.
    pub(crate) fn tell(&self, answer: &mut HttpResponseBuilder) {
        if !self.0.is_empty() {
            let list = |text: fn(&Standing) -> String| self.0.iter().rev().map(text).collect::<Vec<_>>().join(", ");
            answer.insert_header((RATE_LIMIT_POLICY, list(Standing::policy)));
            answer.insert_header((RATE_LIMIT, list(Standing::state)));
        }
    }
}

impl Limited {
    /// The accounts that an orchestrator may open in an hour were opened.
    pub(crate) fn openings(at_most: u32, wait: u64) -> Self {
        Self(Standing { limit: Limit::OrchestratorAccounts, per_hour: at_most, remaining: 0, seconds: wait })
    }

    /// For whoever reads it.
    pub(crate) fn message(&self) -> String {
        let Standing { limit, per_hour, seconds, .. } = self.0;
        format!("More than {per_hour} an hour (`{}`). Try again in {seconds} s.", limit.name())
    }

    /// How long to wait.
    pub(crate) fn seconds(&self) -> u64 {
        self.0.seconds
    }

    /// The same in a page for people.
    pub(crate) fn told_in(&self, mut page: HttpResponse) -> HttpResponse {
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                page.headers_mut().insert(name, value);
            }
        }
        page
    }

    /// What goes with every refusal.
    pub(crate) fn headers(&self) -> [(HeaderName, String); 3] {
        [(RETRY_AFTER, self.0.seconds.to_string()), (RATE_LIMIT_POLICY, self.0.policy()), (RATE_LIMIT, self.0.state())]
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        let problem = Self::new(&table::RATE_LIMITED, limited.message());
        limited.headers().into_iter().fold(problem, |problem, (name, value)| problem.header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn limits(rate: u32, max_keys: usize) -> (Arc<ManualClock>, Limits) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
        let limits = Limits::with(clock.clone(), true, max_keys, |limit| match limit {
            Limit::Orchestrator => rate * 2,
            Limit::TokenExchanges => 0,
            _ => rate,
        });
        (clock, limits)
    }

    fn of(key: &str) -> [(Limit, &str); 1] {
        [(Limit::AccountRequests, key)]
    }

    #[test]
    fn the_burst_is_the_rate_and_comes_back_evenly() {
        let (clock, limits) = limits(10, 100);
        for left in (0..10).rev() {
            assert_eq!(limits.take(&of("a")).unwrap().0[0].remaining, left);
        }
        let Limited(refused) = limits.take(&of("a")).unwrap_err();
        assert_eq!(
            (refused.seconds, refused.policy(), refused.state()),
            (360, "\"account-requests\";q=10;w=3600".to_owned(), "\"account-requests\";r=0;t=360".to_owned())
        );
        assert!(limits.take(&of("b")).is_ok(), "another key is another count");
        clock.advance(TimeDelta::milliseconds(359_500));
        assert_eq!(limits.take(&of("a")).unwrap_err().0.seconds, 1);
        clock.advance(TimeDelta::milliseconds(500));
        assert!(limits.take(&of("a")).is_ok());
        assert!(limits.take(&of("a")).is_err());
    }

    #[test]
    fn the_longest_wait_is_told_and_a_limit_that_is_off_counts_nothing() {
        let (_, limits) = limits(2, 100);
        let both = [(Limit::Orchestrator, "o"), (Limit::AccountRequests, "o/a")];
        for _ in 0..2 {
            limits.take(&both).unwrap();
        }
        assert_eq!(limits.take(&both).unwrap_err().0.limit, Limit::AccountRequests);
        for _ in 0..5 {
            let _ = limits.take(&[(Limit::Orchestrator, "o")]);
        }
        assert_eq!(
            limits.take(&both).unwrap_err().0.seconds,
            1800,
            "900 s for the orchestrator, 1800 s for the person"
        );
        for _ in 0..100 {
            limits.take(&[(Limit::TokenExchanges, "a")]).unwrap();
        }
    }

    #[test]
    fn keys_are_bounded_and_accounts_are_not_opened_uncounted() {
        let (clock, limits) = limits(10, 3);
        for key in ["a", "b", "c"] {
            limits.take(&of(key)).unwrap();
            limits.take(&[(Limit::ResourceCreates, key)]).unwrap();
        }
        assert_eq!(limits.take(&of("d")).unwrap_err().0.seconds, FULL_WAIT);
        assert!(limits.take(&[(Limit::ResourceCreates, "d")]).is_ok());
        clock.advance(TimeDelta::hours(2));
        assert!(limits.take(&of("d")).is_ok(), "what was long ago is forgotten");
    }

    #[test]
    fn whoever_is_known_is_counted_however_full_it_is() {
        let (_, limits) = limits(2, 4);
        for key in ["a", "b", "c", "d"] {
            limits.take(&of(key)).unwrap();
        }
        assert!(limits.take(&of("e")).is_err());
        assert!(limits.take(&of("a")).is_ok(), "known, and within its rate");
        assert_eq!(limits.take(&of("a")).unwrap_err().0.seconds, 1800, "and counted as ever");
    }

    #[test]
    fn unsigned_requests_take_no_room_from_signed_ones() {
        let (_, limits) = limits(2, 4);
        for key in ["1/a", "2/b", "3/c", "4/d"] {
            limits.take(&[(Limit::UnsignedRequests, key)]).unwrap();
        }
        assert!(limits.take(&[(Limit::UnsignedRequests, "5/e")]).is_err());
        assert!(limits.take(&of("o/a")).is_ok());
    }

    #[test]
    fn nobody_gets_more_than_half_of_the_room() {
        let (_, limits) = limits(2, 4);
        for (key, room) in [("o/a", true), ("o/b", true), ("o/c", false), ("o/d", false), ("p/a", true), ("q/a", true)]
        {
            assert_eq!(limits.take(&of(key)).is_ok(), room, "{key}");
        }
    }

    #[test]
    fn a_refused_request_takes_up_no_room() {
        let (_, limits) = limits(1, 100);
        let both = |person: &str| limits.take(&[(Limit::AddressAccounts, "x"), (Limit::UnsignedRequests, person)]);
        both("x/a").unwrap();
        for person in ["x/b", "x/c", "x/d"] {
            assert_eq!(both(person).unwrap_err().0.limit, Limit::AddressAccounts);
        }
        let bucket = limits.buckets.iter().find(|bucket| bucket.limit == Limit::UnsignedRequests).unwrap();
        assert_eq!(bucket.counters.len(), 1);
    }

    #[test]
    fn only_the_last_word_of_the_proxy_counts() {
        let (_, limits) = limits(1, 3);
        let address = |value: &str| {
            let peer = "10.0.0.1:1".parse().unwrap();
            let request = TestRequest::default().peer_addr(peer).insert_header(("x-forwarded-for", value));
            limits.address(&request.to_http_request())
        };
        assert_eq!(address("1.2.3.4, 203.0.113.7"), "203.0.113.7");
        assert_eq!(address("203.0.113.7:4711"), "203.0.113.7");
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(address("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(address("1.2.3.4, nonsense"), "10.0.0.1");
    }
}
