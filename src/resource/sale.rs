//! What is sold: a plan of one catalog revision, at the price that it has beside what the account already uses.

use super::allowance::WorstCase;
use crate::catalog::{Edition, Offer, PlanRef, Price};
use crate::money::{Amount, Currency};

/// A plan at its price.
#[derive(Debug, Clone)]
pub(super) struct Sale {
    /// Which.
    pub(super) plan: PlanRef,
    /// What people read: `Postgres · Small`.
    pub(super) title: String,
    /// The revision under which it is sold.
    pub(super) catalog_version: i64,
    /// Its digest.
    pub(super) catalog_digest: String,
    /// The parent whose price it is, where there is one.
    pub(super) parent: Option<PlanRef>,
    /// What is taken as soon as the resource exists.
    pub(super) due: Amount,
    /// The price's currency; nothing for what is free.
    pub(super) currency: Option<Currency>,
    /// The most that a metered plan may cost in a month.
    pub(super) per_month: Option<Amount>,
    /// Whether it cannot be undone: then the money is taken before it is made.
    pub(super) irreversible: bool,
}

/// What a plan costs under a parent; without one, or under one that is not its parent, its own price.
#[must_use]
pub fn price_under<'a>(offer: &'a Offer, parent: Option<&PlanRef>) -> &'a Price {
    let parent = offer.plan.rules.parents.iter().find(|known| Some(&known.plan) == parent);
    parent.and_then(|parent| parent.price.as_ref()).unwrap_or(&offer.plan.price)
}

impl Sale {
    /// The most that it costs in a calendar month.
    pub(super) fn worst_case(&self) -> WorstCase {
        WorstCase { currency: self.currency, amount: self.per_month.unwrap_or(self.due) }
    }

    /// The plan as the revision sells it under `parent`. `None`: the revision does not have it.
    pub(super) fn of(edition: &Edition, plan: &PlanRef, parent: Option<PlanRef>) -> Option<Self> {
        let offer = edition.offer(plan)?;
        let price = price_under(offer, parent.as_ref());
        Some(Self {
            plan: plan.clone(),
            title: format!("{} · {}", offer.service_title, offer.plan.title),
            catalog_version: edition.version.number(),
            catalog_digest: edition.digest.clone(),
            due: price.due_at_once(),
            currency: price.currency(),
            per_month: match price {
                Price::Metered(price) => Some(price.max_exposure().money().amount),
                Price::Free | Price::Monthly(_) | Price::OneOff(_) => None,
            },
            irreversible: offer.irreversible,
            parent,
        })
    }
}
