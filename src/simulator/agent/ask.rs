//! A request before it is made, and the shell command that repeats it.

use url::Url;

use super::Party;
use crate::clock::Timestamp;
use crate::fetch::Outgoing;
use crate::secret::Secret;
use crate::simulator::app_wire::stripe_signature;

/// A request to be made and shown.
#[derive(Debug, Clone)]
pub(in crate::simulator) struct Ask {
    pub(super) party: Party,
    pub(super) method: &'static str,
    url: Url,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    pub(super) expected: Vec<u16>,
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
    pub(in crate::simulator) fn new(party: Party, method: &'static str, url: Url, expected: u16) -> Self {
        let (headers, expected) = (Vec::new(), vec![expected]);
        Self { party, method, url, headers, body: None, expected, keep: None, signature: None }
    }

    pub(in crate::simulator) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(in crate::simulator) fn bearer(self, token: &Secret) -> Self {
        self.header("authorization", format!("Bearer {}", token.expose()))
    }

    /// Retries with the same key have the same answer.
    pub(in crate::simulator) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(in crate::simulator) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string());
        self.header("content-type", "application/json")
    }

    /// A form, encoded.
    pub(in crate::simulator) fn form(mut self, body: String) -> Self {
        self.body = Some(body);
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Signed with `secret` over the body, which stands already. The `curl` line calls `sign`, which the caller has set.
    pub(in crate::simulator) fn signed(self, secret: &Secret, at: Timestamp) -> Self {
        self.signature(secret.expose(), at, "$(sign \"$BODY\")")
    }

    /// The same with a secret that is nobody's.
    pub(in crate::simulator) fn forged(self, at: Timestamp) -> Self {
        self.signature("somebody-else", at, "$(sign \"$BODY\" somebody-else)")
    }

    fn signature(mut self, secret: &str, at: Timestamp, command: &'static str) -> Self {
        let body = self.body.as_deref().unwrap_or_default();
        let sent = stripe_signature(&[secret], at.seconds(), body.as_bytes());
        self.signature = Some(Signature { sent, command });
        self
    }

    /// This status is right as well.
    pub(in crate::simulator) fn or(mut self, status: u16) -> Self {
        self.expected.push(status);
        self
    }

    /// The same request, of which another status is right.
    pub(in crate::simulator) fn expecting(&self, status: u16) -> Self {
        Self { expected: vec![status], ..self.clone() }
    }

    /// The `curl` line keeps what this filter of `jq` finds in the answer in a shell variable.
    pub(in crate::simulator) fn keep(mut self, variable: &'static str, filter: &str) -> Self {
        let plain = filter.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
        let filter = if plain { filter.to_owned() } else { format!("'{filter}'") };
        self.keep = Some((variable, format!("| jq -r {filter}")));
        self
    }

    /// The `curl` line keeps the value of a cookie that the answer sets.
    pub(in crate::simulator) fn keep_cookie(mut self, variable: &'static str, cookie: &str) -> Self {
        let found = format!(r"s/^[Ss]et-[Cc]ookie: {cookie}=\([^;]*\).*/\1/p");
        self.keep = Some((variable, format!("-D - -o /dev/null | sed -n '{found}'")));
        self
    }

    pub(super) fn outgoing(&self) -> Outgoing {
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

    pub(super) fn path(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The step as a shell command, which is to be run `times`.
    pub(super) fn curl(&self, mask: &Mask, times: u32) -> String {
        let method = match (self.method, &self.body) {
            ("GET", _) | ("POST", Some(_)) => String::new(),
            ("HEAD", _) => " -I".to_owned(),
            (other, _) => format!(" -X {other}"),
        };
        let mut words = vec![format!("curl -sS{method}"), mask.quoted(self.url.as_str())];
        let headers = self.headers.iter().map(|(name, value)| mask.quoted(&format!("{name}: {value}")));
        words.extend(headers.map(|header| format!("-H {header}")));
        let body = self.body.as_deref().map(|body| mask.quoted(body));
        let before = if let Some(Signature { command, .. }) = &self.signature {
            words.push(format!("-H \"stripe-signature: {command}\""));
            words.extend(body.iter().map(|_body| "-d \"$BODY\"".to_owned()));
            format!("BODY={}; ", body.as_deref().unwrap_or_default())
        } else {
            words.extend(body.iter().map(|body| format!("-d {body}")));
            String::new()
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
pub(super) struct Mask {
    pub(super) secrets: Vec<(&'static str, Secret)>,
    pub(super) varies: Vec<(&'static str, Secret)>,
}

impl Mask {
    /// `text` with `$NAME` in the place of each secret.
    pub(super) fn masked(&self, text: &str) -> String {
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
