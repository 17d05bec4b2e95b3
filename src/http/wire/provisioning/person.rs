//! What is asked about a person, in the wire's form: for an account, and for a service whose `kyc` wants it.

use serde_json::{Map, Value, json};

use crate::account::PersonalField;

/// A schema (draft 2020-12) that asks for these.
pub(crate) fn schema(lacking: &[PersonalField]) -> Value {
    json!({"type": "object", "required": lacking, "properties": properties(lacking)})
}

/// The same beside what is asked otherwise.
pub(crate) fn schema_with(mut other: Value, lacking: &[PersonalField]) -> Value {
    if let Some(known) = other.pointer_mut("/properties").and_then(Value::as_object_mut) {
        known.extend(properties(lacking));
    }
    match other.pointer_mut("/required").and_then(Value::as_array_mut) {
        Some(required) => required.extend(lacking.iter().map(|field| json!(field))),
        None => {
            if let Some(object) = other.as_object_mut() {
                object.insert("required".to_owned(), json!(lacking));
            }
        }
    }
    other
}

fn properties(lacking: &[PersonalField]) -> Map<String, Value> {
    let property = |field: &PersonalField| {
        let schema = match field {
            PersonalField::Country => {
                json!({"type": "string", "pattern": "^[A-Za-z]{2}$", "description": "ISO 3166-1 alpha-2"})
            }
            PersonalField::Phone => {
                json!({"type": "string", "minLength": 1, "maxLength": 64, "description": "As in E.164"})
            }
            PersonalField::Email => json!({"type": "string", "format": "email", "maxLength": 254}),
            PersonalField::Name => json!({"type": "string", "minLength": 1, "maxLength": 200}),
        };
        (field.as_str().to_owned(), schema)
    };
    lacking.iter().map(property).collect()
}
