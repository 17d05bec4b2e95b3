//! What users have added: the orchestrator's own record of each resource, and the verbs that change it.
//!
//! Promises: a name is one resource; the record is written before the provider is called, so that a lost answer is found
//! again under the same key; a token for a resource that did not come to be is taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::app_wire::{ProviderFailure, Quoted, ResourceAnswer, Service, Wire, WireError, actor, put};
use super::connection::bearer;
use super::mischief::{Verb, Wrong};
use super::preflight::{Holdings, may_add, may_become, typed};
use super::refusal::{Done, Refusal};
use super::registry::{Cap, Kept, Member, Provider};
use super::shelf::{Shelf, shelf};
use super::state::State;
use super::tokens::{PaymentTokenSpec, mint_payment_token, unique};
use crate::clock::Timestamp;
use crate::money::{Amount, Money};

/// How often a pending resource is looked at while the agent waits, and how long between.
const LOOKS: u32 = 20;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// As it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Resource {
    /// The orchestrator's own.
    pub(super) id: String,
    pub(super) user: String,
    pub(super) project: String,
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) service: String,
    /// The provider's own; nothing before it answered.
    pub(super) provider_id: Option<String>,
    pub(super) state: Stage,
    pub(super) access: BTreeMap<String, Kept>,
    /// As it was shown when it was bought.
    pub(super) price: String,
    pub(super) configuration: Value,
    /// The `jti` of the token that pays for it.
    pub(super) token: Option<String>,
    /// A request whose outcome is not known, to be repeated to the letter.
    pub(super) unanswered: Option<Unanswered>,
    /// Grows with each change; part of its idempotency key.
    pub(super) serial: u32,
    pub(super) created_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unanswered {
    pub(super) verb: Verb,
    pub(super) key: String,
    /// The body as text; it may hold a payment token.
    pub(super) body: Kept,
    /// What the resource becomes when it is done.
    service: String,
    price: String,
    configuration: Value,
    token: Option<String>,
}

/// Where a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The provider was asked; nothing is known yet.
    Requested,
    Pending,
    Complete,
    PendingRemoval,
    Removed,
}

impl Resource {
    pub(super) fn is_there(&self) -> bool {
        self.state != Stage::Removed
    }

    /// Without the values of its credentials.
    pub(super) fn shown(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "project": self.project, "provider": self.provider,
            "service": self.service, "provider_id": self.provider_id, "state": self.state, "price": self.price,
            "credentials": self.access.keys().collect::<Vec<_>>(), "created_at": self.created_at,
            "outcome_unknown": self.unanswered.is_some(),
        })
    }
}

/// What an agent asks for when it adds or upgrades.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    #[serde(default)]
    pub(super) provider: String,
    pub(super) service: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default = "usual_project")]
    pub(super) project: String,
    #[serde(default)]
    pub(super) configuration: Map<String, Value>,
    /// Answers to an earlier `NEEDS_INFORMATION`.
    #[serde(default)]
    pub(super) information: Map<String, Value>,
    /// Take over what the provider has already instead of making it anew.
    #[serde(default)]
    pub(super) existing: bool,
    /// Only look whether it may be done and what it costs.
    #[serde(default)]
    pub(super) preview: bool,
    /// The price that the user agreed to; another one is refused.
    #[serde(default)]
    pub(super) agreed: Option<String>,
    /// What the provider may take with the token; the monthly cap when absent.
    #[serde(default)]
    pub(super) limit: Option<Cap>,
}

pub(super) fn usual_project() -> String {
    "default".to_owned()
}

/// What is about to be done.
struct Plan {
    quoted: Quoted,
    price: String,
    configuration: Value,
    limit: Option<Cap>,
}

impl Plan {
    fn of(
        quoted: Quoted,
        shelf: &Shelf,
        service: &Service,
        configuration: Value,
        order: &Order,
        provider: &Provider,
    ) -> Self {
        let signed = shelf.signed_price(&service.id).filter(|signed| *signed != quoted.text);
        let price = signed.map_or_else(|| quoted.text.clone(), |signed| format!("{} [{signed}]", quoted.text));
        let usual = || provider.caps.as_ref().map_or(Some(Cap::usual()), |caps| caps.first().copied());
        let limit = if quoted.paid { order.limit.or_else(usual) } else { None };
        Self { quoted, price, configuration, limit }
    }

