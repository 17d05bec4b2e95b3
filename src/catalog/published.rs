//! The published document: RFC 8785 canonical JSON, named by the digest of its bytes.

use std::fmt;

use chrono::TimeDelta;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::BigInt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::service::{Provider, Service};
use crate::clock::Timestamp;
use crate::secret::sha256_name;
use crate::signing::canonical_json;

/// How long a revision is good for after it was issued.
pub(super) const LIFETIME: TimeDelta = TimeDelta::hours(24);
/// The most bytes of a document.
pub(super) const MAX_DOCUMENT: usize = 2 * 1024 * 1024;
/// The `typ` of the signed form.
pub(super) const JWS_TYPE: &str = "catalog+jws";

/// The number of a revision: from 1, growing by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[serde(try_from = "i64", into = "i64")]
#[diesel(sql_type = BigInt)]
pub struct Version(i64);

/// Not the number of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a revision is numbered from 1 to 9007199254740991")]
pub struct InvalidVersion;

impl Version {
    /// The first.
    pub const FIRST: Self = Self(1);
    /// Beyond this, a JSON number would no longer be exact.
    const LAST: i64 = (1 << 53) - 1;

    /// The number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// The one after this.
    pub(super) fn next(self) -> Result<Self, InvalidVersion> {
        Self::try_from(self.0.saturating_add(1))
    }
}

impl TryFrom<i64> for Version {
    type Error = InvalidVersion;

    fn try_from(number: i64) -> Result<Self, InvalidVersion> {
        if (1..=Self::LAST).contains(&number) { Ok(Self(number)) } else { Err(InvalidVersion) }
    }
}

impl From<Version> for i64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Version
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Version
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::try_from(i64::from_sql(bytes)?)?)
    }
}

/// A published document as it reads. The bytes are what counts: keep them beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// The issuer: the provider's base URL without a trailing slash.
    pub iss: String,
    /// Which revision.
    pub version: Version,
    /// The digest of the revision before; none for the first.
    pub prev: Option<String>,
    /// When this revision was signed.
    pub issued_at: Timestamp,
    /// When it is no longer to be believed: at most 24 hours later.
    pub expires_at: Timestamp,
    /// Who sells.
    pub provider: Provider,
    /// What.
    pub services: Vec<Service>,
}

/// The members that each issue has anew.
const EACH_ISSUE: [&str; 4] = ["version", "prev", "issued_at", "expires_at"];

/// What a catalog says without when it was said: `iss`, `provider`, `services`.
///
/// Kept as JSON and not as our types, so that issuing again never loses a member that an older or newer program wrote.
#[derive(Clone, Debug)]
pub(super) struct Said(Map<String, Value>);

impl Said {
    pub(super) fn new(iss: &str, content: &super::Content) -> Result<Self, serde_json::Error> {
        let mut members = Map::new();
        members.insert("iss".to_owned(), Value::from(iss));
        members.insert("provider".to_owned(), serde_json::to_value(&content.provider)?);
        members.insert("services".to_owned(), serde_json::to_value(&content.services)?);
        Ok(Self(members))
    }

    /// What a published document says.
    pub(super) fn of(document: &[u8]) -> Result<Self, serde_json::Error> {
        let mut members: Map<String, Value> = serde_json::from_slice(document)?;
        for name in EACH_ISSUE {
            members.remove(name);
        }
        Ok(Self(members))
    }

    /// Tells a change from the same said again.
    pub(super) fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(sha256_name(&canonical_json(&self.0)?))
    }

    /// The canonical bytes of a revision that says this.
    pub(super) fn issue(
        &self,
        version: Version,
        prev: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let mut members = self.0.clone();
        members.insert("version".to_owned(), Value::from(version.number()));
        members.insert("prev".to_owned(), prev.map_or(Value::Null, Value::from));
        members.insert("issued_at".to_owned(), Value::from(at.to_rfc3339()));
        members.insert("expires_at".to_owned(), Value::from(at.plus(LIFETIME).to_rfc3339()));
        canonical_json(&members)
    }
}
