//! What a stranger finds: documents that agree with each other, and with what the provider does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::client::Client;

on_both! {
    async fn all_discovery_documents_agree(db: TestDb) {
        let app = TestApp::start(&db).await;
        let (anyone, base) = (app.stranger(), app.base.as_str());
        let resource = json_of(&anyone, "/.well-known/oauth-protected-resource/v1").await;
        assert_eq!(resource, json_of(&anyone, "/.well-known/oauth-protected-resource").await);
        assert_eq!(resource["resource"], json!(format!("{base}/v1")));
        assert_eq!(resource["authorization_servers"], json!([base]));
        assert_eq!(resource["bearer_methods_supported"], json!(["header"]));

        let server = json_of(&anyone, "/.well-known/oauth-authorization-server").await;
        for other in [
            "/.well-known/oauth-authorization-server/v1",
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/v1",
            "/v1/.well-known/openid-configuration",
        ] {
            assert_eq!(server, json_of(&anyone, other).await, "{other}");
        }
        assert_eq!(server["issuer"], json!(base));
        assert_eq!(server["protected_resources"], json!([resource["resource"]]));
        assert_eq!(server["token_endpoint"], json!(format!("{base}/oauth/token")));
        assert_eq!((&server["jwks_uri"], &server["scopes_supported"]), (&resource["jwks_uri"], &resource["scopes_supported"]));

        // Tokens are what the documents say, and the challenge names the document.
        let agent = app.agent().await;
        let scopes: Vec<&str> = server["scopes_supported"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let token = claims(&json_of(&anyone, server["jwks_uri"].as_str().unwrap()).await, &agent.token);
        assert_eq!((&token["iss"], &token["aud"]), (&server["issuer"], &resource["resource"]));
        let allowed: BTreeSet<&str> = token["scope"].as_str().unwrap().split(' ').collect();
        assert_eq!(allowed, scopes.into_iter().collect());
        let challenge = anyone.get("/v1/budget").await;
        let named = format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource/v1\"");
        assert!(challenge.header("www-authenticate").contains(&named));
        // The token endpoint exists and speaks its protocol.
        let refusal = anyone.post_form(server["token_endpoint"].as_str().unwrap(), &[]).await.expect_status(400).json();
        assert_eq!(refusal["error"], "invalid_request");
        app.stop().await;
    }

    async fn the_signed_metadata_says_what_the_plain_members_say(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let mut resource = json_of(&anyone, "/.well-known/oauth-protected-resource/v1").await;
        let signed = resource.as_object_mut().unwrap().remove("signed_metadata").unwrap();
        let keys = json_of(&anyone, "/oauth/jwks").await;
        let mut signed = claims(&keys, signed.as_str().unwrap());
        let members = signed.as_object_mut().unwrap();
        assert_eq!(members.remove("iss").unwrap(), json!(app.base));
        assert_eq!(members.remove("iat").unwrap(), json!(app.now().seconds()));
        assert_eq!(signed, resource);
        for (name, value) in resource.as_object().unwrap() {
            assert!(!matches!(value, Value::Null) && *value != json!([]) && *value != json!(""), "`{name}` is empty");
        }
        app.stop().await;
    }

    async fn published_keys_are_public_and_each_has_a_name(db: TestDb) {
        let app = TestApp::start(&db).await;
        let answer = app.stranger().get("/oauth/jwks").await.expect_status(200);
        assert_eq!(answer.header("content-type"), "application/jwk-set+json");
        let keys = answer.json()["keys"].as_array().unwrap().clone();
        let names: BTreeSet<&str> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(names.len(), keys.len());
        assert!(keys.len() >= 2, "at least one ES256 and one EdDSA key");
        for key in &keys {
            for private in ["d", "k", "p", "q", "dp", "dq", "qi"] {
                assert!(key.get(private).is_none(), "`{private}` is published");
            }
        }
        app.stop().await;
    }

    async fn the_api_catalog_and_llms_txt_lead_to_what_exists(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let answer = anyone.get("/.well-known/api-catalog").await.expect_status(200);
        assert!(answer.header("content-type").starts_with("application/linkset+json"));
        let linkset = answer.json()["linkset"].as_array().unwrap().clone();
        assert_eq!(linkset[0]["anchor"], json!(format!("{}/v1", app.base)));
        let mut links = Vec::new();
        for (_, targets) in linkset[0].as_object().unwrap().iter().filter(|(name, _)| *name != "anchor") {
            for target in targets.as_array().unwrap() {
                let (href, kind) = (target["href"].as_str().unwrap(), target["type"].as_str().unwrap());
                let found = anyone.get(href).await.expect_status(200);
                assert!(found.header("content-type").starts_with(kind), "{href}");
                links.push(href.to_owned());
            }
        }
        assert!(links.len() >= 4, "{links:?}");

        let llms = anyone.get("/llms.txt").await.expect_status(200);
        assert!(llms.header("content-type").starts_with("text/plain"));
        let text = llms.text();
        let named: Vec<&str> = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
        assert!(named.len() >= 5, "{named:?}");
        for link in named {
            anyone.get(link).await.expect_status(200);
        }
        for price in ["9.00", "12.00", "0.50", "USD", "$"] {
            assert!(!text.contains(price), "prices stand in the signed catalog alone, not `{price}` in llms.txt");
        }
        app.stop().await;
    }

    async fn each_problem_code_has_a_page(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        let index = anyone.get("/docs/problems").await.expect_status(200).text();
        for problem in portreeve::http::problem::table::ALL {
            let page = anyone.get(&format!("/docs/problems/{}", problem.code)).await.expect_status(200);
            assert!(page.text().contains(problem.code), "{}", problem.code);
            assert!(index.contains(&format!("/docs/problems/{}", problem.code)), "{}", problem.code);
        }
        anyone.get("/docs/problems/no_such_code").await.expect_status(404);
        let refusal = anyone.get("/v1/budget").await.problem(401, "unauthorized");
        anyone.get(refusal["type"].as_str().unwrap()).await.expect_status(200);
        app.stop().await;
    }

    async fn head_answers_like_get_without_a_body(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        for path in [
            "/.well-known/oauth-protected-resource/v1",
            "/.well-known/oauth-authorization-server",
            "/.well-known/api-catalog",
            "/oauth/jwks",
            "/llms.txt",
            "/openapi.json",
            "/catalog",
            "/catalog.jws",
            "/catalog/revisions/1",
        ] {
            let (get, head) = (anyone.get(path).await.expect_status(200), anyone.head(path).await.expect_status(200));
            assert!(head.bytes().is_empty() && !get.bytes().is_empty(), "{path}");
            assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
            assert_eq!(head.header("content-length"), get.bytes().len().to_string(), "{path}");
            assert_eq!(get.header("access-control-allow-origin"), "*", "{path}");
        }
        app.stop().await;
    }

    async fn what_is_not_served_is_a_real_404(db: TestDb) {
        let app = TestApp::start(&db).await;
        let anyone = app.stranger();
        for path in [
            "/nothing",
            "/.well-known/nothing",
            "/.well-known/oauth-protected-resource/other",
            "/.well-known/oauth-authorization-server/other",
            "/.well-known/agent.json",
            "/oauth/register",
            "/catalog/",
            "/catalog/revisions/2",
            "/d",
            "/admin",
            "/metrics",
            "/readyz",
            "/assets/nothing.css",
        ] {
            let answer = anyone.get(path).await;
            assert_eq!(answer.status(), 404, "{path}: {}", answer.text());
        }
        // Under /v1 a stranger hears who they must be first; a caller hears the truth.
        anyone.get("/v1/nothing").await.problem(401, "unauthorized");
        app.agent().await.client.get("/v1/nothing").await.problem(404, "not_found");
        app.stop().await;
    }
}

async fn json_of(client: &Client, path: &str) -> Value {
    client.get(path).await.expect_status(200).json()
}

/// The claims of a token that one of `keys` signed.
pub(crate) fn claims(keys: &Value, token: &str) -> Value {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"].as_str() == header.kid.as_deref());
    let key: jsonwebtoken::jwk::Jwk =
        serde_json::from_value(key.expect("the token's key is published").clone()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let key = jsonwebtoken::DecodingKey::from_jwk(&key).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims
}
