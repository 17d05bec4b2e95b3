//! What a client asks for in numbers (Rich Authorization Requests, RFC 9396): how much may be spent (`spend`), and what may
//! be made: within limits (`provision`), or exactly (`plan`, priced by us). Each type at most once; what nobody knows is
//! refused, because the human would not see it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{PlanLine, WorstCase, total_of};
use crate::clock::Timestamp;
use crate::money::{Amount, Currency, Money, Rate};
use crate::secret::sha256_base64url;
use crate::signing::{canonical_json, parse_strict};

/// The longest text of all details, in bytes.
const MAX_LENGTH: usize = 8 * 1024;
/// The most offers that one request names.
const MAX_OFFERS: usize = 32;

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Detail {
    /// How much may be spent.
    Spend {
        /// Of what.
        currency: Currency,
        /// The most in a calendar month, in major units: `40.00`.
        max_per_month: String,
        /// The most at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_single: Option<String>,
        /// Until when, RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
    },
    /// What may be made.
    Provision {
        /// `create` is the only one that is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        actions: Vec<String>,
        /// The APIs where this holds.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        locations: Vec<String>,
        /// `service/plan`; any when absent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        offers: Vec<String>,
        /// How many in all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_count: Option<u32>,
    },
    /// Everything that shall be made, and what it costs at the most: figures that we write and nobody else.
    Plan {
        /// The APIs where this holds.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        locations: Vec<String>,
        /// What, and how many of it.
        resources: Vec<PlanLine>,
        /// All of it together, by the signed catalog.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worst_case: Option<WorstCase>,
    },
}

/// Why details are refused: `invalid_authorization_details` (RFC 9396 §5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`authorization_details`: {0}")]
pub struct DetailError(pub String);

/// What the details of one request come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most in a calendar month.
    pub per_month: Option<Money>,
    /// The most at once.
    pub single: Option<Amount>,
    /// Until when anything may be spent.
    pub ends_at: Option<Timestamp>,
    /// What may be made: service and plan; anything when `None`.
    pub offers: Option<Vec<(String, String)>>,
    /// How many in all.
    pub max_count: Option<u32>,
    /// The lines of a plan, priced; empty: there is none.
    pub plan: Vec<PlanLine>,
}

impl Detail {
    /// Reads `authorization_details` for the API `resource`.
    ///
    /// # Errors
    /// When a type, a member or a value is not one that is known here.
    pub fn read(text: &str, resource: &str) -> Result<Vec<Self>, DetailError> {
        let wrong = |why: &str| DetailError(why.to_owned());
        if text.len() > MAX_LENGTH {
            return Err(wrong("longer than 8 KiB"));
        }
        let value: Value = parse_strict(text.as_bytes()).map_err(|error| DetailError(error.to_string()))?;
        Self::of(value, resource)
    }

    /// The same of JSON that was read already.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(in crate::authorization) fn of(value: Value, resource: &str) -> Result<Vec<Self>, DetailError> {
        if value.to_string().len() > MAX_LENGTH {
            return Err(DetailError("longer than 8 KiB".to_owned()));
        }
        let details: Vec<Self> = serde_json::from_value(value).map_err(|error| DetailError(error.to_string()))?;
        limits_of(&details)?;
        details.iter().try_for_each(|detail| detail.check(resource))?;
        Ok(details)
    }

    fn check(&self, resource: &str) -> Result<(), DetailError> {
        let wrong = |why: &str| Err(DetailError(why.to_owned()));
        let locations = match self {
            Self::Spend { .. } => return Ok(()),
            Self::Provision { actions, .. } if actions.iter().any(|action| action != "create") => {
                return wrong("`actions` knows only `create`");
            }
            Self::Provision { offers, .. } if offers.len() > MAX_OFFERS => return wrong("more than 32 `offers`"),
            Self::Plan { resources, worst_case, .. }
                if worst_case.is_some() || resources.iter().any(PlanLine::is_priced) =>
            {
                return wrong("the figures of a `plan` are written by the provider: leave them out");
            }
            Self::Plan { resources, .. } if !(1..=MAX_OFFERS).contains(&resources.len()) => {
                return wrong("`resources` of a `plan` has 1 to 32 lines");
            }
            Self::Provision { locations, .. } | Self::Plan { locations, .. } => locations,
        };
        if locations.iter().any(|location| location != resource) {
            return wrong("`locations` names another API than `resource`");
        }
        Ok(())
    }
}

