//! A plan: exactly what an agent wants to make. The provider prices it by its signed catalog, so that the human sees the
//! worst case of it, and later purchases are held against what the human saw.

use serde::{Deserialize, Serialize};

use super::details::{Detail, DetailError, amount};
use super::{AuthorizationRequest, Refusal};
use crate::authorization::scope::{Scope, Scopes};
use crate::money::{Amount, Currency, Money};

/// The most of one kind in one plan.
const MAX_COUNT: u32 = 1000;

/// Some resources of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanLine {
    /// Of which service.
    pub service: String,
    /// Which plan.
    pub plan: String,
    /// How many, 1 to 1000.
    #[serde(default = "one")]
    pub count: u32,
    /// The most that one costs in a calendar month, in major units of the plan's currency. Written by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_month_each: Option<String>,
    /// Nothing for what is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

/// What a plan costs at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstCase {
    /// Nothing when all of it is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// In a calendar month, everything together, in major units.
    pub max_per_month: String,
    /// The revision of the catalog that says so.
    pub catalog_version: i64,
    /// Its digest.
    pub catalog_digest: String,
}

impl WorstCase {
    /// As money; `None`: all of it is free.
    #[must_use]
    pub fn money(&self) -> Option<Money> {
        let currency = self.currency?;
        // Written by ourselves from money.
        amount(&self.max_per_month, currency).ok().map(|amount| Money { amount, currency })
    }
}

/// What one of a kind costs at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostEach {
    /// Nothing for what is free.
    pub currency: Option<Currency>,
    /// In a calendar month.
    pub amount: Amount,
}

fn one() -> u32 {
    1
}

impl PlanLine {
    pub(super) fn is_priced(&self) -> bool {
        self.max_per_month_each.is_some() || self.currency.is_some()
    }

    /// What one costs at the most, if it is priced.
    ///
    /// # Errors
    /// When the figure is none.
    pub fn most_each(&self) -> Result<Option<MostEach>, DetailError> {
        let Some(text) = &self.max_per_month_each else { return Ok(None) };
        let Some(currency) = self.currency else {
            return Ok(Some(MostEach { currency: None, amount: Amount::ZERO }));
        };
        Ok(Some(MostEach { currency: Some(currency), amount: amount(text, currency)? }))
    }
}

/// Whether the lines can be a plan, and what it comes to; `None`: it is not priced yet, or free.
pub(super) fn total_of(lines: &[PlanLine], worst_case: Option<&WorstCase>) -> Result<Option<Money>, DetailError> {
    let wrong = |why: &str| Err(DetailError(why.to_owned()));
    for (index, line) in lines.iter().enumerate() {
        if !(1..=MAX_COUNT).contains(&line.count) {
            return wrong("`count` of a plan's line is 1 to 1000");
        }
        let same = |other: &PlanLine| other.service == line.service && other.plan == line.plan;
        if lines.iter().skip(index + 1).any(same) {
            return wrong("a plan names each service and plan once: raise its `count`");
        }
    }
    let Some(WorstCase { currency: Some(currency), max_per_month, .. }) = worst_case else {
        return Ok(None);
    };
    Ok(Some(Money { amount: amount(max_per_month, *currency)?, currency: *currency }))
}

/// What the catalog says that plans cost. It stands above this module, which knows no prices.
pub trait Pricing: Send + Sync {
    /// Writes the worst case of every plan down.
    ///
    /// # Errors
    /// When the catalog does not sell something of a plan, or two currencies meet (RFC 9396 §5).
    fn price(&self, details: &mut [Detail]) -> Result<(), DetailError>;
}

impl AuthorizationRequest {
    /// The request with its plan priced.
    ///
    /// # Errors
    /// As [`Pricing::price`]; or when nothing of the plan could be bought.
    pub fn priced(mut self, prices: &impl Pricing) -> Result<Self, Refusal> {
        let refused = |error: DetailError| Refusal::new("invalid_authorization_details", format!("{error}."));
        can_be_made(&self.details, &self.scopes).map_err(refused)?;
        prices.price(&mut self.details).map_err(refused)?;
        Ok(self)
    }
}

