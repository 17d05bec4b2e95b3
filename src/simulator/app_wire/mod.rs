//! The orchestrator's half of the provisioning wire (APP 0.1d): signed calls to a provider, and its answers in every shape
//! that providers were seen to send.
//!
//! Promises: every call is signed anew, also when it is repeated; a repetition carries the same body and the same
//! `Idempotency-Key`; what a provider says is data, and never reaches a terminal unclean.

mod answer;
mod send;
mod service;
mod signature;
mod verbs;

pub use answer::ProviderFailure;
pub use service::{ParentOption, Price, Pricing, Scope, Service, Update};
pub use signature::{stripe_signature, stripe_signature_v2};

pub(super) use answer::{AccountAnswer, ResourceAnswer, TokensSaid, WireError, clean};
pub(super) use service::Quoted;
pub(super) use verbs::{AccountRequest, Wire, actor, put};
