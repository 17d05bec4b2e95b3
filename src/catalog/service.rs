//! Services and their plans, in the form in which they are published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::configuration::Configuration;
use super::llm_context::LlmContext;
use super::names::{AccessName, Category, CredentialName, Group, MeterId, PlanId, ServiceId};
use super::plan_wire::PublishedPlan;
use super::price::{Meter, Price};
use super::rules::Rules;
use super::text::{AgentNote, Description, Title, WebPage};
use super::words::{KycField, PlanKind, Scope, WireCategory};
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
    /// What buying it gives, where the files say so. See [`Plan::kind`].
    pub said_kind: Option<PlanKind>,
    /// What it says about other plans.
    pub rules: Rules,
    /// The wire's names of the credentials, where they are not called as they are. See [`Plan::access`].
    pub said_access: BTreeMap<AccessName, CredentialName>,
}

impl Plan {
    /// A tier, or something that runs: as the files say, and otherwise a tier is what yields no credentials.
    #[must_use]
    pub fn kind(&self) -> PlanKind {
        let by_credentials = if self.credentials.is_empty() { PlanKind::Plan } else { PlanKind::Deployable };
        self.said_kind.unwrap_or(by_credentials)
    }

    /// The name of each value of the wire's `access_configuration`, and the credential that it carries.
    #[must_use]
    pub fn access(&self) -> Vec<(&str, &CredentialName)> {
        if self.said_access.is_empty() {
            return self.credentials.iter().map(|name| (name.as_str(), name)).collect();
        }
        self.said_access.iter().map(|(name, credential)| (name.as_str(), credential)).collect()
    }

    /// What a buyer may have to say, as JSON Schema (draft 2020-12): an object with `properties` and `required`.
    #[must_use]
    pub fn configuration_schema(&self) -> Value {
        self.configuration.schema()
    }

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
    /// Where limits and exclusions count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// With which services it stands together in a listing, where that is not only itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// What has to be known about a buyer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kyc: Vec<KycField>,
    /// The wire's categories, where the service's own words are others. See [`Service::wire_categories`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wire_categories: Vec<WireCategory>,
    /// A page for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_context: Option<LlmContext>,
    /// What can be bought, in the order in which it is shown.
    pub plans: Vec<Plan>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            let mut prices = plan.rules.parents.iter().filter_map(|parent| parent.price.as_ref()).chain([&plan.price]);
            if draft.irreversible && prices.any(|price| !matches!(price, Price::OneOff(_))) {
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

    /// The wire's categories: those that the files name, or else every category of the service that the wire knows too.
    /// Empty: the service has no place on that wire.
    #[must_use]
    pub fn wire_categories(&self) -> Vec<WireCategory> {
        if !self.0.wire_categories.is_empty() {
            return self.0.wire_categories.clone();
        }
        let known = |category: &Category| {
            WireCategory::ALL.iter().find(|word| word.as_str().replace('_', "-") == category.as_str()).copied()
        };
        self.0.categories.iter().filter_map(known).collect()
    }

    /// The same service with its page, which stands in a file of its own.
    pub(super) fn with_llm_context(self, page: LlmContext) -> Self {
        Self(ServiceDraft { llm_context: Some(page), ..self.0 })
    }

    /// Everything, for reading.
    #[must_use]
    pub fn facts(&self) -> &ServiceDraft {
        &self.0
    }
}
