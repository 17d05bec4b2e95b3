//! Rates and sizes: whoever is refused is told so in the endpoint's own form, and when to come back.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{ACCOUNT_REQUESTS, Call, RESOURCES, TOKEN};
use super::super::case::{Case, Group::Limits as G, Stop, Verdict, case, not_applicable};
use super::super::session::{Session, retry_after};

const RATE: &str = "APP 0.1d, rate limits: 429 rate_limited with Retry-After";
const HEADERS: &str = "draft-ietf-httpapi-ratelimit-headers; RFC 9110 §10.2.3";
const SIZE: &str = "APP 0.1d, error envelopes, also for bodies that are too large";
/// How many of a burst run at once.
const AT_ONCE: usize = 10;
/// More than any request needs.
const LARGE: usize = 3 * 1024 * 1024;

pub(super) const CASES: &[Case] = &[
    case(G, "limits.large-account-request", "An account request of 3 MB is refused in an envelope", SIZE, |s| {
        Box::pin(large(s, ACCOUNT_REQUESTS))
    }),
    case(G, "limits.large-creation", "A creation of 3 MB is refused in an envelope", SIZE, |s| {
        Box::pin(large(s, RESOURCES))
    }),
    case(G, "limits.large-form", "A form of 3 MB is refused in an envelope", SIZE, |s| Box::pin(large(s, TOKEN))),
    case(G, "limits.accounts", "Too many account requests are refused in their own envelope", RATE, |s| {
        Box::pin(envelope(s))
    }),
    case(G, "limits.retry-after", "The refusal says in whole seconds when to come back", HEADERS, |s| {
        Box::pin(says_when(s))
    }),
    case(G, "limits.ratelimit-header", "A RateLimit header, if there is one, can be read", HEADERS, |s| {
        Box::pin(header(s))
    }),
    case(G, "limits.recovers", "After the wait it is served again", RATE, |s| Box::pin(recovers(s))),
];

async fn large(s: &Session, path: &str) -> Verdict {
    let filling = "x".repeat(LARGE);
    let call = match path {
        TOKEN => Call::form(&[("grant_type", "refresh_token"), ("refresh_token", &filling)]),
        RESOURCES => {
            let party = s.party().await?;
            let mut body = s.create_body(s.usable().await?, party);
            body["x_filling"] = json!(filling);
            Call::post(path, &body).bearer(&party.access)
        }
        _ => {
            let mut body = s.new_request();
            body["x_filling"] = json!(filling);
            Call::post(path, &body)
        }
    };
    match s.send(call).await {
        Ok(answer) => answer.survives(),
        Err(Stop::Finding(_)) => {
            not_applicable("the connection ended before an answer could be read, which is allowed")
        }
        Err(stop) => Err(stop),
    }
}

/// The first refusal of a burst, looked for once, and what was sent.
async fn limited(s: &Session) -> Result<&(Answer, Value), Stop> {
    s.limited.get_or_try_init(|| burst(s)).await
}

/// A burst of one and the same account request: it opens one account at most.
async fn burst(s: &Session) -> Result<(Answer, Value), Stop> {
    let body = s.account_request(&s.fresh_email(), &s.fresh_subject());
    let mut sent = 0;
    while sent < s.options.burst {
        let calls = (0..AT_ONCE).map(|_| s.send(Call::post(ACCOUNT_REQUESTS, &body).bursting()));
        for answer in join_all(calls).await {
            let answer = answer?;
            if answer.status == 429 {
                return Ok((answer, body));
            }
            answer.expect(answer.status < 500, "no 5xx under a burst")?;
        }
        sent += 10;
    }
    not_applicable(format!("no limit was met within {sent} calls (--burst)"))
}

async fn envelope(s: &Session) -> Verdict {
    limited(s).await?.0.refused(Envelope::Typed, &[429], &["rate_limited"])
}

async fn says_when(s: &Session) -> Verdict {
    let (answer, _) = limited(s).await?;
    answer.expect(retry_after(answer).is_some(), "`Retry-After` in whole seconds")
}

async fn header(s: &Session) -> Verdict {
    let (answer, _) = limited(s).await?;
    let Some(text) = answer.incoming.header("ratelimit") else {
        return not_applicable("the refusal has no RateLimit header, which is a draft");
    };
    // A structured list: "name";r=remaining;t=seconds.
    let number = |name: &str| {
        let parameter = text.split([';', ',']).map(str::trim).find_map(|part| part.strip_prefix(name));
        parameter.and_then(|value| value.trim_start_matches('=').parse::<u64>().ok())
    };
    answer.expect(number("r").is_some(), "`RateLimit` with `r`, the remaining quota, as a whole number")
}

async fn recovers(s: &Session) -> Verdict {
    let (answer, body) = limited(s).await?;
    let wait = retry_after(answer).unwrap_or(1).max(1);
    if wait > s.options.patience.as_secs() {
        return not_applicable(format!("the provider asks to wait {wait} s, longer than --patience"));
    }
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let again = s.send(Call::post(ACCOUNT_REQUESTS, body).bursting()).await?;
    again.expect(again.status != 429, "no refusal after the wait that was asked for")
}
