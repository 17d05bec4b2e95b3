//! The end of every verb: the call that a record waits for is made, and what became of it is written down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::app_wire::{ProviderFailure, ResourceAnswer, Wire, WireError};
use super::super::connection::bearer;
use super::super::mischief::Verb;
use super::super::refusal::{Done, Refusal};
use super::super::registry::{Kept, Member, Provider};
use super::super::state::State;
use super::{Resource, Stage, Unanswered};

/// How often a pending resource is looked at while the agent waits, and how long between.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Goes on with what was lost: the same request under the same key, for the price that was agreed to then.
pub(super) async fn resume(
    state: &State,
    user: &Member,
    provider: &Provider,
    token: Kept,
    lost: Resource,
    preview: bool,
) -> Result<Done, Refusal> {
    if !preview {
        return finish(state, user, provider, token, lost).await;
    }
    let known = lost.unanswered.as_ref().map_or((&lost.service, &lost.price), |lost| (&lost.service, &lost.price));
    Ok(Done::of(json!({"preview": true, "resumes": true, "provider": provider.name, "service": known.0,
        "name": lost.name, "price": known.1})))
}

/// Makes the call that a record waits for, and writes down what became of it.
pub(super) async fn finish(
    state: &State,
    user: &Member,
    provider: &Provider,
    token: Kept,
    record: Resource,
) -> Result<Done, Refusal> {
    let Some(unanswered) = record.unanswered.clone() else { return Ok(Done::of(record.shown())) };
    let body: Value = serde_json::from_str(unanswered.body.expose()).unwrap_or_default();
    let outcome = with_bearer(state, user, provider, token, async |token| {
        let wire = Wire::to(state, provider);
        match &record.provider_id {
            None if unanswered.verb == Verb::LinkResource => {
                wire.link_resource(&token, &unanswered.key, body.clone()).await
            }
            None => wire.create(&token, &unanswered.key, body.clone()).await,
            Some(id) => wire.change(unanswered.verb, &token, id, &unanswered.key, body.clone()).await,
        }
    })
    .await;
    let (token, said) = match outcome {
        Ok(answered) => answered,
        Err(error) if error.leaves_doubt() => return Err(error.into()),
        // Nothing was sent, or nothing was done: the record goes back to what it was.
        Err(error) => {
            give_up(state, &record)?;
            return Err(error.into());
        }
    };
    let said = wait(state, provider, &token, said).await;
    take_up(state, record, unanswered, said)
}

/// Calls with a bearer; once more with a fresh one when it is refused.
async fn with_bearer<T>(
    state: &State,
    user: &Member,
    provider: &Provider,
    token: Kept,
    call: impl AsyncFn(Kept) -> Result<T, WireError>,
) -> Result<(Kept, T), WireError> {
    let refused = |failure: &ProviderFailure| failure.status == 401 && failure.code != "invalid_signature";
    match call(token.clone()).await {
        Err(WireError::Failure(failure)) if refused(&failure) => {
            match bearer(state, user, provider, Some(&token)).await {
                Ok(fresh) if fresh.expose() != token.expose() => Ok((fresh.clone(), call(fresh).await?)),
                _ => Err(WireError::Failure(failure)),
            }
        }
        outcome => Ok((token, outcome?)),
    }
}

/// Looks again while it is pending, for some seconds.
async fn wait(state: &State, provider: &Provider, token: &Kept, mut said: ResourceAnswer) -> ResourceAnswer {
    for _look in 0..LOOKS {
        let (ResourceAnswer::Pending { id } | ResourceAnswer::PendingRemoval { id }) = &said else { return said };
        tokio::time::sleep(PAUSE).await;
        // A look that fails tells nothing; what is known stands.
        if let Ok(seen) = Wire::to(state, provider).get(token, id).await {
            said = seen;
        }
    }
    said
}

/// The record of a thing that did not come to be is gone; of a change that was not made, the record is as before.
fn give_up(state: &State, record: &Resource) -> Result<(), Refusal> {
    let mut world = state.world();
    if let Some(jti) = record.unanswered.as_ref().and_then(|lost| lost.token.as_deref()) {
        world.revoke(jti)?;
    }
    if record.provider_id.is_none() {
        return Ok(world.forget_resource(&record.id)?);
    }
    Ok(world.keep_resource(Resource { unanswered: None, ..record.clone() })?)
}

pub(super) fn take_up(
    state: &State,
    record: Resource,
    unanswered: Unanswered,
    said: ResourceAnswer,
) -> Result<Done, Refusal> {
    let (id, reached, access) = match said {
        ResourceAnswer::Complete { id, access } => (id, Stage::Complete, Some(access)),
        ResourceAnswer::Pending { id } => (id, Stage::Pending, None),
        ResourceAnswer::PendingRemoval { id } => (id, Stage::PendingRemoval, None),
        ResourceAnswer::Removed { id } => (id, Stage::Removed, Some(BTreeMap::new())),
        ResourceAnswer::NeedsInformation { schema } => {
            give_up(state, &record)?;
            let text = format!("{} needs to know more", record.provider);
            return Err(Refusal::new(409, "NEEDS_INFORMATION", text)
                .more(json!({"schema": schema}))
                .next("say it with `--info NAME=VALUE`"));
        }
    };
    let mut world = state.world();
    let replaced =
        if unanswered.token.is_some() && unanswered.token != record.token { record.token.clone() } else { None };
    let gone = reached == Stage::Removed || unanswered.verb == Verb::Remove;
    let token = unanswered.token.or(record.token.clone());
    for jti in replaced.iter().chain(token.iter().filter(|_| gone)) {
        world.revoke(jti)?;
    }
    let access = match access {
        Some(access) => access.into_iter().map(|(name, value)| (name, Kept::from(value))).collect(),
        None => record.access.clone(),
    };
    let done = Resource {
        provider_id: Some(id),
        state: reached,
        access,
        service: unanswered.service,
        price: unanswered.price,
        configuration: unanswered.configuration,
        token,
        unanswered: None,
        serial: record.serial.saturating_add(1),
        ..record
    };
    let shown = Done::of(done.shown());
    world.keep_resource(done)?;
    Ok(match reached {
        Stage::Complete => shown.next("env --write .env"),
        Stage::Pending | Stage::PendingRemoval => shown.next("status"),
        _ => shown,
    })
}
