//! What the owner of an account does with the account as a whole: takes back what an agent did, takes out what is kept
//! about them, ends it.
//!
//! Promises: what is decided is decided in one transaction, and what takes longer is noted in it, so that workers finish it
//! whatever dies meanwhile. Refuses nothing that only takes power away.

pub mod export;
pub use export::note as note_export;

mod closing;
mod undo;

pub use closing::{CloseAccountError, Ending, close, close_due, ending};
pub use undo::{Reach, UNDO_REACH, Undo, revoke_and_undo, undo_due, undo_preview};