/// Names what the details say, whatever revision of the catalog they were priced by.
#[must_use]
pub(in crate::authorization) fn details_digest(details: &[Detail]) -> String {
    let mut plain = details.to_vec();
    for detail in &mut plain {
        if let Detail::Plan { worst_case, .. } = detail {
            *worst_case = None;
        }
    }
    // Details are always JSON.
    canonical_json(&plain).map_or_else(|_| String::new(), |bytes| sha256_base64url(&bytes))
}

/// Names what the details allow, in whatever order and spelling they stand, for as long as they are stated, and whatever a plan
/// costs now: who states the same again states nothing new.
///
/// # Errors
/// When they are none.
pub(in crate::authorization) fn limits_name(details: &[Detail]) -> Result<String, DetailError> {
    let mut plain = details.to_vec();
    for detail in &mut plain {
        let Detail::Plan { resources, worst_case, .. } = detail else { continue };
        *worst_case = None;
        for line in resources {
            (line.max_per_month_each, line.currency) = (None, None);
        }
    }
    let Limits { per_month, single, offers, max_count, plan, ends_at: _ } = limits_of(&plain)?;
    let per_month = per_month.map(|money| (money.amount.minor(), money.currency));
    let offers: Option<BTreeSet<(String, String)>> = offers.map(BTreeSet::from_iter);
    let lines: BTreeSet<_> = plan.iter().map(|line| (&line.service, &line.plan, line.count)).collect();
    let all = (per_month, single.map(Amount::minor), offers, max_count, lines);
    let text = serde_json::to_string(&all).map_err(|error| DetailError(error.to_string()))?;
    Ok(sha256_base64url(text.as_bytes()))
}

pub(super) fn amount(text: &str, currency: Currency) -> Result<Amount, DetailError> {
    let rate: Rate = format!("{text} {currency}").parse().map_err(|error| DetailError(format!("`{text}`: {error}")))?;
    rate.exact().map_err(|error| DetailError(format!("`{text}`: {error}")))
}

/// What the details come to.
///
/// # Errors
/// When a number is none, or a type stands there twice.
pub fn limits_of(details: &[Detail]) -> Result<Limits, DetailError> {
    let mut limits = Limits::default();
    let (mut spends, mut provisions) = (0, 0);
    let mut planned = None;
    for detail in details {
        match detail {
            Detail::Spend { currency, max_per_month, max_single, expires_at } => {
                spends += 1;
                limits.per_month = Some(Money { amount: amount(max_per_month, *currency)?, currency: *currency });
                limits.single = max_single.as_deref().map(|text| amount(text, *currency)).transpose()?;
                let end = expires_at.as_deref().map(Timestamp::parse_rfc3339).transpose();
                limits.ends_at = end.map_err(|error| DetailError(format!("`expires_at`: {error}")))?;
            }
            Detail::Provision { offers, max_count, .. } => {
                provisions += 1;
                let read = |offer: &String| {
                    let (service, plan) = offer.split_once('/')?;
                    Some((service.to_owned(), plan.to_owned()))
                };
                let read: Option<Vec<_>> = offers.iter().map(read).collect();
                let read = read.ok_or_else(|| DetailError("`offers` are written `service/plan`".to_owned()))?;
                limits.offers = (!read.is_empty()).then_some(read);
                limits.max_count = *max_count;
            }
            Detail::Plan { resources, worst_case, .. } => {
                provisions += 1;
                planned = total_of(resources, worst_case.as_ref())?;
                limits.plan.clone_from(resources);
            }
        }
    }
    if spends > 1 || provisions > 1 {
        return Err(DetailError("one `spend`, and one of `provision` and `plan`, stand there at most".to_owned()));
    }
    limits.per_month = lower(limits.per_month, planned)?;
    Ok(limits)
}

