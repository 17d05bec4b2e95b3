//! What the orchestrator refuses before it calls a provider: unknown services, missing plans, counts, exclusions, changes
//! that are not allowed, and configuration that cannot be right. The provider enforces all of it again.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::app_wire::{Quoted, Scope, Service};
use super::refusal::Refusal;
use super::registry::Member;
use super::resources::Resource;

/// What the user has at the provider already.
pub(super) struct Holdings<'h> {
    pub(super) project: &'h str,
    /// Of this user at this provider, in any project; removed ones are not there.
    pub(super) resources: Vec<&'h Resource>,
}

impl Holdings<'_> {
    fn in_scope(&self, scope: Scope) -> impl Iterator<Item = &&Resource> {
        self.resources.iter().filter(move |held| scope == Scope::Account || held.project == self.project)
    }

    /// The services that are there, for prices and parents. Plans count in their own scope, which their holders know;
    /// a parent in another project of the same account is taken as active.
    fn active(&self) -> BTreeSet<&str> {
        self.resources.iter().map(|held| held.service.as_str()).collect()
    }
}

/// Whether `service` may be added, and what it costs.
pub(super) fn may_add(
    service: &Service,
    configuration: &Value,
    user: &Member,
    holdings: &Holdings<'_>,
) -> Result<Quoted, Refusal> {
    if let Some(field) = service.kyc.iter().find(|field| !user.knows(field)) {
        let text = format!("{} needs the user's {field}, which is not known here", service.id);
        return Err(Refusal::new(409, "KYC_REQUIRED", text));
    }
    check_configuration(service, configuration)?;
    let same = holdings.in_scope(service.scope).filter(|held| held.service == service.id).count();
    if service.at_most.is_some_and(|most| u64::try_from(same).unwrap_or(u64::MAX) >= most) {
        let text = format!("{} can be there {} times at most", service.id, service.at_most.unwrap_or_default());
        return Err(
            Refusal::new(409, "resource_count_constraint_exceeded", text).next("upgrade or remove what is there")
        );
    }
    let excluded = |held: &&&Resource| service.allowed_updates.iter().any(|update| update.service == held.service);
    if let (true, Some(held)) = (service.exclusive, holdings.in_scope(service.scope).find(excluded)) {
        let text = format!("{} cannot stand beside {} (`{}`)", service.id, held.service, held.name);
        return Err(Refusal::new(409, "mutual_exclusion_constraint", text)
            .next(format!("upgrade {} {}", held.name, service.id)));
    }
    quote(service, configuration, &holdings.active())
}

/// Whether `held` may become `target`, and what it will cost.
pub(super) fn may_become(
    held: &Service,
    target: &Service,
    configuration: &Value,
    holdings: &Holdings<'_>,
) -> Result<Quoted, Refusal> {
    if !held.may_become(target) {
        let allowed: Vec<&str> = held.allowed_updates.iter().map(|update| update.service.as_str()).collect();
        let text = match allowed.as_slice() {
            [] => format!("{} cannot be changed to another service", held.id),
            some => format!("{} can become {}, not {}", held.id, some.join(", "), target.id),
        };
        return Err(Refusal::new(409, "UPDATE_NOT_ALLOWED", text));
    }
    check_configuration(target, configuration)?;
    quote(target, configuration, &holdings.active())
}

fn quote(service: &Service, configuration: &Value, active: &BTreeSet<&str>) -> Result<Quoted, Refusal> {
    service.quote(active, configuration).ok_or_else(|| {
        let parents = service.parents();
        let text = format!("{} needs one of these plans first: {}", service.id, parents.join(", "));
        let refusal = Refusal::new(409, "PLAN_REQUIRED", text).more(json!({"plans": parents}));
        parents.iter().fold(refusal, |refusal, parent| refusal.next(format!("add PROVIDER/{parent}")))
    })
}

/// `NAME=VALUE` pairs as the schema types them: `8` is a number where the schema says so, and a text elsewhere.
pub(super) fn typed(service: &Service, given: &Map<String, Value>) -> Value {
    let properties = service.configuration_schema.as_ref().and_then(|schema| schema.get("properties"));
    let typed = given.iter().map(|(name, value)| {
        let kind = properties.and_then(|all| all.get(name)?.get("type")?.as_str());
        let read = match (kind, value) {
            (Some("integer" | "number" | "boolean" | "object" | "array"), Value::String(text)) => {
                serde_json::from_str(text).unwrap_or_else(|_not_json| value.clone())
            }
            _ => value.clone(),
        };
        (name.clone(), read)
    });
    Value::Object(typed.collect())
}

/// The part of JSON Schema that tells a person what is missing or mistyped; the rest is the provider's to judge.
fn check_configuration(service: &Service, configuration: &Value) -> Result<(), Refusal> {
    let Some(schema) = &service.configuration_schema else { return Ok(()) };
    let refused = |text: String| {
        Err(Refusal::new(400, "invalid_fields", text).more(json!({"schema": schema})).next("`--config NAME=VALUE`"))
    };
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        if configuration.get(name).is_none() {
            return refused(format!("{} needs the configuration `{name}`", service.id));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in configuration.as_object().into_iter().flatten() {
        let Some(property) = properties.and_then(|all| all.get(name)) else {
            if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
                return refused(format!("{} has no configuration `{name}`", service.id));
            }
            continue;
        };
        if let Some(choices) = property.get("enum").and_then(Value::as_array).filter(|all| !all.contains(value)) {
            let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
            return refused(format!("`{name}` is one of {}", choices.join(", ")));
        }
        if !fits(property.get("type").and_then(Value::as_str), value) {
            return refused(format!(
                "`{name}` is of another type than {}",
                property.get("type").unwrap_or(&Value::Null)
            ));
        }
    }
    Ok(())
}

fn fits(kind: Option<&str>, value: &Value) -> bool {
    match kind {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        _ => true,
    }
}
