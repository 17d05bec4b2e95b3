//! What every problem code means: the pages behind the `type` of a problem document (RFC 9457 §3.1.1).

use askama::Template;

use super::frame::Frame;

/// One code of the table of refusals, told in full.
#[derive(Debug, Clone, Copy)]
pub struct ProblemDoc {
    /// The stable code: `budget_exceeded`.
    pub code: &'static str,
    /// The HTTP status that it comes with.
    pub status: u16,
    /// The title, as in the problem document.
    pub title: &'static str,
    /// What is true when it comes.
    pub meaning: &'static str,
    /// Why it usually comes; may be empty.
    pub causes: &'static [&'static str],
    /// What the agent does next.
    pub agent: &'static str,
    /// What the human does next; may be empty when there is nothing to do.
    pub human: &'static str,
    /// Whether the same request may succeed later.
    pub retry: bool,
}

/// `GET /docs/problems/{code}`.
#[derive(Debug, Clone, Template)]
#[template(path = "problem.html")]
pub struct ProblemPage {
    /// Whose page.
    pub frame: Frame,
    /// The code.
    pub problem: ProblemDoc,
}

/// `GET /docs/problems`: all codes.
#[derive(Debug, Clone, Template)]
#[template(path = "problems.html")]
pub struct ProblemIndexPage {
    /// Whose page.
    pub frame: Frame,
    /// In the order to show: by status.
    pub problems: Vec<ProblemDoc>,
}

/// Splits at backticks: every second part is code.
fn parts(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`').enumerate().map(|(index, part)| (index % 2 == 1, part)).filter(|(_, part)| !part.is_empty())
}
