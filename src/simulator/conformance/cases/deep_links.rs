//! Log-in links: for one account, for one use, and to nowhere else.

use serde_json::{Value, json};
use url::Url;

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, DEEP_LINKS};
use super::super::case::{Case, Group::DeepLinks as G, Stop, Verdict, case, not_applicable};
use super::super::profile::DeepLink;
use super::super::session::Session;
use crate::clock::Timestamp;

const RULE: &str = "APP 0.1d, POST /provisioning/deep_links";
const ONCE: &str = "APP 0.1d, a deep link has one use";
const PATHS: &str = "APP 0.1d, deep links: invalid_path; CWE-601";
/// Where no link may ever lead.
const EVIL: &str = "conform-evil.example";

pub(super) const CASES: &[Case] = &[
    case(G, "deep_links.made", "A link is made", RULE, |s| Box::pin(made(s))),
    case(G, "deep_links.dated", "The answer has the shape of the profile", RULE, |s| Box::pin(dated(s))),
    case(G, "deep_links.safe", "The link is reached by https", RULE, |s| Box::pin(safe(s))),
    case(G, "deep_links.ends", "The link ends within an hour", RULE, |s| Box::pin(ends(s))),
    case(G, "deep_links.fresh", "Two requests give two links", ONCE, |s| Box::pin(fresh(s))),
    case(G, "deep_links.not-the-token", "The link does not hold the access token", "RFC 9700 §4.3.2", |s| {
        Box::pin(not_the_token(s))
    }),
    case(G, "deep_links.opens", "The link opens", RULE, |s| Box::pin(opens(s))),
    case(G, "deep_links.second-use", "The second use logs nobody in", ONCE, |s| Box::pin(second_use(s))),
    case(G, "deep_links.changed", "A changed link logs nobody in", ONCE, |s| Box::pin(changed(s))),
    case(G, "deep_links.no-bearer", "A link for nobody is refused", RULE, |s| Box::pin(no_bearer(s))),
    case(G, "deep_links.odd-purpose", "An odd purpose breaks nothing", RULE, |s| {
        Box::pin(survives(s, json!({"purpose": "conform-unknown"})))
    }),
    case(G, "deep_links.no-purpose", "A missing purpose breaks nothing", RULE, |s| Box::pin(survives(s, json!({})))),
    case(G, "deep_links.path-absolute", "A path to another site leads nowhere", PATHS, |s| {
        Box::pin(path(s, "https://conform-evil.example/x"))
    }),
    case(G, "deep_links.path-scheme-relative", "A path that begins with two slashes leads nowhere", PATHS, |s| {
        Box::pin(path(s, "//conform-evil.example/x"))
    }),
    case(G, "deep_links.path-backslash", "A path with a backslash leads nowhere", PATHS, |s| {
        Box::pin(path(s, "/\\conform-evil.example/x"))
    }),
    case(G, "deep_links.path-script", "A script as path leads nowhere", PATHS, |s| {
        Box::pin(path(s, "javascript:alert('conform-evil.example')"))
    }),
    case(G, "deep_links.path-unrooted", "A path without a root leads nowhere", PATHS, |s| {
        Box::pin(path(s, "conform-evil.example"))
    }),
    case(G, "deep_links.path-line", "A path with a line end leads nowhere", PATHS, |s| {
        Box::pin(path(s, "/x\r\nLocation: https://conform-evil.example/"))
    }),
];

async fn ask(s: &Session) -> Result<Answer, Stop> {
    let answer = s.send(s.deep_link(&s.party().await?.access)).await?;
    if !answer.succeeded() && answer.text("/error/code") == Some("deep_links_not_enabled") {
        return not_applicable("the provider has not enabled deep links");
    }
    answer.success()?;
    Ok(answer)
}

fn link_of(answer: &Answer) -> Option<Url> {
    answer.text("/url").or_else(|| answer.text("/deep_link"))?.parse().ok()
}

async fn link(s: &Session) -> Result<(Answer, Url), Stop> {
    let answer = ask(s).await?;
    match link_of(&answer) {
        Some(url) => Ok((answer, url)),
        None => Err(answer.wrong("an absolute URL in `url` (or `deep_link`, before April 2026)")),
    }
}

async fn made(s: &Session) -> Verdict {
    link(s).await.map(drop)
}

async fn dated(s: &Session) -> Verdict {
    let (answer, _) = link(s).await?;
    let full = answer.text("/purpose") == Some("dashboard")
        && answer.text("/url").is_some()
        && answer.text("/expires_at").is_some();
    let bare = answer.text("/deep_link").is_some() && answer.json.get("url").is_none();
    match s.options.profile.deep_link {
        DeepLink::Full => answer.expect(full, "`purpose`, `url` and `expires_at`"),
        DeepLink::Bare => answer.expect(bare, "`deep_link`, and no `url`"),
        DeepLink::Either => answer.expect(full || bare, "`purpose`, `url` and `expires_at`, or `deep_link`"),
    }
}

async fn safe(s: &Session) -> Verdict {
    let (answer, url) = link(s).await?;
    let here = s.options.allow_loopback && url.scheme() == "http";
    answer.expect(url.scheme() == "https" || here, "an https URL")
}

