//! Where an orchestrator has put a resource, and what it calls it.

use std::str::FromStr;

/// The most characters of an orchestrator's names for things.
const MAX_NAME: usize = 255;

/// What a resource is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// Development.
    Dev,
    /// Production: what is not said to be anything else.
    #[default]
    Prod,
}

/// Not an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an environment is `dev` or `prod`")]
pub struct InvalidEnvironment;

impl Environment {
    /// The word that is stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Prod => "prod",
        }
    }
}

impl FromStr for Environment {
    type Err = InvalidEnvironment;

    fn from_str(text: &str) -> Result<Self, InvalidEnvironment> {
        [Self::Dev, Self::Prod].into_iter().find(|word| word.as_str() == text).ok_or(InvalidEnvironment)
    }
}

/// An orchestrator's own name for one of its things: 1 to 255 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TheirName(String);

/// Not such a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has 1 to 255 characters, none of them a control character")]
pub struct InvalidTheirName;

impl TheirName {
    /// As they wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TheirName {
    type Err = InvalidTheirName;

    fn from_str(text: &str) -> Result<Self, InvalidTheirName> {
        let good = !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidTheirName) }
    }
}

impl std::ops::Deref for TheirName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Where an orchestrator has put a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// In which of its projects.
    pub project_id: Option<TheirName>,
    /// What it calls the resource.
    pub orchestrator_resource_id: Option<TheirName>,
    /// What the resource is for.
    pub environment: Environment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_names_are_bounded_and_visible() {
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert!(bad.parse::<TheirName>().is_err(), "{bad:?}");
        }
        assert_eq!("proj_8Zq".parse::<TheirName>().unwrap().as_str(), "proj_8Zq");
        assert!("staging".parse::<Environment>().is_err());
        assert_eq!("dev".parse(), Ok(Environment::Dev));
    }
}
