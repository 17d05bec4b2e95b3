//! Separate accounts that agents opened with the human's address: the list, and the page on which one is merged, moved or
//! discarded.

use askama::Template;

use super::consent::{Effect, Group};
use super::format;
use super::frame::{Frame, Notice};
use crate::clock::Timestamp;
use crate::money::Money;

/// One of them in the list.
#[derive(Debug, Clone)]
pub struct SidecarRow {
    /// The separate account.
    pub id: String,
    /// Who opened it.
    pub orchestrator: String,
    /// When.
    pub opened_at: Timestamp,
    /// How many things are in it.
    pub things: usize,
    /// What was spent there in this month.
    pub spent: Money,
}

impl SidecarRow {
    fn counted(&self) -> String {
        format::plural(self.things, "thing")
    }
}

/// `GET /dashboard/sidecars`.
#[derive(Debug, Clone, Template)]
#[template(path = "sidecars.html")]
pub struct SidecarsPage {
    /// Whose page.
    pub frame: Frame,
    /// Whether the account is claimed: before that, nothing is shown.
    pub claimed: bool,
    /// Whether the address is proven to be the human's: by the account itself, or by a mail link just now.
    pub proven: bool,
    /// Oldest first.
    pub rows: Vec<SidecarRow>,
    /// What was done last.
    pub notice: Option<Notice>,
}

/// One thing in a separate account.
#[derive(Debug, Clone)]
pub struct SidecarThing {
    /// The resource.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Which service.
    pub service: String,
    /// Which plan.
    pub plan: String,
    /// In which state, as people read it.
    pub state: String,
    /// When it was bought.
    pub created_at: Timestamp,
    /// What it cost in this month.
    pub spent: Money,
    /// Whether it was ticked.
    pub ticked: bool,
}

/// `GET /dashboard/sidecars/{id}`.
#[derive(Debug, Clone, Template)]
#[template(path = "sidecar.html")]
pub struct SidecarPage {
    /// Whose page.
    pub frame: Frame,
    /// The separate account.
    pub id: String,
    /// Who opened it.
    pub orchestrator: String,
    /// With which address, as it was written.
    pub email: String,
    /// When.
    pub opened_at: Timestamp,
    /// What was spent there in this month.
    pub spent: Money,
    /// What is held there.
    pub held: Money,
    /// What may be spent there in a month.
    pub cap: Money,
    /// What its agent could spend in a month in the human's own account.
    pub own_cap: Money,
    /// What is in it.
    pub things: Vec<SidecarThing>,
    /// What its agent could do in the human's own account.
    pub groups: Vec<Group>,
    /// What came of the last try.
    pub notice: Option<Notice>,
}

impl SidecarPage {
    fn counted(&self) -> String {
        format::plural(self.things.len(), "thing")
    }

    fn is_held(&self) -> bool {
        self.held.amount.minor() > 0
    }

    /// What only looks is ticked already; what spends or opens doors is for the human to tick.
    fn only_looks(effect: &Effect) -> bool {
        effect.scope.is_some_and(|scope| scope.ends_with(":read"))
    }
}
