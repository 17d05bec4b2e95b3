//! The question to the owner of an account: may this orchestrator, or this program, act for it? Numbers first; yes and no
//! equally near, and what is not wanted can be unticked.

use askama::Template;

use super::format;
use super::frame::Frame;
use crate::clock::Timestamp;
use crate::money::Money;

/// One thing that could then be done.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The verb.
    pub verb: &'static str,
    /// To what.
    pub rest: &'static str,
    /// The scope that can be unticked; `None`: all or nothing.
    pub scope: Option<&'static str>,
}

/// `GET /link/{id}` or `GET /consent/{handle}` for the owner, while the question is open.
#[derive(Debug, Clone, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage {
    /// Whose page.
    pub frame: Frame,
    /// Who asks.
    pub asker: String,
    /// A public client that asks through it, by its own name.
    pub client: Option<String>,
    /// The domain that is proven to be the asker's.
    pub proven: Option<String>,
    /// What the owner should know before they believe who asks.
    pub warnings: Vec<&'static str>,
    /// Which address the request named.
    pub email: Option<String>,
    /// Who is asked, as the owner knows the account.
    pub account: String,
    /// The most that could be spent in a month; `None`: nothing can be spent.
    pub monthly: Option<Money>,
    /// The limits within which it asks, in words.
    pub limits: Vec<String>,
    /// What could be done.
    pub effects: Vec<Effect>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Until when it can be answered.
    pub until: Timestamp,
    /// Where the answer is carried to, by host name; `None`: nowhere, the agent asks again.
    pub returns_to: Option<String>,
    /// The address of the page: the buttons post below it.
    pub action: String,
    /// What stands behind it: empty, or `?state=…`.
    pub query: String,
}

impl ConsentPage {
    fn can_untick(&self) -> bool {
        self.effects.iter().any(|effect| effect.scope.is_some())
    }

    fn asked(&self) -> format::Moment {
        format::time_of_day(self.asked_at)
    }

    fn ends(&self) -> format::Moment {
        format::time_of_day(self.until)
    }
}
