//! `update_service`: only along the allowed ways, only one's own, and never for free what must be paid.

use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, resource_verb};
use super::super::case::{Case, Group::Update as G, Stop, Verdict, case, not_applicable};
use super::super::making::Made;
use super::super::profile::Member;
use super::super::services::Service;
use super::super::session::Session;

const RULE: &str = "APP 0.1d, POST …/:id/update_service";
const WAYS: &str = "APP 0.1d, allowed_updates, enforced by the provider too";
const OWNER: &str = "APP 0.1d, order of checks: existence, then ownership";
const PAYMENT: &str = "APP 0.1d, requires_payment_credentials";

pub(super) const CASES: &[Case] = &[
    case(G, "update.allowed", "An allowed update to a free service succeeds", RULE, |s| Box::pin(allowed(s))),
    case(G, "update.unknown-service", "An update to an unknown service is refused", RULE, |s| {
        Box::pin(unknown_service(s))
    }),
    case(G, "update.names-resource", "The refusal names the resource", "APP 0.1d, status envelope", |s| {
        Box::pin(names_resource(s))
    }),
    case(G, "update.nothing", "An update that says nothing is refused, or changes nothing", RULE, |s| {
        Box::pin(nothing(s))
    }),
    case(G, "update.not-allowed", "An update that the catalog does not allow is refused", WAYS, |s| {
        Box::pin(not_allowed(s))
    }),
    case(G, "update.not-allowed-keeps", "A refused update leaves the resource as it was", WAYS, |s| Box::pin(keeps(s))),
    case(G, "update.unpaid", "An update to a paid service without payment is refused", PAYMENT, |s| {
        Box::pin(unpaid(s))
    }),
    case(G, "update.unpaid-keeps", "An unpaid update leaves the resource as it was", PAYMENT, |s| {
        Box::pin(unpaid_keeps(s))
    }),
    case(G, "update.paid", "An update to a paid service succeeds with payment", PAYMENT, |s| Box::pin(paid(s))),
    case(G, "update.foreign", "Another account's resource cannot be updated", OWNER, |s| Box::pin(foreign(s))),
    case(G, "update.unknown", "A resource that never was cannot be updated", RULE, |s| Box::pin(unknown(s))),
    case(G, "update.removed", "A removed resource cannot be updated", "APP 0.1d, invalid_state", |s| {
        Box::pin(removed(s))
    }),
    case(G, "update.bad-configuration", "A configuration that the schema forbids is refused", RULE, |s| {
        Box::pin(bad_configuration(s))
    }),
];

async fn update(s: &Session, made: &Made, body: &Value) -> Result<Answer, Stop> {
    s.send(Call::post(resource_verb(&made.id, "update_service"), body).bearer(&made.party.access)).await
}

/// Whether there is anything to be updated at all.
async fn supported(s: &Session) -> Verdict {
    if s.options.profile.update_service == Member::Absent {
        return not_applicable("the profile has no update_service");
    }
    let needed = s.options.profile.update_service == Member::Needed;
    if needed || s.services().await?.all.iter().any(|service| !service.updates().is_empty()) {
        return Ok(());
    }
    not_applicable("no service of the catalog allows an update")
}

/// A resource, and where the catalog lets it go. It may begin paid, where that is no matter and the run can pay.
async fn way(s: &Session, wanted: fn(&Service) -> bool, what: &str, paid_from: bool) -> Result<(Made, String), Stop> {
    supported(s).await?;
    let services = s.services().await?;
    let begin = |from: &&Service| from.can_be_free() || (paid_from && s.options.payment_tokens.is_some());
    let mut origins: Vec<_> = services.all.iter().filter(begin).collect();
    origins.sort_by_key(|from| !from.can_be_free());
    let pair = origins.into_iter().find_map(|from| {
        let ways = from.updates();
        let to = ways.iter().filter_map(|id| services.find(id)).find(|to| wanted(to))?;
        Some((from, to.id.clone()))
    });
    let Some((from, to)) = pair else {
        return not_applicable(format!("no free service of the catalog can be updated to {what}"));
    };
    let party = s.open().await?;
    Ok((s.make(&party, from).await?, to))
}

async fn allowed(s: &Session) -> Verdict {
    let (made, to) = way(s, |to| to.can_be_free() && to.needs_parent().is_empty(), "a free one", true).await?;
    let answer = update(s, &made, &target(s, &to).await?).await?;
    answer.kind_is(&["complete", "pending"])?;
    answer.expect(answer.text("/id") == Some(&made.id), "the same `id` as before")
}

/// The body of an update to `service`, with a configuration it allows.
async fn target(s: &Session, service: &str) -> Result<Value, Stop> {
    let services = s.services().await?;
    let name = s.name();
    let configuration = services.find(service).and_then(|found| {
        found.schema()?;
        Some(super::super::services::sample(found, &s.options.configurations, &name))
    });
    Ok(match configuration {
        Some(configuration) => json!({"service_id": service, "configuration": configuration}),
        None => json!({"service_id": service}),
    })
}

