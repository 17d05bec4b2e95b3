//! Where a log-in link leads after it was used: a page of our own site, never another's.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use crate::login::SESSION_LIFETIME;

/// A path from the root of our own site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Onward(String);

/// Not a path of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a path on this site that begins with one `/`, as in /dashboard")]
pub(crate) struct InvalidPath;

/// The longest path, in bytes.
const MAX_PATH: usize = 512;

impl Default for Onward {
    fn default() -> Self {
        Self("/dashboard".to_owned())
    }
}

impl FromStr for Onward {
    type Err = InvalidPath;

    /// Absolute and protocol-relative addresses, backslashes (browsers read them as slashes), control characters and
    /// anything else that a header could not carry are refused, also where they are percent-encoded.
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let decoded = percent_encoding(text);
        let safe = |text: &str| {
            text.starts_with('/')
                && !text.starts_with("//")
                && !text.contains('\\')
                && !text.chars().any(char::is_control)
        };
        let visible = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if text.len() <= MAX_PATH && visible && safe(text) && safe(&decoded) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPath)
        }
    }
}

/// The text with its percent-encoding taken off, as often as there is any: proxies do it too.
fn percent_encoding(text: &str) -> String {
    let mut now = text.to_owned();
    for _ in 0..3 {
        let pair = format!("v={}", now.replace('+', "%2B").replace('&', "%26"));
        let next = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
        match next {
            Some(next) if next != now => now = next,
            _ => break,
        }
    }
    now
}

impl Onward {
    /// What stands behind the link for it; nothing for the dashboard itself.
    pub(crate) fn query(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        format!("?to={}", query.append_pair("v", &self.0).finish().trim_start_matches("v="))
    }
}

impl Onward {
    /// The page that asks for a log-in at most `within` ago, and leads here.
    pub(crate) fn log_in(&self, within: TimeDelta) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if *self != Self::default() {
            query.append_pair("to", &self.0);
        }
        if within < SESSION_LIFETIME {
            query.append_pair("max_age", &within.num_seconds().to_string());
        }
        let query = query.finish();
        if query.is_empty() { "/login".to_owned() } else { format!("/login?{query}") }
    }

    /// The path with its query.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Onward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_our_own_site_leads_on() {
        for good in ["/dashboard", "/dashboard?ledger_before=7", "/link/areq_1?state=x&y=%20z", "/", "/a%2Fb"] {
            assert_eq!(good.parse::<Onward>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "dashboard",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/%5Cevil.example",
            "/%255Cevil.example",
            "/%2Fevil.example",
            "javascript:alert(1)",
            "/a\nb",
            "/a%0d%0ab",
            "/a\tb",
            "/a b",
            "/é",
            "?x",
            "#x",
            " /dashboard",
        ] {
            assert!(bad.parse::<Onward>().is_err(), "{bad:?}");
        }
        assert!(format!("/{}", "a".repeat(512)).parse::<Onward>().is_err());
    }

    #[test]
    fn the_dashboard_needs_no_word_behind_the_link() {
        assert_eq!(Onward::default().query(), "");
        assert_eq!("/a?b=c&d".parse::<Onward>().unwrap().query(), "?to=%2Fa%3Fb%3Dc%26d");
        assert_eq!(Onward::default().log_in(SESSION_LIFETIME), "/login");
        let fresh = "/a?b=c&d".parse::<Onward>().unwrap().log_in(TimeDelta::minutes(5));
        assert_eq!(fresh, "/login?to=%2Fa%3Fb%3Dc%26d&max_age=300");
    }
}
