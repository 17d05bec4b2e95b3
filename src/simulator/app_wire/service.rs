//! A service of a provider's catalog, read leniently, and what it costs here and now.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::answer::clean;

/// A service as the orchestrator lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Unique in the provider.
    pub id: String,
    /// `plan` or `deployable`, when the provider says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Related services have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Shown to people and agents.
    pub description: String,
    /// What it is of.
    pub categories: Vec<String>,
    /// Where counts and exclusions apply.
    pub scope: Scope,
    /// What it costs.
    pub pricing: Pricing,
    /// What may be configured, as JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_schema: Option<Value>,
    /// What a resource may be changed to.
    pub allowed_updates: Vec<Update>,
    /// At most so many in the scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// Not while something is active that `allowed_updates` leads to.
    pub exclusive: bool,
    /// What the provider must be told of the user.
    pub kyc: Vec<String>,
    /// Text for agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm_context: Option<String>,
}

/// Where a count applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In each project.
    Project,
    /// In the whole linked account.
    Account,
}

/// A change that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// To which service; `service_ref` stands for any plan.
    pub service: String,
    /// `any`, `up` or `down`.
    pub direction: String,
}

/// What a service costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Pricing {
    /// Nothing.
    Free,
    /// One of these, picked by configuration, else the default.
    Paid {
        /// At least one.
        prices: Vec<Price>,
    },
    /// It depends on which parent is active.
    Component {
        /// At least one.
        options: Vec<ParentOption>,
    },
}

/// One price, in the provider's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Price {
    /// For people.
    pub text: String,
    /// For which configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Value>,
    /// When no configuration fits.
    pub is_default: bool,
}

/// What a service costs under a parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParentOption {
    /// Any of these must be active; none: no parent is needed.
    pub parents: Vec<String>,
    /// Nothing when free.
    pub prices: Vec<Price>,
    /// Preferred among those that fit.
    pub is_default: bool,
}

/// What it costs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::simulator) struct Quoted {
    /// In the provider's words, or `free`.
    pub(in crate::simulator) text: String,
    pub(in crate::simulator) paid: bool,
    /// The active plan that decides the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::simulator) parent: Option<String>,
}

fn text<'v>(value: &'v Value, member: &str) -> Option<&'v str> {
    value.get(member).and_then(Value::as_str)
}

fn texts(value: &Value, member: &str) -> Vec<String> {
    value.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(clean).collect()
}

impl Service {
    /// Reads one entry of `data`; says what is wrong with it.
    pub(super) fn read(said: &Value) -> Result<Self, String> {
        let id = text(said, "id").filter(|id| !id.is_empty()).ok_or("a service has no `id`")?;
        let wrong = |what: &str| format!("service `{}`: {what}", clean(id));
        let description = text(said, "description").ok_or_else(|| wrong("`description` is missing"))?;
        let categories = texts(said, "categories");
        if categories.is_empty() {
            return Err(wrong("it is in no category"));
        }
        let updates = said.get("allowed_updates").and_then(Value::as_array).into_iter().flatten();
        let constraints = said.get("constraints");
        let at = |path: &str| constraints.and_then(|constraints| constraints.pointer(path));
        Ok(Self {
            id: clean(id),
            kind: text(said, "kind").map(clean),
            group: text(said, "group").map(clean),
            description: clean(description),
            categories,
            scope: if text(said, "scope") == Some("account") { Scope::Account } else { Scope::Project },
            pricing: Pricing::read(said.get("pricing")).map_err(wrong)?,
            configuration_schema: said.get("configuration_schema").filter(|schema| schema.is_object()).cloned(),
            allowed_updates: updates.filter_map(Update::read).collect(),
            at_most: at("/count/at_most").and_then(Value::as_u64),
            exclusive: at("/mutual_exclusion/allowed_updates").and_then(Value::as_bool).unwrap_or(false),
            kyc: said.get("kyc").map(|kyc| texts(kyc, "required_fields")).unwrap_or_default(),
            llm_context: text(said, "llm_context").map(clean),
        })
    }

