//! E-mail addresses as hints. Two addresses are the same when their canonical forms are, byte for byte; an address that
//! only looks the same (UTS 39) is noticed, never confused.

use std::fmt;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;

use crate::mail;
use crate::orchestrator::EmailDomain;

/// The longest address, in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS: usize = 254;
/// The longest part before the `@`, in bytes (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL: usize = 64;

/// How far the word of an issuer about an address goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailTrust {
    /// `email_verified` is literally `true`, and the issuer is an authority over the domain.
    Verified,
    /// `email_verified` is literally `true`, of an issuer that is no authority over the domain: never enough to recover
    /// or to match an account.
    Asserted,
    /// `email_verified` is anything else: no contact until the address has answered.
    Unverified,
}

/// A stored word that is no trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trust in an address is one of: verified, asserted, unverified")]
pub struct UnknownTrust;

impl EmailTrust {
    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Asserted => "asserted",
            Self::Unverified => "unverified",
        }
    }
}

impl FromStr for EmailTrust {
    type Err = UnknownTrust;

    fn from_str(text: &str) -> Result<Self, UnknownTrust> {
        match text {
            "verified" => Ok(Self::Verified),
            "asserted" => Ok(Self::Asserted),
            "unverified" => Ok(Self::Unverified),
            _ => Err(UnknownTrust),
        }
    }
}

/// An address that an orchestrator gave for a person.
#[derive(Clone, PartialEq, Eq)]
pub struct AssertedEmail {
    /// As it was written: mail goes there and nowhere else.
    pub original: String,
    /// Its one spelling, and what it looks like.
    pub canonical: CanonicalEmail,
    /// How far the orchestrator's word goes.
    pub trust: EmailTrust,
}

impl AssertedEmail {
    /// `None`: mail cannot be sent to what is written, so it is no address that we keep, whatever its one spelling is.
    #[must_use]
    pub(super) fn new(original: &str, canonical: CanonicalEmail, trust: EmailTrust) -> Option<Self> {
        mail::is_addressable(original).then(|| Self { original: original.to_owned(), canonical, trust })
    }
}

impl fmt::Debug for AssertedEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertedEmail").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// The one spelling of an address: local part in NFC with ASCII letters in lower case, domain as A-label.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalEmail {
    address: String,
    domain: EmailDomain,
}

/// Not an address that we keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address that we keep")]
pub struct InvalidEmail;

impl CanonicalEmail {
    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> &EmailDomain {
        &self.domain
    }

    /// What the address looks like: equal for addresses that a person could confuse.
    #[must_use]
    pub fn skeleton(&self) -> String {
        let (local, _) = self.address.rsplit_once('@').unwrap_or((&self.address, ""));
        format!("{}@{}", skeleton(local).collect::<String>(), self.shown_domain())
    }

    /// What its domain looks like.
    fn shown_domain(&self) -> String {
        let domain = self.domain.as_str().as_bytes();
        let (shown, _) = Uts46::new().to_unicode(domain, AsciiDenyList::STD3, Hyphens::Allow);
        skeleton(&shown).collect()
    }

    /// What the address and its aliases have in common: no tag, at Google no dots, and of look-alikes one. Limits are
    /// counted by it; it never finds anybody, because other houses read tags and dots otherwise.
    #[must_use]
    pub fn fold(&self) -> String {
        let (local, domain) = self.address.rsplit_once('@').unwrap_or((&self.address, ""));
        let bare = local.split('+').next().filter(|bare| !bare.is_empty()).unwrap_or(local);
        let google = matches!(domain, "gmail.com" | "googlemail.com");
        let bare = if google { bare.replace('.', "") } else { bare.to_owned() };
        let shown = if google { "gmail.com".to_owned() } else { self.shown_domain() };
        format!("{}@{shown}", skeleton(&bare).collect::<String>())
    }
}

impl fmt::Debug for CanonicalEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CanonicalEmail(****)")
    }
}

impl FromStr for CanonicalEmail {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        if text.len() > MAX_ADDRESS {
            return Err(InvalidEmail);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        if !is_local(local) {
            return Err(InvalidEmail);
        }
        let domain: EmailDomain = domain.parse().map_err(|_not_a_domain| InvalidEmail)?;
        let local = local.nfc().collect::<String>().to_ascii_lowercase();
        let address = format!("{local}@{domain}");
        if address.len() > MAX_ADDRESS {
            return Err(InvalidEmail);
        }
        Ok(Self { address, domain })
    }
}

