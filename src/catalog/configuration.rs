//! What a buyer may have to say about a resource before it is made. Published as JSON Schema (draft 2020-12), flat.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::names::FieldName;
use super::text::{AgentNote, Title};

/// The configuration fields of a plan. Empty: the plan takes none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Schema", into = "Schema")]
pub struct Configuration(BTreeMap<FieldName, Field>);

/// One field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// What may stand in it.
    pub kind: FieldKind,
    /// What it is for, to an agent.
    pub description: AgentNote,
    /// Whether it must be given.
    pub required: bool,
}

/// What may stand in a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// Text of at most 200 characters; one of the choices, if there are any.
    Text(Vec<Title>),
    /// A whole number.
    Integer,
    /// Yes or no.
    Boolean,
}

/// Why a given configuration does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongConfiguration {
    /// A field that the plan does not have.
    #[error("`{0}` is not a field of this plan")]
    Unknown(String),
    /// A required field is missing.
    #[error("`{0}` is missing: {1}")]
    Missing(FieldName, AgentNote),
    /// A field holds something else than it should.
    #[error("`{0}` must be {1}")]
    Value(FieldName, String),
}

impl Configuration {
    /// The most fields of one plan.
    pub const MAX_FIELDS: usize = 20;
    /// The most characters of a text.
    pub const MAX_TEXT: usize = 200;

    /// These fields.
    #[must_use]
    pub fn new(fields: BTreeMap<FieldName, Field>) -> Self {
        Self(fields)
    }

    /// Whether the plan takes no configuration.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields by name.
    #[must_use]
    pub fn fields(&self) -> &BTreeMap<FieldName, Field> {
        &self.0
    }

    /// The published form: a flat JSON Schema (draft 2020-12).
    #[must_use]
    pub fn schema(&self) -> Value {
        let schema = Schema::from(self.clone());
        let properties = schema.properties.iter().map(|(name, property)| (name.to_string(), property.json()));
        json!({
            "type": schema.object,
            "additionalProperties": schema.additional_properties,
            "properties": properties.collect::<Map<_, _>>(),
            "required": schema.required.iter().map(FieldName::as_str).collect::<Vec<_>>(),
        })
    }

    /// Whether `given` fits.
    ///
    /// # Errors
    /// Everything that does not fit.
    pub fn check(&self, given: &Map<String, Value>) -> Result<(), Vec<WrongConfiguration>> {
        let mut wrong = Vec::new();
        for (name, value) in given {
            match self.0.iter().find(|(known, _)| known.as_str() == name) {
                None => wrong.push(WrongConfiguration::Unknown(name.chars().take(64).collect())),
                Some((_, field)) if field.kind.fits(value) => {}
                Some((known, field)) => wrong.push(WrongConfiguration::Value(known.clone(), field.kind.to_string())),
            }
        }
        let missing = self.0.iter().filter(|(name, field)| field.required && !given.contains_key(name.as_str()));
        wrong.extend(missing.map(|(name, field)| WrongConfiguration::Missing(name.clone(), field.description.clone())));
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

impl FieldKind {
    fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(choices), Value::String(text)) => {
                text.chars().count() <= Configuration::MAX_TEXT
                    && (choices.is_empty() || choices.iter().any(|choice| choice.as_str() == text))
            }
            (Self::Integer, Value::Number(number)) => number.is_i64(),
            (Self::Boolean, Value::Bool(_)) => true,
            _ => false,
        }
    }
}

/// In words: `one of `eu`, `us``.
impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(choices) if choices.is_empty() => {
                write!(f, "text of at most {} characters", Configuration::MAX_TEXT)
            }
            Self::Text(choices) => {
                let choices: Vec<_> = choices.iter().map(|choice| format!("`{choice}`")).collect();
                write!(f, "one of {}", choices.join(", "))
            }
            Self::Integer => f.write_str("a whole number"),
            Self::Boolean => f.write_str("true or false"),
        }
    }
}

