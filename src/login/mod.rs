//! How a human gets a browser session: by logging in (a link in a mail, the provider's own OpenID provider, a passkey), or
//! by a one-use link that an agent asked for on the human's account.
//!
//! Promises: a link works once, for minutes; a session can be ended at once, everywhere; a session knows whether a human
//! logged in, and when; only hashes of secrets are stored. Refuses: a link that was used, a session of an account that is
//! frozen or closed, and to remove the last way in.

mod deep_link;
mod letters;
mod passkey;
mod session;
mod step;
mod store;
mod upstream;
mod who;

pub use deep_link::{DeepLinkError, LIFETIME as LINK_LIFETIME, LinkState, NewLink, make, redeem, state};
pub use letters::{PostOffice, ask, deliver_due};
pub use passkey::{
    Adding, Asking, KnownPasskey, PasskeyError, RelyingParty, WaysIn, add_passkey, find_passkey, log_in_with_passkey,
    passkeys, remove_passkey, stored_id,
};
pub use session::{
    Authentication, LIFETIME as SESSION_LIFETIME, Method, NewSession, NotProven, Session, UnknownMethod, begin, end,
    end_all, find,
};
pub use step::{NewStep, Step, StepError, StepKind, begin as begin_step, forget_ended, look, take};
pub use upstream::{Journey, Upstream, UpstreamError};
pub use who::{LogInError, MAX_ACCOUNTS, Proof, Proven, Upstreamer, log_in};
