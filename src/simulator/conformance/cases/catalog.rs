//! Health, and the catalog: that every service can be read, priced and updated as it says.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::answer::Answer;
use super::super::call::{Call, HEALTH, SERVICES, VERSION};
use super::super::case::{Case, Group::Catalog as G, Stop, Verdict, case, not_applicable};
use super::super::profile::{Member, Updates};
use super::super::services::{Price, Service};
use super::super::session::Session;

const HEALTH_RULE: &str = "APP 0.1d, GET /provisioning/health";
const RULE: &str = "APP 0.1d, GET /provisioning/services: service object";
const PRICING: &str = "APP 0.1d, GET /provisioning/services: pricing";
const UPDATES: &str = "APP 0.1d, GET /provisioning/services: allowed_updates";
const PAGES: &str = "APP 0.1d, GET /provisioning/services: pages";
const DATED: &str = "APP 0.1d, dated shapes of the catalog";

const CATEGORIES: &[&str] = &[
    "compute",
    "database",
    "storage",
    "cache",
    "messaging",
    "email",
    "notification",
    "auth",
    "cdn",
    "observability",
    "analytics",
    "payments",
    "search",
    "ci",
    "feature_flags",
    "ai",
];

pub(super) const CASES: &[Case] = &[
    case(G, "catalog.health", "Health says ok and names the version", HEALTH_RULE, |s| Box::pin(health(s))),
    case(G, "catalog.is-json", "The catalog is JSON and says so", RULE, |s| Box::pin(is_json(s))),
    case(G, "catalog.not-empty", "There is at least one service", RULE, |s| Box::pin(not_empty(s))),
    case(G, "catalog.ids", "Every service has an id, and no two have the same", RULE, |s| Box::pin(ids(s))),
    case(G, "catalog.descriptions", "Every service is described", RULE, |s| {
        Box::pin(each(s, "a `description` that is not empty", |service| {
            service.text("description").is_some_and(|text| !text.trim().is_empty())
        }))
    }),
    case(G, "catalog.categories", "Every service has at least one category", RULE, |s| {
        Box::pin(each(s, "`categories` with at least one", |service| {
            service.raw.get("categories").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        }))
    }),
    case(G, "catalog.known-categories", "Categories are those that the protocol knows", RULE, |s| {
        Box::pin(each(s, "`categories` out of the protocol's list", known_categories))
    }),
    case(G, "catalog.pricing", "Every service has a price of a known kind", PRICING, |s| {
        Box::pin(each(s, "`pricing.type` free, paid or component", |service| service.price() != Price::Unknown))
    }),
    case(G, "catalog.paid", "A paid service says what it costs, as text or as a price id", PRICING, |s| {
        Box::pin(each(s, "`pricing.paid` with `freeform` or `stripe_price`", |service| {
            service.price() != Price::Paid || service.raw.pointer("/pricing/paid").is_some_and(priced)
        }))
    }),
    case(G, "catalog.component", "A component's options are free or priced", PRICING, |s| {
        Box::pin(each(s, "`pricing.component.options`, each free or with `paid`", component))
    }),
    case(G, "catalog.parents", "Parents that a price names are in the catalog", PRICING, |s| Box::pin(parents(s))),
    case(G, "catalog.one-default", "Of several prices at most one is the default", PRICING, |s| {
        Box::pin(each(s, "at most one `is_default` or `default`", one_default))
    }),
    case(G, "catalog.kinds", "`kind` is deployable or plan", RULE, |s| {
        Box::pin(each(s, "`kind` deployable or plan", |service| one_of(service, "kind", &["deployable", "plan"])))
    }),
    case(G, "catalog.scopes", "`scope` is project or account", RULE, |s| {
        Box::pin(each(s, "`scope` project or account", |service| one_of(service, "scope", &["project", "account"])))
    }),
    case(G, "catalog.updates-exist", "Updates lead to services of the catalog", UPDATES, |s| {
        Box::pin(updates_exist(s))
    }),
    case(G, "catalog.directions", "A direction is any, up or down", UPDATES, |s| {
        Box::pin(each(s, "`direction` any, up or down", directions))
    }),
    case(G, "catalog.constraints", "A count is a whole number above zero", RULE, |s| {
        Box::pin(each(s, "`constraints.count.at_most` of 1 or more", |service| {
            service.raw.pointer("/constraints/count").is_none() || service.at_most().is_some_and(|most| most > 0)
        }))
    }),
    case(G, "catalog.schemas", "A configuration schema describes an object", RULE, |s| {
        Box::pin(each(s, "`configuration_schema` of type object with `properties`", schema))
    }),
    case(G, "catalog.kyc", "Facts about the user are asked for by known names", RULE, |s| {
        Box::pin(each(s, "`kyc.required_fields` out of name, email, phone, country", kyc))
    }),
    case(G, "catalog.llm-context", "A text for agents is named by a URL", RULE, |s| {
        Box::pin(each(s, "`llm_context` as an http(s) URL", |service| {
            let url = service.raw.get("llm_context").filter(|url| !url.is_null());
            url.is_none_or(|url| {
                url.as_str().is_some_and(|url| url.starts_with("https://") || url.starts_with("http://"))
            })
        }))
    }),
    case(G, "catalog.pages-end", "The pages end, and no service is on two", PAGES, |s| Box::pin(pages_end(s))),
    case(G, "catalog.unknown-cursor", "A cursor that nobody gave out breaks nothing", PAGES, |s| {
        Box::pin(unknown_cursor(s))
    }),
    case(G, "catalog.stable", "Two reads give the same services", RULE, |s| Box::pin(stable(s))),
    case(G, "catalog.dated-kind", "`kind` is there exactly when the profile has it", DATED, |s| {
        Box::pin(dated(s, "kind", s.options.profile.kind))
    }),
    case(G, "catalog.dated-scope", "`scope` is there exactly when the profile has it", DATED, |s| {
        Box::pin(dated(s, "scope", s.options.profile.scope))
    }),
    case(G, "catalog.dated-updates", "Updates are written as the profile has them", DATED, |s| {
        Box::pin(dated_updates(s))
    }),
    case(G, "catalog.dated-prices", "Prices are written as the profile has them", DATED, |s| Box::pin(dated_prices(s))),
];

