//! The integration tests: one binary, so that there is one link. Names are sentences that are true.
#![cfg(test)]

#[macro_use]
mod harness;

mod accounts;
mod agreements;
mod commands;
mod holds;
mod idempotency;
mod issuer_keys;
mod lanes;
mod migrations;
mod mock_issuer;
mod structure;
