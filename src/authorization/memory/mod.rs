//! What humans decided about clients, remembered, so that nobody is asked again what they answered: by scope, refusals too.
//!
//! Promises: a request for no more than what is allowed and stands is answered without a page; what was refused a moment ago
//! is refused again without one; one question of a client is open at a time, and a client that asks too often waits.
//! Refuses to remember: clients on the human's own machine, and what costs or deletes for clients that nobody checked and
//! on accounts that nobody claimed.

mod answer;
mod cover;
mod store;
mod turn;
mod weigh;

pub use answer::{allow_asked, answer_again, answer_remembered, deny_asked};
pub(super) use store::delete_ended_before;
pub use turn::{Patience, Turn, Waiting, take_over, take_turn};
pub use weigh::{Before, Recalled, Reuse, Standing, Verdict, recall};
