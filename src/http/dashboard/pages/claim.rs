//! The pages of a claim: what is proved and what is missing; and the one screen on which a human sees who made the account,
//! what programs may do, what there is and what it cost, and ticks who goes on.

use askama::Template;

use super::format;
use super::frame::Frame;
use crate::clock::{Period, Timestamp};
use crate::http::assets::asset_url;
use crate::money::{Amount, Currency};

/// How somebody can be told from everybody else, besides by mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// By a log-in at the provider's own OpenID provider, by its name; `done` when that was just now.
    Upstream {
        /// What people call it.
        name: String,
        /// Whether it opened the account: then no mail is needed.
        opened: bool,
        /// Whether somebody with another address is logged in there.
        another: bool,
        /// Whether somebody is logged in there just now.
        done: bool,
    },
    /// By a passkey, in the last step.
    Passkey,
    /// Not at all.
    Nothing,
}

/// `GET /claim` for somebody who has not proved enough yet.
#[derive(Debug, Clone, Template)]
#[template(path = "claim_start.html")]
pub struct ClaimStartPage {
    /// Whose page.
    pub frame: Frame,
    /// Who opened the account, when that is known.
    pub opened_by: Option<String>,
    /// The address of the account, when that is known.
    pub email: String,
    /// Whether a link can come by mail.
    pub mail: bool,
    /// Whether the link of a mail was taken just now.
    pub mail_done: bool,
    /// Whether that link was asked for in another browser, and therefore does not count.
    pub elsewhere: bool,
    /// The other proof.
    pub second: Second,
    /// Where the log-ins lead: back here.
    pub to: String,
    /// The same as the query of an address, with how fresh a log-in must be.
    pub query: String,
    /// How fresh, in seconds.
    pub max_age: i64,
}

/// An orchestrator that may go on when it is ticked.
#[derive(Debug, Clone)]
pub struct ClaimAgent {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it opened the account.
    pub opened: bool,
    /// Since when it acts.
    pub since: Timestamp,
    /// Programs that came through it under their own names.
    pub programs: Vec<String>,
    /// When one last got a token.
    pub last_token_at: Option<Timestamp>,
    /// What it may do when it is ticked, in words.
    pub effects: Vec<String>,
    /// How many resources it made.
    pub resources: usize,
    /// What those cost in this period.
    pub spent: Amount,
}

/// A resource that stays.
#[derive(Debug, Clone)]
pub struct ClaimResource {
    /// Its name.
    pub name: String,
    /// Service and plan.
    pub plan: String,
    /// What it cost in this period.
    pub spent: Amount,
}

/// `GET /claim` for somebody who may claim.
#[derive(Debug, Clone, Template)]
#[template(path = "claim.html")]
pub struct ClaimPage {
    /// Whose page.
    pub frame: Frame,
    /// Who opened the account.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
    /// What it spent in the period.
    pub spent: Amount,
    /// Its cap.
    pub cap: Amount,
    /// Of every amount on the page.
    pub currency: Currency,
    /// The period.
    pub period: Period,
    /// Who acts on it.
    pub agents: Vec<ClaimAgent>,
    /// Clients that the provider registered to act in their own name.
    pub clients: Vec<String>,
    /// What stays.
    pub resources: Vec<ClaimResource>,
    /// An address that nobody proved, and that the account loses.
    pub loses: Option<String>,
    /// Whether the last step makes a passkey.
    pub passkey: bool,
    /// Where it leads afterwards.
    pub to: String,
    /// What was wrong with the last try.
    pub problem: Option<String>,
}

fn script() -> String {
    asset_url("passkeys.js")
}

impl ClaimStartPage {
    fn opened_here(&self) -> bool {
        matches!(&self.second, Second::Upstream { opened: true, .. })
    }
}

impl ClaimAgent {
    fn last(&self) -> Option<format::Moment> {
        self.last_token_at.map(format::day_and_time)
    }

    fn made(&self) -> String {
        format::plural(self.resources, "resource")
    }
}

impl ClaimPage {
    fn script() -> String {
        script()
    }

    fn money(&self, amount: impl std::borrow::Borrow<Amount>) -> String {
        format::money(*amount.borrow(), self.currency)
    }

    fn has(&self) -> String {
        format::plural(self.resources.len(), "resource")
    }

    fn month(&self) -> String {
        format::month(self.period).unwrap_or_else(|| "this period".to_owned())
    }
}
