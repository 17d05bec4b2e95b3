//! "I did not start this": what the button does, and that it was pressed.

use askama::Template;

use super::format;
use super::frame::Frame;
use crate::clock::Timestamp;
use crate::takeover::LinkOver;

/// That the button was pressed.
#[derive(Debug, Clone)]
pub struct Disputed {
    /// The case's id, for whoever asks the provider.
    pub case: String,
    /// When.
    pub at: Timestamp,
    /// Whether the account is frozen; else its owner may log in and undo it.
    pub frozen: bool,
}

/// `GET /not-mine/{token}`. The button posts to the same address.
#[derive(Debug, Clone, Template)]
#[template(path = "not_mine.html")]
pub struct NotMinePage {
    /// Without a user: the link is no log-in.
    pub frame: Frame,
    /// The path that the button posts to.
    pub action: String,
    /// Through whom the account was opened.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
    /// Whether, and why, the link does nothing any more.
    pub over: Option<LinkOver>,
    /// Whether it was pressed.
    pub disputed: Option<Disputed>,
}

impl NotMinePage {
    fn opened(&self) -> format::Moment {
        format::day(self.opened_at)
    }
}

impl Disputed {
    fn pressed(&self) -> format::Moment {
        format::day_and_time(self.at)
    }
}
