//! What a seller asks an edition before selling: is this change allowed, how many may there be, what does it cost now?

use std::collections::BTreeSet;

use super::edition::{Edition, Offer};
use super::llm_context::LlmContext;
use super::names::ServiceId;
use super::price::Price;
use super::rules::{Limit, Parent, PlanRef};
use super::words::Direction;

/// The plan is only sold beside one of its parents, and none of them is active.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this plan needs one of these to be active first: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct ParentNeeded(pub Vec<PlanRef>);

impl Edition {
    /// The offer with this name.
    #[must_use]
    pub fn offer(&self, name: &PlanRef) -> Option<&Offer> {
        self.plan(&name.service, &name.plan)
    }

    /// To which offers a resource of this plan may be changed, and which way that is. Empty also for an unknown plan.
    #[must_use]
    pub fn updates_from(&self, plan: &PlanRef) -> Vec<(&Offer, Direction)> {
        let updates = self.offer(plan).map(|offer| offer.plan.rules.updates.as_slice()).unwrap_or_default();
        updates.iter().filter_map(|update| Some((self.offer(&update.to)?, update.direction))).collect()
    }

    /// Which plans have to be there first (one of them), with what this one costs under each. Empty: none is needed.
    #[must_use]
    pub fn parents(&self, plan: &PlanRef) -> &[Parent] {
        self.offer(plan).map(|offer| offer.plan.rules.parents.as_slice()).unwrap_or_default()
    }

    /// How many resources of this plan may be active at once, and where they are counted. `None`: as many as one likes.
    #[must_use]
    pub fn limit(&self, plan: &PlanRef) -> Option<Limit> {
        let offer = self.offer(plan)?;
        Some(Limit { at_most: offer.plan.rules.at_most?, scope: offer.scope })
    }

    /// The plans of which no resource may be active when one of this plan is made: everything that `updates` lead to,
    /// also over several steps, except the plan itself. Empty when the plan is not exclusive.
    #[must_use]
    pub fn exclusive(&self, plan: &PlanRef) -> BTreeSet<PlanRef> {
        let mut reached = BTreeSet::new();
        if !self.offer(plan).is_some_and(|offer| offer.plan.rules.exclusive) {
            return reached;
        }
        let mut open = vec![plan.clone()];
        while let Some(next) = open.pop() {
            for (offer, _) in self.updates_from(&next) {
                let name = offer.name();
                if reached.insert(name.clone()) {
                    open.push(name);
                }
            }
        }
        reached.remove(plan);
        reached
    }

    /// What this plan costs while these plans are `active`, each in the scope of its own service (an account's tier counts
    /// in every project): under the first of its parents, in the order of the catalog, that is one of them. Without parents it is the plan's own price. `None`: there is no such plan.
    #[must_use]
    pub fn price_under(&self, plan: &PlanRef, active: &[PlanRef]) -> Option<Result<&Price, ParentNeeded>> {
        let plan = &self.offer(plan)?.plan;
        if plan.rules.parents.is_empty() {
            return Some(Ok(&plan.price));
        }
        let parent = plan.rules.parents.iter().find(|parent| active.contains(&parent.plan));
        let needed = || ParentNeeded(plan.rules.parents.iter().map(|parent| parent.plan.clone()).collect());
        Some(parent.map(|parent| parent.price.as_ref().unwrap_or(&plan.price)).ok_or_else(needed))
    }

    /// The page for agents about a service.
    #[must_use]
    pub fn llm_context(&self, service: &ServiceId) -> Option<&LlmContext> {
        let service = self.document.services.iter().find(|known| known.id() == service)?;
        service.facts().llm_context.as_ref()
    }

    /// The id of a plan on the orchestrators' wire: the service where it has one plan, and otherwise `service:plan`.
    #[must_use]
    pub fn wire_service_id(&self, plan: &PlanRef) -> Option<String> {
        self.offer(plan)?;
        let service = self.document.services.iter().find(|known| *known.id() == plan.service)?;
        Some(super::wire_services::wire_service_id(service, &plan.plan))
    }

    /// What the wire's id means. `service:plan` is understood also where the service has one plan, so that an id stays
    /// good when plans come and go. `None`: not sold on the wire.
    #[must_use]
    pub fn offer_of_wire_id(&self, id: &str) -> Option<&Offer> {
        let listed = &self.wire_services;
        if let Ok(index) = listed.binary_search_by(|known| known.id.as_str().cmp(id)) {
            return self.offer(&listed.get(index)?.plan);
        }
        let (service, plan) = id.split_once(':')?;
        let meant = PlanRef { service: service.parse().ok()?, plan: plan.parse().ok()? };
        let found = listed.iter().find(|known| known.plan == meant)?;
        self.offer(&found.plan)
    }
}
