//! Browser sessions, in the database, so that ending one works at once and on every process.
//!
//! A session knows how its human proved who they are. A link from an agent proves nothing: an agent can open it as well.
//! So such a session may look, lower and stop, and whatever gives more asks for a session of somebody who logged in.
//! Agents read mail too: where an account has a way in that proves more, a link in a mail does not give power either
//! ([`Session::gives_power`]).

use std::str::FromStr;

use chrono::TimeDelta;
use serde_json::json;

use super::{proofs, store};
use crate::account::{self, Account};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::{Secret, SecretHash};

/// How long a session lasts.
pub const LIFETIME: TimeDelta = TimeDelta::hours(8);

/// How the human behind a session proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all: by a link that their agent asked for.
    DeepLink,
    /// By a link in a mail to the account's address.
    MailLink,
    /// At the provider's own OpenID provider.
    Upstream,
    /// With a passkey.
    Passkey,
}

/// A stored word that is no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log-in is one of: deep_link, mail_link, oidc, passkey")]
pub struct UnknownMethod;

impl Method {
    const ALL: [Self; 4] = [Self::DeepLink, Self::MailLink, Self::Upstream, Self::Passkey];

    /// The word that is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeepLink => "deep_link",
            Self::MailLink => "mail_link",
            Self::Upstream => "oidc",
            Self::Passkey => "passkey",
        }
    }

    /// Whether an agent could not have done it.
    #[must_use]
    pub fn proves_a_human(self) -> bool {
        self != Self::DeepLink
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.as_str() == text).ok_or(UnknownMethod)
    }
}

/// How and when a human proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authentication {
    /// How.
    pub method: Method,
    /// When: at the upstream issuer, this may be long before the session began.
    pub at: Timestamp,
}

/// Somebody at a browser, whose session was checked.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whose.
    pub account: Account,
    /// Names the session; its secret is in the cookie.
    pub hash: SecretHash,
    /// How and when the human proved who they are.
    pub authentication: Authentication,
    /// The ways in that prove more than this session's link in a mail, of an account that has any.
    pub beyond_mail: Option<Stronger>,
    /// When the human behind it proved to read the account's mailbox, in this log-in or one before it in the same browser.
    pub mailbox_read_at: Option<Timestamp>,
}

/// Ways in to an account that prove more than that somebody reads its mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stronger {
    /// A passkey.
    pub passkey: bool,
    /// A person of the provider's own OpenID provider is connected.
    pub upstream: bool,
}

/// Why a session does not do for what needs a human.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// It came from a link that an agent can make.
    #[error("the session comes from a link that an agent can make")]
    LinkOnly,
    /// The human logged in too long ago.
    #[error("the log-in is too long ago")]
    Stale,
    /// It came from a link in a mail, and the account has a way in that proves more.
    #[error("the log-in was by mail alone, and the account has another way in")]
    MailOnly(Stronger),
}

impl NotProven {
    /// Which other log-in would do, where it is known: as in "log in with a passkey of yours".
    #[must_use]
    pub fn wanted(self) -> Option<&'static str> {
        let Self::MailOnly(Stronger { passkey, upstream }) = self else { return None };
        Some(match (passkey, upstream) {
            (true, true) => "with a passkey of yours, or with the log-in that you connected",
            (true, false) => "with a passkey of yours",
            _ => "with the log-in that you connected",
        })
    }
}

impl Session {
    /// Whether the human logged in, at most `within` before `now`.
    ///
    /// # Errors
    /// When not: why.
    pub fn proves_human(&self, within: TimeDelta, now: Timestamp) -> Result<(), NotProven> {
        if !self.authentication.method.proves_a_human() {
            return Err(NotProven::LinkOnly);
        }
        if self.authentication.at < now.minus(within) { Err(NotProven::Stale) } else { Ok(()) }
    }

