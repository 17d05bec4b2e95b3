//! Idempotency keys in the database: recorded once, found by the retry, and forgotten after a month.

use chrono::TimeDelta;
use portreeve::clock::Timestamp;
use portreeve::db::DbError;
use portreeve::idempotency::{self, Done, Keyed, LIFETIME, NewKey, lost_race};
use portreeve::ids::AccountId;

use crate::harness::databases::TestDb;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn keyed(key: &str, body: &str) -> Keyed {
    Keyed::new("buy", &key.parse().unwrap(), body.as_bytes())
}

async fn record(
    database: &TestDb,
    account: &AccountId,
    keyed: &Keyed,
    subject: &'static str,
    now: Timestamp,
) -> Result<(), DbError> {
    let (account, keyed) = (account.clone(), keyed.clone());
    let insert = move |conn: &mut portreeve::db::DbConnection| {
        let (subject, lifetime) = (Some(subject), idempotency::LIFETIME);
        let key = NewKey { account_id: &account, keyed: &keyed, subject, sealed_answer: None, lifetime };
        Ok::<_, DbError>(idempotency::insert(conn, &key, now)?)
    };
    database.db().write("test", insert).await
}

async fn found(database: &TestDb, account: &AccountId, keyed: &Keyed, now: Timestamp) -> Option<Done> {
    let (account, keyed) = (account.clone(), keyed.clone());
    database.db().read(move |conn| idempotency::find(conn, &account, &keyed, now)).await.unwrap()
}

on_both! {
    async fn a_key_is_recorded_once_and_found_by_its_account_until_it_expires(database: TestDb) {
        let (account, stranger) = (AccountId::new(NOW), AccountId::new(NOW));
        let first = keyed("k", "{}");
        assert!(found(&database, &account, &first, NOW).await.is_none());
        record(&database, &account, &first, "res_1", NOW).await.unwrap();
        let again = record(&database, &account, &keyed("k", "other"), "res_2", NOW).await.unwrap_err();
        assert!(lost_race(&again), "{again}");

        let last_moment = NOW.plus(LIFETIME - TimeDelta::microseconds(1));
        let done = found(&database, &account, &keyed("k", "other"), last_moment).await.unwrap();
        assert_eq!((done.fingerprint.as_str(), done.subject.as_deref()), (first.fingerprint.as_str(), Some("res_1")));
        assert!(done.same(&keyed("k", "other")).is_err());
        assert!(found(&database, &stranger, &first, NOW).await.is_none());
        record(&database, &stranger, &first, "res_3", NOW).await.unwrap();

        let expired = NOW.plus(LIFETIME);
        assert!(found(&database, &account, &first, expired).await.is_none());
        record(&database, &account, &first, "res_4", expired).await.unwrap();
        assert_eq!(found(&database, &account, &first, expired).await.unwrap().subject.as_deref(), Some("res_4"));
    }
}
