//! What a catalog says in words. Agents read these texts, so they are plain: no markup, no links, no hidden characters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::unseen::unseen;

/// Plain text on one line, of 1 to `MAX` characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MAX: usize>(Box<str>);

/// A title: of the provider, a service or a plan.
pub type Title = Text<60>;
/// What a service or the provider is.
pub type Description = Text<600>;
/// A note to an agent: when to use a service, and when not.
pub type AgentNote = Text<300>;
/// The unit in which a meter counts, in the singular: `request`.
pub type Unit = Text<30>;

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing in it.
    #[error("the text is empty: write at least a word")]
    Empty,
    /// Too long.
    #[error("the text has {found} characters: write at most {most}")]
    Long {
        /// How many it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
    /// White space where none belongs.
    #[error("the text begins or ends with white space, or has two spaces in a row: remove it")]
    Space,
    /// A line break, a control character, or one that is not seen or changes the direction of reading.
    #[error("the text has the character U+{0:04X}, which is not seen or breaks the line: remove it")]
    Hidden(u32),
    /// Markup or a link.
    #[error("the text has `{0}`: write plain words without markup and links")]
    Markup(&'static str),
}

/// What begins HTML, Markdown, a template or a link. Plain prose needs none of them.
const MARKUP: [&str; 12] = ["<", ">", "`", "](", "**", "__", "##", "{", "}", "://", "\\", "|"];

impl<const MAX: usize> Text<MAX> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let found = text.chars().count();
        if found > MAX {
            return Err(InvalidText::Long { found, most: MAX });
        }
        if let Some(hidden) = unseen(text) {
            return Err(InvalidText::Hidden(u32::from(hidden)));
        }
        if text.trim().is_empty() {
            return Err(InvalidText::Empty);
        }
        let odd_space = text.chars().any(|c| c != ' ' && c.is_whitespace());
        if text.trim() != text || text.contains("  ") || odd_space {
            return Err(InvalidText::Space);
        }
        match MARKUP.into_iter().find(|markup| text.contains(markup)) {
            Some(markup) => Err(InvalidText::Markup(markup)),
            None => Ok(Self(text.into())),
        }
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A page on the web: `https`, a host, no credentials, at most 200 characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebPage(Url);

/// Not a page that people can be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a web page: write a full `https://` address without user name, at most 200 characters")]
pub struct InvalidWebPage(String);

impl FromStr for WebPage {
    type Err = InvalidWebPage;

    fn from_str(text: &str) -> Result<Self, InvalidWebPage> {
        let plain =
            text.len() <= 200 && text.starts_with("https://") && text.bytes().all(|byte| byte.is_ascii_graphic());
        text.parse::<Url>()
            .ok()
            .filter(|url| plain && url.has_host() && url.username().is_empty() && url.password().is_none())
            .map(Self)
            .ok_or_else(|| InvalidWebPage(text.chars().take(60).flat_map(char::escape_debug).collect()))
    }
}

impl fmt::Display for WebPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for WebPage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for WebPage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_prose_is_accepted_in_any_language() {
        for text in
            ["A Postgres database.", "Größe: 5 GB", "天気予報", "10 % off, today & tomorrow", "Tom's \"best\" (new)"]
        {
            assert_eq!(text.parse::<Title>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_hide_or_steer_is_refused() {
        for text in [
            "",
            " ",
            " a",
            "a ",
            "a  b",
            "a\nb",
            "a\tb",
            "a\u{200b}b",
            "a\u{202e}b",
            "a\u{e0041}b",
            "a\u{a0}b",
            "<b>a</b>",
            "[a](b)",
            "**a**",
            "`a`",
            "see https://a.example",
            "{{a}}",
        ] {
            assert!(text.parse::<Title>().is_err(), "{text:?}");
        }
        assert!("é".repeat(60).parse::<Title>().is_ok());
        assert!("é".repeat(61).parse::<Title>().is_err());
    }

    #[test]
    fn web_pages_are_https_with_a_host() {
        assert_eq!("https://acme.example/terms".parse::<WebPage>().unwrap().to_string(), "https://acme.example/terms");
        for text in [
            "http://a.example",
            "https://",
            "https://u:p@a.example",
            "javascript:alert(1)",
            "//a",
            "https://a.example/ b",
        ] {
            assert!(text.parse::<WebPage>().is_err(), "{text}");
        }
    }
}