    /// Whether a resource of this service may become one of `target`.
    pub(in crate::simulator) fn may_become(&self, target: &Self) -> bool {
        let plan = || target.kind.as_deref() == Some("plan");
        self.allowed_updates
            .iter()
            .any(|update| update.service == target.id || (update.service == "service_ref" && plan()))
    }

    /// What it costs while `active` services are there. `None`: it needs one of [`Self::parents`] first.
    pub(in crate::simulator) fn quote(&self, active: &BTreeSet<&str>, configuration: &Value) -> Option<Quoted> {
        let paid = |prices: &[Price], parent: Option<String>| Quoted {
            text: picked(prices, configuration).map_or_else(|| "free".to_owned(), |price| price.text.clone()),
            paid: !prices.is_empty(),
            parent,
        };
        match &self.pricing {
            Pricing::Free => Some(paid(&[], None)),
            Pricing::Paid { prices } => Some(paid(prices, None)),
            Pricing::Component { options } => {
                let fits = |option: &&ParentOption| {
                    option.parents.is_empty() || option.parents.iter().any(|parent| active.contains(parent.as_str()))
                };
                let fitting: Vec<&ParentOption> = options.iter().filter(fits).collect();
                // An active parent says more than the default of the catalog.
                let option = fitting
                    .iter()
                    .find(|option| !option.parents.is_empty())
                    .or_else(|| fitting.iter().find(|option| option.is_default))
                    .or(fitting.first())?;
                let parent = option.parents.iter().find(|parent| active.contains(parent.as_str())).cloned();
                Some(paid(&option.prices, parent))
            }
        }
    }

    /// The plans of which one must be active.
    pub(in crate::simulator) fn parents(&self) -> Vec<&str> {
        match &self.pricing {
            Pricing::Component { options } => {
                options.iter().flat_map(|option| option.parents.iter().map(String::as_str)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The price of a configuration: one whose every member is configured so, else the default, else the first.
fn picked<'p>(prices: &'p [Price], configuration: &Value) -> Option<&'p Price> {
    let fits = |price: &&Price| {
        let wanted = price.configuration.as_ref().and_then(Value::as_object).filter(|wanted| !wanted.is_empty());
        wanted.is_some_and(|wanted| wanted.iter().all(|(name, value)| configuration.get(name) == Some(value)))
    };
    prices.iter().find(fits).or_else(|| prices.iter().find(|price| price.is_default)).or(prices.first())
}

impl Update {
    /// Until June 2026 a text; since then an object.
    fn read(said: &Value) -> Option<Self> {
        let service = said.as_str().or(text(said, "service"))?;
        Some(Self { service: clean(service), direction: clean(text(said, "direction").unwrap_or("any")) })
    }
}

impl Pricing {
    fn read(said: Option<&Value>) -> Result<Self, &'static str> {
        let said = said.ok_or("`pricing` is missing")?;
        match text(said, "type") {
            Some("free") => Ok(Self::Free),
            Some("paid") => {
                let prices = Price::read_all(said.get("paid").unwrap_or(said))?;
                Ok(Self::Paid { prices })
            }
            Some("component") => {
                let options = said.pointer("/component/options").and_then(Value::as_array);
                let options: Vec<_> =
                    options.into_iter().flatten().map(ParentOption::read).collect::<Result<_, _>>()?;
                if options.is_empty() {
                    Err("`pricing.component` has no options")
                } else {
                    Ok(Self::Component { options })
                }
            }
            _ => Err("`pricing.type` is none of free, paid and component"),
        }
    }
}

impl Price {
    /// One price or a list of them.
    fn read_all(said: &Value) -> Result<Vec<Self>, &'static str> {
        let prices: Vec<Self> = match said {
            Value::Array(prices) => prices.iter().map(Self::read).collect::<Result<_, _>>()?,
            one => vec![Self::read(one)?],
        };
        if prices.is_empty() { Err("`pricing.paid` has no price") } else { Ok(prices) }
    }

    fn read(said: &Value) -> Result<Self, &'static str> {
        let shown = said.as_str().or(text(said, "freeform"));
        let text = match (shown, text(said, "stripe_price")) {
            (Some(shown), _) => clean(shown),
            (None, Some(price)) => format!("price {}", clean(price)),
            (None, None) => return Err("a price says neither `freeform` nor `stripe_price`"),
        };
        let is_default = said.get("is_default").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { text, configuration: said.get("configuration").cloned(), is_default })
    }
}

