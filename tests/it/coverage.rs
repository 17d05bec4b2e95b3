//! The OpenAPI document: committed as it is generated, and each operation in it has its unauthorized case.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portreeve::fetch::Outgoing;
use portreeve::http::openapi;
use portreeve::simulator::User;
use serde_json::{Value, json};

use crate::challenges::{OPERATIONS, call};
use crate::harness::app::TestApp;
use crate::harness::wire::WireAgent;

/// Operations that take something else than an access token, and what they say to a stranger.
const OTHERS: [(&str, &str, u16, &str); 19] = [
    ("POST", "/v1/accounts", 401, "invalid_attestation"),
    ("POST", "/v1/usage", 401, "unauthorized"),
    ("POST", "/oauth/token", 400, "invalid_grant"),
    ("POST", "/security-events", 400, "invalid_request"),
    ("POST", "/oauth/par", 401, "invalid_client"),
    ("POST", "/oauth/revoke", 401, "invalid_client"),
    ("POST", "/oauth/introspect", 401, "invalid_client"),
    // Off unless the operator lets strangers register.
    ("POST", "/oauth/register", 404, "not_found"),
    // Off unless the operator lets devices wait.
    ("POST", "/oauth/device", 404, "not_found"),
    ("GET", "/provisioning/health", 401, "invalid_signature"),
    ("GET", "/provisioning/services", 401, "invalid_signature"),
    ("POST", "/provisioning/account_requests", 401, "unauthorized"),
    ("POST", "/provisioning/resources", 401, "unauthorized"),
    ("POST", "/provisioning/resources/link", 401, "unauthorized"),
    ("GET", "/provisioning/resources/{id}", 401, "unauthorized"),
    ("POST", "/provisioning/resources/{id}/update_service", 401, "unauthorized"),
    ("POST", "/provisioning/resources/{id}/rotate_credentials", 401, "unauthorized"),
    ("POST", "/provisioning/resources/{id}/remove", 401, "unauthorized"),
    ("POST", "/provisioning/deep_links", 401, "unauthorized"),
];

/// What can be read and is no operation.
const ALSO: [&str; 8] = [
    "/",
    "/catalog",
    "/catalog.jws",
    "/catalog/revisions/1",
    "/oauth/jwks",
    "/openapi.json",
    "/llms.txt",
    "/docs/problems",
];

#[test]
#[expect(clippy::disallowed_methods, reason = "the developer says with UPDATE=1 that the document may change")]
fn the_committed_openapi_document_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/portreeve.json");
    let generated = openapi::document("").unwrap();
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is not what the code says: run this test with UPDATE=1", path.display());
}

#[test]
fn each_operation_says_what_it_answers_to_the_unauthorized() {
    for (method, path, operation) in documented() {
        let answers = &operation["responses"];
        let refusal = if ["/oauth/token", "/security-events"].contains(&path.as_str()) { "400" } else { "401" };
        assert!(answers.get(refusal).is_some(), "{method} {path} does not document {refusal}");
        assert!(operation["operationId"].is_string(), "{method} {path} has no operationId");
    }
}

