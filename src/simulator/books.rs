//! The issuer's books: what was authorized, captured and voided on which payment token. Pure rules, no HTTP.
//!
//! Promises: captured + open authorizations of a token never pass its limit in a period, and those of a user at one
//! provider never pass the cap of the month; the same key with the same
//! request has the same answer; a capture never passes its authorization; nothing is both captured and voided.
//! An authorization that exists when its token expires or is revoked stays capturable: it was promised.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::registry::Cap;
use super::tokens::{Promised, Recurring};
use crate::clock::{Period, Timestamp};
use crate::ids::{Id, Named};
use crate::money::{Amount, Currency};
use crate::secret::sha256_name;

/// How long an authorization can be captured.
const GOOD_FOR: TimeDelta = TimeDelta::days(7);

#[derive(Debug)]
enum AuthorizationKind {}
impl Named for AuthorizationKind {
    const PREFIX: &'static str = "auth";
}

/// Where an authorization stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationStatus {
    /// Reserved at the issuer.
    Authorized,
    /// Taken; what was not taken is free again.
    Captured,
    /// Given back.
    Voided,
    /// Never captured in its seven days, and so given back.
    Expired,
}

/// An authorization as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// The issuer's name for it.
    pub id: String,
    /// The provider's name for it: the hold.
    pub reference: String,
    /// Where it stands.
    pub status: AuthorizationStatus,
    /// Minor units.
    pub amount: Amount,
    /// Minor units taken.
    pub captured: Amount,
    /// Of both.
    pub currency: Currency,
    /// Until when it can be captured.
    pub expires_at: Timestamp,
}

/// What the provider asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) payment_token: String,
    pub(super) reference: String,
    pub(super) amount: Amount,
    pub(super) currency: Currency,
    #[serde(default)]
    pub(super) description: String,
}

/// Why the issuer does not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("The amount passes what is left of the payment token's limit: {left} minor units.")]
    LimitExceeded { left: i64 },
    #[error("The amount passes what is left of the user's monthly limit for this provider: {left} minor units.")]
    CapExceeded { left: i64 },
    #[error("The payment token has expired.")]
    TokenExpired,
    #[error("The payment token was revoked by the user.")]
    TokenRevoked,
    #[error("The payment was declined.")]
    Declined,
    #[error("{0}")]
    TokenInvalid(&'static str),
    #[error("The payment token is for another currency.")]
    CurrencyMismatch,
    #[error("The amount must be at least one minor unit.")]
    AmountInvalid,
    #[error("The idempotency key was used for another request.")]
    KeyReused,
    #[error("There is no such authorization.")]
    NotFound,
    #[error("The capture is larger than the authorization.")]
    CaptureExceedsAuthorization,
    #[error("The authorization was captured already.")]
    AlreadyCaptured,
    #[error("The authorization was voided.")]
    AlreadyVoided,
    #[error("The authorization has expired.")]
    AuthorizationExpired,
}

impl Refused {
    /// Status and code on the wire.
    pub(super) fn wire(&self) -> (u16, &'static str) {
        match self {
            Self::LimitExceeded { .. } | Self::CapExceeded { .. } => (402, "limit_exceeded"),
            Self::TokenExpired => (402, "token_expired"),
            Self::TokenRevoked => (402, "token_revoked"),
            Self::Declined => (402, "declined"),
            Self::TokenInvalid(_) => (400, "token_invalid"),
            Self::CurrencyMismatch => (400, "currency_mismatch"),
            Self::AmountInvalid => (400, "amount_invalid"),
            Self::KeyReused => (409, "idempotency_key_reused"),
            Self::NotFound => (404, "not_found"),
            Self::CaptureExceedsAuthorization => (409, "capture_exceeds_authorization"),
            Self::AlreadyCaptured => (409, "already_captured"),
            Self::AlreadyVoided => (409, "already_voided"),
            Self::AuthorizationExpired => (409, "authorization_expired"),
        }
    }

    /// Whether the answer is kept under the key: a decision about the money, not a remark about the request.
    fn is_decision(&self) -> bool {
        self.wire().0 == 402
    }
}

/// One line of the books.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BookEntry {
    /// As on the wire.
    #[serde(flatten)]
    pub authorization: Authorization,
    /// The client id of the provider that asked.
    pub provider: String,
    /// Whose payment token it was.
    pub subject: String,
    /// The `jti` of the payment token.
    pub payment_token: String,
    /// What it was for, in the provider's words.
    pub description: String,
    /// When.
    pub created_at: Timestamp,
}

impl BookEntry {
    /// What counts against the token's limit.
    fn counted(&self) -> Amount {
        match self.authorization.status {
            AuthorizationStatus::Authorized => self.authorization.amount,
            AuthorizationStatus::Captured => self.authorization.captured,
            AuthorizationStatus::Voided | AuthorizationStatus::Expired => Amount::ZERO,
        }
    }
}

