//! The catalog on the wire, the paths it hangs under, and refusals that the framework makes.

use portreeve::fetch::Outgoing;
use serde_json::Value;

use crate::harness::app::TestApp;
use crate::harness::wire::{WireAgent, stripe_signature};

const SERVICES: &str = "/provisioning/services";
const PROFILES: [&str; 3] = ["2026-03-30", "2026-04-01", "2026-06-25"];

/// What every reader of a catalog must find.
fn is_a_service(service: &Value) {
    let text = |name: &str| service[name].as_str().is_some_and(|text| !text.is_empty());
    assert!(text("id") && text("description"), "{service}");
    assert!(!service["categories"].as_array().unwrap().is_empty(), "{service}");
    assert!(["free", "paid", "component"].contains(&service["pricing"]["type"].as_str().unwrap()), "{service}");
}

on_both! {
    async fn each_profile_is_sent_its_own_shapes_of_one_signed_revision(db: TestDb) {
        let app = TestApp::start(&db).await;
        for profile in PROFILES {
            let agent = WireAgent::register_with(&app, |settings| settings.profile = profile.parse().unwrap()).await;
            let answer = agent.get(SERVICES).await.expect_status(200);
            assert_eq!(answer.header("portreeve-catalog-digest"), app.app().edition().digest);
            let body = answer.json();
            let services = body["data"].as_array().unwrap();
            assert!(!services.is_empty());
            services.iter().for_each(is_a_service);
            let any = |name: &str| services.iter().any(|service| service.get(name).is_some());
            let dated = |since: &str| profile >= since;
            assert_eq!(any("kind"), dated("2026-04-01"), "{profile}");
            assert_eq!(any("scope"), dated("2026-06-25"), "{profile}");
            assert_eq!(any("constraints"), dated("2026-06-25"), "{profile}");
            let components = services.iter().any(|service| service["pricing"]["type"] == "component");
            assert_eq!(components, dated("2026-04-01"), "{profile}");
            let update = services.iter().find_map(|service| service["allowed_updates"].get(0)).unwrap();
            assert_eq!(update.is_object(), dated("2026-06-25"), "{profile}: {update}");
            assert_eq!(body.get("next_cursor").is_some(), profile == "2026-03-30", "{profile}");
        }
        app.stop().await;
    }

    async fn an_etag_saves_the_catalog_from_being_sent_again(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let first = agent.get(SERVICES).await.expect_status(200);
        let etag = first.header("etag").to_owned();
        let again = |tag: String| {
            let outgoing = Outgoing::get(agent.client.url(SERVICES)).header("if-none-match", tag);
            agent.client.send(agent.signed(outgoing, "GET", SERVICES, b""))
        };
        let same = again(etag.clone()).await.expect_status(304);
        assert!(same.bytes().is_empty() && same.has_header("portreeve-catalog-digest"));
        again("\"another\"".to_owned()).await.expect_status(200);
        app.publishes("services/sandbox.toml", "A small place", "A tiny place").await;
        let changed = again(etag).await.expect_status(200);
        assert_ne!(changed.header("portreeve-catalog-digest"), first.header("portreeve-catalog-digest"));
        app.stop().await;
    }

    async fn a_bad_cursor_is_refused_and_an_empty_one_is_the_beginning(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let all = agent.get(SERVICES).await.expect_status(200).json();
        assert_eq!(agent.get("/provisioning/services?cursor=").await.expect_status(200).json(), all);
        let last = all["data"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
        let path = format!("/provisioning/services?cursor={last}&unknown=1");
        assert!(agent.get(&path).await.expect_status(200).json()["data"].as_array().unwrap().is_empty());
        for bad in ["?cursor=%00", "?cursor=a&cursor=b", "?cursor=..%2F..", &format!("?cursor={}", "a".repeat(500))] {
            let refused = agent.get(&format!("{SERVICES}{bad}")).await.expect_status(400).json();
            assert_eq!(refused["error"]["code"], "invalid_request", "{bad}");
        }
        app.stop().await;
    }

    async fn the_wire_hangs_under_every_prefix_and_nowhere_else(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.prefixes", "/api/agentic, /partners")]).await;
        let mut agent = WireAgent::register(&app).await;
        for prefix in ["", "/api/agentic", "/partners"] {
            agent.prefix = prefix.to_owned();
            agent.get("/provisioning/health").await.expect_status(200);
            agent.get(SERVICES).await.expect_status(200);
            let token = agent.token(&[("grant_type", "password")]).await.expect_status(400).json();
            assert_eq!(token["error"], "unsupported_grant_type", "{prefix}");
        }
        for path in ["/api/provisioning/health", "/api/agentic/v1/budget", "/api/agentic/catalog", "/partners"] {
            agent.client.get(path).await.expect_status(404);
        }
        app.stop().await;
    }

    async fn what_the_framework_refuses_has_the_envelope_of_the_endpoint(db: TestDb) {
        let app = TestApp::start_with(&db, &[("wire.prefixes", "/api/agentic")]).await;
        let agent = WireAgent::register(&app).await;
        for prefix in ["", "/api/agentic"] {
            let url = |path: &str| agent.client.url(&format!("{prefix}{path}"));
            let unknown = agent.client.get(&format!("{prefix}/provisioning/nothing")).await.expect_status(404).json();
            assert_eq!(unknown["error"]["code"], "not_found");
            for (path, allow) in [
                ("/provisioning/health", "GET, HEAD"), ("/provisioning/services", "GET, HEAD"), ("/oauth/token", "POST"),
                ("/provisioning/account_requests", "POST"), ("/provisioning/resources", "POST"),
                ("/provisioning/resources/res_x/remove", "POST"), ("/provisioning/deep_links", "POST"),
            ] {
                let answer = agent.client.send(Outgoing::delete(url(path))).await.expect_status(405);
                assert_eq!(answer.header("allow"), allow, "{path}");
                let body = answer.json();
                match path {
                    "/oauth/token" => assert_eq!(body["error"], "invalid_request"),
                    _ => assert_eq!(body["error"]["code"], "invalid_request", "{body}"),
                }
                let status = path.starts_with("/provisioning/resources") || path.ends_with("deep_links");
                assert_eq!(body.get("status").is_some(), status, "{path}: {body}");
                assert_eq!(body.get("id").is_some(), status, "{path}: {body}");
                assert_eq!(body.get("type").is_some(), path.ends_with("account_requests"), "{path}: {body}");
            }
        }
        // Problem documents stay where they belong.
        app.stranger().get("/v1/nothing").await.problem(401, "unauthorized");
        app.stop().await;
    }

    async fn a_body_that_is_too_long_is_refused_before_it_is_read_whole(db: TestDb) {
        let app = TestApp::start(&db).await;
        let agent = WireAgent::register(&app).await;
        let body = vec![b' '; 64 * 1024 + 1];
        let signature = stripe_signature(&agent.secret, app.now().seconds(), &body);
        let head = format!(
            "GET /provisioning/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nstripe-signature: {signature}\r\n\
             api-version: 0.1d\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = sent(&app.base, &[head.as_bytes(), &body].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"invalid_request\""), "{answer}");
        app.stop().await;
    }

    async fn pages_for_agents_are_served_as_they_were_published(db: TestDb) {
        let app = TestApp::start(&db).await;
        let edition = app.app().edition();
        let of = edition.document.services.iter().find(|service| service.facts().llm_context.is_some()).unwrap();
        let page = of.facts().llm_context.as_ref().unwrap();
        let answer = app.stranger().get(&format!("/catalog/context/{}.md", of.id())).await.expect_status(200);
        assert_eq!(answer.text(), page.text());
        assert!(answer.header("content-type").starts_with("text/markdown"));
        app.stranger().get("/catalog/context/nothing.md").await.expect_status(404);
        app.stop().await;
    }
}

async fn sent(base: &str, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut line = tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    line.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The server may close before it has read everything.
    let _ = line.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
