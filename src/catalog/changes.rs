//! What changed for one plan between two revisions, for somebody who was shown the older one.

use std::fmt;

use serde::Serialize;

use super::edition::{Edition, Offer};
use super::names::{PlanId, ServiceId};
use super::price::{Meter, Price, decimal_text};

/// One difference. `was` or `now` is absent when the field was not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which field: `price.amount`, `price.meters.requests`, `plan`.
    pub field: String,
    /// In the older revision.
    pub was: Option<String>,
    /// In the newer revision.
    pub now: Option<String>,
}

/// `price.amount: was $9.00, now $12.00`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.was, &self.now) {
            (Some(was), Some(now)) => write!(f, "{}: was {was}, now {now}", self.field),
            (Some(was), None) => write!(f, "{}: was {was}, now gone", self.field),
            (None, Some(now)) => write!(f, "{}: new, {now}", self.field),
            (None, None) => write!(f, "{}: the same", self.field),
        }
    }
}

/// What is different for one plan. Empty: the same offer, or neither revision has it.
#[must_use]
pub fn changes(old: &Edition, new: &Edition, service: &ServiceId, plan: &PlanId) -> Vec<Change> {
    match (old.plan(service, plan), new.plan(service, plan)) {
        (Some(was), Some(now)) => between(was, now),
        (was, now) => {
            let offered = |offer: &Offer| offer.plan.price.to_string();
            difference("plan", was.map(offered), now.map(offered)).into_iter().collect()
        }
    }
}

fn difference(field: &str, was: Option<String>, now: Option<String>) -> Option<Change> {
    (was != now).then(|| Change { field: field.to_owned(), was, now })
}

/// Every field of an offer, in words, in both.
fn between(was: &Offer, now: &Offer) -> Vec<Change> {
    let (was, now) = (fields(was), fields(now));
    let find = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let gone = was.iter().filter(|(name, _)| find(&now, name).is_none());
    let names: Vec<_> = now.iter().chain(gone).map(|(name, _)| name.clone()).collect();
    names.iter().filter_map(|name| difference(name, find(&was, name), find(&now, name))).collect()
}

fn fields(offer: &Offer) -> Vec<(String, String)> {
    let plan = &offer.plan;
    let mut fields = of_price(&plan.price);
    let credentials: Vec<_> = plan.credentials.iter().map(ToString::to_string).collect();
    fields.push(("credentials".to_owned(), credentials.join(", ")));
    fields.push(("irreversible".to_owned(), offer.irreversible.to_string()));
    fields.push(("title".to_owned(), format!("{}, {}", offer.service_title, plan.title)));
    fields.extend(plan.description.iter().map(|text| ("description".to_owned(), text.to_string())));
    for (name, field) in plan.configuration.fields() {
        let need = if field.required { "required" } else { "optional" };
        fields.push((format!("configuration.{name}"), format!("{need}, {}", field.kind)));
    }
    fields.extend(of_rules(offer));
    fields
}

fn of_price(price: &Price) -> Vec<(String, String)> {
    let mut fields = vec![("price.kind".to_owned(), kind(price).to_owned())];
    match price {
        Price::Free => {}
        Price::Monthly(amount) | Price::OneOff(amount) => {
            fields.push(("price.amount".to_owned(), amount.money().to_string()));
        }
        Price::Metered(metered) => {
            fields.extend(metered.base().map(|base| ("price.amount".to_owned(), base.money().to_string())));
            fields.extend(metered.meters().iter().map(|meter| (format!("price.meters.{}", meter.id), in_words(meter))));
            fields.push(("max_exposure".to_owned(), format!("{} a month", metered.max_exposure().money())));
        }
    }
    fields
}

/// What the plan says about others; nothing where it says nothing.
fn of_rules(offer: &Offer) -> Vec<(String, String)> {
    let plan = &offer.plan;
    let mut fields = vec![("kind".to_owned(), plan.kind().to_string())];
    fields.extend(plan.rules.at_most.map(|most| ("at_most".to_owned(), format!("{most} per {}", offer.scope))));
    if plan.rules.exclusive {
        fields.push(("exclusive".to_owned(), format!("in each {}", offer.scope)));
    }
    for update in &plan.rules.updates {
        fields.push((format!("updates.{}", update.to), update.direction.to_string()));
    }
    for parent in &plan.rules.parents {
        let price = parent.price.as_ref().unwrap_or(&plan.price);
        fields.push((format!("parents.{}", parent.plan), price.to_string()));
    }
    fields.extend(plan.said_access.iter().map(|(name, credential)| (format!("access.{name}"), credential.to_string())));
    fields.extend(offer.kyc.iter().map(|field| (format!("kyc.{field}"), "required".to_owned())));
    fields
}

fn kind(price: &Price) -> &'static str {
    match price {
        Price::Free => "free",
        Price::Monthly(_) => "monthly",
        Price::OneOff(_) => "one_off",
        Price::Metered(_) => "metered",
    }
}

fn in_words(meter: &Meter) -> String {
    format!("{} {} per {} {}", decimal_text(meter.rate), meter.rate.currency(), meter.per, meter.unit)
}