async fn ends(s: &Session) -> Verdict {
    let (answer, _) = link(s).await?;
    let Some(text) = answer.text("/expires_at") else {
        return not_applicable("the answer does not say when the link ends");
    };
    let seconds = Timestamp::parse_rfc3339(text).ok().map(|at| at.seconds() - s.now().seconds());
    answer.expect(
        seconds.is_some_and(|seconds| (1..=3600).contains(&seconds)),
        "`expires_at` within the next hour, with a zone",
    )
}

async fn fresh(s: &Session) -> Verdict {
    let ((_, first), (answer, second)) = (link(s).await?, link(s).await?);
    answer.expect(first != second, "a link of its own for each request")
}

async fn not_the_token(s: &Session) -> Verdict {
    let (answer, url) = link(s).await?;
    answer.expect(!url.as_str().contains(&s.party().await?.access), "a secret of its own in the link")
}

/// What opening the link gave: the page's GET, and the POST of its form if it has one.
async fn open(s: &Session, url: &Url) -> Result<Vec<Answer>, Stop> {
    let reachable = url.scheme() == "https" || (s.options.allow_loopback && url.scheme() == "http");
    if !reachable {
        return not_applicable("the link is not reached by https");
    }
    let page = s.send(Call::get(url.as_str()).unsigned().version(None).header("accept", "text/html")).await?;
    let form = String::from_utf8_lossy(&page.incoming.body).to_lowercase().contains("<form");
    let mut answers = vec![page];
    if form && !logged_in(&answers) {
        let call = Call::raw(url.as_str(), "application/x-www-form-urlencoded", "")
            .unsigned()
            .version(None)
            .header("origin", url.origin().ascii_serialization())
            .header("sec-fetch-site", "same-origin");
        answers.push(s.send(call).await?);
    }
    Ok(answers)
}

/// Whether a session began: a cookie with a value, in an answer that is no refusal.
fn logged_in(answers: &[Answer]) -> bool {
    answers.iter().filter(|answer| answer.status < 400).any(|answer| {
        answer.incoming.headers("set-cookie").iter().any(|cookie| {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let value = pair.split_once('=').map_or("", |(_, value)| value.trim_matches('"'));
            !value.is_empty() && !attributes.to_lowercase().contains("max-age=0")
        })
    })
}

async fn opens(s: &Session) -> Verdict {
    let (_, url) = link(s).await?;
    let answers = open(s, &url).await?;
    match answers.last() {
        Some(last) => last.expect(last.status < 400, "a page, or a redirect into the dashboard"),
        None => Ok(()),
    }
}

async fn second_use(s: &Session) -> Verdict {
    let (_, url) = link(s).await?;
    if !logged_in(&open(s, &url).await?) {
        return not_applicable("the first use set no cookie: from outside one cannot see who is logged in");
    }
    let second = open(s, &url).await?;
    match second.last() {
        Some(last) => last.expect(!logged_in(&second), "no session by a link that was used"),
        None => Ok(()),
    }
}

async fn changed(s: &Session) -> Verdict {
    let (_, url) = link(s).await?;
    let text = url.as_str();
    let Some(other) =
        text.len().checked_sub(6).and_then(|at| text.get(..at)).and_then(|text| format!("{text}zzzzzz").parse().ok())
    else {
        return not_applicable("the link cannot be changed");
    };
    let answers = open(s, &other).await?;
    match answers.last() {
        Some(last) => {
            last.expect(last.status < 500, "no 5xx")?;
            // Some providers set a cookie for anybody who comes.
            if logged_in(&answers) && !logged_in(&open(s, &url).await?) {
                return not_applicable("the provider sets cookies for anybody");
            }
            last.expect(!logged_in(&answers) || last.status >= 300, "no session by a link that nobody made")
        }
        None => Ok(()),
    }
}

async fn no_bearer(s: &Session) -> Verdict {
    let answer = s.send(Call::post(DEEP_LINKS, &json!({"purpose": "dashboard"}))).await?;
    answer.refused(Envelope::Flat, &[401], &[])
}

async fn survives(s: &Session, body: Value) -> Verdict {
    ask(s).await?;
    let token = &s.party().await?.access;
    s.send(Call::post(DEEP_LINKS, &body).bearer(token)).await?.survives()
}

async fn path(s: &Session, path: &str) -> Verdict {
    ask(s).await?;
    let token = &s.party().await?.access;
    let body = json!({"purpose": "dashboard", "path": path});
    let answer = s.send(Call::post(DEEP_LINKS, &body).bearer(token)).await?;
    if !answer.succeeded() {
        return answer.refused_somehow(Envelope::Flat, &[]);
    }
    // A path is an extension: whoever does not know it ignores it. Then the link must lead home all the same.
    let Some(url) = link_of(&answer) else {
        return Err(answer.wrong("a link, or `invalid_path`"));
    };
    answer.expect(url.host_str() != Some(EVIL), "no link to another site")?;
    for opened in open(s, &url).await? {
        let location = opened.incoming.header("location").unwrap_or("").trim().to_lowercase();
        let home =
            location.split(['?', '#']).next().is_none_or(|to| !to.contains(EVIL) && !to.starts_with("javascript:"));
        opened.expect(home, "no redirect to another site")?;
    }
    Ok(())
}
