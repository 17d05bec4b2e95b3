//! Prices that cannot be bad: one currency, whole minor units where money is taken at once, and a known worst case.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::MeterId;
use super::text::Unit;
use crate::money::{Amount, Currency, Money, OutOfRange, Rate};

/// What a plan costs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Price {
    /// Nothing.
    Free,
    /// The same amount for each calendar month (UTC) or part of it.
    Monthly(Payable),
    /// One amount, once.
    OneOff(Payable),
    /// By what is counted, up to a maximum per calendar month.
    Metered(Metered),
}

/// More than nothing, in whole minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payable(Money);

/// Why a price cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrice {
    /// Zero.
    #[error("the amount is zero: use the price kind `free` for what costs nothing")]
    Zero,
    /// Beyond all money.
    #[error("`{0}` is more than can be counted")]
    TooLarge(Rate),
    /// Finer than the currency can be paid.
    #[error("`{0}` cannot be paid: write at most {digits} digits after the point", digits = .0.currency().exponent())]
    NotPayable(Rate),
    /// Two currencies in one plan.
    #[error("the plan mixes {0} and {1}: write one currency")]
    Currencies(Currency, Currency),
    /// A metered price that counts nothing.
    #[error("the price has no meter: add one")]
    NoMeters,
    /// More meters than anybody understands.
    #[error("the price has more than {} meters: join some", Metered::MAX_METERS)]
    ManyMeters,
    /// A meter twice.
    #[error("the meter `{0}` stands here twice: rename one")]
    MeterTwice(MeterId),
    /// A meter that costs nothing.
    #[error("the meter `{0}` costs nothing: leave it out")]
    FreeMeter(MeterId),
    /// The base alone costs more than the maximum.
    #[error("the base {base} is above the maximum exposure {max_exposure}: raise the maximum")]
    BaseAboveMaximum {
        /// Due each month.
        base: Money,
        /// The most that a month may cost.
        max_exposure: Money,
    },
}

impl Payable {
    /// The money.
    #[must_use]
    pub fn money(self) -> Money {
        self.0
    }
}

impl TryFrom<Rate> for Payable {
    type Error = BadPrice;

    fn try_from(rate: Rate) -> Result<Self, BadPrice> {
        if rate.decimal().normalize().scale() > rate.currency().exponent() {
            return Err(BadPrice::NotPayable(rate));
        }
        let amount = rate.exact().map_err(|OutOfRange| BadPrice::TooLarge(rate))?;
        if amount == Amount::ZERO {
            return Err(BadPrice::Zero);
        }
        Ok(Self(Money { amount, currency: rate.currency() }))
    }
}

/// How many units a meter's amount is for: more than zero, plain digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quantity(Decimal);

/// Not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity: write plain digits above zero, such as `1000`")]
pub struct InvalidQuantity(String);

impl Quantity {
    /// The exact decimal.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let plain = text.len() <= 20 && text.split_once('.').map_or(digits(text), |(a, b)| digits(a) && digits(b));
        Decimal::from_str_exact(text)
            .ok()
            .filter(|value| plain && !value.is_zero() && value.scale() <= 6)
            .map(|value| Self(value.normalize()))
            .ok_or_else(|| InvalidQuantity(text.chars().take(40).flat_map(char::escape_debug).collect()))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One thing that is counted, and what it costs: `rate` for every `per` units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meter {
    /// Which.
    pub id: MeterId,
    /// One of what is counted, in the singular.
    pub unit: Unit,
    /// May be finer than the minor unit.
    pub rate: Rate,
    /// For how many units.
    pub per: Quantity,
}

impl Meter {
    /// What `quantity` units cost, rounded half up once. Charge cumulatively, so that rounding never drifts.
    ///
    /// # Errors
    /// When the cost leaves the range of money.
    pub fn cost(&self, quantity: Decimal) -> Result<Amount, OutOfRange> {
        self.rate.charge(quantity, self.per.0)
    }
}

/// A price by meters: one currency, at least one meter, a maximum per calendar month.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metered {
    base: Option<Payable>,
    meters: Vec<Meter>,
    max_exposure: Payable,
}

impl Metered {
    /// The most meters of one plan.
    pub const MAX_METERS: usize = 10;

    /// A metered price, if it is a good one.
    ///
    /// # Errors
    /// See [`BadPrice`].
    pub fn new(base: Option<Payable>, meters: Vec<Meter>, max_exposure: Payable) -> Result<Self, BadPrice> {
        if meters.is_empty() {
            return Err(BadPrice::NoMeters);
        }
        if meters.len() > Self::MAX_METERS {
            return Err(BadPrice::ManyMeters);
        }
        let currency = max_exposure.0.currency;
        let others = meters.iter().map(|meter| meter.rate.currency()).chain(base.map(|base| base.0.currency));
        if let Some(other) = others.into_iter().find(|other| *other != currency) {
            return Err(BadPrice::Currencies(currency, other));
        }
        for (index, meter) in meters.iter().enumerate() {
            if meters.iter().skip(index + 1).any(|other| other.id == meter.id) {
                return Err(BadPrice::MeterTwice(meter.id.clone()));
            }
            if meter.rate.is_zero() {
                return Err(BadPrice::FreeMeter(meter.id.clone()));
            }
        }
        match base {
            Some(base) if base.0.amount > max_exposure.0.amount => {
                Err(BadPrice::BaseAboveMaximum { base: base.0, max_exposure: max_exposure.0 })
            }
            _ => Ok(Self { base, meters, max_exposure }),
        }
    }

