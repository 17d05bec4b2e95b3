//! The report as JUnit XML.

use std::fmt::Write as _;

use super::report::{Outcome, Report};

/// The document.
pub(super) fn document(report: &Report) -> String {
    let counts = report.counts;
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        xml,
        "<testsuites name=\"portreeve conform {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
        escaped(&report.target),
        counts.all(),
        counts.fail,
        counts.not_applicable
    );
    for group in &report.groups {
        let (name, counts) = (group.group.as_str(), group.counts);
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" timestamp=\"{}\">",
            counts.all(),
            counts.fail,
            counts.not_applicable,
            report.started_at
        );
        for case in report.cases.iter().filter(|case| case.group == group.group) {
            let (id, seconds, thousandths) = (escaped(case.id), case.millis / 1000, case.millis % 1000);
            let _ = write!(xml, "    <testcase classname=\"{name}\" name=\"{id}\" time=\"{seconds}.{thousandths:03}\"");
            match &case.outcome {
                Outcome::Pass => xml.push_str("/>\n"),
                Outcome::NotApplicable { reason } => {
                    let _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escaped(reason));
                }
                Outcome::Fail(finding) => {
                    let message = format!("{}: expected {}, found {}", case.title, finding.expected, finding.found);
                    let text = format!("{}\n\n{}\n\n{}", case.origin, finding.request, finding.answer);
                    let (message, text) = (escaped(&message), escaped(&text));
                    let _ = writeln!(xml, "><failure message=\"{message}\">{text}</failure></testcase>");
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// XML text: markup escaped, and what XML 1.0 cannot hold at all replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(escaped("</failure>\u{0}\"&"), "&lt;/failure&gt;\u{fffd}&quot;&amp;");
    }
}
