//! How the wire's services are written as JSON. The wire changed under one version number, so that the shape is data:
//! one value for each date.

use serde_json::{Map, Value, json};

use super::edition::Edition;
use super::wire_services::{ComponentOption, PaidPrice, Pricing, WireService};

/// Which members an orchestrator expects, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one optional member of the wire is written")]
pub struct CatalogShape {
    /// Ids, or objects with a direction.
    pub allowed_updates: AllowedUpdatesShape,
    /// One price, or a list of one.
    pub paid: PaidShape,
    /// Whether prices may depend on a parent; otherwise all of them stand in one sentence.
    pub component: bool,
    /// Whether `kind` is written.
    pub kind: bool,
    /// Whether `group` is written.
    pub group: bool,
    /// Whether `scope` is written.
    pub scope: bool,
    /// Whether `kyc` is written.
    pub kyc: bool,
    /// Whether `configuration_schema` is written.
    pub configuration_schema: bool,
    /// Whether `constraints` is written.
    pub constraints: bool,
    /// Whether `llm_context` is written.
    pub llm_context: bool,
    /// What stands there after the last page.
    pub next_cursor: NextCursor,
}

/// The two forms of `allowed_updates`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedUpdatesShape {
    /// `["pro"]`, until June 2026.
    Strings,
    /// `[{"service": "pro", "direction": "up"}]`.
    Objects,
}

/// The two forms of `paid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaidShape {
    /// `{"type": "freeform", …}`.
    Object,
    /// `[{"type": "freeform", …}]`.
    Array,
}

/// The forms of `next_cursor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextCursor {
    /// Never written: the reader knows no pages, so that everything stands on one.
    Absent,
    /// Empty text on the last page.
    Empty,
    /// `null` on the last page.
    Null,
    /// Only written when there is more.
    WhenMore,
}

impl CatalogShape {
    /// 30 March 2026: a service is free or has one price in words; no tiers, no constraints, no pages.
    pub const MARCH_2026: Self = Self {
        allowed_updates: AllowedUpdatesShape::Strings,
        paid: PaidShape::Object,
        component: false,
        kind: false,
        group: false,
        scope: false,
        kyc: true,
        configuration_schema: true,
        constraints: false,
        llm_context: false,
        next_cursor: NextCursor::Absent,
    };
    /// 1 April 2026: tiers (`kind`), and prices that depend on a parent.
    pub const APRIL_2026: Self = Self { component: true, kind: true, group: true, ..Self::MARCH_2026 };
    /// 25 June 2026: `scope`, `constraints`, and updates with a direction.
    pub const JUNE_2026: Self =
        Self { allowed_updates: AllowedUpdatesShape::Objects, scope: true, constraints: true, ..Self::APRIL_2026 };
    /// Everything there is, with pages: for a reader that passes over what it does not know.
    pub const NEWEST: Self = Self { llm_context: true, next_cursor: NextCursor::WhenMore, ..Self::JUNE_2026 };

    /// The shape that was current on the date of a profile.
    #[must_use]
    pub fn dated(date: &str) -> Option<Self> {
        match date {
            "2026-03-30" => Some(Self::MARCH_2026),
            "2026-04-01" => Some(Self::APRIL_2026),
            "2026-06-25" => Some(Self::JUNE_2026),
            _ => None,
        }
    }
}

/// Not a cursor that was ever given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one of this catalog: begin without it")]
pub struct InvalidCursor;

/// The most characters of a cursor: two names and a colon.
const MAX_CURSOR: usize = 129;

impl Edition {
    /// One page of the wire's services in `shape`: `{"data": […], "next_cursor"?}`. A cursor is the id of the last one seen.
    ///
    /// # Errors
    /// When the cursor cannot be one.
    pub fn wire_page(&self, shape: &CatalogShape, cursor: Option<&str>, limit: usize) -> Result<Value, InvalidCursor> {
        page(&self.wire_services, shape, cursor, limit)
    }
}

