//! What an agent holds: rows of `consents`, `grants`, `refresh_tokens` and `authorization_codes`.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::scope::{Scope, Scopes};
use crate::account::AgentKey;
use crate::clock::Timestamp;
use crate::db::schema::{authorization_codes, consents, grants, refresh_tokens};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, ConsentId, GrantId, OrchestratorId};

/// The most rows that are looked at.
const MOST: i64 = 200;
/// How many grants are ended in one turn.
const PIECE: i64 = 500;

/// The scopes of standing consents, each as it is written.
pub(super) fn consented(conn: &mut DbConnection, key: &AgentKey) -> QueryResult<Vec<String>> {
    consents::table
        .filter(consents::account_id.eq(&key.account_id))
        .filter(consents::orchestrator_id.eq(&key.orchestrator_id))
        .filter(consents::client.eq(&key.client))
        .filter(consents::revoked_at.is_null())
        .select(consents::scope)
        .distinct()
        .limit(MOST)
        .load(conn)
}

/// Standing consents, newest first.
pub(super) fn consents_of(conn: &mut DbConnection, key: &AgentKey, limit: i64) -> QueryResult<Vec<ConsentId>> {
    consents::table
        .filter(consents::account_id.eq(&key.account_id))
        .filter(consents::orchestrator_id.eq(&key.orchestrator_id))
        .filter(consents::client.eq(&key.client))
        .filter(consents::revoked_at.is_null())
        .order(consents::id.desc())
        .select(consents::id)
        .limit(limit)
        .load(conn)
}

/// The scopes of tokens and refresh tokens that could be used.
pub(super) fn living(conn: &mut DbConnection, key: &AgentKey, now: Timestamp) -> QueryResult<Vec<String>> {
    let mut words: Vec<String> = grants::table
        .filter(grants::account_id.eq(&key.account_id))
        .filter(grants::orchestrator_id.eq(&key.orchestrator_id))
        .filter(grants::client.eq(&key.client))
        .filter(grants::revoked_at.is_null())
        .filter(grants::expires_at.gt(now))
        .select(grants::scope)
        .distinct()
        .limit(MOST)
        .load(conn)?;
    let refreshing: Vec<String> = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq(&key.account_id))
        .filter(refresh_tokens::orchestrator_id.eq(&key.orchestrator_id))
        .filter(refresh_tokens::client.eq(&key.client))
        .filter(refresh_tokens::revoked_at.is_null())
        .filter(refresh_tokens::replaced_at.is_null())
        .filter(refresh_tokens::expires_at.gt(now))
        .select(refresh_tokens::scope)
        .distinct()
        .limit(MOST)
        .load(conn)?;
    words.extend(refreshing);
    Ok(words)
}

/// Ends the tokens of an agent that allow `scope`.
pub(super) fn revoke_grants_with(
    conn: &mut DbConnection,
    key: &AgentKey,
    scope: Scope,
    now: Timestamp,
) -> QueryResult<()> {
    let mut after = String::new();
    loop {
        let found: Vec<(GrantId, String)> = grants::table
            .filter(grants::account_id.eq(&key.account_id))
            .filter(grants::orchestrator_id.eq(&key.orchestrator_id))
            .filter(grants::client.eq(&key.client))
            .filter(grants::revoked_at.is_null())
            .filter(grants::expires_at.gt(now))
            .filter(grants::id.gt(after.clone()))
            .order(grants::id)
            .select((grants::id, grants::scope))
            .limit(PIECE)
            .load(conn)?;
        let with: Vec<&GrantId> =
            found.iter().filter(|(_, words)| Scopes::known_of(words).contains(scope)).map(|(id, _)| id).collect();
        diesel::update(grants::table.filter(grants::id.eq_any(with)))
            .set(grants::revoked_at.eq(Some(now)))
            .execute(conn)?;
        match found.last() {
            Some((last, _)) if i64::try_from(found.len()).is_ok_and(|count| count == PIECE) => {
                after = last.to_string();
            }
            _ => return Ok(()),
        }
    }
}

/// Ends every token, refresh token and code of an agent.
pub(super) fn end_all(conn: &mut DbConnection, key: &AgentKey, now: Timestamp) -> QueryResult<()> {
    let living = grants::table
        .filter(grants::account_id.eq(&key.account_id))
        .filter(grants::orchestrator_id.eq(&key.orchestrator_id))
        .filter(grants::client.eq(&key.client))
        .filter(grants::expires_at.gt(now))
        .filter(grants::revoked_at.is_null());
    diesel::update(living).set(grants::revoked_at.eq(Some(now))).execute(conn)?;
    let refreshing = refresh_tokens::table
        .filter(refresh_tokens::account_id.eq(&key.account_id))
        .filter(refresh_tokens::orchestrator_id.eq(&key.orchestrator_id))
        .filter(refresh_tokens::client.eq(&key.client))
        .filter(refresh_tokens::revoked_at.is_null());
    diesel::update(refreshing).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn)?;
    let waiting = authorization_codes::table
        .filter(authorization_codes::account_id.eq(&key.account_id))
        .filter(authorization_codes::orchestrator_id.eq(&key.orchestrator_id))
        .filter(authorization_codes::client.eq(&key.client))
        .filter(authorization_codes::used_at.is_null());
    diesel::update(waiting).set(authorization_codes::used_at.eq(Some(now))).execute(conn).map(drop)
}

/// A token that was given, as its owner reads it.
#[derive(Debug, Clone, Queryable)]
pub struct GrantLine {
    /// The token's `jti`.
    pub id: GrantId,
    /// To which client.
    pub client: String,
    /// Through which orchestrator.
    pub orchestrator_id: OrchestratorId,
    /// What it allowed.
    pub scope: String,
    /// From when on.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// When it ended before its time.
    pub revoked_at: Option<Timestamp>,
    /// What the human allowed, if it came of that.
    pub consent_id: Option<ConsentId>,
}

/// The place of a grant among those of its account, which stand client by client, and those of a client by when they end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPlace {
    client: String,
    expires_at: Timestamp,
    id: GrantId,
}

impl GrantLine {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> GrantPlace {
        GrantPlace { client: self.client.clone(), expires_at: self.expires_at, id: self.id.clone() }
    }
}

/// Up to `limit` grants of an account, in the order of their places, after this place.
///
/// # Errors
/// When the database fails.
pub fn grants_after(
    conn: &mut DbConnection,
    account: &AccountId,
    after: Option<&GrantPlace>,
    limit: i64,
) -> Result<Vec<GrantLine>, DbError> {
    let line = (
        grants::id,
        grants::client,
        grants::orchestrator_id,
        grants::scope,
        grants::issued_at,
        grants::expires_at,
        grants::revoked_at,
        grants::consent_id,
    );
    let all = grants::table.filter(grants::account_id.eq(account)).select(line);
    let order = (grants::client, grants::expires_at, grants::id);
    let Some(GrantPlace { client, expires_at, id }) = after else {
        return Ok(all.order(order).limit(limit).load(conn)?);
    };
    // Each of the two begins at its place in the index.
    let mut found: Vec<GrantLine> = all
        .filter(grants::client.eq(client))
        .filter(grants::expires_at.ge(expires_at))
        .filter(grants::expires_at.gt(expires_at).or(grants::id.gt(id)))
        .order(order)
        .limit(limit)
        .load(conn)?;
    let left = limit.saturating_sub(i64::try_from(found.len()).unwrap_or(limit));
    if left > 0 {
        let others: Vec<GrantLine> = all.filter(grants::client.gt(client)).order(order).limit(left).load(conn)?;
        found.extend(others);
    }
    Ok(found)
}
