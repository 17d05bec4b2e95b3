//! The tables `authorization_codes`, `refresh_tokens` and `account_requests`.

use diesel::prelude::*;

use super::consent::{AccountRequest, RequestState};
use super::hot_store;
use super::scope::Scopes;
use crate::clock::Timestamp;
use crate::db::schema::{account_requests, authorization_codes, refresh_tokens};
use crate::db::{DbConnection, DbError, directly};
use crate::ids::{AccountId, AccountRequestId, ConsentId, GrantId, OrchestratorId};
use crate::secret::SecretHash;

/// How many living tokens of one family are looked at: more than one there never is.
const MAX_LIVING: i64 = 16;
/// How many answers of a day are looked at; older ones are asked for again.
const MOST_ANSWERED: i64 = 16;

/// A code as it is kept.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = authorization_codes)]
pub(super) struct CodeRow {
    pub(super) code_hash: SecretHash,
    pub(super) account_id: AccountId,
    pub(super) orchestrator_id: OrchestratorId,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) code_challenge: Option<String>,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) used_at: Option<Timestamp>,
    /// What the human allowed; `None`: the code is of the provisioning wire.
    pub(super) consent_id: Option<ConsentId>,
    pub(super) redirect_uri: Option<String>,
    /// RFC 7638 thumbprint of the key that redeems it.
    pub(super) bound_to: Option<String>,
}

/// A refresh token as it is kept.
#[derive(Debug, Clone, Queryable, Insertable)]
#[diesel(table_name = refresh_tokens)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct RefreshRow {
    pub(super) token_hash: SecretHash,
    pub(super) family: String,
    pub(super) grant_id: GrantId,
    pub(super) account_id: AccountId,
    pub(super) orchestrator_id: OrchestratorId,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) replaced_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    /// What the human allowed; `None`: the token is of the provisioning wire.
    pub(super) consent_id: Option<ConsentId>,
    /// RFC 7638 thumbprint of the key that must be proven with it.
    pub(super) bound_to: Option<String>,
}

pub(super) fn insert_code(conn: &mut DbConnection, row: &CodeRow) -> QueryResult<()> {
    diesel::insert_into(authorization_codes::table).values(row).execute(conn).map(drop)
}

pub(super) fn code(conn: &mut DbConnection, hash: &SecretHash) -> QueryResult<Option<CodeRow>> {
    authorization_codes::table.find(hash).get_result(conn).optional()
}

/// The client's code with this challenge.
pub(super) fn code_with_challenge(
    conn: &mut DbConnection,
    challenge: &str,
    client: &str,
) -> QueryResult<Option<CodeRow>> {
    authorization_codes::table
        .filter(authorization_codes::code_challenge.eq(challenge.to_owned()))
        .filter(authorization_codes::client.eq(client.to_owned()))
        .first(conn)
        .optional()
}

/// Uses the code up: check and change in one statement, so that two cannot both win.
pub(super) fn use_code(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let usable = authorization_codes::table
        .find(hash)
        .filter(authorization_codes::used_at.is_null())
        .filter(authorization_codes::expires_at.gt(now));
    let changed = diesel::update(usable).set(authorization_codes::used_at.eq(Some(now))).execute(conn)?;
    Ok(changed == 1)
}

pub(super) fn insert_refresh(conn: &mut DbConnection, row: &RefreshRow) -> QueryResult<()> {
    directly!(conn, |conn| diesel::insert_into(refresh_tokens::table).values(row).execute(conn)).map(drop)
}

pub(super) fn refresh(conn: &mut DbConnection, hash: &SecretHash) -> QueryResult<Option<RefreshRow>> {
    directly!(conn, |conn| refresh_tokens::table.find(hash).get_result(conn)).optional()
}

