//! Making and reading resources, and who may.

use serde_json::{Value, json};

use super::super::answer::{Answer, Envelope};
use super::super::call::{Call, RESOURCES, resource};
use super::super::case::{Case, Group::Resources as G, Stop, Verdict, case, not_applicable};
use super::super::making::Made;
use super::super::profile::Member;
use super::super::services::{Price, Service};
use super::super::session::Session;

const CREATE: &str = "APP 0.1d, POST /provisioning/resources";
const READ: &str = "APP 0.1d, GET /provisioning/resources/:id";
const ACCESS: &str = "APP 0.1d, access_configuration: a flat map of plain texts";
const BEARER: &str = "APP 0.1d, resource endpoints want a bearer; RFC 6750 §3";
const DATED: &str = "APP 0.1d, dated shapes of resources";
const OWNER: &str = "APP 0.1d, order of checks: existence, then ownership";
const SCHEMA: &str = "APP 0.1d, configuration_schema, enforced by the provider too";
const RULES: &str = "APP 0.1d, constraints and parents, enforced by the provider too";

pub(super) const CASES: &[Case] = &[
    case(G, "resources.create", "A free service can be made", CREATE, |s| Box::pin(create(s))),
    case(G, "resources.three-calls", "From nothing to a free resource it takes three calls", CREATE, |s| {
        Box::pin(three_calls(s))
    }),
    case(G, "resources.dated-pending", "A creation is pending only where the profile has that", DATED, |s| {
        Box::pin(dated_pending(s))
    }),
    case(G, "resources.access", "A deployable gives access as plain texts", ACCESS, |s| Box::pin(access(s))),
    case(G, "resources.service-echo", "The answer names the service, if it names one", CREATE, |s| Box::pin(echo(s))),
    case(G, "resources.read", "What was made can be read", READ, |s| Box::pin(read(s))),
    case(G, "resources.read-mints-nothing", "A read makes no new secret", READ, |s| Box::pin(mints_nothing(s))),
    case(G, "resources.read-is-repeatable", "Two reads give the same", READ, |s| Box::pin(repeatable(s))),
    case(G, "resources.unknown-service", "An unknown service is refused", CREATE, |s| {
        Box::pin(refused(s, |body| body["service_id"] = json!("conform-no-such-service"), &["unknown_service"]))
    }),
    case(
        G,
        "resources.unknown-service-id",
        "A refusal without a resource names none",
        "APP 0.1d, status envelope",
        |s| Box::pin(names_none(s)),
    ),
    case(G, "resources.no-service", "A creation without a service makes nothing by guess", CREATE, |s| {
        Box::pin(no_service(s))
    }),
    case(G, "resources.nulls", "null for every optional member is accepted", "APP 0.1d, null is absence", |s| {
        Box::pin(accepted(s, |body| {
            for name in ["payment_credentials", "actor", "environment", "submitted_information"] {
                body[name] = Value::Null;
            }
        }))
    }),
    case(G, "resources.unknown-members", "Unknown members are ignored", "APP 0.1d, request schemas are open", |s| {
        Box::pin(accepted(s, |body| body["x_future"] = json!([{"deep": true}])))
    }),
    case(G, "resources.no-project", "A resource without a project can be made", CREATE, |s| {
        Box::pin(accepted(s, |body| drop(body.as_object_mut().and_then(|body| body.remove("project_id")))))
    }),
    case(G, "resources.wrong-type", "A configuration of the wrong type is refused", SCHEMA, |s| {
        Box::pin(wrong_type(s))
    }),
    case(G, "resources.missing-required", "A configuration without what is required is refused", SCHEMA, |s| {
        Box::pin(missing_required(s))
    }),
    case(G, "resources.outside-enum", "A value outside of the schema's list is refused", SCHEMA, |s| {
        Box::pin(outside_enum(s))
    }),
    case(G, "resources.no-bearer", "A creation without a bearer is refused", BEARER, |s| {
        Box::pin(bearer(s, None, true))
    }),
    case(G, "resources.read-without-bearer", "A read without a bearer is refused", BEARER, |s| {
        Box::pin(bearer(s, None, false))
    }),
    case(G, "resources.unknown-bearer", "An unknown bearer is refused", BEARER, |s| {
        Box::pin(bearer(s, Some("at_conform_unknown"), true))
    }),
    case(G, "resources.changed-bearer", "A bearer with one character changed is refused", BEARER, |s| {
        Box::pin(changed_bearer(s))
    }),
    case(G, "resources.basic", "Another scheme than Bearer is refused", BEARER, |s| Box::pin(basic(s))),
    case(G, "resources.query-token", "A token in the query opens nothing", "RFC 9700 §4.3.2", |s| {
        Box::pin(query_token(s))
    }),
    case(G, "resources.foreign", "Another account's resource cannot be read", OWNER, |s| Box::pin(foreign(s))),
    case(G, "resources.foreign-hides", "The refusal of another account's resource tells nothing of it", OWNER, |s| {
        Box::pin(foreign_hides(s))
    }),
    case(G, "resources.unknown", "A resource that never was is not found", READ, |s| Box::pin(unknown(s))),
    case(G, "resources.two-projects", "Two projects get two resources", CREATE, |s| Box::pin(two_projects(s))),
    case(G, "resources.needs-parent", "A service that needs a plan is refused without it", RULES, |s| {
        Box::pin(needs_parent(s))
    }),
    case(G, "resources.at-most", "One more than the count allows is refused", RULES, |s| Box::pin(at_most(s))),
    case(G, "resources.at-most-after-removal", "A removed resource makes room", RULES, |s| Box::pin(room_again(s))),
    case(G, "resources.exclusion", "A plan is refused beside the plan it can be updated to", RULES, |s| {
        Box::pin(exclusion(s))
    }),
    case(
        G,
        "resources.link",
        "Linking an existing resource asks which one",
        "APP 0.1d, POST …/resources/link",
        |s| Box::pin(link(s)),
    ),
];

