//! The same request twice has one effect.

use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{ACCOUNT_REQUESTS, Call, RESOURCES, Signing};
use super::super::case::{Case, Group::Idempotency as G, Stop, Verdict, case, not_applicable};
use super::super::party::Party;
use super::super::session::Session;

const KEY: &str = "APP 0.1d, Idempotency-Key; draft-ietf-httpapi-idempotency-key-header";
const FALLBACK: &str = "APP 0.1d, creation: orchestrator_resource_id, else project_id and service_id";
const REPLAY: &str = "APP 0.1d, request signature: a replay inside of 300 s is executed once";

pub(super) const CASES: &[Case] = &[
    case(G, "idempotency.same-key", "The same creation under the same key is one resource", KEY, |s| {
        Box::pin(same_key(s))
    }),
    case(G, "idempotency.same-answer", "The retry gets an answer of success", KEY, |s| Box::pin(same_answer(s))),
    case(G, "idempotency.other-content", "Another creation under the same key makes no second resource", KEY, |s| {
        Box::pin(other_content(s))
    }),
    case(G, "idempotency.other-account", "Two accounts may use the same key", KEY, |s| Box::pin(other_account(s))),
    case(G, "idempotency.failed-first", "A refused creation does not use its key up", KEY, |s| {
        Box::pin(failed_first(s))
    }),
    case(G, "idempotency.orchestrator-id", "Without a key, the orchestrator's own id is the key", FALLBACK, |s| {
        Box::pin(without_key(s, &[]))
    }),
    case(G, "idempotency.project", "Without that, project and service are the key", FALLBACK, |s| {
        Box::pin(without_key(s, &["orchestrator_resource_id"]))
    }),
    case(G, "idempotency.other-orchestrator-id", "Another id of the orchestrator is another resource", FALLBACK, |s| {
        Box::pin(other_orchestrator_id(s))
    }),
    case(G, "idempotency.replay", "The same bytes again are executed once", REPLAY, |s| Box::pin(replay(s))),
    case(G, "idempotency.replayed-account", "The same account request again opens no second account", REPLAY, |s| {
        Box::pin(replayed_account(s))
    }),
    case(G, "idempotency.long-key", "A key of 5000 characters breaks nothing", KEY, |s| {
        Box::pin(odd_key(s, "k".repeat(5000)))
    }),
    case(G, "idempotency.odd-key", "A key with odd characters breaks nothing", KEY, |s| {
        Box::pin(odd_key(s, "'\"; drop \\ %00 {}".to_owned()))
    }),
];

/// Somebody who may have more than one, and a right body.
async fn ready(s: &Session) -> Result<(Party, Value), Stop> {
    let service = s.usable().await?;
    if !service.needs_parent().is_empty() || !service.can_be_free() {
        return not_applicable("the usable service needs a parent or payment");
    }
    let party = if service.at_most().is_none() { s.party().await?.clone() } else { s.open().await? };
    let body = s.create_body(service, &party);
    Ok((party, body))
}

fn one_resource(first: &Answer, second: &Answer) -> Verdict {
    first.kind_is(&["complete", "pending"])?;
    second.kind_is(&["complete", "pending"])?;
    second.expect(first.text("/id") == second.text("/id"), "the resource of the first answer, not a second one")
}

async fn same_key(s: &Session) -> Verdict {
    let (party, body) = ready(s).await?;
    let call = Session::create(&body, &party, &s.name());
    let (first, second) = (s.send(call.clone()).await?, s.send(call).await?);
    one_resource(&first, &second)
}

async fn same_answer(s: &Session) -> Verdict {
    let (party, body) = ready(s).await?;
    let call = Session::create(&body, &party, &s.name());
    let (first, second) = (s.send(call.clone()).await?, s.send(call).await?);
    first.kind_is(&["complete", "pending"])?;
    let new = second.access().into_iter().find(|value| !first.access().contains(value));
    second.expect(second.succeeded() && new.is_none(), "success, and no secret that the first answer did not give")
}

async fn other_content(s: &Session) -> Verdict {
    let (party, body) = ready(s).await?;
    let key = s.name();
    let first = s.send(Session::create(&body, &party, &key)).await?;
    first.kind_is(&["complete", "pending"])?;
    let mut other = body.clone();
    other["environment"] = json!("dev");
    other["actor"] = json!({"email": "someone.else@example.com"});
    let second = s.send(Session::create(&other, &party, &key)).await?;
    if second.succeeded() {
        return second.expect(first.text("/id") == second.text("/id"), "a refusal, or the first resource");
    }
    second.refused(Envelope::Status, &[400, 409, 422], &[])
}

