//! Changing what is there: another service, new credentials, removal.

use serde_json::{Value, json};

use super::super::app_wire::{ResourceAnswer, actor, clean, put};
use super::super::connection::bearer;
use super::super::mischief::Verb;
use super::super::preflight::{Holdings, may_become, typed};
use super::super::refusal::{Done, Refusal};
use super::super::registry::{Kept, Member};
use super::super::shelf::shelf;
use super::super::state::State;
use super::finish::{finish, resume, take_up};
use super::order::{Order, Plan, payment};
use super::{Resource, Unanswered, named, provider};

/// Changes a resource to another service of the same provider.
pub(in crate::simulator) async fn upgrade(
    state: &State,
    user: &Member,
    name: &str,
    order: Order,
) -> Result<Done, Refusal> {
    let held = named(state, user, &order.project, name)?;
    let provider = provider(state, &held.provider)?;
    let token = bearer(state, user, &provider, None).await?;
    if held.unanswered.as_ref().is_some_and(|lost| lost.verb == Verb::Update && lost.service == order.service) {
        return resume(state, user, &provider, token, held, order.preview).await;
    }
    quiet(&held)?;
    let shelf = shelf(state, &provider).await?;
    let find = |id: &str| {
        let text = format!("{} sells no `{}`", provider.name, clean(id));
        shelf.find(id).ok_or_else(|| Refusal::new(404, "SERVICE_UNKNOWN", text))
    };
    let (from, to) = (find(&held.service)?, find(&order.service)?);
    let asked =
        if order.configuration.is_empty() { held.configuration.clone() } else { typed(to, &order.configuration) };
    let plan = {
        let world = state.world();
        let others = world.resources.values().filter(|other| {
            other.is_there() && other.user == user.subject && other.provider == provider.name && other.id != held.id
        });
        let holdings = Holdings { project: &held.project, resources: others.collect() };
        Plan::of(may_become(from, to, &asked, &holdings)?, &shelf, to, asked, &order, &provider)
    };
    if order.preview {
        return Ok(Done::of(plan.shown(&provider.name, &to.id, &held.name)));
    }
    plan.agreed(&order)?;
    let (credentials, jti) = payment(state, user, &provider, &plan, Verb::Update)?;
    let mut body = json!({"service_id": order.service, "actor": actor(user)});
    let configured = (!order.configuration.is_empty()).then(|| plan.configuration.clone());
    put(&mut body, [("payment_credentials", credentials), ("configuration", configured)]);
    let begun = changing(state, held, Verb::Update, &body, |unanswered| Unanswered {
        service: order.service.clone(),
        price: plan.price.clone(),
        configuration: plan.configuration.clone(),
        token: jti.clone(),
        ..unanswered
    })?;
    finish(state, user, &provider, token, begun).await
}

/// New credentials for a resource; the old ones die as the provider says.
pub(in crate::simulator) async fn rotate(
    state: &State,
    user: &Member,
    project: &str,
    name: &str,
) -> Result<Done, Refusal> {
    simple(state, user, project, name, Verb::Rotate).await
}

/// Removes a resource, and takes its payment token back.
pub(in crate::simulator) async fn remove(
    state: &State,
    user: &Member,
    project: &str,
    name: &str,
) -> Result<Done, Refusal> {
    simple(state, user, project, name, Verb::Remove).await
}

async fn simple(state: &State, user: &Member, project: &str, name: &str, verb: Verb) -> Result<Done, Refusal> {
    let held = named(state, user, project, name)?;
    let provider = provider(state, &held.provider)?;
    let token = bearer(state, user, &provider, None).await?;
    let again = held.unanswered.as_ref().is_some_and(|lost| lost.verb == verb);
    let begun = if again {
        held
    } else {
        quiet(&held)?;
        changing(state, held, verb, &json!({"actor": actor(user)}), |unanswered| unanswered)?
    };
    let (lost, id) = (begun.clone(), begun.id.clone());
    match finish(state, user, &provider, token, begun).await {
        // After a lost answer, "there is none" is the success of the first attempt.
        Err(refusal) if verb == Verb::Remove && refusal.says_not_found() => {
            let provider_id = lost.provider_id.clone().unwrap_or(id);
            let Some(unanswered) = lost.unanswered.clone() else { return Err(refusal) };
            take_up(state, lost, unanswered, ResourceAnswer::Removed { id: provider_id })
        }
        outcome => outcome,
    }
}

/// Writes a change down before the provider is called.
fn changing(
    state: &State,
    held: Resource,
    verb: Verb,
    body: &Value,
    with: impl FnOnce(Unanswered) -> Unanswered,
) -> Result<Resource, Refusal> {
    let word = match verb {
        Verb::Update => "update",
        Verb::Rotate => "rotate",
        _ => "remove",
    };
    let unanswered = with(Unanswered {
        verb,
        key: format!("{}-{word}-{}", held.id, held.serial),
        body: Kept::from(body.to_string()),
        service: held.service.clone(),
        price: held.price.clone(),
        configuration: held.configuration.clone(),
        token: None,
    });
    // A refused change may be tried again: under a key of its own.
    let begun = Resource { unanswered: Some(unanswered), serial: held.serial.saturating_add(1), ..held };
    state.world().keep_resource(begun.clone())?;
    Ok(begun)
}

/// Nothing else may begin while an outcome is unknown.
fn quiet(held: &Resource) -> Result<(), Refusal> {
    if held.unanswered.is_some() || held.provider_id.is_none() {
        let text = format!("what became of the last change of `{}` is not known yet", held.name);
        return Err(Refusal::new(409, "outcome_unknown", text).next("repeat that command first"));
    }
    Ok(())
}
