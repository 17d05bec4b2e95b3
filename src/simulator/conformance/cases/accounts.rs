//! Account requests: who gets an account, and what a request must say.

use serde_json::{Value, json};

use super::super::answer::Envelope;
use super::super::case::{Case, Group::Accounts as G, Verdict, case, not_applicable};
use super::super::session::Session;

const RULE: &str = "APP 0.1d, POST /provisioning/account_requests";
const ANSWER: &str = "APP 0.1d, POST /provisioning/account_requests: answers";
const EXPIRY: &str = "APP 0.1d, account request: expires_at";
const LINKING: &str = "APP 0.1d, account request: an existing user consents; account takeover by e-mail";
const PKCE: &str = "RFC 7636 §4.2, §4.3";
const OPEN_WORLD: &str = "APP 0.1d, unknown members are ignored, null is absence";

/// Changes a right request.
type Change = fn(&Session, &mut Value);

pub(super) const CASES: &[Case] = &[
    case(G, "accounts.new-user", "A new user gets a code, credentials, or is asked", ANSWER, |s| Box::pin(new_user(s))),
    case(G, "accounts.opens", "The answer to a new user lets them in", ANSWER, |s| Box::pin(opens(s))),
    case(G, "accounts.echo", "The answer repeats the id of the request, if it names one", ANSWER, |s| {
        Box::pin(echo(s))
    }),
    case(G, "accounts.again", "The same user again gets the same account", RULE, |s| Box::pin(again(s))),
    case(G, "accounts.email-case", "The case of an e-mail's domain makes no second account", RULE, |s| {
        Box::pin(email_case(s))
    }),
    case(G, "accounts.two-users", "Two users get two accounts", RULE, |s| Box::pin(two_users(s))),
    case(
        G,
        "accounts.no-silent-link",
        "Another identity with a known e-mail is not let into that account",
        LINKING,
        |s| Box::pin(no_silent_link(s)),
    ),
    case(G, "accounts.existing-user", "A user who was here before the orchestrator is asked", LINKING, |s| {
        Box::pin(existing_user(s))
    }),
    case(G, "accounts.nulls", "null for every optional member is accepted", OPEN_WORLD, |s| {
        Box::pin(accepted(s, |_, body| {
            for name in ["name", "phone", "country", "kyc", "actor", "configuration"] {
                body[name] = Value::Null;
            }
        }))
    }),
    case(G, "accounts.unknown-members", "Unknown members are ignored", OPEN_WORLD, |s| {
        Box::pin(accepted(s, |_, body| {
            body["x_future"] = json!({"deep": [1, null, "two"]});
            body["configuration"] = json!({"x_unknown_key": "kept out"});
        }))
    }),
    case(G, "accounts.kyc", "Verified facts about the user are accepted", RULE, |s| {
        Box::pin(accepted(s, |_, body| {
            body["country"] = json!("US");
            body["phone"] = json!("+15550100");
            body["kyc"] = json!({"verified_fields": ["email", "name", "phone", "country"]});
            body["actor"] = json!({"email": "dana@example.com", "ip_address": "203.0.113.7"});
        }))
    }),
    case(G, "accounts.no-capabilities", "A user without a browser is accepted", RULE, |s| {
        Box::pin(accepted(s, |_, body| body["client_capabilities"] = json!([])))
    }),
    case(G, "accounts.unicode-name", "A name in any script is accepted", RULE, |s| {
        Box::pin(accepted(s, |_, body| body["name"] = json!("Þóra Łukasiewicz 李雷")))
    }),
    case(
        G,
        "accounts.organisation",
        "The old spelling `organisation` is accepted",
        "APP 0.1d before 2026-04-01",
        |s| Box::pin(spelling(s, "organisation")),
    ),
    case(G, "accounts.organization", "The new spelling `organization` is accepted", "APP 0.1d since 2026-04-01", |s| {
        Box::pin(spelling(s, "organization"))
    }),
    case(
        G,
        "accounts.no-organization",
        "A user without an organization is accepted",
        "APP 0.1d since 2026-04-01",
        |s| Box::pin(spelling(s, "")),
    ),
    case(G, "accounts.no-email", "A request without an e-mail is refused", RULE, |s| {
        Box::pin(refused(s, |_, body| drop(body.as_object_mut().and_then(|body| body.remove("email")))))
    }),
    case(G, "accounts.null-email", "null for the e-mail is refused", RULE, |s| {
        Box::pin(refused(s, |_, body| body["email"] = Value::Null))
    }),
    case(G, "accounts.empty-email", "An empty e-mail is refused", RULE, |s| {
        Box::pin(refused(s, |_, body| body["email"] = json!("")))
    }),
    case(G, "accounts.no-address", "An e-mail that is no address is refused", RULE, |s| {
        Box::pin(refused(s, |_, body| body["email"] = json!("nobody")))
    }),
    case(G, "accounts.two-addresses", "Two addresses in one are refused", LINKING, |s| {
        Box::pin(refused(s, |s, body| body["email"] = json!(format!("{}, {}", s.fresh_email(), s.fresh_email()))))
    }),
    case(G, "accounts.line-in-email", "A line end in the e-mail is refused", LINKING, |s| {
        Box::pin(refused(s, |s, body| body["email"] = json!(format!("{}\r\nBcc: x@example.com", s.fresh_email()))))
    }),
    case(G, "accounts.expired", "An expired request is refused", EXPIRY, |s| Box::pin(expired(s, |s| s.at(-60)))),
    case(
        G,
        "accounts.expired-without-offset",
        "An end without an offset is UTC, and over when it is over",
        EXPIRY,
        |s| Box::pin(expired(s, |s| s.at(-60).trim_end_matches('Z').to_owned())),
    ),
    case(G, "accounts.expired-with-offset", "An end in another zone is over when it is over", EXPIRY, |s| {
        // Two hours ahead on the wall there, an hour ago here.
        Box::pin(expired(s, |s| format!("{}+03:00", s.at(7200).trim_end_matches('Z'))))
    }),
    case(G, "accounts.offset", "An end in another zone that is still to come is accepted", EXPIRY, |s| {
        Box::pin(accepted(s, |s, body| {
            body["expires_at"] = json!(format!("{}+02:00", s.at(7800).trim_end_matches('Z')));
        }))
    }),
    case(G, "accounts.impossible-date", "A date that does not exist is refused", EXPIRY, |s| {
        Box::pin(refused(s, |_, body| body["expires_at"] = json!("2031-13-01T00:00:00Z")))
    }),
    case(G, "accounts.no-date", "An end that is no date is refused", EXPIRY, |s| {
        Box::pin(refused(s, |_, body| body["expires_at"] = json!("tomorrow")))
    }),
    case(G, "accounts.no-orchestrator", "A request that names no orchestrator is refused", RULE, |s| {
        Box::pin(unattested(s, |_, body| drop(body.as_object_mut().and_then(|body| body.remove("orchestrator")))))
    }),
    case(G, "accounts.no-subject", "An orchestrator block without an account is refused", RULE, |s| {
        Box::pin(unattested(s, |s, body| {
            let kind = s.options.orchestrator_type.clone();
            body["orchestrator"] = json!({"type": kind, kind.as_str(): {}});
        }))
    }),
    case(G, "accounts.empty-subject", "An empty account is refused", RULE, |s| {
        Box::pin(unattested(s, |s, body| {
            let kind = s.options.orchestrator_type.clone();
            body["orchestrator"] = json!({"type": kind, kind.as_str(): {"account": ""}});
        }))
    }),
    case(G, "accounts.plain-challenge", "A challenge that hides nothing is refused", PKCE, |s| {
        Box::pin(refused(s, |_, body| {
            body["code_challenge"] = json!("a".repeat(43));
            body["code_challenge_method"] = json!("plain");
        }))
    }),
    case(G, "accounts.short-challenge", "A challenge of 42 characters is refused", PKCE, |s| {
        Box::pin(refused(s, |_, body| challenge(body, &"a".repeat(42))))
    }),
    case(G, "accounts.long-challenge", "A challenge of 129 characters is refused", PKCE, |s| {
        Box::pin(refused(s, |_, body| challenge(body, &"a".repeat(129))))
    }),
    case(G, "accounts.odd-challenge", "A challenge outside of base64url is refused", PKCE, |s| {
        Box::pin(refused(s, |_, body| challenge(body, &format!("{}+/=!", "a".repeat(40)))))
    }),
];