/// The published form.
#[derive(Clone, Serialize, Deserialize)]
struct Schema {
    #[serde(rename = "type")]
    object: String,
    #[serde(rename = "additionalProperties")]
    additional_properties: bool,
    properties: BTreeMap<FieldName, Property>,
    required: Vec<FieldName>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Property {
    #[serde(rename = "type")]
    kind: String,
    description: AgentNote,
    #[serde(rename = "enum", default, skip_serializing_if = "Vec::is_empty")]
    choices: Vec<Title>,
    #[serde(rename = "maxLength", skip_serializing_if = "Option::is_none")]
    max_length: Option<usize>,
}

impl From<Configuration> for Schema {
    fn from(configuration: Configuration) -> Self {
        let required =
            configuration.0.iter().filter(|(_, field)| field.required).map(|(name, _)| name.clone()).collect();
        let properties = configuration.0.into_iter().map(|(name, field)| (name, field.into())).collect();
        Self { object: "object".to_owned(), additional_properties: false, properties, required }
    }
}

impl From<Field> for Property {
    fn from(field: Field) -> Self {
        let (kind, choices) = match field.kind {
            FieldKind::Text(choices) => ("string", choices),
            FieldKind::Integer => ("integer", Vec::new()),
            FieldKind::Boolean => ("boolean", Vec::new()),
        };
        let max_length = (kind == "string").then_some(Configuration::MAX_TEXT);
        Self { kind: kind.to_owned(), description: field.description, choices, max_length }
    }
}

impl Property {
    /// As `serde` would write it, without its errors.
    fn json(&self) -> Value {
        let mut members = Map::new();
        members.insert("type".to_owned(), self.kind.as_str().into());
        members.insert("description".to_owned(), self.description.as_str().into());
        if !self.choices.is_empty() {
            members.insert("enum".to_owned(), self.choices.iter().map(Title::as_str).collect());
        }
        members.extend(self.max_length.map(|most| ("maxLength".to_owned(), most.into())));
        Value::Object(members)
    }
}

/// A published schema that is not of the flat form.
#[derive(Debug, thiserror::Error)]
#[error("the configuration field `{0}` has an unknown type")]
struct UnknownType(FieldName);

impl TryFrom<Schema> for Configuration {
    type Error = UnknownType;

    fn try_from(schema: Schema) -> Result<Self, UnknownType> {
        let fields = schema.properties.into_iter().map(|(name, property)| {
            let kind = match property.kind.as_str() {
                "string" => FieldKind::Text(property.choices),
                "integer" => FieldKind::Integer,
                "boolean" => FieldKind::Boolean,
                _ => return Err(UnknownType(name)),
            };
            let required = schema.required.contains(&name);
            Ok((name, Field { kind, description: property.description, required }))
        });
        fields.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region() -> Configuration {
        let kind = FieldKind::Text(vec!["eu".parse().unwrap(), "us".parse().unwrap()]);
        let field = Field { kind, description: "Where it runs".parse().unwrap(), required: true };
        Configuration::new([("region".parse().unwrap(), field)].into())
    }

    #[test]
    fn everything_that_does_not_fit_is_named() {
        let given = json!({"region": "mars", "colour": 1});
        let wrong = region().check(given.as_object().unwrap()).unwrap_err();
        let said: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["`colour` is not a field of this plan", "`region` must be one of `eu`, `us`"]);
        assert_eq!(region().check(&Map::new()).unwrap_err()[0].to_string(), "`region` is missing: Where it runs");
        assert!(region().check(json!({"region": "eu"}).as_object().unwrap()).is_ok());
    }

    #[test]
    fn the_published_schema_reads_back() {
        let published = serde_json::to_value(region()).unwrap();
        assert_eq!(published["properties"]["region"]["enum"], json!(["eu", "us"]));
        assert_eq!(published, region().schema());
        assert_eq!(serde_json::from_value::<Configuration>(published).unwrap(), region());
    }

    fn field() -> impl Strategy<Value = Field> {
        let texts = prop::collection::vec("[a-z]{1,4}", 0..4)
            .prop_map(|texts| FieldKind::Text(texts.iter().map(|text| text.parse().unwrap()).collect()));
        let kind = prop_oneof![texts, Just(FieldKind::Integer), Just(FieldKind::Boolean)];
        (kind, any::<bool>()).prop_map(|(kind, required)| Field { kind, description: "A".parse().unwrap(), required })
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            "[a-z]{0,4}".prop_map(Value::from),
            (190_usize..210).prop_map(|length| Value::from("é".repeat(length))),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(json!(0.5)),
            Just(Value::Null),
            Just(json!([])),
            Just(json!({})),
        ]
    }

    proptest! {
        /// Whole numbers beyond 64 bits, and those written with a fraction of zero, are left out: there we are stricter.
        #[test]
        fn what_fits_is_what_an_independent_validator_of_the_published_schema_says(
            fields in prop::collection::btree_map("[a-d]", field(), 0..4),
            given in prop::collection::btree_map("[a-e]", value(), 0..4),
        ) {
            let fields = fields.into_iter().map(|(name, field)| (name.parse().unwrap(), field));
            let configuration = Configuration::new(fields.collect());
            let given: Map<String, Value> = given.into_iter().collect();
            let validator = jsonschema::draft202012::new(&configuration.schema()).unwrap();
            let valid = validator.is_valid(&Value::Object(given.clone()));
            prop_assert_eq!(configuration.check(&given).is_ok(), valid);
        }
    }
}
