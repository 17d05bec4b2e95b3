//! Health and the catalog.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::{Asked, Fault, Reply, State, signature};

pub(super) fn health(state: &State, asked: &Asked) -> Reply {
    signature::check(state, asked)?;
    let versions = if state.has(Fault::HealthWithoutVersion) { json!([]) } else { json!(["0.1d"]) };
    Ok(HttpResponse::Ok().json(json!({"supported_versions": versions, "status": "ok"})))
}

pub(super) fn all() -> Vec<Value> {
    let free = json!({"type": "free"});
    let paid = |text: &str| json!({"type": "paid", "paid": {"type": "freeform", "freeform": text}});
    let plan = |id: &str, pricing: Value, to: &str, direction: &str| {
        json!({"id": id, "kind": "plan", "scope": "account", "description": "A plan.", "categories": ["database"],
            "pricing": pricing, "allowed_updates": [{"service": to, "direction": direction}],
            "constraints": {"count": {"at_most": 1}, "mutual_exclusion": {"allowed_updates": true}}})
    };
    let deployable = |id: &str, pricing: Value| {
        json!({"id": id, "kind": "deployable", "scope": "project", "description": "A thing.",
            "categories": ["compute"], "pricing": pricing})
    };
    let with = |mut service: Value, name: &str, value: Value| {
        service[name] = value;
        service
    };
    let component = json!({"type": "component", "component": {"options": [
        {"type": "free", "parent_service_ids": ["free"], "default": true},
        {"type": "paid", "parent_service_ids": ["pro"], "paid": {"type": "freeform", "freeform": "included"}}]}});
    let region = json!({"type": "object", "required": ["region"], "properties": {
        "region": {"type": "string", "enum": ["iad1", "fra1"]}, "name": {"type": "string", "maxLength": 63}}});
    vec![
        plan("free", free.clone(), "pro", "up"),
        plan("pro", paid("$25 per month"), "free", "down"),
        deployable("sandbox", free.clone()),
        with(deployable("database", component), "configuration_schema", region),
        with(deployable("bucket", free.clone()), "constraints", json!({"count": {"at_most": 2}})),
        with(
            deployable("hobby", free.clone()),
            "allowed_updates",
            json!([
            {"service": "maker", "direction": "up"}, {"service": "max", "direction": "up"}]),
        ),
        deployable("maker", free),
        deployable("max", paid("$9 per month")),
    ]
}

pub(super) fn services(state: &State, asked: &Asked) -> Reply {
    signature::check(state, asked)?;
    let mut data = all();
    for service in &mut data {
        if state.has(Fault::NoCategories) {
            service["categories"] = json!([]);
        }
        if state.has(Fault::DanglingUpdate) && service["id"] == "sandbox" {
            service["allowed_updates"] = json!([{"service": "nowhere", "direction": "up"}]);
        }
        if state.has(Fault::UnknownPricing) && service["id"] == "maker" {
            service["pricing"] = json!({"type": "auction"});
        }
    }
    if state.has(Fault::SameServiceTwice) {
        data.push(data[2].clone());
    }
    let mut answer = json!({"data": data});
    if state.has(Fault::EndlessPages) {
        answer["next_cursor"] = json!("again");
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// What a service costs in minor units.
pub(super) fn price(service: &str) -> u64 {
    match service {
        "pro" => 2500,
        "max" => 900,
        _ => 0,
    }
}