async fn health(s: &Session) -> Verdict {
    s.reads_catalog()?;
    let answer = s.send(Call::get(HEALTH)).await?;
    answer.is(200)?;
    answer.expect(answer.text("/status") == Some("ok"), "`status` ok")?;
    let versions = answer.json.get("supported_versions").and_then(Value::as_array);
    let known = versions.is_some_and(|list| list.iter().any(|version| version == VERSION));
    answer.expect(known, format!("`supported_versions` with `{VERSION}`"))
}

async fn page(s: &Session) -> Result<Answer, Stop> {
    s.reads_catalog()?;
    let answer = s.send(Call::get(SERVICES)).await?;
    answer.is(200)?;
    Ok(answer)
}

async fn is_json(s: &Session) -> Verdict {
    let answer = page(s).await?;
    let json = answer.incoming.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    answer.expect(json && answer.json.is_object(), "a JSON object with `Content-Type: application/json`")
}

async fn not_empty(s: &Session) -> Verdict {
    let answer = page(s).await?;
    let data = answer.json.get("data").and_then(Value::as_array);
    answer.expect(data.is_some_and(|data| !data.is_empty()), "`data` with at least one service")
}

async fn ids(s: &Session) -> Verdict {
    let answer = page(s).await?;
    let data = answer.json.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let ids: Vec<_> = data.iter().filter_map(|service| service.get("id")?.as_str()).collect();
    let unique: BTreeSet<_> = ids.iter().filter(|id| !id.is_empty()).collect();
    answer.expect(unique.len() == data.len(), "an `id` for every service, each its own")
}

/// Every service of the catalog keeps `rule`; the first that does not is named.
async fn each(s: &Session, expected: &str, rule: fn(&Service) -> bool) -> Verdict {
    let services = s.services().await?;
    match services.all.iter().find(|service| !rule(service)) {
        None => Ok(()),
        Some(service) => Err(broken(s, service, expected).await),
    }
}

/// A finding about one service.
async fn broken(s: &Session, service: &Service, expected: &str) -> Stop {
    match s.send(Call::get(SERVICES)).await {
        Ok(mut answer) => {
            answer.shown = serde_json::to_string_pretty(&service.raw).unwrap_or_default();
            answer.otherwise(expected, format!("`{}` does not", super::super::shown::cut(&service.id, 80)))
        }
        Err(stop) => stop,
    }
}

fn known_categories(service: &Service) -> bool {
    let list = service.raw.get("categories").and_then(Value::as_array);
    list.into_iter().flatten().all(|category| category.as_str().is_some_and(|name| CATEGORIES.contains(&name)))
}

fn priced(paid: &Value) -> bool {
    let one = |price: &Value| {
        let kind = price.get("type").and_then(Value::as_str);
        let text = |name: &str| price.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        match kind {
            Some("freeform") => text("freeform"),
            Some("stripe_price") => text("stripe_price"),
            _ => false,
        }
    };
    match paid {
        Value::Array(prices) => !prices.is_empty() && prices.iter().all(one),
        price => one(price),
    }
}

fn component(service: &Service) -> bool {
    if !matches!(service.price(), Price::Component(_)) {
        return true;
    }
    let options = service.raw.pointer("/pricing/component/options").and_then(Value::as_array);
    options.is_some_and(|options| {
        !options.is_empty()
            && options.iter().all(|option| match option.get("type").and_then(Value::as_str) {
                Some("free") => true,
                Some("paid") => option.get("paid").is_some_and(priced),
                _ => false,
            })
    })
}

