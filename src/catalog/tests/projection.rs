//! The catalog as the orchestrators' wire sees it, and the rules between plans.

use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{ISS, here, now, signed};
use crate::signing::KeyRing;

fn edition() -> Edition {
    signed(&KeyRing::generate().unwrap(), Version::FIRST, None, now())
}

fn plan(name: &str) -> PlanRef {
    name.parse().unwrap()
}

#[test]
fn each_plan_is_a_service_of_the_wire_and_its_id_leads_back() {
    let edition = edition();
    let ids: Vec<_> = edition.wire_services.iter().map(|service| service.id.as_str()).collect();
    let expected = [
        "bucket",
        "cache",
        "domain",
        "postgres:medium",
        "postgres:small",
        "sandbox",
        "team:free",
        "team:pro",
        "weather",
    ];
    assert_eq!(ids, expected);
    for offer in edition.offers() {
        let id = edition.wire_service_id(&offer.name()).unwrap();
        assert_eq!(edition.offer_of_wire_id(&id), Some(offer));
        assert_eq!(edition.offer_of_wire_id(&format!("{}:{}", offer.service, offer.plan.id)), Some(offer));
    }
    for unknown in ["", ":", "postgres", "postgres:", "postgres:large", "postgres/small", "team:free:", "é", "Bucket"]
    {
        assert_eq!(edition.offer_of_wire_id(unknown), None, "{unknown:?}");
    }
    assert_eq!(edition.wire_service_id(&plan("postgres/large")), None);
}

#[test]
fn rules_between_plans_are_answered() {
    let edition = edition();
    let (free, pro, bucket) = (plan("team/free"), plan("team/pro"), plan("bucket/standard"));
    let updates: Vec<_> = edition.updates_from(&free).into_iter().map(|(offer, way)| (offer.name(), way)).collect();
    assert_eq!(updates, [(pro.clone(), Direction::Up)]);
    assert_eq!(edition.updates_from(&bucket), []);
    let limit = edition.limit(&free).unwrap();
    assert_eq!((limit.at_most.number(), limit.scope), (1, Scope::Account));
    assert_eq!(edition.limit(&plan("postgres/small")), None);
    assert_eq!(edition.exclusive(&free), [pro.clone()].into());
    assert!(edition.exclusive(&plan("postgres/small")).is_empty());
    assert_eq!(edition.parents(&bucket).len(), 2);

    let price = |active: &[PlanRef]| edition.price_under(&bucket, active).unwrap().map(ToString::to_string);
    assert_eq!(price(std::slice::from_ref(&pro)).unwrap(), "$5.00 a month");
    assert_eq!(price(std::slice::from_ref(&free)).unwrap(), "free");
    assert_eq!(price(&[pro.clone(), free.clone()]).unwrap(), "free", "the first parent in the catalog decides");
    let refused = price(&[plan("postgres/small")]).unwrap_err();
    assert_eq!(refused.to_string(), "this plan needs one of these to be active first: team/free, team/pro");
    assert_eq!(edition.price_under(&free, &[]).unwrap().unwrap(), &Price::Free);
    assert!(edition.price_under(&plan("team/huge"), &[]).is_none());

    let kind = |name: &str| edition.offer(&plan(name)).unwrap().plan.kind();
    assert_eq!((kind("team/free"), kind("bucket/standard")), (PlanKind::Plan, PlanKind::Deployable));
    let access = |name: &str| {
        let access = edition.offer(&plan(name)).unwrap().plan.access();
        access.into_iter().map(|(name, credential)| format!("{name}={credential}")).collect::<Vec<_>>()
    };
    assert_eq!(access("bucket/standard"), ["bucket=BUCKET_NAME", "secret_key=SECRET_KEY", "url=BUCKET_URL"]);
    assert_eq!(access("weather/metered"), ["API_KEY=API_KEY", "URL=URL"]);
    assert!(edition.llm_context(&"postgres".parse().unwrap()).unwrap().text().starts_with("# Postgres at Acme Cloud"));
    assert!(edition.llm_context(&"cache".parse().unwrap()).is_none());
}

fn all(edition: &Edition, shape: &CatalogShape) -> Vec<Value> {
    edition.wire_page(shape, None, usize::MAX).unwrap()["data"].as_array().unwrap().clone()
}

fn one(edition: &Edition, shape: &CatalogShape, id: &str) -> Value {
    all(edition, shape).into_iter().find(|service| service["id"] == id).unwrap()
}

