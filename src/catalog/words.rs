//! The words with a fixed meaning in a catalog: each list is closed, and what is not in it is refused with a suggestion.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fields::suggestion;

/// Why a text is none of the words that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {meant}")]
pub struct InvalidWord {
    text: String,
    what: &'static str,
    meant: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$said:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$said])* #[serde(rename = $text)] $word,)+
        }

        impl $name {
            /// Every word there is.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// The word as it is written and published.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = InvalidWord;

            fn from_str(text: &str) -> Result<Self, InvalidWord> {
                match text {
                    $($text => Ok(Self::$word),)+
                    _ => {
                        let text: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                        let meant = suggestion(&text, &[$($text),+]);
                        Err(InvalidWord { text, what: $what, meant })
                    }
                }
            }
        }
    };
}

words!(
    /// Where limits and exclusions of a service count.
    #[derive(Default)]
    Scope, "a scope", {
        /// In each project of the orchestrator for itself.
        #[default]
        Project = "project",
        /// In the whole account.
        Account = "account",
    }
);

words!(
    /// What buying a plan gives.
    PlanKind, "a kind of plan", {
        /// A tier: it allows other things, and yields no credentials of its own unless the plan says so.
        Plan = "plan",
        /// Something that runs and yields credentials.
        Deployable = "deployable",
    }
);

words!(
    /// Which way a change of plan goes.
    Direction, "a direction", {
        /// Neither up nor down.
        Any = "any",
        /// To more.
        Up = "up",
        /// To less.
        Down = "down",
    }
);

words!(
    /// What an orchestrator has to know about a person and pass on before a service is bought.
    KycField, "something to be known about a buyer", {
        /// The person's name.
        Name = "name",
        /// An address.
        Email = "email",
        /// A telephone number.
        Phone = "phone",
        /// An ISO 3166 country.
        Country = "country",
    }
);

words!(
    /// The categories that the orchestrators' wire knows.
    WireCategory, "a category of the wire", {
        /// Machines and functions.
        Compute = "compute",
        /// Databases.
        Database = "database",
        /// Files and objects.
        Storage = "storage",
        /// Caches.
        Cache = "cache",
        /// Queues and topics.
        Messaging = "messaging",
        /// Mail.
        Email = "email",
        /// Notifications.
        Notification = "notification",
        /// Log-in.
        Auth = "auth",
        /// Delivery to the edge.
        Cdn = "cdn",
        /// Logs, metrics, traces.
        Observability = "observability",
        /// Numbers about use.
        Analytics = "analytics",
        /// Taking money.
        Payments = "payments",
        /// Search.
        Search = "search",
        /// Building and testing.
        Ci = "ci",
        /// Switches for features.
        FeatureFlags = "feature_flags",
        /// Models.
        Ai = "ai",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_a_misspelled_one_is_named() {
        for word in WireCategory::ALL {
            assert_eq!(word.as_str().parse::<WireCategory>().as_ref(), Ok(word));
            assert_eq!(serde_json::to_value(word).unwrap(), word.as_str());
        }
        let told = "sideways".parse::<Direction>().unwrap_err().to_string();
        assert_eq!(told, "`sideways` is not a direction: there is `any`, `up`, `down`");
        assert_eq!(
            "acount".parse::<Scope>().unwrap_err().to_string(),
            "`acount` is not a scope: did you mean `account`?"
        );
    }
}
