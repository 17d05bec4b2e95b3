//! The scale of the daily chart: amounts and days to a plane of 1000 by 1000, y downwards. Whole numbers only.

use std::fmt::Write as _;

use super::days::Day;
use crate::money::Amount;

/// A bar of one day on the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) width: i64,
    pub(super) height: i64,
}

/// A small bar would vanish below this.
const LOWEST_BAR: i64 = 8;

/// Days on x, money on y, with room above the highest line.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    days: Vec<Day>,
    slots: i64,
    top: i128,
    cap: Amount,
    course: Option<Amount>,
}

impl Chart {
    /// `slots` is the number of days of the whole period; `days` are those that have begun.
    pub(super) fn of(days: Vec<Day>, slots: usize, cap: Amount, course: Option<Amount>) -> Self {
        let total = days.last().map_or(Amount::ZERO, |day| day.total);
        let highest = cap.max(total).max(course.unwrap_or_default());
        let top = (i128::from(highest.minor()) * 108 / 100).max(1);
        let slots = i64::try_from(slots.max(days.len()).max(1)).unwrap_or(1);
        Self { days, slots, top, cap, course }
    }

    /// The height of an amount on the plane.
    fn y(&self, amount: Amount) -> i64 {
        1000 - i64::try_from(i128::from(amount.minor()) * 1000 / self.top).unwrap_or(1000).min(1000)
    }

    /// The middle of the day with that index.
    fn x(&self, index: usize) -> i64 {
        (i64::try_from(index).unwrap_or(0) * 2 + 1) * 500 / self.slots
    }

    pub(super) fn cap_y(&self) -> i64 {
        self.y(self.cap)
    }

    pub(super) fn bars(&self) -> Vec<Bar> {
        let width = (640 / self.slots).max(3);
        let visible = self.days.iter().enumerate().filter(|(_, day)| day.spent > Amount::ZERO);
        visible
            .map(|(index, day)| {
                let y = self.y(day.spent).min(1000 - LOWEST_BAR);
                Bar { x: self.x(index) - width / 2, y, width, height: 1000 - y }
            })
            .collect()
    }

    /// The line of the sum, as path data.
    pub(super) fn line(&self) -> String {
        let mut path = String::new();
        for (index, day) in self.days.iter().enumerate() {
            let verb = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{} {}", self.x(index), self.y(day.total));
        }
        path
    }

    /// The surface below that line, as path data.
    pub(super) fn surface(&self) -> String {
        let last = self.x(self.days.len().saturating_sub(1));
        format!("{}L{last} 1000L{} 1000Z", self.line(), self.x(0))
    }

    /// From today's sum to the course at the end of the period, as path data.
    pub(super) fn projection(&self) -> Option<String> {
        let last = self.days.last()?;
        let (from, to) = (self.x(self.days.len() - 1), self.y(self.course?));
        Some(format!("M{from} {}L1000 {to}", self.y(last.total)))
    }

    /// The place of today's sum.
    pub(super) fn today(&self) -> Option<(i64, i64)> {
        let last = self.days.last()?;
        Some((self.x(self.days.len() - 1), self.y(last.total)))
    }

    /// Which days get a label below: the first, and then every week. Places in tenths of a percent.
    pub(super) fn weeks(&self) -> Vec<(i64, usize)> {
        let slots = usize::try_from(self.slots).unwrap_or(1);
        (0..slots).step_by(7).map(|index| (self.x(index), index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Days, NaiveDate};
    use proptest::prelude::*;

    fn minor(minor: i64) -> Amount {
        Amount::from_minor(minor).unwrap()
    }

    fn days(spends: &[i64]) -> Vec<Day> {
        let first = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let mut total = 0;
        let day = |(index, spent): (usize, &i64)| {
            total += spent;
            let date = first.checked_add_days(Days::new(u64::try_from(index).unwrap())).unwrap();
            Day { date, spent: minor(*spent), total: minor(total) }
        };
        spends.iter().enumerate().map(day).collect()
    }

    #[test]
    fn a_day_at_half_of_the_plane_stands_at_half_of_its_height() {
        let chart = Chart::of(days(&[0, 5_400]), 10, minor(10_000), None);
        assert_eq!(chart.cap_y(), 75);
        assert_eq!(chart.bars(), [Bar { x: 118, y: 500, width: 64, height: 500 }]);
        assert_eq!(chart.line(), "M50 1000L150 500");
        assert_eq!(chart.today(), Some((150, 500)));
    }

    #[test]
    fn a_chart_of_nothing_is_empty_and_does_not_divide_by_zero() {
        let chart = Chart::of(Vec::new(), 0, Amount::ZERO, None);
        assert!(chart.bars().is_empty() && chart.today().is_none() && chart.projection().is_none());
    }

    proptest! {
        #[test]
        fn everything_lies_on_the_plane(spends in prop::collection::vec(0_i64..1 << 50, 1..40), cap in 0_i64..1 << 60) {
            let course = minor(spends.iter().sum());
            let chart = Chart::of(days(&spends), 31, minor(cap), Some(course));
            prop_assert!((0..=1000).contains(&chart.cap_y()));
            for bar in chart.bars() {
                prop_assert!(bar.x >= 0 && bar.x + bar.width <= 1000);
                prop_assert!(bar.y >= 0 && bar.y + bar.height == 1000);
            }
        }
    }
}
