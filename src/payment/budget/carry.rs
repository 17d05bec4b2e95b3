//! Money that goes on in another account of the same owner. What was spent stays in the ledger where it was spent; the
//! limits of tokens and plans go on with what was left of them, so that moving wins nobody anything.

use super::carry_store as rows;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, PaymentTokenId, ResourceId};
use crate::payment::cashier;
use crate::payment::hold::CounterKind;
use crate::signing::{SealError, Sealer};

/// More tokens than this of one account are not moved at once.
const MAX_TOKENS: i64 = 200;

/// A payment token on its way to another account, sealed for its new place.
#[derive(Debug, Clone)]
pub struct CarriedToken {
    /// Which.
    pub id: PaymentTokenId,
    seen: String,
    sealed: String,
}

impl CarriedToken {
    /// Seals a token anew for `to`. Do it before the transaction.
    ///
    /// # Errors
    /// When it cannot be opened or sealed.
    pub fn seal(
        (id, seen): (PaymentTokenId, String),
        (from, to): (&AccountId, &AccountId),
        sealer: &Sealer,
    ) -> Result<Self, SealError> {
        let plain = sealer.open(&cashier::token_place(from, &id), &seen)?;
        Ok(Self { sealed: sealer.seal(&cashier::token_place(to, &id), &plain)?, id, seen })
    }
}

/// These tokens of an account, and, with `living`, all that still pay at that time, with their seals; at most 200.
///
/// # Errors
/// When the database fails.
pub fn tokens_with_seals(
    conn: &mut DbConnection,
    account: &AccountId,
    which: (&[PaymentTokenId], Option<Timestamp>),
) -> Result<Vec<(PaymentTokenId, String)>, DbError> {
    Ok(rows::tokens(conn, account, which, MAX_TOKENS)?)
}

/// Tokens come to another account, each with what is left of its limit. `false`: one of them is not as it was seen; the
/// transaction must then be undone. Call it inside `Db::write`, with both accounts locked.
///
/// # Errors
/// When the database fails.
pub fn take_over_tokens(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    tokens: &[CarriedToken],
    now: Timestamp,
) -> Result<bool, DbError> {
    for token in tokens {
        if !rows::move_token(conn, (from, to), &token.id, (&token.seen, &token.sealed))? {
            return Ok(false);
        }
        go_on(conn, (from, to), (CounterKind::PaymentToken, token.id.as_str()), now)?;
    }
    Ok(true)
}

/// The monthly limits of metered plans go on in another account. Call it inside `Db::write`, with both accounts locked.
///
/// # Errors
/// When the database fails.
pub fn take_over_limits(
    conn: &mut DbConnection,
    whose: (&AccountId, &AccountId),
    resources: &[ResourceId],
    now: Timestamp,
) -> Result<(), DbError> {
    for resource in resources {
        go_on(conn, whose, (CounterKind::Plan, resource.as_str()), now)?;
    }
    Ok(())
}

fn go_on(
    conn: &mut DbConnection,
    (from, to): (&AccountId, &AccountId),
    what: (CounterKind, &str),
    now: Timestamp,
) -> Result<(), DbError> {
    for limit in rows::limits_on(conn, from, what, now)? {
        rows::go_on(conn, to, what, &limit, now)?;
    }
    Ok(())
}

/// Whether money is held in the account: for one of `resources`, or, without them, for anything.
///
/// # Errors
/// When the database fails.
pub fn has_open_holds(
    conn: &mut DbConnection,
    account: &AccountId,
    resources: Option<&[ResourceId]>,
) -> Result<bool, DbError> {
    Ok(rows::any_held(conn, account, resources)?)
}
