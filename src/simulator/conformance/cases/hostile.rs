//! What nobody should send: every refusal is in the protocol's own form, and nothing breaks.

use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{ACCOUNT_REQUESTS, Call, DEEP_LINKS, RESOURCES, SERVICES, TOKEN, resource};
use super::super::case::{Case, Group::Hostile as G, Stop, Verdict, case};
use super::super::session::Session;

const FRAMEWORK: &str = "APP 0.1d, error envelopes, also for the framework's own refusals";
const INPUT: &str = "APP 0.1d, error envelopes; RFC 8259";
const IDS: &str = "APP 0.1d, ids are opaque texts; invalid_resource_id";

pub(super) const CASES: &[Case] = &[
    case(G, "hostile.unknown-path", "A path that does not exist is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(framework(s, Call::get("/provisioning/conform-nowhere"), &[404]))
    }),
    case(G, "hostile.unknown-verb", "An unknown verb on a resource is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(unknown_verb(s))
    }),
    case(G, "hostile.method-services", "DELETE on the catalog is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(framework(s, Call::delete(SERVICES), &[404, 405]))
    }),
    case(G, "hostile.method-accounts", "GET on account requests is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(framework(s, Call::get(ACCOUNT_REQUESTS), &[404, 405]))
    }),
    case(G, "hostile.method-resources", "DELETE on resources is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(method_resources(s))
    }),
    case(
        G,
        "hostile.text-body",
        "A body that says it is plain text is refused or read, in an envelope",
        FRAMEWORK,
        |s| Box::pin(account_body(s, "text/plain", b"hello")),
    ),
    case(G, "hostile.xml-body", "XML is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(account_body(
            s,
            "application/xml",
            b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
        ))
    }),
    case(G, "hostile.form-body", "A form in place of JSON is refused in an envelope", FRAMEWORK, |s| {
        Box::pin(account_body(s, "application/x-www-form-urlencoded", b"email=a%40example.com"))
    }),
    case(G, "hostile.malformed-account", "Malformed JSON is refused in the envelope of account requests", INPUT, |s| {
        Box::pin(account_json(s, b"{\"email\": "))
    }),
    case(G, "hostile.malformed-resource", "Malformed JSON is refused in the envelope of resources", INPUT, |s| {
        Box::pin(malformed_resource(s))
    }),
    case(G, "hostile.malformed-deep-link", "Malformed JSON is refused in the envelope of deep links", INPUT, |s| {
        Box::pin(malformed_deep_link(s))
    }),
    case(G, "hostile.malformed-form", "A malformed form is refused as OAuth says", "RFC 6749 §5.2", |s| {
        Box::pin(malformed_form(s))
    }),
    case(G, "hostile.empty-body", "An empty body is refused in an envelope", INPUT, |s| Box::pin(account_json(s, b""))),
    case(G, "hostile.array-body", "An array is refused in an envelope", INPUT, |s| Box::pin(account_json(s, b"[1,2]"))),
    case(G, "hostile.null-body", "null is refused in an envelope", INPUT, |s| Box::pin(account_json(s, b"null"))),
    case(G, "hostile.not-utf8", "Bytes that are no UTF-8 are refused in an envelope", INPUT, |s| {
        Box::pin(account_json(s, b"{\"email\": \"\xff\xfe@example.com\"}"))
    }),
    case(G, "hostile.deep", "Ten thousand nested arrays break nothing", INPUT, |s| Box::pin(deep(s))),
    case(G, "hostile.surrogate", "Half of a surrogate pair breaks nothing", INPUT, |s| {
        Box::pin(account_json(s, br#"{"email": "\ud800@example.com"}"#))
    }),
    case(G, "hostile.email-number", "A number as e-mail is refused", INPUT, |s| Box::pin(email(s, json!(42)))),
    case(G, "hostile.email-list", "A list as e-mail is refused", INPUT, |s| {
        Box::pin(email(s, json!(["a@example.com"])))
    }),
    case(G, "hostile.email-object", "An object as e-mail is refused", INPUT, |s| {
        Box::pin(email(s, json!({"$ne": ""})))
    }),
    case(G, "hostile.email-zero", "A zero character in the e-mail is refused", INPUT, |s| {
        Box::pin(email(s, json!("a\u{0}b@example.com")))
    }),
    case(G, "hostile.email-long", "An e-mail of ten thousand characters is refused", INPUT, |s| {
        Box::pin(email(s, json!(format!("{}@example.com", "a".repeat(10_000)))))
    }),
    case(G, "hostile.name-markup", "Markup in the name breaks nothing", INPUT, |s| {
        Box::pin(member(s, "name", json!("<script>alert(1)</script>'\"; DROP TABLE users; --")))
    }),
    case(G, "hostile.name-control", "Control characters in the name break nothing", INPUT, |s| {
        Box::pin(member(s, "name", json!("a\u{0}b\u{1b}[2J\u{202e}c")))
    }),
    case(G, "hostile.name-long", "A name of fifty thousand characters breaks nothing", INPUT, |s| {
        Box::pin(member(s, "name", json!("n".repeat(50_000))))
    }),
    case(G, "hostile.scopes-wrong", "Scopes of the wrong type break nothing", INPUT, |s| {
        Box::pin(member(s, "scopes", json!({"a": 1})))
    }),
    case(G, "hostile.expiry-huge", "A year beyond every calendar breaks nothing", INPUT, |s| {
        Box::pin(member(s, "expires_at", json!("+999999999-01-01T00:00:00Z")))
    }),
    case(G, "hostile.expiry-number", "A number as end breaks nothing", INPUT, |s| {
        Box::pin(member(s, "expires_at", json!(1e300)))
    }),
    case(G, "hostile.secret-wrong", "A confirmation secret with markup breaks nothing", INPUT, |s| {
        Box::pin(member(s, "confirmation_secret", json!("\"><img src=x onerror=alert(1)>\r\n&state=x")))
    }),
    case(G, "hostile.service-object", "An object as service is refused", INPUT, |s| {
        Box::pin(creation(s, "service_id", json!({"$gt": ""})))
    }),
    case(G, "hostile.service-sql", "A service with quotes is refused", INPUT, |s| {
        Box::pin(creation(s, "service_id", json!("' OR '1'='1")))
    }),
    case(G, "hostile.configuration-text", "A text as configuration is refused", INPUT, |s| {
        Box::pin(creation(s, "configuration", json!("region=eu")))
    }),
    case(G, "hostile.project-zero", "A zero character in the project breaks nothing", INPUT, |s| {
        Box::pin(project_zero(s))
    }),
    case(G, "hostile.id-traversal", "An id that climbs out is refused", IDS, |s| Box::pin(id(s, "../../etc/passwd"))),
    case(G, "hostile.id-zero", "An id with a zero character is refused", IDS, |s| Box::pin(id(s, "a\u{0}b"))),
    case(G, "hostile.id-unicode", "An id in another script is refused", IDS, |s| Box::pin(id(s, "٣٤٥-資源"))),
    case(G, "hostile.id-sql", "An id with quotes is refused", IDS, |s| Box::pin(id(s, "1' OR '1'='1"))),
    case(G, "hostile.id-long", "An id of two thousand characters is refused", IDS, |s| {
        Box::pin(async move { id(s, &"9".repeat(2000)).await })
    }),
    case(G, "hostile.id-huge", "A number beyond every integer as id is refused", IDS, |s| {
        Box::pin(id(s, "99999999999999999999999999999999999999"))
    }),
    case(G, "hostile.bearer-long", "A bearer of six thousand characters is refused", INPUT, |s| {
        Box::pin(bearer_long(s))
    }),
    case(G, "hostile.refusals-are-json", "Refusals say that they are JSON", FRAMEWORK, |s| {
        Box::pin(refusals_are_json(s))
    }),
    case(G, "hostile.tells-nothing", "A refusal shows no trace of the inside", "CWE-209", |s| {
        Box::pin(tells_nothing(s))
    }),
];

/// Refused by whatever stands before the endpoint, but in the protocol's form.
async fn framework(s: &Session, call: Call, statuses: &[u16]) -> Verdict {
    let answer = s.send(call).await?;
    // Some say first who is asking.
    let statuses: Vec<u16> = statuses.iter().copied().chain([401]).collect();
    answer.refused(Envelope::Any, &statuses, &[])
}

async fn unknown_verb(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let call = Call::post(super::super::call::resource_verb(&made.id, "conform-explode"), &json!({}));
    framework(s, call.bearer(&made.party.access), &[404, 405]).await
}

async fn method_resources(s: &Session) -> Verdict {
    let made = s.shared().await?;
    framework(s, Call::delete(resource(&made.id)).bearer(&made.party.access), &[404, 405]).await
}

async fn account_body(s: &Session, content_type: &str, body: &'static [u8]) -> Verdict {
    let answer = s.send(Call::raw(ACCOUNT_REQUESTS, content_type, body)).await?;
    answer.refused(Envelope::Flat, &[400, 415, 422], &[])
}

async fn account_json(s: &Session, body: &'static [u8]) -> Verdict {
    let answer = s.send(Call::raw(ACCOUNT_REQUESTS, "application/json", body)).await?;
    // An unreadable body may be told before the endpoint is known, in the flat envelope.
    answer.refused(Envelope::Flat, &[400, 413, 422], &[])
}

async fn malformed_resource(s: &Session) -> Verdict {
    let token = &s.party().await?.access;
    let answer = s.send(Call::raw(RESOURCES, "application/json", "{\"service_id\": ").bearer(token)).await?;
    answer.refused(Envelope::Flat, &[400, 422], &[])
}

async fn malformed_deep_link(s: &Session) -> Verdict {
    let token = &s.party().await?.access;
    let answer = s.send(Call::raw(DEEP_LINKS, "application/json", "]").bearer(token)).await?;
    answer.refused(Envelope::Flat, &[400, 422], &[])
}

async fn malformed_form(s: &Session) -> Verdict {
    let call =
        Call::raw(TOKEN, "application/x-www-form-urlencoded", b"grant_type=%ff%fe&&&=%%%".to_vec()).version(None);
    s.send(call).await?.refused(Envelope::OAuth, &[400, 401], &[])
}

async fn deep(s: &Session) -> Verdict {
    let depth = 10_000;
    let body =
        format!("{{\"email\": \"a@example.com\", \"configuration\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    let answer = s.send(Call::raw(ACCOUNT_REQUESTS, "application/json", body)).await?;
    answer.survives()
}

async fn email(s: &Session, value: Value) -> Verdict {
    let mut body = s.new_request();
    body["email"] = value;
    s.ask(&body).await?.refused(Envelope::Typed, &[400, 413, 422], &[])
}

async fn member(s: &Session, name: &str, value: Value) -> Verdict {
    let mut body = s.new_request();
    body[name] = value;
    s.ask(&body).await?.survives()
}

async fn creation(s: &Session, name: &str, value: Value) -> Verdict {
    let party = s.party().await?;
    let mut body = s.create_body(s.usable().await?, party);
    body[name] = value;
    s.try_create(&body, party).await?.refused_somehow(Envelope::Status, &[])
}

async fn project_zero(s: &Session) -> Verdict {
    let party = s.party().await?;
    let mut body = s.create_body(s.usable().await?, party);
    body["project_id"] = json!("a\u{0}\u{202e}b");
    s.try_create(&body, party).await?.survives()
}

async fn read_odd(s: &Session, id: &str) -> Result<Answer, Stop> {
    let token = &s.party().await?.access;
    s.send(Call::get(resource(id)).bearer(token)).await
}

async fn id(s: &Session, id: &str) -> Verdict {
    let answer = read_odd(s, id).await?;
    answer.refused(Envelope::Any, &[400, 403, 404, 414], &[])
}

async fn bearer_long(s: &Session) -> Verdict {
    let call = Call::get(resource("conform-no-such-resource")).bearer(&"a".repeat(6000));
    s.send(call).await?.refused(Envelope::Any, &[400, 401, 431], &[])
}

async fn refusals_are_json(s: &Session) -> Verdict {
    for call in
        [Call::get(SERVICES).unsigned(), Call::get("/provisioning/conform-nowhere"), Call::post(RESOURCES, &json!({}))]
    {
        let answer = s.send(call).await?;
        let json = answer.incoming.header("content-type").is_some_and(|kind| kind.contains("json"));
        answer.expect(answer.status < 400 || json, "`Content-Type: application/json`")?;
    }
    Ok(())
}

async fn tells_nothing(s: &Session) -> Verdict {
    let mut body = s.new_request();
    body["email"] = json!({"$where": "'"});
    for answer in [s.ask(&body).await?, read_odd(s, "'\"\\").await?] {
        let text = String::from_utf8_lossy(&answer.incoming.body).to_lowercase();
        let traces =
            ["traceback", "stack trace", "panicked at", "at line ", "sqlstate", "select ", "/home/", ".rs:", ".py\""];
        let trace = traces.iter().find(|trace| text.contains(*trace) && **trace != "at line ");
        answer.expect(trace.is_none() && answer.status < 500, "a refusal without query, path or stack")?;
    }
    Ok(())
}
