//! What happens when an existing user must be asked: nothing, until they said yes in their own browser.

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, resource};
use super::super::case::{Case, Group::Consent as G, Stop, Verdict, case, not_applicable};
use super::super::session::Session;
use url::Url;

const RULE: &str = "APP 0.1d, requires_auth";
const LINKING: &str = "APP 0.1d, account request: an existing user consents; account takeover by e-mail";
const BROWSER: &str = "APP 0.1d, the browser half of requires_auth: log-in first";

pub(super) const CASES: &[Case] = &[
    case(G, "consent.redirect", "The answer says where to send the user", RULE, |s| Box::pin(redirect(s))),
    case(G, "consent.safe-url", "The page is reached by https", RULE, |s| Box::pin(safe_url(s))),
    case(G, "consent.no-tokens", "The answer holds no code and no token", RULE, |s| Box::pin(no_tokens(s))),
    case(G, "consent.names-request", "The page's URL says which request it is about", RULE, |s| {
        Box::pin(names_request(s))
    }),
    case(G, "consent.own-url", "Two requests lead to two URLs", RULE, |s| Box::pin(own_url(s))),
    case(G, "consent.page-opens", "The page opens without an error of the server", BROWSER, |s| {
        Box::pin(page_opens(s))
    }),
    case(G, "consent.no-code-without-login", "Opening the page alone gives no code away", BROWSER, |s| {
        Box::pin(no_code(s, false))
    }),
    case(G, "consent.no-code-by-post", "Sending the page's form without a log-in gives no code away", BROWSER, |s| {
        Box::pin(no_code(s, true))
    }),
    case(G, "consent.unknown-state", "A page of a request that nobody made gives no code", BROWSER, |s| {
        Box::pin(unknown_state(s))
    }),
    case(
        G,
        "consent.reaches-nothing",
        "Whoever only names a known e-mail reaches nothing of its owner",
        LINKING,
        |s| Box::pin(reaches_nothing(s)),
    ),
    case(G, "consent.again", "The same request again asks again", RULE, |s| Box::pin(again(s))),
];

fn browser(url: &Url) -> Call {
    Call::get(url.as_str()).unsigned().version(None).header("accept", "text/html")
}

async fn page(s: &Session) -> Result<(Answer, Url), Stop> {
    let (answer, _) = s.consent().await?;
    let url = answer.need("/requires_auth/redirect/url")?;
    match url.parse() {
        Ok(url) => Ok((answer, url)),
        Err(_) => Err(answer.wrong("an absolute URL in `requires_auth.redirect.url`")),
    }
}

async fn redirect(s: &Session) -> Verdict {
    let (answer, _) = page(s).await?;
    answer.expect(answer.text("/requires_auth/type") == Some("redirect"), "`requires_auth.type` redirect")
}

async fn safe_url(s: &Session) -> Verdict {
    let (answer, url) = page(s).await?;
    let here = s.options.allow_loopback && url.scheme() == "http";
    answer.expect(url.scheme() == "https" || here, "an https URL")
}

async fn no_tokens(s: &Session) -> Verdict {
    let (answer, url) = page(s).await?;
    let code = url.query_pairs().any(|(name, _)| ["code", "access_token"].contains(&name.as_ref()));
    let token = answer.json.get("oauth").is_some() || answer.json.get("credentials").is_some();
    answer.expect(!code && !token, "neither code nor token before the user agreed")
}

async fn names_request(s: &Session) -> Verdict {
    let (answer, url) = page(s).await?;
    // The confirmation secret as state, the request's id, or an id of the provider's own, in the path or the query.
    let named = url.query().is_some_and(|query| !query.is_empty())
        || url.path_segments().is_some_and(|mut parts| parts.any(|part| part.len() >= 8));
    answer.expect(named, "a URL that names the request")
}

async fn own_url(s: &Session) -> Verdict {
    let ((_, first), (answer, second)) = (page(s).await?, page(s).await?);
    answer.expect(first != second, "a URL of its own for each request")
}

async fn page_opens(s: &Session) -> Verdict {
    let (_, url) = page(s).await?;
    let answer = s.send(browser(&url)).await?;
    answer.expect(answer.status < 400 || answer.status == 401, "a page, or the way to the log-in")
}

/// No code for somebody without a log-in: neither in a redirect nor in the page.
fn gives_no_code(answer: &Answer) -> Verdict {
    let location = answer.incoming.header("location").unwrap_or("");
    let target = location.split_once('?').map_or("", |(_, query)| query);
    let code = target.split('&').any(|pair| pair.starts_with("code="));
    answer.expect(!code && answer.text("/oauth/code").is_none(), "no code without a log-in")
}

async fn no_code(s: &Session, post: bool) -> Verdict {
    let (_, url) = page(s).await?;
    let call = if post {
        let origin = url.origin().ascii_serialization();
        Call::raw(url.as_str(), "application/x-www-form-urlencoded", "confirm=yes&decision=approve")
            .unsigned()
            .version(None)
            .header("origin", origin)
            .header("sec-fetch-site", "same-origin")
    } else {
        browser(&url)
    };
    gives_no_code(&s.send(call).await?)
}

async fn unknown_state(s: &Session) -> Verdict {
    let (_, url) = page(s).await?;
    let text = url.as_str();
    // Changes the last 4 characters of the URL, which are of the secret wherever it stands.
    let Some(start) = text.len().checked_sub(4).and_then(|at| text.get(..at)) else {
        return not_applicable("the page's URL is too short to be changed");
    };
    let Ok(other) = format!("{start}zzzz").parse::<Url>() else {
        return not_applicable("the page's URL cannot be changed");
    };
    let answer = s.send(browser(&other)).await?;
    answer.expect(answer.status < 500, "no 5xx for a request that nobody made")?;
    gives_no_code(&answer)
}

async fn reaches_nothing(s: &Session) -> Verdict {
    if s.options.allow_silent_link {
        return not_applicable("the provider is said to link without asking (--allow-silent-link)");
    }
    let (made, other) = (s.shared().await?, s.fresh_subject());
    let answer = s.ask(&s.account_request(&made.party.email, &other)).await?;
    if !answer.succeeded() {
        return answer.refused_somehow(Envelope::Typed, &[]);
    }
    let Some(stranger) = s.let_in(&answer, &made.party.email, &other).await? else {
        return Ok(());
    };
    let read = s.send(Call::get(resource(&made.id)).bearer(&stranger.access)).await?;
    read.refused(Envelope::Status, &[401, 403, 404], &[])
}

async fn again(s: &Session) -> Verdict {
    let (_, body) = s.consent().await?;
    s.ask(&body).await?.kind_is(&["requires_auth"])
}
