//! The pages that people see: one struct per page, filled by a handler, that renders itself.
//!
//! Every page works without script and under [`CONTENT_SECURITY_POLICY`]: no inline style, no inline script, nothing
//! from another host. Script only saves reloads: it asks for the page again and puts a part of the answer in place; the
//! attributes of htmx that need `eval` are not used. Facts come as the types of the ground (`Amount`, `Period`, `Timestamp`) and are written for
//! people in `format` alone. Text of others (names, descriptions, addresses) is always escaped.

mod activity;
mod agents;
mod bar;
mod ceiling;
mod chart;
mod claim;
mod consent;
mod consent_needed;
mod days;
mod device;
mod format;
mod frame;
mod home;
mod ledger;
mod link;
mod log_in;
mod message;
mod not_mine;
mod overview;
mod owner;
mod problem;
mod resources;
mod sent_back;
mod sidecars;

#[cfg(test)]
mod tests;

pub use activity::Activity;
pub use agents::{Act, AgentPage, AgentStanding, AgentView, AgentsPage, Power, SafetyPage, UndoPage, UndoRow};
pub(super) use ceiling::example_below;
pub use ceiling::{CapForm, Ceiling, CeilingKind, Control};
pub use claim::{ClaimAgent, ClaimPage, ClaimResource, ClaimStartPage, Second};
pub use consent::{ConsentPage, ConsentWaitsPage, Difference, Effect, Group, Note, PlanRow, PlanTable, Voucher};
pub use consent_needed::ConsentNeededPage;
pub use days::DaySpend;
pub use device::{DevicePage, DeviceQuestion};
pub use frame::{CONTENT_SECURITY_POLICY, Frame, Notice, respond};
pub use home::{HomePage, HomeService};
pub use ledger::{Ledger, LedgerRow, Place};
pub use link::LinkPage;
pub use log_in::{AccountChoice, LogInLinkPage, LogInPage, MethodsPage, PasskeyRow};
pub use message::MessagePage;
pub use not_mine::{Disputed, NotMinePage};
pub use overview::{LedgerPart, MainPart, OverviewPage, Provisional};
pub use owner::{AccountPage, ClosePage, ExportPage, ResourcePage};
pub use problem::{ProblemDoc, ProblemIndexPage, ProblemPage};
pub use resources::{ResourceCharge, ResourceRow, Resources};
pub use sent_back::SentBackPage;
pub use sidecars::{SidecarPage, SidecarRow, SidecarThing, SidecarsPage};
