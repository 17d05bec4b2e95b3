//! Entries of the ledger as rows.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::schema::ledger_entries;
use crate::payment::ledger_entry::LedgerEntry;

/// `ledger_entries` as stored.
#[derive(Queryable)]
pub(super) struct EntryRow {
    account_id: String,
    sequence: i64,
    id: String,
    kind: String,
    hold_id: Option<String>,
    resource_id: Option<String>,
    counter_ids: String,
    currency: String,
    held_change: i64,
    spent_change: i64,
    description: String,
    at: Timestamp,
    previous_hash: String,
    hash: String,
}

impl From<EntryRow> for LedgerEntry {
    fn from(row: EntryRow) -> Self {
        Self {
            account_id: row.account_id,
            sequence: row.sequence,
            id: row.id,
            kind: row.kind,
            hold_id: row.hold_id,
            resource_id: row.resource_id,
            counter_ids: row.counter_ids,
            currency: row.currency,
            held_change: row.held_change,
            spent_change: row.spent_change,
            description: row.description,
            at: row.at,
            previous_hash: row.previous_hash,
            hash: row.hash,
        }
    }
}

/// Appends one entry. PostgreSQL gets them as a set instead.
pub(super) fn insert(conn: &mut SqliteConnection, entry: &LedgerEntry) -> QueryResult<()> {
    let values = (
        ledger_entries::account_id.eq(&entry.account_id),
        ledger_entries::sequence.eq(entry.sequence),
        ledger_entries::id.eq(&entry.id),
        ledger_entries::kind.eq(&entry.kind),
        ledger_entries::hold_id.eq(entry.hold_id.as_ref()),
        ledger_entries::resource_id.eq(entry.resource_id.as_ref()),
        ledger_entries::counter_ids.eq(&entry.counter_ids),
        ledger_entries::currency.eq(&entry.currency),
        ledger_entries::held_change.eq(entry.held_change),
        ledger_entries::spent_change.eq(entry.spent_change),
        ledger_entries::description.eq(&entry.description),
        ledger_entries::at.eq(entry.at),
        ledger_entries::previous_hash.eq(&entry.previous_hash),
        ledger_entries::hash.eq(&entry.hash),
    );
    diesel::insert_into(ledger_entries::table).values(values).execute(conn).map(drop)
}
