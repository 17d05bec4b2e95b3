//! Resources: made, read, updated, rotated, removed.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::world::{Resource, World};
use super::{Asked, Fault, Form, Reply, State, accounts, catalog, object, payment, refuse};

fn form(id: &str) -> Form {
    Form::Status(id.to_owned())
}

fn complete(state: &State, id: &str, resource: &Resource) -> HttpResponse {
    let access = match catalog_entry(&resource.service).is_some_and(|service| service["kind"] == "plan") {
        true => Value::Null,
        false if state.has(Fault::NestedAccess) => json!({"keys": {"api_key": resource.value}}),
        false => json!({"api_key": resource.value, "host": "api.double.example"}),
    };
    HttpResponse::Ok().json(json!({"status": "complete", "id": id, "service_id": resource.service,
        "complete": {"access_configuration": access}}))
}

fn catalog_entry(id: &str) -> Option<Value> {
    catalog::all().into_iter().find(|service| service["id"] == id)
}

/// The service that the body names, with a configuration that its schema allows.
fn wanted(state: &State, body: &Value, id: &str) -> Result<Value, HttpResponse> {
    let Some(name) = body.get("service_id").filter(|name| !name.is_null()) else {
        return Err(refuse(&form(id), 400, "missing_service_id"));
    };
    let Some(service) = name.as_str().and_then(catalog_entry) else {
        let status = if state.has(Fault::UnknownService500) { 500 } else { 400 };
        return Err(refuse(&form(id), status, "unknown_service"));
    };
    Ok(service)
}

fn configured(state: &State, body: &Value, service: &Value, id: &str) -> Result<(), HttpResponse> {
    let none = json!({});
    let configuration = body.get("configuration").filter(|value| !value.is_null()).unwrap_or(&none);
    let region = &configuration["region"];
    let schema = service.get("configuration_schema").is_some();
    let right = configuration.is_object()
        && (!schema || ["iad1", "fra1"].map(Value::from).contains(region))
        && (!schema || configuration.get("name").is_none_or(Value::is_string));
    if right || state.has(Fault::ConfigurationUnchecked) {
        return Ok(());
    }
    Err(refuse(&form(id), 400, "invalid_request"))
}

/// Parents, counts and exclusions.
fn allowed(state: &State, world: &World, service: &Value, body: &Value, account: usize) -> Result<(), HttpResponse> {
    let refused = || Err(refuse(&form(""), 409, "resource_count_constraint_exceeded"));
    let active = |id: &str| world.active(account).filter(|resource| resource.service == id).count();
    if service["pricing"]["type"] == "component"
        && active("free") + active("pro") == 0
        && !state.has(Fault::ParentsIgnored)
    {
        return Err(refuse(&form(""), 400, "plan_required"));
    }
    if let Some(most) = service["constraints"]["count"]["at_most"].as_u64() {
        let id = service["id"].as_str().unwrap();
        let in_project =
            |resource: &&Resource| service["scope"] == "account" || resource.project.as_ref() == body.get("project_id");
        let count = world.active(account).filter(|resource| resource.service == id).filter(in_project).count();
        if u64::try_from(count).unwrap() >= most && !state.has(Fault::CountIgnored) {
            return refused();
        }
    }
    if service["constraints"]["mutual_exclusion"]["allowed_updates"] == true && !state.has(Fault::ExclusionIgnored) {
        let others = service["allowed_updates"].as_array().unwrap();
        if others.iter().any(|other| active(other["service"].as_str().unwrap()) > 0) {
            return refused();
        }
    }
    Ok(())
}

/// The key of a creation: the header, else the orchestrator's id, else project and service.
fn key(state: &State, asked: &Asked, body: &Value, account: usize) -> String {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let project = || format!("project {:?} {}", text("project_id"), body["service_id"]);
    let given = asked.header("idempotency-key").map(|key| format!("key {key}"));
    let named = given.or_else(|| text("orchestrator_resource_id").map(|id| format!("id {id}"))).unwrap_or_else(project);
    if state.has(Fault::KeysShared) { named } else { format!("{account} {named}") }
}

pub(super) async fn create(state: &State, asked: &Asked) -> Reply {
    let account = accounts::bearer(state, asked, &form(""))?;
    let body = object(state, asked, &form(""))?;
    let service = wanted(state, &body, "")?;
    configured(state, &body, &service, "")?;
    let key = key(state, asked, &body, account);
    let content = body.to_string();
    let again = |world: &World| {
        let (said, id) = world.keys.get(&key)?;
        let resource = world.resources.get(id)?;
        let conflict = *said != content && !state.has(Fault::KeysShared);
        Some(if conflict { Err(refuse(&form(""), 409, "invalid_state")) } else { Ok(complete(state, id, resource)) })
    };
    if let Some(answer) = again(&state.world()).filter(|_| !state.has(Fault::IdempotencyIgnored)) {
        return answer;
    }
    if state.has(Fault::RaceCount) {
        allowed(state, &state.world(), &service, &body, account)?;
    }
    state.dawdle(Fault::RaceResources).await;
    state.dawdle(Fault::RaceCount).await;
    let mut world = state.world();
    let racing = state.has(Fault::RaceResources) || state.has(Fault::IdempotencyIgnored);
    if let Some(answer) = again(&world).filter(|_| !racing) {
        return answer;
    }
    if !state.has(Fault::RaceCount) {
        allowed(state, &world, &service, &body, account)?;
    }
    let name = service["id"].as_str().unwrap();
    let tried = format!("{account} {}", body["orchestrator_resource_id"]);
    let paid = payment::pay(state, &mut world, &body, catalog::price(name), account);
    if paid.is_err() {
        *world.unpaid.entry(tried.clone()).or_default() += 1;
    }
    let retried = world.unpaid.get(&tried).is_some_and(|times| *times > 1) && state.has(Fault::UnpaidRetrySucceeds);
    if paid.is_err() && !state.has(Fault::UnpaidUsable) && !retried {
        return paid.map(|()| HttpResponse::Ok().finish());
    }
    let (id, value) = (world.fresh("res"), world.fresh("sk"));
    let resource =
        Resource { account, service: name.to_owned(), removed: false, value, project: body.get("project_id").cloned() };
    let answer = complete(state, &id, &resource);
    world.keys.insert(key, (content, id.clone()));
    world.resources.insert(id.clone(), resource);
    match paid {
        Err(_) if state.has(Fault::UnpaidUsable) => Err(refuse(&form(&id), 400, "requires_payment_credentials")),
        _ => Ok(answer),
    }
}

