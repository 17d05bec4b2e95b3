//! Who is asking, and with what: extractors. A handler that does not name one has no caller.

mod bearer;
mod body;
mod browser;
mod key;
mod meter;

pub(crate) use bearer::{BudgetRead, Caller, DashboardLink, ResourcesRead, ResourcesWrite, challenge};
pub(crate) use body::{Body, Event, Form};
pub(crate) use browser::{SameSite, User, session_cookie};
pub(crate) use key::Key;
pub(crate) use meter::Meter;
