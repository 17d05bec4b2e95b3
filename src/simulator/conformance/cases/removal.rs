//! `remove`: once and for all, and only one's own.

use serde_json::json;

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, resource_verb};
use super::super::case::{Case, Group::Removal as G, Stop, Verdict, case, not_applicable};
use super::super::making::Made;
use super::super::session::Session;

const RULE: &str = "APP 0.1d, POST …/:id/remove";
const AFTER: &str = "APP 0.1d, a removed resource: `removed`, 404, or the token's reach is gone";
const OWNER: &str = "APP 0.1d, order of checks: existence, then ownership";

pub(super) const CASES: &[Case] = &[
    case(G, "removal.removed", "A resource can be removed", RULE, |s| Box::pin(is_removed(s))),
    case(G, "removal.read-after", "A removed resource is not usable any more", AFTER, |s| Box::pin(read_after(s))),
    case(G, "removal.no-access-after", "Nothing gives its values any more", AFTER, |s| Box::pin(no_access(s))),
    case(G, "removal.twice", "A second removal is answered, and breaks nothing", RULE, |s| Box::pin(twice(s))),
    case(G, "removal.others-stay", "The account's other resources stay", RULE, |s| Box::pin(others_stay(s))),
    case(G, "removal.again", "The same can be made again afterwards", RULE, |s| Box::pin(again(s))),
    case(G, "removal.foreign", "Another account's resource cannot be removed", OWNER, |s| Box::pin(foreign(s))),
    case(G, "removal.foreign-stays", "A stranger's attempt removes nothing", OWNER, |s| Box::pin(foreign_stays(s))),
    case(G, "removal.unknown", "A resource that never was cannot be removed", RULE, |s| Box::pin(unknown(s))),
];

fn call(id: &str, token: &str) -> Call {
    Call::post(resource_verb(id, "remove"), &json!({})).bearer(token)
}

async fn removed(s: &Session) -> Result<(Made, Answer), Stop> {
    // A second resource, so that the token keeps something to reach.
    s.shared().await?;
    let made = s.made().await?;
    let answer = s.send(call(&made.id, &made.party.access)).await?;
    let word = answer.text("/error/message").unwrap_or("").to_lowercase();
    if !answer.succeeded() && word.contains("not supported") {
        return not_applicable("the provider says that it does not remove");
    }
    answer.kind_is(&["removed", "pending_removal"])?;
    Ok((made, answer))
}

/// A resource that was removed.
pub(super) async fn gone(s: &Session) -> Result<Made, Stop> {
    removed(s).await.map(|(made, _)| made).map_err(Stop::preparing)
}

async fn is_removed(s: &Session) -> Verdict {
    let (made, answer) = removed(s).await?;
    answer.expect(answer.text("/id") == Some(&made.id), "the `id` of the resource")
}

async fn read_after(s: &Session) -> Verdict {
    let (made, _) = removed(s).await?;
    let answer = s.read(&made).await?;
    let gone = [401, 403, 404, 410].contains(&answer.status);
    let said = answer.succeeded() && matches!(answer.kind(), Some("removed" | "pending_removal"));
    let business = answer.tolerant && answer.status == 200 && answer.kind() == Some("error");
    answer.expect(gone || said || business, "`removed`, or 401, 403, 404 or 410")
}

async fn no_access(s: &Session) -> Verdict {
    let (made, answer) = removed(s).await?;
    let read = s.read(&made).await?;
    answer.expect(answer.access().is_empty(), "no values in the answer to the removal")?;
    read.expect(read.access().is_empty(), "no values of a removed resource")
}

async fn twice(s: &Session) -> Verdict {
    let (made, _) = removed(s).await?;
    let answer = s.send(call(&made.id, &made.party.access)).await?;
    if answer.succeeded() {
        return answer.kind_is(&["removed", "pending_removal"]);
    }
    answer.refused_somehow(Envelope::Status, &[])
}

async fn others_stay(s: &Session) -> Verdict {
    let service = s.usable().await?;
    if service.at_most().is_some() {
        return not_applicable(format!("`{}` may be had only so often", service.id));
    }
    let party = s.open().await?;
    let (first, second) = (s.make(&party, service).await?, s.make(&party, service).await?);
    s.send(call(&first.id, &party.access)).await?.kind_is(&["removed", "pending_removal"])?;
    s.read(&second).await?.kind_is(&["complete"])
}

async fn again(s: &Session) -> Verdict {
    let (made, _) = removed(s).await?;
    let mut body = made.body.clone();
    body["orchestrator_resource_id"] = json!(s.name());
    let answer = s.try_create(&body, &made.party).await?;
    if answer.status == 401 {
        return not_applicable("the token went with its only resource");
    }
    answer.kind_is(&["complete", "pending"])
}

async fn foreign(s: &Session) -> Verdict {
    let (made, stranger) = (s.shared().await?, s.open().await?);
    s.send(call(&made.id, &stranger.access)).await?.refused(Envelope::Status, &[401, 403, 404], &[])
}

async fn foreign_stays(s: &Session) -> Verdict {
    let (made, stranger) = (s.made().await?, s.open().await?);
    s.send(call(&made.id, &stranger.access)).await?;
    s.read(&made).await?.kind_is(&["complete"])
}

async fn unknown(s: &Session) -> Verdict {
    let party = s.party().await?;
    s.send(call("conform-no-such-resource", &party.access)).await?.refused(Envelope::Status, &[400, 403, 404], &[])
}
