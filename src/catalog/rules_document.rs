//! How people write the rules of a plan in TOML: its kind, updates, limit, parents and access names.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::fields::{At, Fields};
use super::names::{AccessName, CredentialName, PlanId, ServiceId};
use super::plan_document::price;
use super::references::Rule;
use super::rules::{InvalidPlanRef, Parent, PlanRef, Rules, Update};
use super::words::Direction;

/// Where in the file each rule stands.
pub(super) type Places = Vec<(Rule, usize)>;

/// A plan as a file may name it: `small` is of the same service.
enum Written {
    Here(PlanId),
    Anywhere(PlanRef),
}

impl FromStr for Written {
    type Err = InvalidPlanRef;

    fn from_str(text: &str) -> Result<Self, InvalidPlanRef> {
        if text.contains('/') { text.parse().map(Self::Anywhere) } else { Ok(Self::Here(text.parse()?)) }
    }
}

impl Written {
    /// `None` when the service has no name that could be read, which is told elsewhere.
    fn resolved(self, service: Option<&ServiceId>) -> Option<PlanRef> {
        match self {
            Self::Anywhere(plan) => Some(plan),
            Self::Here(plan) => service.map(|service| PlanRef::new(service, &plan)),
        }
    }
}

/// Reads what a plan says about others. `None` when a part of it could not be read.
pub(super) fn rules(fields: &Fields<'_>, service: Option<&ServiceId>) -> Option<(Rules, Places)> {
    let updates = fields.tables("updates", "this update", Rules::MAX);
    let parents = fields.tables("parents", "this parent", Rules::MAX);
    let places = updates.iter().enumerate().map(|(index, table)| (Rule::Update(index), table.offset()));
    let of_parents = parents.iter().enumerate().map(|(index, table)| (Rule::Parent(index), table.offset()));
    let places = places.chain(of_parents).chain([(Rule::Plan, fields.offset())]).collect();
    let updates = each(updates, |table| update(table, service));
    let parents = each(parents, |table| parent(table, service));
    let at_most = fields.number("at_most");
    let unread = fields.has("at_most") && at_most.is_none();
    let exclusive = fields.flag("exclusive");
    if unread {
        return None;
    }
    let at_most = at_most.map(|found| found.value);
    Some((Rules { updates: updates?, at_most, exclusive, parents: parents? }, places))
}

/// Reads all, so that every mistake is told; `None` if one could not be read.
fn each<'a, T>(tables: Vec<Fields<'a>>, read: impl FnMut(Fields<'a>) -> Option<T>) -> Option<Vec<T>> {
    tables.into_iter().map(read).collect::<Vec<_>>().into_iter().collect()
}

fn update(fields: Fields<'_>, service: Option<&ServiceId>) -> Option<Update> {
    let to = fields.required("to", "to = \"postgres/medium\"", fields.text::<Written>("to"));
    let direction = fields.text("direction");
    let unread = fields.has("direction") && direction.is_none();
    fields.finish();
    let direction = direction.map_or(Direction::Any, |found| found.value);
    let to = to?.value.resolved(service)?;
    if unread { None } else { Some(Update { to, direction }) }
}

fn parent(fields: Fields<'_>, service: Option<&ServiceId>) -> Option<Parent> {
    let plan = fields.required("plan", "plan = \"team/pro\"", fields.text::<Written>("plan"));
    let (has_price, table) = (fields.has("price"), fields.table("price", "this price"));
    let price = table.and_then(price);
    let default = fields.flag("default");
    fields.finish();
    if has_price && price.is_none() {
        return None;
    }
    Some(Parent { plan: plan?.value.resolved(service)?, price, default })
}

/// Under which names the credentials are handed over where they are not called as they are.
pub(super) fn access(
    fields: &Fields<'_>,
    credentials: &[CredentialName],
) -> Option<BTreeMap<AccessName, CredentialName>> {
    if !fields.has("access") {
        return Some(BTreeMap::new());
    }
    let mut read: BTreeMap<AccessName, CredentialName> = BTreeMap::new();
    let table = fields.table("access", "this access")?;
    let (offset, mut good) = (table.offset(), true);
    for (name, credential) in table.entries::<AccessName, CredentialName>()? {
        if !credentials.contains(&credential.value) {
            let At { value, offset } = &credential;
            fields.wrong(*offset, format!("`{value}` is not one of this plan's `credentials`: add it there"));
            good = false;
        }
        read.insert(name.value, credential.value);
    }
    for unnamed in credentials.iter().filter(|known| !read.values().any(|named| named == *known)) {
        fields.wrong(offset, format!("`access` has no name for the credential `{unnamed}`: give it one"));
        good = false;
    }
    good.then_some(read)
}
