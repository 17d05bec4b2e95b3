//! Revisions in a database.

use std::fs;

use chrono::TimeDelta;
use diesel::prelude::*;

use super::super::*;
use super::{ISS, example, now, signed};
use crate::db::{Db, DbError, DbSettings};
use crate::signing::{KeyRing, canonical_json};

/// The example with one text of one file replaced.
fn example_with(file: &str, was: &str, is: &str) -> Catalog {
    let folder = tempfile::tempdir().unwrap();
    init(&folder.path().join("c")).unwrap();
    let path = folder.path().join("c").join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(was));
    fs::write(&path, text.replace(was, is)).unwrap();
    validate(&folder.path().join("c")).unwrap()
}

async fn database() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("p.db").display()).into();
    let db = Db::open(&DbSettings { url, readers: 2, lanes: 1, queue: 64 }).unwrap();
    db.migrate().await.unwrap();
    (db, folder)
}

fn new(published: Published) -> Edition {
    match published {
        Published::New(edition) => edition,
        Published::Unchanged(edition) => panic!("unchanged: {edition:?}"),
    }
}

#[tokio::test]
async fn a_revision_is_published_once_and_issued_again_in_time() {
    let (db, _folder) = database().await;
    let keys = KeyRing::generate().unwrap();
    let first = new(publish(&db, &keys, &example(), ISS, now()).await.unwrap());
    assert_eq!((first.version, first.document.prev.clone()), (Version::FIRST, None));
    assert_eq!(
        canonical_json(&serde_json::from_slice::<serde_json::Value>(&first.bytes).unwrap()).unwrap(),
        first.bytes
    );
    let hour = now().plus(TimeDelta::hours(1));
    assert!(
        matches!(publish(&db, &keys, &example(), ISS, hour).await.unwrap(), Published::Unchanged(same) if same.version == Version::FIRST)
    );
    assert!(reissue_if_due(&db, &keys, now().plus(TimeDelta::hours(12))).await.unwrap().is_none());

    let again = reissue_if_due(&db, &keys, now().plus(TimeDelta::hours(13))).await.unwrap().unwrap();
    assert_eq!((again.version.number(), again.document.prev.as_ref()), (2, Some(&first.digest)));
    assert_eq!(again.content_digest, first.content_digest);
    assert_ne!(again.digest, first.digest);

    let expired = again.expires_at;
    let third = new(publish(&db, &keys, &example(), ISS, expired).await.unwrap());
    assert_eq!(third.version.number(), 3);
    let earlier = publish(&db, &keys, &example_with("provider.toml", "Acme Cloud", "Acme"), ISS, now()).await;
    assert!(matches!(earlier, Err(PublishError::IssuedLater { .. })));

    let shown = again.digest.clone();
    let found = db.read(move |conn| by_digest(conn, &shown)).await.unwrap().unwrap();
    assert_eq!(found.version.number(), 2);
    assert_eq!(db.read(latest).await.unwrap().unwrap().version.number(), 3);
    assert_eq!(db.read(|conn| revision(conn, Version::FIRST)).await.unwrap().unwrap().bytes, first.bytes);
    assert!(db.read(move |conn| newer_than(conn, third.version)).await.unwrap().is_none());
    let facts = db.read(|conn| {
        use crate::db::schema::audit_facts::dsl::{action, audit_facts, id};
        audit_facts.order(id).select(action).load::<String>(conn).map_err(DbError::from)
    });
    assert_eq!(facts.await.unwrap(), ["catalog.published", "catalog.reissued", "catalog.published"]);
}

#[tokio::test]
async fn of_many_publishers_at_once_one_wins_and_the_others_are_told() {
    let (db, _folder) = database().await;
    let keys = KeyRing::generate().unwrap();
    let catalog = example();
    let all = futures_util::future::join_all((0..8).map(|_| publish(&db, &keys, &catalog, ISS, now()))).await;
    assert_eq!(all.iter().filter(|one| matches!(one, Ok(Published::New(_)))).count(), 1);
    let told = all.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string);
    for told in told {
        assert_eq!(told, "somebody published version 1 first; look at it and publish again");
    }
}

