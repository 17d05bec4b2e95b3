//! The pages about an account as a whole: what can be taken out of it, and its end; and about one resource.

use askama::Template;

use super::format;
use super::frame::{Frame, Notice};
use super::resources::ResourceRow;
use crate::clock::Timestamp;
use crate::money::Currency;

/// `GET /dashboard/account`.
#[derive(Debug, Clone, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// Whose page.
    pub frame: Frame,
    /// The account's id.
    pub id: String,
    /// `provisional` or `active`.
    pub state: &'static str,
    /// The name of the orchestrator that opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
}

impl AccountPage {
    fn opened(&self) -> format::Moment {
        format::day(self.opened_at)
    }
}

/// `GET /dashboard/export`, for somebody who logged in just now.
#[derive(Debug, Clone, Template)]
#[template(path = "export.html")]
pub struct ExportPage {
    /// Whose page.
    pub frame: Frame,
}

/// `GET /dashboard/close`, for somebody who logged in just now.
#[derive(Debug, Clone, Template)]
#[template(path = "close.html")]
pub struct ClosePage {
    /// Whose page.
    pub frame: Frame,
    /// How many resources would be removed.
    pub resources: i64,
    /// How many agents would end.
    pub agents: i64,
    /// How many holds are to be settled first.
    pub holds: i64,
    /// For how many days the same person opens no new account.
    pub days: i64,
    /// What was typed in place of the word.
    pub typed: Option<String>,
}

impl ClosePage {
    fn has_holds(&self) -> bool {
        0 < self.holds
    }

    fn counted(count: i64, one: &str) -> String {
        format::plural(usize::try_from(count).unwrap_or(0), one)
    }
}

/// `GET /dashboard/resources/{id}`.
#[derive(Debug, Clone, Template)]
#[template(path = "resource.html")]
pub struct ResourcePage {
    /// Whose page.
    pub frame: Frame,
    /// The resource.
    pub row: ResourceRow,
    /// Of its amounts.
    pub currency: Currency,
    /// What the agent is called that bought it.
    pub bought_by: Option<String>,
    /// Whether it can be removed now.
    pub removable: bool,
    /// What came of the last action.
    pub notice: Option<Notice>,
}