async fn create(s: &Session) -> Verdict {
    let made = s.shared().await?;
    made.answer.expect(made.answer.text("/id") == Some(&made.id), "an `id`")?;
    made.answer.kind_is(&["complete"])
}

/// An account, its token (at once or for a code), and the first resource: nothing else is asked in between.
async fn three_calls(s: &Session) -> Verdict {
    let service = s.usable().await?;
    if !service.needs_parent().is_empty() || !service.can_be_free() {
        return not_applicable("the only usable service needs a parent or payment");
    }
    let (email, subject) = (s.fresh_email(), s.fresh_subject());
    let answer = s.ask(&s.account_request(&email, &subject)).await?;
    match s.let_in(&answer, &email, &subject).await? {
        Some(party) => s.try_create(&s.create_body(service, &party), &party).await?.kind_is(&["complete", "pending"]),
        None => not_applicable("the provider asks every new user to consent, or for more information"),
    }
}

async fn dated_pending(s: &Session) -> Verdict {
    match s.options.profile.pending {
        Member::Absent => changed(s, |_| ()).await?.kind_is(&["complete", "needs_information"]),
        _ => not_applicable("the profile lets a creation be pending"),
    }
}

async fn access(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let known = s.services().await.ok();
    if known.and_then(|services| services.find(&made.service)).is_some_and(Service::is_plan) {
        return not_applicable("the only usable service is a plan, which gives no access");
    }
    let map = made.answer.json.pointer("/complete/access_configuration").and_then(Value::as_object);
    let plain = map.is_some_and(|map| !map.is_empty() && map.values().all(Value::is_string));
    made.answer.expect(plain, "`complete.access_configuration` with at least one name, each with a text")
}

async fn echo(s: &Session) -> Verdict {
    let made = s.shared().await?;
    match made.answer.text("/service_id") {
        None => not_applicable("the provider does not repeat the service, which it need not"),
        Some(service) => made.answer.expect(service == made.service, "the `service_id` that was sent"),
    }
}

async fn read(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let answer = s.read(made).await?;
    answer.kind_is(&["complete"])?;
    answer.expect(answer.text("/id") == Some(&made.id), "the `id` of the creation")?;
    let service = answer.text("/service_id");
    answer.expect(service.is_none_or(|service| service == made.service), "the `service_id` of the creation")
}

