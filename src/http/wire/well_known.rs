//! Discovery: documents made once at start from one set of facts, so that they agree.

use actix_web::http::header;
use actix_web::web::{self, Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::app::App;
use crate::authorization::{CLIENT_ALGORITHMS, PROOF_ALGORITHMS, Scope};
use crate::http::problem::Problem;
use crate::signing::{Algorithm, KeyPurpose, SignatureAlgorithm, SigningError};

/// RFC 7523 §2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// RFC 8628 §3.4.
pub(crate) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The path-inserted metadata document of `/v1` (RFC 9728 §3.1).
pub(crate) const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource/v1";

/// Every discovery document, as bytes.
#[derive(Debug)]
pub(crate) struct Discovery {
    resource: Bytes,
    server: Bytes,
    jwks: Bytes,
    linkset: Bytes,
    llms: Bytes,
}

impl Discovery {
    /// Makes all documents from the app's facts.
    ///
    /// # Errors
    /// When the metadata cannot be signed.
    pub(crate) fn new(app: &App) -> Result<Self, SigningError> {
        Ok(Self {
            resource: resource_metadata(app)?.to_string().into(),
            server: server_metadata(app).to_string().into(),
            jwks: app.ring.jwks().to_string().into(),
            linkset: linkset(app).to_string().into(),
            llms: llms(app).into(),
        })
    }
}

fn scopes() -> Vec<&'static str> {
    Scope::ALL.into_iter().map(Scope::as_str).collect()
}

/// RFC 9728 §2. Arrays are never empty, parameters without a value are left out.
fn resource_metadata(app: &App) -> Result<Value, SigningError> {
    let base = &app.base_url;
    let mut metadata = json!({
        "resource": app.audience,
        "authorization_servers": [base],
        "jwks_uri": format!("{base}/oauth/jwks"),
        "scopes_supported": scopes(),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS.map(SignatureAlgorithm::as_str),
        "authorization_details_types_supported": ["plan", "provision", "spend"],
        "resource_name": app.provider_name(),
        "resource_documentation": format!("{base}/llms.txt"),
    });
    let mut claims = metadata.clone();
    if let (Value::Object(metadata), Value::Object(claims)) = (&mut metadata, &mut claims) {
        claims.insert("iss".to_owned(), json!(base));
        claims.insert("iat".to_owned(), json!(app.clock.now().seconds()));
        let key = app.ring.key(KeyPurpose::Metadata, Algorithm::Es256)?;
        metadata.insert("signed_metadata".to_owned(), json!(key.sign_compact("JWT", claims)?));
    }
    Ok(metadata)
}

/// RFC 8414 §2: what this server does, and nothing that it does not do. `offline_access` is no scope here: whether there
/// are refresh tokens is for the client's registration to say, and a client that is offered the word asks its human again
/// and again.
fn server_metadata(app: &App) -> Value {
    let base = &app.base_url;
    let at = |path: &str| format!("{base}/oauth/{path}");
    let proofs = CLIENT_ALGORITHMS.map(SignatureAlgorithm::as_str);
    let confidential = ["private_key_jwt", "client_secret_basic", "client_secret_post"];
    let mut metadata = json!({
        "issuer": base,
        "authorization_endpoint": at("authorize"),
        "pushed_authorization_request_endpoint": at("par"),
        "token_endpoint": at("token"),
        "revocation_endpoint": at("revoke"),
        "introspection_endpoint": at("introspect"),
        "jwks_uri": at("jwks"),
        "scopes_supported": scopes(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", JWT_BEARER],
        "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", confidential[0], confidential[1], confidential[2]],
        "token_endpoint_auth_signing_alg_values_supported": proofs,
        "revocation_endpoint_auth_methods_supported": ["none", confidential[0], confidential[1], confidential[2]],
        "revocation_endpoint_auth_signing_alg_values_supported": proofs,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": proofs,
        "client_id_metadata_document_supported": app.oauth.client_documents,
        "authorization_response_iss_parameter_supported": true,
        "require_pushed_authorization_requests": false,
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS.map(SignatureAlgorithm::as_str),
        "authorization_details_types_supported": ["plan", "provision", "spend"],
        "protected_resources": [app.audience],
        "service_documentation": format!("{base}/llms.txt"),
    });
    let Value::Object(members) = &mut metadata else { return metadata };
    if app.oauth.dynamic_registration {
        members.insert("registration_endpoint".to_owned(), json!(at("register")));
    }
    if app.device.is_some() {
        members.insert("device_authorization_endpoint".to_owned(), json!(at("device")));
        if let Some(Value::Array(grants)) = members.get_mut("grant_types_supported") {
            grants.push(json!(DEVICE_CODE));
        }
    }
    metadata
}

