//! `/device`: typing the code that a program shows elsewhere, and seeing whose it is.

use askama::Template;

use super::format;
use super::frame::Frame;
use crate::clock::Timestamp;

/// The place to type a code; with a question, whose code it is.
#[derive(Debug, Clone, Template)]
#[template(path = "device.html")]
pub struct DevicePage {
    /// Whose page.
    pub frame: Frame,
    /// Who asks, once a good code was typed.
    pub question: Option<DeviceQuestion>,
    /// What was typed, when it is no code.
    pub typed: String,
    /// What is wrong with it.
    pub problem: Option<&'static str>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct DeviceQuestion {
    /// What it calls itself.
    pub asker: String,
    /// The domain that is proven to be its own.
    pub proven: Option<String>,
    /// Whether the operator knows it.
    pub checked: bool,
    /// From which address it called.
    pub address: String,
    /// What could be done.
    pub effects: Vec<String>,
    /// Since when it waits.
    pub asked_at: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// The code, for the buttons.
    pub code: String,
}

impl DeviceQuestion {
    fn asked(&self) -> format::Moment {
        format::time_of_day(self.asked_at)
    }

    fn age(&self) -> String {
        match usize::try_from(self.now.since(self.asked_at).num_minutes()) {
            Ok(minutes @ 1..) => format!("{} ago", format::plural(minutes, "minute")),
            _ => "less than a minute ago".to_owned(),
        }
    }
}
