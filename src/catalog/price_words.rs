//! A price in the words that the orchestrators' wire shows to people, made from the signed price alone.

use super::price::{Meter, Price, decimal_text};
use crate::money::{Money, Rate};

/// `$9.00 per month`; `$0.50 per 1,000 requests, at most $200.00 per month`. `None`: free.
pub(super) fn in_words(price: &Price) -> Option<String> {
    match price {
        Price::Free => None,
        Price::Monthly(amount) => Some(format!("{} per month", amount.money())),
        Price::OneOff(amount) => Some(format!("{} once", amount.money())),
        Price::Metered(metered) => {
            let base = metered.base().map(|base| format!("{} per month", base.money()));
            let meters: Vec<_> = metered.meters().iter().map(of_meter).collect();
            let used = meters.join(" and ");
            let most = format!("at most {} per month", metered.max_exposure().money());
            Some(match base {
                Some(base) => format!("{base}, plus {used}, {most}"),
                None => format!("{used}, {most}"),
            })
        }
    }
}

fn of_meter(meter: &Meter) -> String {
    let per = meter.per.to_string();
    let rate = of_rate(meter.rate);
    if per == "1" {
        format!("{rate} per {}", meter.unit)
    } else {
        format!("{rate} per {} {}", grouped(&per), several(meter.unit.as_str()))
    }
}

/// Like money, but as fine as the rate is: `$0.0005`.
fn of_rate(rate: Rate) -> String {
    if rate.decimal().normalize().scale() <= rate.currency().exponent()
        && let Ok(amount) = rate.exact()
    {
        return Money { amount, currency: rate.currency() }.to_string();
    }
    let number = decimal_text(rate);
    match rate.currency().symbol() {
        Some(symbol) => format!("{symbol}{number}"),
        None => format!("{number} {}", rate.currency()),
    }
}

/// Commas between the thousands of plain digits.
fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// The English plural of a plain word; an abbreviation such as `GB` has none.
fn several(unit: &str) -> String {
    let plain = unit.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b' ' || byte == b'-');
    let vowel = |c: char| "aeiou".contains(c);
    if !plain {
        return unit.to_owned();
    }
    match unit.strip_suffix('y') {
        Some(stem) if !stem.ends_with(vowel) => format!("{stem}ies"),
        _ if ["s", "x", "z", "ch", "sh"].iter().any(|end| unit.ends_with(end)) => format!("{unit}es"),
        _ => format!("{unit}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::price::{Metered, Payable};
    use super::*;

    fn payable(text: &str) -> Payable {
        text.parse::<Rate>().unwrap().try_into().unwrap()
    }

    fn meter(rate: &str, per: &str, unit: &str) -> Meter {
        let (rate, per, unit) = (rate.parse().unwrap(), per.parse().unwrap(), unit.parse().unwrap());
        Meter { id: unit_id(&unit), unit, rate, per }
    }

    fn unit_id(unit: &super::super::text::Unit) -> super::super::names::MeterId {
        unit.as_str().to_ascii_lowercase().replace(' ', "-").parse().unwrap()
    }

    #[test]
    fn a_price_reads_as_people_say_it() {
        let most = payable("1200 USD");
        let metered = |base, meters| Price::Metered(Metered::new(base, meters, most).unwrap());
        assert_eq!(in_words(&Price::Free), None);
        for (price, said) in [
            (Price::Monthly(payable("9 USD")), "$9.00 per month"),
            (Price::OneOff(payable("1234.5 CHF")), "1,234.50 CHF once"),
            (
                metered(None, vec![meter("0.50 USD", "1000", "request")]),
                "$0.50 per 1,000 requests, at most $1,200.00 per month",
            ),
            (
                metered(Some(payable("5 USD")), vec![meter("0.0005 USD", "1", "query"), meter("1 USD", "10", "GB")]),
                "$5.00 per month, plus $0.0005 per query and $1.00 per 10 GB, at most $1,200.00 per month",
            ),
            (
                metered(None, vec![meter("2 USD", "1500000", "query")]),
                "$2.00 per 1,500,000 queries, at most $1,200.00 per month",
            ),
        ] {
            assert_eq!(in_words(&price).as_deref(), Some(said));
        }
    }
}
