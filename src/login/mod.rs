//! How a human gets a browser session: by logging in (a link in a mail, the provider's own OpenID provider, a passkey), or
//! by a one-use link that an agent asked for on the human's account.
//!
//! Promises: a link works once, for minutes; a session can be ended at once, everywhere; a session knows whether a human
//! logged in, and when; only hashes of secrets are stored. Refuses: a link that was used, a session of an account that is
//! frozen or closed, and to remove the last way in.

mod deep_link;
mod ending_store;
mod letters;
mod methods;
mod not_mine;
mod notices;
mod passkey;
mod proof_store;
mod proofs;
mod safety;
mod session;
mod step;
mod store;
mod upstream;
mod way_store;
mod ways;
mod who;

pub use deep_link::{DeepLinkError, LIFETIME as LINK_LIFETIME, LinkState, NewLink, make, redeem, state};
pub use ending_store::end_since;
pub use letters::{PostOffice, ask, deliver_due};
pub use methods::{UpstreamLink, sessions_of, upstream_links};
pub use not_mine::{NotMine, NotMineLink};
pub use notices::tell_at_risk;
pub use passkey::{
    Adding, Asking, KnownPasskey, NewPasskey, PasskeyError, RelyingParty, add_first_passkey, add_passkey, find_passkey,
    log_in_with_passkey, passkeys, remove_passkey, stored_id,
};
pub use proofs::{Mailbox, Proofs, proofs};
pub use safety::{LIFETIME as SAFETY_LIFETIME, SafetyLinks};
pub use session::{
    Authentication, LIFETIME as SESSION_LIFETIME, Method, NewSession, NotProven, Session, Stronger, UnknownMethod,
    begin, end, find,
};
pub use step::{NewStep, Step, StepError, StepKind, begin as begin_step, forget_ended, look, take};
pub use store::KnownSession;
pub use upstream::{Journey, Upstream, UpstreamError};
pub use ways::{ConnectError, WaysIn, connect, disconnect, end_all, end_opened_by_links, is_connected};
pub use who::{LogInError, MAX_ACCOUNTS, Proof, Proven, Taking, Upstreamer, log_in};
