//! What an orchestrator passed on about a person: name, telephone number, country. Kept sealed, and for each orchestrator
//! apart: what one of them knows, another one does not learn by asking.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::information_store as rows;
use crate::attestation::CanonicalEmail;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::signing::{Opened, SealError, Sealer};

/// The most characters of a name.
const MAX_NAME: usize = 200;
/// The most characters of a telephone number.
const MAX_PHONE: usize = 64;

/// What can be known about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalField {
    /// The name.
    Name,
    /// An address. That of the account is known already.
    Email,
    /// A telephone number.
    Phone,
    /// Two letters (ISO 3166-1).
    Country,
}

/// No such thing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of: name, email, phone, country")]
pub struct UnknownField;

impl PersonalField {
    /// The word that is stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Country => "country",
        }
    }
}

impl FromStr for PersonalField {
    type Err = UnknownField;

    fn from_str(text: &str) -> Result<Self, UnknownField> {
        let all = [Self::Name, Self::Email, Self::Phone, Self::Country];
        all.into_iter().find(|field| field.as_str() == text).ok_or(UnknownField)
    }
}

/// Something known about a person. Never printed.
#[derive(Clone)]
pub struct PersonalFact {
    field: PersonalField,
    value: SecretString,
    verified: bool,
}

/// The text is no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .0 {
    PersonalField::Name => "a name has 1 to 200 characters, all of them visible",
    PersonalField::Email => "it is no address that we keep",
    PersonalField::Phone => "a telephone number has 1 to 64 characters, all of them visible",
    PersonalField::Country => "a country is two letters (ISO 3166-1)",
})]
pub struct InvalidFact(pub PersonalField);

impl PersonalFact {
    /// Takes what was said, without the space around it.
    ///
    /// # Errors
    /// When it is not of the form that such a thing has.
    pub fn new(field: PersonalField, said: &str, verified: bool) -> Result<Self, InvalidFact> {
        let said = said.trim();
        let short = |most: usize| (1..=most).contains(&said.chars().count()) && !said.chars().any(char::is_control);
        let good = match field {
            PersonalField::Name => short(MAX_NAME),
            PersonalField::Phone => short(MAX_PHONE),
            PersonalField::Email => said.parse::<CanonicalEmail>().is_ok(),
            PersonalField::Country => said.len() == 2 && said.bytes().all(|byte| byte.is_ascii_alphabetic()),
        };
        let value = if field == PersonalField::Country { said.to_ascii_uppercase() } else { said.to_owned() };
        if good { Ok(Self { field, value: value.into(), verified }) } else { Err(InvalidFact(field)) }
    }

    /// What it is about.
    #[must_use]
    pub fn field(&self) -> PersonalField {
        self.field
    }

    /// Seals it for its place in an account.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn seal(
        &self,
        sealer: &Sealer,
        account: &AccountId,
        orchestrator: &OrchestratorId,
    ) -> Result<SealedFact, SealError> {
        let bytes = self.value.expose_secret().as_bytes();
        Ok(SealedFact {
            field: self.field,
            sealed: sealer.seal(&place(account, orchestrator, self.field), bytes)?,
            verified: self.verified,
        })
    }
}

impl fmt::Debug for PersonalFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PersonalFact").field(&self.field).finish()
    }
}

/// The same, sealed: it opens only for its account and orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFact {
    /// What it is about.
    pub field: PersonalField,
    /// Its value.
    pub sealed: String,
    /// Whether the orchestrator says that it made sure of it.
    pub verified: bool,
}

impl SealedFact {
    /// Its value, for whoever may read it.
    ///
    /// # Errors
    /// When it was changed, or belongs elsewhere.
    pub fn open(
        &self,
        sealer: &Sealer,
        account: &AccountId,
        orchestrator: &OrchestratorId,
    ) -> Result<Opened, SealError> {
        sealer.open(&place(account, orchestrator, self.field), &self.sealed)
    }
}

fn place(account: &AccountId, orchestrator: &OrchestratorId, field: PersonalField) -> String {
    format!("accounts/{account}/information/{orchestrator}/{}", field.as_str())
}

/// Keeps what an orchestrator passed on; what it says last counts. Call it inside `Db::write`; a unique violation means
/// that it said the same at the same moment: call again.
///
/// # Errors
/// When the database fails.
pub fn remember(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    facts: &[SealedFact],
    now: Timestamp,
) -> Result<(), DbError> {
    for fact in facts {
        rows::set(conn, (account, orchestrator), fact, now)?;
    }
    Ok(())
}

/// What of `wanted` an orchestrator has not passed on yet.
///
/// # Errors
/// When the database fails.
pub fn lacking(
    conn: &mut DbConnection,
    (account, orchestrator): (&AccountId, &OrchestratorId),
    wanted: &[PersonalField],
) -> Result<Vec<PersonalField>, DbError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut known: Vec<PersonalField> =
        rows::of(conn, account, Some(orchestrator))?.into_iter().map(|(_, fact)| fact.field).collect();
    if super::store::by_id(conn, account)?.is_some_and(|account| account.email.is_some()) {
        known.push(PersonalField::Email);
    }
    Ok(wanted.iter().copied().filter(|field| !known.contains(field)).collect())
}

/// Everything that was passed on about the person of an account, and by whom.
///
/// # Errors
/// When the database fails.
pub fn information(conn: &mut DbConnection, account: &AccountId) -> Result<Vec<(OrchestratorId, SealedFact)>, DbError> {
    rows::of(conn, account, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_its_form_and_is_never_printed() {
        let good = |field, text: &str| PersonalFact::new(field, text, true).is_ok();
        assert!(good(PersonalField::Name, " Dana Ruiz ") && good(PersonalField::Phone, "+49 30 1234"));
        assert!(good(PersonalField::Country, "de") && good(PersonalField::Email, "dana@example.com"));
        for (field, text) in [
            (PersonalField::Name, " "),
            (PersonalField::Name, "a\nb"),
            (PersonalField::Name, &"x".repeat(201)),
            (PersonalField::Phone, &"1".repeat(65)),
            (PersonalField::Country, "DEU"),
            (PersonalField::Country, "D1"),
            (PersonalField::Email, "nobody"),
        ] {
            assert_eq!(PersonalFact::new(field, text, false).unwrap_err(), InvalidFact(field), "{text:?}");
        }
        let fact = PersonalFact::new(PersonalField::Name, "Dana Ruiz", true).unwrap();
        assert!(!format!("{fact:?}").contains("Dana"));
        assert_eq!(fact.field(), PersonalField::Name);
    }
}