/// Whether whoever has these scopes can make what is planned.
pub(in crate::authorization) fn can_be_made(details: &[Detail], scopes: &Scopes) -> Result<(), DetailError> {
    let planned = details.iter().any(|detail| matches!(detail, Detail::Plan { .. }));
    if planned && !scopes.contains(Scope::ResourcesWrite) {
        return Err(DetailError("`plan`: it needs the scope `resources:write`".to_owned()));
    }
    Ok(())
}

/// Prices every plan: `most` says what one of a service's plan costs at the most in a month, by the revision of the catalog
/// with this number and digest. `None`: it has no such plan.
///
/// # Errors
/// As [`Pricing::price`].
pub fn price_plans(
    details: &mut [Detail],
    most: impl Fn(&str, &str) -> Option<MostEach>,
    revision: (i64, &str),
) -> Result<(), DetailError> {
    for detail in details.iter_mut() {
        let Detail::Plan { resources, worst_case, .. } = detail else { continue };
        let priced = price(resources, &most, revision).map_err(|why| DetailError(format!("`plan`: {why}")))?;
        *worst_case = Some(priced);
    }
    super::details::limits_of(details).map(drop)
}

fn price(
    lines: &mut [PlanLine],
    most: impl Fn(&str, &str) -> Option<MostEach>,
    (version, digest): (i64, &str),
) -> Result<WorstCase, String> {
    let (mut total, mut counted) = (Amount::ZERO, None);
    for line in lines {
        let name = format!("`{}/{}`", line.service, line.plan);
        let each = most(&line.service, &line.plan).ok_or_else(|| format!("{name} is not in the catalog"))?;
        let major = |amount| match each.currency {
            Some(currency) => Money { amount, currency }.major(),
            None => "0".to_owned(),
        };
        (line.max_per_month_each, line.currency) = (Some(major(each.amount)), each.currency);
        match (counted, each.currency) {
            (Some(one), Some(other)) if one != other => return Err(format!("it costs {one} and {other}")),
            (known, new) => counted = known.or(new),
        }
        let too_much = || format!("{name} costs more than can be counted");
        let minor = each.amount.minor().checked_mul(i64::from(line.count)).ok_or_else(too_much)?;
        let all = Amount::from_minor(minor).map_err(|_out_of_range| too_much())?;
        total = total.checked_add(all).ok_or_else(too_much)?;
    }
    let max_per_month = counted.map_or_else(|| "0".to_owned(), |currency| Money { amount: total, currency }.major());
    Ok(WorstCase { currency: counted, max_per_month, catalog_version: version, catalog_digest: digest.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(currency: &str, minor: i64) -> MostEach {
        MostEach { currency: Some(currency.parse().unwrap()), amount: Amount::from_minor(minor).unwrap() }
    }

    fn line(plan: &str, count: u32) -> PlanLine {
        PlanLine { service: "s".into(), plan: plan.into(), count, max_per_month_each: None, currency: None }
    }

    fn known(_service: &str, plan: &str) -> Option<MostEach> {
        match plan {
            "small" => Some(each("USD", 900)),
            "yen" => Some(each("JPY", 900)),
            "huge" => Some(each("USD", 1 << 52)),
            "free" => Some(MostEach { currency: None, amount: Amount::ZERO }),
            _ => None,
        }
    }

    #[test]
    fn a_plan_costs_the_sum_of_its_worst_cases() {
        let mut lines = [line("small", 2), line("free", 7)];
        let worst = price(&mut lines, known, (3, "sha256:x")).unwrap();
        assert_eq!((worst.max_per_month.as_str(), worst.catalog_version), ("18.00", 3));
        assert_eq!(lines[0].most_each().unwrap(), Some(each("USD", 900)));
        assert_eq!(lines[1].most_each().unwrap().unwrap().amount, Amount::ZERO);
        let total = total_of(&lines, Some(&worst)).unwrap();
        assert_eq!(total.unwrap().amount.minor(), 1800);
        let free = price(&mut [line("free", 1)], known, (3, "sha256:x")).unwrap();
        assert_eq!((free.currency, free.max_per_month.as_str()), (None, "0"));
    }

    #[test]
    fn what_cannot_be_priced_is_no_plan() {
        for lines in [vec![line("none", 1)], vec![line("small", 1), line("yen", 1)], vec![line("huge", 1000); 4]] {
            assert!(price(&mut lines.clone(), known, (1, "x")).is_err(), "{lines:?}");
        }
    }
}
