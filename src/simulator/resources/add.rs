//! Adding: a new resource under a name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::app_wire::{actor, clean, put};
use super::super::connection::bearer;
use super::super::mischief::Verb;
use super::super::preflight::{Holdings, may_add, typed};
use super::super::refusal::{Done, Refusal};
use super::super::registry::{Kept, Member, Provider};
use super::super::shelf::shelf;
use super::super::state::State;
use super::super::tokens::unique;
use super::finish::{finish, resume};
use super::order::{Order, Plan, name_of, payment};
use super::{Resource, Stage, Unanswered, named, provider};

/// Adds a service of a provider under a name.
pub(in crate::simulator) async fn add(state: &State, user: &Member, order: Order) -> Result<Done, Refusal> {
    let provider = provider(state, &order.provider)?;
    let name = name_of(&order)?;
    let token = bearer(state, user, &provider, None).await?;
    let same = |held: &Resource| held.provider == provider.name && held.service == order.service;
    let lost = named(state, user, &order.project, &name).ok().filter(|held| held.unanswered.is_some());
    if let Some(lost) = lost.filter(same) {
        return resume(state, user, &provider, token, lost, order.preview).await;
    }
    let shelf = shelf(state, &provider).await?;
    let service = shelf.find(&order.service).ok_or_else(|| {
        let text = format!("{} sells no `{}`", provider.name, clean(&order.service));
        Refusal::new(404, "SERVICE_UNKNOWN", text).next(format!("catalog {}", provider.name))
    })?;
    let configuration = typed(service, &order.configuration);
    let plan = {
        let world = state.world();
        let held = world.resources.values().filter(|held| held.is_there());
        let mine: Vec<&Resource> = held.filter(|held| held.user == user.subject).collect();
        if mine.iter().any(|held| held.project == order.project && held.name == name) {
            let text = format!("there is a `{name}` already");
            return Err(Refusal::new(409, "NAME_TAKEN", text).next("choose another with `--name`"));
        }
        let resources = mine.into_iter().filter(|held| held.provider == provider.name).collect();
        let holdings = Holdings { project: &order.project, resources };
        let quoted = may_add(service, &configuration, user, &holdings)?;
        Plan::of(quoted, &shelf, service, configuration, &order, &provider)
    };
    if order.preview {
        return Ok(Done::of(plan.shown(&provider.name, &service.id, &name)));
    }
    plan.agreed(&order)?;
    let begun = begin(state, user, &provider, &order, &name, plan)?;
    finish(state, user, &provider, token, begun).await
}

/// Writes the record down before anybody is called.
fn begin(
    state: &State,
    user: &Member,
    provider: &Provider,
    order: &Order,
    name: &str,
    plan: Plan,
) -> Result<Resource, Refusal> {
    let id = unique("fres")?;
    let (credentials, token) = payment(state, user, provider, &plan, Verb::Create)?;
    let mut body = json!({
        "service_id": order.service, "project_id": project_id(user, &order.project), "orchestrator_resource_id": id,
        "environment": "prod", "configuration": plan.configuration, "actor": actor(user),
    });
    let information = (!order.information.is_empty()).then(|| Value::Object(order.information.clone()));
    put(&mut body, [("payment_credentials", credentials), ("submitted_information", information)]);
    let unanswered = Unanswered {
        verb: if order.existing { Verb::LinkResource } else { Verb::Create },
        key: id.clone(),
        body: Kept::from(body.to_string()),
        service: order.service.clone(),
        price: plan.price.clone(),
        configuration: plan.configuration.clone(),
        token: token.clone(),
    };
    let record = Resource {
        id,
        user: user.subject.clone(),
        project: order.project.clone(),
        name: name.to_owned(),
        provider: provider.name.clone(),
        service: order.service.clone(),
        provider_id: None,
        state: Stage::Requested,
        access: BTreeMap::new(),
        price: plan.price,
        configuration: plan.configuration,
        token,
        unanswered: Some(unanswered),
        serial: 0,
        created_at: state.clock.now(),
    };
    claim(state, record)
}

/// Takes the name: between the look and now another call may have taken it.
fn claim(state: &State, record: Resource) -> Result<Resource, Refusal> {
    let mut world = state.world();
    let same = |held: &Resource| held.user == record.user && held.project == record.project && held.name == record.name;
    if world.resources.values().any(|held| held.is_there() && same(held)) {
        return Err(Refusal::new(409, "NAME_TAKEN", format!("there is a `{}` already", record.name)));
    }
    world.keep_resource(record.clone())?;
    Ok(record)
}

fn project_id(user: &Member, project: &str) -> String {
    let digest = crate::secret::sha256_base64url(format!("{} {project}", user.subject).as_bytes());
    format!("proj_{}", digest.chars().filter(char::is_ascii_alphanumeric).take(16).collect::<String>())
}
