//! Laws of the catalog as a whole, and the refusals of hostile input in `tests/data/catalogs`.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use diesel::prelude::*;
use proptest::prelude::*;

use super::published::Said;
use super::*;
use crate::clock::Timestamp;
use crate::db::{Db, DbError, DbSettings};
use crate::signing::{Algorithm, KeyPurpose, KeyRing, SigningKey, canonical_json};

const ISS: &str = "https://acme.example";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-20T10:00:00Z").unwrap()
}

fn example() -> Catalog {
    validate(&here("catalog")).unwrap()
}

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

#[test]
fn every_hostile_catalog_is_refused_with_its_place() {
    let mut scenarios: Vec<_> =
        fs::read_dir(here("tests/data/catalogs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scenarios.sort();
    assert!(scenarios.len() > 30);
    for scenario in scenarios {
        let told: Vec<_> = validate(&scenario).unwrap_err().iter().map(ToString::to_string).collect();
        let told = told.join("\n") + "\n";
        let expected = scenario.join("expected.txt");
        if std::option_env!("WRITE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&expected).unwrap_or_default(), "{}", scenario.display());
    }
}

#[test]
fn reading_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    init(&folder.path().join("c")).unwrap();
    let services = folder.path().join("c/services");
    let long = "#".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1);
    fs::write(services.join("long.toml"), long).unwrap();
    let told = validate(&folder.path().join("c")).unwrap_err();
    assert_eq!(told[0].to_string(), "services/long.toml:1:1: the file is longer than 256 KiB: split it");
    fs::write(services.join("long.toml"), format!("a = {}", "[".repeat(100_000))).unwrap();
    assert!(!validate(&folder.path().join("c")).unwrap_err().is_empty());
    for number in 0..=MAX_FILES {
        fs::write(services.join(format!("{number}.toml")), "").unwrap();
    }
    let told = validate(&folder.path().join("c")).unwrap_err();
    assert_eq!(told[0].to_string(), "services:1:1: there are more than 200 files: join some");
}

#[test]
fn the_example_says_what_the_walk_needs() {
    let catalog = example();
    let ids: Vec<_> = catalog.content().services.iter().map(|service| service.id().to_string()).collect();
    assert_eq!(ids, ["domain", "postgres", "sandbox", "weather"]);
    let plan = |index: usize| catalog.content().services[index].plans()[0].clone();
    assert_eq!(plan(0).worst_case().minor(), 1200);
    assert!(catalog.content().services[0].irreversible());
    assert_eq!(plan(1).price.to_string(), "$9.00 a month");
    assert_eq!(plan(2).worst_case().minor(), 0);
    let requests = plan(3).rate(&"requests".parse().unwrap()).cloned().unwrap();
    assert_eq!(requests.cost(1500.into()).unwrap().minor(), 75);
    let driver = catalog.driver(&"weather".parse().unwrap()).unwrap();
    assert_eq!(driver.settings["credentials"]["API_KEY"].as_str(), Some("wx_{resource_id}.{mac}"));
}

#[test]
fn driver_settings_are_not_published() {
    let said = Said::new(ISS, example().content()).unwrap().issue(Version::FIRST, None, now()).unwrap();
    let text = String::from_utf8(said).unwrap();
    for hidden in ["driver", "static", "settings", "{mac}", "platform_url"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    assert!(text.contains(r#""amount":"0.50""#) && text.contains(r#""per":"1000""#));
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

/// The example as a revision, without a database.
fn signed(keys: &KeyRing, version: Version, prev: Option<&str>, at: Timestamp) -> Edition {
    let document = Said::new(ISS, example().content()).unwrap().issue(version, prev, at).unwrap();
    let jws = serde_json::to_vec(&keys.sign_general(KeyPurpose::Catalog, "catalog+jws", &document).unwrap()).unwrap();
    let digest = crate::secret::sha256_name(&document);
    let expires_at = at.plus(TimeDelta::hours(24));
    Edition::from_row(store::Row {
        version,
        content_digest: digest.clone(),
        digest,
        document,
        jws,
        issued_at: at,
        expires_at,
    })
    .unwrap()
}

fn fetched(edition: &Edition) -> Fetched {
    Fetched { jws: edition.jws.to_vec(), served: edition.bytes.to_vec() }
}

fn trusted(keys: &KeyRing) -> TrustedKeys {
    read_keys(&serde_json::to_vec(&keys.jwks()).unwrap()).unwrap()
}

#[test]
fn what_was_published_is_believed() {
    let keys = KeyRing::generate().unwrap();
    let edition = signed(&keys, Version::FIRST, None, now());
    let verified = verify(&fetched(&edition), &trusted(&keys), ISS, None, now()).unwrap();
    assert_eq!((verified.digest.as_str(), verified.kids.len()), (edition.digest.as_str(), 2));
    assert_eq!(verified.document, edition.document);
    assert!(verify(&fetched(&edition), &trusted(&keys), ISS, Some(&verified.seen()), now()).is_ok());
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let keys = KeyRing::generate().unwrap();
    let good = fetched(&signed(&keys, Version::FIRST, None, now()));
    for index in (0..good.jws.len()).step_by(7) {
        let mut changed = good.clone();
        changed.jws[index] ^= 1;
        assert!(verify(&changed, &trusted(&keys), ISS, None, now()).is_err(), "byte {index}");
    }
    let mut changed = good.clone();
    changed.served[100] ^= 1;
    assert_eq!(verify(&changed, &trusted(&keys), ISS, None, now()).unwrap_err(), VerifyError::NotServed);
    let mut longer = good;
    longer.served.push(b'\n');
    assert_eq!(verify(&longer, &trusted(&keys), ISS, None, now()).unwrap_err(), VerifyError::NotServed);
}

#[test]
fn a_wrong_key_a_missing_signature_and_another_type_are_refused() {
    let (keys, others) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
    let edition = signed(&keys, Version::FIRST, None, now());
    assert!(matches!(verify(&fetched(&edition), &trusted(&others), ISS, None, now()), Err(VerifyError::UnknownKey(_))));

    // The right `kid`, another key.
    let kid = |keys: &KeyRing, alg| keys.key(KeyPurpose::Catalog, alg).unwrap().kid().to_owned();
    let mut pinned = serde_json::to_string(&others.jwks()).unwrap();
    for alg in [Algorithm::Es256, Algorithm::EdDsa] {
        pinned = pinned.replace(&kid(&others, alg), &kid(&keys, alg));
    }
    let pinned = read_keys(pinned.as_bytes()).unwrap();
    assert_eq!(
        verify(&fetched(&edition), &pinned, ISS, None, now()).unwrap_err(),
        VerifyError::Signature("ES256".to_owned())
    );

    let mut jws: serde_json::Value = serde_json::from_slice(&edition.jws).unwrap();
    jws["signatures"].as_array_mut().unwrap().pop();
    let half = Fetched { jws: serde_json::to_vec(&jws).unwrap(), ..fetched(&edition) };
    assert_eq!(verify(&half, &trusted(&keys), ISS, None, now()).unwrap_err(), VerifyError::Unsigned("EdDSA"));

    let other = keys.sign_general(KeyPurpose::Catalog, "receipt+jws", &edition.bytes).unwrap();
    let other = Fetched { jws: serde_json::to_vec(&other).unwrap(), ..fetched(&edition) };
    assert!(matches!(verify(&other, &trusted(&keys), ISS, None, now()), Err(VerifyError::Malformed(_))));
}

#[test]
fn an_expired_a_future_and_a_strangers_catalog_are_refused() {
    let keys = KeyRing::generate().unwrap();
    let edition = signed(&keys, Version::FIRST, None, now());
    let at = |at| verify(&fetched(&edition), &trusted(&keys), ISS, None, at).map(drop);
    assert_eq!(at(edition.expires_at), Err(VerifyError::Expired(edition.expires_at)));
    assert_eq!(at(edition.expires_at.minus(TimeDelta::seconds(1))), Ok(()));
    assert!(matches!(at(now().minus(TimeDelta::hours(1))), Err(VerifyError::Times { .. })));
    let stranger = verify(&fetched(&edition), &trusted(&keys), "https://other.example", None, now());
    assert!(matches!(stranger, Err(VerifyError::Issuer { .. })));
}

#[test]
fn an_older_version_and_a_rewritten_one_are_refused() {
    let keys = KeyRing::generate().unwrap();
    let later = now().plus(TimeDelta::hours(1));
    let first = signed(&keys, Version::FIRST, None, now());
    let second = signed(&keys, Version::try_from(2).unwrap(), Some(&first.digest), later);
    let seen = |edition: &Edition| LastSeen { version: edition.version, digest: edition.digest.clone() };
    let check = |edition: &Edition, seen: &LastSeen| {
        verify(&fetched(edition), &trusted(&keys), ISS, Some(seen), later).map(drop)
    };
    assert_eq!(check(&second, &seen(&first)), Ok(()));
    assert_eq!(
        check(&first, &seen(&second)),
        Err(VerifyError::WentBack { found: first.version, seen: second.version })
    );
    let rewritten = signed(&keys, Version::FIRST, None, later);
    assert_eq!(check(&rewritten, &seen(&first)), Err(VerifyError::Changed(Version::FIRST)));
    let unjoined = signed(&keys, Version::try_from(2).unwrap(), Some(&rewritten.digest), later);
    assert_eq!(check(&unjoined, &seen(&first)), Err(VerifyError::Changed(Version::FIRST)));
}

#[test]
fn bytes_that_are_not_canonical_are_refused_though_signed() {
    let keys = KeyRing::generate().unwrap();
    let edition = signed(&keys, Version::FIRST, None, now());
    let loose = serde_json::to_vec_pretty(&edition.document).unwrap();
    let jws = keys.sign_general(KeyPurpose::Catalog, "catalog+jws", &loose).unwrap();
    let fetched = Fetched { jws: serde_json::to_vec(&jws).unwrap(), served: loose };
    assert_eq!(verify(&fetched, &trusted(&keys), ISS, None, now()).unwrap_err(), VerifyError::NotCanonical);
}

#[test]
fn an_rsa_or_unnamed_key_never_decides() {
    let key = SigningKey::generate(KeyPurpose::Catalog, Algorithm::Es256).unwrap().0;
    let mut unnamed = serde_json::to_value(key.public()).unwrap();
    unnamed.as_object_mut().unwrap().remove("kid");
    let keys = read_keys(serde_json::json!({"keys": [unnamed]}).to_string().as_bytes()).unwrap();
    let edition = signed(&KeyRing::generate().unwrap(), Version::FIRST, None, now());
    assert!(matches!(verify(&fetched(&edition), &keys, ISS, None, now()), Err(VerifyError::UnknownKey(_))));
    assert!(read_keys(br#"{"keys":[]}"#).is_err() && read_keys(b"[]").is_err());
}

/// Serves three fixed documents to `count` requests, one connection each.
fn serve(
    edition: &Edition,
    jwks: Vec<u8>,
    listener: std::net::TcpListener,
    count: usize,
) -> std::thread::JoinHandle<()> {
    use std::io::{Read as _, Write as _};
    let (jws, bytes) = (edition.jws.clone(), edition.bytes.clone());
    std::thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0_u8; 4096];
            let read = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let body: &[u8] = match head.split(' ').nth(1).unwrap() {
                "/catalog.jws" => &jws,
                "/catalog" => &bytes,
                "/oauth/jwks" => &jwks,
                other => panic!("{other}"),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    })
}

/// The example, issued at `at` for an issuer at a free port of this machine.
fn on_this_machine(keys: &KeyRing, at: Timestamp) -> (Edition, std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let document = Said::new(&base, example().content()).unwrap().issue(Version::FIRST, None, at).unwrap();
    let jws = serde_json::to_vec(&keys.sign_general(KeyPurpose::Catalog, "catalog+jws", &document).unwrap()).unwrap();
    let digest = crate::secret::sha256_name(&document);
    let (version, expires_at) = (Version::FIRST, at.plus(TimeDelta::hours(24)));
    let row = store::Row { version, content_digest: digest.clone(), digest, document, jws, issued_at: at, expires_at };
    (Edition::from_row(row).unwrap(), listener, base)
}

#[tokio::test]
async fn a_served_catalog_is_fetched_and_verified() {
    let keys = KeyRing::generate().unwrap();
    let (edition, listener, base) = on_this_machine(&keys, now());
    let server = serve(&edition, serde_json::to_vec(&keys.jwks()).unwrap(), listener, 3);
    let base = base.parse().unwrap();
    let fetch = crate::fetch::Fetch::new(&fetch_settings(&base)).unwrap();
    let verified = verify_url(&fetch, &base, None, None, now()).await.unwrap();
    assert_eq!(verified.digest, edition.digest);
    server.join().unwrap();
}

/// Needs Node and `npm ci` in `tests/clients/jose`: run with `--ignored`.
#[test]
#[ignore = "needs the npm package jose"]
fn the_unmodified_jose_package_verifies_the_catalog() {
    use crate::clock::{Clock as _, SystemClock};
    let keys = KeyRing::generate().unwrap();
    let (edition, listener, base) = on_this_machine(&keys, Timestamp::from_seconds(SystemClock.now().seconds()));
    let server = serve(&edition, serde_json::to_vec(&keys.jwks()).unwrap(), listener, 3);
    let output =
        std::process::Command::new("node").arg(here("tests/clients/jose/verify.mjs")).arg(base).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains(&edition.digest));
    server.join().unwrap();
}

fn price() -> impl Strategy<Value = Price> {
    let payable = (1_i64..100_000_000, prop::sample::select(vec!["USD", "JPY", "KWD"])).prop_map(|(minor, code)| {
        let currency: crate::money::Currency = code.parse().unwrap();
        let amount = crate::money::Amount::from_minor(minor).unwrap();
        let rate: crate::money::Rate =
            format!("{} {code}", crate::money::Money { amount, currency }.major()).parse().unwrap();
        Payable::try_from(rate).unwrap()
    });
    let meter = (1_u64..1_000_000_000, 0_u32..12, 1_u32..10_000);
    let metered = (payable.clone(), prop::option::of(1_i64..100), prop::collection::vec(meter, 1..4));
    prop_oneof![
        Just(Price::Free),
        payable.clone().prop_map(Price::Monthly),
        payable.prop_map(Price::OneOff),
        metered.prop_filter_map("a base above the maximum", |(most, base, meters)| {
            let currency = most.money().currency;
            let meters = meters.into_iter().enumerate().map(|(index, (digits, scale, per))| Meter {
                id: format!("m{index}").parse().unwrap(),
                unit: "call".parse().unwrap(),
                rate: format!("{} {currency}", rust_decimal::Decimal::new(i64::try_from(digits).unwrap(), scale))
                    .parse()
                    .unwrap(),
                per: per.to_string().parse().unwrap(),
            });
            let base = base.map(|whole| {
                let rate: crate::money::Rate = format!("{whole} {currency}").parse().unwrap();
                Payable::try_from(rate).unwrap()
            });
            Metered::new(base, meters.collect(), most).ok().map(Price::Metered)
        }),
    ]
}

proptest! {
    #[test]
    fn a_published_plan_reads_back(price in price()) {
        let plan = Plan {
            id: "p".parse().unwrap(),
            title: "P".parse().unwrap(),
            description: None,
            price: price.clone(),
            credentials: vec!["A".parse().unwrap()],
            configuration: Configuration::default(),
        };
        let bytes = canonical_json(&plan).unwrap();
        let again: Plan = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&canonical_json(&again).unwrap(), &bytes);
        prop_assert_eq!(again.worst_case(), price.worst_case());
        prop_assert_eq!(again.price.due_at_once(), price.due_at_once());
        if let (Price::Metered(was), Price::Metered(is)) = (&price, &again.price) {
            for (was, is) in was.meters().iter().zip(is.meters()) {
                prop_assert_eq!((was.rate.decimal(), was.per), (is.rate.decimal(), is.per));
            }
        }
    }

    #[test]
    fn the_names_of_the_files_do_not_change_the_bytes(order in Just(vec!["a", "b", "c", "d"]).prop_shuffle()) {
        let folder = tempfile::tempdir().unwrap();
        init(&folder.path().join("c")).unwrap();
        let services = folder.path().join("c/services");
        for (name, was) in order.iter().zip(["domain", "postgres", "sandbox", "weather"]) {
            fs::rename(services.join(format!("{was}.toml")), services.join(format!("{name}.toml"))).unwrap();
        }
        let bytes = |catalog: &Catalog| Said::new(ISS, catalog.content()).unwrap().issue(Version::FIRST, None, now()).unwrap();
        let shuffled = bytes(&validate(&folder.path().join("c")).unwrap());
        prop_assert_eq!(&shuffled, &bytes(&example()));
        let value: serde_json::Value = serde_json::from_slice(&shuffled).unwrap();
        prop_assert_eq!(canonical_json(&value).unwrap(), shuffled);
    }
}