on_both! {
    async fn each_documented_operation_refuses_a_stranger(db: TestDb) {
        let app = TestApp::start(&db).await;
        // Somebody else may speak the wire.
        let agent = WireAgent::register(&app).await;
        let stranger = app.stranger();
        let mut left: BTreeSet<(String, String)> =
            documented().into_iter().map(|(method, path, _)| (method, path)).collect();
        for (method, path, _) in OPERATIONS {
            assert!(left.remove(&(method.to_owned(), path.replace("res_x", "{id}"))), "{method} {path} is not documented");
            stranger.send(call(&stranger, method, path)).await.problem(401, "unauthorized");
        }
        for (method, path, status, code) in OTHERS {
            assert!(left.remove(&(method.to_owned(), path.to_owned())), "{method} {path} is not documented");
            let answer = stranger.send(unauthorized(&agent, method, path)).await;
            assert_eq!(answer.status(), status, "{method} {path}: {}", answer.text());
            let body = answer.json();
            let said = match path {
                _ if path.starts_with("/v1/") || path == "/oauth/register" || path == "/oauth/device" => &body["code"],
                _ if path.starts_with("/provisioning/") => &body["error"]["code"],
                "/security-events" => &body["err"],
                _ => &body["error"],
            };
            assert_eq!(said, code, "{method} {path}: {body}");
        }
        // For browsers: nobody is sent anywhere without a client.
        assert!(left.remove(&("GET".to_owned(), "/oauth/authorize".to_owned())));
        let answer = stranger.get("/oauth/authorize").await.expect_status(400);
        assert!(answer.header("content-type").starts_with("text/html"));
        assert!(left.is_empty(), "no unauthorized case for {left:?}: add a row");
        app.stop().await;
    }

    async fn a_method_that_is_not_documented_is_refused_with_those_that_are(db: TestDb) {
        let app = TestApp::start(&db).await;
        for (path, has) in methods().into_iter().filter(|(path, _)| !is_wire(path) && path != "/oauth/register" && path != "/oauth/device") {
            let path = path.replace("{id}", "res_x");
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
                if has.contains(method) {
                    continue;
                }
                let answer = app.stranger().raw(method, &path).await;
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
                let mut allow = head.lines().filter_map(|line| line.strip_prefix("allow: "));
                let listed: BTreeSet<&str> = allow.next().unwrap_or_default().split(", ").collect();
                assert_eq!(listed, has.iter().map(String::as_str).collect(), "{method} {path}");
                assert!(allow.next().is_none() && head.contains("content-type: application/problem+json"), "{head}");
                if method == "HEAD" {
                    assert_eq!(body, "");
                } else {
                    let problem: Value = serde_json::from_str(body).unwrap();
                    assert_eq!((&problem["code"], &problem["status"]), (&json!("method_not_allowed"), &json!(405)));
                }
            }
        }
        app.stop().await;
    }

    async fn head_is_answered_as_get_without_the_body(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let made = agent.buys("sandbox", "free").await.expect_status(201).json();
        let id = made["resource"]["id"].as_str().unwrap();
        let documented = methods().into_iter().filter(|(path, has)| has.contains("GET") && !is_wire(path) && path != "/oauth/authorize");
        let paths = documented.map(|(path, _)| path.replace("{id}", id)).chain(ALSO.map(str::to_owned));
        for path in paths {
            let (got, head) = (agent.client.get(&path).await, agent.client.head(&path).await);
            assert_eq!((got.status(), head.status(), head.bytes()), (200, 200, &b""[..]), "{path}");
            for header in ["content-type", "content-length", "cache-control"] {
                assert_eq!(got.header(header), head.header(header), "{path}");
            }
        }
        app.stop().await;
    }

    async fn the_body_of_a_head_is_left_out_also_when_the_next_request_is_there_already(db: TestDb) {
        let app = TestApp::start(&db).await;
        // The first one waits for the database; meanwhile the server reads the second.
        let path = "/d/dl_nobody";
        let got = app.stranger().get(path).await.expect_status(410);
        let answers = app.stranger().raw_pair(("HEAD", path), ("GET", "/oauth/jwks")).await;
        let (first, second) = answers.split_once("\r\n\r\n").unwrap();
        assert!(first.starts_with("HTTP/1.1 410 "), "{first}");
        assert!(first.contains(&format!("content-length: {}", got.header("content-length"))), "{first}");
        assert!(second.starts_with("HTTP/1.1 200 "), "{second}");
        assert!(second.ends_with('}') && second.contains("\"keys\""), "{second}");
        app.stop().await;
    }

    async fn the_served_document_is_the_committed_one_with_its_address(db: TestDb) {
        let app = TestApp::start(&db).await;
        let mut served = app.stranger().get("/openapi.json").await.expect_status(200).json();
        let servers = served.as_object_mut().unwrap().remove("servers").unwrap();
        assert_eq!(servers[0]["url"], json!(app.base));
        let generated: Value = serde_json::from_str(&openapi::document("").unwrap()).unwrap();
        assert_eq!(served, generated);
        app.stop().await;
    }
}

/// The provisioning wire has envelopes of its own, and tests of them.
fn is_wire(path: &str) -> bool {
    path.starts_with("/provisioning/") || path == "/oauth/token"
}

/// Each operation of the document: method, path, description.
pub(crate) fn documented() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(&openapi::document("").unwrap()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push((method.to_ascii_uppercase(), path.clone(), operation.clone()));
        }
    }
    operations
}

/// Each path with its methods; HEAD comes with GET.
fn methods() -> BTreeMap<String, BTreeSet<String>> {
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in documented() {
        let has = methods.entry(path).or_default();
        if method == "GET" {
            has.insert("HEAD".to_owned());
        }
        has.insert(method);
    }
    methods
}

fn unauthorized(agent: &WireAgent<'_>, method: &str, path: &str) -> Outgoing {
    let stranger = &agent.client;
    match path {
        "/v1/accounts" => Outgoing::post_json(stranger.url(path), &json!({"id_token": "a.b.c"})),
        "/oauth/token" => {
            let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c";
            Outgoing::post(stranger.url(path), "application/x-www-form-urlencoded", form.as_bytes().to_vec())
        }
        "/security-events" => Outgoing::post(stranger.url(path), "application/secevent+jwt", b"a.b.c".to_vec()),
        "/oauth/par" | "/oauth/revoke" | "/oauth/introspect" => {
            Outgoing::post(stranger.url(path), "application/x-www-form-urlencoded", b"token=x".to_vec())
        }
        "/provisioning/account_requests" => {
            let body = agent.account_request(&User::ada());
            Outgoing::post_json(stranger.url(path), &body).header("api-version", "0.1d")
        }
        _ if method == "GET" => Outgoing::get(stranger.url(&path.replace("{id}", "res_x"))),
        _ => Outgoing::post_json(stranger.url(&path.replace("{id}", "res_x")), &json!({})),
    }
}