#[test]
fn the_newest_shape_says_everything() {
    let edition = edition();
    let shape = CatalogShape::NEWEST;
    assert_eq!(
        one(&edition, &shape, "team:pro"),
        json!({
            "id": "team:pro", "kind": "plan", "group": "team", "scope": "account",
            "description": "Team, Pro. What a whole account may use. A team plan costs by itself and decides what a \
                            bucket costs. Up to 10 buckets of 100 GB, with versions kept for 30 days.",
            "categories": ["storage"], "kyc": {"required_fields": ["email"]},
            "pricing": {"type": "paid", "paid": {"type": "freeform", "freeform": "$20.00 per month"}},
            "allowed_updates": [{"service": "team:free", "direction": "down"}],
            "constraints": {"count": {"at_most": 1}, "mutual_exclusion": {"allowed_updates": true}},
        })
    );
    assert_eq!(
        one(&edition, &shape, "bucket")["pricing"],
        json!({"type": "component", "component": {"options": [
            {"type": "free", "parent_service_ids": ["team:free"], "default": true},
            {"type": "paid", "parent_service_ids": ["team:pro"], "paid": {"type": "freeform", "freeform": "$5.00 per month"}},
        ]}})
    );
    let weather = one(&edition, &shape, "weather");
    assert_eq!(weather["pricing"]["paid"]["freeform"], "$0.50 per 1,000 requests, at most $200.00 per month");
    assert!(weather.get("constraints").is_none() && weather.get("allowed_updates").is_none());
    assert_eq!(one(&edition, &shape, "sandbox")["pricing"], json!({"type": "free"}));
    let cache = one(&edition, &shape, "cache");
    assert_eq!(cache["configuration_schema"]["required"], json!(["memory_mb", "region"]));
    assert_eq!(cache["configuration_schema"]["properties"]["memory_mb"]["type"], "integer");
    let page = format!("{ISS}/catalog/context/postgres.md");
    assert_eq!(one(&edition, &shape, "postgres:small")["llm_context"], page);
}

#[test]
fn older_shapes_say_what_their_readers_know() {
    let edition = edition();
    let (march, april, june) =
        ["2026-03-30", "2026-04-01", "2026-06-25"].map(|date| CatalogShape::dated(date).unwrap()).into();
    assert_eq!(CatalogShape::dated("2026-04-02"), None);
    for (shape, members) in [
        (march, ["allowed_updates", "categories", "description", "id", "kyc", "pricing"].as_slice()),
        (april, &["allowed_updates", "categories", "description", "group", "id", "kind", "kyc", "pricing"]),
        (
            june,
            &[
                "allowed_updates",
                "categories",
                "constraints",
                "description",
                "group",
                "id",
                "kind",
                "kyc",
                "pricing",
                "scope",
            ],
        ),
    ] {
        let team = one(&edition, &shape, "team:free");
        let mut names: Vec<_> = team.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, members);
    }
    assert_eq!(one(&edition, &march, "team:free")["allowed_updates"], json!(["team:pro"]));
    assert_eq!(
        one(&edition, &march, "bucket")["pricing"]["paid"]["freeform"],
        "with team:free: free; with team:pro: $5.00 per month"
    );
    let listed = CatalogShape { paid: PaidShape::Array, ..june };
    assert_eq!(
        one(&edition, &listed, "cache")["pricing"]["paid"],
        json!([{"type": "freeform", "freeform": "$4.00 per month"}])
    );
}

#[test]
fn pages_lead_through_everything_once() {
    let edition = edition();
    for limit in [0, 1, 2, 4, 8, 9, 100] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let page = edition.wire_page(&CatalogShape::NEWEST, cursor.as_deref(), limit).unwrap();
            seen.extend(page["data"].as_array().unwrap().clone());
            pages += 1;
            let Some(next) = page.get("next_cursor") else { break };
            cursor = Some(next.as_str().unwrap().to_owned());
        }
        assert_eq!(seen, all(&edition, &CatalogShape::NEWEST));
        assert_eq!(pages, 9_usize.div_ceil(limit.max(1)));
    }
    let last = |next_cursor| {
        let shape = CatalogShape { next_cursor, ..CatalogShape::NEWEST };
        edition.wire_page(&shape, Some("weather"), 5).unwrap().get("next_cursor").cloned()
    };
    assert_eq!(last(NextCursor::Empty), Some(json!("")));
    assert_eq!(last(NextCursor::Null), Some(Value::Null));
    assert_eq!(last(NextCursor::WhenMore), None);
    assert_eq!(edition.wire_page(&CatalogShape::JUNE_2026, None, 1).unwrap()["data"].as_array().unwrap().len(), 9);
    for cursor in ["A", "a b", "é", "\0", &"a".repeat(130)] {
        assert_eq!(edition.wire_page(&CatalogShape::NEWEST, Some(cursor), 5), Err(InvalidCursor), "{cursor:?}");
    }
}

/// A catalog of one service's text, in a folder of its own.
fn with_service(name: &str, text: &str) -> Result<Catalog, Vec<Mistake>> {
    let folder = tempfile::tempdir().unwrap();
    init(&folder.path().join("c")).unwrap();
    fs::write(folder.path().join("c/services").join(name), text).unwrap();
    validate(&folder.path().join("c"))
}

