//! Tests against real databases and real HTTP: one binary.

mod accounts;
mod databases;
mod issuer_keys;
mod mock_issuer;
