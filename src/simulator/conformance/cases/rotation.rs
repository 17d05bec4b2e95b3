//! `rotate_credentials`: new values, the same resource.

use serde_json::json;

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, resource_verb};
use super::super::case::{Case, Group::Rotation as G, Stop, Verdict, case, not_applicable};
use super::super::making::Made;
use super::super::session::Session;

const RULE: &str = "APP 0.1d, POST …/:id/rotate_credentials";
const OWNER: &str = "APP 0.1d, order of checks: existence, then ownership";

pub(super) const CASES: &[Case] = &[
    case(G, "rotation.new-values", "A rotation gives new values", RULE, |s| Box::pin(new_values(s))),
    case(G, "rotation.same-names", "The names of the values stay", RULE, |s| Box::pin(same_names(s))),
    case(G, "rotation.same-resource", "It is still the same resource", RULE, |s| Box::pin(same_resource(s))),
    case(G, "rotation.twice", "Two rotations give two values", RULE, |s| Box::pin(twice(s))),
    case(G, "rotation.read-after", "A read after a rotation gives no old value", RULE, |s| Box::pin(read_after(s))),
    case(G, "rotation.foreign", "Another account's resource cannot be rotated", OWNER, |s| Box::pin(foreign(s))),
    case(G, "rotation.foreign-keeps", "A stranger's attempt changes nothing", OWNER, |s| Box::pin(foreign_keeps(s))),
    case(G, "rotation.unknown", "A resource that never was cannot be rotated", RULE, |s| Box::pin(unknown(s))),
    case(G, "rotation.removed", "A removed resource cannot be rotated", RULE, |s| Box::pin(removed(s))),
];

fn call(id: &str, token: &str) -> Call {
    Call::post(resource_verb(id, "rotate_credentials"), &json!({})).bearer(token)
}

/// A resource with values, rotated.
async fn rotated(s: &Session) -> Result<(Made, Answer), Stop> {
    let made = s.made().await?;
    if made.answer.access().is_empty() {
        return not_applicable("the usable service gives no values");
    }
    let answer = s.send(call(&made.id, &made.party.access)).await?;
    let refused = answer.refused(Envelope::Any, &[400, 404, 405, 409, 501], &[]).is_ok();
    let word = answer.text("/error/message").unwrap_or("").to_lowercase();
    if refused && (answer.status == 501 || word.contains("not supported") || word.contains("unsupported")) {
        return not_applicable("the provider says that it does not rotate");
    }
    answer.kind_is(&["complete", "pending"])?;
    if answer.kind() == Some("pending") {
        return not_applicable("the provider rotates later");
    }
    Ok((made, answer))
}

async fn new_values(s: &Session) -> Verdict {
    let (made, answer) = rotated(s).await?;
    let (old, new) = (made.answer.access(), answer.access());
    let changed = new.iter().any(|value| !old.contains(value));
    answer.expect(!new.is_empty() && changed, "at least one new value in `access_configuration`")
}

async fn same_names(s: &Session) -> Verdict {
    let (made, answer) = rotated(s).await?;
    let names = |of: &Answer| of.access().into_iter().map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>();
    answer.expect(names(&made.answer).is_subset(&names(&answer)), "every name that the creation gave")
}

async fn same_resource(s: &Session) -> Verdict {
    let (made, answer) = rotated(s).await?;
    answer.expect(answer.text("/id") == Some(&made.id), "the same `id`")?;
    s.read(&made).await?.kind_is(&["complete"])
}

async fn twice(s: &Session) -> Verdict {
    let (made, first) = rotated(s).await?;
    let second = s.send(call(&made.id, &made.party.access).key(&s.name())).await?;
    second.kind_is(&["complete"])?;
    let changed = second.access().iter().any(|value| !first.access().contains(value));
    second.expect(changed, "other values than the rotation before")
}

async fn read_after(s: &Session) -> Verdict {
    let (made, rotated) = rotated(s).await?;
    let new = rotated.access();
    let answer = s.read(&made).await?;
    let gone: Vec<_> = made.answer.access().into_iter().filter(|value| !new.contains(value)).collect();
    let old = answer.access().into_iter().any(|value| gone.contains(&value));
    answer.expect(!old, "no value of before the rotation")
}

async fn foreign(s: &Session) -> Verdict {
    let (made, stranger) = (s.shared().await?, s.open().await?);
    s.send(call(&made.id, &stranger.access)).await?.refused(Envelope::Status, &[401, 403, 404], &[])
}

async fn foreign_keeps(s: &Session) -> Verdict {
    let (made, stranger) = (s.made().await?, s.open().await?);
    let before = s.read(&made).await?.access();
    s.send(call(&made.id, &stranger.access)).await?;
    let answer = s.read(&made).await?;
    answer.kind_is(&["complete"])?;
    answer.expect(answer.access() == before, "the values of before the stranger's attempt")
}

async fn unknown(s: &Session) -> Verdict {
    let party = s.party().await?;
    let answer = s.send(call("conform-no-such-resource", &party.access)).await?;
    answer.refused(Envelope::Status, &[400, 403, 404], &[])
}

async fn removed(s: &Session) -> Verdict {
    let made = super::removal::gone(s).await?;
    s.send(call(&made.id, &made.party.access)).await?.refused_somehow(Envelope::Status, &[])
}
