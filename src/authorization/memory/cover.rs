//! Whether what was allowed covers what is asked, in numbers.

use crate::authorization::request::{Detail, Limits, PlanLine, limits_of};
use crate::clock::Timestamp;

/// Whether nothing of `asked` goes beyond `allowed`, which still holds at `now`. What cannot be read covers nothing.
pub(super) fn covers(allowed: &[Detail], asked: &[Detail], now: Timestamp) -> bool {
    let (Ok(allowed_limits), Ok(asked_limits)) = (limits_of(allowed), limits_of(asked)) else { return false };
    allowed.is_empty() || within(&allowed_limits, &asked_limits, now)
}

fn within(allowed: &Limits, asked: &Limits, now: Timestamp) -> bool {
    if allowed.ends_at.is_some_and(|end| end <= now) {
        return false;
    }
    let per_month = match (allowed.per_month, asked.per_month) {
        (Some(allowed), Some(asked)) => allowed.currency == asked.currency && asked.amount <= allowed.amount,
        (allowed, _) => allowed.is_none(),
    };
    per_month
        && no_more(allowed.single, asked.single)
        && no_more(allowed.ends_at, asked.ends_at)
        && no_more(allowed.max_count, asked.max_count)
        && offers(allowed, asked)
        && plan(&allowed.plan, &asked.plan)
}

/// Without a limit anything was allowed; with one, another must be asked for that is not above it.
fn no_more<T: PartialOrd>(allowed: Option<T>, asked: Option<T>) -> bool {
    match (allowed, asked) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(allowed), Some(asked)) => asked <= allowed,
    }
}

fn offers(allowed: &Limits, asked: &Limits) -> bool {
    match (&allowed.offers, &asked.offers) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(allowed), Some(asked)) => asked.iter().all(|offer| allowed.contains(offer)),
    }
}

fn plan(allowed: &[PlanLine], asked: &[PlanLine]) -> bool {
    let line = |asked: &PlanLine| {
        let mut same = allowed.iter().filter(|known| known.service == asked.service && known.plan == asked.plan);
        same.any(|known| asked.count <= known.count && no_dearer(known, asked))
    };
    allowed.is_empty() || (!asked.is_empty() && asked.iter().all(line))
}

fn no_dearer(allowed: &PlanLine, asked: &PlanLine) -> bool {
    match (allowed.most_each(), asked.most_each()) {
        (Ok(Some(allowed)), Ok(Some(asked))) => {
            asked.currency.is_none() || (asked.currency == allowed.currency && asked.amount <= allowed.amount)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(text: &str) -> Vec<Detail> {
        serde_json::from_str(text).unwrap()
    }

    fn covered(allowed: &str, asked: &str) -> bool {
        covers(&details(allowed), &details(asked), Timestamp::from_seconds(1_800_000_000))
    }

    #[test]
    fn numbers_are_covered_by_numbers_that_are_as_high() {
        let spend = |month: &str| format!(r#"[{{"type":"spend","currency":"USD","max_per_month":"{month}"}}]"#);
        let many =
            |count: u32, offers: &str| format!(r#"[{{"type":"provision","offers":[{offers}],"max_count":{count}}}]"#);
        for (allowed, asked, expected) in [
            ("[]".to_owned(), "[]".to_owned(), true),
            ("[]".to_owned(), spend("9"), true),
            (spend("9"), "[]".to_owned(), false),
            (spend("9"), spend("9.00"), true),
            (spend("9"), spend("8"), true),
            (spend("9"), spend("9.01"), false),
            (spend("9"), spend("9").replace("USD", "EUR"), false),
            (many(2, ""), many(2, r#""a/b""#), true),
            (many(2, r#""a/b""#), many(2, ""), false),
            (many(2, r#""a/b""#), many(1, r#""a/b""#), true),
            (many(2, r#""a/b""#), many(3, r#""a/b""#), false),
            (many(2, r#""a/b""#), many(2, r#""a/c""#), false),
        ] {
            assert_eq!(covered(&allowed, &asked), expected, "{allowed} {asked}");
        }
    }

    #[test]
    fn a_limit_whose_time_is_over_covers_nothing() {
        let spend = |end: &str| {
            format!(r#"[{{"type":"spend","currency":"USD","max_per_month":"9","expires_at":"{end}T00:00:00Z"}}]"#)
        };
        assert!(covered(&spend("2028-01-02"), &spend("2028-01-01")));
        assert!(!covered(&spend("2028-01-01"), &spend("2028-01-02")));
        assert!(!covered(&spend("2020-01-01"), &spend("2020-01-01")));
    }

    #[test]
    fn a_plan_is_covered_by_one_with_as_many_that_cost_as_much() {
        let plan = |count: u32, most: &str| {
            format!(
                r#"[{{"type":"plan","resources":[{{"service":"a","plan":"b","count":{count},"max_per_month_each":"{most}","currency":"USD"}}]}}]"#
            )
        };
        assert!(covered(&plan(2, "9"), &plan(2, "9")) && covered(&plan(2, "9"), &plan(1, "8")));
        assert!(!covered(&plan(2, "9"), &plan(3, "9")) && !covered(&plan(2, "9"), &plan(2, "9.01")));
        assert!(!covered(&plan(2, "9"), "[]"));
        assert!(!covered(&plan(2, "9"), r#"[{"type":"spend","currency":"USD","max_per_month":"1"}]"#));
    }
}