    /// Whether that is enough for what gives power, or cannot be taken back: ways in, a higher cap, consent, linking,
    /// merging, resuming, taking out, closing. A claim needs two proofs because agents read mail; so on a claimed account
    /// with a passkey or a connected person, the mailbox alone is not enough for any of these. Everything that only takes
    /// power away asks [`Session::proves_human`], or nothing.
    ///
    /// # Errors
    /// When not: why.
    pub fn gives_power(&self, within: TimeDelta, now: Timestamp) -> Result<(), NotProven> {
        match self.beyond_mail {
            Some(stronger) => Err(NotProven::MailOnly(stronger)),
            None => self.proves_human(within, now),
        }
    }

    /// Whether the human proved just now that they read the account's mailbox.
    #[must_use]
    pub fn reads_mailbox(&self, within: TimeDelta, now: Timestamp) -> bool {
        self.mailbox_read_at.is_some_and(|at| now.minus(within) <= at)
    }
}

/// A session about to begin.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Of its secret, which was never anybody's before: a session never keeps its name over a log-in.
    pub hash: SecretHash,
    /// Whose.
    pub account: AccountId,
    /// How and when the human proved who they are.
    pub authentication: Authentication,
    /// The session that the browser had until now; it ends.
    pub replaces: Option<SecretHash>,
}

/// Begins a session, and ends the one that it replaces. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn begin(conn: &mut DbConnection, new: &NewSession, now: Timestamp) -> Result<(), DbError> {
    if let Some(replaced) = &new.replaces {
        store::end_session(conn, replaced, now)?;
    }
    store::insert_session(conn, new, now, now.plus(LIFETIME))?;
    if new.authentication.method.proves_a_human() {
        let fact = Fact {
            actor: format!("user:{}", new.account),
            action: "session.began",
            account_id: Some(&new.account),
            subject: new.account.to_string(),
            detail: json!({"method": new.authentication.method.as_str()}),
        };
        audit::append(conn, &fact, now)?;
    }
    Ok(())
}

/// The session of a cookie, if it is good and its account may be used.
///
/// # Errors
/// When the database fails.
pub fn find(conn: &mut DbConnection, presented: &Secret, now: Timestamp) -> Result<Option<Session>, DbError> {
    let hash = presented.hash();
    let Some((owner, authentication)) = store::session(conn, &hash, now)? else { return Ok(None) };
    let Some(account) = account::by_id(conn, &owner)?.filter(|account| account.state.is_usable()) else {
        return Ok(None);
    };
    let by_mail = authentication.method == Method::MailLink;
    // What was attached before a claim ends with it, and stands in nobody's way.
    let beyond_mail = if by_mail && account.is_claimed() { store::stronger(conn, &owner)? } else { None };
    let mailbox_read_at = match authentication.method {
        Method::DeepLink => None,
        Method::MailLink => Some(authentication.at),
        Method::Upstream | Method::Passkey => read_before(conn, &owner, &hash)?,
    };
    Ok(Some(Session { account, hash, authentication, beyond_mail, mailbox_read_at }))
}

/// When the account's mailbox was proven in a log-in before this session's.
fn read_before(conn: &mut DbConnection, owner: &AccountId, session: &SecretHash) -> Result<Option<Timestamp>, DbError> {
    let Some(mailbox) = proofs::proofs(conn, session)?.mailbox else { return Ok(None) };
    let own = account::mailbox(conn, owner)?;
    Ok((own.as_ref() == Some(&mailbox.address)).then(|| Timestamp::from_micros(mailbox.at)))
}

/// Ends a session. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end(conn: &mut DbConnection, session: &SecretHash, now: Timestamp) -> Result<(), DbError> {
    Ok(store::end_session(conn, session, now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_reads_back_and_only_a_link_of_an_agent_proves_nobody() {
        for method in Method::ALL {
            assert_eq!(method.as_str().parse(), Ok(method));
            assert_eq!(method.proves_a_human(), method != Method::DeepLink);
        }
        assert!("DEEP_LINK".parse::<Method>().is_err() && "".parse::<Method>().is_err());
    }
}