/// A dot-atom (RFC 5322 §3.2.3), with letters and digits of any script beside the ASCII ones (RFC 6531 §3.3). Quoted
/// local parts are refused, and so are characters that normalisation would turn into ASCII (the Kelvin sign into `K`):
/// somebody else's mailbox must not become this one.
fn is_local(local: &str) -> bool {
    let allowed = |c: char| match c {
        '.' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c),
        _ => (c.is_alphanumeric() || is_combining_mark(c)) && !std::iter::once(c).nfc().any(|n| n.is_ascii()),
    };
    !local.is_empty()
        && local.len() <= MAX_LOCAL
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        text.parse::<CanonicalEmail>().unwrap().as_str().to_owned()
    }

    fn look_alike(a: &str, b: &str) -> bool {
        let (a, b): (CanonicalEmail, CanonicalEmail) = (a.parse().unwrap(), b.parse().unwrap());
        a != b && a.skeleton() == b.skeleton()
    }

    #[test]
    fn an_address_has_one_spelling() {
        for (written, kept) in [
            ("Mike@Example.COM", "mike@example.com"),
            ("mike@example.com.", "mike@example.com"),
            ("m.i.k.e@example.com", "m.i.k.e@example.com"),
            ("mike+tag@example.com", "mike+tag@example.com"),
            ("mike@bücher.example", "mike@xn--bcher-kva.example"),
            ("mike@xn--bcher-kva.example", "mike@xn--bcher-kva.example"),
            ("mike@straße.example", "mike@xn--strae-oqa.example"),
            // Decomposed and composed are the same letter.
            ("ame\u{301}lie@example.com", "amélie@example.com"),
        ] {
            assert_eq!(canonical(written), kept, "{written}");
        }
    }

    #[test]
    fn addresses_that_are_not_the_same_do_not_become_the_same() {
        for (one, other) in [
            ("m\u{131}ke@example.com", "mike@example.com"),
            ("mi\u{17f}e@example.com", "mise@example.com"),
            ("stra\u{df}e@example.com", "strasse@example.com"),
            ("mike@stra\u{df}e.example", "mike@strasse.example"),
            ("mike@\u{435}xample.com", "mike@example.com"),
            ("mike+tag@example.com", "mike@example.com"),
            ("m.ike@example.com", "mike@example.com"),
            ("\u{130}@example.com", "i@example.com"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn look_alikes_are_noticed() {
        assert!(look_alike("m\u{131}ke@example.com", "mike@example.com"));
        assert!(look_alike("mike@\u{435}xample.com", "mike@example.com"));
        assert!(look_alike("mike@xn--xample-2of.com", "mike@example.com"));
        assert!(!look_alike("mike@example.com", "nike@example.com"));
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}.example", "a.".repeat(130));
        for text in [
            "",
            "mike",
            "@example.com",
            "mike@",
            "mi\u{212a}e@example.com",
            "mike\u{ff20}example.com",
            "mike\u{ff20}evil.example@example.com",
            "a@b@example.com",
            "\"mike\"@example.com",
            "\"a@b\"@example.com",
            "mike @example.com",
            "mike\0@example.com",
            "mike\n@example.com",
            "mike\u{a0}@example.com",
            "mike\u{200b}@example.com",
            ".mike@example.com",
            "mike.@example.com",
            "mi..ke@example.com",
            "Mike <mike@example.com>",
            "mike@[127.0.0.1]",
            "mike@exa mple.com",
            "mike@example..com",
            "mike@example.com..",
            "mike(c)@example.com",
            &long_local,
            &long,
        ] {
            assert!(text.parse::<CanonicalEmail>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(local in "[a-zA-Zäöüß0-9+]{1,20}", domain in "[a-zA-Zäöü]{1,10}\\.[a-z]{2,5}") {
            let once = canonical(&format!("{local}@{domain}"));
            prop_assert_eq!(canonical(&once), once);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,300}") {
            let _ = text.parse::<CanonicalEmail>();
        }
    }
}
