//! How a plan and its price stand in the published document: amounts and quantities are decimal text, because numbers of
//! canonical JSON are floats (RFC 8785 §3.2.2.3).

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::names::{CredentialName, MeterId, PlanId};
use super::price::{BadPrice, Meter, Metered, Payable, Price, Quantity, decimal_text};
use super::service::Plan;
use super::text::{Description, Title, Unit};
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
        let price = match plan.price {
            PublishedPrice::Free {} => Price::Free,
            PublishedPrice::Monthly { currency, amount, per: Month::Month } => {
                Price::Monthly(payable(&amount, currency)?)
            }
            PublishedPrice::OneOff { currency, amount } => Price::OneOff(payable(&amount, currency)?),
            PublishedPrice::Metered { currency, amount, per: _, meters } => {
                let most = plan.max_exposure.as_ref().ok_or(BadPlan::Exposure)?;
                let base = amount.map(|amount| payable(&amount, currency)).transpose()?;
                let meters = meters.into_iter().map(|meter| meter.believed(currency)).collect::<Result<_, _>>()?;
                Price::Metered(Metered::new(base, meters, payable(&most.amount, most.currency)?)?)
            }
        };
        if exposure(&price) != plan.max_exposure {
            return Err(BadPlan::Exposure);
        }
        let (id, title, description) = (plan.id, plan.title, plan.description);
        Ok(Self { id, title, description, price, credentials: plan.credentials, configuration: plan.configuration })
    }
}

impl PublishedMeter {
    fn believed(self, currency: Currency) -> Result<Meter, BadPlan> {
        Ok(Meter { id: self.id, unit: self.unit, rate: rate(&self.amount, currency)?, per: self.per })
    }
}
