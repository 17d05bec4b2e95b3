//! The names in a catalog: of services, plans, meters, credentials and configuration fields.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a name can be of, and how it is written.
pub trait Nameable: 'static {
    /// For the message of a refusal: `a service id`.
    const WHAT: &'static str;
    /// The rule in words, with an example.
    const RULE: &'static str;
    /// Whether `text` (1 to 64 ASCII bytes) follows the rule.
    fn allows(text: &str) -> bool;
}

/// A name of one kind, checked when it was made. Two kinds do not mix.
pub struct Name<Of: Nameable> {
    text: Box<str>,
    of: PhantomData<fn() -> Of>,
}

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl<Of: Nameable> Name<Of> {
    /// The most characters of a name.
    pub const MAX: usize = 64;

    /// The text as it is written and published.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<Of: Nameable> FromStr for Name<Of> {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = !text.is_empty() && text.len() <= Self::MAX && text.is_ascii() && Of::allows(text);
        if fits {
            Ok(Self { text: text.into(), of: PhantomData })
        } else {
            let shown = text.chars().take(Self::MAX).flat_map(char::escape_debug).collect();
            Err(InvalidName { text: shown, what: Of::WHAT, rule: Of::RULE })
        }
    }
}

/// Lower-case words joined by hyphens: `dot-dev`.
fn is_slug(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

/// Words joined by underscores, beginning with a letter; `letters` says which letters.
fn is_snake(text: &str, letters: fn(&u8) -> bool) -> bool {
    text.as_bytes().first().is_some_and(letters)
        && text.bytes().all(|byte| letters(&byte) || byte.is_ascii_digit() || byte == b'_')
}

macro_rules! name_of {
    ($(#[$doc:meta])* $name:ident, $of:ident, $what:literal, $rule:literal, $allows:expr) => {
        #[doc = concat!("What makes a name ", $what, ".")]
        #[derive(Debug)]
        pub enum $of {}

        impl Nameable for $of {
            const WHAT: &'static str = $what;
            const RULE: &'static str = $rule;
            fn allows(text: &str) -> bool {
                let allows: fn(&str) -> bool = $allows;
                allows(text)
            }
        }

        $(#[$doc])*
        pub type $name = Name<$of>;
    };
}

name_of!(
    /// Which service: `postgres`. Unique in a catalog; never used again for something else.
    ServiceId, OfService, "a service id",
    "write lower-case letters, digits and single hyphens, at most 64, beginning with a letter, such as `object-storage`",
    is_slug
);
name_of!(
    /// Which plan of a service: `small`. Unique in its service.
    PlanId, OfPlan, "a plan id",
    "write lower-case letters, digits and single hyphens, at most 64, beginning with a letter, such as `small`",
    is_slug
);
name_of!(
    /// What is counted: `requests`. Unique in its plan.
    MeterId, OfMeter, "a meter id",
    "write lower-case letters, digits and single hyphens, at most 64, beginning with a letter, such as `requests`",
    is_slug
);
name_of!(
    /// A word under which a service is found: `database`.
    Category, OfCategory, "a category",
    "write lower-case letters, digits and single hyphens, at most 64, beginning with a letter, such as `database`",
    is_slug
);
name_of!(
    /// The environment name under which a credential is handed over: `API_KEY`.
    CredentialName, OfCredential, "the name of a credential",
    "write capital letters, digits and underscores, at most 64, beginning with a letter, such as `API_KEY`",
    |text| is_snake(text, u8::is_ascii_uppercase)
);
name_of!(
    /// A configuration field that a buyer fills in: `domain_name`.
    FieldName, OfField, "the name of a configuration field",
    "write lower-case letters, digits and underscores, at most 64, beginning with a letter, such as `domain_name`",
    |text| is_snake(text, u8::is_ascii_lowercase)
);

name_of!(
    /// Under which name related services stand together in a listing: `databases`.
    Group, OfGroup, "a group",
    "write lower-case letters, digits and single hyphens, at most 64, beginning with a letter, such as `databases`",
    is_slug
);
name_of!(
    /// The name under which a credential is handed over on the orchestrators' wire: `connection_string`.
    AccessName, OfAccess, "the name of a value for access",
    "write letters, digits and underscores, at most 64, beginning with a letter, such as `connection_string`",
    |text| is_snake(text, u8::is_ascii_alphabetic)
);

impl<Of: Nameable> Clone for Name<Of> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), of: PhantomData }
    }
}

impl<Of: Nameable> PartialEq for Name<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<Of: Nameable> Eq for Name<Of> {}

impl<Of: Nameable> PartialOrd for Name<Of> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<Of: Nameable> Ord for Name<Of> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// A map by name can be asked with a plain text: order and equality are those of the text.
impl<Of: Nameable> std::borrow::Borrow<str> for Name<Of> {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl<Of: Nameable> std::hash::Hash for Name<Of> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<Of: Nameable> fmt::Display for Name<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<Of: Nameable> fmt::Debug for Name<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<Of: Nameable> Serialize for Name<Of> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, Of: Nameable> Deserialize<'de> for Name<Of> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_written_in_one_way_only() {
        for text in ["postgres", "dot-dev", "s3", "a"] {
            assert_eq!(text.parse::<ServiceId>().unwrap().as_str(), text);
        }
        for text in ["", "Postgres", "3d", "-a", "a-", "a--b", "a_b", "a b", "a/b", "../a", "é", "a\u{200b}", "a\n"] {
            assert!(text.parse::<ServiceId>().is_err(), "{text:?}");
        }
        assert!("a".repeat(65).parse::<ServiceId>().is_err());
        assert!("API_KEY".parse::<CredentialName>().is_ok());
        for text in ["api_key", "1_KEY", "_KEY", "API-KEY", "API KEY", "A=B"] {
            assert!(text.parse::<CredentialName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_is_accepted_reads_back(text in "[a-z0-9-]{0,70}") {
            if let Ok(name) = text.parse::<PlanId>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
