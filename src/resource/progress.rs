//! What came of a piece of work, for whoever asks again.

use super::store::{self, Operation};
use crate::db::{DbConnection, DbError};
use crate::ids::{AccountId, OperationId, ResourceId};

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It is done.
    Done,
    /// It is under way, or its outcome is not known yet.
    Pending,
    /// It was not done, and everything is as it was before.
    Refused {
        /// Whether it was the money that could not be had.
        payment: bool,
        /// The issuer's code, or the platform's reason.
        why: String,
    },
}

impl From<Operation> for Came {
    fn from(operation: Operation) -> Self {
        match (operation.finished, operation.reason) {
            (false, _) => Self::Pending,
            (true, None) => Self::Done,
            (true, Some(why)) => {
                let payment = matches!(operation.failed_step.as_deref(), Some("authorize" | "capture"));
                Self::Refused { payment, why }
            }
        }
    }
}

/// What came of one operation of an account. `None`: it is not the account's, or left it with its resource.
///
/// # Errors
/// When the database fails.
pub fn came_of(conn: &mut DbConnection, account: &AccountId, id: &OperationId) -> Result<Option<Came>, DbError> {
    Ok(store::operation(conn, account, id)?.map(Came::from))
}

/// What came of buying a resource. `None`: there is no such resource.
///
/// # Errors
/// When the database fails.
pub fn came_of_purchase(
    conn: &mut DbConnection,
    account: &AccountId,
    id: &ResourceId,
) -> Result<Option<Came>, DbError> {
    Ok(store::newest_operation(conn, (account, id), "create")?.map(Came::from))
}
