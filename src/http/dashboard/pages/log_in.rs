//! The pages of logging in: the ways, the link of a mail, and the ways that an account has.

use askama::Template;

use super::format;
use super::frame::{Frame, Notice};
use crate::clock::Timestamp;
use crate::http::assets::asset_url;

/// `/login`: all ways in that there are. Works without script, but for passkeys.
#[expect(clippy::struct_excessive_bools, reason = "facts of a page, each by itself")]
#[derive(Debug, Clone, Template)]
#[template(path = "log_in.html")]
pub struct LogInPage {
    /// Whose page.
    pub frame: Frame,
    /// Whether somebody who is logged in must do it once more.
    pub again: bool,
    /// Whether a link can come by mail.
    pub mail: bool,
    /// What people call the provider's own log-in, if there is one.
    pub upstream: Option<String>,
    /// Whether passkeys are possible.
    pub passkeys: bool,
    /// Where it leads.
    pub to: String,
    /// How fresh it must be, in seconds.
    pub max_age: Option<i64>,
    /// Both as the query of an address; empty, or with its `?`.
    pub query: String,
    /// What was typed, when it is no address.
    pub typed: String,
    /// What is wrong with it.
    pub problem: Option<&'static str>,
    /// The address to which a mail is on its way, if anybody here has it.
    pub sent_to: Option<String>,
    /// The folder where mails are written to, in place of being sent.
    pub folder: Option<String>,
    /// Whether a log-in by mail was there and is not enough: only the account's other ways are shown.
    pub beyond_mail: bool,
}

/// An account that somebody may choose.
#[derive(Debug, Clone)]
pub struct AccountChoice {
    /// Its id.
    pub id: String,
    /// Its address.
    pub name: String,
    /// The name of the orchestrator that opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
}

/// `/login/link/{token}` for a link that can be taken. The button posts to the same address.
#[derive(Debug, Clone, Template)]
#[template(path = "log_in_link.html")]
pub struct LogInLinkPage {
    /// Whose page.
    pub frame: Frame,
    /// Where the button posts to.
    pub action: String,
    /// The accounts that it opens: one or more.
    pub choices: Vec<AccountChoice>,
    /// Whether it was asked for in this browser.
    pub here: bool,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Whether the button was pressed without a choice.
    pub unchosen: bool,
}

/// A passkey of the account.
#[derive(Debug, Clone)]
pub struct PasskeyRow {
    /// Where its removal is posted to.
    pub action: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

/// `/dashboard/log-in`: the ways in.
#[expect(clippy::struct_excessive_bools, reason = "facts of a page, each by itself")]
#[derive(Debug, Clone, Template)]
#[template(path = "methods.html")]
pub struct MethodsPage {
    /// Whose page.
    pub frame: Frame,
    /// The address that links are mailed to, if mail goes out.
    pub email: Option<String>,
    /// What people call the provider's own log-in, if there is one.
    pub upstream: Option<String>,
    /// Whether somebody there is connected.
    pub connected: bool,
    /// The passkeys.
    pub passkeys: Vec<PasskeyRow>,
    /// Whether one can be added.
    pub can_add: bool,
    /// Because the account is not claimed.
    pub unclaimed: bool,
    /// Because our address has no host name.
    pub no_host_name: bool,
    /// What came of the last action.
    pub notice: Option<Notice>,
}

impl PasskeyRow {
    fn used(&self) -> Option<format::Moment> {
        self.used_at.map(format::day)
    }
}

fn script() -> String {
    asset_url("passkeys.js")
}

impl LogInPage {
    fn script() -> String {
        script()
    }
}

impl LogInLinkPage {
    fn only(&self) -> Option<&AccountChoice> {
        match self.choices.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn asked(&self) -> format::Moment {
        format::time_of_day(self.asked_at)
    }
}

impl MethodsPage {
    fn script() -> String {
        script()
    }
}