async fn parents(s: &Session) -> Verdict {
    let services = s.services().await?;
    for service in &services.all {
        let Price::Component(options) = service.price() else { continue };
        let known = options.iter().flat_map(|option| &option.parents).all(|parent| services.find(parent).is_some());
        if !known {
            return Err(broken(s, service, "`parent_service_ids` that are services of the catalog").await);
        }
    }
    Ok(())
}

fn one_default(service: &Service) -> bool {
    let defaults = |list: Option<&Value>, name: &str| {
        let list = list.and_then(Value::as_array);
        list.into_iter().flatten().filter(|entry| entry.get(name).and_then(Value::as_bool) == Some(true)).count()
    };
    defaults(service.raw.pointer("/pricing/paid"), "is_default") <= 1
        && defaults(service.raw.pointer("/pricing/component/options"), "default") <= 1
}

fn one_of(service: &Service, name: &str, known: &[&str]) -> bool {
    let value = service.raw.get(name).filter(|value| !value.is_null());
    value.is_none_or(|value| value.as_str().is_some_and(|word| known.contains(&word)))
}

async fn updates_exist(s: &Session) -> Verdict {
    let services = s.services().await?;
    for service in &services.all {
        // The literal `service_ref` on a deployable unlocks plan changes at one provider.
        let known = service.updates().iter().all(|id| id == "service_ref" || services.find(id).is_some());
        if !known {
            return Err(broken(s, service, "`allowed_updates` that lead to services of the catalog").await);
        }
    }
    Ok(())
}

fn directions(service: &Service) -> bool {
    let list = service.raw.get("allowed_updates").and_then(Value::as_array);
    list.into_iter().flatten().filter(|entry| entry.is_object()).all(|entry| {
        entry.get("direction").and_then(Value::as_str).is_some_and(|word| ["any", "up", "down"].contains(&word))
    })
}

fn schema(service: &Service) -> bool {
    let schema = service.raw.get("configuration_schema").filter(|schema| !schema.is_null());
    schema.is_none_or(|schema| {
        schema.get("type").and_then(Value::as_str) == Some("object")
            && schema.get("properties").is_none_or(Value::is_object)
            && schema.get("required").is_none_or(Value::is_array)
    })
}

fn kyc(service: &Service) -> bool {
    let list = service.raw.pointer("/kyc/required_fields").and_then(Value::as_array);
    let known = ["name", "email", "phone", "country"];
    list.into_iter().flatten().all(|field| field.as_str().is_some_and(|name| known.contains(&name)))
}

async fn pages_end(s: &Session) -> Verdict {
    let services = s.read_services().await?;
    let unique: BTreeSet<_> = services.all.iter().map(|service| &service.id).collect();
    page(s).await?.expect(unique.len() == services.all.len(), "every service on one page only")
}

async fn unknown_cursor(s: &Session) -> Verdict {
    s.reads_catalog()?;
    s.send(Call::get(format!("{SERVICES}?cursor=%27%22%3B--%00nowhere"))).await?.survives()
}

async fn stable(s: &Session) -> Verdict {
    let (first, second) = (page(s).await?, page(s).await?);
    second.expect(first.json.get("data") == second.json.get("data"), "the same catalog as a moment ago")
}

async fn dated(s: &Session, name: &str, member: Member) -> Verdict {
    let services = s.services().await?;
    let wrong = services.all.iter().find(|service| match member {
        Member::Needed => service.raw.get(name).is_none(),
        Member::Absent => service.raw.get(name).is_some(),
        Member::Free => false,
    });
    match (wrong, member) {
        (_, Member::Free) => not_applicable(format!("the profile leaves `{name}` open")),
        (None, _) => Ok(()),
        (Some(service), Member::Needed) => Err(broken(s, service, &format!("`{name}`")).await),
        (Some(service), _) => Err(broken(s, service, &format!("no `{name}`, which came later")).await),
    }
}

async fn dated_updates(s: &Session) -> Verdict {
    let right: fn(&Value) -> bool = match s.options.profile.updates {
        Updates::Either => return not_applicable("the profile leaves the shape of updates open"),
        Updates::Ids => Value::is_string,
        Updates::Directed => {
            |entry| entry.get("service").is_some_and(Value::is_string) && entry.get("direction").is_some()
        }
    };
    let services = s.services().await?;
    for service in &services.all {
        let list = service.raw.get("allowed_updates").and_then(Value::as_array);
        if !list.into_iter().flatten().all(right) {
            return Err(broken(s, service, "`allowed_updates` in the shape of the profile").await);
        }
    }
    Ok(())
}

async fn dated_prices(s: &Session) -> Verdict {
    let profile = s.options.profile;
    if profile.component != Member::Absent && profile.price_list != Member::Absent {
        return not_applicable("the profile leaves the shape of prices open");
    }
    let services = s.services().await?;
    for service in &services.all {
        let component = matches!(service.price(), Price::Component(_));
        let list = service.raw.pointer("/pricing/paid").is_some_and(Value::is_array);
        if component || list {
            return Err(broken(s, service, "one price, free or paid: other shapes came later").await);
        }
    }
    Ok(())
}
