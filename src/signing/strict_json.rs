//! JSON that says each thing once: a document with a repeated member is refused, because two readers could believe two
//! different things of it. So is a text with U+0000: not every database can look for one, and many readers end there.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads `bytes` as JSON without repeated members and without U+0000, then as a `T`.
///
/// # Errors
/// When the bytes are not JSON, a member is repeated, a text holds U+0000, or the value is no `T`.
pub fn parse_strict<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let Strict(value) = serde_json::from_slice(bytes)?;
    serde_json::from_value(value)
}

fn whole<E: de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') { Err(E::custom("a text holds the character U+0000")) } else { Ok(()) }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        whole(value)?;
        Ok(Value::from(value))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        whole(&value)?;
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = access.next_entry::<String, Strict>()? {
            whole(&name)?;
            if members.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the member `{name}` is repeated")));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        assert!(parse_strict::<Value>(br#"{"a":1,"b":[{"c":1,"c":2}]}"#).is_err());
        assert!(parse_strict::<Value>(br#"{"a":1,"b":[{"c":1,"d":2}]}"#).is_ok());
    }

    #[test]
    fn a_text_with_a_null_character_is_refused_wherever_it_stands() {
        for bad in [r#""a\u0000""#, r#"{"a":["\u0000"]}"#, r#"{"\u0000":1}"#, r#"{"a":{"b":"c\u0000d"}}"#] {
            assert!(parse_strict::<Value>(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_strict::<Value>(br#"{"a\n":"\u0001"}"#).is_ok());
    }
}
