//! Ending whatever an orchestrator holds for accounts: grants, refresh tokens, codes, and questions that are open.

use chrono::TimeDelta;
use diesel::prelude::*;

use super::consent::RequestState;
use crate::clock::Timestamp;
use crate::db::schema::{account_requests, authorization_codes, grants, refresh_tokens};
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
    /// Questions that nobody had answered.
    pub questions: usize,
}

impl Withdrawn {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.grants + self.refresh_tokens + self.codes + self.questions
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
    // Codes and refresh tokens first: whoever is exchanging one is waited for, and what came of it is found below.
    let codes = authorization_codes::table
        .filter(authorization_codes::account_id.eq_any(accounts))
        .filter(authorization_codes::orchestrator_id.eq(orchestrator))
        .filter(authorization_codes::used_at.is_null())
        .filter(authorization_codes::expires_at.gt(now))
        .filter(authorization_codes::issued_at.le(until));
    let codes = diesel::update(codes).set(authorization_codes::used_at.eq(Some(now))).execute(conn)?;
    let tokens = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq_any(accounts))
        .filter(refresh_tokens::orchestrator_id.eq(orchestrator))
        .filter(refresh_tokens::revoked_at.is_null())
        .filter(refresh_tokens::expires_at.gt(now))
        .filter(refresh_tokens::issued_at.le(until));
    let refresh_tokens = diesel::update(tokens).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn)?;
    let live = grants::table
        .filter(grants::account_id.eq_any(accounts))
        .filter(grants::orchestrator_id.eq(orchestrator))
        .filter(grants::revoked_at.is_null())
        .filter(grants::expires_at.gt(now))
        .filter(grants::issued_at.le(until));
    let grants = diesel::update(live).set(grants::revoked_at.eq(Some(now))).execute(conn)?;
    let open = account_requests::table
        .filter(account_requests::account_id.eq_any(accounts))
        .filter(account_requests::orchestrator_id.eq(orchestrator))
        .filter(account_requests::state.eq(RequestState::Pending.as_str()))
        .filter(account_requests::created_at.le(until));
    let denied =
        (account_requests::state.eq(RequestState::Denied.as_str()), account_requests::decided_at.eq(Some(now)));
    let questions = diesel::update(open).set(denied).execute(conn)?;
    Ok(Withdrawn { grants, refresh_tokens, codes, questions })
}
