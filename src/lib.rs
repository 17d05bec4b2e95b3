//! Portreeve: the provider's front desk for agents.
//!
//! The modules stand by floors, from the ground up; imports point down only (see `ARCHITECTURE.md`).

// Ground: imports nothing of ours.
pub mod clock;
pub mod ids;
pub mod mail;
pub mod money;
pub mod secret;
pub mod unseen;

// Mechanisms.
pub mod audit;
pub mod config;
pub mod db;
pub mod fetch;
pub mod idempotency;
pub mod openid;
pub mod outbox;
pub mod signing;
pub mod telemetry;

// Features.
pub mod account;
pub mod attestation;
pub mod authorization;
pub mod catalog;
pub mod claim;
pub mod login;
pub mod orchestrator;
pub mod payment;
pub mod resource;
pub mod sidecar;
pub mod takeover;

// What an owner does with an account as a whole.
pub mod owner;

// Built of all of them.
pub mod app;
pub mod http;

// The other side of the wire.
pub mod simulator;

#[cfg(fuzzing)]
pub mod fuzzing;
