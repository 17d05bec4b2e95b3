//! Money under a cap: may this be spent? Answered exactly, at any load.
//!
//! Promises: `held + spent` of a counter never passes its ceiling by one minor unit; a movement passes all of its
//! ceilings or changes none; the ledger only grows, hash-chained per account, and counters can be recomputed from it.
//!
//! Every movement of money goes through one pure function ([`decide::decide`]) by one of two doors:
//!
//! ```text
//! hold::move_money(db: &Db, movement: Movement) -> Result<Outcome, DbError>
//!     alone, as a set verb: movements that wait together are decided and written together
//! apply(conn: &mut DbConnection, movements: &[Movement]) -> QueryResult<Vec<Outcome>>
//!     inside an open `Db::write`, where other rows belong to the same transaction
//! open_counter(conn: &mut DbConnection, counter: &NewCounter) -> QueryResult<()>
//!     makes the row of a ceiling for a period (a unique violation means: already there)
//! audit_chain::verify(conn: &mut DbConnection, account: &AccountId) -> Result<Verified, VerifyError>
//!     recomputes the chain and the counters from the ledger
//! ```

pub mod audit_chain;
pub mod budget;
pub mod cashier;
pub mod charge;
pub mod decide;
pub mod hold;
mod hold_store;
pub mod ledger_entry;
pub mod settlement;
pub mod token;

pub use hold_store::{
    HoldLine, NewCounter, apply, count_held, entries_before, holds_of, open_counter, spent_on, spent_since,
};
