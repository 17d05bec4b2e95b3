//! The ledger, newest first, held and posted in columns of their own.

use super::format;
use crate::clock::Timestamp;
use crate::money::Currency;

/// One entry of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    /// Its place in the account's ledger, from 1.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// The kind of the entry, as stored: `hold`, `capture`, `release`, `usage`, `refund`, ...
    pub kind: String,
    /// For what, in plain words.
    pub description: String,
    /// The change of what is held, in minor units, signed.
    pub held_change: i64,
    /// The change of what is spent, in minor units, signed.
    pub spent_change: i64,
}

/// Where a page of the ledger begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// At the newest entry.
    #[default]
    Newest,
    /// At an older entry; the newer ones are on another page.
    Older,
    /// At an older entry; its rows go below the newer ones, which are shown already.
    Below,
}

/// A page of the ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Newest first.
    pub rows: Vec<LedgerRow>,
    /// When there are older entries: the sequence below which they lie (`?ledger_before=`).
    pub older: Option<i64>,
    /// Where this page begins.
    pub place: Place,
}

impl Ledger {
    pub(super) fn begins_at(&self, place: Place) -> bool {
        self.place == place
    }
}

impl LedgerRow {
    pub(super) fn when(&self) -> format::Moment {
        format::day_and_time(self.at)
    }

    pub(super) fn word(&self) -> String {
        match self.kind.as_str() {
            "hold" => "held".to_owned(),
            "capture" | "usage" => "posted".to_owned(),
            "release" => "released".to_owned(),
            "refund" => "refunded".to_owned(),
            other => other.replace('_', " "),
        }
    }

    pub(super) fn tone(&self) -> &'static str {
        match self.kind.as_str() {
            "hold" => "amber",
            "capture" | "usage" => "good",
            "refused" => "red",
            _ => "plain",
        }
    }

    pub(super) fn held_text(&self, currency: Currency) -> String {
        format::change(self.held_change, currency)
    }

    pub(super) fn posted_text(&self, currency: Currency) -> String {
        format::change(self.spent_change, currency)
    }
}
