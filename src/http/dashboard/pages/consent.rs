//! The question to the owner of an account: may this orchestrator act for it? Numbers first; yes and no equally near.

use askama::Template;

use super::format;
use super::frame::Frame;
use crate::clock::Timestamp;
use crate::money::Money;

/// One thing that the orchestrator's agents could then do.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The verb.
    pub verb: &'static str,
    /// To what.
    pub rest: &'static str,
}

/// `GET /link/{id}` for the owner, while the question is open.
#[derive(Debug, Clone, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage {
    /// Whose page.
    pub frame: Frame,
    /// Who asks.
    pub orchestrator: String,
    /// A public client that asks through it, by its own name.
    pub client: Option<String>,
    /// Which address the request named.
    pub email: String,
    /// Who is asked, as the owner knows the account.
    pub account: String,
    /// The most that could be spent in a month; `None`: nothing can be spent.
    pub monthly: Option<Money>,
    /// What could be done.
    pub effects: Vec<Effect>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Until when it can be answered.
    pub until: Timestamp,
    /// Where the answer is carried to, by host name; `None`: nowhere, the agent asks again.
    pub returns_to: Option<String>,
    /// `/link/{id}`: the buttons post below it.
    pub action: String,
    /// What stands behind it: empty, or `?state=…`.
    pub query: String,
}

impl ConsentPage {
    fn asked(&self) -> format::Moment {
        format::time_of_day(self.asked_at)
    }

    fn ends(&self) -> format::Moment {
        format::time_of_day(self.until)
    }
}
