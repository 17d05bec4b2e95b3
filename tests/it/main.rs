//! Tests against real databases and real HTTP: one binary.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod accounts;
mod databases;
mod issuer_keys;
mod mock_issuer;
