//! What was said, for people and for programs.

use serde_json::{Value, json};

use super::super::{Failure, say};
use super::desk::Said;

/// Of the answers of `--json`.
const VERSION: &str = "0.1";

/// Prints the answer. A refusal is a failure with the exit code of its kind.
pub(super) fn done(command: &str, said: &Said, json: bool) -> Result<(), Failure> {
    if json {
        say(&envelope(command, said).to_string())?;
    }
    if said.refused() {
        return Err(failure(said, json));
    }
    if json {
        return Ok(());
    }
    for warning in texts(&said.at("/warnings")) {
        say(&format!("note: {warning}"))?;
    }
    for line in lines(command, &said.at("/data")) {
        say(&line)?;
    }
    for step in texts(&said.at("/next_steps")) {
        say(&format!("next: {step}"))?;
    }
    Ok(())
}

fn envelope(command: &str, said: &Said) -> Value {
    let mut envelope = json!({"ok": !said.refused(), "command": command, "version": VERSION,
        "warnings": list(said.at("/warnings")), "next_steps": list(said.at("/next_steps"))});
    let (name, value) = if said.refused() { ("error", said.at("/error")) } else { ("data", said.at("/data")) };
    if let Some(members) = envelope.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    envelope
}

fn list(value: Value) -> Value {
    if value.is_array() { value } else { json!([]) }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Nobody agreed to the price.
pub(super) fn not_agreed(command: &str, seen: &Said, json: bool) -> Failure {
    let message = "nobody agreed to the price: say --yes to agree beforehand";
    if json {
        let envelope = json!({"ok": false, "command": command, "version": VERSION,
            "error": {"code": "CONFIRMATION_REQUIRED", "message": message, "offer": seen.at("/data")},
            "warnings": [], "next_steps": ["look at the price, and repeat with --yes"]});
        if let Err(failure) = say(&envelope.to_string()) {
            return failure;
        }
    }
    Failure::with_code(8, format!("{message}\n{}", price(seen)))
}

/// The final price in one sentence.
pub(super) fn price(seen: &Said) -> String {
    let text = |pointer: &str| seen.text(pointer).unwrap_or_default();
    let mut line = format!(
        "{}/{} as `{}`: {}",
        text("/data/provider"),
        text("/data/service"),
        text("/data/name"),
        text("/data/price")
    );
    if let Some(limit) = seen.text("/data/monthly_limit") {
        line.extend(["\npaid with a token for at most ", &limit, " per month"]);
    }
    line
}

fn failure(said: &Said, json: bool) -> Failure {
    let code = said.text("/error/code").unwrap_or_default();
    let exit = match code.as_str() {
        "BROWSER_AUTH_REQUIRED" => 9,
        "provider_failure" | "provider_unreachable" | "provider_not_understood" | "catalog_failing" => 10,
        "outcome_unknown" => 11,
        "SERVICE_UNKNOWN" | "PROVIDER_UNKNOWN" | "RESOURCE_UNKNOWN" => 3,
        "UNKNOWN_ERROR" | "internal" => 1,
        "NAME_TAKEN" | "PRICE_CHANGED" => 7,
        _ => 5,
    };
    let message = said.text("/error/message").unwrap_or_default();
    let mut text = format!("{code}: {message}");
    if !json {
        let url = said.text("/error/url").map(|url| format!("\nopen {url}"));
        text.push_str(&url.unwrap_or_default());
        for step in texts(&said.at("/next_steps")) {
            text.extend(["\nnext: ", &step]);
        }
    }
    Failure::with_code(exit, text)
}

fn word<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn rows<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn lines(command: &str, data: &Value) -> Vec<String> {
    match command {
        "catalog" => rows(data, "providers").flat_map(provider).collect(),
        "link" => vec![format!("{} is linked (account {})", word(data, "provider"), word(data, "account"))],
        "env" => {
            let mut lines = texts(&data.get("variables").cloned().unwrap_or_default());
            lines.extend(data.get("written").and_then(Value::as_str).map(|file| format!("written to {file}")));
            lines
        }
        "open" => vec![word(data, "url").to_owned()],
        "billing" => rows(data, "providers")
            .map(|line| format!("{:<20} {}", word(line, "provider"), word(line, "text")))
            .collect(),
        "status" => {
            let links = rows(data, "connections").map(|line| {
                format!("{:<20} {:<10} {}", word(line, "provider"), word(line, "state"), word(line, "url"))
            });
            links.chain(rows(data, "resources").map(resource)).collect()
        }
        _ => vec![resource(data)],
    }
}

fn resource(one: &Value) -> String {
    let names = texts(&one.get("credentials").cloned().unwrap_or_default()).join(", ");
    let doubt = if one.get("outcome_unknown") == Some(&Value::Bool(true)) { " (outcome unknown)" } else { "" };
    let what = format!("{}/{}", word(one, "provider"), word(one, "service"));
    format!("{:<20} {what:<30} {:<10}{doubt} {}  {names}", word(one, "name"), word(one, "state"), word(one, "price"))
}

fn provider(one: &Value) -> Vec<String> {
    let name = word(one, "provider");
    if word(one, "status") == "failing" {
        return vec![format!("{name}: not offered now: {}", word(one, "reason"))];
    }
    let version = one.get("version").and_then(Value::as_u64).map(|version| format!(", version {version}"));
    let mut lines = vec![format!("{name} ({}{})", word(one, "status"), version.unwrap_or_default())];
    for service in rows(one, "services") {
        let signed = service.get("signed_price").and_then(Value::as_str).map(str::to_owned);
        let price = signed.unwrap_or_else(|| offered(service.get("pricing").unwrap_or(&Value::Null)));
        let id = format!("{name}/{}", word(service, "id"));
        lines.push(format!("  {id:<36} {price:<28} {}", word(service, "description")));
    }
    lines
}

fn offered(pricing: &Value) -> String {
    match word(pricing, "type") {
        "paid" => rows(pricing, "prices").map(|price| word(price, "text")).collect::<Vec<_>>().join(" or "),
        "component" => "depends on the plan".to_owned(),
        other => other.to_owned(),
    }
}
