//! The code that a human types: short, without vowels and look-alikes (RFC 8628 §6.1), and good for little, because only
//! somebody who logged in may type one, and only so often.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;

use crate::secret::NoRandomness;

/// 20 letters: eight of them are 34 random bits.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many letters.
const LENGTH: usize = 8;
/// Bytes below this fall on every letter equally often.
const FAIR: u8 = 240;

/// Eight letters. Shown as `BCDF-GHJK`; typed in any case, with anything in between.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode(String);

/// Not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code has eight letters, such as BCDF-GHJK")]
pub struct InvalidUserCode;

impl UserCode {
    /// A new one.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut code = String::with_capacity(LENGTH);
        while code.len() < LENGTH {
            let mut bytes = [0_u8; 16];
            rand::fill(&mut bytes).map_err(|_unspecified| NoRandomness)?;
            let letters =
                bytes.iter().filter(|byte| **byte < FAIR).filter_map(|byte| LETTERS.get(usize::from(byte % 20)));
            code.extend(letters.take(LENGTH - code.len()).map(|letter| char::from(*letter)));
        }
        Ok(Self(code))
    }

    /// The letters alone.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As people read it. Only for its owner.
    #[must_use]
    pub fn expose(&self) -> String {
        let (left, right) = self.0.split_at(LENGTH / 2);
        format!("{left}-{right}")
    }
}

impl FromStr for UserCode {
    type Err = InvalidUserCode;

    fn from_str(text: &str) -> Result<Self, InvalidUserCode> {
        if text.len() > 64 {
            return Err(InvalidUserCode);
        }
        let letters: String =
            text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
        let known = letters.bytes().all(|letter| LETTERS.contains(&letter));
        if known && letters.len() == LENGTH { Ok(Self(letters)) } else { Err(InvalidUserCode) }
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf – ghjk ", "B C D F G H J K"] {
            assert_eq!(typed.parse::<UserCode>().unwrap().expose(), "BCDF-GHJK", "{typed}");
        }
        for wrong in ["", "BCDF", "BCDF-GHJA", "BCDF-GHJ1", "BCDF-GHJKL", &"B".repeat(65)] {
            assert!(wrong.parse::<UserCode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn codes_differ_use_every_letter_and_do_not_print() {
        let codes: BTreeSet<String> = (0..500).map(|_| UserCode::generate().unwrap().0).collect();
        assert_eq!(codes.len(), 500);
        let letters: BTreeSet<u8> = codes.iter().flat_map(|code| code.bytes()).collect();
        assert_eq!(letters, LETTERS.iter().copied().collect());
        let code = UserCode::generate().unwrap();
        assert_eq!(format!("{code:?}"), "UserCode(****)");
        assert_eq!(code.expose().parse::<UserCode>().unwrap(), code);
    }
}
