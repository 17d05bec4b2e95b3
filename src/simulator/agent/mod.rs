//! The agent: a real HTTP client that writes down each step it takes. What it holds as a secret never stands in a step:
//! every shown text passes one mask, and `curl` lines name secrets as shell variables.

mod ask;

use std::time::Instant;

use serde::Serialize;

use crate::fetch::{Fetch, Incoming};
use crate::secret::Secret;

pub(super) use ask::Ask;
use ask::Mask;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The provider under test.
    Provider,
    /// The orchestrator, where the user is signed in.
    Orchestrator,
    /// The provider's metered API.
    Platform,
}

/// One step of a walk, as it is shown and written as NDJSON. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What begins with this step, in the words of a heading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<&'static str>,
    /// Of the stage; several steps can belong to one.
    pub number: u32,
    /// Who was asked.
    pub party: Party,
    /// HTTP method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    /// The statuses that are right here.
    pub expected: Vec<u16>,
    /// Whether the status is right and the answer is what was promised.
    pub ok: bool,
    /// How many equal calls this step stands for.
    pub times: u32,
    /// How long they took in all, in milliseconds.
    pub millis: u64,
    /// What the agent learnt, or what is wrong.
    pub note: String,
    /// The step as a shell command.
    pub curl: String,
}

/// The walk cannot go on; why stands in the last step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopped;

/// What a step taught, and the note about it; or what is wrong.
pub(super) type Judged<T> = Result<(T, String), String>;

/// The agent and its steps so far.
pub(super) struct Agent<'w> {
    fetch: Fetch,
    mask: Mask,
    number: u32,
    act: Option<&'static str>,
    steps: Vec<Step>,
    set_before: String,
    on_step: &'w mut dyn FnMut(&Step),
}

impl<'w> Agent<'w> {
    pub(super) fn new(fetch: Fetch, on_step: &'w mut dyn FnMut(&Step)) -> Self {
        let (mask, steps, set_before) = (Mask::default(), Vec::new(), String::new());
        Self { fetch, mask, number: 0, act: None, steps, set_before, on_step }
    }

    /// From now on `secret` is shown as `$name`.
    pub(super) fn learn(&mut self, name: &'static str, secret: &Secret) {
        if !secret.expose().is_empty() {
            self.mask.secrets.push((name, secret.clone()));
        }
    }

    /// In `curl` lines `text` is `$name`, which the first of them sets.
    pub(super) fn vary(&mut self, name: &'static str, text: &str) {
        self.mask.varies.push((name, Secret::presented(text)));
    }

    /// What stands before the next `curl` line.
    pub(super) fn set_before(&mut self, assignments: String) {
        self.set_before = assignments;
    }

    /// The next step begins something that has this heading.
    pub(super) fn act(&mut self, heading: &'static str) {
        self.act = Some(heading);
    }

    /// The next steps belong to the next stage.
    pub(super) fn stage(&mut self) {
        self.number += 1;
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Asks once and judges the answer. `judge` sees only answers with an expected status.
    pub(super) async fn take<T>(&mut self, ask: Ask, judge: impl FnOnce(&Incoming) -> Judged<T>) -> Result<T, Stopped> {
        let (answer, millis) = self.send(&ask).await;
        self.record(&ask, answer, (1, millis), judge)
    }

    /// Asks without a step. The time is in milliseconds.
    pub(super) async fn send(&self, ask: &Ask) -> (Result<Incoming, String>, u64) {
        let begun = Instant::now();
        let answer = self.fetch.send(ask.outgoing()).await.map_err(|error| error.to_string());
        (answer, u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Writes a step down for `times` calls that took `millis`.
    pub(super) fn record<T>(
        &mut self,
        ask: &Ask,
        answer: Result<Incoming, String>,
        (times, millis): (u32, u64),
        judge: impl FnOnce(&Incoming) -> Judged<T>,
    ) -> Result<T, Stopped> {
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        let judged = answer.and_then(|answer| {
            if ask.expected.contains(&answer.status) { judge(&answer) } else { Err(unexpected(&answer)) }
        });
        let (ok, note) = match &judged {
            Ok((_, note)) => (true, note),
            Err(wrong) => (false, wrong),
        };
        let step = Step {
            act: self.act.take(),
            number: self.number,
            party: ask.party,
            method: ask.method,
            path: self.mask.masked(&ask.path()),
            status,
            expected: ask.expected.clone(),
            ok,
            times,
            millis,
            note: self.mask.masked(note),
            curl: std::mem::take(&mut self.set_before) + &ask.curl(&self.mask, times),
        };
        (self.on_step)(&step);
        self.steps.push(step);
        judged.map(|(learnt, _)| learnt).map_err(|_wrong| Stopped)
    }
}

/// What an answer with an unexpected status says for itself.
fn unexpected(answer: &Incoming) -> String {
    let said = answer.json::<serde_json::Value>().ok();
    let member = |name: &str| said.as_ref().and_then(|body| body.pointer(name)).and_then(serde_json::Value::as_str);
    let code = member("/code").or(member("/error")).or(member("/error/code"));
    match (code, member("/detail").or(member("/error_description")).or(member("/error/message"))) {
        (Some(code), Some(detail)) => format!("{code}: {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => format!("unexpected status {}", answer.status),
    }
}
