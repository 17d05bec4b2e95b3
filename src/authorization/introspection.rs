//! What a token is worth now (RFC 7662), and ending it (RFC 7009): for the client that it was given to, and for the
//! provider's own APIs.

use serde_json::{Value, json};

use super::access_token::{VerifiedToken, verify_access_token};
use super::client::Client;
use super::consent_grant::revoke_consent;
use super::grant::{AccessError, access, revoke};
use super::wire_store::{self, RefreshRow};
use super::{consent_store, store};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::secret::Secret;
use crate::signing::KeyRing;

/// What looking at a token reaches.
#[derive(Debug, Clone, Copy)]
pub struct TokenParts<'a> {
    /// The database.
    pub db: &'a Db,
    /// Our keys.
    pub ring: &'a KeyRing,
    /// Our issuer identifier.
    pub issuer: &'a str,
    /// The APIs that tokens are for.
    pub audiences: &'a [&'a str],
}

/// What became of a request to end a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It ended, or was none: nothing more is said (RFC 7009 §2.2).
    Done,
    /// It is another client's.
    NotYours,
}

/// Who wants a token ended.
#[derive(Debug, Clone, Copy)]
pub enum Revoker<'a> {
    /// An OAuth client.
    Client(&'a str),
    /// An orchestrator, by its client id and secret.
    Orchestrator(&'a crate::ids::OrchestratorId),
}

fn believed(parts: TokenParts<'_>, token: &str, now: Timestamp) -> Option<(VerifiedToken, String)> {
    parts.audiences.iter().find_map(|audience| {
        let token = verify_access_token(token, parts.ring, audience, parts.issuer, now).ok()?;
        Some((token, (*audience).to_owned()))
    })
}

/// What `client` may know of `token`: everything about its own, or, for an API of the provider, about any. Of what is not
/// good, and of what is others', it hears only that it is not active.
///
/// # Errors
/// When the database fails.
pub async fn introspect(
    parts: TokenParts<'_>,
    client: &Client,
    token: &Secret,
    now: Timestamp,
) -> Result<Value, DbError> {
    let inactive = json!({"active": false});
    let (id, any) = (client.id.clone(), client.introspects);
    let mine = move |owner: &str| any || owner == id;
    if let Some((believed, audience)) = believed(parts, token.expose(), now) {
        if !mine(&believed.client) {
            return Ok(inactive);
        }
        let checked = believed.clone();
        return match parts.db.read(move |conn| access(conn, &checked)).await {
            Ok(_) => Ok(told(&believed, parts.issuer, &audience)),
            Err(AccessError::Db(error)) => Err(error),
            Err(_ended) => Ok(inactive),
        };
    }
    let hash = token.hash();
    let found = parts.db.read(move |conn| {
        let Some(row) = wire_store::refresh(conn, &hash)? else { return Ok(None) };
        let stands = match &row.consent_id {
            Some(id) => consent_store::by_id(conn, id)?.is_some_and(|consent| consent.revoked_at.is_none()),
            None => row.replaced_at.is_none(),
        };
        Ok::<_, DbError>(Some((row, stands)))
    });
    Ok(match found.await? {
        Some((row, stands)) if mine(&row.client) && stands && row.revoked_at.is_none() && now < row.expires_at => {
            told_refresh(&row, parts.issuer)
        }
        _ => inactive,
    })
}

/// RFC 7662 §2.2.
fn told(token: &VerifiedToken, issuer: &str, audience: &str) -> Value {
    let mut answer = json!({
        "active": true, "scope": token.scopes.to_string(), "client_id": token.client, "sub": token.account_id,
        "iss": issuer, "aud": audience, "jti": token.grant_id, "iat": token.issued_at.seconds(),
        "exp": token.expires_at.seconds(), "token_type": if token.bound_to.is_some() { "DPoP" } else { "Bearer" },
    });
    if let Value::Object(answer) = &mut answer {
        let mut more = |name: &str, value: Option<Value>| value.map(|value| answer.insert(name.to_owned(), value));
        more("cnf", token.bound_to.as_ref().map(|jkt| json!({"jkt": jkt})));
        more("authorization_details", token.details.clone());
        more("grant_id", token.consent_id.as_ref().map(|id| json!(id)));
        more("auth_time", token.log_in.at.map(|at| json!(at.seconds())));
        more("acr", token.log_in.acr.as_ref().map(|acr| json!(acr)));
    }
    answer
}

fn told_refresh(row: &RefreshRow, issuer: &str) -> Value {
    let mut answer = json!({
        "active": true, "scope": row.scope, "client_id": row.client, "sub": row.account_id, "iss": issuer,
        "iat": row.issued_at.seconds(), "exp": row.expires_at.seconds(),
    });
    if let (Value::Object(answer), Some(id)) = (&mut answer, &row.consent_id) {
        answer.insert("grant_id".to_owned(), json!(id));
    }
    answer
}

/// Ends a token. With a refresh token ends everything that came of the same consent.
///
/// # Errors
/// When the database fails.
pub async fn revoke_token(
    parts: TokenParts<'_>,
    by: Revoker<'_>,
    token: &Secret,
    now: Timestamp,
) -> Result<Revoked, DbError> {
    if let Some((believed, _)) = believed(parts, token.expose(), now) {
        if !by.owns(&believed.client, &believed.orchestrator_id, believed.consent_id.is_some()) {
            return Ok(Revoked::NotYours);
        }
        let actor = format!("client:{}", believed.client);
        let lane = believed.account_id.to_string();
        parts.db.write(&lane, move |conn| revoke(conn, &believed.grant_id, &actor, now)).await?;
        return Ok(Revoked::Done);
    }
    let hash = token.hash();
    let Some(row) = parts.db.read(move |conn| Ok::<_, DbError>(wire_store::refresh(conn, &hash)?)).await? else {
        return Ok(Revoked::Done);
    };
    if !by.owns(&row.client, &row.orchestrator_id, row.consent_id.is_some()) {
        return Ok(Revoked::NotYours);
    }
    let lane = row.account_id.to_string();
    parts.db.write(&lane, move |conn| end_refresh(conn, &row, now)).await?;
    Ok(Revoked::Done)
}

fn end_refresh(conn: &mut DbConnection, row: &RefreshRow, now: Timestamp) -> Result<(), DbError> {
    if let Some(id) = &row.consent_id {
        let actor = format!("client:{}", row.client);
        return revoke_consent(conn, id, (&actor, "the client gave it back"), now).map(drop);
    }
    for grant in wire_store::revoke_family(conn, &row.family, now)? {
        store::set_revoked(conn, &grant, now)?;
    }
    Ok(())
}

impl Revoker<'_> {
    fn owns(&self, client: &str, orchestrator: &crate::ids::OrchestratorId, of_consent: bool) -> bool {
        match self {
            Self::Client(id) => *id == client,
            Self::Orchestrator(id) => *id == orchestrator && !of_consent,
        }
    }
}
