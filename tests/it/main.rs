//! The integration tests: one binary, so that there is one link. Names are sentences that are true.
#![cfg(test)]

#[macro_use]
mod harness;

mod accounts;
mod agreements;
mod broken_provider;
mod budget;
mod challenges;
mod commands;
mod conformance;
mod coverage;
mod dashboard;
mod discovery;
mod holds;
mod idempotency;
mod issuer_keys;
mod lanes;
mod limits;
mod migrations;
mod mock_issuer;
mod money;
mod opening;
mod proofs;
mod recovery;
mod secrets;
mod security_events;
mod served_catalog;
mod simulator;
mod structure;
mod takeover;
mod usage;
mod wire_accounts;
mod wire_consent;
mod wire_deep_links;
mod wire_limits;
mod wire_notifications;
mod wire_removal;
mod wire_resources;
mod wire_rotation;
mod wire_services;
mod wire_signature;
mod wire_tokens;
mod wire_updates;
