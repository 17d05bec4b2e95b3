//! Prices read back, and files may have any name.

use std::fs;

use proptest::prelude::*;

use super::super::published::Said;
use super::super::*;
use super::{ISS, example, now};
use crate::signing::canonical_json;

fn price() -> impl Strategy<Value = Price> {
    let payable = (1_i64..100_000_000, prop::sample::select(vec!["USD", "JPY", "KWD"])).prop_map(|(minor, code)| {
        let currency: crate::money::Currency = code.parse().unwrap();
        let amount = crate::money::Amount::from_minor(minor).unwrap();
        let rate: crate::money::Rate =
            format!("{} {code}", crate::money::Money { amount, currency }.major()).parse().unwrap();
        Payable::try_from(rate).unwrap()
    });
    let meter = (1_u64..1_000_000_000, 0_u32..12, 1_u32..10_000);
    let metered = (payable.clone(), prop::option::of(1_i64..100), prop::collection::vec(meter, 1..4));
    prop_oneof![
        Just(Price::Free),
        payable.clone().prop_map(Price::Monthly),
        payable.prop_map(Price::OneOff),
        metered.prop_filter_map("a base above the maximum", |(most, base, meters)| {
            let currency = most.money().currency;
            let meters = meters.into_iter().enumerate().map(|(index, (digits, scale, per))| Meter {
                id: format!("m{index}").parse().unwrap(),
                unit: "call".parse().unwrap(),
                rate: format!("{} {currency}", rust_decimal::Decimal::new(i64::try_from(digits).unwrap(), scale))
                    .parse()
                    .unwrap(),
                per: per.to_string().parse().unwrap(),
            });
            let base = base.map(|whole| {
                let rate: crate::money::Rate = format!("{whole} {currency}").parse().unwrap();
                Payable::try_from(rate).unwrap()
            });
            Metered::new(base, meters.collect(), most).ok().map(Price::Metered)
        }),
    ]
}

proptest! {
    #[test]
    fn a_published_plan_reads_back(price in price()) {
        let plan = Plan {
            id: "p".parse().unwrap(),
            title: "P".parse().unwrap(),
            description: None,
            price: price.clone(),
            credentials: vec!["A".parse().unwrap()],
            configuration: Configuration::default(),
            said_kind: None,
            rules: Rules::default(),
            said_access: std::collections::BTreeMap::new(),
        };
        let bytes = canonical_json(&plan).unwrap();
        let again: Plan = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&canonical_json(&again).unwrap(), &bytes);
        prop_assert_eq!(again.worst_case(), price.worst_case());
        prop_assert_eq!(again.price.due_at_once(), price.due_at_once());
        if let (Price::Metered(was), Price::Metered(is)) = (&price, &again.price) {
            for (was, is) in was.meters().iter().zip(is.meters()) {
                prop_assert_eq!((was.rate.decimal(), was.per), (is.rate.decimal(), is.per));
            }
        }
    }

    #[test]
    fn the_names_of_the_files_do_not_change_the_bytes(order in Just(vec!["a", "b", "c", "d"]).prop_shuffle()) {
        let folder = tempfile::tempdir().unwrap();
        init(&folder.path().join("c")).unwrap();
        let services = folder.path().join("c/services");
        for (name, was) in order.iter().zip(["domain", "postgres", "sandbox", "weather"]) {
            fs::rename(services.join(format!("{was}.toml")), services.join(format!("{name}.toml"))).unwrap();
        }
        let bytes = |catalog: &Catalog| Said::new(ISS, catalog.content()).unwrap().issue(Version::FIRST, None, now()).unwrap();
        let shuffled = bytes(&validate(&folder.path().join("c")).unwrap());
        prop_assert_eq!(&shuffled, &bytes(&example()));
        let value: serde_json::Value = serde_json::from_slice(&shuffled).unwrap();
        prop_assert_eq!(canonical_json(&value).unwrap(), shuffled);
    }
}
