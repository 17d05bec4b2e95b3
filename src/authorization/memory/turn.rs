//! One question of a client at a time, and not too many: a human who is asked too often says yes to make it stop.

use chrono::TimeDelta;

use super::store::{self, Place, TurnRow};
use crate::authorization::client::{Client, ClientOrigin};
use crate::authorization::request::{self, AnswerError, Asked};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::{Secret, SecretHash};
use crate::signing::{SealError, Sealer};

/// How many denials in a row make a client wait.
const DENIALS: i64 = 3;

/// How often a client may ask a human.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many questions on one day (UTC); 0 is any number.
    pub prompts_per_day: u32,
    /// How long it waits after three denials in a row.
    pub wait: TimeDelta,
}

/// A question that wants to be the one that its human looks at.
#[derive(Debug, Clone)]
pub struct Turn {
    pub(super) hash: SecretHash,
    account: AccountId,
    client: String,
    /// Whose patience it takes: as many names as somebody likes are one asker.
    asker: String,
    resource: String,
    sealed_handle: String,
    asked_at: Timestamp,
    expires_at: Timestamp,
}

/// The question whose turn it is.
#[derive(Debug, Clone)]
pub struct Waiting {
    hash: SecretHash,
    sealed_handle: String,
    /// When it was asked.
    pub asked_at: Timestamp,
}

/// Where a handle is kept: it opens nowhere else.
fn place_of(hash: &SecretHash) -> String {
    format!("consent_turns/{}/handle", hash.as_str())
}

impl Turn {
    /// The turn of what `client` asks, whose handle is `handle`, with the human of `account`.
    ///
    /// # Errors
    /// When the handle cannot be sealed.
    pub fn of(
        (asked, client): (&Asked, &Client),
        handle: &Secret,
        account: &AccountId,
        sealer: &Sealer,
    ) -> Result<Self, SealError> {
        Ok(Self {
            sealed_handle: sealer.seal(&place_of(&asked.hash), handle.expose().as_bytes())?,
            hash: asked.hash.clone(),
            account: account.clone(),
            client: asked.request.client.clone(),
            asker: asker(client),
            resource: asked.request.resource.clone(),
            asked_at: asked.created_at,
            expires_at: asked.expires_at,
        })
    }

    pub(super) fn place(&self) -> Place<'_> {
        (&self.account, &self.client, &self.resource)
    }

    fn pair(&self) -> (&AccountId, &str) {
        (&self.account, &self.asker)
    }

    pub(super) fn row(&self) -> TurnRow {
        TurnRow {
            account_id: self.account.clone(),
            client: self.client.clone(),
            resource: self.resource.clone(),
            handle_hash: self.hash.clone(),
            sealed_handle: self.sealed_handle.clone(),
            asked_at: self.asked_at,
            expires_at: self.expires_at,
        }
    }

    /// Counts a yes or a no of the human.
    pub(super) fn count_answer(
        &self,
        conn: &mut DbConnection,
        allowed: bool,
        patience: Patience,
        now: Timestamp,
    ) -> Result<(), DbError> {
        if allowed {
            return Ok(store::forget_denials(conn, self.pair())?);
        }
        Ok(store::count_denial(conn, self.pair(), (DENIALS, now.plus(patience.wait)))?)
    }
}

impl Waiting {
    /// Its handle, for the human whose it is.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn handle(&self, sealer: &Sealer) -> Result<Secret, SealError> {
        let opened = sealer.open(&place_of(&self.hash), &self.sealed_handle)?;
        Ok(Secret::presented(&String::from_utf8_lossy(&opened)))
    }
}

/// Who is behind a client: anybody can register as many as they like, or name as many documents of one host.
fn asker(client: &Client) -> String {
    match (client.origin, client.proven_host()) {
        (ClientOrigin::Operator, _) | (ClientOrigin::Document, None) => client.id.clone(),
        (ClientOrigin::Document, Some(host)) => host,
        (ClientOrigin::Registration, _) => "registered".to_owned(),
    }
}

/// The day (UTC) that `now` is in.
fn day_of(now: Timestamp) -> Timestamp {
    const DAY: i64 = 24 * 60 * 60;
    Timestamp::from_seconds(now.seconds().div_euclid(DAY) * DAY)
}

/// Makes it the turn of this question, and counts it the first time that it is shown. Call it inside `Db::write`.
///
/// # Errors
/// [`AnswerError::Waits`] when another question of the client is open, [`AnswerError::TooOften`] when the client has to wait,
/// [`AnswerError::Closed`] when this one cannot be answered any more or is another account's, or the database's. A unique
/// violation is a lost race: look again.
pub fn take_turn(conn: &mut DbConnection, turn: &Turn, patience: Patience, now: Timestamp) -> Result<(), AnswerError> {
    if !store::keep_turn(conn, turn, now)? {
        match store::turn_of(conn, turn.place())? {
            Some(row) => {
                let (hash, sealed_handle, asked_at) = (row.handle_hash, row.sealed_handle, row.asked_at);
                return Err(AnswerError::Waits(Box::new(Waiting { hash, sealed_handle, asked_at })));
            }
            None => store::insert_turn(conn, turn)?,
        }
    }
    if request::bind_request(conn, &turn.hash, &turn.account, now)? {
        return count_prompt(conn, turn, patience, now);
    }
    // It was shown before, or somebody answered it at this moment.
    if request::is_open_for(conn, &turn.hash, &turn.account, now)? { Ok(()) } else { Err(AnswerError::Closed) }
}

fn count_prompt(conn: &mut DbConnection, turn: &Turn, patience: Patience, now: Timestamp) -> Result<(), AnswerError> {
    let (day, pair) = (day_of(now), turn.pair());
    let at_most = if patience.prompts_per_day == 0 { i64::MAX } else { i64::from(patience.prompts_per_day) };
    if store::count_prompt(conn, pair, (day, at_most), now)? {
        return Ok(());
    }
    match store::patience(conn, pair)? {
        None => Ok(store::insert_patience(conn, pair, day)?),
        Some(row) => {
            let until = row.waits_until.filter(|until| now < *until);
            Err(AnswerError::TooOften { until: until.unwrap_or_else(|| day.plus(TimeDelta::days(1))) })
        }
    }
}

/// The human wants to answer this question instead of the one whose turn it is. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn take_over(conn: &mut DbConnection, turn: &Turn) -> Result<(), DbError> {
    if !store::replace_turn(conn, turn)? {
        store::insert_turn(conn, turn)?;
    }
    Ok(())
}
