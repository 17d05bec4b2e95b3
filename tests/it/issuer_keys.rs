//! The keys of issuers: discovered, kept, rotated, and never fetched because a stranger says so.

use chrono::TimeDelta;
use futures_util::future::join_all;
use portreeve::clock::Timestamp;
use portreeve::db::DbError;
use portreeve::orchestrator::{self, AddError, KeyCache, KeyError, NewOrchestrator, Orchestrator};

use crate::harness::databases;
use crate::mock_issuer::{MockIssuer, fetch};

fn start() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn later(seconds: i64) -> Timestamp {
    start().plus(TimeDelta::seconds(seconds))
}

async fn registered(issuer: &str) -> Orchestrator {
    let database = databases::sqlite();
    let new = NewOrchestrator::new("Mock".parse().unwrap(), issuer.parse().unwrap(), "us");
    database.db().write("registry", move |conn| orchestrator::add(conn, &new, start())).await.unwrap()
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept() {
    let issuer = MockIssuer::start().await;
    let (known, keys) = (registered(&issuer.url).await, KeyCache::new(fetch()));
    let kid = issuer.kid();
    let found = join_all((0..64).map(|_| keys.find(&known, Some(&kid), start()))).await;
    assert!(found.iter().all(Result::is_ok));
    assert!(keys.find(&known, None, later(60)).await.is_ok());
    assert_eq!(issuer.asked(), (1, 1));
    // 15 minutes without a word of the issuer, then it is asked again.
    keys.find(&known, Some(&kid), later(901)).await.unwrap();
    assert_eq!(issuer.asked(), (2, 2));
}

#[tokio::test]
async fn an_unknown_key_leads_to_one_fetch_and_a_flood_of_them_to_no_more() {
    let issuer = MockIssuer::start().await;
    let (known, keys) = (registered(&issuer.url).await, KeyCache::new(fetch()));
    keys.find(&known, Some(&issuer.kid()), start()).await.unwrap();
    issuer.rotate();
    assert!(keys.find(&known, Some(&issuer.kid()), later(20)).await.is_ok());
    assert_eq!(issuer.asked(), (2, 2));
    let long = "k".repeat(8000);
    let hostile: Vec<String> = ["../../etc/passwd", "' OR 1=1 --", "a\0b", "https://attacker.example/jwks", &long]
        .into_iter()
        .map(str::to_owned)
        .chain((0..200).map(|n| format!("unknown-{n}")))
        .collect();
    for kid in &hostile {
        assert_eq!(keys.find(&known, Some(kid), later(31)).await.unwrap_err(), KeyError::Unknown);
    }
    assert_eq!(issuer.asked(), (3, 3));
    assert!(keys.find(&known, Some(&issuer.kid()), later(32)).await.is_ok());
    // Two keys: a token that names none is ambiguous.
    assert_eq!(keys.find(&known, None, later(33)).await.unwrap_err(), KeyError::Unknown);
}

#[tokio::test]
async fn the_last_good_keys_stay_in_force_for_a_day_while_the_issuer_is_down() {
    let issuer = MockIssuer::start().await;
    let (known, keys) = (registered(&issuer.url).await, KeyCache::new(fetch()));
    let kid = issuer.kid();
    keys.find(&known, Some(&kid), start()).await.unwrap();
    issuer.set_down(true);
    assert!(keys.find(&known, Some(&kid), later(4000)).await.is_ok());
    assert!(matches!(keys.find(&known, Some("new"), later(4020)).await, Err(KeyError::Unavailable(_))));
    assert!(matches!(keys.find(&known, Some(&kid), later(86_401)).await, Err(KeyError::Unavailable(_))));
    let asked = issuer.asked();
    for _ in 0..50 {
        assert!(keys.find(&known, Some(&kid), later(86_402)).await.is_err());
    }
    assert_eq!(issuer.asked(), asked);
    issuer.set_down(false);
    assert!(keys.find(&known, Some(&kid), later(86_412)).await.is_ok());
}

#[tokio::test]
async fn a_document_that_names_another_issuer_gives_no_keys() {
    let issuer = MockIssuer::start().await;
    let known = registered(&issuer.url).await;
    for name in [format!("{}/", issuer.url), "https://accounts.example".to_owned()] {
        issuer.claim_to_be(&name);
        let found = KeyCache::new(fetch()).find(&known, Some(&issuer.kid()), start()).await;
        assert!(matches!(found, Err(KeyError::Unavailable(_))), "{name}");
    }
    assert_eq!(issuer.asked().1, 0);
}

#[tokio::test]
async fn special_addresses_are_not_asked_for_keys() {
    let issuer = MockIssuer::start().await;
    let known = registered(&issuer.url).await;
    let strict = portreeve::fetch::Fetch::new(&portreeve::fetch::FetchSettings::default()).unwrap();
    let found = KeyCache::new(strict).find(&known, Some(&issuer.kid()), start()).await;
    assert!(matches!(found, Err(KeyError::Unavailable(_))));
    assert_eq!(issuer.asked(), (0, 0));
}

on_both! {
    async fn names_and_issuers_of_orchestrators_are_unique_and_suspension_is_recorded_once(database: TestDb) {
        let db = database.db();
        let new = |name: &str, issuer: &str| NewOrchestrator::new(name.parse().unwrap(), issuer.parse().unwrap(), "us");
        let add = |new| db.write("registry", move |conn| orchestrator::add(conn, &new, start()));
        let mut full = new("One", "https://one.example");
        full.email_domains = vec!["example.com".parse().unwrap(), "bücher.example".parse().unwrap()];
        full.settlement_url = Some("https://one.example/settlement".parse().unwrap());
        let added = add(full).await.unwrap();
        assert!(
            matches!(add(new("One", "https://two.example")).await, Err(AddError::NameTaken(_))));
        assert!(matches!(add(new("Two", "https://one.example")).await, Err(AddError::IssuerTaken(_))));
        assert!(add(new("Two", "https://one.example/")).await.is_ok());
        let read = db.read(|conn| orchestrator::by_issuer(conn, "https://one.example")).await.unwrap();
        assert_eq!(read.as_ref(), Some(&added));
        let id = added.id.clone();
        let suspended = db
            .write("registry", move |conn| {
                orchestrator::suspend(conn, &id, later(1))?;
                orchestrator::suspend(conn, &id, later(2))
            })
            .await
            .unwrap();
        assert_eq!(suspended.suspended_at, Some(later(1)));
        let id = added.id.clone();
        let resumed = db.write("registry", move |conn| orchestrator::resume(conn, &id, later(3))).await.unwrap();
        assert_eq!(resumed, added);
        let pages = db
            .read(move |conn| {
                let first = orchestrator::list(conn, None, 1)?;
                let rest = orchestrator::list(conn, first.first().map(|o| &o.id), 10)?;
                let named = orchestrator::by_name_or_id(conn, "One")?;
                Ok::<_, DbError>((first.len(), rest.len(), named))
            })
            .await
            .unwrap();
        assert_eq!(pages, (1, 1, Some(added)));
    }
}
