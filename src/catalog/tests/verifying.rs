//! What an outside client believes and refuses.

use chrono::TimeDelta;

use super::super::*;
use super::{ISS, now, signed};
use crate::signing::{Algorithm, KeyPurpose, KeyRing, SigningKey};

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

/// Rollback: a real revision that was replaced.
#[test]
fn whoever_saw_a_revision_is_shown_no_older_one() {
    let keys = KeyRing::generate().unwrap();
    let later = now().plus(TimeDelta::hours(1));
    let first = signed(&keys, Version::FIRST, None, now());
    let second = signed(&keys, Version::try_from(2).unwrap(), Some(&first.digest), later);
    let check = |edition: &Edition, seen: &Edition| {
        verify(&fetched(edition), &trusted(&keys), ISS, Some(&seen_of(seen)), later).map(drop)
    };
    assert_eq!(check(&second, &first), Ok(()));
    assert_eq!(check(&first, &second), Err(VerifyError::WentBack { found: first.version, seen: second.version }));
}

/// Freeze: whoever is between keeps the newest revision from a reader, who then sees what they saw before.
#[test]
fn a_reader_who_is_kept_from_what_is_new_believes_the_old_for_a_day_at_most() {
    let keys = KeyRing::generate().unwrap();
    let edition = signed(&keys, Version::FIRST, None, now());
    let again = |at| verify(&fetched(&edition), &trusted(&keys), ISS, Some(&seen_of(&edition)), at).map(drop);
    assert_eq!(again(now().plus(TimeDelta::hours(23))), Ok(()));
    assert_eq!(again(now().plus(TimeDelta::hours(24))), Err(VerifyError::Expired(edition.expires_at)));
}

/// Mix and match: parts that are all signed, of revisions that never were one.
#[test]
fn parts_of_two_revisions_are_no_catalog() {
    let keys = KeyRing::generate().unwrap();
    let first = signed(&keys, Version::FIRST, None, now());
    let second = signed(&keys, Version::try_from(2).unwrap(), Some(&first.digest), now());
    let refused = |jws: &serde_json::Value, served: &Edition| {
        let mixed = Fetched { jws: serde_json::to_vec(jws).unwrap(), served: served.bytes.to_vec() };
        verify(&mixed, &trusted(&keys), ISS, None, now()).unwrap_err()
    };
    let read = |edition: &Edition| serde_json::from_slice::<serde_json::Value>(&edition.jws).unwrap();
    let (one, two) = (read(&first), read(&second));
    assert_eq!(refused(&two, &first), VerifyError::NotServed);
    for (index, name) in [(0, "ES256"), (1, "EdDSA")] {
        let mut crossed = two.clone();
        crossed["signatures"][index] = one["signatures"][index].clone();
        assert_eq!(refused(&crossed, &second), VerifyError::Signature(name.to_owned()));
    }
    let mut other = two;
    other["payload"] = one["payload"].clone();
    assert_eq!(refused(&other, &first), VerifyError::Signature("ES256".to_owned()));
}

/// Split view: the provider itself signs two catalogs under one number.
#[test]
fn readers_who_were_shown_two_catalogs_of_one_number_find_out_when_they_compare() {
    let keys = KeyRing::generate().unwrap();
    let later = now().plus(TimeDelta::hours(1));
    let (ours, theirs) = (signed(&keys, Version::FIRST, None, now()), signed(&keys, Version::FIRST, None, later));
    assert_ne!(ours.digest, theirs.digest);
    let check = |edition: &Edition, seen: Option<LastSeen>| {
        verify(&fetched(edition), &trusted(&keys), ISS, seen.as_ref(), later).map(|verified| verified.seen())
    };
    // Each alone believes what they are shown, and what one remembers refutes the other.
    let (we, they) = (check(&ours, None).unwrap(), check(&theirs, None).unwrap());
    assert_eq!(check(&theirs, Some(we.clone())), Err(VerifyError::Changed(Version::FIRST)));
    assert_eq!(check(&ours, Some(they)), Err(VerifyError::Changed(Version::FIRST)));
    // Nor do the views come together again: the next revision names the one that it replaces.
    let next = signed(&keys, Version::try_from(2).unwrap(), Some(&theirs.digest), later);
    assert_eq!(check(&next, Some(we)), Err(VerifyError::Changed(Version::FIRST)));
}

fn seen_of(edition: &Edition) -> LastSeen {
    LastSeen { version: edition.version, digest: edition.digest.clone() }
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