impl ParentOption {
    fn read(said: &Value) -> Result<Self, &'static str> {
        let prices = match text(said, "type") {
            Some("free") => Vec::new(),
            Some("paid") => Price::read_all(said.get("paid").ok_or("a component option has no `paid`")?)?,
            _ => return Err("a component option is neither free nor paid"),
        };
        let is_default = said.get("default").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { parents: texts(said, "parent_service_ids"), prices, is_default })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(more: &Value) -> Service {
        let mut said = json!({"id": "postgres", "description": "A database.", "categories": ["database"],
            "pricing": {"type": "free"}});
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Service::read(&said).unwrap()
    }

    #[test]
    fn prices_are_read_as_object_array_and_price_id_and_picked_by_configuration() {
        let one = service(&json!({"pricing": {"type": "paid", "paid": {"type": "freeform", "freeform": "$9"}}}));
        assert_eq!(one.quote(&BTreeSet::new(), &Value::Null).unwrap().text, "$9");
        let many = service(&json!({"pricing": {"type": "paid", "paid": [
            {"type": "freeform", "freeform": "$1", "configuration": {"size": "s"}},
            {"type": "stripe_price", "stripe_price": "price_2", "is_default": true}]}}));
        assert_eq!(many.quote(&BTreeSet::new(), &json!({"size": "s"})).unwrap().text, "$1");
        assert_eq!(many.quote(&BTreeSet::new(), &json!({})).unwrap().text, "price price_2");
    }

    #[test]
    fn a_component_costs_what_its_active_parent_says_and_needs_one() {
        let part = service(&json!({"pricing": {"type": "component", "component": {"options": [
            {"type": "free", "parent_service_ids": ["free"], "default": true},
            {"type": "paid", "parent_service_ids": ["pro"], "paid": {"type": "freeform", "freeform": "$0.10"}}]}}}));
        assert_eq!(part.quote(&BTreeSet::new(), &Value::Null), None);
        assert_eq!(part.parents(), ["free", "pro"]);
        let quoted = part.quote(&BTreeSet::from(["pro"]), &Value::Null).unwrap();
        assert_eq!((quoted.text.as_str(), quoted.paid, quoted.parent.as_deref()), ("$0.10", true, Some("pro")));
        assert!(!part.quote(&BTreeSet::from(["free"]), &Value::Null).unwrap().paid);
    }

    #[test]
    fn updates_are_read_as_texts_objects_and_the_word_for_any_plan() {
        let from = service(&json!({"allowed_updates": ["a", {"service": "b", "direction": "up"}, "service_ref"]}));
        let to = |id: &str, kind: &str| service(&json!({"id": id, "kind": kind}));
        assert!(from.may_become(&to("a", "deployable")) && from.may_become(&to("b", "deployable")));
        assert!(from.may_become(&to("c", "plan")) && !from.may_become(&to("c", "deployable")));
    }

    #[test]
    fn a_service_without_what_it_must_say_is_refused() {
        for said in [
            json!({}),
            json!({"id": "a", "description": "d", "categories": []}),
            json!({"id": "a", "description": "d", "categories": ["x"], "pricing": {"type": "paid"}}),
        ] {
            assert!(Service::read(&said).is_err(), "{said}");
        }
    }
}