async fn mints_nothing(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let given = made.answer.access();
    let answer = s.read(made).await?;
    let new = answer.access().into_iter().find(|value| !given.contains(value));
    answer.expect(new.is_none(), "no value in `access_configuration` that the creation did not give")
}

async fn repeatable(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let (first, second) = (s.read(made).await?, s.read(made).await?);
    second.expect(first.access() == second.access() && first.status == second.status, "what the read before gave")
}

/// A right creation for the shared account, changed.
async fn changed(s: &Session, change: fn(&mut Value)) -> Result<Answer, Stop> {
    let service = s.usable().await?;
    let party = if service.at_most().is_none() { s.party().await?.clone() } else { s.open().await? };
    let mut body = s.create_body(service, &party);
    if !service.can_be_free() {
        body["payment_credentials"] = s.payment(&party).await?;
    }
    change(&mut body);
    s.try_create(&body, &party).await
}

async fn refused(s: &Session, change: fn(&mut Value), codes: &[&str]) -> Verdict {
    changed(s, change).await?.refused(Envelope::Status, &[400, 404, 422], codes)
}

async fn accepted(s: &Session, change: fn(&mut Value)) -> Verdict {
    let service = s.usable().await?;
    if !service.needs_parent().is_empty() || !service.can_be_free() {
        return not_applicable("the only usable service needs a parent or payment");
    }
    changed(s, change).await?.kind_is(&["complete", "pending", "needs_information"])
}

async fn names_none(s: &Session) -> Verdict {
    let answer = changed(s, |body| body["service_id"] = json!("conform-no-such-service")).await?;
    let none = answer.json.get("id").is_none_or(|id| id.is_null() || id.as_str() == Some(""));
    answer.expect(!answer.succeeded() && none, "a refusal whose `id` is empty")
}

async fn no_service(s: &Session) -> Verdict {
    let answer = changed(s, |body| drop(body.as_object_mut().and_then(|body| body.remove("service_id")))).await?;
    if answer.succeeded() && s.options.profile.tolerant() {
        return not_applicable("the provider has a default service, which one known provider has too");
    }
    answer.refused(Envelope::Status, &[400, 422], &["missing_service_id", "unknown_service", "invalid_request"])
}

async fn bad_configuration(s: &Session, service: &Service, property: &str, value: Option<Value>) -> Verdict {
    let party = s.open().await?;
    // Nothing but the configuration may be the reason.
    s.make_parent(&party, service).await.map_err(Stop::preparing)?;
    let mut body = s.create_body(service, &party);
    if let Some(members) = body["configuration"].as_object_mut() {
        members.remove(property);
        members.extend(value.map(|value| (property.to_owned(), value)));
    }
    if !service.can_be_free() && s.options.payment_tokens.is_some() {
        body["payment_credentials"] = s.payment(&party).await?;
    }
    let answer = s.try_create(&body, &party).await?;
    if answer.kind() == Some("needs_information") {
        return Ok(());
    }
    answer.refused(Envelope::Status, &[400, 402, 422], &[])
}

fn property(service: &Service, wanted: impl Fn(&Value) -> bool) -> Option<String> {
    let properties = service.schema()?.get("properties")?.as_object()?;
    properties.iter().find(|(_, schema)| wanted(schema)).map(|(name, _)| name.clone())
}

async fn with_property(s: &Session, wanted: fn(&Value) -> bool, value: Value) -> Verdict {
    let services = s.services().await?;
    let found = services.all.iter().find_map(|service| Some((service, property(service, wanted)?)));
    match found {
        Some((service, name)) => bad_configuration(s, service, &name, Some(value)).await,
        None => not_applicable("no service of the catalog has such a configuration"),
    }
}

async fn wrong_type(s: &Session) -> Verdict {
    let typed = |schema: &Value| schema.get("type").is_some_and(Value::is_string) && schema["type"] != "object";
    with_property(s, typed, json!({"not": "a plain value"})).await
}

