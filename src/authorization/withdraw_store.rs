//! Ending whatever an orchestrator holds for accounts: grants, refresh tokens, codes, questions that are open, and what was
//! allowed to OAuth clients that act through it. Their open requests name no account; their answers ask [`super::standing`].

use chrono::TimeDelta;
use diesel::prelude::*;

use super::consent::RequestState;
use crate::clock::Timestamp;
use crate::db::schema::{account_requests, authorization_codes, consents, grants, refresh_tokens};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};

/// How much ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// Access tokens.
    pub grants: usize,
    /// Refresh tokens.
    pub refresh_tokens: usize,
    /// Codes that nobody had redeemed.
    pub codes: usize,
    /// What a human allowed OAuth clients.
    pub consents: usize,
    /// Questions that nobody had answered.
    pub questions: usize,
}

impl Withdrawn {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.grants + self.refresh_tokens + self.codes + self.consents + self.questions
    }
}

/// Ends everything that the orchestrator holds for these accounts, or only what it got up to `until`. What came to its end
/// by itself is left alone. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn withdraw(
    conn: &mut DbConnection,
    (orchestrator, accounts): (&OrchestratorId, &[AccountId]),
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Withdrawn, DbError> {
    // The clocks of two processes may differ.
    let until = until.unwrap_or_else(|| now.plus(TimeDelta::days(1)));
    let whose = (orchestrator, accounts);
    // Codes, what a human allowed, tokens: the order in which a token is given. Whoever is exchanging one is waited for, and
    // what came of it is found below.
    Ok(Withdrawn {
        codes: end_codes(conn, whose, until, now)?,
        consents: end_consents(conn, whose, until, now)?,
        refresh_tokens: end_refresh_tokens(conn, whose, until, now)?,
        grants: end_grants(conn, whose, until, now)?,
        questions: end_questions(conn, whose, until, now)?,
    })
}

type Whose<'a> = (&'a OrchestratorId, &'a [AccountId]);

fn end_codes(conn: &mut DbConnection, of: Whose<'_>, until: Timestamp, now: Timestamp) -> QueryResult<usize> {
    let unused = authorization_codes::table
        .filter(authorization_codes::account_id.eq_any(of.1))
        .filter(authorization_codes::orchestrator_id.eq(of.0))
        .filter(authorization_codes::used_at.is_null())
        .filter(authorization_codes::expires_at.gt(now))
        .filter(authorization_codes::issued_at.le(until));
    diesel::update(unused).set(authorization_codes::used_at.eq(Some(now))).execute(conn)
}

fn end_consents(conn: &mut DbConnection, of: Whose<'_>, until: Timestamp, now: Timestamp) -> QueryResult<usize> {
    let standing = consents::table
        .filter(consents::account_id.eq_any(of.1))
        .filter(consents::orchestrator_id.eq(of.0))
        .filter(consents::revoked_at.is_null())
        .filter(consents::created_at.le(until));
    diesel::update(standing).set(consents::revoked_at.eq(Some(now))).execute(conn)
}

fn end_refresh_tokens(conn: &mut DbConnection, of: Whose<'_>, until: Timestamp, now: Timestamp) -> QueryResult<usize> {
    let living = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq_any(of.1))
        .filter(refresh_tokens::orchestrator_id.eq(of.0))
        .filter(refresh_tokens::revoked_at.is_null())
        .filter(refresh_tokens::expires_at.gt(now))
        .filter(refresh_tokens::issued_at.le(until));
    diesel::update(living).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn)
}

fn end_grants(conn: &mut DbConnection, of: Whose<'_>, until: Timestamp, now: Timestamp) -> QueryResult<usize> {
    let living = grants::table
        .filter(grants::account_id.eq_any(of.1))
        .filter(grants::orchestrator_id.eq(of.0))
        .filter(grants::revoked_at.is_null())
        .filter(grants::expires_at.gt(now))
        .filter(grants::issued_at.le(until));
    diesel::update(living).set(grants::revoked_at.eq(Some(now))).execute(conn)
}

fn end_questions(conn: &mut DbConnection, of: Whose<'_>, until: Timestamp, now: Timestamp) -> QueryResult<usize> {
    let open = account_requests::table
        .filter(account_requests::account_id.eq_any(of.1))
        .filter(account_requests::orchestrator_id.eq(of.0))
        .filter(account_requests::state.eq(RequestState::Pending.as_str()))
        .filter(account_requests::created_at.le(until));
    let denied =
        (account_requests::state.eq(RequestState::Denied.as_str()), account_requests::decided_at.eq(Some(now)));
    diesel::update(open).set(denied).execute(conn)
}
