//! The catalog as the orchestrators' wire sees it: one service for each plan, made from the signed document alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::names::{PlanId, ServiceId};
use super::price_words::in_words;
use super::published::Document;
use super::rules::{AtMost, PlanRef};
use super::service::{Plan, Service};
use super::words::{Direction, KycField, PlanKind, Scope, WireCategory};

/// A plan of ours, which is a service there.
#[derive(Debug, Clone, PartialEq)]
pub struct WireService {
    /// Unique at this provider.
    pub id: String,
    /// The plan that it is.
    pub plan: PlanRef,
    /// A tier, or something that yields credentials.
    pub kind: PlanKind,
    /// With what it stands together in a listing.
    pub group: String,
    /// Where `at_most` and `exclusive` count.
    pub scope: Scope,
    /// For people and agents. Never empty.
    pub description: String,
    /// Never empty.
    pub categories: Vec<WireCategory>,
    /// What it costs.
    pub pricing: Pricing,
    /// What the orchestrator has to know about the buyer and pass on.
    pub kyc: Vec<KycField>,
    /// What the buyer says, as JSON Schema. `None`: nothing.
    pub configuration_schema: Option<Value>,
    /// To what a resource may be changed.
    pub allowed_updates: Vec<AllowedUpdate>,
    /// How many may be active at once.
    pub at_most: Option<AtMost>,
    /// Whether nothing that `allowed_updates` reach may be active at the same time.
    pub exclusive: bool,
    /// The address of the page for agents.
    pub llm_context_url: Option<String>,
}

/// What a service of the wire costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pricing {
    /// Nothing.
    Free,
    /// These prices; there is at least one.
    Paid(Vec<PaidPrice>),
    /// It depends on which parent is active; there is at least one option.
    Component(Vec<ComponentOption>),
}

/// A price in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidPrice {
    /// `$9.00 per month`.
    pub freeform: String,
}

/// What a service costs under one parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentOption {
    /// The wire's id of the parent.
    pub parent: String,
    /// `None`: free.
    pub paid: Option<PaidPrice>,
    /// Whether a listing shows this one first.
    pub default: bool,
}

/// A change that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedUpdate {
    /// The wire's id of the target.
    pub service: String,
    /// Which way that is.
    pub direction: Direction,
}

/// The path under which the provider serves a service's page for agents.
#[must_use]
pub fn llm_context_path(service: &ServiceId) -> String {
    format!("/catalog/context/{service}.md")
}

/// The service where it has one plan, and otherwise `service:plan`.
pub(super) fn wire_service_id(service: &Service, plan: &PlanId) -> String {
    if service.plans().len() == 1 { service.id().to_string() } else { format!("{}:{plan}", service.id()) }
}

/// All of them, sorted by id.
pub(super) fn wire_services(document: &Document) -> Vec<WireService> {
    let ids = listed(&document.services);
    let of_service = |service: &Service| -> Vec<WireService> {
        service.plans().iter().filter_map(|plan| wire_service(&document.iss, service, plan, &ids)).collect()
    };
    let mut services: Vec<_> = document.services.iter().flat_map(of_service).collect();
    services.sort_by(|a, b| a.id.cmp(&b.id));
    services
}

/// The plans that have a place on the wire, with their ids there: in a category that the wire knows, and not below
/// parents of which none has a place.
fn listed(services: &[Service]) -> BTreeMap<PlanRef, String> {
    let mut parents: BTreeMap<PlanRef, &Plan> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for service in services.iter().filter(|service| !service.wire_categories().is_empty()) {
        for plan in service.plans() {
            let name = PlanRef::new(service.id(), &plan.id);
            ids.insert(name.clone(), wire_service_id(service, &plan.id));
            parents.insert(name, plan);
        }
    }
    loop {
        let lost = |plan: &Plan| {
            let parents = &plan.rules.parents;
            !parents.is_empty() && !parents.iter().any(|parent| ids.contains_key(&parent.plan))
        };
        let gone: BTreeSet<_> =
            ids.keys().filter(|name| parents.get(name).is_some_and(|plan| lost(plan))).cloned().collect();
        if gone.is_empty() {
            return ids;
        }
        ids.retain(|name, _| !gone.contains(name));
    }
}

fn wire_service(iss: &str, service: &Service, plan: &Plan, ids: &BTreeMap<PlanRef, String>) -> Option<WireService> {
    let name = PlanRef::new(service.id(), &plan.id);
    let facts = service.facts();
    let updates = plan.rules.updates.iter().filter_map(|update| {
        Some(AllowedUpdate { service: ids.get(&update.to)?.clone(), direction: update.direction })
    });
    Some(WireService {
        id: ids.get(&name)?.clone(),
        plan: name,
        kind: plan.kind(),
        group: facts.group.as_ref().map_or_else(|| service.id().to_string(), ToString::to_string),
        scope: facts.scope,
        description: description(service, plan),
        categories: service.wire_categories(),
        pricing: pricing(plan, ids),
        kyc: facts.kyc.clone(),
        configuration_schema: (!plan.configuration.is_empty()).then(|| plan.configuration_schema()),
        allowed_updates: updates.collect(),
        at_most: plan.rules.at_most,
        exclusive: plan.rules.exclusive,
        llm_context_url: facts.llm_context.as_ref().map(|_| format!("{iss}{}", llm_context_path(service.id()))),
    })
}

fn description(service: &Service, plan: &Plan) -> String {
    let facts = service.facts();
    match (&plan.description, service.plans().len()) {
        (None, 1) => facts.description.to_string(),
        (Some(plan), 1) => format!("{} {plan}", facts.description),
        (None, _) => format!("{}, {}. {}", facts.title, plan.title, facts.description),
        (Some(said), _) => format!("{}, {}. {} {said}", facts.title, plan.title, facts.description),
    }
}

fn pricing(plan: &Plan, ids: &BTreeMap<PlanRef, String>) -> Pricing {
    let paid = |price| in_words(price).map(|freeform| PaidPrice { freeform });
    let options = plan.rules.parents.iter().filter_map(|parent| {
        let price = parent.price.as_ref().unwrap_or(&plan.price);
        Some(ComponentOption { parent: ids.get(&parent.plan)?.clone(), paid: paid(price), default: parent.default })
    });
    let options: Vec<_> = options.collect();
    if !options.is_empty() {
        return Pricing::Component(options);
    }
    paid(&plan.price).map_or(Pricing::Free, |paid| Pricing::Paid(vec![paid]))
}

/// What has no place on the wire, and why.
pub(super) fn notes(services: &[Service]) -> Vec<String> {
    let ids = listed(services);
    let known: Vec<_> = WireCategory::ALL.iter().map(|word| word.as_str()).collect();
    let mut notes = Vec::new();
    for service in services {
        if service.wire_categories().is_empty() {
            notes.push(format!(
                "the service `{}` is not listed on the orchestrators' wire, which knows none of its categories: write \
                 `wire_categories` with some of {}",
                service.id(),
                known.join(", ")
            ));
            continue;
        }
        for plan in service.plans() {
            let name = PlanRef::new(service.id(), &plan.id);
            if !ids.contains_key(&name) {
                notes.push(format!(
                    "the plan `{name}` is not listed on the orchestrators' wire: none of its parents is"
                ));
            }
        }
    }
    notes
}