/// `services` sorted by id; at least one on a page. Ids that went meanwhile do not matter to a cursor.
fn page(
    services: &[WireService],
    shape: &CatalogShape,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Value, InvalidCursor> {
    let cursor = cursor.unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b':');
    if cursor.len() > MAX_CURSOR || !cursor.bytes().all(plain) {
        return Err(InvalidCursor);
    }
    let limit = if shape.next_cursor == NextCursor::Absent { usize::MAX } else { limit.max(1) };
    let start = services.partition_point(|service| service.id.as_str() <= cursor);
    let (_, rest) = services.split_at(start);
    let shown: Vec<_> = rest.iter().take(limit).collect();
    let more = shown.last().filter(|_| rest.len() > shown.len()).map(|last| last.id.clone());
    let data: Vec<_> = shown.iter().map(|service| service.json(shape)).collect();
    let mut answer = Map::from_iter([("data".to_owned(), Value::from(data))]);
    let next = match (more, shape.next_cursor) {
        (Some(more), _) => Some(Value::from(more)),
        (None, NextCursor::Empty) => Some(Value::from("")),
        (None, NextCursor::Null) => Some(Value::Null),
        (None, NextCursor::Absent | NextCursor::WhenMore) => None,
    };
    answer.extend(next.map(|next| ("next_cursor".to_owned(), next)));
    Ok(Value::Object(answer))
}

impl WireService {
    /// The service object of the wire in `shape`.
    #[must_use]
    pub fn json(&self, shape: &CatalogShape) -> Value {
        let mut members = Map::new();
        let mut put = |wanted: bool, name: &str, value: Value| {
            if wanted {
                members.insert(name.to_owned(), value);
            }
        };
        put(true, "id", json!(self.id));
        put(true, "description", json!(self.description));
        put(true, "categories", json!(self.categories));
        put(true, "pricing", self.pricing.json(shape));
        put(shape.kind, "kind", json!(self.kind));
        put(shape.group, "group", json!(self.group));
        put(shape.scope, "scope", json!(self.scope));
        put(shape.kyc && !self.kyc.is_empty(), "kyc", json!({"required_fields": self.kyc}));
        if let Some(schema) = &self.configuration_schema {
            put(shape.configuration_schema, "configuration_schema", schema.clone());
        }
        put(!self.allowed_updates.is_empty(), "allowed_updates", self.updates(shape.allowed_updates));
        put(shape.constraints && (self.exclusive || self.at_most.is_some()), "constraints", self.constraints());
        if let Some(url) = &self.llm_context_url {
            put(shape.llm_context, "llm_context", json!(url));
        }
        Value::Object(members)
    }

    fn updates(&self, shape: AllowedUpdatesShape) -> Value {
        let each = self.allowed_updates.iter().map(|update| match shape {
            AllowedUpdatesShape::Strings => json!(update.service),
            AllowedUpdatesShape::Objects => json!({"service": update.service, "direction": update.direction}),
        });
        each.collect()
    }

    fn constraints(&self) -> Value {
        let mut members = Map::new();
        members.extend(self.at_most.map(|most| ("count".to_owned(), json!({"at_most": most}))));
        if self.exclusive {
            members.insert("mutual_exclusion".to_owned(), json!({"allowed_updates": true}));
        }
        Value::Object(members)
    }
}

impl Pricing {
    fn json(&self, shape: &CatalogShape) -> Value {
        match self {
            Self::Free => json!({"type": "free"}),
            Self::Paid(prices) => match (prices.as_slice(), shape.paid) {
                ([price], PaidShape::Object) => json!({"type": "paid", "paid": price.json()}),
                (prices, _) => {
                    json!({"type": "paid", "paid": prices.iter().map(PaidPrice::json).collect::<Vec<_>>()})
                }
            },
            Self::Component(options) if shape.component => {
                json!({"type": "component", "component": {"options": options.iter().map(option).collect::<Vec<_>>()}})
            }
            Self::Component(options) => Self::flat(options).json(shape),
        }
    }

    /// For a reader that knows no parents: all prices in one sentence, and free only if it is free under every parent.
    fn flat(options: &[ComponentOption]) -> Self {
        if options.iter().all(|option| option.paid.is_none()) {
            return Self::Free;
        }
        let each = options.iter().map(|option| {
            let price = option.paid.as_ref().map_or("free", |paid| paid.freeform.as_str());
            format!("with {}: {price}", option.parent)
        });
        Self::Paid(vec![PaidPrice { freeform: each.collect::<Vec<_>>().join("; ") }])
    }
}

impl PaidPrice {
    fn json(&self) -> Value {
        json!({"type": "freeform", "freeform": self.freeform})
    }
}

fn option(option: &ComponentOption) -> Value {
    let mut members = Map::new();
    let kind = if option.paid.is_some() { "paid" } else { "free" };
    members.insert("type".to_owned(), json!(kind));
    members.extend(option.paid.as_ref().map(|paid| ("paid".to_owned(), paid.json())));
    members.insert("parent_service_ids".to_owned(), json!([option.parent]));
    if option.default {
        members.insert("default".to_owned(), json!(true));
    }
    Value::Object(members)
}
