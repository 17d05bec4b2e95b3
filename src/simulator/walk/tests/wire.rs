//! The stand-in at the orchestrators' door: as small as the walk lets it be.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{Cheat, State, json_ok};
use crate::secret::sha256_name;
use crate::simulator::stripe_signature;

#[derive(Default)]
pub(super) struct World {
    pub(super) secret: String,
    codes_used: u32,
    /// What was captured, minor units.
    spent: i64,
    made: Vec<String>,
    rotations: u32,
}

impl World {
    pub(super) fn page(&self, cheat: Cheat) -> String {
        let spent = self.spent - i64::from(cheat == Cheat::GuestPage);
        format!("${}.{:02}", spent / 100, spent % 100)
    }
}

/// The services of the signed catalog.
pub(super) fn published() -> Value {
    let monthly =
        |id: &str, amount: &str| json!({"id": id, "price": {"kind": "monthly", "amount": amount, "currency": "USD"}});
    json!([{"id": "weather"}, {"id": "cache", "plans": [monthly("standard", "4.00")]},
        {"id": "postgres", "plans": [monthly("small", "9.00"), monthly("medium", "28.00")]}])
}

fn refuse(status: u16, code: &str) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
    HttpResponse::build(status).json(json!({"status": "error", "id": "", "error": {"code": code, "message": "No."}}))
}

fn signed(double: &State, request: &HttpRequest, body: &[u8]) -> bool {
    let sent = request.headers().get("stripe-signature").unwrap().to_str().unwrap();
    let at = sent.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    sent == stripe_signature(&[&double.wire.lock().unwrap().secret], at, body)
}

pub(super) async fn token(double: State, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    assert!(signed(&double, &request, &body));
    let mut world = double.wire.lock().unwrap();
    world.codes_used += 1;
    // Harbour redeems one of its own later.
    if world.codes_used == 2 && double.cheat != Cheat::CodeWorksTwice {
        return HttpResponse::BadRequest().json(json!({"error": "invalid_grant"}));
    }
    json_ok(json!({"access_token": "token-secret", "token_type": "bearer", "expires_in": 3600,
        "account": {"id": "acct_ben", "payment_credentials": "orchestrator"}}))
}

pub(super) async fn provisioning(double: State, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    if !signed(&double, &request, &body) && double.cheat != Cheat::SignatureIgnored {
        return refuse(401, "invalid_signature");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path: Vec<&str> = request.match_info().get("path").unwrap().split('/').collect();
    let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    match path.as_slice() {
        ["health"] => json_ok(json!({"supported_versions": ["0.1d"], "status": "ok"})),
        ["services"] => services(&double),
        ["account_requests"] => account(&double, &body),
        ["resources"] => create(&double, &key.unwrap(), &body).await,
        ["resources", id, "update_service"] => update(&double, id, &body).await,
        ["resources", id, "rotate_credentials"] => {
            double.wire.lock().unwrap().rotations += u32::from(double.cheat != Cheat::RotationKeeps);
            complete(&double, id, "postgres:medium", true)
        }
        ["resources", id, "remove"] => {
            let status = if double.cheat == Cheat::StillThere { "complete" } else { "removed" };
            json_ok(json!({"status": status, "id": id}))
        }
        ["resources", id] => complete(&double, id, "postgres:medium", double.cheat == Cheat::SecretShown),
        ["deep_links"] => json_ok(json!({"url": format!("{}/d/dl_guest", double.base)})),
        _ => refuse(404, "not_found"),
    }
}

fn services(double: &State) -> HttpResponse {
    let service = |id: &str, price: &str| {
        json!({"id": id, "description": "d", "categories": ["cache"],
            "pricing": {"type": "paid", "paid": {"type": "freeform", "freeform": price}}})
    };
    let mut digest = sha256_name(&double.catalog);
    if double.cheat == Cheat::OtherRevision {
        digest = sha256_name(b"another");
    }
    let services = [service("postgres:small", "$9.00 per month"), service("cache", "$4.00 per month")];
    HttpResponse::Ok().insert_header(("portreeve-catalog-digest", digest)).json(json!({"data": services}))
}

fn account(double: &State, body: &Value) -> HttpResponse {
    if body["email"] == "ada@example.test" && double.cheat != Cheat::LinksSilently {
        let url = format!("{}/link/1", double.base);
        let redirect = json!({"type": "redirect", "redirect": {"url": url}});
        return json_ok(json!({"type": "requires_auth", "requires_auth": redirect}));
    }
    json_ok(json!({"type": "oauth", "oauth": {"code": "code-secret"}}))
}

fn complete(double: &State, id: &str, service: &str, shown: bool) -> HttpResponse {
    let value = format!("value-secret-{}", double.wire.lock().unwrap().rotations);
    let access = if shown { json!({"url": value}) } else { json!({}) };
    json_ok(
        json!({"status": "complete", "id": id, "service_id": service, "complete": {"access_configuration": access}}),
    )
}

async fn charge(double: &State, body: &Value, cost: i64) -> bool {
    let Some(token) = body["payment_credentials"]["stripe_payment_token"].as_str() else { return false };
    double.settle(token, cost).await;
    double.wire.lock().unwrap().spent += cost;
    true
}

async fn create(double: &State, key: &str, body: &Value) -> HttpResponse {
    let service = body["service_id"].as_str().unwrap();
    let number = double.wire.lock().unwrap().made.len();
    let before = double.wire.lock().unwrap().made.iter().position(|known| known == key);
    let id = match before {
        Some(before) if double.cheat != Cheat::KeyIgnored => format!("res_{before}"),
        Some(_) => format!("res_{number}"),
        None => {
            let cost = match service {
                "postgres:small" => 900,
                "cache" => 400,
                _ => 0,
            };
            let paid = cost == 0 || charge(double, body, cost).await;
            if !paid && double.cheat != Cheat::UnpaidMade {
                return refuse(400, "requires_payment_credentials");
            }
            double.wire.lock().unwrap().made.push(key.to_owned());
            format!("res_{number}")
        }
    };
    complete(double, &id, service, true)
}

async fn update(double: &State, id: &str, body: &Value) -> HttpResponse {
    if body["service_id"] != "postgres:medium" {
        let any = double.cheat == Cheat::AnyChange;
        return if any { complete(double, id, "sandbox", false) } else { refuse(400, "destructive_update") };
    }
    assert!(charge(double, body, 2_800 + i64::from(double.cheat == Cheat::ChangeCostsMore)).await);
    complete(double, id, "postgres:medium", false)
}
