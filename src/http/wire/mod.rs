//! Wire protocols: faces over the use-cases. They translate, and hold no rule of their own.

pub(crate) mod catalog;
pub(crate) mod docs;
pub(crate) mod oauth;
pub(crate) mod provisioning;
pub(crate) mod security_events;
pub(crate) mod v1;
pub(crate) mod well_known;
