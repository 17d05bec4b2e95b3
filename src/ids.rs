//! Every id in the house: one type per kind, a readable prefix, sortable by the time it was made.
//!
//! The text is `prefix_` followed by a UUIDv7 (RFC 9562) as 26 characters of Crockford base 32 in lower case, so
//! that ids sort by creation time as text on both databases. Those that one process makes in one millisecond sort in the
//! order in which they were made (RFC 9562 §6.2, a counter).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{NoContext, Uuid};

use crate::clock::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// How many of the bits after the time count: the 12 above the variant, and the 30 below it. The other 32 are random.
const COUNTER_BITS: u32 = 42;

/// Counts ids, whatever their kind, in steps of random size, so that two ids do not tell how many lie between.
static MADE: AtomicU64 = AtomicU64::new(0);

/// What an id can name.
pub trait Named: 'static {
    /// The letters before the underscore.
    const PREFIX: &'static str;
}

/// An id of one kind of thing. Two kinds do not mix.
#[derive(AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Id<Of: Named> {
    text: Box<str>,
    of: PhantomData<fn() -> Of>,
}

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected `{prefix}_` and 26 characters of 0-9 a-z without i l o u")]
pub struct InvalidId {
    /// The prefix that the wanted kind has.
    pub prefix: &'static str,
}

impl<Of: Named> Id<Of> {
    /// A new id, made at `now`. Ids of a later millisecond sort later; of one millisecond, those that this process made
    /// later.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let nanos = u32::try_from(now.micros().rem_euclid(1_000_000)).unwrap_or(0) * 1_000;
        #[expect(clippy::disallowed_methods, reason = "the one place that makes ids; the time is given")]
        let uuid = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos));
        Self::from_bits(counted(uuid.as_u128()))
    }

    fn from_bits(bits: u128) -> Self {
        let digits = (0..DIGITS).rev().map(|place| {
            let index = usize::try_from((bits >> (place * 5)) & 31).unwrap_or(0);
            char::from(ALPHABET.get(index).copied().unwrap_or(b'0'))
        });
        let text: String = Of::PREFIX.chars().chain(['_']).chain(digits).collect();
        Self { text: text.into(), of: PhantomData }
    }

    /// The text as it is stored and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The UUID that the text stands for.
    #[must_use]
    pub fn as_uuid(&self) -> Uuid {
        let digits = self.text.bytes().skip(Of::PREFIX.len() + 1);
        let places = digits.filter_map(|digit| ALPHABET.iter().position(|known| *known == digit));
        let bits = places.fold(0_u128, |bits, place| (bits << 5) | u128::try_from(place).unwrap_or(0));
        Uuid::from_u128(bits)
    }
}

/// The bits of a version 7 UUID with our counter in front of its random part. A process begins at a random place in the
/// lower half of the range, so that two processes share no numbers, and none comes to its end.
fn counted(bits: u128) -> u128 {
    const VARIANT_AT: u32 = 62;
    let low = COUNTER_BITS - 12;
    let random = bits & ((1 << VARIANT_AT) - 1);
    let step = 1 + u64::try_from((random >> 32) & 0xff).unwrap_or(0);
    let start = u64::try_from(random >> (VARIANT_AT - COUNTER_BITS + 1)).unwrap_or(0) | 1;
    let before = match MADE.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => start,
        Err(_) => MADE.fetch_add(step, Ordering::Relaxed) + step,
    };
    let count = u128::from(before) & ((1 << COUNTER_BITS) - 1);
    let room = (0xfff_u128 << 64) | (((1_u128 << low) - 1) << (VARIANT_AT - low));
    let placed = ((count >> low) << 64) | ((count & ((1 << low) - 1)) << (VARIANT_AT - low));
    (bits & !room) | placed
}

impl<Of: Named> FromStr for Id<Of> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let well_formed = text
            .strip_prefix(Of::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|digit| ALPHABET.contains(&digit)));
        if well_formed {
            Ok(Self { text: text.into(), of: PhantomData })
        } else {
            Err(InvalidId { prefix: Of::PREFIX })
        }
    }
}

impl<Of: Named> Clone for Id<Of> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), of: PhantomData }
    }
}