    fn shown(&self, provider: &str, service: &str, name: &str) -> Value {
        let limit = self.limit.map(|limit| Money { amount: limit.amount, currency: limit.currency }.to_string());
        json!({"preview": true, "provider": provider, "service": service, "name": name, "price": self.price,
            "paid": self.quoted.paid, "parent": self.quoted.parent, "monthly_limit": limit})
    }

    fn agreed(&self, order: &Order) -> Result<(), Refusal> {
        match &order.agreed {
            Some(agreed) if *agreed != self.price => {
                let text = format!("it now costs {}; what you agreed to was {agreed}", self.price);
                Err(Refusal::new(409, "PRICE_CHANGED", text).next("look at the new price and agree again"))
            }
            _ => Ok(()),
        }
    }
}

/// Adds a service of a provider under a name.
pub(super) async fn add(state: &State, user: &Member, order: Order) -> Result<Done, Refusal> {
    let provider = provider(state, &order.provider)?;
    let name = name_of(&order)?;
    let token = bearer(state, user, &provider, None).await?;
    if let Some(lost) = named(state, user, &order.project, &name).ok().filter(|held| held.unanswered.is_some()) {
        if lost.provider == provider.name && lost.service == order.service {
            return resume(state, user, &provider, token, lost, order.preview).await;
        }
    }
    let shelf = shelf(state, &provider).await?;
    let service = shelf.find(&order.service).ok_or_else(|| {
        let text = format!("{} sells no `{}`", provider.name, super::app_wire::clean(&order.service));
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

/// Goes on with what was lost: the same request under the same key, for the price that was agreed to then.
async fn resume(
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
    let mut world = state.world();
    // Between the look and now another call may have taken the name.
    let taken =
        |held: &Resource| held.user == record.user && held.project == record.project && held.name == record.name;
    if world.resources.values().any(|held| held.is_there() && taken(held)) {
        return Err(Refusal::new(409, "NAME_TAKEN", format!("there is a `{name}` already")));
    }
    world.keep_resource(record.clone())?;
    Ok(record)
}

fn project_id(user: &Member, project: &str) -> String {
    let digest = crate::secret::sha256_base64url(format!("{} {project}", user.subject).as_bytes());
    format!("proj_{}", digest.chars().filter(char::is_ascii_alphanumeric).take(16).collect::<String>())
}

/// A token for what costs something, and its `jti`.
fn payment(
    state: &State,
    user: &Member,
    provider: &Provider,
    plan: &Plan,
    verb: Verb,
) -> Result<(Option<Value>, Option<String>), Refusal> {
    let Some(limit) = plan.limit else { return Ok((None, None)) };
    let wrong = state.world().mischief.take_token(&provider.name, verb);
    let amount = if wrong == Some(Wrong::TinyToken) { Amount::from_minor(1).unwrap_or_default() } else { limit.amount };
    let jti = unique("ptok")?;
    let spec = PaymentTokenSpec::new(limit.currency, amount).monthly().of(&user.user()).audience(&provider.client_id);
    let token = mint_payment_token(state, &spec.claim("jti", json!(jti)))?;
    if wrong == Some(Wrong::RevokedToken) {
        state.world().revoke(&jti)?;
    }
    Ok((Some(json!({"type": "stripe_payment_token", "stripe_payment_token": token})), Some(jti)))
}

/// Makes the call that a record waits for, and writes down what became of it.
async fn finish(
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

fn take_up(state: &State, record: Resource, unanswered: Unanswered, said: ResourceAnswer) -> Result<Done, Refusal> {
    let (id, stage, access) = match said {
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
    let gone = stage == Stage::Removed || unanswered.verb == Verb::Remove;
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
        state: stage,
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
    Ok(match stage {
        Stage::Complete => shown.next("env --write .env"),
        Stage::Pending | Stage::PendingRemoval => shown.next("status"),
        _ => shown,
    })
}

/// Changes a resource to another service of the same provider.
pub(super) async fn upgrade(state: &State, user: &Member, name: &str, order: Order) -> Result<Done, Refusal> {
    let held = named(state, user, &order.project, name)?;
    let provider = provider(state, &held.provider)?;
    let token = bearer(state, user, &provider, None).await?;
    if held.unanswered.as_ref().is_some_and(|lost| lost.verb == Verb::Update && lost.service == order.service) {
        return resume(state, user, &provider, token, held, order.preview).await;
    }
    quiet(&held)?;
    let shelf = shelf(state, &provider).await?;
    let find = |id: &str| {
        let text = format!("{} sells no `{}`", provider.name, super::app_wire::clean(id));
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
pub(super) async fn rotate(state: &State, user: &Member, project: &str, name: &str) -> Result<Done, Refusal> {
    simple(state, user, project, name, Verb::Rotate).await
}

/// Removes a resource, and takes its payment token back.
pub(super) async fn remove(state: &State, user: &Member, project: &str, name: &str) -> Result<Done, Refusal> {
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

/// Looks at what is pending.
pub(super) async fn look(state: &State, user: &Member) -> Vec<String> {
    let pending: Vec<Resource> = {
        let world = state.world();
        let waits = |held: &&Resource| {
            held.user == user.subject && matches!(held.state, Stage::Pending | Stage::PendingRemoval)
        };
        world.resources.values().filter(waits).cloned().collect()
    };
    let mut warnings = Vec::new();
    for held in pending {
        if let Err(why) = look_at(state, user, &held).await {
            warnings.push(format!("`{}` could not be looked at: {why}", held.name));
        }
    }
    warnings
}

async fn look_at(state: &State, user: &Member, held: &Resource) -> Result<(), String> {
    let Some(id) = &held.provider_id else { return Ok(()) };
    let provider = provider(state, &held.provider).map_err(|refusal| refusal.code.to_owned())?;
    let token = bearer(state, user, &provider, None).await.map_err(|refusal| refusal.code.to_owned())?;
    let said = Wire::to(state, &provider).get(&token, id).await.map_err(|error| error.to_string())?;
    let stage = match &said {
        ResourceAnswer::Complete { .. } => Stage::Complete,
        ResourceAnswer::Removed { .. } => Stage::Removed,
        _ => return Ok(()),
    };
    let access = match said {
        ResourceAnswer::Complete { access, .. } => {
            access.into_iter().map(|(name, value)| (name, Kept::from(value))).collect()
        }
        _ => BTreeMap::new(),
    };
    let seen = Resource { state: stage, access, ..held.clone() };
    state.world().keep_resource(seen).map_err(|error| error.to_string())
}

pub(super) fn provider(state: &State, name: &str) -> Result<Provider, Refusal> {
    state.world().providers.get(name).cloned().ok_or_else(|| {
        let text = format!("no provider `{}` is known here", super::app_wire::clean(name));
        Refusal::new(404, "PROVIDER_UNKNOWN", text).next("catalog")
    })
}

pub(super) fn named(state: &State, user: &Member, project: &str, name: &str) -> Result<Resource, Refusal> {
    let world = state.world();
    let is =
        |held: &&Resource| held.is_there() && held.user == user.subject && held.project == project && held.name == name;
    world.resources.values().find(is).cloned().ok_or_else(|| {
        let text = format!("you have no `{}` in this project", super::app_wire::clean(name));
        Refusal::new(404, "RESOURCE_UNKNOWN", text).next("status")
    })
}

/// The given name, or one made of the service's id.
fn name_of(order: &Order) -> Result<String, Refusal> {
    let made = || order.service.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let name = order.name.clone().unwrap_or_else(made);
    let good = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if good {
        Ok(name)
    } else {
        Err(Refusal::new(400, "invalid_fields", "a name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter"))
    }
}
