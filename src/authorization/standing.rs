//! Whether anything may be given on an account through an orchestrator now. Every road that gives something asks this one
//! question, whoever gave the word for it: codes, refresh tokens, what a client gets for itself, a human's consent.

use crate::account;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::orchestrator::{self, Belief, Statement};

/// `Some`: nothing is given, and why. Ask it at the end of the transaction, when everything is written: what stands in it
/// refers to the orchestrator's row, for which a distrust that begins at this moment waits.
///
/// # Errors
/// When the database fails.
pub(super) fn refusal(
    conn: &mut DbConnection,
    account: &AccountId,
    orchestrator: &OrchestratorId,
) -> Result<Option<&'static str>, DbError> {
    if !account::by_id(conn, account)?.is_some_and(|account| account.state.is_usable()) {
        return Ok(Some("the account is frozen or closed"));
    }
    if orchestrator::by_id(conn, orchestrator)?.is_none_or(|known| known.suspended_at.is_some()) {
        return Ok(Some("the orchestrator is suspended"));
    }
    for (tenant, subject) in account::subjects(conn, account, orchestrator)? {
        // Whose key said so is no matter here: what a distrusted key led to was withdrawn.
        let person = Statement { orchestrator, key: None, tenant: &tenant, subject: &subject };
        if orchestrator::is_disbelieved(conn, &person)? == Belief::Distrusted {
            return Ok(Some("the person is distrusted"));
        }
    }
    Ok(None)
}