pub(super) fn link(state: &State, asked: &Asked) -> Reply {
    accounts::bearer(state, asked, &form(""))?;
    object(state, asked, &form(""))?;
    let schema = json!({"type": "object", "required": ["resource"], "properties": {"resource": {"type": "string"}}});
    Ok(HttpResponse::Ok().json(json!({"status": "needs_information", "needs_information": {"schema": schema}})))
}

/// One's own resource that is still there.
fn own(state: &State, asked: &Asked, id: &str, anybodys: bool) -> Result<Resource, HttpResponse> {
    let account = accounts::bearer(state, asked, &form(""))?;
    if state.has(Fault::OddId500) && !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return Err(refuse(&form(""), 500, "server_error"));
    }
    let world = state.world();
    let found = world.resources.get(id).ok_or_else(|| refuse(&form(""), 404, "not_found"))?;
    if found.account != account && !anybodys {
        return Err(refuse(&form(id), 403, "forbidden"));
    }
    Ok(found.clone())
}

fn there(state: &State, resource: Resource, id: &str) -> Result<Resource, HttpResponse> {
    if resource.removed && !state.has(Fault::RemovedUsable) {
        return Err(refuse(&form(id), 409, "invalid_state"));
    }
    Ok(resource)
}

pub(super) fn read(state: &State, asked: &Asked, id: &str) -> Reply {
    let mut resource = own(state, asked, id, state.has(Fault::ForeignReadable))?;
    if resource.removed && !state.has(Fault::RemovedUsable) {
        return Ok(HttpResponse::Ok().json(json!({"status": "removed", "id": id})));
    }
    if state.has(Fault::ReadMints) {
        resource.value = state.world().fresh("sk");
    }
    Ok(complete(state, id, &resource))
}

pub(super) fn update(state: &State, asked: &Asked, id: &str) -> Reply {
    let resource = there(state, own(state, asked, id, false)?, id)?;
    let body = object(state, asked, &form(id))?;
    let service = wanted(state, &body, id)?;
    let name = service["id"].as_str().unwrap().to_owned();
    let from = catalog_entry(&resource.service).unwrap();
    let ways = from["allowed_updates"].as_array().cloned().unwrap_or_default();
    let open = name == resource.service || ways.iter().any(|way| way["service"] == name.as_str());
    configured(state, &body, &service, id)?;
    let mut world = state.world();
    if !open && !state.has(Fault::WaysIgnored) {
        if state.has(Fault::RefusedUpdateApplied) {
            world.resources.get_mut(id).unwrap().service = name;
        }
        return Err(refuse(&form(id), 400, "destructive_update"));
    }
    if !state.has(Fault::UnpaidUpdate) && name != resource.service {
        payment::pay(state, &mut world, &body, catalog::price(&name), resource.account)?;
    }
    let changed = world.resources.get_mut(id).unwrap();
    changed.service = name;
    Ok(complete(state, id, &changed.clone()))
}

pub(super) fn rotate(state: &State, asked: &Asked, id: &str) -> Reply {
    let mut resource = there(state, own(state, asked, id, state.has(Fault::ForeignRotatable))?, id)?;
    let mut world = state.world();
    if !state.has(Fault::RotationKeepsValues) {
        resource.value = world.fresh("sk");
    }
    if !state.has(Fault::OldValuesRead) {
        world.resources.get_mut(id).unwrap().value.clone_from(&resource.value);
    }
    let shown = if state.has(Fault::RotationOtherId) { world.fresh("res") } else { id.to_owned() };
    Ok(complete(state, &shown, &resource))
}

pub(super) fn remove(state: &State, asked: &Asked, id: &str) -> Reply {
    let resource = own(state, asked, id, state.has(Fault::ForeignRemovable))?;
    if resource.removed && state.has(Fault::SecondRemoval500) {
        return Err(refuse(&form(id), 500, "server_error"));
    }
    let mut world = state.world();
    world.resources.get_mut(id).unwrap().removed = true;
    // What was removed is no longer found by its key.
    world.keys.retain(|_, (_, made)| made != id);
    if state.has(Fault::RemovesAll) {
        let all = world.resources.values_mut().filter(|other| other.account == resource.account);
        all.for_each(|other| other.removed = true);
    }
    Ok(HttpResponse::Ok().json(json!({"status": "removed", "id": id})))
}