impl<Of: Named> PartialEq for Id<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<Of: Named> Eq for Id<Of> {}

impl<Of: Named> PartialOrd for Id<Of> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<Of: Named> Ord for Id<Of> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl<Of: Named> std::hash::Hash for Id<Of> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<Of: Named> fmt::Display for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<Of: Named> fmt::Debug for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<Of: Named> Serialize for Id<Of> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, Of: Named> Deserialize<'de> for Id<Of> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<Of: Named, DB: Backend> ToSql<Text, DB> for Id<Of>
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        (*self.text).to_sql(out)
    }
}

impl<Of: Named, DB: Backend> FromSql<Text, DB> for Id<Of>
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(String::from_sql(bytes)?.parse()?)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $alias:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $kind {}
        impl Named for $kind {
            const PREFIX: &'static str = $prefix;
        }
        $(#[$doc])*
        pub type $alias = Id<$kind>;
    )*};
}

kinds! {
    /// The customer record at the provider.
    Account => AccountId, "acct";
    /// A registered orchestrator.
    Orchestrator => OrchestratorId, "orch";
    /// One provisioned thing.
    Resource => ResourceId, "res";
    /// One repeatable piece of work on a resource.
    Operation => OperationId, "op";
    /// A counter row: one ceiling in one period.
    Counter => CounterId, "ctr";
    /// Money reserved.
    Hold => HoldId, "hold";
    /// A payment token that was accepted.
    PaymentToken => PaymentTokenId, "ptok";
    /// One attempt to get the money from whoever issued the payment token.
    Charge => ChargeId, "chg";
    /// A ledger entry.
    LedgerEntry => LedgerEntryId, "led";
    /// What the holder of an access token may do; the token's `jti`.
    Grant => GrantId, "grant";
    /// A fact in the audit trail.
    AuditFact => AuditFactId, "aud";
    /// A secret with which an orchestrator signs.
    WireSecret => WireSecretId, "whs";
    /// A request for an account that waits for a human.
    AccountRequest => AccountRequestId, "areq";
    /// That we believe somebody no longer, since an instant.
    Distrust => DistrustId, "dis";
    /// What is wrong with an account, as somebody says.
    Case => CaseId, "case";
    /// An OAuth client with a registration here.
    Client => ClientId, "client";
    /// What a human allowed a client.
    Consent => ConsentId, "cons";
    /// A program that acts for an account.
    Agent => AgentId, "agt";
    /// One step of a log-in.
    LogInStep => LogInStepId, "lis";
    /// An event waiting to be told to the outside.
    OutboxEvent => OutboxEventId, "evt";
    /// One HTTP request.
    Request => RequestId, "req";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let id = AccountId::new(Timestamp::from_seconds(1));
        assert!(id.as_str().parse::<ResourceId>().is_err());
        assert_eq!(id.as_str().parse::<AccountId>().unwrap(), id);
    }

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_in_which_they_were_made() {
        let (now, other) = (Timestamp::from_seconds(1_800_000_000), Timestamp::from_seconds(1_900_000_000));
        let mut made = Vec::new();
        for _ in 0..2_000 {
            made.push(AuditFactId::new(now).to_string());
            // Somebody else's time in between changes nothing.
            let _ = HoldId::new(other);
        }
        assert!(made.is_sorted());
        made.dedup();
        assert_eq!(made.len(), 2_000);
    }

    #[test]
    fn a_counted_id_is_still_a_version_7_uuid_of_its_time() {
        let bits = Uuid::from_u128(counted(0x0190_0000_1234_7abc_9def_0123_4567_89ab));
        assert_eq!((bits.get_version_num(), bits.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(bits.as_u128() >> 80, 0x0190_0000_1234);
        assert_eq!(bits.as_u128() & 0xffff_ffff, 0x4567_89ab, "the last 32 bits stay random");
    }

    proptest! {
        #[test]
        fn later_ids_sort_later(first in 0_i64..4_000_000_000, gap in 1_i64..1_000_000) {
            let earlier = HoldId::new(Timestamp::from_seconds(first));
            let later = HoldId::new(Timestamp::from_seconds(first + gap));
            prop_assert!(earlier < later);
            prop_assert!(earlier.as_str() < later.as_str());
        }
    }
}
