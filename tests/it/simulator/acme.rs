//! A provider as small as can be, written from the wire's description alone: it checks signatures with its own few lines,
//! makes each thing once per key, and settles payment tokens at the orchestrator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use aws_lc_rs::hmac;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::fetch::{Fetch, FetchSettings, Outgoing};
use portreeve::secret::sha256_name;
use portreeve::signing::{Algorithm, KeyPurpose, KeyRing, canonical_json};
use serde_json::{Value, json};

/// A call as it arrived.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// What the provider knows, and how a test wants it to answer.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) told: Value,
    pub(super) version: u64,
    pub(super) expires_in: i64,
    pub(super) other_digest: bool,
    /// How account requests are answered.
    pub(super) account: &'static str,
    /// Of the access token that is good now.
    pub(super) generation: u32,
    pub(super) rotations: u32,
    pub(super) answers: BTreeMap<String, (u16, Value)>,
    pub(super) resources: BTreeMap<String, (String, &'static str)>,
    pub(super) seen: Vec<Seen>,
    /// So many answers are 500 after the effect.
    pub(super) fail_after: u32,
    /// So many looks are answered `pending`.
    pub(super) pending: u32,
}

pub(super) struct Acme {
    pub(super) base: String,
    desk: Arc<Mutex<Desk>>,
}

struct Shared {
    base: String,
    ring: KeyRing,
    desk: Arc<Mutex<Desk>>,
    fetch: Fetch,
}

impl Acme {
    pub(super) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let desk = Desk { version: 1, expires_in: 3600, account: "oauth", ..Desk::default() };
        let desk = Arc::new(Mutex::new(desk));
        let settings = FetchSettings { special_hosts: vec!["127.0.0.1".to_owned()], ..FetchSettings::default() };
        let shared = web::Data::new(Shared {
            base: base.clone(),
            ring: KeyRing::generate().unwrap(),
            desk: desk.clone(),
            fetch: Fetch::new(&settings).unwrap(),
        });
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(answer)));
        tokio::spawn(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener).unwrap().run());
        Self { base, desk }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// The calls to a path that ends so.
    pub(super) fn calls(&self, end: &str) -> Vec<Seen> {
        self.desk().seen.iter().filter(|seen| seen.path.ends_with(end)).cloned().collect()
    }
}

async fn answer(shared: web::Data<Shared>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        headers: request.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let path = seen.path.clone();
    shared.desk.lock().unwrap().seen.push(seen);
    match path.as_str() {
        "/catalog" => return HttpResponse::Ok().body(shared.document()),
        "/catalog.jws" => {
            let jws = shared.ring.sign_general(KeyPurpose::Catalog, "catalog+jws", &shared.document()).unwrap();
            return HttpResponse::Ok().json(jws);
        }
        "/oauth/jwks" => return HttpResponse::Ok().json(shared.ring.jwks()),
        _ => {}
    }
    if !shared.signed(&header("stripe-signature").unwrap_or_default(), &body) {
        let error = json!({"error": {"code": "invalid_signature", "message": "The signature does not fit."}});
        return HttpResponse::Unauthorized().json(error);
    }
    if path == "/oauth/token" {
        return shared.token(&String::from_utf8_lossy(&body));
    }
    if header("api-version").as_deref() != Some("0.1d") {
        return HttpResponse::BadRequest().json(json!({"error": {"code": "invalid_api_version", "message": "0.1d"}}));
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    match path.as_str() {
        "/provisioning/health" => HttpResponse::Ok().json(json!({"supported_versions": ["0.1d"], "status": "ok"})),
        "/provisioning/services" => shared.services(request.query_string()),
        "/provisioning/account_requests" => shared.account(&asked),
        _ => {
            let bearer = format!("Bearer at_{}", shared.desk.lock().unwrap().generation);
            if header("authorization") != Some(bearer) {
                return error(401, "unauthorized");
            }
            let key = header("idempotency-key").unwrap_or_default();
            shared.resource(&path, &key, &asked).await
        }
    }
}

fn error(status: u16, code: &str) -> HttpResponse {
    let body = json!({"status": "error", "id": "", "error": {"code": code, "message": format!("It is {code}.")}});
    HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).json(body)
}

fn now() -> Timestamp {
    SystemClock.now()
}

impl Shared {
    fn document(&self) -> Vec<u8> {
        let desk = self.desk.lock().unwrap();
        let until = Timestamp::from_seconds(4_000_000_000 + desk.expires_in - 3600);
        let until = if desk.expires_in < 0 { Timestamp::from_seconds(1_000_000_000) } else { until };
        let document = json!({"iss": self.base, "version": desk.version, "expires_at": until, "title": "Acme",
            "services": [{"id": "cache", "plans": [{"id": "only",
                "price": {"kind": "monthly", "amount": "9.00", "currency": "USD", "per": "month"}}]}]});
        canonical_json(&document).unwrap()
    }

