//! Usage: what the provider's platform reports, rated exactly and counted under the same ceilings as everything else.
//!
//! Promises: an event counts once, by source and id; cost is the price of all so far less what was charged before, so
//! that rounding never drifts. Refuses: an event that no longer fits under a ceiling; the platform then refuses its call.

mod record;
mod store;

pub use record::{Metering, Recorded, UsageError, UsageEvent, record};
pub(super) use store::forget_totals;
pub use store::{Total, totals_of};
