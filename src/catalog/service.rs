//! Services and their plans, in the form in which they are published.

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::names::{Category, CredentialName, MeterId, PlanId, ServiceId};
use super::plan_wire::PublishedPlan;
use super::price::{Meter, Price};
use super::text::{AgentNote, Description, Title, WebPage};
use crate::money::{Amount, Currency};

/// Who sells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Provider {
    /// The name that people know.
    pub name: Title,
    /// What the provider does.
    pub description: Description,
    /// The front page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<WebPage>,
    /// Where people get help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support: Option<WebPage>,
    /// The terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<WebPage>,
    /// The privacy policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<WebPage>,
}

/// One plan of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "PublishedPlan", into = "PublishedPlan")]
pub struct Plan {
    /// Unique in the service.
    pub id: PlanId,
    /// For people.
    pub title: Title,
    /// What the plan holds, where the title does not say it.
    pub description: Option<Description>,
    /// What it costs, its currency and its worst case.
    pub price: Price,
    /// Under which names its credentials are handed over.
    pub credentials: Vec<CredentialName>,
    /// What a buyer may have to say.
    pub configuration: Configuration,
}

impl Plan {
    /// The most that buying costs until the end of the month, in minor units: what has to be held.
    #[must_use]
    pub fn worst_case(&self) -> Amount {
        self.price.worst_case()
    }

    /// The currency; a free plan has none.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.price.currency()
    }

    /// The meter with this id; `None` also when the plan has no meters.
    #[must_use]
    pub fn rate(&self, meter: &MeterId) -> Option<&Meter> {
        match &self.price {
            Price::Metered(metered) => metered.meters().iter().find(|known| known.id == *meter),
            _ => None,
        }
    }
}

/// One service. At least one plan, plan ids unique; an irreversible service is only sold at a one-off price.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "ServiceDraft")]
pub struct Service(ServiceDraft);

/// What a service is made of, before its parts are known to fit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceDraft {
    /// Unique in the catalog.
    pub id: ServiceId,
    /// For people.
    pub title: Title,
    /// What it is.
    pub description: Description,
    /// Under which words it is found.
    pub categories: Vec<Category>,
    /// When an agent should choose it.
    pub use_when: AgentNote,
    /// When an agent should not.
    pub not_when: AgentNote,
    /// Whether what was bought cannot be given back.
    pub irreversible: bool,
    /// What can be bought, in the order in which it is shown.
    pub plans: Vec<Plan>,
}

/// Why the parts of a service do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadService {
    /// Nothing to buy.
    #[error("the service has no plan: add a `[[plans]]`")]
    NoPlans,
    /// More plans than anybody compares.
    #[error("the service has more than {} plans: split it", Service::MAX_PLANS)]
    ManyPlans,
    /// A plan twice.
    #[error("the plan `{0}` stands here twice: rename one")]
    PlanTwice(PlanId),
    /// What cannot be given back is paid once.
    #[error("the service is irreversible, and its plan `{0}` has no one-off price: use the price kind `one_off`")]
    IrreversiblePrice(PlanId),
}

impl TryFrom<ServiceDraft> for Service {
    type Error = BadService;

    fn try_from(draft: ServiceDraft) -> Result<Self, BadService> {
        if draft.plans.is_empty() {
            return Err(BadService::NoPlans);
        }
        if draft.plans.len() > Self::MAX_PLANS {
            return Err(BadService::ManyPlans);
        }
        for (index, plan) in draft.plans.iter().enumerate() {
            if draft.plans.iter().skip(index + 1).any(|other| other.id == plan.id) {
                return Err(BadService::PlanTwice(plan.id.clone()));
            }
            if draft.irreversible && !matches!(plan.price, Price::OneOff(_)) {
                return Err(BadService::IrreversiblePrice(plan.id.clone()));
            }
        }
        Ok(Self(draft))
    }
}

impl Service {
    /// The most plans of one service.
    pub const MAX_PLANS: usize = 50;

    /// Unique in the catalog.
    #[must_use]
    pub fn id(&self) -> &ServiceId {
        &self.0.id
    }

    /// Whether what was bought cannot be given back.
    #[must_use]
    pub fn irreversible(&self) -> bool {
        self.0.irreversible
    }

    /// What can be bought.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        &self.0.plans
    }

    /// Everything, for reading.
    #[must_use]
    pub fn facts(&self) -> &ServiceDraft {
        &self.0
    }
}