async fn outside_enum(s: &Session) -> Verdict {
    let listed = |schema: &Value| schema.get("enum").is_some();
    with_property(s, listed, json!("conform-not-in-the-list")).await
}

async fn missing_required(s: &Session) -> Verdict {
    let required = |service: &Service| {
        let list = service.schema()?.get("required")?.as_array()?;
        list.first()?.as_str().map(str::to_owned)
    };
    let services = s.services().await?;
    match services.all.iter().find_map(|service| Some((service, required(service)?))) {
        Some((service, name)) => bad_configuration(s, service, &name, None).await,
        None => not_applicable("no service of the catalog requires a configuration"),
    }
}

async fn bearer(s: &Session, token: Option<&str>, create: bool) -> Verdict {
    let mut call = if create {
        Call::post(RESOURCES, &s.create_body(s.usable().await?, s.party().await?))
    } else {
        Call::get(resource(&s.shared().await?.id))
    };
    call.bearer = token.map(str::to_owned);
    s.send(call).await?.refused(Envelope::Status, &[401], &["unauthorized", "invalid_token"])
}

async fn changed_bearer(s: &Session) -> Verdict {
    let token = &s.party().await?.access;
    // The middle: the last character of a base64url text may carry no bits.
    let middle = token.len() / 2;
    let other: String = token
        .char_indices()
        .map(|(at, character)| match character {
            'A' if at == middle => 'B',
            _ if at == middle => 'A',
            other => other,
        })
        .collect();
    let (works, answer) = s.works(&other).await?;
    answer.expect(!works, "401")
}

async fn basic(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let call = Call::get(resource(&made.id)).header("authorization", format!("Basic {}", made.party.access));
    s.send(call).await?.refused(Envelope::Status, &[401], &[])
}

async fn query_token(s: &Session) -> Verdict {
    let made = s.shared().await?;
    let query = super::super::making::form(&[("access_token", &made.party.access)]);
    let answer = s.send(Call::get(format!("{}?{query}", resource(&made.id)))).await?;
    answer.refused(Envelope::Status, &[401], &[])
}

/// Somebody else reads the shared resource.
async fn read_foreign(s: &Session) -> Result<(Answer, &Made), Stop> {
    let made = s.shared().await?;
    let stranger = s.open().await?;
    Ok((s.send(Call::get(resource(&made.id)).bearer(&stranger.access)).await?, made))
}

async fn foreign(s: &Session) -> Verdict {
    read_foreign(s).await?.0.refused(Envelope::Status, &[401, 403, 404], &[])
}

async fn foreign_hides(s: &Session) -> Verdict {
    let (answer, made) = read_foreign(s).await?;
    let body = String::from_utf8_lossy(&answer.incoming.body).into_owned();
    let told = made.answer.access().iter().any(|(_, value)| value.len() > 8 && body.contains(value));
    let told = told || answer.json.get("complete").is_some() || body.contains(&made.party.email);
    answer.expect(!told, "neither access nor owner of somebody else's resource")
}

async fn unknown(s: &Session) -> Verdict {
    let token = &s.party().await?.access;
    let answer = s.send(Call::get(resource("conform-no-such-resource")).bearer(token)).await?;
    answer.refused(Envelope::Status, &[400, 403, 404], &["not_found", "invalid_resource_id", "forbidden"])
}

async fn two_projects(s: &Session) -> Verdict {
    let service = s.usable().await?;
    if service.at_most().is_some() {
        return not_applicable(format!("`{}` may be had only so often", service.id));
    }
    let first = s.shared().await?;
    let second = s.make(&first.party, service).await?;
    second.answer.expect(first.id != second.id, "a resource of its own for another project")
}

async fn needs_parent(s: &Session) -> Verdict {
    let wanted = |service: &Service| !service.needs_parent().is_empty();
    let service = s.service_with(wanted, "whose price depends on a parent").await?;
    let party = s.open().await?;
    let mut body = s.create_body(service, &party);
    if s.options.payment_tokens.is_some() {
        body["payment_credentials"] = s.payment(&party).await?;
    }
    s.try_create(&body, &party).await?.refused_somehow(Envelope::Status, &[])
}