    /// `t=…,v1=…`, any of the `v1`, not older than five minutes.
    fn signed(&self, header: &str, body: &[u8]) -> bool {
        let secret = self.desk.lock().unwrap().told["signing_secret"].as_str().unwrap_or_default().to_owned();
        let at = header.split(',').find_map(|part| part.strip_prefix("t=")).unwrap_or_default();
        let fresh = at.parse::<i64>().is_ok_and(|at| at.abs_diff(now().seconds()) <= 300);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mac = hmac::sign(&key, &[at.as_bytes(), b".", body].concat());
        let hex = mac.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        fresh && header.split(',').filter_map(|part| part.strip_prefix("v1=")).any(|one| one == hex)
    }

    fn services(&self, query: &str) -> HttpResponse {
        let digest = sha256_name(&self.document());
        let other = self.desk.lock().unwrap().other_digest;
        let said = |body: Value| {
            let digest = if other { "sha256:00" } else { digest.as_str() };
            HttpResponse::Ok().insert_header(("portreeve-catalog-digest", digest)).json(body)
        };
        if query.contains("cursor=two") {
            return said(json!({"data": [
                {"id": "postgres", "kind": "deployable", "description": "A database.", "categories": ["database"],
                 "configuration_schema": {"type": "object", "required": ["region"], "properties":
                    {"region": {"type": "string", "enum": ["eu", "us"]}, "size": {"type": "integer"}}},
                 "pricing": {"type": "component", "component": {"options": [
                    {"type": "free", "parent_service_ids": ["free"], "default": true},
                    {"type": "paid", "parent_service_ids": ["pro"],
                     "paid": {"type": "freeform", "freeform": "$0.10 per GB-month"}}]}}},
                {"id": "cache", "kind": "deployable", "description": "A cache.", "categories": ["cache"],
                 "pricing": {"type": "paid", "paid": [{"type": "freeform", "freeform": "$9 per month", "is_default": true}]}}
            ], "next_cursor": ""}));
        }
        let plan = |id: &str, other: &str, pricing: Value| {
            json!({"id": id, "kind": "plan", "scope": "account", "description": "A plan.", "categories": ["database"],
                "pricing": pricing, "allowed_updates": [{"service": other, "direction": "any"}],
                "constraints": {"count": {"at_most": 1}, "mutual_exclusion": {"allowed_updates": true}}})
        };
        let paid = json!({"type": "paid", "paid": {"type": "freeform", "freeform": "$25 per month"}});
        let plans = [plan("free", "pro", json!({"type": "free"})), plan("pro", "free", paid)];
        said(json!({"data": plans, "next_cursor": "two"}))
    }

    fn account(&self, asked: &Value) -> HttpResponse {
        let id = &asked["id"];
        HttpResponse::Ok().json(match self.desk.lock().unwrap().account {
            "oauth" => json!({"id": id, "type": "oauth", "oauth": {"code": "code_1"}}),
            "credentials" => json!({"type": "credentials", "credentials": {"type": "bearer", "bearer":
                {"access_token": "at_0", "expires_in": 3600, "account": {"id": "acc_1"}}}}),
            "needs_information" => json!({"id": id, "type": "needs_information",
                "needs_information": {"schema": {"type": "object", "required": ["team"]}}}),
            "requires_auth" => {
                let url = format!("{}/consent?state={}", self.base, asked["confirmation_secret"].as_str().unwrap());
                json!({"id": id, "type": "requires_auth", "requires_auth": {"type": "redirect", "redirect": {"url": url}}})
            }
            // Some say it with 200.
            _ => json!({"id": id, "type": "error", "error": {"code": "forbidden", "message": "Not \u{1b}[31myou."}}),
        })
    }

    fn token(&self, form: &str) -> HttpResponse {
        let mut desk = self.desk.lock().unwrap();
        let good = form == "grant_type=authorization_code&code=code_1"
            || *form == format!("grant_type=refresh_token&refresh_token=rt_{}", desk.generation);
        if !good {
            return HttpResponse::BadRequest().json(json!({"error": "invalid_grant", "error_description": "No."}));
        }
        if form.starts_with("grant_type=refresh") {
            desk.generation += 1;
        }
        HttpResponse::Ok().json(json!({"token_type": "bearer", "access_token": format!("at_{}", desk.generation),
            "refresh_token": format!("rt_{}", desk.generation), "expires_in": 3600,
            "account": {"id": 51, "payment_credentials": "orchestrator"}}))
    }

