//! A program asks whether its human has answered (RFC 8628 §3.4, §3.5).

use chrono::TimeDelta;

use super::POLL_SECONDS;
use super::store::{self, DeviceRow};
use crate::authorization::client::GrantType;
use crate::authorization::consent_grant::Consent;
use crate::authorization::oauth_grant::{Asking, Given, GrantError, GrantParts, Ticket, give, replayed};
use crate::authorization::wire_store::CodeRow;
use crate::authorization::{consent_store, request, wire_store};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::secret::{Secret, SecretHash};

const CAME_BACK: &str = "a device code came back after it gave tokens";

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The human has not answered yet.
    #[error("the human has not answered yet")]
    Pending,
    /// The human has not answered yet, and the program asks too often.
    #[error("the program asks too often")]
    SlowDown,
    /// The human did not answer in time.
    #[error("the human did not answer in time")]
    Expired,
    /// The human refused.
    #[error("the human refused")]
    Denied,
    /// As for every grant.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl From<DbError> for PollError {
    fn from(error: DbError) -> Self {
        Self::Grant(error.into())
    }
}

/// What has come of a request.
enum Standing {
    Waiting,
    Denied,
    /// By the consent, with the code that is its answer.
    Allowed(Box<Consent>, Box<CodeRow>),
}

/// Tokens, when the human allowed it: once. A device code that comes back after that ends what came of it, because one of
/// the two who have it should not.
///
/// # Errors
/// See [`PollError`].
pub async fn poll(parts: GrantParts<'_>, asking: Asking, code: &Secret, now: Timestamp) -> Result<Given, PollError> {
    if !asking.client.client.may(GrantType::DeviceCode) {
        return Err(GrantError::Unauthorized.into());
    }
    let hash = code.hash();
    let (row, standing) = find(parts.db, hash.clone()).await?;
    if row.client != asking.client.client.id {
        return Err(GrantError::Grant("the device code is another client's").into());
    }
    if row.expires_at <= now {
        return Err(PollError::Expired);
    }
    match standing {
        Standing::Denied => Err(PollError::Denied),
        Standing::Waiting => Err(too_early(parts.db, row, now).await?),
        Standing::Allowed(consent, _) if row.state == "used" => {
            let lane = consent.account_id.to_string();
            Ok(replayed(parts.db, &lane, consent.id, CAME_BACK, now).await?)
        }
        Standing::Allowed(consent, code) => {
            let ticket = Ticket { hash, take: store::take, scope: code.scope };
            Ok(give(parts, asking, (*consent, code.bound_to.as_deref()), ticket, now).await?)
        }
    }
}

async fn find(db: &Db, hash: SecretHash) -> Result<(DeviceRow, Standing), GrantError> {
    db.read(move |conn| {
        let unknown = GrantError::Grant("the device code never existed");
        let row = store::by_device(conn, &hash)?.ok_or(unknown)?;
        let standing = standing_of(conn, &row)?;
        Ok((row, standing))
    })
    .await
}

fn standing_of(conn: &mut DbConnection, row: &DeviceRow) -> Result<Standing, GrantError> {
    let (handle, challenge) = match (row.state.as_str(), &row.handle_hash, &row.code_challenge) {
        ("denied", ..) => return Ok(Standing::Denied),
        (_, Some(handle), Some(challenge)) => (handle, challenge),
        _ => return Ok(Standing::Waiting),
    };
    if request::is_denied(conn, handle)? {
        return Ok(Standing::Denied);
    }
    let Some(code) = wire_store::code_with_challenge(conn, challenge, &row.client)? else {
        return Ok(Standing::Waiting);
    };
    let gone = || GrantError::Grant("the consent is gone");
    let id = code.consent_id.clone().ok_or_else(gone)?;
    let consent = consent_store::by_id(conn, &id)?.ok_or_else(gone)?;
    Ok(Standing::Allowed(Box::new(consent), Box::new(code)))
}

/// Which of the two ways to say: not yet.
async fn too_early(db: &Db, row: DeviceRow, now: Timestamp) -> Result<PollError, DbError> {
    let lane = row.device_hash.as_str().to_owned();
    db.write(&lane, move |conn| {
        let after = |seconds: i64| now.plus(TimeDelta::seconds(seconds));
        if store::in_time(conn, &row.device_hash, after(row.wait_seconds), now)? {
            return Ok(PollError::Pending);
        }
        let slower = row.wait_seconds.saturating_add(POLL_SECONDS);
        store::slow_down(conn, &row.device_hash, (slower, after(slower)))?;
        Ok(PollError::SlowDown)
    })
    .await
}
