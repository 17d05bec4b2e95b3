//! How facts are written for people: the one place for times, days and signed amounts on pages. Everything is UTC.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{Datelike as _, NaiveDate, TimeDelta};

use crate::clock::{Period, Timestamp};
use crate::money::{Amount, Currency, Money};

/// A `<time>` element: what people read, and the exact instant for programs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    at: Timestamp,
    style: &'static str,
}

/// Digits and names of months only, so that it needs no escaping.
impl HtmlSafe for Moment {}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.at.to_datetime().map(|at| at.format(self.style).to_string()).unwrap_or_default();
        write!(f, "<time datetime=\"{}\">{shown}</time>", whole_second(self.at))
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_seconds(at.seconds())
}

/// `15 Nov 14:03`.
pub(super) fn day_and_time(at: Timestamp) -> Moment {
    Moment { at, style: "%-d %b %H:%M" }
}

/// `15 Nov 2026`.
pub(super) fn day(at: Timestamp) -> Moment {
    Moment { at, style: "%-d %b %Y" }
}

/// `14:03`.
pub(super) fn time_of_day(at: Timestamp) -> Moment {
    Moment { at, style: "%H:%M" }
}

/// `1 Dec, 00:00 UTC`.
pub(super) fn end_of(period: Period) -> Moment {
    Moment { at: period.end, style: "%-d %b, %H:%M UTC" }
}

/// `1 Nov 00:00`, or with the year when the year of the other end differs.
pub(super) fn boundary(at: Timestamp, other: Timestamp) -> Moment {
    let same = at.date().map(|day| day.year()) == other.date().map(|day| day.year());
    Moment { at, style: if same { "%-d %b %H:%M" } else { "%-d %b %Y %H:%M" } }
}

/// `November 2026` for a calendar month; any other period has no name.
pub(super) fn month(period: Period) -> Option<String> {
    let named = Period::month_of(period.start) == period;
    named.then(|| period.start.date().map(|day| day.format("%B %Y").to_string())).flatten()
}

/// `15 Nov`.
pub(super) fn short_day(day: NaiveDate) -> String {
    day.format("%-d %b").to_string()
}

/// `$41.20`.
pub(super) fn money(amount: Amount, currency: Currency) -> String {
    Money { amount, currency }.to_string()
}

/// A change of an account: `$9.00`, `−$9.00`, or a dash for nothing.
pub(super) fn change(minor: i64, currency: Currency) -> String {
    let size = i64::try_from(minor.unsigned_abs()).unwrap_or(i64::MAX);
    let shown = money(Amount::from_minor(size).unwrap_or_default(), currency);
    match minor {
        0 => "–".to_owned(),
        1.. => shown,
        _ => format!("−{shown}"),
    }
}

/// A forecast, without digits that it does not know: `$78`.
pub(super) fn about(amount: Amount, currency: Currency) -> String {
    let unit = 10_i64.saturating_pow(currency.exponent());
    let rounded = amount.minor().saturating_add(unit / 2) / unit * unit;
    let shown = money(Amount::from_minor(rounded).unwrap_or_default(), currency);
    let zeros = "0".repeat(usize::try_from(currency.exponent()).unwrap_or(0));
    shown.replacen(&format!(".{zeros}"), "", 1)
}

/// Today and yesterday get the time of day with it; older facts the day.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Moment {
    let yesterday = now.minus(TimeDelta::days(1));
    if at.date() == now.date() {
        time_of_day(at)
    } else if at.date() == yesterday.date() {
        Moment { at, style: "Yesterday" }
    } else {
        Moment { at, style: "%-d %b" }
    }
}

/// `just now`, `20 seconds ago`, `3 minutes ago`: for what is no older than an hour or so.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = usize::try_from(now.since(at).num_seconds()).unwrap_or(0);
    match seconds {
        0..10 => "just now".to_owned(),
        10..120 => format!("{seconds} seconds ago"),
        _ => format!("{} ago", plural(seconds / 60, "minute")),
    }
}

/// `1 call`, `2 calls`.
pub(super) fn plural(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn usd(minor: i64) -> Amount {
        Amount::from_minor(minor).unwrap()
    }

    #[test]
    fn a_forecast_hides_its_cents() {
        let kwd: Currency = "KWD".parse().unwrap();
        let yen: Currency = "JPY".parse().unwrap();
        assert_eq!(about(usd(7_849), Currency::USD), "$78");
        assert_eq!(about(usd(123_450), Currency::USD), "$1,235");
        assert_eq!(about(usd(7_849), kwd), "8 KWD");
        assert_eq!(about(usd(7_849), yen), "¥7,849");
    }

    #[test]
    fn what_was_asked_just_now_says_how_long_ago() {
        let now = at("2026-11-15T14:03:00Z");
        let ages: Vec<_> = [-5, 0, 9, 20, 119, 125, 600].map(|ago| age(now.minus(TimeDelta::seconds(ago)), now)).into();
        let wanted = [
            "just now",
            "just now",
            "just now",
            "20 seconds ago",
            "119 seconds ago",
            "2 minutes ago",
            "10 minutes ago",
        ];
        assert_eq!(ages, wanted);
    }

    #[test]
    fn a_change_shows_its_direction() {
        let shown: Vec<_> = [900, 0, -900].into_iter().map(|minor| change(minor, Currency::USD)).collect();
        assert_eq!(shown, ["$9.00", "–", "−$9.00"]);
    }

    #[test]
    fn a_calendar_month_has_a_name_and_other_periods_have_not() {
        let november = Period::month_of(at("2026-11-15T14:03:00Z"));
        assert_eq!(month(november).as_deref(), Some("November 2026"));
        assert_eq!(end_of(november).to_string(), "<time datetime=\"2026-12-01T00:00:00Z\">1 Dec, 00:00 UTC</time>");
        assert_eq!(month(Period::once(november.start, at("2026-11-30T00:00:00Z"))), None);
    }
}
