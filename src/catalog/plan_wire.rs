//! How a plan and its price stand in the published document: amounts and quantities are decimal text, because numbers of
//! canonical JSON are floats (RFC 8785 §3.2.2.3).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::names::{AccessName, CredentialName, MeterId, PlanId};
use super::price::{BadPrice, Meter, Metered, Payable, Price, Quantity, decimal_text};
use super::rules::{AtMost, Parent, PlanRef, Rules, Update};
use super::service::Plan;
use super::text::{Description, Title, Unit};
use super::words::PlanKind;
use crate::money::{Currency, InvalidRate, Money, Rate};

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PublishedPlan {
    id: PlanId,
    title: Title,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Description>,
    price: PublishedPrice,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_exposure: Option<Exposure>,
    credentials: Vec<CredentialName>,
    #[serde(default, skip_serializing_if = "Configuration::is_empty")]
    configuration: Configuration,
    // What came later is left out where it says nothing, so that older catalogs keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<PlanKind>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    updates: Vec<Update>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<AtMost>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exclusive: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parents: Vec<PublishedParent>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    access: BTreeMap<AccessName, CredentialName>,
}

#[derive(Clone, Serialize, Deserialize)]
struct PublishedParent {
    plan: PlanRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<PublishedPrice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_exposure: Option<Exposure>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    default: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum PublishedPrice {
    Free {},
    Monthly {
        currency: Currency,
        amount: String,
        per: Month,
    },
    OneOff {
        currency: Currency,
        amount: String,
    },
    Metered {
        currency: Currency,
        #[serde(skip_serializing_if = "Option::is_none")]
        amount: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        per: Option<Month>,
        meters: Vec<PublishedMeter>,
    },
}

/// A calendar month in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Month {
    Month,
}

#[derive(Clone, Serialize, Deserialize)]
struct PublishedMeter {
    id: MeterId,
    unit: Unit,
    amount: String,
    per: Quantity,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Exposure {
    currency: Currency,
    amount: String,
    per: ExposurePeriod,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExposurePeriod {
    Month,
    Purchase,
}

/// Why a published plan is not believed to be one.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPlan {
    #[error(transparent)]
    Rate(#[from] InvalidRate),
    #[error(transparent)]
    Price(#[from] BadPrice),
    #[error("the maximum exposure does not fit the price")]
    Exposure,
    #[error("`access` does not name the plan's credentials")]
    Access,
    #[error("the plan says more about other plans than {} times", Rules::MAX)]
    ManyRules,
}

impl From<Plan> for PublishedPlan {
    fn from(plan: Plan) -> Self {
        Self {
            id: plan.id,
            title: plan.title,
            description: plan.description,
            max_exposure: exposure(&plan.price),
            price: published(&plan.price),
            credentials: plan.credentials,
            configuration: plan.configuration,
            kind: plan.said_kind,
            updates: plan.rules.updates,
            at_most: plan.rules.at_most,
            exclusive: plan.rules.exclusive,
            parents: plan.rules.parents.into_iter().map(PublishedParent::from).collect(),
            access: plan.said_access,
        }
    }
}

impl From<Parent> for PublishedParent {
    fn from(parent: Parent) -> Self {
        Self {
            plan: parent.plan,
            max_exposure: parent.price.as_ref().and_then(exposure),
            price: parent.price.as_ref().map(published),
            default: parent.default,
        }
    }
}

fn exposure(price: &Price) -> Option<Exposure> {
    let per = if matches!(price, Price::OneOff(_)) { ExposurePeriod::Purchase } else { ExposurePeriod::Month };
    let currency = price.currency()?;
    Some(Exposure { currency, amount: Money { amount: price.worst_case(), currency }.major(), per })
}

fn published(price: &Price) -> PublishedPrice {
    match price {
        Price::Free => PublishedPrice::Free {},
        Price::Monthly(amount) => {
            let money = amount.money();
            PublishedPrice::Monthly { currency: money.currency, amount: money.major(), per: Month::Month }
        }
        Price::OneOff(amount) => {
            PublishedPrice::OneOff { currency: amount.money().currency, amount: amount.money().major() }
        }
        Price::Metered(metered) => PublishedPrice::Metered {
            currency: metered.max_exposure().money().currency,
            amount: metered.base().map(|base| base.money().major()),
            per: metered.base().map(|_| Month::Month),
            meters: metered.meters().iter().map(published_meter).collect(),
        },
    }
}

fn published_meter(meter: &Meter) -> PublishedMeter {
    PublishedMeter { id: meter.id.clone(), unit: meter.unit.clone(), amount: decimal_text(meter.rate), per: meter.per }
}

fn rate(amount: &str, currency: Currency) -> Result<Rate, InvalidRate> {
    format!("{amount} {currency}").parse()
}

fn payable(amount: &str, currency: Currency) -> Result<Payable, BadPlan> {
    Ok(rate(amount, currency)?.try_into()?)
}

impl TryFrom<PublishedPlan> for Plan {
    type Error = BadPlan;

    fn try_from(plan: PublishedPlan) -> Result<Self, BadPlan> {
        if plan.updates.len() > Rules::MAX || plan.parents.len() > Rules::MAX {
            return Err(BadPlan::ManyRules);
        }
        let named: BTreeSet<_> = plan.access.values().collect();
        if !named.is_empty() && named != plan.credentials.iter().collect() {
            return Err(BadPlan::Access);
        }
        let parents = plan.parents.into_iter().map(PublishedParent::believed).collect::<Result<_, _>>()?;
        Ok(Self {
            id: plan.id,
            title: plan.title,
            description: plan.description,
            price: plan.price.believed(plan.max_exposure.as_ref())?,
            credentials: plan.credentials,
            configuration: plan.configuration,
            said_kind: plan.kind,
            rules: Rules { updates: plan.updates, at_most: plan.at_most, exclusive: plan.exclusive, parents },
            said_access: plan.access,
        })
    }
}

impl PublishedParent {
    fn believed(self) -> Result<Parent, BadPlan> {
        let price = self.price.map(|price| price.believed(self.max_exposure.as_ref())).transpose()?;
        if price.is_none() && self.max_exposure.is_some() {
            return Err(BadPlan::Exposure);
        }
        Ok(Parent { plan: self.plan, price, default: self.default })
    }
}

impl PublishedPrice {
    /// The price, if the stated maximum is the one that follows from it.
    fn believed(self, max_exposure: Option<&Exposure>) -> Result<Price, BadPlan> {
        let price = match self {
            Self::Free {} => Price::Free,
            Self::Monthly { currency, amount, per: Month::Month } => Price::Monthly(payable(&amount, currency)?),
            Self::OneOff { currency, amount } => Price::OneOff(payable(&amount, currency)?),
            Self::Metered { currency, amount, per: _, meters } => {
                let most = max_exposure.ok_or(BadPlan::Exposure)?;
                let base = amount.map(|amount| payable(&amount, currency)).transpose()?;
                let meters = meters.into_iter().map(|meter| meter.believed(currency)).collect::<Result<_, _>>()?;
                Price::Metered(Metered::new(base, meters, payable(&most.amount, most.currency)?)?)
            }
        };
        if exposure(&price).as_ref() == max_exposure { Ok(price) } else { Err(BadPlan::Exposure) }
    }
}

impl PublishedMeter {
    fn believed(self, currency: Currency) -> Result<Meter, BadPlan> {
        Ok(Meter { id: self.id, unit: self.unit, rate: rate(&self.amount, currency)?, per: self.per })
    }
}