#[test]
fn a_service_that_the_wire_has_no_word_for_is_noted_and_not_listed() {
    let text =
        fs::read_to_string(here("catalog/services/team.toml")).unwrap().replace(r#"["storage"]"#, r#"["tiers"]"#);
    let notes = with_service("team.toml", &text).unwrap().notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0]
            .starts_with("the plan `bucket/standard` is not listed on the orchestrators' wire: none of its parents is")
    );
    assert!(notes[1].starts_with(
        "the service `team` is not listed on the orchestrators' wire, which knows none of its categories"
    ));
}

#[test]
fn a_catalog_without_the_newer_fields_keeps_its_bytes() {
    let catalog = validate(&here("tests/data/catalog-before")).unwrap();
    let bytes = crate::signing::canonical_json(&catalog.content().services).unwrap();
    let before = fs::read_to_string(here("tests/data/catalog-before/services.json")).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), before.trim_end());
}

#[test]
fn a_document_with_untrue_references_is_not_believed_though_signed() {
    let keys = KeyRing::generate().unwrap();
    let edition = signed(&keys, Version::FIRST, None, now());
    let text = String::from_utf8(edition.bytes.to_vec()).unwrap();
    let served = text.replace(r#""to":"team/pro""#, r#""to":"team/pr""#).into_bytes();
    assert_ne!(served, edition.bytes);
    let jws = keys.sign_general(crate::signing::KeyPurpose::Catalog, "catalog+jws", &served).unwrap();
    let fetched = Fetched { jws: serde_json::to_vec(&jws).unwrap(), served };
    let trusted = read_keys(&serde_json::to_vec(&keys.jwks()).unwrap()).unwrap();
    let refused = verify(&fetched, &trusted, ISS, None, now()).unwrap_err();
    assert!(refused.to_string().ends_with("the service `team` has no plan `pr`: did you mean `pro`?"), "{refused}");
}

#[test]
fn a_chain_of_parents_may_be_as_long_as_the_catalog() {
    let chain = |last: &str| -> String {
        let head =
            fs::read_to_string(here("catalog/services/sandbox.toml")).unwrap().replace("\"sandbox\"", "\"chain\"");
        let plan = |number: usize, parent: &str| {
            format!(
                "\n[[plans]]\nid = \"p{number}\"\ntitle = \"P\"\nprice = {{ kind = \"free\" }}\nparents = [{{ plan = \"{parent}\" }}]\n"
            )
        };
        let links = (1..49).map(|number| plan(number, &format!("p{}", number + 1)));
        head + &links.collect::<String>() + &plan(49, last)
    };
    assert!(with_service("chain.toml", &chain("free")).is_ok());
    let told = with_service("chain.toml", &chain("p7")).unwrap_err();
    assert_eq!(told.len(), 1);
    assert!(told[0].message.starts_with("the plan needs itself first, so nobody could buy it: chain/p7 → chain/p8 → "));
    assert!(told[0].message.ends_with(" → chain/p49 → chain/p7"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), name in prop::sample::select(vec!["provider.toml", "services/s.toml"])) {
        let told = mistakes_in(name, &text);
        prop_assert!(!told.is_empty(), "no text of nothing but chance is a catalog");
    }

    #[test]
    fn no_changed_service_makes_the_reader_panic_and_every_mistake_has_a_place(
        name in prop::sample::select(vec!["bucket", "cache", "domain", "postgres", "team", "weather"]),
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        put in prop_oneof![any::<String>(), "[\\[\\]{}=\",.0-9a-z\n]{0,12}"],
    ) {
        let text = fs::read_to_string(here(&format!("catalog/services/{name}.toml"))).unwrap();
        let chars: Vec<char> = text.chars().collect();
        let start = at.index(chars.len());
        let end = (start + length).min(chars.len());
        let changed: String = chars[..start].iter().copied().chain(put.chars()).chain(chars[end..].iter().copied()).collect();
        for mistake in mistakes_in("services/s.toml", &changed) {
            prop_assert!(mistake.line >= 1 && mistake.line <= changed.matches('\n').count() + 1 && mistake.column >= 1);
        }
        if let Ok(catalog) = with_service("changed.toml", &changed) {
            let bytes = crate::signing::canonical_json(&catalog.content().services).unwrap();
            let again: Vec<Service> = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&again, &catalog.content().services);
        }
    }

    #[test]
    fn no_id_of_the_wire_makes_a_panic(id in any::<String>()) {
        let known = edition_once();
        let _ = known.offer_of_wire_id(&id);
        let _ = known.wire_page(&CatalogShape::NEWEST, Some(&id), 3);
    }
}

fn edition_once() -> &'static Edition {
    static EDITION: std::sync::OnceLock<Edition> = std::sync::OnceLock::new();
    EDITION.get_or_init(edition)
}