fn challenge(body: &mut Value, text: &str) {
    body["code_challenge"] = json!(text);
    body["code_challenge_method"] = json!("S256");
}

async fn new_user(s: &Session) -> Verdict {
    let answer = s.ask(&s.new_request()).await?;
    answer.kind_is(&["oauth", "credentials", "requires_auth", "needs_information"])?;
    let member = match answer.kind() {
        Some("oauth") => "/oauth/code",
        Some("credentials") => "/credentials/bearer/access_token",
        Some("requires_auth") => "/requires_auth/redirect/url",
        _ => {
            return answer
                .expect(answer.json.pointer("/needs_information/schema").is_some(), "a schema of what is needed");
        }
    };
    answer.need(member).map(drop)
}

async fn opens(s: &Session) -> Verdict {
    let party = s.party().await?;
    let (works, answer) = s.works(&party.access).await?;
    answer.expect(works, "that the access token of a new user works")
}

async fn echo(s: &Session) -> Verdict {
    let body = s.new_request();
    let answer = s.ask(&body).await?;
    answer.success()?;
    match answer.json.get("id") {
        None if s.options.profile.tolerant() => {
            not_applicable("the provider does not repeat the id, which it need not")
        }
        None => not_applicable("the answer names no id"),
        Some(id) => answer.expect(Some(id) == body.get("id"), "the `id` that was sent"),
    }
}

