//! The provider's catalog as the runner reads it: leniently, because judging it is the cases' business.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A service of the catalog.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) id: String,
    pub(super) raw: Value,
}

/// What it costs, as far as that decides how to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Price {
    Free,
    Paid,
    /// Depends on the parent.
    Component(Vec<Component>),
    Unknown,
}

/// One price of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) free: bool,
    pub(super) parents: Vec<String>,
}

impl Service {
    /// A service of which nothing is known but that it costs nothing.
    pub(super) fn told(id: &str) -> Self {
        Self { id: id.to_owned(), raw: json!({"id": id, "pricing": {"type": "free"}}) }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.raw.get(name)?.as_str()
    }

    pub(super) fn is_plan(&self) -> bool {
        self.text("kind") == Some("plan")
    }

    pub(super) fn price(&self) -> Price {
        match self.raw.pointer("/pricing/type").and_then(Value::as_str) {
            Some("free") => Price::Free,
            Some("paid") => Price::Paid,
            Some("component") => Price::Component(self.components()),
            _ => Price::Unknown,
        }
    }

    fn components(&self) -> Vec<Component> {
        let options = self.raw.pointer("/pricing/component/options").and_then(Value::as_array);
        let component = |option: &Value| Component {
            free: option.get("type").and_then(Value::as_str) == Some("free"),
            parents: texts(option.get("parent_service_ids")),
        };
        options.into_iter().flatten().map(component).collect()
    }

    /// Whether one can be had without paying, given a parent if need be.
    pub(super) fn can_be_free(&self) -> bool {
        match self.price() {
            Price::Free => true,
            Price::Component(options) => options.iter().any(|option| option.free),
            Price::Paid | Price::Unknown => false,
        }
    }

    pub(super) fn is_paid(&self) -> bool {
        self.price() == Price::Paid
    }

    /// The parents of which one is needed; none when it can stand alone.
    pub(super) fn needs_parent(&self) -> Vec<String> {
        let Price::Component(options) = self.price() else {
            return Vec::new();
        };
        if options.iter().any(|option| option.parents.is_empty()) {
            return Vec::new();
        }
        // Parents under which it is free come first.
        let (free, paid): (Vec<_>, Vec<_>) = options.into_iter().partition(|option| option.free);
        free.into_iter().chain(paid).flat_map(|option| option.parents).collect()
    }

    /// Services that a resource of this one may be updated to.
    pub(super) fn updates(&self) -> Vec<String> {
        let list = self.raw.get("allowed_updates").and_then(Value::as_array);
        let service = |entry: &Value| entry.as_str().or_else(|| entry.get("service")?.as_str()).map(str::to_owned);
        list.into_iter().flatten().filter_map(service).collect()
    }

    /// The most that may be active in its scope.
    pub(super) fn at_most(&self) -> Option<u64> {
        self.raw.pointer("/constraints/count/at_most").and_then(Value::as_u64)
    }

    pub(super) fn excludes_its_updates(&self) -> bool {
        self.raw.pointer("/constraints/mutual_exclusion/allowed_updates").and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn schema(&self) -> Option<&Value> {
        self.raw.get("configuration_schema").filter(|schema| schema.is_object())
    }

    fn needs_configuration(&self) -> bool {
        self.schema().is_some_and(|schema| !texts(schema.get("required")).is_empty())
    }
}

/// The whole catalog.
#[derive(Debug, Clone)]
pub(super) struct Services {
    pub(super) all: Vec<Service>,
}

impl Services {
    pub(super) fn read(data: &[Value]) -> Self {
        let service = |raw: &Value| Some(Service { id: raw.get("id")?.as_str()?.to_owned(), raw: raw.clone() });
        Self { all: data.iter().filter_map(service).collect() }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Service> {
        self.all.iter().find(|service| service.id == id)
    }

    /// The plainest service that costs nothing: no limit, no configuration, no parent, credentials.
    pub(super) fn free(&self) -> Option<&Service> {
        let trouble = |service: &&Service| {
            (
                service.is_plan(),
                service.at_most().is_some(),
                !service.needs_parent().is_empty(),
                service.needs_configuration(),
            )
        };
        self.all.iter().filter(|service| service.can_be_free()).min_by_key(trouble)
    }

    /// Those that must be paid, the plainest first.
    pub(super) fn paid(&self) -> Vec<&Service> {
        let trouble =
            |service: &&Service| (service.needs_configuration(), service.is_plan(), service.at_most().is_some());
        let mut paid: Vec<_> = self.all.iter().filter(|service| service.is_paid()).collect();
        paid.sort_by_key(trouble);
        paid
    }

    /// The first for which `wanted` holds.
    pub(super) fn with(&self, wanted: impl Fn(&Service) -> bool) -> Option<&Service> {
        self.all.iter().find(|service| wanted(service))
    }
}

/// A configuration that the schema allows, as far as can be told without knowing the provider. `name` makes it unique.
pub(super) fn sample(service: &Service, given: &BTreeMap<String, Value>, name: &str) -> Value {
    if let Some(given) = given.get(&service.id) {
        return given.clone();
    }
    let Some(schema) = service.schema() else {
        return json!({});
    };
    let required = texts(schema.get("required"));
    let properties = schema.get("properties").and_then(Value::as_object);
    let members: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .filter(|(property, _)| required.contains(property))
        .map(|(property, schema)| (property.clone(), sample_value(schema, name)))
        .collect();
    Value::Object(members)
}

fn sample_value(schema: &Value, name: &str) -> Value {
    for member in ["const", "default"] {
        if let Some(value) = schema.get(member) {
            return value.clone();
        }
    }
    for member in ["enum", "examples"] {
        if let Some(value) = schema.get(member).and_then(Value::as_array).and_then(|values| values.first()) {
            return value.clone();
        }
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => {
            let longest = schema.get("maxLength").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
            let text: String = name.chars().rev().take(longest.unwrap_or(64)).collect();
            json!(text.chars().rev().collect::<String>())
        }
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