#[tokio::test]
async fn what_changed_for_a_plan_is_said_in_words() {
    let (db, _folder) = database().await;
    let keys = KeyRing::generate().unwrap();
    let old = new(publish(&db, &keys, &example(), ISS, now()).await.unwrap());
    let dearer = example_with("services/postgres.toml", "9.00 USD", "12.00 USD");
    let new = new(publish(&db, &keys, &dearer, ISS, now()).await.unwrap());
    let (postgres, small) = ("postgres".parse().unwrap(), "small".parse().unwrap());
    let said: Vec<_> = changes(&old, &new, &postgres, &small).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["price.amount: was $9.00, now $12.00"]);
    assert_eq!(changes(&old, &new, &"weather".parse().unwrap(), &"metered".parse().unwrap()), []);
    assert_eq!(old.plan(&postgres, &small).unwrap().plan.worst_case().minor(), 900);
    assert_eq!(old.plan(&postgres, &"large".parse().unwrap()), None);
}

#[tokio::test]
async fn a_changed_parent_limit_or_update_is_said_in_words() {
    let (db, _folder) = database().await;
    let keys = KeyRing::generate().unwrap();
    let old = new(publish(&db, &keys, &example(), ISS, now()).await.unwrap());
    let said = async |file, was, is, service: &str, plan: &str| {
        let (db, _folder) = database().await;
        let new = new(publish(&db, &keys, &example_with(file, was, is), ISS, now()).await.unwrap());
        let changes = changes(&old, &new, &service.parse().unwrap(), &plan.parse().unwrap());
        changes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let bucket = "services/bucket.toml";
    let limit = said(bucket, "at_most = 10", "at_most = 3", "bucket", "standard").await;
    assert_eq!(limit, ["at_most: was 10 per project, now 3 per project"]);
    let parent = said(bucket, "    { plan = \"team/pro\" },\n", "", "bucket", "standard").await;
    assert_eq!(parent, ["parents.team/pro: was $5.00 a month, now gone"]);
    let price = said(bucket, "5.00 USD", "6.00 USD", "bucket", "standard").await;
    assert_eq!(price, ["price.amount: was $5.00, now $6.00", "parents.team/pro: was $5.00 a month, now $6.00 a month"]);
    let access = said(bucket, "url = \"BUCKET_URL\"", "address = \"BUCKET_URL\"", "bucket", "standard").await;
    assert_eq!(access, ["access.address: new, BUCKET_URL", "access.url: was BUCKET_URL, now gone"]);
    let team = "services/team.toml";
    let scope = said(team, "scope = \"account\"", "scope = \"project\"", "team", "free").await;
    assert_eq!(
        scope,
        ["at_most: was 1 per account, now 1 per project", "exclusive: was in each account, now in each project"]
    );
    let way = said(team, "direction = \"up\"", "direction = \"any\"", "team", "free").await;
    assert_eq!(way, ["updates.team/pro: was up, now any"]);
}

#[tokio::test]
async fn a_changed_row_is_not_served() {
    let (db, _folder) = database().await;
    let edition = new(publish(&db, &KeyRing::generate().unwrap(), &example(), ISS, now()).await.unwrap());
    let mut row = db.read(|conn| store::latest_row(conn).map_err(DbError::from)).await.unwrap().unwrap();
    row.document = String::from_utf8(row.document).unwrap().replace("9.00", "1.00").into_bytes();
    assert!(matches!(Edition::from_row(row), Err(BrokenRevision::Digest(version)) if version == edition.version));
    let removed = db.write("catalog", |conn| {
        diesel::delete(crate::db::schema::catalog_revisions::table).execute(conn).map_err(DbError::from)
    });
    assert!(removed.await.is_err());
}

#[test]
fn compressed_bytes_are_the_same_bytes() {
    use std::io::Read as _;
    let keys = KeyRing::generate().unwrap();
    let edition = signed(&keys, Version::FIRST, None, now());
    let (mut gzip, mut brotli) = (Vec::new(), Vec::new());
    flate2::read::GzDecoder::new(&*edition.gzip).read_to_end(&mut gzip).unwrap();
    brotli::BrotliDecompress(&mut &*edition.brotli, &mut brotli).unwrap();
    assert_eq!((&gzip, &brotli), (&edition.bytes.to_vec(), &edition.bytes.to_vec()));
    assert!(edition.brotli.len() < edition.bytes.len() / 2);
    assert_eq!(edition.etag(), format!("\"{}\"", edition.digest));
}
