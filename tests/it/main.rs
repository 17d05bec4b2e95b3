//! The integration tests: one binary, so that there is one link. Names are sentences that are true.
#![cfg(test)]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

#[macro_use]
mod harness;

mod accounts;
mod both;
mod budget;
mod challenges;
mod coverage;
mod dashboard;
mod databases;
mod discovery;
mod holds;
mod issuer_keys;
mod lanes;
mod limits;
mod migrations;
mod mock_issuer;
mod money;
mod opening;
mod secrets;
mod served_catalog;
mod structure;
mod usage;