/// The lower of what may be spent and what a plan costs at the most.
fn lower(allowed: Option<Money>, planned: Option<Money>) -> Result<Option<Money>, DetailError> {
    match (allowed, planned) {
        (Some(allowed), Some(planned)) if allowed.currency != planned.currency => {
            Err(DetailError(format!("`spend` counts {}, the plan costs {}", allowed.currency, planned.currency)))
        }
        (Some(allowed), Some(planned)) if planned.amount < allowed.amount => Ok(Some(planned)),
        (allowed, planned) => Ok(allowed.or(planned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "https://p.example/v1";

    #[test]
    fn limits_are_read_as_they_are_written() {
        let text = r#"[{"type":"provision","actions":["create"],"locations":["https://p.example/v1"],"offers":["postgres/small"],"max_count":2},
            {"type":"spend","currency":"USD","max_per_month":"40.00","max_single":"15.00","expires_at":"2027-02-20T00:00:00Z"}]"#;
        let limits = limits_of(&Detail::read(text, API).unwrap()).unwrap();
        assert_eq!(limits.per_month.unwrap().amount.minor(), 4000);
        assert_eq!(limits.single.unwrap().minor(), 1500);
        assert_eq!((limits.max_count, limits.offers.unwrap().len()), (Some(2), 1));
        assert!(limits.ends_at.is_some());
        assert_eq!(limits_of(&Detail::read("[]", API).unwrap()).unwrap(), Limits::default());
    }

    #[test]
    fn what_the_human_would_not_see_is_refused() {
        for bad in [
            "{}",
            "x",
            r#"[{"type":"delete"}]"#,
            r#"[{"type":"spend"}]"#,
            r#"[{"currency":"USD","max_per_month":"1.00"}]"#,
            r#"[{"type":"spend","currency":"USD","max_per_month":"1.00","max_per_day":"1.00"}]"#,
            r#"[{"type":"spend","currency":"USD","max_per_month":"1.001"}]"#,
            r#"[{"type":"spend","currency":"USD","max_per_month":"-1.00"}]"#,
            r#"[{"type":"spend","currency":"USD","max_per_month":1}]"#,
            r#"[{"type":"spend","currency":"usd","max_per_month":"1.00"}]"#,
            r#"[{"type":"spend","currency":"USD","max_per_month":"1.00","max_per_month":"9.00"}]"#,
            r#"[{"type":"spend","currency":"USD","max_per_month":"1.00"},{"type":"spend","currency":"USD","max_per_month":"2.00"}]"#,
            r#"[{"type":"provision","actions":["scale"]}]"#,
            r#"[{"type":"provision","locations":["https://elsewhere.example"]}]"#,
            r#"[{"type":"provision","offers":["postgres"]}]"#,
            r#"[{"type":"provision","max_count":-1}]"#,
            r#"[{"type":"plan"}]"#,
            r#"[{"type":"plan","resources":[]}]"#,
            r#"[{"type":"plan","resources":[{"service":"postgres","plan":"small","count":0}]}]"#,
            r#"[{"type":"plan","resources":[{"service":"postgres","plan":"small","count":1001}]}]"#,
            r#"[{"type":"plan","resources":[{"service":"postgres","plan":"small"},{"service":"postgres","plan":"small"}]}]"#,
            r#"[{"type":"plan","resources":[{"service":"postgres","plan":"small","max_per_month_each":"1.00"}]}]"#,
            r#"[{"type":"plan","resources":[{"service":"postgres","plan":"small"}],"worst_case":{"max_per_month":"1.00","catalog_version":1,"catalog_digest":"x"}}]"#,
            r#"[{"type":"plan","resources":[{"service":"postgres","plan":"small"}]},{"type":"provision","max_count":1}]"#,
            r#"[{"type":"plan","locations":["https://elsewhere.example"],"resources":[{"service":"postgres","plan":"small"}]}]"#,
        ] {
            assert!(Detail::read(bad, API).is_err(), "{bad}");
        }
    }
}
