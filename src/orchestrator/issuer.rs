//! The values of a registration that have a rule.

use std::fmt;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use url::Url;

use crate::unseen::unseen;

/// An issuer identifier (OpenID Connect Discovery 1.0 §3): kept as written, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Issuer(String);

/// Not an issuer identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an issuer: write its https URL exactly as in its `iss`, without query and fragment")]
pub struct InvalidIssuer(pub String);

impl Issuer {
    /// The text, exactly as the issuer writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Issuer {
    type Err = InvalidIssuer;

    fn from_str(text: &str) -> Result<Self, InvalidIssuer> {
        let refused = || InvalidIssuer(text.chars().take(80).collect());
        let url = Url::parse(text).map_err(|_not_a_url| refused())?;
        // Plain http passes here and is refused where it is fetched, unless the configuration names its host.
        let well_formed = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && text.len() <= 255
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if well_formed { Ok(Self(text.to_owned())) } else { Err(refused()) }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What people call an orchestrator: 1 to 64 characters, all of them seen, no space at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrchestratorName(String);

/// Not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Too short, too long, or not trimmed.
    #[error("the orchestrator's name has 1 to 64 characters and no space at either end")]
    Form,
    /// A control, or a character that is not seen or changes how others are read.
    #[error("the orchestrator's name has the character U+{0:04X}, which is not seen or changes how others are read")]
    Unseen(u32),
}

impl OrchestratorName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrchestratorName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let length = text.chars().count();
        if let Some(c) = unseen(text) {
            return Err(InvalidName::Unseen(u32::from(c)));
        }
        let fits = (1..=64).contains(&length) && text.trim() == text;
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidName::Form) }
    }
}

impl fmt::Display for OrchestratorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mail domain as an A-label in lower case (UTS 46, non-transitional), without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailDomain(String);

/// Not a mail domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mail domain: write it like `example.com`")]
pub struct InvalidEmailDomain(pub String);

impl EmailDomain {
    /// The A-label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailDomain {
    type Err = InvalidEmailDomain;

    fn from_str(text: &str) -> Result<Self, InvalidEmailDomain> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        Uts46::new()
            .to_ascii(bare.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map(|ascii| Self(ascii.into_owned()))
            .map_err(|_not_a_domain| InvalidEmailDomain(text.chars().take(80).collect()))
    }
}

impl fmt::Display for EmailDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_kept_as_written() {
        for text in
            ["https://id.example.com", "https://id.example.com/", "http://127.0.0.1:9000", "https://a.example/t/1"]
        {
            assert_eq!(text.parse::<Issuer>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "id.example.com",
            "https://a.example/?x",
            "https://a.example/#x",
            "https://u@a.example",
            "ftp://a.example",
            "https://a.example/ ",
            "https://exämple.com",
        ] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mail_domain_has_one_spelling() {
        for (written, kept) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(written.parse::<EmailDomain>().unwrap().as_str(), kept);
        }
        for text in ["", ".", "a..b", "a b.example", "-a.example", "a@b.example", "[127.0.0.1]"] {
            assert!(text.parse::<EmailDomain>().is_err(), "{text}");
        }
    }
}
