//! How a service is made: the driver and its settings, and whether they can make what the plans promise.

use serde_json::{Map, Value};

use super::fields::{At, Fields};
use super::rules_document::Places;
use super::service::Plan;
use super::source::Source;
use super::{Driver, DriverKind};

/// The binding to the provider's platform. Its settings are the driver's own business, and never published.
pub(super) fn driver(source: &Source, fields: &Fields<'_>) -> Option<Driver> {
    let table = fields.required("driver", "[driver]", fields.table("driver", "this driver"))?;
    let kind = table.required("kind", "kind = \"static\"", table.text::<DriverKind>("kind"));
    let settings = match table.table("settings", "these settings") {
        Some(found) => settings(source, found.offset()),
        None => Some(Map::new()),
    };
    table.finish();
    Some(Driver { kind: kind?.value, settings: settings? })
}

/// The settings as a driver reads them; what TOML can say and JSON cannot is refused by the name of its key.
fn settings(source: &Source, offset: usize) -> Option<Map<String, Value>> {
    let read = source.text().parse::<toml::Table>().map_err(|error| error.message().to_owned());
    let read = read.and_then(|mut file| {
        match file.remove("driver") {
            Some(toml::Value::Table(mut driver)) => driver.remove("settings"),
            _ => None,
        }
        .ok_or_else(|| "`driver.settings` cannot be read".to_owned())
    });
    let read = read.and_then(|settings| json("driver.settings", settings));
    match read {
        Ok(Value::Object(settings)) => Some(settings),
        Ok(_) => {
            source.wrong(offset, "`driver.settings` is not a table: write a table");
            None
        }
        Err(why) => {
            source.wrong(offset, why);
            None
        }
    }
}

fn json(key: &str, value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(_) => return Err(format!("`{key}` is not a finite number: write one, or text")),
        toml::Value::Datetime(_) => return Err(format!("`{key}` is a date: write it as text")),
        toml::Value::Array(items) => {
            let items = items.into_iter().enumerate().map(|(index, item)| json(&format!("{key}[{index}]"), item));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => {
            let members = table.into_iter().map(|(name, value)| {
                let value = json(&format!("{key}.{name}"), value)?;
                Ok::<_, String>((name, value))
            });
            Value::Object(members.collect::<Result<_, _>>()?)
        }
    })
}

/// Tells every credential of a plan that the driver could not fill: at purchase time it would be too late.
pub(super) fn covers(source: &Source, driver: &Driver, plans: &[At<(Plan, Places)>]) {
    match driver.kind {
        DriverKind::Static => {
            let templates = driver.settings.get("credentials").and_then(Value::as_object);
            for plan in plans {
                for name in &plan.value.0.credentials {
                    if !templates.and_then(|all| all.get(name.as_str())).is_some_and(Value::is_string) {
                        let message = format!(
                            "the driver cannot fill `{name}`: write `{name} = \"…\"` under [driver.settings.credentials]"
                        );
                        source.wrong(plan.offset, message);
                    }
                }
            }
        }
    }
}
