//! Browser sessions, in the database, so that ending one works at once and on every process.
//!
//! A session knows how its human proved who they are. A link from an agent proves nothing: an agent can open it as well.
//! So such a session may look, lower and stop, and whatever gives more asks for a session of somebody who logged in.

use std::str::FromStr;

use chrono::TimeDelta;
use serde_json::json;

use super::store;
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
    let account = account::by_id(conn, &owner)?;
    Ok(account.filter(|account| account.state.is_usable()).map(|account| Session { account, hash, authentication }))
}

/// Ends a session. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end(conn: &mut DbConnection, session: &SecretHash, now: Timestamp) -> Result<(), DbError> {
    Ok(store::end_session(conn, session, now)?)
}

/// Ends every session of an account, and every link and passkey that would begin another one. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn end_all(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<(), DbError> {
    Ok(store::end_all(conn, account, now)?)
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
