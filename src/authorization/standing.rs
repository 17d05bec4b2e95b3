//! Whether anything may be given on an account through an orchestrator now. Every road that gives something asks this one
//! question, whoever gave the word for it: codes, refresh tokens, what a client gets for itself, a human's consent.

use crate::account;
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OrchestratorId};
use crate::orchestrator::{self, Distrusted};

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
    Ok(orchestrator::distrusts(conn, orchestrator, account)?.map(|why| match why {
        Distrusted::Suspended => "the orchestrator is suspended",
        Distrusted::Person => "the person is distrusted",
    }))
}