/// Sums of one currency, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Reserved and not yet decided.
    pub open: i64,
    /// Taken.
    pub captured: i64,
}

/// The whole books at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BooksSnapshot {
    /// Every authorization, oldest first.
    pub authorizations: Vec<BookEntry>,
    /// Sums by currency code.
    pub totals: BTreeMap<String, Totals>,
}

type Answer = Result<Authorization, Refused>;

#[derive(Default)]
pub(super) struct Books {
    entries: BTreeMap<String, BookEntry>,
    answered: HashMap<String, (String, Answer)>,
    revoked: HashSet<String>,
    /// What each seller may take per user and month; a seller that is missing here has no such limit.
    caps: HashMap<String, Vec<Cap>>,
    changed: BTreeSet<String>,
    newly_answered: BTreeSet<String>,
    newly_revoked: BTreeSet<String>,
}

impl Books {
    /// Reserves `asked.amount` on the token, or says why not. `declined` is the bank saying no.
    pub(super) fn authorize(
        &mut self,
        key: &str,
        asked: &Asked,
        promised: Result<Promised, &'static str>,
        declined: bool,
        now: Timestamp,
    ) -> Answer {
        let request = digest_of(asked);
        if let Some((before, answer)) = self.answered.get(key) {
            return if *before == request { answer.clone() } else { Err(Refused::KeyReused) };
        }
        self.expire(now);
        let answer = promised
            .map_err(Refused::TokenInvalid)
            .and_then(|promised| self.judge(asked, &promised, declined, now).map(|()| promised))
            .map(|promised| self.enter(asked, promised, now));
        if answer.as_ref().err().is_none_or(Refused::is_decision) {
            self.answered.insert(key.to_owned(), (request, answer.clone()));
            self.newly_answered.insert(key.to_owned());
        }
        answer
    }

    fn judge(&self, asked: &Asked, promised: &Promised, declined: bool, now: Timestamp) -> Result<(), Refused> {
        if asked.amount == Amount::ZERO {
            return Err(Refused::AmountInvalid);
        }
        if asked.currency != promised.currency {
            return Err(Refused::CurrencyMismatch);
        }
        if self.revoked.contains(&promised.jti) {
            return Err(Refused::TokenRevoked);
        }
        if now.seconds() >= promised.exp {
            return Err(Refused::TokenExpired);
        }
        let used = self.used(promised, now);
        let left = promised.max_amount.saturating_sub(used);
        if asked.amount > left {
            return Err(Refused::LimitExceeded { left: left.minor() });
        }
        self.judge_cap(asked, promised, now)?;
        if declined { Err(Refused::Declined) } else { Ok(()) }
    }

    fn judge_cap(&self, asked: &Asked, promised: &Promised, now: Timestamp) -> Result<(), Refused> {
        let Some(caps) = self.caps.get(&promised.aud) else { return Ok(()) };
        let cap = caps.iter().find(|cap| cap.currency == asked.currency).map_or(Amount::ZERO, |cap| cap.amount);
        let used = self.taken(&promised.aud, &promised.sub, asked.currency, now);
        let left = cap.saturating_sub(used);
        if asked.amount > left { Err(Refused::CapExceeded { left: left.minor() }) } else { Ok(()) }
    }

    /// What a seller took from a user in the calendar month of `now`, open authorizations included.
    pub(super) fn taken(&self, seller: &str, subject: &str, currency: Currency, now: Timestamp) -> Amount {
        let month = Period::month_of(now);
        let counts = |entry: &&BookEntry| {
            entry.provider == seller
                && entry.subject == subject
                && entry.authorization.currency == currency
                && month.contains(entry.created_at)
        };
        let amounts = self.entries.values().filter(counts).map(BookEntry::counted);
        amounts.fold(Amount::ZERO, |sum, amount| sum.checked_add(amount).unwrap_or(sum.max(amount)))
    }

    /// What a seller may take per user and month; `None` takes the limit away.
    pub(super) fn cap(&mut self, seller: &str, caps: Option<Vec<Cap>>) {
        match caps {
            Some(caps) => drop(self.caps.insert(seller.to_owned(), caps)),
            None => drop(self.caps.remove(seller)),
        }
    }

    /// What counts against the token's limit in the present period.
    fn used(&self, promised: &Promised, now: Timestamp) -> Amount {
        let counts = |entry: &&BookEntry| {
            let in_period = match promised.recurring {
                Some(Recurring::Month) => Period::month_of(now).contains(entry.created_at),
                None => true,
            };
            entry.payment_token == promised.jti && in_period
        };
        let amounts = self.entries.values().filter(counts).map(BookEntry::counted);
        // A sum beyond all money leaves nothing.
        amounts.fold(Amount::ZERO, |sum, amount| sum.checked_add(amount).unwrap_or(promised.max_amount))
    }

