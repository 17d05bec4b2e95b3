//! What a plan says about other plans: where it may be changed to, beside what it may not stand, what it needs first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::{InvalidName, PlanId, ServiceId};
use super::price::Price;
use super::words::{Direction, Scope};

/// One plan in the whole catalog: `postgres/small`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanRef {
    /// Of which service.
    pub service: ServiceId,
    /// Which of its plans.
    pub plan: PlanId,
}

/// Not the name of a plan in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlanRef {
    /// Without a service.
    #[error("`{0}` is not a plan of the catalog: write the service, `/` and the plan, such as `postgres/small`")]
    NoService(String),
    /// One of the two is no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl PlanRef {
    /// This plan of this service.
    #[must_use]
    pub fn new(service: &ServiceId, plan: &PlanId) -> Self {
        Self { service: service.clone(), plan: plan.clone() }
    }
}

impl FromStr for PlanRef {
    type Err = InvalidPlanRef;

    fn from_str(text: &str) -> Result<Self, InvalidPlanRef> {
        let no_service = || InvalidPlanRef::NoService(text.chars().take(64).flat_map(char::escape_debug).collect());
        let (service, plan) = text.split_once('/').ok_or_else(no_service)?;
        Ok(Self { service: service.parse()?, plan: plan.parse()? })
    }
}

impl fmt::Display for PlanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.plan)
    }
}

impl fmt::Debug for PlanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PlanRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PlanRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a plan says about other plans. Nothing by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// To which plans a resource may be changed.
    pub updates: Vec<Update>,
    /// How many resources may be active at once in the scope of the service.
    pub at_most: Option<AtMost>,
    /// Whether no plan that can be reached by `updates` may be active at the same time.
    pub exclusive: bool,
    /// Of these plans one has to be active first. Empty: none is needed.
    pub parents: Vec<Parent>,
}

impl Rules {
    /// The most updates, and the most parents, of one plan.
    pub const MAX: usize = 50;
}

/// A change of plan that is allowed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Update {
    /// To which plan.
    pub to: PlanRef,
    /// Which way that is.
    pub direction: Direction,
}

/// A plan that makes another one available, and what that one costs then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parent {
    /// Which.
    pub plan: PlanRef,
    /// The price under this parent. `None`: the plan's own.
    pub price: Option<Price>,
    /// Whether this is the price that a listing shows before a parent is chosen. It does not replace the parent.
    pub default: bool,
}

/// How many at once: from 1 to 1,000,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct AtMost(u32);

/// Not a number of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a number of resources: write a whole number from 1 to {}", AtMost::MOST)]
pub struct InvalidAtMost;

impl AtMost {
    /// More than this is no limit that anybody meant.
    pub const MOST: u32 = 1_000_000;

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for AtMost {
    type Error = InvalidAtMost;

    fn try_from(number: u32) -> Result<Self, InvalidAtMost> {
        if (1..=Self::MOST).contains(&number) { Ok(Self(number)) } else { Err(InvalidAtMost) }
    }
}

impl From<AtMost> for u32 {
    fn from(at_most: AtMost) -> Self {
        at_most.0
    }
}

impl FromStr for AtMost {
    type Err = InvalidAtMost;

    fn from_str(text: &str) -> Result<Self, InvalidAtMost> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| plain).ok_or(InvalidAtMost)?.try_into()
    }
}

impl fmt::Display for AtMost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How many resources of a plan may be active at once, and where they are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// How many.
    pub at_most: AtMost,
    /// Counted in each project, or in the whole account.
    pub scope: Scope,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_named_with_its_service() {
        let plan: PlanRef = "postgres/small".parse().unwrap();
        assert_eq!(
            (plan.service.as_str(), plan.plan.as_str(), plan.to_string().as_str()),
            ("postgres", "small", "postgres/small")
        );
        for text in ["", "postgres", "postgres/", "/small", "postgres/small/x", "Postgres/small", "../small"] {
            assert!(text.parse::<PlanRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_limit_is_at_least_one() {
        assert_eq!("3".parse::<AtMost>().unwrap().number(), 3);
        for text in ["0", "-1", "+1", "1.0", "1000001", "99999999999", "", "one"] {
            assert!(text.parse::<AtMost>().is_err(), "{text:?}");
        }
    }
}
