//! Requests that are too large, of the wrong kind, or say a thing twice or in a way that nobody knows.

use serde_json::json;

use crate::harness::app::{TestApp, fresh_key};
use portreeve::fetch::Outgoing;

on_both! {
    async fn a_body_that_stalls_is_given_up(db: TestDb) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let app = TestApp::start(&db).await;
        let host = app.base.trim_start_matches("http://").to_owned();
        let mut line = tokio::net::TcpStream::connect(&host).await.unwrap();
        let head = format!(
            "POST /v1/accounts HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 6000\r\n\r\n{{"
        );
        line.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0_u8; 12];
        let patience = std::time::Duration::from_secs(60);
        tokio::time::timeout(patience, line.read_exact(&mut answer)).await.expect("it is given up").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        app.stop().await;
    }

    async fn idle_connections_fill_their_limit_and_are_given_up(db: TestDb) {
        use std::time::Duration;
        use tokio::io::AsyncWriteExt as _;
        let app = TestApp::start_with(&db, &[("server.workers", "1"), ("server.connections", "8")]).await;
        let host = app.base.trim_start_matches("http://").to_owned();
        let mut idle = Vec::new();
        for _ in 0..12 {
            let mut line = tokio::net::TcpStream::connect(&host).await.unwrap();
            line.write_all(b"GET /llms.txt HTTP/1.1\r\n").await.unwrap();
            idle.push(line);
        }
        let stranger = app.stranger();
        let mut asks = std::pin::pin!(stranger.raw("GET", "/llms.txt"));
        assert!(tokio::time::timeout(Duration::from_secs(2), &mut asks).await.is_err(), "the limit is applied");
        let answer = tokio::time::timeout(Duration::from_secs(60), asks).await.expect("the server goes on");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        app.stop().await;
    }

    async fn a_body_has_at_most_64_kib(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let padded = |length: usize| {
            let body = json!({"service": "sandbox", "plan": "free"}).to_string();
            format!("{body}{}", " ".repeat(length - body.len()))
        };
        let send = |body: String| {
            let url = agent.client.url("/v1/resources");
            let request = Outgoing::post(url, "application/json", body.into_bytes());
            agent.client.send(request.header("idempotency-key", fresh_key()))
        };
        send(padded(64 * 1024)).await.expect_status(201);
        send(padded(64 * 1024 + 1)).await.problem(413, "body_too_large");
        send(padded(1024 * 1024)).await.problem(413, "body_too_large");
        app.meter().post_bytes("/v1/usage", "application/json", padded(70_000)).await.problem(413, "body_too_large");
        let account = app.stranger().post_bytes("/v1/accounts", "application/json", padded(70_000)).await;
        account.problem(413, "body_too_large");
        app.stop().await;
    }

    async fn a_body_of_the_wrong_kind_is_not_read(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let body = json!({"service": "sandbox", "plan": "free"}).to_string();
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "json"] {
            let url = agent.client.url("/v1/resources");
            let request = Outgoing::post(url, kind, body.clone().into_bytes()).header("idempotency-key", fresh_key());
            agent.client.send(request).await.problem(415, "unsupported_media_type");
        }
        let event = "application/cloudevents+json";
        for path in ["/v1/resources", "/v1/accounts"] {
            let request = Outgoing::post(agent.client.url(path), event, body.clone().into_bytes());
            let answer = agent.client.send(request.header("idempotency-key", fresh_key())).await;
            answer.problem(415, "unsupported_media_type");
        }
        for kind in [event, "application/json"] {
            app.meter().post_bytes("/v1/usage", kind, "{}").await.problem(400, "invalid_request");
        }
        let url = agent.client.url("/v1/resources");
        let request = Outgoing::post(url, "Application/JSON; charset=utf-8", body.into_bytes());
        agent.client.send(request.header("idempotency-key", fresh_key())).await.expect_status(201);
        app.stop().await;
    }

    async fn a_body_says_each_thing_once_and_nothing_unknown(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for (body, named) in [
            (r#"{"service":"sandbox","plan":"free","plan":"free"}"#, "plan"),
            (r#"{"service":"sandbox","plan":"free","configuration":{"a":1,"a":2}}"#, "a"),
            (r#"{"service":"sandbox","plan":"free","discount":"all"}"#, "discount"),
            (r#"{"service":"sandbox"}"#, "plan"),
            (r#"{"service":"sandbox","plan":7}"#, "plan"),
            (r#"{"service":"sandbox","plan":"free""#, ""),
            ("[]", ""),
            ("null", ""),
            ("", ""),
            ("{\"service\":\"\u{feff}", ""),
        ] {
            let url = agent.client.url("/v1/resources");
            let request = Outgoing::post(url, "application/json", body.as_bytes().to_vec());
            let answer = agent.client.send(request.header("idempotency-key", fresh_key())).await;
            let refusal = answer.problem(400, "invalid_request");
            assert!(refusal["detail"].as_str().unwrap().contains(named), "{body}: {refusal}");
        }
        let unknown = json!({"id_token": "a.b.c", "role": "admin"});
        let refusal = app.stranger().post("/v1/accounts", &unknown).await.problem(400, "invalid_request");
        assert!(refusal["detail"].as_str().unwrap().contains("role"), "{refusal}");
        assert_eq!(agent.client.get("/v1/resources").await.json()["data"], json!([]));
        app.stop().await;
    }

    async fn a_path_that_exists_refuses_other_methods(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        for path in ["/v1/accounts", "/v1/usage", "/v1/deep-links", "/dashboard/stop"] {
            agent.client.get(path).await.problem(405, "method_not_allowed");
        }
        let token = agent.client.get("/oauth/token").await.expect_status(405);
        assert_eq!((token.header("allow"), &token.json()["error"]), ("POST", &json!("invalid_request")));
        for path in ["/v1/budget", "/v1/ledger", "/catalog", "/oauth/jwks", "/openapi.json", "/dashboard"] {
            let answer = agent.client.delete(path).await;
            assert_eq!(answer.status(), 405, "{path}: {}", answer.text());
        }
        for method in ["PUT", "PATCH", "TRACE"] {
            let answer = app.stranger().raw(method, "/v1/budget").await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        }
        app.stop().await;
    }

    async fn every_answer_names_its_request_and_may_not_be_sniffed(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = app.agent().await;
        let mut seen = std::collections::BTreeSet::new();
        for path in ["/catalog", "/v1/budget", "/v1/nothing", "/nothing", "/", "/dashboard", "/llms.txt"] {
            let answer = agent.client.get(path).await;
            assert!(seen.insert(answer.header("x-request-id").to_owned()), "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        }
        app.stop().await;
    }
}