    async fn resource(&self, path: &str, key: &str, asked: &Value) -> HttpResponse {
        if path == "/provisioning/deep_links" {
            let url = format!("{}/login?token=x", self.base);
            return HttpResponse::Ok()
                .json(json!({"purpose": "dashboard", "url": url, "expires_at": "2036-10-03T12:10:00Z"}));
        }
        let known = self.desk.lock().unwrap().answers.get(key).filter(|_| !key.is_empty()).cloned();
        let (status, body) = match known {
            Some(known) => known,
            None => self.act(path, asked).await,
        };
        let mut desk = self.desk.lock().unwrap();
        if !key.is_empty() && status == 200 {
            desk.answers.insert(key.to_owned(), (status, body.clone()));
        }
        if desk.fail_after > 0 {
            desk.fail_after -= 1;
            return error(500, "server_error");
        }
        HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).json(body)
    }

    async fn act(&self, path: &str, asked: &Value) -> (u16, Value) {
        let parts: Vec<&str> = path.trim_start_matches("/provisioning/resources").split('/').collect();
        let wanted = asked["service_id"].as_str().unwrap_or_default().to_owned();
        let costs = matches!(parts.as_slice(), [""] | ["", _, "update_service"]);
        let paid = if costs { self.paid(&wanted, asked).await } else { Ok(()) };
        if let Err(code) = paid {
            return (400, json!({"status": "error", "id": "", "error": {"code": code, "message": "Pay."}}));
        }
        let mut desk = self.desk.lock().unwrap();
        let complete = |id: &str, desk: &Desk| {
            json!({"status": "complete", "id": id, "complete": {"access_configuration":
                {"connection_string": format!("pg://it's/{id}/{}", desk.rotations), "port": 5432}}})
        };
        let body = match parts.as_slice() {
            [""] => {
                let id = format!("res_{}", desk.resources.len() + 1);
                desk.resources.insert(id.clone(), (wanted, "there"));
                if desk.pending > 0 { json!({"status": "pending", "id": id}) } else { complete(&id, &desk) }
            }
            ["", "link"] => {
                let Some(id) = asked["submitted_information"]["resource_id"].as_str() else {
                    return (
                        200,
                        json!({"status": "needs_information", "needs_information":
                        {"schema": {"required": ["resource_id"]}}}),
                    );
                };
                complete(id, &desk)
            }
            ["", id] if desk.pending > 0 => {
                desk.pending -= 1;
                json!({"status": "pending", "id": id})
            }
            ["", id] => complete(id, &desk),
            ["", id, "update_service"] => {
                desk.resources.insert((*id).to_owned(), (wanted, "there"));
                complete(id, &desk)
            }
            ["", id, "rotate_credentials"] => {
                desk.rotations += 1;
                complete(id, &desk)
            }
            ["", id, "remove"] => {
                desk.resources.remove(*id);
                json!({"status": "removed", "id": id})
            }
            _ => {
                return (404, json!({"status": "error", "id": "", "error": {"code": "not_found", "message": "None."}}));
            }
        };
        (200, body)
    }

    /// Redeems the payment token of what costs something.
    async fn paid(&self, service: &str, asked: &Value) -> Result<(), &'static str> {
        let amount = match service {
            "pro" => 2500,
            "cache" => 900,
            _ => return Ok(()),
        };
        let token =
            asked["payment_credentials"]["stripe_payment_token"].as_str().ok_or("requires_payment_credentials")?;
        let told = self.desk.lock().unwrap().told.clone();
        let (client, at) = (told["client_id"].clone(), now().seconds());
        let send = async |path: String, key: String, body: Value| {
            let jti = format!("{path} {key} {}", now().micros());
            let claims =
                json!({"iss": client, "sub": client, "aud": told["issuer"], "iat": at, "exp": at + 60, "jti": jti});
            let assertion = self.ring.key(KeyPurpose::ClientAssertion, Algorithm::Es256).unwrap();
            let assertion = assertion.sign_compact("client-authentication+jwt", &claims).unwrap();
            let url = format!("{}{path}", told["settlement_url"].as_str().unwrap()).parse().unwrap();
            let outgoing = Outgoing::post_json(url, &body).bearer(&assertion).header("idempotency-key", key);
            self.fetch.send(outgoing).await.unwrap()
        };
        let reference = asked["orchestrator_resource_id"].as_str().unwrap_or(token).to_owned();
        let reference: String = reference.chars().take(60).chain(service.chars()).collect();
        let body = json!({"payment_token": token, "reference": reference, "amount": amount, "currency": "USD",
            "description": service});
        let authorized = send("/authorizations".to_owned(), reference.clone(), body).await;
        if authorized.status != 201 {
            return Err("requires_payment_credentials");
        }
        let id = authorized.json::<Value>().unwrap()["id"].as_str().unwrap().to_owned();
        let captured = send(format!("/authorizations/{id}/capture"), reference, json!({"amount": amount})).await;
        assert_eq!(captured.status, 200);
        Ok(())
    }
}
