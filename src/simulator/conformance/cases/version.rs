//! The header `API-Version`.

use serde_json::json;

use super::super::answer::Envelope;
use super::super::call::{ACCOUNT_REQUESTS, Call, HEALTH, RESOURCES, SERVICES, VERSION, resource};
use super::super::case::{Case, Group::Version as G, Verdict, case};
use super::super::session::Session;

const RULE: &str = "APP 0.1d, API-Version";
const ORDER: &str = "APP 0.1d, order of checks";

pub(super) const CASES: &[Case] = &[
    case(G, "version.good", "The version 0.1d is accepted", RULE, |s| Box::pin(good(s))),
    case(G, "version.missing", "A call without a version is refused", RULE, |s| {
        Box::pin(refused(s, any(s).version(None)))
    }),
    case(G, "version.unknown", "An unknown version is refused", RULE, |s| {
        Box::pin(refused(s, any(s).version(Some("9.9z"))))
    }),
    case(G, "version.empty", "An empty version is refused", RULE, |s| Box::pin(refused(s, any(s).version(Some(""))))),
    case(G, "version.prefix", "A version that only begins like ours is refused", RULE, |s| {
        Box::pin(refused(s, any(s).version(Some("0.1d-beta"))))
    }),
    case(G, "version.names-supported", "The refusal names the version that is supported", RULE, |s| {
        Box::pin(names_supported(s))
    }),
    case(G, "version.on-health", "Health wants a version too", RULE, |s| Box::pin(on_health(s))),
    case(G, "version.on-account-requests", "An account request wants a version", RULE, |s| {
        Box::pin(refused(s, Call::post(ACCOUNT_REQUESTS, &s.new_request()).version(None)))
    }),
    case(G, "version.on-create", "A creation wants a version", RULE, |s| Box::pin(on_create(s))),
    case(G, "version.on-read", "A read wants a version", RULE, |s| Box::pin(on_read(s))),
    case(G, "version.signature-first", "A bad signature is told before a bad version", ORDER, |s| {
        Box::pin(signature_first(s))
    }),
    case(G, "version.not-on-token", "The token endpoint asks for no version", RULE, |s| Box::pin(not_on_token(s))),
];

/// A right call: for the catalog, or where it cannot be read, for an account.
fn any(s: &Session) -> Call {
    match s.reads_catalog() {
        Ok(()) => Call::get(SERVICES),
        Err(_) => Call::post(ACCOUNT_REQUESTS, &s.new_request()),
    }
}

async fn good(s: &Session) -> Verdict {
    s.send(any(s)).await?.is(200)
}

async fn on_health(s: &Session) -> Verdict {
    s.reads_catalog()?;
    refused(s, Call::get(HEALTH).version(None)).await
}

async fn refused(s: &Session, call: Call) -> Verdict {
    s.send(call).await?.refused(Envelope::Flat, &[400], &["invalid_api_version"])
}

async fn names_supported(s: &Session) -> Verdict {
    let answer = s.send(any(s).version(Some("0.0a"))).await?;
    let named = answer.text("/error/message").is_some_and(|message| message.contains(VERSION));
    answer.expect(named, format!("a message that names `{VERSION}`"))
}

async fn on_create(s: &Session) -> Verdict {
    let party = s.party().await?;
    let body = s.create_body(s.usable().await?, party);
    refused(s, Call::post(RESOURCES, &body).bearer(&party.access).version(None)).await
}

async fn on_read(s: &Session) -> Verdict {
    let made = s.shared().await?;
    refused(s, Call::get(resource(&made.id)).bearer(&made.party.access).version(Some("1"))).await
}

async fn signature_first(s: &Session) -> Verdict {
    s.signs()?;
    let answer = s.send(Call::get(SERVICES).unsigned().version(None)).await?;
    answer.refused(Envelope::Flat, &[401], &["invalid_signature"])
}

async fn not_on_token(s: &Session) -> Verdict {
    let answer = s.send(s.refresh("rt_conform_unknown")).await?;
    let asks = answer.text("/error/code") == Some("invalid_api_version")
        || answer.json.get("error") == Some(&json!("invalid_api_version"));
    answer.expect(!asks, "no refusal for the version: the token endpoint is called without one")
}
