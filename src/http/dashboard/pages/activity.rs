//! What happened lately, in plain words.

use super::format;
use crate::clock::Timestamp;

/// One fact of the trail, told to the user. Reads as a sentence: **who** did what.
#[derive(Debug, Clone)]
pub struct Activity {
    /// When.
    pub at: Timestamp,
    /// Who, by a name that the user knows: `You`, `Harbour`, `claude-4`, `Acme Cloud`.
    pub who: String,
    /// What they did: `created weather/metered: $9.00 held until it is ready`.
    pub what: String,
}

impl Activity {
    pub(super) fn when(&self, now: Timestamp) -> format::Moment {
        format::ago(self.at, now)
    }
}
