//! A catalog that is served by somebody, and fetched.

use chrono::TimeDelta;

use super::super::published::Said;
use super::super::*;
use super::{example, now};
use crate::clock::Timestamp;
use crate::signing::{KeyPurpose, KeyRing};

/// Serves three fixed documents to `count` requests, one connection each.
fn serve(
    edition: &Edition,
    jwks: Vec<u8>,
    listener: std::net::TcpListener,
    count: usize,
) -> std::thread::JoinHandle<()> {
    use std::io::{Read as _, Write as _};
    let (signed, bytes) = (edition.jws.clone(), edition.bytes.clone());
    std::thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0_u8; 4096];
            let read = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let body: &[u8] = match head.split(' ').nth(1).unwrap() {
                "/catalog.jws" => &signed,
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
