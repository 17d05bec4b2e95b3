//! The page behind a one-use link: a button. Looking at it (or a mail scanner doing so) does not use the link up.

use askama::Template;

use super::frame::Frame;

/// `GET /d/{token}` for a link that can be used. The button posts to the same address.
#[derive(Debug, Clone, Template)]
#[template(path = "link.html")]
pub struct LinkPage {
    /// Without a user: nobody is logged in yet.
    pub frame: Frame,
    /// The path that the button posts to: `/d/{token}`.
    pub action: String,
    /// Whether the link is unknown, expired or used; all three look the same, and the answer is 410.
    pub gone: bool,
}