    fn enter(&mut self, asked: &Asked, promised: Promised, now: Timestamp) -> Authorization {
        let authorization = Authorization {
            id: Id::<AuthorizationKind>::new(now).to_string(),
            reference: asked.reference.clone(),
            status: AuthorizationStatus::Authorized,
            amount: asked.amount,
            captured: Amount::ZERO,
            currency: asked.currency,
            expires_at: now.plus(GOOD_FOR),
        };
        let entry = BookEntry {
            authorization: authorization.clone(),
            provider: promised.aud,
            subject: promised.sub,
            payment_token: promised.jti,
            description: asked.description.clone(),
            created_at: now,
        };
        self.changed.insert(authorization.id.clone());
        self.entries.insert(authorization.id.clone(), entry);
        authorization
    }

    /// The authorization is one of this seller's; others are as if they were not.
    pub(super) fn of(&self, seller: &str, id: &str) -> Result<(), Refused> {
        let found = self.entries.get(id).is_some_and(|entry| entry.provider == seller);
        if found { Ok(()) } else { Err(Refused::NotFound) }
    }

    /// Takes `amount` of an authorization; again with the same amount: the same answer.
    pub(super) fn capture(&mut self, id: &str, amount: Amount, declined: bool, now: Timestamp) -> Answer {
        self.expire(now);
        let found = &mut self.entries.get_mut(id).ok_or(Refused::NotFound)?.authorization;
        match found.status {
            AuthorizationStatus::Captured if found.captured == amount => Ok(found.clone()),
            AuthorizationStatus::Captured => Err(Refused::AlreadyCaptured),
            AuthorizationStatus::Voided => Err(Refused::AlreadyVoided),
            AuthorizationStatus::Expired => Err(Refused::AuthorizationExpired),
            AuthorizationStatus::Authorized if amount == Amount::ZERO => Err(Refused::AmountInvalid),
            AuthorizationStatus::Authorized if amount > found.amount => Err(Refused::CaptureExceedsAuthorization),
            AuthorizationStatus::Authorized if declined => Err(Refused::Declined),
            AuthorizationStatus::Authorized => {
                found.status = AuthorizationStatus::Captured;
                found.captured = amount;
                self.changed.insert(id.to_owned());
                Ok(found.clone())
            }
        }
    }

    /// Gives an authorization back; again: the same answer.
    pub(super) fn void(&mut self, id: &str, now: Timestamp) -> Answer {
        self.expire(now);
        let found = &mut self.entries.get_mut(id).ok_or(Refused::NotFound)?.authorization;
        if found.status == AuthorizationStatus::Captured {
            return Err(Refused::AlreadyCaptured);
        }
        found.status = AuthorizationStatus::Voided;
        self.changed.insert(id.to_owned());
        Ok(found.clone())
    }

    /// Everything that a seller authorized under a reference, oldest first.
    pub(super) fn lookup(&mut self, seller: &str, reference: &str, now: Timestamp) -> Vec<Authorization> {
        self.expire(now);
        let asked = |entry: &&BookEntry| entry.provider == seller && entry.authorization.reference == reference;
        let found = self.entries.values().filter(asked);
        found.map(|entry| entry.authorization.clone()).collect()
    }

    pub(super) fn revoke(&mut self, jti: &str) {
        self.revoked.insert(jti.to_owned());
        self.newly_revoked.insert(jti.to_owned());
    }

    pub(super) fn snapshot(&mut self, now: Timestamp) -> BooksSnapshot {
        self.expire(now);
        let mut totals = BTreeMap::<String, Totals>::new();
        for BookEntry { authorization, .. } in self.entries.values() {
            let sum = totals.entry(authorization.currency.code().to_owned()).or_default();
            if authorization.status == AuthorizationStatus::Authorized {
                sum.open = sum.open.saturating_add(authorization.amount.minor());
            }
            sum.captured = sum.captured.saturating_add(authorization.captured.minor());
        }
        BooksSnapshot { authorizations: self.entries.values().cloned().collect(), totals }
    }

    fn expire(&mut self, now: Timestamp) {
        for BookEntry { authorization, .. } in self.entries.values_mut() {
            if authorization.status == AuthorizationStatus::Authorized && now >= authorization.expires_at {
                authorization.status = AuthorizationStatus::Expired;
            }
        }
    }
}

/// A request under a key is compared by digest: the payment token in it is not kept.
fn digest_of(asked: &Asked) -> String {
    serde_json::to_vec(asked).map_or_else(|_never| String::new(), |bytes| sha256_name(&bytes))
}

mod kept;

#[cfg(test)]
mod tests;
