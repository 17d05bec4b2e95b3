//! The report as one self-contained page: no script, nothing fetched, every answer escaped.

use askama::Template;

use super::case::Group;
use super::report::{CaseReport, Counts, Report};

#[derive(Template)]
#[template(path = "conformance.html")]
struct Page<'r> {
    report: &'r Report,
    groups: Vec<Section<'r>>,
    style: &'static str,
}

/// A group with its cases.
struct Section<'r> {
    group: Group,
    counts: Counts,
    cases: Vec<&'r CaseReport>,
}

impl Section<'_> {
    /// The bar's parts as whole thousandths of its length, which add up.
    fn parts(&self) -> (usize, usize, usize) {
        let all = self.counts.all().max(1);
        let (pass, fail) = (self.counts.pass * 1000 / all, self.counts.fail * 1000 / all);
        (pass, fail, 1000 - pass - fail)
    }
}

impl Page<'_> {
    /// When it ran, and how long.
    fn when(&self) -> String {
        let at = self
            .report
            .started_at
            .to_datetime()
            .map_or_else(String::new, |at| at.format("%-d %b %Y, %H:%M UTC").to_string());
        format!("{at}, {} s", self.report.ended_at.since(self.report.started_at).num_seconds())
    }
}

/// The document.
pub(super) fn document(report: &Report) -> Result<String, askama::Error> {
    let section = |counted: &super::report::GroupCounts| Section {
        group: counted.group,
        counts: counted.counts,
        cases: report.cases.iter().filter(|case| case.group == counted.group).collect(),
    };
    let groups = report.groups.iter().map(section).collect();
    Page { report, groups, style: include_str!("templates/conformance.css") }.render()
}
