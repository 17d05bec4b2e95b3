//! Proof Key for Code Exchange (RFC 7636): whoever redeems a code proves that they are who asked for it. `S256` only.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::secret::{Secret, sha256_base64url};

/// The lengths that verifiers and challenges may have (RFC 7636 §4.1, §4.2).
const LENGTHS: std::ops::RangeInclusive<usize> = 43..=128;

/// `code_challenge`: base64url of the SHA-256 of a verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChallenge(String);

/// `code_verifier`. Secret.
#[derive(Debug, Clone)]
pub struct CodeVerifier(SecretString);

/// Not a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code challenge has 43 to 128 characters of base64url")]
pub struct InvalidChallenge;

/// Not a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code verifier has 43 to 128 characters of A-Z a-z 0-9 - . _ ~")]
pub struct InvalidVerifier;

impl CodeChallenge {
    /// One whose verifier nobody gets to know: `secret` is thrown away.
    #[must_use]
    pub(super) fn nobodys(secret: &Secret) -> Self {
        Self(sha256_base64url(secret.expose().as_bytes()))
    }

    /// The text as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `verifier` is the one behind this challenge (RFC 7636 §4.6), in constant time.
    #[must_use]
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        let transformed = sha256_base64url(verifier.0.expose_secret().as_bytes());
        transformed.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl FromStr for CodeChallenge {
    type Err = InvalidChallenge;

    fn from_str(text: &str) -> Result<Self, InvalidChallenge> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if LENGTHS.contains(&text.len()) && plain { Ok(Self(text.to_owned())) } else { Err(InvalidChallenge) }
    }
}

impl FromStr for CodeVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
        if LENGTHS.contains(&text.len()) && plain { Ok(Self(text.to_owned().into())) } else { Err(InvalidVerifier) }
    }
}

impl fmt::Display for CodeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_standard_holds() {
        // RFC 7636, Appendix B.
        let challenge: CodeChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".parse().unwrap();
        assert!(challenge.is_met_by(&"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".parse().unwrap()));
        assert!(!challenge.is_met_by(&"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK".parse().unwrap()));
        // `plain` is not spoken: the challenge itself proves nothing.
        assert!(!challenge.is_met_by(&challenge.as_str().parse().unwrap()));
    }

    #[test]
    fn lengths_and_letters_are_those_of_the_standard() {
        for length in [0, 42, 129] {
            assert!("a".repeat(length).parse::<CodeChallenge>().is_err(), "{length}");
            assert!("a".repeat(length).parse::<CodeVerifier>().is_err(), "{length}");
        }
        for length in [43, 128] {
            assert!("a".repeat(length).parse::<CodeChallenge>().is_ok(), "{length}");
            assert!("~".repeat(length).parse::<CodeVerifier>().is_ok(), "{length}");
        }
        for bad in ["+", "/", "=", ".", "~", " ", "é", "\0"] {
            assert!(format!("{}{bad}", "a".repeat(50)).parse::<CodeChallenge>().is_err(), "{bad:?}");
        }
        for bad in ["+", "/", "=", " ", "é", "\0"] {
            assert!(format!("{}{bad}", "a".repeat(50)).parse::<CodeVerifier>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn only_its_own_verifier_meets_a_challenge(one in "[A-Za-z0-9._~-]{43,128}", two in "[A-Za-z0-9._~-]{43,128}") {
            let challenge: CodeChallenge = sha256_base64url(one.as_bytes()).parse().unwrap();
            prop_assert!(challenge.is_met_by(&one.parse().unwrap()));
            prop_assert_eq!(challenge.is_met_by(&two.parse().unwrap()), one == two);
        }
    }
}