/// A token that was not used yet is good until `end`.
pub(super) fn prolong_refresh(conn: &mut DbConnection, hash: &SecretHash, end: Timestamp) -> QueryResult<()> {
    let unused = refresh_tokens::table
        .find(hash)
        .filter(refresh_tokens::replaced_at.is_null())
        .filter(refresh_tokens::revoked_at.is_null());
    diesel::update(unused).set(refresh_tokens::expires_at.eq(end)).execute(conn).map(drop)
}

/// Whether this call replaced a token that was still good.
pub(super) fn replace_refresh(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    hot_store::replace_refresh(conn, hash, now)
}

/// Revokes every token of a family of the provisioning wire; the grants of those that were still in force. Tokens that come
/// of a consent are found by their agent and that.
pub(super) fn revoke_family(conn: &mut DbConnection, family: &str, now: Timestamp) -> QueryResult<Vec<GrantId>> {
    let of_family = refresh_tokens::table
        .filter(refresh_tokens::family.eq(family.to_owned()))
        .filter(refresh_tokens::consent_id.is_null())
        .filter(refresh_tokens::revoked_at.is_null());
    diesel::update(of_family).set(refresh_tokens::revoked_at.eq(Some(now))).execute(conn)?;
    refresh_tokens::table
        .filter(refresh_tokens::family.eq(family.to_owned()))
        .filter(refresh_tokens::consent_id.is_null())
        .filter(refresh_tokens::replaced_at.is_null())
        .limit(MAX_LIVING)
        .select(refresh_tokens::grant_id)
        .load(conn)
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = account_requests)]
struct RequestRow {
    id: AccountRequestId,
    orchestrator_id: OrchestratorId,
    request_key: String,
    request_hash: String,
    tenant: String,
    subject: String,
    email_index: Option<String>,
    account_id: Option<AccountId>,
    client: String,
    scope: String,
    code_challenge: Option<String>,
    sealed_confirmation_secret: String,
    state: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    decided_at: Option<Timestamp>,
    information: String,
}

impl TryFrom<RequestRow> for AccountRequest {
    type Error = DbError;

