//! Linking a person of an orchestrator to an account that exists: by its owner's consent, or by the operator's policy.

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use serde_json::json;

use super::sidecar::ensure_budget;
use super::{Account, AccountState, store};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{DbConnection, DbError};
use crate::ids::AccountId;
use crate::money::Amount;
use crate::orchestrator::Orchestrator;
use crate::outbox;

/// On whose word an account was linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkedBy {
    /// The owner's own, given while logged in.
    Consent,
    /// The operator's, for this orchestrator.
    Policy,
}

impl LinkedBy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Policy => "policy",
        }
    }
}

/// Why an account was not linked. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The person is linked already, or becomes so at this moment.
    #[error("the person of the orchestrator is linked already")]
    Taken,
    /// The account is frozen or closed.
    #[error("the account is {0}")]
    Unusable(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl LinkError {
    fn of(error: QueryError) -> Self {
        match error {
            QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Taken,
            error => Self::Db(error.into()),
        }
    }
}

/// The most that `account` may spend through `orchestrator` in a month when nothing else was agreed.
#[must_use]
pub fn ceiling_of(account: &Account, orchestrator: &Orchestrator) -> Amount {
    match account.state {
        AccountState::Provisional => orchestrator.opening_ceiling(),
        _ => orchestrator.monthly_ceiling,
    }
}

/// Links the person (tenant, subject) of an orchestrator to an account, with a budget for that orchestrator if there is
/// none yet, and tells the owner. `allowed` is what the owner allows, as scopes are written; `None`: nobody was asked, and
/// whatever the orchestrator asks for is given. Call it inside `Db::write`.
///
/// # Errors
/// See [`LinkError`].
pub fn link(
    conn: &mut DbConnection,
    (orchestrator, (tenant, subject)): (&Orchestrator, (&str, &str)),
    (account, allowed): (&AccountId, Option<&str>),
    (by, actor): (LinkedBy, &str),
    now: Timestamp,
) -> Result<(), LinkError> {
    let person = (&orchestrator.id, tenant, subject);
    store::insert_link(conn, person, (account, allowed), now).map_err(LinkError::of)?;
    let owner = store::by_id(conn, account)?.ok_or(DbError::Query(QueryError::NotFound))?;
    if !owner.state.is_usable() {
        return Err(LinkError::Unusable(owner.state.as_str()));
    }
    let ceiling = ceiling_of(&owner, orchestrator);
    ensure_budget(conn, &owner, orchestrator, now).map_err(|error| match error {
        DbError::Query(error) => LinkError::of(error),
        error => LinkError::Db(error),
    })?;
    let detail = json!({
        "orchestrator_id": orchestrator.id, "orchestrator": orchestrator.name.as_str(), "by": by.as_str(),
        "currency": orchestrator.currency, "ceiling": ceiling.minor(), "scopes": allowed,
    });
    let fact = Fact {
        actor: actor.to_owned(),
        action: "account.linked",
        account_id: Some(account),
        subject: account.to_string(),
        detail,
    };
    audit::append(conn, &fact, now).map_err(LinkError::of)?;
    let notice = json!({
        "orchestrator_id": orchestrator.id, "orchestrator": orchestrator.name.as_str(), "by": by.as_str(),
    });
    outbox::append(conn, "account.linked", Some(account), &notice, now).map_err(LinkError::of)
}

/// The owner allows a person's orchestrator `allowed`, in place of what was allowed before; `grows`: it is all of that and more. Call it inside `Db::write`.
///
/// # Errors
/// When the database fails.
pub fn set_allowed(
    conn: &mut DbConnection,
    (orchestrator, (tenant, subject)): (&Orchestrator, (&str, &str)),
    account: &AccountId,
    (allowed, grows): (&str, bool),
    now: Timestamp,
) -> Result<(), DbError> {
    store::set_allowed(conn, (&orchestrator.id, tenant, subject), allowed)?;
    let fact = Fact {
        actor: format!("user:{account}"),
        action: if grows { "link.widened" } else { "link.changed" },
        account_id: Some(account),
        subject: account.to_string(),
        detail: json!({
            "orchestrator_id": orchestrator.id, "orchestrator": orchestrator.name.as_str(), "scopes": allowed,
        }),
    };
    Ok(audit::append(conn, &fact, now)?)
}
