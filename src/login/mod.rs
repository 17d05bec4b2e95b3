//! How a human gets a browser session: by a one-use deep link that an agent asked for on the human's account.
//!
//! Promises: a link works once, for ten minutes; a session can be ended at once, everywhere; only hashes of both are
//! stored. Refuses: a link that was used, and a session of an account that is frozen or closed.

mod deep_link;
mod ending_store;
mod session;
mod store;

pub use deep_link::{DeepLinkError, LIFETIME as LINK_LIFETIME, LinkState, NewLink, make, redeem, state};
pub use ending_store::end_since;
pub use session::{LIFETIME as SESSION_LIFETIME, Session, end, find};
