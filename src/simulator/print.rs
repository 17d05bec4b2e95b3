//! How a walk is shown: aligned lines for people, NDJSON for programs.

use std::fmt;
use std::io::{self, Write};

use super::agent::{Party, Step};
use super::walk::WalkReport;

/// How to show it. The caller knows the terminal and the flags.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Escape codes for colour: only on a terminal, and not with `NO_COLOR`.
    pub colour: bool,
    /// One JSON object per line instead of text.
    pub json: bool,
    /// The command that repeats a step under each step.
    pub curl: bool,
}

/// Writes steps as they come.
pub struct Printer<'o> {
    out: &'o mut dyn Write,
    style: Style,
    last: u32,
}

impl fmt::Debug for Printer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("style", &self.style).finish_non_exhaustive()
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const DIM: &str = "2";
const BOLD: &str = "1";

impl<'o> Printer<'o> {
    /// A printer to `out`.
    pub fn new(out: &'o mut dyn Write, style: Style) -> Self {
        Self { out, style, last: 0 }
    }

    /// The first lines: what runs where, and what was prepared. Nothing with `json`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn head(&mut self, title: &str, prepared: &[(&str, String)]) -> io::Result<()> {
        if self.style.json {
            return Ok(());
        }
        writeln!(self.out, " {}", self.painted(BOLD, title))?;
        for (what, how) in prepared {
            writeln!(self.out, " {} {what:<13} {how}", self.painted(GREEN, "✔"))?;
        }
        Ok(())
    }

    /// One step.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn step(&mut self, step: &Step) -> io::Result<()> {
        if self.style.json {
            let line = serde_json::to_string(step)?;
            writeln!(self.out, "{line}")?;
            return self.out.flush();
        }
        if let Some(act) = step.act {
            writeln!(self.out, "\n {act}")?;
        }
        let number = if step.number == self.last { String::new() } else { step.number.to_string() };
        self.last = step.number;
        let party = match step.party {
            Party::Provider => "",
            Party::Orchestrator => "orchestrator ",
            Party::Platform => "platform ",
        };
        let times = if step.times > 1 { format!(" ×{}", step.times) } else { String::new() };
        let what = format!("{party}{}{times}", step.path);
        let status = self.painted(if step.ok { GREEN } else { RED }, &format!("{:>3}", step.status));
        let millis = self.painted(DIM, &format!("{:>4} ms", step.millis));
        let mark = if step.ok { "" } else { "✘ " };
        let note = format!("{mark}{}", step.note);
        writeln!(self.out, " {number:>2}  {:<4} {what:<46} {status} {millis}  {note}", step.method)?;
        if !step.ok {
            let expected: Vec<String> = step.expected.iter().map(u16::to_string).collect();
            writeln!(self.out, "     expected status {}", expected.join(" or "))?;
        }
        if self.style.curl {
            writeln!(self.out, "     {}", self.painted(DIM, &step.curl))?;
        }
        self.out.flush()
    }

    /// The last lines: how it went; and, while there is something to look at, where, and `more` of the caller's.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn end(&mut self, report: &WalkReport, more: Option<&[(&str, String)]>) -> io::Result<()> {
        if self.style.json {
            let line = serde_json::to_string(report)?;
            writeln!(self.out, "{line}")?;
            return self.out.flush();
        }
        let steps = report.steps.len();
        let verdict = if report.ok {
            self.painted(GREEN, &format!("{steps} steps, all as expected, in {} ms", report.millis))
        } else {
            self.painted(RED, &format!("stopped at step {}: not as expected", self.last))
        };
        writeln!(self.out, "\n {verdict}")?;
        let Some(more) = more else { return self.out.flush() };
        writeln!(self.out)?;
        let links = &report.links;
        if let Some(dashboard) = &links.dashboard {
            writeln!(self.out, " {:<17} {dashboard}   (one use, 10 min)", "Dashboard")?;
        }
        let rest = [("Catalog", &links.catalog), ("API description", &links.openapi), ("Orchestrator", &links.issuer)];
        for (what, url) in rest.into_iter().chain([("Metered API", &links.platform)]) {
            writeln!(self.out, " {what:<17} {url}")?;
        }
        for (what, how) in more {
            writeln!(self.out, " {what:<17} {how}")?;
        }
        self.out.flush()
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.style.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u32, ok: bool) -> Step {
        Step {
            act: None,
            number,
            party: Party::Provider,
            method: "GET",
            path: "/v1/budget".into(),
            status: 200,
            expected: vec![200],
            ok,
            times: 1,
            millis: 3,
            note: "$100.00".into(),
            curl: "curl -sS 'http://127.0.0.1:1/v1/budget'".into(),
        }
    }

    fn shown(style: Style, steps: &[Step]) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, style);
        for step in steps {
            printer.step(step).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_stand_under_each_other_and_a_stage_is_numbered_once() {
        let text = shown(Style::default(), &[step(9, true), step(9, true), step(10, false)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  9  GET  /v1/budget"));
        assert!(lines[1].starts_with("     GET  /v1/budget"));
        assert!(lines[2].starts_with(" 10  GET  /v1/budget") && lines[2].contains("✘"));
        assert_eq!(lines[0].find("200"), lines[2].find("200"));
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn what_begins_is_headed() {
        let text = shown(Style::default(), &[step(1, true), Step { act: Some("And now:"), ..step(2, true) }]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[1], lines[2]), (4, "", " And now:"));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = shown(Style { json: true, ..Style::default() }, &[step(1, true), step(2, true)]);
        let numbers: Vec<i64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["number"].as_i64().unwrap())
            .collect();
        assert_eq!(numbers, [1, 2]);
    }
}
