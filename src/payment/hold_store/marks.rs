//! Telling an orchestrator how much of a budget is used: in the transaction that passed a mark on the way up.

use std::collections::BTreeMap;

use diesel::prelude::*;
use serde_json::json;

use super::read;
use crate::clock::Timestamp;
use crate::db::DbConnection;
use crate::db::schema::counters;
use crate::ids::{AccountId, CounterId, OrchestratorId};
use crate::outbox;
use crate::payment::decide::{Changes, Facts};
use crate::payment::hold::{Counter, CounterKind};

/// Parts of a ceiling that are worth a word, in percent.
const MARKS: [i128; 4] = [50, 75, 90, 100];

/// How much of each budget was used before anything moved, in minor units.
pub(super) type Used = BTreeMap<(AccountId, CounterId), i64>;

fn used(counter: &Counter) -> i64 {
    counter.held.minor().saturating_add(counter.spent.minor())
}

/// The budgets among the counters.
pub(super) fn before(facts: &Facts) -> Used {
    let budgets = facts.counters.iter().filter(|(_, counter)| counter.kind == CounterKind::Budget);
    budgets.map(|(key, counter)| (key.clone(), used(counter))).collect()
}

/// The highest mark that lies above `before` and not above `after`.
fn passed(ceiling: i64, before: i64, after: i64) -> Option<i128> {
    let reached = |used: i64, mark: i128| i128::from(used) * 100 >= i128::from(ceiling) * mark;
    MARKS.into_iter().rfind(|mark| ceiling > 0 && reached(after, *mark) && !reached(before, *mark))
}

/// Tells whoever listens of each budget that passed a mark.
pub(super) fn tell(conn: &mut DbConnection, before: &Used, changes: &Changes) -> QueryResult<()> {
    for counter in &changes.counters {
        let Some(was) = before.get(&(counter.account_id.clone(), counter.id.clone())) else { continue };
        let Some(percent) = passed(counter.ceiling.minor(), *was, used(counter)) else { continue };
        let at = changes.entries.iter().rfind(|entry| entry.account_id == counter.account_id.as_str());
        if let Some(entry) = at {
            tell_one(conn, counter, percent, entry.at)?;
        }
    }
    Ok(())
}

fn tell_one(conn: &mut DbConnection, counter: &Counter, percent: i128, now: Timestamp) -> QueryResult<()> {
    let subject: String =
        counters::table.find((&counter.account_id, &counter.id)).select(counters::subject).first(conn)?;
    let orchestrator: OrchestratorId = read(subject.parse())?;
    let told = json!({
        "account": {"id": counter.account_id},
        "budget": {
            "percent": i64::try_from(percent).unwrap_or(100), "currency": counter.currency,
            "ceiling": counter.ceiling.minor(), "spent": counter.spent.minor(), "held": counter.held.minor(),
            "resets_at": counter.period_end.to_rfc3339(),
        },
    });
    outbox::notify(conn, "budget.threshold_crossed", &orchestrator, &counter.account_id, &told, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_mark_on_the_way_up_is_told_once() {
        for (before, after, mark) in [
            (0, 4999, None),
            (0, 5000, Some(50)),
            (4999, 9999, Some(90)),
            (5000, 7499, None),
            (9999, 10_000, Some(100)),
            (10_000, 10_000, None),
            (8000, 7000, None),
        ] {
            assert_eq!(passed(10_000, before, after), mark, "{before} → {after}");
        }
        assert_eq!(passed(0, 0, 0), None, "a closed budget has no marks");
        assert_eq!(passed(i64::MAX, 0, i64::MAX), Some(100));
    }
}
