//! How people write a plan and its price in TOML.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::configuration::{Configuration, Field, FieldKind};
use super::fields::{At, Fields, suggestion};
use super::names::{FieldName, ServiceId};
use super::price::{BadPrice, Meter, Metered, Payable, Price};
use super::rules_document::{Places, access, rules};
use super::service::Plan;
use crate::money::{InvalidRate, Rate};

/// The most credentials of one plan.
const MAX_CREDENTIALS: usize = 20;
/// The most choices of one configuration field.
const MAX_CHOICES: usize = 50;

/// Reads a plan of `service`, and where its statements about other plans stand.
pub(super) fn plan(fields: Fields<'_>, service: Option<&ServiceId>) -> Option<(Plan, Places)> {
    let id = fields.required("id", "id = \"small\"", fields.text("id"));
    let title = fields.required("title", "title = \"Small\"", fields.text("title"));
    let description = fields.text("description").map(|at| at.value);
    let price_table = fields.required("price", "price = { kind = \"free\" }", fields.table("price", "this price"));
    let price = price_table.and_then(price);
    let credentials = fields.texts("credentials", MAX_CREDENTIALS);
    let configuration = configuration(&fields);
    let said_kind = fields.text("kind").map(|at| at.value);
    let rules = rules(&fields, service);
    let said_access = access(&fields, &credentials);
    fields.finish();
    let (rules, places) = rules?;
    let plan = Plan {
        id: id?.value,
        title: title?.value,
        description,
        price: price?,
        credentials,
        configuration: configuration?,
        said_kind,
        rules,
        said_access: said_access?,
    };
    Some((plan, places))
}

/// The word that says how a plan is priced.
#[derive(Clone, Copy)]
enum Kind {
    Free,
    Monthly,
    OneOff,
    Metered,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "free" => Ok(Self::Free),
            "monthly" => Ok(Self::Monthly),
            "one_off" => Ok(Self::OneOff),
            "metered" => Ok(Self::Metered),
            _ => {
                let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                let meant = suggestion(&shown, &["free", "monthly", "one_off", "metered"]);
                Err(format!("`{shown}` is not a kind of price: {meant}"))
            }
        }
    }
}

pub(super) fn price(fields: Fields<'_>) -> Option<Price> {
    let kind = fields.required("kind", "kind = \"monthly\"", fields.text::<Kind>("kind"))?;
    let price = match kind.value {
        Kind::Free => Some(Price::Free),
        Kind::Monthly => amount(&fields, "amount").map(Price::Monthly),
        Kind::OneOff => amount(&fields, "amount").map(Price::OneOff),
        Kind::Metered => metered(&fields).map(Price::Metered),
    };
    fields.finish();
    price
}

/// A price as it stands in a file. A letter that only looks like one of ours is named, because nobody would see it.
struct Written(Rate);

impl FromStr for Written {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.chars().find(|c| !c.is_ascii()) {
            Some(c) => Err(format!("the price has the character U+{:04X}: type it with plain letters", u32::from(c))),
            None => text.parse().map(Self).map_err(|error: InvalidRate| error.to_string()),
        }
    }
}

fn amount(fields: &Fields<'_>, name: &'static str) -> Option<Payable> {
    let example = format!("{name} = \"9.00 USD\"");
    let found = fields.required(name, &example, fields.text::<Written>(name))?;
    payable(fields, name, &found)
}

fn payable(fields: &Fields<'_>, name: &str, found: &At<Written>) -> Option<Payable> {
    Payable::try_from(found.value.0).map_err(|error| fields.wrong(found.offset, format!("`{name}`: {error}"))).ok()
}

fn metered(fields: &Fields<'_>) -> Option<Metered> {
    let base = fields.text::<Written>("base");
    let base_written = base.is_some();
    let base = base.and_then(|found| payable(fields, "base", &found));
    let max_exposure = amount(fields, "max_exposure");
    let tables = fields.tables("meters", "this meter", Metered::MAX_METERS);
    let places: Vec<_> = tables.iter().map(Fields::offset).collect();
    let meters = tables.into_iter().map(meter).collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
    if base_written && base.is_none() {
        return None;
    }
    let ids: Vec<_> = meters.iter().map(|meter| meter.id.clone()).collect();
    let currencies: Vec<_> = meters.iter().map(|meter| meter.rate.currency()).collect();
    match Metered::new(base, meters, max_exposure?) {
        Ok(metered) => Some(metered),
        Err(error) => {
            let culprit = match &error {
                BadPrice::MeterTwice(id) => ids.iter().rposition(|known| known == id),
                BadPrice::FreeMeter(id) => ids.iter().position(|known| known == id),
                BadPrice::Currencies(_, other) => currencies.iter().position(|known| known == other),
                _ => None,
            };
            let offset = culprit.and_then(|index| places.get(index)).copied().unwrap_or(fields.offset());
            fields.wrong(offset, error.to_string());
            None
        }
    }
}

fn meter(fields: Fields<'_>) -> Option<Meter> {
    let id = fields.required("id", "id = \"requests\"", fields.text("id"));
    let unit = fields.required("unit", "unit = \"request\"", fields.text("unit"));
    let rate = fields.required("amount", "amount = \"0.50 USD\"", fields.text::<Written>("amount"));
    let per = fields.required("per", "per = 1000", fields.number("per"));
    fields.finish();
    Some(Meter { id: id?.value, unit: unit?.value, rate: rate?.value.0, per: per?.value })
}

fn configuration(fields: &Fields<'_>) -> Option<Configuration> {
    let mut read = BTreeMap::new();
    for table in fields.tables("configuration", "this configuration field", Configuration::MAX_FIELDS) {
        let start = table.offset();
        let (name, field) = configuration_field(table)?;
        if read.contains_key(&name) {
            fields.wrong(start, format!("the field `{name}` stands here twice: rename one"));
        }
        read.insert(name, field);
    }
    Some(Configuration::new(read))
}

fn configuration_field(fields: Fields<'_>) -> Option<(FieldName, Field)> {
    let name = fields.required("name", "name = \"region\"", fields.text("name"));
    let kind = fields.required("type", "type = \"text\"", fields.text::<FieldWord>("type"));
    let description = fields.required("description", "description = \"…\"", fields.text("description"));
    let required = fields.flag("required");
    let kind = match kind {
        Some(At { value: FieldWord::Integer, .. }) => Some(FieldKind::Integer),
        Some(At { value: FieldWord::Boolean, .. }) => Some(FieldKind::Boolean),
        // Read also when the type is not known, so that the choices are not called unknown.
        text => {
            let choices = fields.texts("choices", MAX_CHOICES);
            text.map(|_| FieldKind::Text(choices))
        }
    };
    fields.finish();
    Some((name?.value, Field { kind: kind?, description: description?.value, required }))
}

#[derive(Clone, Copy)]
enum FieldWord {
    Text,
    Integer,
    Boolean,
}

impl FromStr for FieldWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "integer" => Ok(Self::Integer),
            "boolean" => Ok(Self::Boolean),
            _ => {
                let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                let meant = suggestion(&shown, &["text", "integer", "boolean"]);
                Err(format!("`{shown}` is not a type of field: {meant}"))
            }
        }
    }
}
