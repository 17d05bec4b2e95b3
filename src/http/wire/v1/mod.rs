//! `/v1`: the native API for agents with a token, and for the provider's own platform.

pub(crate) mod accounts;
pub(crate) mod budget;
pub(crate) mod deep_links;
pub(crate) mod page;
pub(crate) mod resources;
pub(crate) mod rotate;
pub(crate) mod usage;
