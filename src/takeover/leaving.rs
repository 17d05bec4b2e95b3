//! What leaves an account for another one of the same owner: not while something is held back there, and never without what
//! the account's orchestrators asked of their person.

use super::precaution::Precautions;
use super::scope::Scope;
use super::store;
use crate::account;
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::orchestrator::{self, Belief, Statement};
use crate::payment::budget;

/// Whether nothing may leave the account now: its person is not believed, spending through their orchestrator is stopped,
/// the account rests, or a distrust holds something of it back or has not got to it yet. Ask it at the end of the
/// transaction that takes something out: what that wrote refers to the orchestrator, and a distrust that begins at this
/// moment waits for it.
///
/// # Errors
/// When the database fails.
pub fn is_held_fast(conn: &mut DbConnection, account: &AccountId, now: Timestamp) -> Result<bool, DbError> {
    if store::has_open_item(conn, account)? {
        return Ok(true);
    }
    for id in account::linked_orchestrators(conn, account)? {
        let rests = store::precautions(conn, account, &id)?.is_cooling(now);
        if rests || budget::is_stopped_through(conn, account, &id)? {
            return Ok(true);
        }
        for (tenant, subject) in account::subjects(conn, account, &id)? {
            let said = Statement { orchestrator: &id, key: None, tenant: &tenant, subject: &subject };
            if orchestrator::is_disbelieved(conn, &said)? == Belief::Distrusted {
                return Ok(true);
            }
        }
        for begun in orchestrator::distrusts_under_way(conn, &id)? {
            if store::reaches(conn, &Scope::from(&begun), account)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Asks of the owner's person what was asked of the person of the account that things come from: of both the stricter. Call
/// it inside `Db::write`, with both accounts locked.
///
/// # Errors
/// When the database fails.
pub fn carry_precautions(conn: &mut DbConnection, (from, to): (&AccountId, &AccountId)) -> Result<(), DbError> {
    for (orchestrator, asked) in store::precautions_of(conn, from)? {
        let own = store::precautions(conn, to, &orchestrator)?;
        store::set_precautions(conn, (to, &orchestrator), own.stricter(asked))?;
    }
    Ok(())
}

impl Precautions {
    /// Of each the later.
    fn stricter(self, other: Self) -> Self {
        Self {
            remove_after: self.remove_after.max(other.remove_after),
            write_after: self.write_after.max(other.write_after),
            cooling_until: self.cooling_until.max(other.cooling_until),
        }
    }
}
