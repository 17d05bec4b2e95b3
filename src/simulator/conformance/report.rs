//! What came of a run, for programs and for people.

use serde::Serialize;

use super::case::{Case, Finding, Group};
use super::session::Session;
use super::{junit, page};
use crate::clock::Timestamp;

/// What came of one case.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The rule holds.
    Pass,
    /// It does not.
    Fail(Box<Finding>),
    /// It cannot be asked here.
    NotApplicable {
        /// Why.
        reason: String,
    },
}

/// One case and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// See [`Case::id`].
    pub id: &'static str,
    /// See [`Case::group`].
    pub group: Group,
    /// See [`Case::title`].
    pub title: &'static str,
    /// See [`Case::origin`].
    pub origin: &'static str,
    /// How long it took.
    pub millis: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl CaseReport {
    /// What is wrong, if something is.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        match &self.outcome {
            Outcome::Fail(finding) => Some(finding),
            Outcome::Pass | Outcome::NotApplicable { .. } => None,
        }
    }

    /// Why it was not asked.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::NotApplicable { reason } => Some(reason),
            Outcome::Pass | Outcome::Fail(_) => None,
        }
    }
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The rule holds.
    pub pass: usize,
    /// It does not.
    pub fail: usize,
    /// It could not be asked.
    pub not_applicable: usize,
}

impl Counts {
    fn of<'c>(cases: impl Iterator<Item = &'c CaseReport>) -> Self {
        cases.fold(Self::default(), |mut counts, case| {
            match case.outcome {
                Outcome::Pass => counts.pass += 1,
                Outcome::Fail(_) => counts.fail += 1,
                Outcome::NotApplicable { .. } => counts.not_applicable += 1,
            }
            counts
        })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> usize {
        self.pass + self.fail + self.not_applicable
    }
}

/// The counts of one group.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GroupCounts {
    /// Which.
    pub group: Group,
    /// How its cases ended.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What came of a run. Holds no secret.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The provider's base URL.
    pub target: String,
    /// The name of the profile.
    pub profile: &'static str,
    /// The version of the runner.
    pub runner: &'static str,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How many calls were sent.
    pub calls: u32,
    /// How many accounts were opened. They stay: the wire cannot close them.
    pub accounts_opened: usize,
    /// How many resources were made.
    pub resources_made: usize,
    /// How many of them were removed.
    pub resources_removed: usize,
    /// The ids of those that could not be removed.
    pub resources_left: Vec<String>,
    /// In all.
    pub counts: Counts,
    /// By group, only those that ran.
    pub groups: Vec<GroupCounts>,
    /// Each case, in the order in which they ran.
    pub cases: Vec<CaseReport>,
}

impl Report {
    pub(super) fn new(session: &Session, started_at: Timestamp, cases: Vec<CaseReport>, left: Vec<String>) -> Self {
        let numbers = session.numbers();
        let group = |group: Group| {
            let counts = Counts::of(cases.iter().filter(|case| case.group == group));
            (counts.all() > 0).then_some(GroupCounts { group, counts })
        };
        let mut target = session.options.target.clone();
        target.set_query(None);
        target.set_fragment(None);
        Self {
            target: target.to_string(),
            profile: session.options.profile.name,
            runner: env!("CARGO_PKG_VERSION"),
            started_at,
            ended_at: session.now(),
            calls: numbers.calls,
            accounts_opened: numbers.accounts,
            resources_made: numbers.resources,
            resources_removed: numbers.removed,
            resources_left: left,
            counts: Counts::of(cases.iter()),
            groups: Group::ALL.into_iter().filter_map(group).collect(),
            cases,
        }
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.finding().is_some())
    }

    /// Those that could not be asked.
    pub fn not_applicable(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.reason().is_some())
    }

    /// JUnit XML, as CI servers read it: one suite per group.
    #[must_use]
    pub fn to_junit(&self) -> String {
        junit::document(self)
    }

    /// One self-contained page without script.
    ///
    /// # Errors
    /// When the template cannot be rendered.
    pub fn to_html(&self) -> Result<String, askama::Error> {
        page::document(self)
    }

    /// One sentence of what was made and what is left.
    #[must_use]
    pub fn footprint(&self) -> String {
        let left = match self.resources_left.len() {
            0 => "none is left".to_owned(),
            count => format!("{count} could not be removed: {}", self.resources_left.join(", ")),
        };
        format!(
            "{} calls; {} accounts opened (the wire cannot close them); {} resources made and {} removed, {left}.",
            self.calls, self.accounts_opened, self.resources_made, self.resources_removed
        )
    }
}

impl Case {
    /// One line for `--list`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{:<44} {}  [{}]", self.id, self.title, self.origin)
    }
}