async fn unknown_service(s: &Session) -> Verdict {
    supported(s).await?;
    let made = s.shared().await?;
    let answer = update(s, made, &json!({"service_id": "conform-no-such-service"})).await?;
    answer.refused(Envelope::Status, &[400, 404, 422], &["unknown_service", "destructive_update", "invalid_request"])
}

async fn names_resource(s: &Session) -> Verdict {
    supported(s).await?;
    let made = s.shared().await?;
    let answer = update(s, made, &json!({"service_id": "conform-no-such-service"})).await?;
    let id = answer.text("/id");
    answer.expect(id == Some(&made.id) || (id.is_none() && answer.tolerant), "the `id` of the resource")
}

async fn nothing(s: &Session) -> Verdict {
    supported(s).await?;
    let made = s.shared().await?;
    let answer = update(s, made, &json!({})).await?;
    if answer.succeeded() {
        return answer.expect(answer.text("/id") == Some(&made.id), "the same resource");
    }
    answer.refused(Envelope::Status, &[400, 422], &["missing_service_id", "invalid_request"])
}

/// A resource of a service and a free service to which it must not go.
async fn closed_way(s: &Session) -> Result<(Made, String), Stop> {
    supported(s).await?;
    let services = s.services().await?;
    let pair = services.all.iter().filter(|from| from.can_be_free()).find_map(|from| {
        let ways = from.updates();
        let open =
            |to: &Service| ways.contains(&to.id) || (ways.iter().any(|way| way == "service_ref") && to.is_plan());
        // To a free one, so that it is not refused for money.
        let to = services.all.iter().find(|to| to.id != from.id && !open(to) && to.can_be_free())?;
        Some((from, to.id.clone()))
    });
    let Some((from, to)) = pair else {
        return not_applicable("every update between free services is allowed");
    };
    let party = s.open().await?;
    Ok((s.make(&party, from).await?, to))
}

async fn not_allowed(s: &Session) -> Verdict {
    let (made, to) = closed_way(s).await?;
    let answer = update(s, &made, &target(s, &to).await?).await?;
    answer.refused_somehow(Envelope::Status, &[])
}

/// The resource is still what it was.
async fn unchanged(s: &Session, made: &Made) -> Verdict {
    let answer = s.read(made).await?;
    answer.kind_is(&["complete"])?;
    let service = answer.text("/service_id").unwrap_or(&made.service);
    answer.expect(service == made.service, "the service of before the refused update")
}

async fn keeps(s: &Session) -> Verdict {
    let (made, to) = closed_way(s).await?;
    update(s, &made, &target(s, &to).await?).await?;
    unchanged(s, &made).await
}

async fn upgrade(s: &Session) -> Result<(Made, Value), Stop> {
    let (made, to) = way(s, Service::is_paid, "a paid one", false).await?;
    if made.party.payment.as_deref() == Some("provider") {
        return not_applicable("the provider collects payment itself");
    }
    let body = target(s, &to).await?;
    Ok((made, body))
}

async fn unpaid(s: &Session) -> Verdict {
    let (made, body) = upgrade(s).await?;
    let answer = update(s, &made, &body).await?;
    answer.refused(Envelope::Status, &[400, 402], &["requires_payment_credentials"])
}

async fn unpaid_keeps(s: &Session) -> Verdict {
    let (made, body) = upgrade(s).await?;
    update(s, &made, &body).await?;
    unchanged(s, &made).await
}

async fn paid(s: &Session) -> Verdict {
    let (made, mut body) = upgrade(s).await?;
    body["payment_credentials"] = s.payment(&made.party).await?;
    update(s, &made, &body).await?.kind_is(&["complete", "pending"])
}

async fn foreign(s: &Session) -> Verdict {
    supported(s).await?;
    let made = s.shared().await?;
    let stranger = s.open().await?;
    let call = Call::post(resource_verb(&made.id, "update_service"), &json!({"service_id": made.service}));
    let answer = s.send(call.bearer(&stranger.access)).await?;
    answer.refused(Envelope::Status, &[401, 403, 404], &[])
}

async fn unknown(s: &Session) -> Verdict {
    supported(s).await?;
    let party = s.party().await?;
    let call = Call::post(resource_verb("conform-no-such-resource", "update_service"), &json!({"service_id": "x"}));
    let answer = s.send(call.bearer(&party.access)).await?;
    answer.refused(Envelope::Status, &[400, 403, 404], &[])
}

async fn removed(s: &Session) -> Verdict {
    supported(s).await?;
    let made = super::removal::gone(s).await?;
    let answer = update(s, &made, &json!({"service_id": made.service})).await?;
    answer.refused_somehow(Envelope::Status, &[])
}

async fn bad_configuration(s: &Session) -> Verdict {
    supported(s).await?;
    let made = s.shared().await?;
    let body = json!({"service_id": made.service, "configuration": ["not", "an", "object"]});
    update(s, made, &body).await?.refused_somehow(Envelope::Status, &[])
}
