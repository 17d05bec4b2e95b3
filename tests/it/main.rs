//! Integration tests: one binary, each test on SQLite and PostgreSQL.

mod both;
mod holds;
mod lanes;
