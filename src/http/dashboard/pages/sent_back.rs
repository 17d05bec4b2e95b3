//! A request with a mistake, of a program that nobody checked: whoever came goes back by themselves, or not (RFC 9700
//! §4.11.2).

use askama::Template;

use super::frame::Frame;

/// `GET /oauth/authorize` with a mistake. Nobody logged in for it, and nobody was asked anything.
#[derive(Debug, Clone, Template)]
#[template(path = "sent_back.html")]
pub struct SentBackPage {
    /// Whose page.
    pub frame: Frame,
    /// Where the link leads.
    pub host: String,
    /// What the program is told (RFC 6749 §4.1.2.1).
    pub error: &'static str,
    /// The same for whoever reads it.
    pub description: String,
    /// The program's address with the error.
    pub onward: String,
}
