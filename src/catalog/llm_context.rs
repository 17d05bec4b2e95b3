//! A page about a service, written for agents: longer than the notes, several lines, published with its digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::secret::sha256_name;
use crate::unseen::unseen;

/// The text and its digest, which is computed and never taken from elsewhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Draft")]
pub struct LlmContext {
    digest: String,
    text: String,
}

/// As published, before the digest was checked.
#[derive(Deserialize)]
struct Draft {
    digest: String,
    text: String,
}

/// Why a page is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLlmContext {
    /// Nothing in it.
    #[error("the page is empty: write at least a sentence, or leave `llm_context` out")]
    Empty,
    /// Too long.
    #[error("the page has {0} bytes: write at most {max}", max = LlmContext::MAX_BYTES)]
    Long(usize),
    /// A character that is not seen.
    #[error("line {line} of the page has the character U+{found:04X}, which is not seen: remove it")]
    Hidden {
        /// From 1.
        line: usize,
        /// Its code point.
        found: u32,
    },
    /// A published page that is not the one its digest names.
    #[error("the page does not have the digest that stands beside it")]
    Digest,
}

impl LlmContext {
    /// The most bytes of a page.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// The page, in the Markdown that its author wrote.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `sha256:` and the digest of the text in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl FromStr for LlmContext {
    type Err = InvalidLlmContext;

    fn from_str(text: &str) -> Result<Self, InvalidLlmContext> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidLlmContext::Long(text.len()));
        }
        if text.trim().is_empty() {
            return Err(InvalidLlmContext::Empty);
        }
        // Lines may end as on Windows; everything else that is not seen could say to an agent what no human reads.
        for (index, line) in text.lines().enumerate() {
            if let Some(hidden) = unseen(&line.replace('\t', " ")) {
                return Err(InvalidLlmContext::Hidden { line: index + 1, found: u32::from(hidden) });
            }
        }
        Ok(Self { digest: sha256_name(text.as_bytes()), text: text.to_owned() })
    }
}

impl TryFrom<Draft> for LlmContext {
    type Error = InvalidLlmContext;

    fn try_from(draft: Draft) -> Result<Self, InvalidLlmContext> {
        let read: Self = draft.text.parse()?;
        if read.digest == draft.digest { Ok(read) } else { Err(InvalidLlmContext::Digest) }
    }
}

/// Long texts stay out of logs.
impl fmt::Debug for LlmContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LlmContext({}, {} bytes)", self.digest, self.text.len())
    }
}

/// The name of a page beside the file of its service: `postgres.md`. Never a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PageFile(String);

/// Not the name of a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a page: write a file beside this one, such as `postgres.md`, or `{{ text = \"…\" }}`"
)]
pub(super) struct InvalidPageFile(String);

impl PageFile {
    /// Its path in the catalog folder.
    pub(super) fn path(&self) -> String {
        format!("services/{}", self.0)
    }
}

impl FromStr for PageFile {
    type Err = InvalidPageFile;

    fn from_str(text: &str) -> Result<Self, InvalidPageFile> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = text.len() <= 100
            && text.bytes().all(plain)
            && text.strip_suffix(".md").is_some_and(|stem| stem.starts_with(|c: char| c.is_ascii_alphanumeric()));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPageFile(text.chars().take(64).flat_map(char::escape_debug).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_lines_and_its_digest() {
        let page: LlmContext = "# Postgres\n\nUse `psql`.\n".parse().unwrap();
        let published = serde_json::to_value(&page).unwrap();
        assert_eq!(published["digest"], sha256_name(b"# Postgres\n\nUse `psql`.\n"));
        assert_eq!(serde_json::from_value::<LlmContext>(published.clone()).unwrap(), page);
        let mut changed = published;
        changed["text"] = "# Postgres\n\nUse `curl`.\n".into();
        assert!(serde_json::from_value::<LlmContext>(changed).is_err());
    }

    #[test]
    fn what_is_not_seen_is_refused_with_its_line() {
        let told = "fine\nnot\u{200b} fine".parse::<LlmContext>().unwrap_err();
        assert_eq!(told, InvalidLlmContext::Hidden { line: 2, found: 0x200b });
        assert_eq!(" \n".parse::<LlmContext>(), Err(InvalidLlmContext::Empty));
        assert!("a".repeat(LlmContext::MAX_BYTES).parse::<LlmContext>().is_ok());
        assert!("a".repeat(LlmContext::MAX_BYTES + 1).parse::<LlmContext>().is_err());
    }

    #[test]
    fn a_page_stands_beside_its_service() {
        assert_eq!("postgres.md".parse::<PageFile>().unwrap().path(), "services/postgres.md");
        for text in ["../postgres.md", "/etc/passwd", "a/b.md", ".md", ".hidden.md", "postgres.toml", "a b.md", ""] {
            assert!(text.parse::<PageFile>().is_err(), "{text:?}");
        }
    }
}
