//! The provisioning wire of orchestrators (APP 0.1d): faces over the use-cases that `/v1` uses, in the wire's own
//! envelopes. It hangs under `/` and under every configured prefix.

pub(crate) mod bearer;
pub(crate) mod envelope;
pub(crate) mod signed;
