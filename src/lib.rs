//! Portreeve: the provider's front desk for agents.
//!
//! The modules stand in reading order, and imports point up this list only (see `ARCHITECTURE.md`).

// Ground: imports nothing of ours.
pub mod clock;
pub mod ids;
pub mod money;
pub mod secret;

// Mechanisms.
pub mod audit;
pub mod db;
pub mod fetch;
pub mod outbox;
pub mod signing;

// The surface.
pub mod http;
