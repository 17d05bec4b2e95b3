//! The catalog over HTTP: the same bytes for everybody, prepared once, checkable by anybody.

use std::io::Read as _;
use std::sync::Arc;

use chrono::TimeDelta;
use portreeve::catalog;
use portreeve::fetch::Outgoing;
use portreeve::secret::sha256_name;
use portreeve::simulator::check_catalog;
use serde_json::json;

use crate::harness::app::TestApp;
use crate::harness::client::Client;

on_both! {
    async fn the_etag_is_the_digest_of_the_bytes_and_saves_sending_them(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let answer = anyone.get("/catalog").await.expect_status(200);
        let etag = answer.header("etag").to_owned();
        assert_eq!(etag, format!("\"{}\"", sha256_name(answer.bytes())));
        let canonical = portreeve::signing::canonical_json(&answer.json()).unwrap();
        assert_eq!(canonical.as_slice(), answer.bytes(), "RFC 8785");
        for list in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let unchanged = anyone.get_with("/catalog", "if-none-match", &list).await.expect_status(304);
            assert!(unchanged.bytes().is_empty(), "{list}");
            assert_eq!((unchanged.header("etag"), unchanged.header("vary")), (etag.as_str(), "accept-encoding"), "{list}");
        }
        for other in ["\"other\"", etag.trim_matches('"'), "\"sha256:0\", \"x\""] {
            anyone.get_with("/catalog", "if-none-match", other).await.expect_status(200);
        }
        let head = Outgoing::head(anyone.url("/catalog")).header("if-none-match", etag);
        anyone.send(head).await.expect_status(304);
        app.stop().await;
    }

    async fn compressed_forms_decode_to_the_same_bytes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        for path in ["/catalog", "/catalog.jws", "/catalog/revisions/1"] {
            let plain = anyone.get(path).await.expect_status(200);
            assert!(!plain.has_header("content-encoding"));
            let mut tags = vec![plain.header("etag").to_owned()];
            for (accepted, coding) in [("gzip", "gzip"), ("br;q=1.0, gzip", "br"), ("gzip, br;q=0", "gzip")] {
                let coded = anyone.get_with(path, "accept-encoding", accepted).await.expect_status(200);
                assert_eq!(coded.header("content-encoding"), coding, "{path}");
                assert_eq!(decoded(coding, coded.bytes()), plain.bytes(), "{path} {coding}");
                assert_eq!(coded.header("vary"), "accept-encoding");
                assert!(coded.bytes().len() < plain.bytes().len(), "{path} {coding}");
                tags.push(coded.header("etag").to_owned());
            }
            // Other bytes, another strong tag; the same bytes, the same tag.
            assert_eq!(tags[1], tags[3]);
            assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
            assert!(tags.iter().all(|tag| tag.starts_with('"')), "{tags:?}");
            let none = anyone.get_with(path, "accept-encoding", "gzip;q=0, identity").await;
            assert!(!none.has_header("content-encoding"));
        }
        app.stop().await;
    }

    async fn everybody_gets_the_same_bytes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let anyone = app.stranger();
        let first = anyone.get("/catalog").await;
        for other in [
            agent.client.get("/catalog").await,
            anyone.get_with("/catalog", "user-agent", "Mozilla/5.0").await,
            anyone.get_with("/catalog", "accept-language", "de").await,
            anyone.get_with("/catalog", "origin", "https://elsewhere.example").await,
            anyone.get("/catalog?x=1").await,
            anyone.get("/catalog/revisions/1").await,
        ] {
            assert_eq!((other.status(), other.bytes()), (200, first.bytes()));
            assert_eq!(other.header("access-control-allow-origin"), "*");
            assert!(!other.has_header("set-cookie"));
        }
        let preflight = anyone.raw("OPTIONS", "/catalog").await.to_ascii_lowercase();
        assert!(preflight.starts_with("http/1.1 204 "), "{preflight}");
        assert!(preflight.contains("access-control-allow-origin: *\r\n"), "{preflight}");
        app.stop().await;
    }

    async fn a_revision_never_changes(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let first = anyone.get("/catalog").await.expect_status(200);
        app.publishes("services/postgres.toml", "9.00 USD", "10.00 USD").await;
        let second = anyone.get("/catalog").await.expect_status(200);
        assert_ne!(first.header("etag"), second.header("etag"));
        assert_eq!((&second.json()["version"], &second.json()["prev"]), (&json!(2), &json!(sha256_name(first.bytes()))));
        let old = anyone.get("/catalog/revisions/1").await.expect_status(200);
        assert_eq!(old.bytes(), first.bytes());
        assert!(old.header("cache-control").contains("immutable"), "{}", old.header("cache-control"));
        assert!(!second.header("cache-control").contains("immutable"));
        assert_eq!(anyone.get("/catalog/revisions/2").await.bytes(), second.bytes());
        anyone.get("/catalog/revisions/1/jws").await.expect_status(200);
        for unknown in ["3", "0", "-1", "x", "99999999999999999999"] {
            anyone.get(&format!("/catalog/revisions/{unknown}")).await.problem(404, "not_found");
        }
        app.stop().await;
    }

    async fn an_old_revision_is_prepared_once_and_at_most_64_are_kept(db: TestDb) {
        let app = TestApp::start(&db).await;
        let house = app.app();
        while house.edition().version.number() < 70 {
            app.pass(TimeDelta::hours(13));
            let edition = match catalog::reissue_if_due(&house.db, &house.ring, app.now()).await {
                // The provider's own worker looks too.
                Ok(None) | Err(catalog::PublishError::SomebodyFirst(_)) => {
                    let known = house.edition().version;
                    house.db.read(move |conn| catalog::newer_than(conn, known)).await.unwrap()
                }
                issued => issued.unwrap(),
            };
            if let Some(edition) = edition {
                house.take_up(edition);
            }
        }
        let of = async |number: i64| house.edition_of(number.try_into().unwrap()).await.unwrap().unwrap();
        let first = of(1).await;
        assert!(Arc::ptr_eq(&first, &of(1).await), "asked by number");
        let by_digest = house.edition_with(&first.digest).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &by_digest), "asked by digest");
        drop((first, by_digest));

        let mut seen = Vec::new();
        for number in 1..70 {
            seen.push(Arc::downgrade(&of(number).await));
        }
        let kept = seen.iter().filter(|edition| edition.upgrade().is_some()).count();
        assert_eq!(kept, 64);
        assert!(seen[68].upgrade().is_some() && seen[0].upgrade().is_none(), "the last ones asked for");
        app.stop().await;
    }

    async fn an_independent_reader_verifies_the_catalog_and_refuses_a_changed_byte(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let (bytes, jws, keys) = (
            anyone.get("/catalog").await.bytes().to_vec(),
            anyone.get("/catalog.jws").await.json(),
            anyone.get("/oauth/jwks").await.json(),
        );
        let checked = check_catalog(&bytes, &jws, &keys, &app.base, app.now()).unwrap();
        assert_eq!((checked.version, checked.services.len()), (1, 7));
        let mut changed = bytes.clone();
        let at = changed.windows(4).position(|four| four == b"9.00").unwrap();
        changed[at] = b'8';
        assert!(check_catalog(&changed, &jws, &keys, &app.base, app.now()).is_err(), "a changed byte");
        let late = app.now().plus(TimeDelta::hours(25));
        assert!(check_catalog(&bytes, &jws, &keys, &app.base, late).is_err(), "an expired document");
        assert!(check_catalog(&bytes, &jws, &keys, "https://elsewhere.example", app.now()).is_err(), "another issuer");
        let strangers = json!({"keys": []});
        assert!(check_catalog(&bytes, &jws, &strangers, &app.base, app.now()).is_err(), "another key");
        app.stop().await;
    }

    async fn the_catalog_is_issued_again_before_it_expires(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let first = anyone.get("/catalog").await.json();
        let reissue = async || {
            let house = app.app();
            match catalog::reissue_if_due(&house.db, &house.ring, app.now()).await {
                Ok(edition) => edition.map(|edition| house.take_up(edition)),
                // The provider's own worker looks too, and may be the first.
                Err(catalog::PublishError::SomebodyFirst(_)) => None,
                Err(other) => panic!("{other}"),
            }
        };
        app.pass(TimeDelta::hours(11));
        assert!(reissue().await.is_none(), "more than half of its life is left");
        app.pass(TimeDelta::hours(3));
        let _ = reissue().await;
        let second = wait_for_version(&anyone, 2).await;
        assert_eq!(second["version"], 2);
        assert_eq!(first["services"], second["services"]);
        let keys = anyone.get("/oauth/jwks").await.json();
        let bytes = anyone.get("/catalog").await.bytes().to_vec();
        let late = app.now().plus(TimeDelta::hours(23));
        check_catalog(&bytes, &anyone.get("/catalog.jws").await.json(), &keys, &app.base, late).unwrap();
        app.stop().await;
    }
}

async fn wait_for_version(client: &Client, version: u64) -> serde_json::Value {
    for _ in 0..400 {
        let found = client.get("/catalog").await.json();
        if found["version"] == version {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no version {version}")
}

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).map(drop).unwrap(),
        "br" => brotli::BrotliDecompress(&mut &*bytes, &mut plain).unwrap(),
        other => panic!("{other}"),
    }
    plain
}