    fn try_from(row: RequestRow) -> Result<Self, DbError> {
        let impossible = |name: &str| {
            let text = format!("table `account_requests`, row {}: `{name}` holds a value that is none", row.id);
            DbError::from(diesel::result::Error::DeserializationError(text.into()))
        };
        let challenge = row.code_challenge.as_deref().map(str::parse).transpose();
        Ok(Self {
            scopes: row.scope.parse().map_err(|_unknown| impossible("scope"))?,
            code_challenge: challenge.map_err(|_unknown| impossible("code_challenge"))?,
            information: serde_json::from_str(&row.information).map_err(|_no_json| impossible("information"))?,
            state: row.state.parse().map_err(|_unknown| impossible("state"))?,
            account_id: row.account_id.clone().ok_or_else(|| impossible("account_id"))?,
            id: row.id,
            orchestrator_id: row.orchestrator_id,
            request_key: row.request_key,
            request_hash: row.request_hash,
            tenant: row.tenant,
            subject: row.subject,
            email: row.email_index,
            client: row.client,
            sealed_confirmation_secret: row.sealed_confirmation_secret,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

pub(super) fn insert_request(conn: &mut DbConnection, request: &AccountRequest) -> QueryResult<()> {
    let information = serde_json::to_string(&request.information)
        .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    let row = RequestRow {
        id: request.id.clone(),
        orchestrator_id: request.orchestrator_id.clone(),
        request_key: request.request_key.clone(),
        request_hash: request.request_hash.clone(),
        tenant: request.tenant.clone(),
        subject: request.subject.clone(),
        email_index: request.email.clone(),
        account_id: Some(request.account_id.clone()),
        client: request.client.clone(),
        scope: request.scopes.to_string(),
        code_challenge: request.code_challenge.as_ref().map(ToString::to_string),
        sealed_confirmation_secret: request.sealed_confirmation_secret.clone(),
        state: request.state.as_str().to_owned(),
        created_at: request.created_at,
        expires_at: request.expires_at,
        decided_at: None,
        information,
    };
    diesel::insert_into(account_requests::table).values(&row).execute(conn).map(drop)
}

pub(super) fn request_by_key(
    conn: &mut DbConnection,
    orchestrator: &OrchestratorId,
    key: &str,
) -> Result<Option<AccountRequest>, DbError> {
    let row: Option<RequestRow> = account_requests::table
        .filter(account_requests::orchestrator_id.eq(orchestrator))
        .filter(account_requests::request_key.eq(key))
        .first(conn)
        .optional()?;
    row.map(AccountRequest::try_from).transpose()
}

/// What this client asked the owner of an account for about one person, and the owner answered with a yes since then: to
/// all of it or to a part.
pub(super) fn answered_since(
    conn: &mut DbConnection,
    account: &AccountId,
    (orchestrator, tenant, subject): (&OrchestratorId, &str, &str),
    client: &str,
    since: Timestamp,
) -> Result<Vec<Scopes>, DbError> {
    let rows: Vec<RequestRow> = account_requests::table
        .filter(account_requests::account_id.eq(account))
        .filter(account_requests::state.eq(RequestState::Allowed.as_str()))
        .filter(account_requests::orchestrator_id.eq(orchestrator))
        .filter(account_requests::tenant.eq(tenant))
        .filter(account_requests::subject.eq(subject))
        .filter(account_requests::client.eq(client))
        .filter(account_requests::decided_at.gt(since))
        .order(account_requests::decided_at.desc())
        .limit(MOST_ANSWERED)
        .load(conn)?;
    rows.into_iter().map(|row| Ok(AccountRequest::try_from(row)?.scopes)).collect()
}

pub(super) fn request_by_id(conn: &mut DbConnection, id: &AccountRequestId) -> Result<Option<AccountRequest>, DbError> {
    let row: Option<RequestRow> = account_requests::table.find(id).first(conn).optional()?;
    row.map(AccountRequest::try_from).transpose()
}

/// Whether this call decided: the request was open, of this account, and its time was not over.
pub(super) fn decide_request(
    conn: &mut DbConnection,
    (id, account): (&AccountRequestId, &AccountId),
    to: RequestState,
    now: Timestamp,
) -> QueryResult<bool> {
    let open = account_requests::table
        .find(id)
        .filter(account_requests::account_id.eq(account))
        .filter(account_requests::state.eq(RequestState::Pending.as_str()))
        .filter(account_requests::expires_at.gt(now));
    let changed = diesel::update(open)
        .set((account_requests::state.eq(to.as_str()), account_requests::decided_at.eq(Some(now))))
        .execute(conn)?;
    Ok(changed == 1)
}

/// Deletes at most `limit` codes, as many refresh tokens and as many requests whose time ended before `end`. Answers how
/// many of the most.
pub(super) fn delete_ended_before(conn: &mut DbConnection, end: Timestamp, limit: i64) -> QueryResult<usize> {
    let codes: Vec<SecretHash> = authorization_codes::table
        .filter(authorization_codes::expires_at.lt(end))
        .limit(limit)
        .select(authorization_codes::code_hash)
        .load(conn)?;
    let codes = diesel::delete(authorization_codes::table.filter(authorization_codes::code_hash.eq_any(codes)));
    let codes = codes.execute(conn)?;
    let tokens: Vec<SecretHash> = refresh_tokens::table
        .filter(refresh_tokens::expires_at.lt(end))
        .limit(limit)
        .select(refresh_tokens::token_hash)
        .load(conn)?;
    let tokens = diesel::delete(refresh_tokens::table.filter(refresh_tokens::token_hash.eq_any(tokens)));
    let tokens = tokens.execute(conn)?;
    let requests: Vec<AccountRequestId> = account_requests::table
        .filter(account_requests::expires_at.lt(end))
        .limit(limit)
        .select(account_requests::id)
        .load(conn)?;
    let requests = diesel::delete(account_requests::table.filter(account_requests::id.eq_any(requests)));
    Ok(codes.max(tokens).max(requests.execute(conn)?))
}
