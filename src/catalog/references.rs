//! What plans say about other plans has to be true in the whole catalog: nothing points nowhere, at itself or in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::suggestion;
use super::names::ServiceId;
use super::price::Price;
use super::rules::PlanRef;
use super::service::{Plan, Service};
use crate::money::Currency;

/// The most of them that are told at once.
const MAX_TOLD: usize = 100;

/// Which statement of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// The n-th update.
    Update(usize),
    /// The n-th parent.
    Parent(usize),
    /// The plan as a whole.
    Plan,
}

/// A statement that is not true in this catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BadReference {
    /// Whose statement.
    pub(super) plan: PlanRef,
    /// Which.
    pub(super) rule: Rule,
    /// Why.
    pub(super) why: BadRule,
}

/// Why a statement about another plan cannot stand.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadRule {
    #[error("there is no service `{0}`: {1}")]
    NoService(ServiceId, String),
    #[error("the service `{service}` has no plan `{plan}`: {1}", service = .0.service, plan = .0.plan)]
    NoPlan(PlanRef, String),
    #[error("`{0}` is this plan itself: name another")]
    Itself(PlanRef),
    #[error("`{0}` stands here twice: remove one")]
    Twice(PlanRef),
    #[error("`{0}` costs {1}, this plan {2}: a change cannot change the currency")]
    UpdateCurrency(PlanRef, Currency, Currency),
    #[error("the price under `{0}` is in {1}, this plan's in {2}: write one currency")]
    ParentCurrency(PlanRef, Currency, Currency),
    #[error("several parents are the default: choose one")]
    Defaults,
    #[error("the plan is `exclusive` but has no `updates`: there is nothing that it would exclude")]
    ExcludesNothing,
    #[error("the plan needs itself first, so nobody could buy it: {0}")]
    Circle(String),
}

/// Everything that is not true, in the order of the services.
pub(super) fn check(services: &[Service]) -> Vec<BadReference> {
    let known = Known::new(services);
    let mut found = Vec::new();
    for (service, plan) in services.iter().flat_map(|service| service.plans().iter().map(move |plan| (service, plan))) {
        let this = PlanRef::new(service.id(), &plan.id);
        let mut wrong = Vec::new();
        known.updates(&this, plan, &mut wrong);
        known.parents(&this, plan, &mut wrong);
        if plan.rules.exclusive && plan.rules.updates.is_empty() {
            wrong.push((Rule::Plan, BadRule::ExcludesNothing));
        }
        found.extend(wrong.into_iter().map(|(rule, why)| BadReference { plan: this.clone(), rule, why }));
        if found.len() > MAX_TOLD {
            found.truncate(MAX_TOLD);
            return found;
        }
    }
    if found.is_empty() {
        found.extend(known.circle());
    }
    found
}

type Wrong = Vec<(Rule, BadRule)>;

struct Known<'a> {
    services: &'a [Service],
    plans: BTreeMap<PlanRef, &'a Plan>,
}

impl<'a> Known<'a> {
    fn new(services: &'a [Service]) -> Self {
        let of = |service: &'a Service| service.plans().iter().map(|plan| (PlanRef::new(service.id(), &plan.id), plan));
        Self { services, plans: services.iter().flat_map(of).collect() }
    }

    /// The plan that is meant, if it is another one that exists and was not named before.
    fn meant(&self, this: &PlanRef, to: &PlanRef, before: &[&PlanRef]) -> Result<&'a Plan, BadRule> {
        if to == this {
            return Err(BadRule::Itself(to.clone()));
        }
        if before.contains(&to) {
            return Err(BadRule::Twice(to.clone()));
        }
        match self.plans.get(to) {
            Some(plan) => Ok(plan),
            None => Err(self.missing(to)),
        }
    }

    fn missing(&self, to: &PlanRef) -> BadRule {
        if let Some(service) = self.services.iter().find(|service| *service.id() == to.service) {
            let plans: Vec<_> = service.plans().iter().map(|plan| plan.id.as_str()).collect();
            return BadRule::NoPlan(to.clone(), suggestion(to.plan.as_str(), &plans));
        }
        let ids: Vec<_> = self.services.iter().map(|service| service.id().as_str()).collect();
        BadRule::NoService(to.service.clone(), suggestion(to.service.as_str(), &ids))
    }

    fn updates(&self, this: &PlanRef, plan: &Plan, wrong: &mut Wrong) {
        let mut before = Vec::new();
        for (index, update) in plan.rules.updates.iter().enumerate() {
            let why = match self.meant(this, &update.to, &before) {
                Err(why) => Some(why),
                Ok(target) => differ(target.currency(), plan.currency())
                    .map(|(theirs, ours)| BadRule::UpdateCurrency(update.to.clone(), theirs, ours)),
            };
            wrong.extend(why.map(|why| (Rule::Update(index), why)));
            before.push(&update.to);
        }
    }

    fn parents(&self, this: &PlanRef, plan: &Plan, wrong: &mut Wrong) {
        let mut before = Vec::new();
        let mut currency = plan.currency();
        for (index, parent) in plan.rules.parents.iter().enumerate() {
            let under = parent.price.as_ref().and_then(Price::currency);
            let why = match self.meant(this, &parent.plan, &before) {
                Err(why) => Some(why),
                Ok(_) => differ(under, currency)
                    .map(|(theirs, ours)| BadRule::ParentCurrency(parent.plan.clone(), theirs, ours)),
            };
            wrong.extend(why.map(|why| (Rule::Parent(index), why)));
            currency = currency.or(under);
            before.push(&parent.plan);
        }
        let defaults = plan.rules.parents.iter().enumerate().filter(|(_, parent)| parent.default);
        wrong.extend(defaults.skip(1).map(|(index, _)| (Rule::Parent(index), BadRule::Defaults)));
    }

    /// One circle of parents, if there is any. Walks without recursion: a chain may be as long as the catalog.
    fn circle(&self) -> Option<BadReference> {
        let mut clear: BTreeSet<&PlanRef> = BTreeSet::new();
        for root in self.plans.keys() {
            let mut way: Vec<(&PlanRef, usize)> = vec![(root, 0)];
            let mut on_way = BTreeSet::from([root]);
            while let Some((plan, next)) = way.last_mut() {
                let Some(parent) = self.plans.get(*plan).and_then(|plan| plan.rules.parents.get(*next)) else {
                    clear.insert(plan);
                    on_way.remove(*plan);
                    way.pop();
                    continue;
                };
                *next += 1;
                if on_way.contains(&parent.plan) {
                    return closed(&way, &parent.plan);
                }
                if !clear.contains(&parent.plan) {
                    on_way.insert(&parent.plan);
                    way.push((&parent.plan, 0));
                }
            }
        }
        None
    }
}

/// The circle that `again` closes, told at the plan at which it begins.
fn closed(way: &[(&PlanRef, usize)], again: &PlanRef) -> Option<BadReference> {
    let circle: Vec<_> = way.iter().skip_while(|(plan, _)| *plan != again).collect();
    let (_, next) = circle.first()?;
    let names: Vec<_> = circle.iter().map(|(plan, _)| plan.to_string()).collect();
    let why = BadRule::Circle(format!("{} → {again}", names.join(" → ")));
    Some(BadReference { plan: again.clone(), rule: Rule::Parent(next - 1), why })
}

/// Both, when both are there and are not the same.
fn differ(theirs: Option<Currency>, ours: Option<Currency>) -> Option<(Currency, Currency)> {
    theirs.zip(ours).filter(|(theirs, ours)| theirs != ours)
}
