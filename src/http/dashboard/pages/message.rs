//! Pages that say one thing and what to do next.

use askama::Template;

use super::frame::Frame;
use crate::login::NotProven;

/// One thing to say.
#[derive(Debug, Clone, Template)]
#[template(path = "message.html")]
pub struct MessagePage {
    /// Whose page.
    pub frame: Frame,
    /// What is true, as a sentence.
    pub heading: String,
    /// What it means.
    pub text: String,
    /// What to do, one step each.
    pub steps: Vec<String>,
    /// The id to tell the provider, when something is wrong on our side.
    pub request_id: Option<String>,
    /// Where to log in, when that is what is needed.
    pub log_in: Option<String>,
}

impl MessagePage {
    fn new(frame: Frame, heading: &str, text: &str, steps: &[&str]) -> Self {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        Self { frame, heading: heading.to_owned(), text: text.to_owned(), steps, request_id: None, log_in: None }
    }

    /// 404.
    #[must_use]
    pub fn not_found(frame: Frame) -> Self {
        let text = "The address may be mistyped, or what it led to may have been removed.";
        Self::new(frame, "There is no page here.", text, &["Check the address.", "Or begin at the front page."])
    }

    /// 403: an action that did not come from our own pages.
    #[must_use]
    pub fn forbidden(frame: Frame) -> Self {
        let text = "The request did not come from this site, so it was refused. Nothing was changed.";
        let steps = ["Open your dashboard and do it from there.", "If another page sent you here, do not trust it."];
        Self::new(frame, "That was not allowed.", text, &steps)
    }

    /// 400 to an address with parts that are not ours.
    #[must_use]
    pub fn unreadable(frame: Frame) -> Self {
        let text = "The address has a part that is not known here, or lacks one.";
        Self::new(
            frame,
            "That address could not be read.",
            text,
            &["Check the address.", "Or begin at the front page."],
        )
    }

    /// 400 and the like: the form that was sent cannot be read; `why` says what of it.
    #[must_use]
    pub fn refused(frame: Frame, why: impl Into<String>) -> Self {
        let text = format!("{} Nothing was changed.", why.into());
        let steps = ["Go back and load the page again.", "Send its form as it is."];
        Self::new(frame, "That could not be read.", &text, &steps)
    }

    /// Any other refusal of what was sent; `why` says all that there is to say.
    #[must_use]
    pub fn not_done(frame: Frame, why: impl Into<String>) -> Self {
        Self::new(frame, "That was not done.", &why.into(), &["Go back and load the page again."])
    }

    /// 500. Money is never moved by half.
    #[must_use]
    pub fn broken(frame: Frame, request_id: impl Into<String>) -> Self {
        let text = "We could not answer. What was done before this is safe, and trying again is safe.";
        let page = Self::new(frame, "Something is wrong on our side.", text, &["Try again in a minute."]);
        Self { request_id: Some(request_id.into()), ..page }
    }

    /// 503: too much to do at this moment.
    #[must_use]
    pub fn busy(frame: Frame) -> Self {
        let text = "There is more to do at this moment than we can. Nothing was changed.";
        Self::new(frame, "We are busy.", text, &["Try again in a few seconds."])
    }

    /// After the user logged out.
    #[must_use]
    pub fn logged_out(frame: Frame) -> Self {
        let text = "This browser can no longer see the account. Agents keep working within their cap.";
        Self { log_in: Some("/login".to_owned()), ..Self::new(frame, "You are logged out.", text, &[]) }
    }

    /// 401 or 403: what was asked for needs somebody who logged in; `log_in` leads there and back.
    #[must_use]
    pub fn log_in_first(frame: Frame, session: Option<NotProven>, log_in: &str) -> Self {
        let (heading, text) = match session {
            None => ("Please log in.", "What you asked for belongs to an account, and this browser is not logged in."),
            Some(NotProven::LinkOnly) => (
                "Please log in yourself.",
                "You came by a link, and agents can make such links too. With it you can look, lower the cap and stop \
                 spending. For this you need to log in. Nothing was changed.",
            ),
            Some(NotProven::Stale) => (
                "Please log in once more.",
                "You logged in a while ago. Before this we want to be sure that it is still you. Nothing was changed.",
            ),
            Some(NotProven::MailOnly(_)) => (
                "Please log in in another way.",
                "You logged in by a link in a mail, and programs may read your mail. This account has a way to log in that \
                 proves more, so a mail alone is not enough for this. With it you can look, lower the cap, stop spending, \
                 and end what agents may do. Nothing was changed.",
            ),
        };
        let wanted = session.and_then(NotProven::wanted).map(|wanted| format!(" {wanted}")).unwrap_or_default();
        let step = format!("Log in{wanted}. After that you are back here.");
        Self { log_in: Some(log_in.to_owned()), ..Self::new(frame, heading, text, &[&step]) }
    }

    /// 410: a link of a mail that is used up, too old, or none.
    #[must_use]
    pub fn log_in_link_gone(frame: Frame) -> Self {
        let text = "A link to log in works once, and for 15 minutes. This one was used, is too old, or was never made by us. \
                    When several mails came, only the newest one's works.";
        let page = Self::new(frame, "This link no longer works.", text, &["Ask for a new link."]);
        Self { log_in: Some("/login".to_owned()), ..page }
    }

    /// Nobody was logged in; `log_in` leads to the ways in.
    #[must_use]
    pub fn log_in_failed(frame: Frame, text: &str, log_in: &str) -> Self {
        let page = Self::new(frame, "You are not logged in.", text, &["Try it once more, or another way."]);
        Self { log_in: Some(log_in.to_owned()), ..page }
    }

    /// 429: too many of the same.
    #[must_use]
    pub fn too_often(frame: Frame, seconds: u64) -> Self {
        let text = "There were many attempts to log in lately. Nothing was sent.";
        let wait = format!("Wait {} minutes, then try again.", seconds.div_ceil(60));
        Self::new(frame, "That was too often.", text, &[&wait])
    }

    /// 401: no session, or an ended one.
    #[must_use]
    pub fn session_ended(frame: Frame) -> Self {
        let text = "To see an account you need to be logged in, and this browser is not, or no longer.";
        let steps =
            ["Log in here.", "Or ask your agent for a new link to your dashboard, and open it in this browser."];
        Self { log_in: Some("/login".to_owned()), ..Self::new(frame, "Please log in.", text, &steps) }
    }
}
