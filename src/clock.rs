//! The time. One [`Clock`] is read at the top of a request or a worker's turn; below that, time is an argument.
//!
//! A [`Timestamp`] is UTC, cut to whole microseconds when it is made, so that what SQLite and PostgreSQL
//! give back is equal to what was stored.

use std::fmt;
use std::sync::Mutex;

use chrono::{DateTime, Datelike, Months, NaiveDate, SecondsFormat, TimeDelta, Utc};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::BigInt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in UTC, in whole microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 with a `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Seconds since the epoch, as JWT claims and HTTP dates count them.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The calendar form; `None` outside chrono's range (about ±262,000 years).
    #[must_use]
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    /// This instant moved by `delta`; stays at the ends of the range instead of wrapping.
    #[must_use]
    pub fn plus(self, delta: TimeDelta) -> Self {
        Self(self.0.saturating_add(delta.num_microseconds().unwrap_or(i64::MAX)))
    }

    /// This instant moved back by `delta`; stays at the ends of the range instead of wrapping.
    #[must_use]
    pub fn minus(self, delta: TimeDelta) -> Self {
        Self(self.0.saturating_sub(delta.num_microseconds().unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this instant (negative when `earlier` is later).
    #[must_use]
    pub fn since(self, earlier: Self) -> TimeDelta {
        TimeDelta::microseconds(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with as many fraction digits as needed, e.g. `2026-11-20T10:00:00Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.to_datetime().map_or_else(|| self.0.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    /// Reads RFC 3339 text; any offset is taken to UTC, and anything finer than a microsecond is cut.
    ///
    /// # Errors
    /// When the text is not an RFC 3339 date and time.
    pub fn parse_rfc3339(text: &str) -> Result<Self, chrono::ParseError> {
        DateTime::parse_from_rfc3339(text).map(|at| Self(at.timestamp_micros()))
    }

    /// The day in UTC.
    #[must_use]
    pub fn date(self) -> Option<NaiveDate> {
        self.to_datetime().map(|at| at.date_naive())
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Timestamp
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Timestamp
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(bytes).map(Self)
    }
}

/// A half-open interval `[start, end)` in which a ceiling counts. Always stored with both boundaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Period {
    /// The first instant that belongs to the period.
    pub start: Timestamp,
    /// The first instant that no longer does.
    pub end: Timestamp,
}

impl Period {
    /// The end of a period that never ends.
    pub const FOREVER: Timestamp = Timestamp::from_seconds(253_402_300_799);

    /// The calendar month in UTC that holds `now`.
    #[must_use]
    pub fn month_of(now: Timestamp) -> Self {
        let first = now.date().and_then(|day| day.with_day(1)).unwrap_or_default();
        let next = first.checked_add_months(Months::new(1)).unwrap_or(first);
        Self { start: midnight(first), end: midnight(next) }
    }

    /// One period without a renewal: from `start` until `end`.
    #[must_use]
    pub fn once(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether `at` belongs to the period.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

fn midnight(day: NaiveDate) -> Timestamp {
    Timestamp::from(day.and_time(chrono::NaiveTime::MIN).and_utc())
}

/// Where the time comes from. The only trait through which this program learns what time it is.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from(Utc::now())
    }
}

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock standing at `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self(Mutex::new(at))
    }

    /// Moves the clock forward.
    pub fn advance(&self, delta: TimeDelta) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.plus(delta);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let at = Timestamp::parse_rfc3339("2026-12-31T23:59:59.999999Z").unwrap();
        let month = Period::month_of(at);
        assert_eq!(month.start.to_rfc3339(), "2026-12-01T00:00:00Z");
        assert_eq!(month.end.to_rfc3339(), "2027-01-01T00:00:00Z");
        assert!(month.contains(at) && !month.contains(month.end));
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_its_month(micros in 0_i64..4_000_000_000_000_000) {
            let at = Timestamp::from_micros(micros);
            let month = Period::month_of(at);
            prop_assert!(month.contains(at));
            prop_assert_eq!(Period::month_of(month.end).start, month.end);
        }

        #[test]
        fn rfc3339_reads_back(micros in 0_i64..4_000_000_000_000_000) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::parse_rfc3339(&at.to_rfc3339()).unwrap(), at);
        }
    }
}