/// RFC 9727: where the API and its descriptions are.
fn linkset(app: &App) -> Value {
    let base = &app.base_url;
    json!({"linkset": [{
        "anchor": app.audience,
        "service-desc": [{"href": format!("{base}/openapi.json"), "type": "application/json"}],
        "service-doc": [{"href": format!("{base}/llms.txt"), "type": "text/plain"}],
        "service-meta": [
            {"href": format!("{base}{RESOURCE_METADATA}"), "type": "application/json"},
            {"href": format!("{base}/catalog"), "type": "application/json"},
        ],
    }]})
}

/// For agents that read prose first. States no prices: those stand in the signed catalog alone.
fn llms(app: &App) -> String {
    let base = &app.base_url;
    let edition = app.edition();
    let services: Vec<String> = edition
        .document
        .services
        .iter()
        .map(|service| {
            let facts = service.facts();
            format!("- {} (`{}`): {} Use when: {}", facts.title, facts.id, facts.description, facts.use_when)
        })
        .collect();
    format!(
        "# {name}\n\n> {description}\n\nAn agent can buy here for its human, under a cap that is never passed.\n\n\
         ## Services\n\n{services}\n\n\
         ## How\n\n\
         1. [Catalog]({base}/catalog): services and prices, signed ([JWS]({base}/catalog.jws), [keys]({base}/oauth/jwks)).\n\
         2. Call the API at {base}/v1. Without a token it answers 401 and says where to go.\n\
         3. `POST {base}/v1/accounts` with `id_token`: your orchestrator's identity token for this provider. It opens an \
         account and answers an access token.\n\
         4. `POST {base}/v1/resources` with `service`, `plan`, a `payment_token` of your orchestrator and an \
         `Idempotency-Key` header.\n\
         5. `GET {base}/v1/budget` says what may still be spent. At the cap the answer is 402: stop and tell your human.\n\
         6. `POST {base}/v1/deep-links` makes a one-use link to your human's dashboard.\n\n\
         ## Descriptions\n\n\
         - [OpenAPI]({base}/openapi.json)\n\
         - [Problem codes]({base}/docs/problems)\n\
         - [API catalog]({base}/.well-known/api-catalog)\n",
        services = services.join("\n"),
        name = edition.document.provider.name,
        description = edition.document.provider.description,
    )
}

/// Routes. The root forms answer with the same document; what is not served is a real 404.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let json = "application/json";
    serve(config, RESOURCE_METADATA, json, |discovery| &discovery.resource);
    serve(config, "/.well-known/oauth-protected-resource", json, |discovery| &discovery.resource);
    serve(config, "/.well-known/oauth-authorization-server", json, |discovery| &discovery.server);
    serve(config, "/.well-known/oauth-authorization-server/v1", json, |discovery| &discovery.server);
    serve(config, "/.well-known/openid-configuration", json, |discovery| &discovery.server);
    serve(config, "/.well-known/openid-configuration/v1", json, |discovery| &discovery.server);
    serve(config, "/v1/.well-known/openid-configuration", json, |discovery| &discovery.server);
    serve(config, "/oauth/jwks", "application/jwk-set+json", |discovery| &discovery.jwks);
    let linkset = "application/linkset+json; profile=\"https://www.rfc-editor.org/info/rfc9727\"";
    serve(config, "/.well-known/api-catalog", linkset, |discovery| &discovery.linkset);
    serve(config, "/llms.txt", "text/plain; charset=utf-8", |discovery| &discovery.llms);
    config.service(web::resource("/openapi.json").get(openapi));
}

fn serve(
    config: &mut web::ServiceConfig,
    path: &'static str,
    content_type: &'static str,
    pick: fn(&Discovery) -> &Bytes,
) {
    let answer = move |discovery: Data<Discovery>, _request: HttpRequest| async move {
        HttpResponse::Ok()
            .content_type(content_type)
            .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
            .insert_header((header::LINK, "</.well-known/api-catalog>; rel=\"api-catalog\""))
            .body(pick(&discovery).clone())
    };
    config.service(web::resource(path).get(answer));
}

async fn openapi(app: Data<App>) -> Result<HttpResponse, Problem> {
    let document = crate::http::openapi::document(&app.base_url)?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .body(document))
}