async fn other_account(s: &Session) -> Verdict {
    let (party, body) = ready(s).await?;
    let key = s.name();
    let first = s.send(Session::create(&body, &party, &key)).await?;
    first.kind_is(&["complete", "pending"])?;
    let stranger = s.open().await?;
    let mut other = body.clone();
    other["project_id"] = json!(s.name());
    other["orchestrator_resource_id"] = json!(s.name());
    let second = s.send(Session::create(&other, &stranger, &key)).await?;
    second.kind_is(&["complete", "pending"])?;
    let told = !first.access().is_empty() && first.access() == second.access();
    second.expect(first.text("/id") != second.text("/id") && !told, "a resource of the second account's own")
}

async fn failed_first(s: &Session) -> Verdict {
    let (party, body) = ready(s).await?;
    let mut wrong = body.clone();
    wrong["service_id"] = json!("conform-no-such-service");
    let refused = s.try_create(&wrong, &party).await?;
    refused.refused_somehow(Envelope::Status, &[])?;
    // The same project and orchestrator's id, now right, under a key of its own.
    s.try_create(&body, &party).await?.kind_is(&["complete", "pending"])
}

async fn without_key(s: &Session, without: &[&str]) -> Verdict {
    let (party, mut body) = ready(s).await?;
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| !without.contains(&name.as_str()));
    }
    let first = s.send(Call::post(RESOURCES, &body).bearer(&party.access)).await?;
    // Another second, another signature: only the content says that it is the same.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let second = s.send(Call::post(RESOURCES, &body).bearer(&party.access)).await?;
    if s.options.profile.tolerant() && without.is_empty() && first.succeeded() && second.status == 409 {
        return Ok(());
    }
    one_resource(&first, &second)
}

async fn other_orchestrator_id(s: &Session) -> Verdict {
    let (party, body) = ready(s).await?;
    let mut other = body.clone();
    other["orchestrator_resource_id"] = json!(s.name());
    other["project_id"] = json!(s.name());
    let first = s.send(Call::post(RESOURCES, &body).bearer(&party.access)).await?;
    let second = s.send(Call::post(RESOURCES, &other).bearer(&party.access)).await?;
    first.kind_is(&["complete", "pending"])?;
    if s.usable().await?.at_most().is_some() {
        return second.survives();
    }
    second.kind_is(&["complete", "pending"])?;
    second.expect(first.text("/id") != second.text("/id"), "a resource of its own")
}

/// A call with its signatures fixed, as somebody who captured it would send it again.
fn captured(s: &Session, mut call: Call) -> Result<Call, Stop> {
    if s.signs().is_err() {
        return Ok(call);
    }
    call.hmac = Signing::Text(s.signature(&call.body, 0)?);
    if let Some(key) = &s.v2_key {
        call.v2 = key.sign(&s.v2_claims(&call)).map_or(Signing::None, Signing::Text);
    }
    Ok(call)
}

async fn replay(s: &Session) -> Verdict {
    let (party, mut body) = ready(s).await?;
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| name != "orchestrator_resource_id");
    }
    let call = captured(s, Call::post(RESOURCES, &body).bearer(&party.access))?;
    let (first, second) = (s.send(call.clone()).await?, s.send(call).await?);
    first.kind_is(&["complete", "pending"])?;
    if !second.succeeded() {
        return second.refused_somehow(Envelope::Any, &[]);
    }
    second.expect(first.text("/id") == second.text("/id"), "the resource of the first answer, or a refusal")
}

async fn replayed_account(s: &Session) -> Verdict {
    let body = s.new_request();
    let call = captured(s, Call::post(ACCOUNT_REQUESTS, &body))?;
    let (first, second) = (s.send(call.clone()).await?, s.send(call).await?);
    let (email, subject) = (body["email"].as_str().unwrap_or(""), "");
    let one = s.let_in(&first, email, subject).await?;
    if !second.succeeded() {
        return second.refused_somehow(Envelope::Any, &[]);
    }
    // The retry may repeat the code that the first answer gave, which is used by now.
    if second.text("/oauth/code").is_some() && second.text("/oauth/code") == first.text("/oauth/code") {
        return Ok(());
    }
    match (one, s.let_in(&second, email, subject).await?) {
        (Some(one), Some(two)) => second.expect(one.account == two.account, "the account of the first answer"),
        _ => Ok(()),
    }
}

async fn odd_key(s: &Session, key: String) -> Verdict {
    let (party, body) = ready(s).await?;
    s.send(Session::create(&body, &party, &key)).await?.survives()
}
