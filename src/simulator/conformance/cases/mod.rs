//! The cases, one table per group. A case is a row: an id, the sentence that should be true, where the rule comes
//! from, and how it is asked.

mod accounts;
mod catalog;
mod consent;
mod deep_links;
mod hostile;
mod idempotency;
mod limits;
mod payment;
mod races;
mod removal;
mod resources;
mod rotation;
mod signature;
mod token;
mod update;
mod version;

use super::case::Case;

/// All tables, in the order in which they run.
pub(super) const ALL: [&[Case]; 16] = [
    signature::CASES,
    version::CASES,
    catalog::CASES,
    accounts::CASES,
    consent::CASES,
    token::CASES,
    resources::CASES,
    update::CASES,
    rotation::CASES,
    removal::CASES,
    deep_links::CASES,
    payment::CASES,
    idempotency::CASES,
    races::CASES,
    hostile::CASES,
    limits::CASES,
];
