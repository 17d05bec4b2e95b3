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
mod secrets;
mod served_catalog;
mod structure;
mod usage;