/// A free service with a count, filled up, by whom.
async fn filled(s: &Session) -> Result<(&Service, super::super::party::Party, Vec<Made>), Stop> {
    let wanted = |service: &Service| service.can_be_free() && service.at_most().is_some_and(|most| most <= 5);
    let service = s.service_with(wanted, "that is free and has a count of at most 5").await?;
    let party = s.open().await?;
    let mut made = vec![s.make(&party, service).await?];
    for _ in 1..service.at_most().unwrap_or(1) {
        let mut body = s.create_body(service, &party);
        // The count may be that of one project.
        body["project_id"] = made.first().map_or(Value::Null, |first| first.body["project_id"].clone());
        let answer = s.try_create(&body, &party).await.map_err(Stop::preparing)?;
        answer.kind_is(&["complete", "pending"]).map_err(Stop::preparing)?;
    }
    made.truncate(1);
    Ok((service, party, made))
}

async fn one_more(s: &Session) -> Result<(Answer, Vec<Made>, Call), Stop> {
    let (service, party, made) = filled(s).await?;
    let mut body = s.create_body(service, &party);
    body["project_id"] = made.first().map_or(Value::Null, |first| first.body["project_id"].clone());
    let call = Session::create(&body, &party, &s.name());
    let answer = s.send(call.clone()).await?;
    Ok((answer, made, call))
}

async fn at_most(s: &Session) -> Verdict {
    let (answer, made, _) = one_more(s).await?;
    // A provider that keys by project may give the resource that is there.
    let same = answer.succeeded() && answer.text("/id") == made.first().map(|first| first.id.as_str());
    if same { Ok(()) } else { answer.refused_somehow(Envelope::Status, &[]) }
}

async fn room_again(s: &Session) -> Verdict {
    let (_, made, mut call) = one_more(s).await?;
    let Some(first) = made.first() else {
        return not_applicable("nothing was made");
    };
    let remove = Call::post(super::super::call::resource_verb(&first.id, "remove"), &json!({}));
    let removed = s.send(remove.bearer(&first.party.access)).await?;
    if !removed.succeeded() {
        return not_applicable("the provider removes nothing");
    }
    call.headers = vec![("idempotency-key", s.name())];
    let mut body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    body["orchestrator_resource_id"] = json!(s.name());
    body["project_id"] = json!(s.name());
    s.send(Session::create(&body, &first.party, &s.name())).await?.kind_is(&["complete", "pending"])
}

async fn exclusion(s: &Session) -> Verdict {
    let services = s.services().await?;
    // Both free, or the second one refused for money would look like success.
    let pair = services.all.iter().filter(|service| service.excludes_its_updates() && service.can_be_free()).find_map(
        |service| {
            let others = service.updates();
            let other = others.iter().filter_map(|id| services.find(id));
            let affordable = |other: &&Service| other.price() == Price::Free || s.options.payment_tokens.is_some();
            Some((service, other.into_iter().find(affordable)?))
        },
    );
    let Some((service, other)) = pair else {
        return not_applicable("the catalog has no pair of services that exclude each other and can be had");
    };
    let party = s.open().await?;
    let made = s.make(&party, service).await?;
    let mut body = s.create_body(other, &party);
    body["project_id"] = made.body["project_id"].clone();
    if !other.can_be_free() {
        body["payment_credentials"] = s.payment(&party).await?;
    }
    s.try_create(&body, &party).await?.refused_somehow(Envelope::Status, &[])
}

async fn link(s: &Session) -> Verdict {
    let party = s.party().await?;
    let body = s.create_body(s.usable().await?, party);
    let answer = s.send(Call::post(format!("{RESOURCES}/link"), &body).bearer(&party.access)).await?;
    if [404, 405, 501].contains(&answer.status) {
        return not_applicable("the provider links no existing resources");
    }
    if answer.kind() == Some("needs_information") {
        let schema = answer.json.pointer("/needs_information/schema").is_some_and(Value::is_object);
        return answer.expect(schema, "`needs_information.schema`");
    }
    answer.refused_somehow(Envelope::Status, &[])
}
