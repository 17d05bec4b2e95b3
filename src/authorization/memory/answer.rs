//! Answers: of humans, which are remembered, and from what is remembered.

use serde_json::json;

use super::store;
use super::turn::{Patience, Turn, take_turn};
use super::weigh::{recall, recall_at};
use crate::account::{self, Account};
use crate::audit::{self, Fact};
use crate::authorization::client::{self, Trust};
use crate::authorization::consent_grant::Consent;
use crate::authorization::request::{
    Answer, AnswerError, Asked, allow_request, decide_request, deny_request, details_digest, still_stands,
};
use crate::authorization::scope::Scopes;
use crate::authorization::{consent_store, wire_store};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::secret::SecretHash;

/// The human allows a part or all of what is asked; the rest is refused. Call it inside `Db::write`.
///
/// # Errors
/// See [`AnswerError`]. A unique violation is a lost race: try again.
pub fn allow_asked(
    conn: &mut DbConnection,
    (asked, answer): (&Asked, &Answer),
    (turn, trust): (&Turn, Trust),
    patience: Patience,
    now: Timestamp,
) -> Result<(), AnswerError> {
    take_turn(conn, turn, patience, now)?;
    allow_request(conn, answer, now)?;
    end(conn, turn, true, patience, now)?;
    let refused = asked.request.scopes.without(&answer.scopes);
    remember(conn, asked, (turn, trust), &refused, now)
}

/// The human refuses. Call it inside `Db::write`.
///
/// # Errors
/// See [`AnswerError`]. A unique violation is a lost race: try again.
pub fn deny_asked(
    conn: &mut DbConnection,
    (asked, owner): (&Asked, &Account),
    (turn, trust): (&Turn, Trust),
    patience: Patience,
    now: Timestamp,
) -> Result<(), AnswerError> {
    take_turn(conn, turn, patience, now)?;
    deny_request(conn, asked, owner, now)?;
    end(conn, turn, false, patience, now)?;
    let refused = recall(conn, &owner.id, &asked.request, now)?.newly_refused(&asked.request, now);
    remember(conn, asked, (turn, trust), &refused, now)
}

fn end(
    conn: &mut DbConnection,
    turn: &Turn,
    allowed: bool,
    patience: Patience,
    now: Timestamp,
) -> Result<(), AnswerError> {
    if !store::delete_turn(conn, turn)? {
        return Err(AnswerError::Closed);
    }
    Ok(turn.count_answer(conn, allowed, patience, now)?)
}

/// A no is not remembered of a client whose name any program on the machine can take.
fn remember(
    conn: &mut DbConnection,
    asked: &Asked,
    (turn, trust): (&Turn, Trust),
    refused: &Scopes,
    now: Timestamp,
) -> Result<(), AnswerError> {
    if trust == Trust::Local {
        return Ok(());
    }
    let request = &asked.request;
    let digests = (request.client_digest.as_str(), &*details_digest(&request.details));
    Ok(store::set_refusals(conn, turn.place(), (&request.scopes, refused), digests, now)?)
}

/// Answers from what is remembered: the code works from now on. Call it inside `Db::write`.
///
/// # Errors
/// [`AnswerError::Closed`] when the request was answered meanwhile, or what is remembered was taken back.
pub fn answer_remembered(conn: &mut DbConnection, answer: &Answer, now: Timestamp) -> Result<(), AnswerError> {
    let consent = &answer.consent;
    if !decide_request(conn, &answer.hash, ("allowed", &consent.account_id), now)? {
        return Err(AnswerError::Closed);
    }
    if answer.is_new {
        // What it rests on was read before: whoever takes it back at this moment waits for us, or was before us.
        if !rests(conn, consent, now)? {
            return Err(AnswerError::Closed);
        }
        consent_store::insert(conn, consent, true)?;
    } else if !consent_store::use_again(conn, &consent.id, &consent.log_in, now)? {
        return Err(AnswerError::Closed);
    }
    wire_store::insert_code(conn, &answer.code)?;
    client::touch(conn, &consent.client, now)?;
    let fact = Fact {
        actor: format!("client:{}", consent.client),
        action: "consent.used_again",
        account_id: Some(&consent.account_id),
        subject: consent.id.to_string(),
        detail: json!({
            "client": consent.client, "client_name": answer.client_name, "scope": answer.scopes.to_string(),
        }),
    };
    audit::append(conn, &fact, now)?;
    still_stands(conn, consent)
}

/// Whether what has no limits still allows it together.
fn rests(conn: &mut DbConnection, consent: &Consent, now: Timestamp) -> Result<bool, DbError> {
    account::lock(conn, std::slice::from_ref(&consent.account_id))?;
    let place = (&consent.account_id, consent.client.as_str(), consent.resource.as_str());
    Ok(recall_at(conn, place, now)?.frees(&consent.client_digest, &consent.scopes))
}

/// Whether this code answers a request of `account` and waits to be redeemed: then a browser that asks once more gets it
/// once more.
///
/// # Errors
/// When the database fails.
pub fn answer_again(
    conn: &mut DbConnection,
    code: &SecretHash,
    account: &AccountId,
    now: Timestamp,
) -> Result<bool, DbError> {
    let row = wire_store::code(conn, code)?;
    Ok(row.is_some_and(|row| row.account_id == *account && row.used_at.is_none() && now < row.expires_at))
}
