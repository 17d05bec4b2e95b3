//! Laws of the catalog as a whole, and the refusals of hostile input in `tests/data/catalogs`.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;

use super::published::Said;
use super::*;
use crate::clock::Timestamp;
use crate::signing::{KeyPurpose, KeyRing};

mod laws;
mod projection;
mod publishing;
mod served;
mod verifying;

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
    assert_eq!(ids, ["bucket", "cache", "domain", "postgres", "sandbox", "team", "weather"]);
    let plan = |index: usize| catalog.content().services[index].plans()[0].clone();
    assert_eq!(plan(2).worst_case().minor(), 1200);
    assert!(catalog.content().services[2].irreversible());
    assert_eq!(plan(3).price.to_string(), "$9.00 a month");
    assert_eq!(plan(4).worst_case().minor(), 0);
    let requests = plan(6).rate(&"requests".parse().unwrap()).cloned().unwrap();
    assert_eq!(requests.cost(1500.into()).unwrap().minor(), 75);
    assert_eq!(catalog.notes(), Vec::<String>::new());
    let driver = catalog.driver("weather").unwrap();
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
