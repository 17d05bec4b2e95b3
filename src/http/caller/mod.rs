//! Who is asking, and with what: extractors. A handler that does not name one has no caller.

mod bearer;
mod body;
mod browser;
mod challenge;
mod human;
mod key;
mod meter;
mod proof;

pub(crate) use bearer::{BudgetRead, Caller, DashboardLink, ResourcesRead, ResourcesRemove, ResourcesWrite};
pub(crate) use body::{Body, Event, Form, SecurityEventToken};
pub(crate) use browser::{BrowserMark, Present, SameSite, User, session_cookie};
pub(crate) use challenge::{Challenge, Scheme};
pub(crate) use human::{Empowered, FreshlyLoggedIn, JustLoggedIn, LoggedIn, NotHuman};
pub(crate) use key::Key;
pub(crate) use meter::Meter;
pub(crate) use proof::{BoundTo, DPOP_NONCE};
