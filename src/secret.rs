//! Secrets: what a client holds, and what we keep of it. Neither prints; only hashes of bearer secrets are stored.

use std::fmt;

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// The plain half of a bearer secret: 256 random bits behind a readable prefix. Given out once, never stored, never printed.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// A new secret `prefix_` + 43 characters of base64url (256 random bits).
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn generate(prefix: &str) -> Result<Self, NoRandomness> {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes).map_err(|_unspecified| NoRandomness)?;
        Ok(Self(format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes)).into()))
    }

    /// Takes a secret that somebody presented.
    #[must_use]
    pub fn presented(text: &str) -> Self {
        Self(text.to_owned().into())
    }

    /// The text. Call it only to hand the secret to its owner or to send it where it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What we keep of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.expose())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

/// The system's random source failed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoRandomness;

/// SHA-256 of a bearer secret, as base64url. Enough for secrets of 256 random bits; never used for passwords.
#[derive(Clone, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct SecretHash(String);

impl SecretHash {
    /// The hash of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(sha256_base64url(text.as_bytes()))
    }

    /// Whether `text` is the secret, in constant time.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self == &Self::of(text)
    }

    /// The hash as text, for keys of tables.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(****)")
    }
}

impl<DB: Backend> ToSql<Text, DB> for SecretHash
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.as_str().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for SecretHash
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        String::from_sql(bytes).map(Self)
    }
}

/// SHA-256 as base64url without padding.
#[must_use]
pub fn sha256_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 as `sha256:` and lower-case hexadecimal: the form in which documents name each other.
#[must_use]
pub fn sha256_name(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut name = String::from("sha256:");
    for byte in digest::digest(&digest::SHA256, bytes).as_ref() {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::generate("dl").unwrap();
        let shown = format!("{secret:?} {:?}", secret.hash());
        assert!(!shown.contains(secret.expose()));
        assert!(!shown.contains(secret.hash().as_str()));
    }

    #[test]
    fn a_hash_knows_its_secret_and_no_other() {
        let secret = Secret::generate("dl").unwrap();
        assert!(secret.hash().matches(secret.expose()));
        assert!(!secret.hash().matches("dl_other"));
    }
}
