//! Everything that speaks HTTP.

pub mod assets;
pub mod dashboard;
