//! One entry of the ledger, and the hash that chains it to the one before.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::secret::sha256_base64url;

/// An entry of the ledger, as stored: the texts are what was written, so that a changed byte shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Whose.
    pub account_id: String,
    /// Its place in the account's chain, from 1.
    pub sequence: i64,
    /// Its name.
    pub id: String,
    /// `hold`, `capture`, `release`, `usage`.
    pub kind: String,
    /// The hold it is about.
    pub hold_id: Option<String>,
    /// The resource it is about.
    pub resource_id: Option<String>,
    /// The counters it changed: ids with a space between.
    pub counter_ids: String,
    /// Of what.
    pub currency: String,
    /// What it added to `held` of each counter, in minor units.
    pub held_change: i64,
    /// What it added to `spent` of each counter, in minor units.
    pub spent_change: i64,
    /// For people.
    pub description: String,
    /// When.
    pub at: Timestamp,
    /// The hash of the entry before; empty for the first.
    pub previous_hash: String,
    /// SHA-256, as base64url, of the canonical form of everything above.
    pub hash: String,
}

/// The members in the order of RFC 8785, so that plain serialization is canonical. Numbers are texts: RFC 8785 knows
/// only doubles, and money may be larger than those can tell apart.
#[derive(Serialize)]
struct Canonical<'a> {
    account_id: &'a str,
    at: String,
    counter_ids: &'a str,
    currency: &'a str,
    description: &'a str,
    held_change: String,
    hold_id: Option<&'a str>,
    id: &'a str,
    kind: &'a str,
    previous_hash: &'a str,
    resource_id: Option<&'a str>,
    sequence: String,
    spent_change: String,
}

impl LedgerEntry {
    fn canonical(&self) -> Canonical<'_> {
        Canonical {
            account_id: &self.account_id,
            at: self.at.micros().to_string(),
            counter_ids: &self.counter_ids,
            currency: &self.currency,
            description: &self.description,
            held_change: self.held_change.to_string(),
            hold_id: self.hold_id.as_deref(),
            id: &self.id,
            kind: &self.kind,
            previous_hash: &self.previous_hash,
            resource_id: self.resource_id.as_deref(),
            sequence: self.sequence.to_string(),
            spent_change: self.spent_change.to_string(),
        }
    }

    /// The hash that this entry should have.
    #[must_use]
    pub fn computed_hash(&self) -> String {
        // A struct of texts always serializes; if it did not, the empty hash would never verify.
        serde_json::to_vec(&self.canonical()).map_or_else(|_impossible| String::new(), |bytes| sha256_base64url(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::canonical_json;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_hashed_is_canonical_json(description in any::<String>(), held in any::<i64>(), hold in any::<Option<String>>()) {
            let entry = LedgerEntry {
                account_id: "acct_1".to_owned(), sequence: 7, id: "led_1".to_owned(), kind: "hold".to_owned(), hold_id: hold,
                resource_id: None, counter_ids: "ctr_1 ctr_2".to_owned(), currency: "USD".to_owned(), held_change: held,
                spent_change: -3, description, at: Timestamp::from_micros(5), previous_hash: String::new(), hash: String::new(),
            };
            let canonical = canonical_json(&entry.canonical()).unwrap();
            prop_assert_eq!(serde_json::to_vec(&entry.canonical()).unwrap(), canonical);
        }
    }
}
