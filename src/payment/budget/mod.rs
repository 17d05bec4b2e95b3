//! Budgets: how much an account may spend through an orchestrator in a calendar month (UTC), and the ceilings in force.
//!
//! Promises: the limit counts what is spent and what is held; lowering and stopping work with the next decision; a new
//! month is a new counter. Refuses: raising without the human's fresh log-in.

mod carry;
mod carry_store;
mod change;
mod store;
mod through;
mod view;

pub use carry::{CarriedToken, has_open_holds, take_over_limits, take_over_tokens, tokens_with_seals};
pub use change::{ChangeBudgetError, ResumedBy, follow_cap, lower, lower_agent, raise, resume_spending, stop_spending};
pub use store::{
    AgentLimit, AgentMonth, CounterFacts, Limits, PlanLimit, TokenFacts, find_token, is_stopped, is_stopped_through,
    open_counters, remember_token, spent_by_agents, tokens_of,
};
pub use through::{resume_through, stop_through};
pub use view::{Budget, Ceiling, binding, view};