    /// What is due for each month, whatever is used.
    #[must_use]
    pub fn base(&self) -> Option<Payable> {
        self.base
    }

    /// What is counted.
    #[must_use]
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }

    /// The most that one calendar month (UTC) can cost, base included.
    #[must_use]
    pub fn max_exposure(&self) -> Payable {
        self.max_exposure
    }
}

impl Price {
    /// The currency; a free plan has none.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        match self {
            Self::Free => None,
            Self::Monthly(amount) | Self::OneOff(amount) => Some(amount.0.currency),
            Self::Metered(metered) => Some(metered.max_exposure.0.currency),
        }
    }

    /// The most that buying costs until the end of the month: what has to be held.
    #[must_use]
    pub fn worst_case(&self) -> Amount {
        match self {
            Self::Free => Amount::ZERO,
            Self::Monthly(amount) | Self::OneOff(amount) => amount.0.amount,
            Self::Metered(metered) => metered.max_exposure.0.amount,
        }
    }

    /// What is taken as soon as the resource exists, whatever is used later.
    #[must_use]
    pub fn due_at_once(&self) -> Amount {
        match self {
            Self::Free => Amount::ZERO,
            Self::Monthly(amount) | Self::OneOff(amount) => amount.0.amount,
            Self::Metered(metered) => metered.base.map_or(Amount::ZERO, |base| base.0.amount),
        }
    }
}

/// For people: `$9.00 a month`, `$0.50 per 1000 requests, at most $40.00 a month`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free"),
            Self::Monthly(amount) => write!(f, "{} a month", amount.0),
            Self::OneOff(amount) => write!(f, "{} once", amount.0),
            Self::Metered(metered) => {
                if let Some(base) = metered.base {
                    write!(f, "{} a month, ", base.0)?;
                }
                for meter in &metered.meters {
                    write!(f, "{} per {} {}, ", rate_text(meter.rate), meter.per, meter.id)?;
                }
                write!(f, "at most {} a month", metered.max_exposure.0)
            }
        }
    }
}

/// A rate for people, like money: `$0.50`, `0.0005 KWD`.
fn rate_text(rate: Rate) -> String {
    let number = decimal_text(rate);
    match rate.currency().symbol() {
        Some(symbol) => format!("{symbol}{number}"),
        None => format!("{number} {}", rate.currency()),
    }
}

/// The one way to write a rate's number: no needless zeros, but at least the currency's digits (`0.50`, `0.0005`).
pub(super) fn decimal_text(rate: Rate) -> String {
    let mut number = rate.decimal().normalize();
    if number.scale() < rate.currency().exponent() {
        number.rescale(rate.currency().exponent());
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payable(text: &str) -> Payable {
        text.parse::<Rate>().unwrap().try_into().unwrap()
    }

    fn meter(id: &str, rate: &str) -> Meter {
        Meter {
            id: id.parse().unwrap(),
            unit: "request".parse().unwrap(),
            rate: rate.parse().unwrap(),
            per: "1000".parse().unwrap(),
        }
    }

    #[test]
    fn what_is_taken_at_once_is_whole_and_above_zero() {
        assert_eq!(Payable::try_from("0.00 USD".parse::<Rate>().unwrap()), Err(BadPrice::Zero));
        let too_fine: Rate = "0.5 JPY".parse().unwrap();
        assert_eq!(Payable::try_from(too_fine), Err(BadPrice::NotPayable(too_fine)));
        assert_eq!(payable("12 KWD").money().amount.minor(), 12_000);
    }

    #[test]
    fn a_metered_price_is_refused_unless_its_worst_case_is_known_and_in_one_currency() {
        let most = payable("40 USD");
        assert_eq!(Metered::new(None, vec![], most), Err(BadPrice::NoMeters));
        assert_eq!(
            Metered::new(None, vec![meter("a", "1 EUR")], most),
            Err(BadPrice::Currencies(Currency::USD, "EUR".parse().unwrap()))
        );
        let twice = vec![meter("a", "1 USD"), meter("a", "2 USD")];
        assert_eq!(Metered::new(None, twice, most), Err(BadPrice::MeterTwice("a".parse().unwrap())));
        assert_eq!(Metered::new(None, vec![meter("a", "0 USD")], most), Err(BadPrice::FreeMeter("a".parse().unwrap())));
        assert!(matches!(
            Metered::new(Some(payable("41 USD")), vec![meter("a", "1 USD")], most),
            Err(BadPrice::BaseAboveMaximum { .. })
        ));
        let good = Price::Metered(Metered::new(Some(payable("5 USD")), vec![meter("a", "0.5 USD")], most).unwrap());
        assert_eq!((good.worst_case().minor(), good.due_at_once().minor()), (4000, 500));
        assert_eq!(good.to_string(), "$5.00 a month, $0.50 per 1000 a, at most $40.00 a month");
    }

    #[test]
    fn a_number_is_written_in_one_way() {
        for (text, written) in [("9 USD", "9.00"), ("9.000 USD", "9.00"), ("0.00050 USD", "0.0005"), ("100 JPY", "100")]
        {
            assert_eq!(decimal_text(text.parse().unwrap()), written);
        }
    }
}