async fn again(s: &Session) -> Verdict {
    s.attests()?;
    let first = s.party().await?;
    let body = s.account_request(&first.email, &first.subject);
    let answer = s.ask(&body).await?;
    match s.let_in(&answer, &first.email, &first.subject).await? {
        // Asking again is safe, if tedious.
        None => Ok(()),
        Some(second) => answer.expect(second.account == first.account, "the account of before"),
    }
}

async fn email_case(s: &Session) -> Verdict {
    s.attests()?;
    let first = s.open().await?;
    let email = match first.email.split_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_uppercase()),
        None => return not_applicable("the e-mail has no domain"),
    };
    let answer = s.ask(&s.account_request(&email, &first.subject)).await?;
    match s.let_in(&answer, &email, &first.subject).await? {
        None => Ok(()),
        Some(second) => answer.expect(second.account == first.account, "the account of before"),
    }
}

async fn two_users(s: &Session) -> Verdict {
    let (first, second) = (s.party().await?, s.open().await?);
    if first.account.is_empty() {
        return not_applicable("the provider does not tell the account's id");
    }
    let (_, answer) = s.works(&second.access).await?;
    answer.expect(first.account != second.account && first.access != second.access, "an account of their own for each")
}

async fn no_silent_link(s: &Session) -> Verdict {
    if s.options.allow_silent_link {
        return not_applicable("the provider is said to link without asking (--allow-silent-link)");
    }
    let first = s.party().await?;
    let other = s.fresh_subject();
    let answer = s.ask(&s.account_request(&first.email, &other)).await?;
    if !answer.succeeded() {
        return answer.refused_somehow(Envelope::Typed, &[]);
    }
    match s.let_in(&answer, &first.email, &other).await? {
        None => Ok(()),
        Some(second) => answer.expect(
            !first.account.is_empty() && second.account != first.account,
            "`requires_auth`, or an account of its own: never the other's",
        ),
    }
}

async fn existing_user(s: &Session) -> Verdict {
    s.attests()?;
    let Some(email) = &s.options.existing_email else {
        return not_applicable("no existing user was named (--existing-email)");
    };
    if s.options.allow_silent_link {
        return not_applicable("the provider is said to link without asking (--allow-silent-link)");
    }
    let answer = s.ask(&s.account_request(email, &s.fresh_subject())).await?;
    answer.kind_is(&["requires_auth"])?;
    answer.need("/requires_auth/redirect/url").map(drop)
}

async fn accepted(s: &Session, change: Change) -> Verdict {
    let mut body = s.new_request();
    change(s, &mut body);
    s.ask(&body).await?.kind_is(&["oauth", "credentials", "requires_auth", "needs_information"])
}

async fn refused(s: &Session, change: Change) -> Verdict {
    let mut body = s.new_request();
    change(s, &mut body);
    s.ask(&body).await?.refused(Envelope::Typed, &[400, 422], &["invalid_request"])
}

async fn expired(s: &Session, at: fn(&Session) -> String) -> Verdict {
    let mut body = s.new_request();
    body["expires_at"] = json!(at(s));
    let codes = ["expired", "account_request_expired", "invalid_request"];
    s.ask(&body).await?.refused(Envelope::Typed, &[400, 410, 422], &codes)
}

async fn unattested(s: &Session, change: Change) -> Verdict {
    s.attests()?;
    refused(s, change).await
}

async fn spelling(s: &Session, name: &str) -> Verdict {
    s.attests()?;
    let (kind, subject) = (&s.options.orchestrator_type, s.fresh_subject());
    let mut whom = json!({"account": subject});
    if !name.is_empty() {
        whom[name] = json!("org_conformance");
    }
    let mut body = s.new_request();
    body["orchestrator"] = json!({"type": kind, kind.as_str(): whom});
    s.ask(&body).await?.kind_is(&["oauth", "credentials", "requires_auth", "needs_information"])
}
