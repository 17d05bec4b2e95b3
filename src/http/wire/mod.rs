//! Wire protocols: faces over the use-cases. They translate, and hold no rule of their own.

pub(crate) mod catalog;
pub(crate) mod docs;
pub(crate) mod oauth;
pub(crate) mod provisioning;
pub(crate) mod security_events;
pub(crate) mod v1;
pub(crate) mod well_known;

use serde_json::Value;

use crate::account::{PersonalFact, PersonalField, UnknownField};

/// Something that is said about a person in a request, and that nobody made sure of; or why it is none.
pub(crate) fn personal_fact(name: &str, said: &Value) -> Result<PersonalFact, String> {
    let field: PersonalField = name.parse().map_err(|unknown: UnknownField| format!("`{name}`: {unknown}."))?;
    let said = said.as_str().ok_or_else(|| format!("`{name}` must be a text."))?;
    PersonalFact::new(field, said, false).map_err(|invalid| format!("`{name}`: {invalid}."))
}
