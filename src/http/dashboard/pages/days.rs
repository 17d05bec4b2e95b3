//! Spend by day: every day of the period so far, the sum up to each, and where that leads.

use chrono::{Days, NaiveDate};

use super::format;
use crate::clock::{Period, Timestamp};
use crate::money::{Amount, Currency};

/// What was spent on one day (UTC). Days without spend may be left out.
#[derive(Debug, Clone, Copy)]
pub struct DaySpend {
    /// The day.
    pub day: NaiveDate,
    /// Captured on it.
    pub spent: Amount,
}

/// One day with the sum of all days up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) date: NaiveDate,
    pub(super) spent: Amount,
    pub(super) total: Amount,
}

impl Day {
    pub(super) fn name(&self) -> String {
        format::short_day(self.date)
    }

    pub(super) fn iso(&self) -> String {
        self.date.to_string()
    }

    pub(super) fn spent_text(&self, currency: Currency) -> String {
        format::money(self.spent, currency)
    }

    pub(super) fn total_text(&self, currency: Currency) -> String {
        format::money(self.total, currency)
    }
}

/// More days than this are not drawn; a period that is longer is drawn from its start.
const MOST_DAYS: usize = 92;
/// The course is the average of this many days up to now...
const COURSE_DAYS: usize = 7;
/// ...and only told when money was spent on at least this many of them.
const DAYS_TO_JUDGE: usize = 3;

/// How many days the period has, drawn at most.
pub(super) fn days_of(period: Period) -> usize {
    let length = period.end.since(period.start).num_days();
    usize::try_from(length).unwrap_or(1).clamp(1, MOST_DAYS)
}

/// Every day from the start of the period to `now`, with sums; gaps are days of nothing.
pub(super) fn fill(spends: &[DaySpend], period: Period, now: Timestamp) -> Vec<Day> {
    let (Some(first), Some(today)) = (period.start.date(), now.date()) else {
        return Vec::new();
    };
    let mut total = Amount::ZERO;
    let days = (0_u64..).map_while(|offset| first.checked_add_days(Days::new(offset)));
    days.take(days_of(period))
        .take_while(|day| *day <= today)
        .map(|day| {
            let spent =
                spends.iter().filter(|spend| spend.day == day).fold(Amount::ZERO, |sum, spend| plus(sum, spend.spent));
            total = plus(total, spent);
            Day { date: day, spent, total }
        })
        .collect()
}

fn plus(a: Amount, b: Amount) -> Amount {
    a.checked_add(b).unwrap_or(a)
}

/// Where spending leads by the end of the period: so far, plus the average of the last days for every day to come.
/// `None` while there is too little to judge by.
pub(super) fn course(days: &[Day], period: Period) -> Option<Amount> {
    let recent: Vec<&Day> = days.iter().rev().take(COURSE_DAYS).collect();
    let spending = recent.iter().filter(|day| day.spent > Amount::ZERO).count();
    if spending < DAYS_TO_JUDGE {
        return None;
    }
    let sum: i128 = recent.iter().map(|day| i128::from(day.spent.minor())).sum();
    let ahead = i128::try_from(days_of(period).saturating_sub(days.len())).ok()?;
    let count = i128::try_from(recent.len()).ok()?;
    let so_far = i128::from(days.last()?.total.minor());
    i64::try_from(so_far + sum * ahead / count).ok().and_then(|minor| Amount::from_minor(minor).ok())
}

/// The day on which the course reaches `cap`, when it does so within the period.
pub(super) fn reaches(days: &[Day], period: Period, cap: Amount) -> Option<NaiveDate> {
    let end = course(days, period)?;
    let last = days.last()?;
    let ahead = u64::try_from(days_of(period).saturating_sub(days.len())).ok()?;
    let to_go = u64::try_from(cap.checked_sub(last.total)?.minor()).ok()?;
    let rise = u64::try_from(end.checked_sub(last.total)?.minor()).ok()?;
    if rise == 0 || to_go > rise {
        return None;
    }
    let offset = u128::from(to_go) * u128::from(ahead) / u128::from(rise);
    last.date.checked_add_days(Days::new(u64::try_from(offset).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn november() -> (Period, Timestamp) {
        let now = Timestamp::parse_rfc3339("2026-11-15T14:03:00Z").unwrap();
        (Period::month_of(now), now)
    }

    fn spend(day: u32, minor: i64) -> DaySpend {
        DaySpend { day: NaiveDate::from_ymd_opt(2026, 11, day).unwrap(), spent: Amount::from_minor(minor).unwrap() }
    }

    #[test]
    fn days_without_spend_are_there_and_the_sums_grow() {
        let (period, now) = november();
        let days = fill(&[spend(2, 100), spend(2, 50), spend(15, 200)], period, now);
        assert_eq!(days.len(), 15);
        let totals: Vec<i64> = days.iter().map(|day| day.total.minor()).collect();
        assert_eq!((totals[0], totals[1], totals[13], totals[14]), (0, 150, 150, 350));
    }

    #[test]
    fn the_course_is_the_average_of_the_last_week() {
        let (period, now) = november();
        let spends: Vec<_> = (9..=15).map(|day| spend(day, 100)).collect();
        let days = fill(&spends, period, now);
        assert_eq!(course(&days, period), Some(Amount::from_minor(700 + 15 * 100).unwrap()));
        let reached = reaches(&days, period, Amount::from_minor(1_000).unwrap());
        assert_eq!(reached, NaiveDate::from_ymd_opt(2026, 11, 18));
        assert_eq!(reaches(&days, period, Amount::from_minor(5_000).unwrap()), None);
    }

    #[test]
    fn one_purchase_is_no_course() {
        let (period, now) = november();
        assert_eq!(course(&fill(&[spend(15, 4_120)], period, now), period), None);
    }
}
