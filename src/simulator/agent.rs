//! The agent: a real HTTP client that writes down each step it takes. What it holds as a secret never stands in a step:
//! every shown text passes one mask, and `curl` lines name secrets as shell variables.

use std::time::Instant;

use serde::Serialize;
use url::Url;

use super::app_wire::stripe_signature;
use crate::clock::Timestamp;
use crate::fetch::{Fetch, Incoming, Outgoing};
use crate::secret::Secret;

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

/// A request to be made and shown.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    party: Party,
    method: &'static str,
    url: Url,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    expected: Vec<u16>,
    keep: Option<(&'static str, String)>,
    signature: Option<Signature>,
}

/// A signature over the body: as it is sent, and the words of a shell that make it anew.
#[derive(Debug, Clone)]
struct Signature {
    sent: String,
    command: &'static str,
}

impl Ask {
    pub(super) fn new(party: Party, method: &'static str, url: Url, expected: u16) -> Self {
        let (headers, expected) = (Vec::new(), vec![expected]);
        Self { party, method, url, headers, body: None, expected, keep: None, signature: None }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn bearer(self, token: &Secret) -> Self {
        self.header("authorization", format!("Bearer {}", token.expose()))
    }

    /// Retries with the same key have the same answer.
    pub(super) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(super) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string());
        self.header("content-type", "application/json")
    }

    /// A form, encoded.
    pub(super) fn form(mut self, body: String) -> Self {
        self.body = Some(body);
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Signed with `secret` over the body, which stands already. The `curl` line calls `sign`, which the caller has set.
    pub(super) fn signed(self, secret: &Secret, at: Timestamp) -> Self {
        self.signature(secret.expose(), at, "$(sign \"$BODY\")")
    }

    /// The same with a secret that is nobody's.
    pub(super) fn forged(self, at: Timestamp) -> Self {
        self.signature("somebody-else", at, "$(sign \"$BODY\" somebody-else)")
    }

    fn signature(mut self, secret: &str, at: Timestamp, command: &'static str) -> Self {
        let body = self.body.as_deref().unwrap_or_default();
        let sent = stripe_signature(&[secret], at.seconds(), body.as_bytes());
        self.signature = Some(Signature { sent, command });
        self
    }

    /// This status is right as well.
    pub(super) fn or(mut self, status: u16) -> Self {
        self.expected.push(status);
        self
    }

    /// The same request, of which another status is right.
    pub(super) fn expecting(&self, status: u16) -> Self {
        Self { expected: vec![status], ..self.clone() }
    }

    /// The `curl` line keeps what this filter of `jq` finds in the answer in a shell variable.
    pub(super) fn keep(mut self, variable: &'static str, filter: &str) -> Self {
        let plain = filter.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
        let filter = if plain { filter.to_owned() } else { format!("'{filter}'") };
        self.keep = Some((variable, format!("| jq -r {filter}")));
        self
    }

    /// The `curl` line keeps the value of a cookie that the answer sets.
    pub(super) fn keep_cookie(mut self, variable: &'static str, cookie: &str) -> Self {
        let found = format!(r"s/^[Ss]et-[Cc]ookie: {cookie}=\([^;]*\).*/\1/p");
        self.keep = Some((variable, format!("-D - -o /dev/null | sed -n '{found}'")));
        self
    }

    fn outgoing(&self) -> Outgoing {
        let url = self.url.clone();
        // The body's media type is among the headers.
        let plain = match (self.method, &self.body) {
            ("POST", None) => Outgoing::post(url, "application/x-www-form-urlencoded", Vec::new()),
            ("POST", Some(body)) => {
                return self.with_headers(
                    Outgoing::post(url, self.media_type(), body.clone().into_bytes()),
                    &["content-type"],
                );
            }
            ("DELETE", _) => Outgoing::delete(url),
            ("HEAD", _) => Outgoing::head(url),
            _ => Outgoing::get(url),
        };
        self.with_headers(plain, &[])
    }

    fn media_type(&self) -> &str {
        self.headers.iter().find(|(name, _)| *name == "content-type").map_or("application/json", |(_, value)| value)
    }

    fn with_headers(&self, outgoing: Outgoing, except: &[&str]) -> Outgoing {
        let wanted = self.headers.iter().filter(|(name, _)| !except.contains(name));
        let outgoing = match &self.signature {
            Some(signature) => outgoing.header("stripe-signature", signature.sent.clone()),
            None => outgoing,
        };
        wanted.fold(outgoing, |outgoing, (name, value)| outgoing.header(name, value.clone()))
    }

    fn path(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The step as a shell command, which is to be run `times`.
    fn curl(&self, mask: &Mask, times: u32) -> String {
        let method = match (self.method, &self.body) {
            ("GET", _) | ("POST", Some(_)) => String::new(),
            ("HEAD", _) => " -I".to_owned(),
            (other, _) => format!(" -X {other}"),
        };
        let mut words = vec![format!("curl -sS{method}"), mask.quoted(self.url.as_str())];
        let headers = self.headers.iter().map(|(name, value)| mask.quoted(&format!("{name}: {value}")));
        words.extend(headers.map(|header| format!("-H {header}")));
        let body = self.body.as_deref().map(|body| mask.quoted(body));
        let before = match &self.signature {
            Some(Signature { command, .. }) => {
                words.push(format!("-H \"stripe-signature: {command}\""));
                words.extend(body.iter().map(|_body| "-d \"$BODY\"".to_owned()));
                format!("BODY={}; ", body.as_deref().unwrap_or_default())
            }
            None => {
                words.extend(body.iter().map(|body| format!("-d {body}")));
                String::new()
            }
        };
        let line = words.join(" ");
        match &self.keep {
            Some((variable, tail)) => format!("{before}{variable}=$({line} {tail})"),
            None if times > 1 => format!("{before}for _ in $(seq {times}); do {line}; done"),
            None => before + &line,
        }
    }
}

/// The secrets that the agent holds, under the names by which they are shown; and what only `curl` lines name, because
/// it is another each time they are run.
#[derive(Debug, Default)]
struct Mask {
    secrets: Vec<(&'static str, Secret)>,
    varies: Vec<(&'static str, Secret)>,
}

impl Mask {
    /// `text` with `$NAME` in the place of each secret.
    fn masked(&self, text: &str) -> String {
        Self::named(&self.secrets, text)
    }

    fn named<'m>(held: impl IntoIterator<Item = &'m (&'static str, Secret)>, text: &str) -> String {
        let named = |text: String, (name, secret): &(_, Secret)| text.replace(secret.expose(), &format!("${name}"));
        held.into_iter().fold(text.to_owned(), named)
    }

    /// `text` as one word of a POSIX shell, in which secrets are variables that expand.
    fn quoted(&self, text: &str) -> String {
        let all = self.secrets.iter().chain(&self.varies);
        let held: Vec<_> = all.filter(|(_, secret)| text.contains(secret.expose())).collect();
        let single = format!("'{}'", text.replace('\'', "'\\''"));
        if held.is_empty() {
            return single;
        }
        if text.contains(['"', '$', '`', '\\', '!']) {
            // Out of the single quotes, the variable in double quotes, and in again.
            let stepped_out = |word: String, (name, secret): &&(&'static str, Secret)| {
                word.replace(secret.expose(), &format!("'\"${name}\"'"))
            };
            return held.iter().fold(single, stepped_out);
        }
        format!("\"{}\"", Self::named(held, text))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_never_stands_in_a_step_and_the_curl_line_expands_it() {
        let secret = Secret::presented("eyJ.secret.x");
        let mask = Mask { secrets: vec![("TOKEN", secret.clone())], varies: vec![("WHO", Secret::presented("it"))] };
        let ask = Ask::new(Party::Provider, "POST", "http://127.0.0.1:1/d/eyJ.secret.x?a=1".parse().unwrap(), 201)
            .bearer(&secret)
            .json(&json!({"id_token": secret.expose(), "name": "it's"}));
        let shown = ask.curl(&mask, 1);
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(
            shown,
            "curl -sS \"http://127.0.0.1:1/d/$TOKEN?a=1\" -H \"authorization: Bearer $TOKEN\" \
             -H 'content-type: application/json' -d '{\"id_token\":\"'\"$TOKEN\"'\",\"name\":\"'\"$WHO\"''\\''s\"}'"
        );
        assert_eq!(mask.masked(&ask.path()), "/d/$TOKEN?a=1");
    }

    #[test]
    fn a_signed_step_signs_what_it_sends_and_its_line_signs_anew() {
        let key = Secret::presented("whsec_test");
        let mask = Mask { secrets: vec![("CODE", Secret::presented("cd_1"))], varies: Vec::new() };
        let url: Url = "http://127.0.0.1:1/oauth/token".parse().unwrap();
        let ask = Ask::new(Party::Provider, "POST", url.clone(), 200).form("code=cd_1".to_owned());
        let ask = ask.signed(&key, Timestamp::from_seconds(1_700_000_000)).keep("TOKEN", ".access_token");
        assert_eq!(
            ask.curl(&mask, 1),
            "BODY=\"code=$CODE\"; TOKEN=$(curl -sS 'http://127.0.0.1:1/oauth/token' \
             -H 'content-type: application/x-www-form-urlencoded' -H \"stripe-signature: $(sign \"$BODY\")\" \
             -d \"$BODY\" | jq -r .access_token)"
        );
        let sent = ask.signature.unwrap().sent;
        assert_eq!(sent, stripe_signature(&["whsec_test"], 1_700_000_000, b"code=cd_1"));
        let get = Ask::new(Party::Provider, "GET", url, 401).forged(Timestamp::from_seconds(1));
        let shown = get.curl(&mask, 1);
        assert!(
            shown.starts_with("BODY=; curl -sS ") && shown.ends_with("$(sign \"$BODY\" somebody-else)\""),
            "{shown}"
        );
        assert_ne!(get.signature.unwrap().sent, stripe_signature(&["whsec_test"], 1, b""));
    }
}
