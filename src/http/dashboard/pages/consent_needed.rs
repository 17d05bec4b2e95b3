//! Why an account that exists is not linked by an e-mail address alone. Says nothing about any account.

use askama::Template;

use super::frame::Frame;

/// Where the `error_uri` of `consent_needed` leads. The same for everybody.
#[derive(Debug, Clone, Template)]
#[template(path = "consent_needed.html")]
pub struct ConsentNeededPage {
    /// Whose page.
    pub frame: Frame,
}
