//! Log-ins that are fresh and strong enough (RFC 9470): asked for before what cannot be taken back.

use chrono::TimeDelta;

use super::access_token::LogIn;
use crate::clock::Timestamp;

/// How far the orchestrator's clock may be ahead of ours.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// What an operation asks of the log-in behind a token. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepUp {
    /// How long ago the person may have logged in.
    pub max_age: Option<TimeDelta>,
    /// Any one of these authentication context classes; any at all when empty.
    pub acr_values: Vec<String>,
}

impl StepUp {
    /// Whether `log_in` is enough. What the orchestrator did not say is not enough.
    #[must_use]
    pub fn is_met(&self, log_in: &LogIn, now: Timestamp) -> bool {
        let fresh = |max: TimeDelta| log_in.at.is_some_and(|at| at >= now.minus(max) && at <= now.plus(SKEW));
        let strong = || log_in.acr.as_ref().is_some_and(|acr| self.acr_values.contains(acr));
        self.max_age.is_none_or(fresh) && (self.acr_values.is_empty() || strong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    #[test]
    fn a_log_in_must_be_fresh_and_of_a_wanted_class() {
        let log_in = |seconds: i64, acr: Option<&str>| LogIn { at: Some(at(seconds)), acr: acr.map(str::to_owned) };
        assert!(StepUp::default().is_met(&LogIn::default(), at(0)));
        let fresh = StepUp { max_age: Some(TimeDelta::seconds(300)), acr_values: Vec::new() };
        assert!(fresh.is_met(&log_in(-300, None), at(0)) && fresh.is_met(&log_in(60, None), at(0)));
        assert!(!fresh.is_met(&log_in(-301, None), at(0)) && !fresh.is_met(&log_in(61, None), at(0)));
        assert!(!fresh.is_met(&LogIn::default(), at(0)));
        let strong = StepUp { max_age: None, acr_values: vec!["phr".to_owned(), "phrh".to_owned()] };
        assert!(strong.is_met(&log_in(-9999, Some("phrh")), at(0)));
        assert!(!strong.is_met(&log_in(0, Some("pwd")), at(0)) && !strong.is_met(&log_in(0, None), at(0)));
    }
}
