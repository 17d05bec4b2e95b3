//! Giving back, one by one, what a distrust holds back.

use serde_json::json;

use super::store::{self, Item, ItemKind};
use crate::account::{self, FreezeError};
use crate::audit::{self, Fact};
use crate::clock::Timestamp;
use crate::db::{Db, DbConnection, DbError};
use crate::ids::DistrustId;
use crate::orchestrator::Distrust;
use crate::payment::budget;
use crate::resource;

/// How many items are looked at at once.
const PAGE: i64 = 100;

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It works again.
    Free,
    /// Another distrust holds it back as well.
    HeldByAnother,
}

/// Why an item was not given back. The transaction must then be undone.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is not held back, or not any more.
    #[error("it is not held back by this distrust")]
    NotHeld,
    /// The account was frozen or closed by other means meanwhile.
    #[error(transparent)]
    Account(#[from] FreezeError),
    /// The item names no resource.
    #[error("the item names no resource")]
    NoResource,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for RestoreError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Gives an item back. Tokens that died stay dead: whoever is believed gets new ones. Call it inside `Db::write`.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    conn: &mut DbConnection,
    distrust: &Distrust,
    item: &Item,
    actor: &str,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    if !store::set_restored(conn, &distrust.id, item, now)? {
        return Err(RestoreError::NotHeld);
    }
    let what = (item.kind, &item.account_id, item.subject.as_str());
    let restored = match store::held_as(conn, what)? {
        Some(_) => Restored::HeldByAnother,
        None => free(conn, distrust, item, actor, now)?,
    };
    let fact = Fact {
        actor: actor.to_owned(),
        action: "distrust.item_restored",
        account_id: Some(&item.account_id),
        subject: item.subject.clone(),
        detail: json!({"distrust_id": distrust.id, "kind": item.kind.as_str(), "free": restored == Restored::Free}),
    };
    audit::append(conn, &fact, now)?;
    Ok(restored)
}

fn free(
    conn: &mut DbConnection,
    distrust: &Distrust,
    item: &Item,
    actor: &str,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    match item.kind {
        ItemKind::Account => account::thaw(conn, &item.account_id, item.was == "active", actor, now)?,
        ItemKind::Spending => {
            budget::resume_through(conn, (&item.account_id, &distrust.orchestrator_id), actor, now)?;
        }
        ItemKind::Resource => {
            let id = item.subject.parse().map_err(|_no_id| RestoreError::NoResource)?;
            resource::release(conn, (&item.account_id, &id), actor, now)?;
        }
    }
    Ok(Restored::Free)
}

/// Gives back everything that a distrust still holds back, each in its own transaction. Answers how many.
///
/// # Errors
/// See [`RestoreError`]; what was given back stays so.
pub async fn restore_all(db: &Db, distrust: &Distrust, actor: &str, now: Timestamp) -> Result<usize, RestoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let (id, from): (DistrustId, Option<Item>) = (distrust.id.clone(), after.clone());
        let page = db.read(move |conn| store::items(conn, &id, from.as_ref(), PAGE)).await?;
        for item in page.iter().filter(|item| item.restored_at.is_none()) {
            let (distrust, item, actor) = (distrust.clone(), item.clone(), actor.to_owned());
            let lane = item.account_id.to_string();
            match db.write(&lane, move |conn| restore(conn, &distrust, &item, &actor, now)).await {
                Ok(_) => count += 1,
                Err(RestoreError::NotHeld) => {}
                Err(error) => return Err(error),
            }
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => after = Some(last.clone()),
            _ => return Ok(count),
        }
    }
}
