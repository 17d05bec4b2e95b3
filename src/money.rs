//! Money: whole minor units with a currency, checked sums, no floats.
//!
//! The ISO 4217 exponent decides what a minor unit is (a cent, a yen, a fils). Rates and catalog prices are exact
//! decimals; they become minor units in one place ([`Rate::charge`]), rounded half up once.

use std::fmt;
use std::str::FromStr;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Text};
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Alphabetic codes of ISO 4217 in use, by exponent; funds, metals and test codes are left out.
const EXPONENTS: [(u32, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY \
         COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR \
         ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
         MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP \
         SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR \
         ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// A currency of ISO 4217, e.g. `USD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Currency {
    code: [u8; 3],
    exponent: u8,
}

/// Not a currency that money can be held in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency: write an ISO 4217 code in capitals, such as `USD`")]
pub struct InvalidCurrency(pub String);

impl Currency {
    /// The United States dollar, in which the default budget counts.
    pub const USD: Self = Self { code: *b"USD", exponent: 2 };

    /// How many digits the minor unit has after the point (0 to 4).
    #[must_use]
    pub fn exponent(self) -> u32 {
        u32::from(self.exponent)
    }

    /// The three letters.
    #[must_use]
    pub fn code(&self) -> &str {
        str::from_utf8(&self.code).unwrap_or("???")
    }

    /// The sign that people write before an amount, where there is a usual one.
    #[must_use]
    pub fn symbol(&self) -> Option<&'static str> {
        match self.code() {
            "USD" => Some("$"),
            "EUR" => Some("€"),
            "GBP" => Some("£"),
            "JPY" => Some("¥"),
            _ => None,
        }
    }
}

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        let refused = || InvalidCurrency(text.chars().take(12).collect());
        let code = <[u8; 3]>::try_from(text.as_bytes()).map_err(|_wrong_length| refused())?;
        EXPONENTS
            .iter()
            .find(|(_, codes)| codes.split_ascii_whitespace().any(|known| known == text))
            .and_then(|(exponent, _)| u8::try_from(*exponent).ok())
            .map(|exponent| Self { code, exponent })
            .ok_or_else(refused)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<DB: Backend> ToSql<Text, DB> for Currency
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.code().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for Currency
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(String::from_sql(bytes)?.parse()?)
    }
}

/// Whole minor units, never negative. The currency stands beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Amount(i64);

/// A sum left the range of money, or an amount was negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount must be a whole number of minor units from 0 to 9223372036854775807")]
pub struct OutOfRange;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of `minor` units; refused when negative.
    ///
    /// # Errors
    /// When `minor` is below zero.
    pub const fn from_minor(minor: i64) -> Result<Self, OutOfRange> {
        if minor < 0 { Err(OutOfRange) } else { Ok(Self(minor)) }
    }

    /// The number of minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// The sum; `None` when it leaves the range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` when it would be negative.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(|minor| Self::from_minor(minor).ok())
    }

    /// The difference, or nothing when `other` is larger.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        self.checked_sub(other).unwrap_or(Self::ZERO)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_minor(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Amount
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Amount
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::from_minor(i64::from_sql(bytes)?)?)
    }
}

/// An amount and its currency. Prints for people (`$41.20`, `41.200 KWD`); `major` is the plain decimal text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Money {
    /// Minor units.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// The amount in major units with exactly the currency's digits, e.g. `41.20`.
    #[must_use]
    pub fn major(self) -> String {
        Decimal::new(self.amount.0, self.currency.exponent()).to_string()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let major = grouped(&self.major());
        match self.currency.symbol() {
            Some(symbol) => write!(f, "{symbol}{major}"),
            None => write!(f, "{major} {}", self.currency),
        }
    }
}

/// Commas between the thousands, as the sentence on the dashboard writes them.
fn grouped(major: &str) -> String {
    let (whole, fraction) = major.split_once('.').map_or((major, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A price as the catalog writes it: an exact, non-negative decimal in major units with its currency, `"12.50 USD"`.
/// May be finer than the minor unit (`"0.0005 USD"` per request).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    amount: Decimal,
    currency: Currency,
}

/// Why a text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// Not two words.
    #[error("`{0}` is not a price: write an amount and a currency, such as `12.50 USD`")]
    Form(String),
    /// The first word is no plain decimal.
    #[error("`{0}` is not an amount: write plain digits with at most 12 after a point, such as `12.50`")]
    Number(String),
    /// The second word is no currency.
    #[error(transparent)]
    Currency(#[from] InvalidCurrency),
}

impl Rate {
    /// The most digits after the point that a rate may have.
    pub const MAX_SCALE: u32 = 12;

    /// The currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The exact decimal in major units.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        self.amount
    }

    /// Whether the rate is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    /// The price in whole minor units, when it is a whole number of them.
    ///
    /// # Errors
    /// When the rate is finer than the minor unit, or too large.
    pub fn exact(self) -> Result<Amount, OutOfRange> {
        let minor = self.amount.checked_mul(scale(self.currency)).ok_or(OutOfRange)?;
        if minor.fract().is_zero() { to_amount(minor) } else { Err(OutOfRange) }
    }

    /// What `quantity` units cost at this rate per `per` units, in minor units, rounded half up once.
    ///
    /// Charge cumulatively (cost of all so far, less what was charged before), so that rounding never drifts.
    ///
    /// # Errors
    /// When the cost leaves the range of money.
    pub fn charge(self, quantity: Decimal, per: Decimal) -> Result<Amount, OutOfRange> {
        let minor = self
            .amount
            .checked_mul(scale(self.currency))
            .and_then(|minor| minor.checked_mul(quantity))
            .and_then(|minor| minor.checked_div(per))
            .ok_or(OutOfRange)?;
        to_amount(minor.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero))
    }
}

fn scale(currency: Currency) -> Decimal {
    Decimal::from(10_u64.pow(currency.exponent()))
}

fn to_amount(minor: Decimal) -> Result<Amount, OutOfRange> {
    minor.to_i64().ok_or(OutOfRange).and_then(Amount::from_minor)
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let shown = || text.chars().take(40).collect::<String>();
        let (number, currency) = text.split_once(' ').ok_or_else(|| InvalidRate::Form(shown()))?;
        let digits_only = number.chars().all(|c| c.is_ascii_digit() || c == '.')
            && number.starts_with(|c: char| c.is_ascii_digit())
            && number.ends_with(|c: char| c.is_ascii_digit())
            && number.len() <= 24;
        let amount = Decimal::from_str_exact(number)
            .ok()
            .filter(|amount| digits_only && amount.scale() <= Self::MAX_SCALE)
            .ok_or_else(|| InvalidRate::Number(number.chars().take(40).collect()))?;
        Ok(Self { amount, currency: currency.parse()? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_exponent_decides_the_minor_unit() {
        for (code, shown) in [("USD", "$12.34"), ("JPY", "¥1,234"), ("KWD", "1.234 KWD"), ("CLF", "0.1234 CLF")] {
            let money = Money { amount: Amount::from_minor(1234).unwrap(), currency: code.parse().unwrap() };
            assert_eq!(money.to_string(), shown);
        }
    }

    #[test]
    fn bad_prices_are_refused() {
        for text in [
            "12.50", "-1 USD", "1e3 USD", "1,5 USD", ".5 USD", "5. USD", "1 usd", "1 XXX", "1  USD", "1_0 USD",
            "+1 USD",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert!("0.001 USD".parse::<Rate>().unwrap().exact().is_err());
        assert_eq!("12.5 USD".parse::<Rate>().unwrap().exact().unwrap().minor(), 1250);
    }

    proptest! {
        #[test]
        fn cumulative_charging_never_drifts(parts in prop::collection::vec(1_u32..5_000, 1..60), per_thousand in 1_i64..10_000) {
            let rate: Rate = format!("{} USD", Decimal::new(per_thousand, 4)).parse().unwrap();
            let per = Decimal::from(1_000);
            let (mut total, mut charged) = (Decimal::ZERO, Amount::ZERO);
            for part in parts {
                total += Decimal::from(part);
                let due = rate.charge(total, per).unwrap();
                prop_assert!(due >= charged);
                charged = charged.checked_add(due.checked_sub(charged).unwrap()).unwrap();
            }
            prop_assert_eq!(charged, rate.charge(total, per).unwrap());
        }

        #[test]
        fn sums_are_exact_or_refused(a in 0..i64::MAX, b in 0..i64::MAX) {
            let (left, right) = (Amount::from_minor(a).unwrap(), Amount::from_minor(b).unwrap());
            prop_assert_eq!(left.checked_add(right).map(Amount::minor), a.checked_add(b));
            prop_assert_eq!(left.checked_sub(right).is_some(), a >= b);
        }

        #[test]
        fn a_rate_reads_back(whole in 0_u64..1_000_000_000, fraction in 0_u32..1_000_000) {
            let rate: Rate = format!("{whole}.{fraction:06} EUR").parse().unwrap();
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }

        #[test]
        fn major_units_read_back(minor in 0..i64::MAX) {
            let money = Money { amount: Amount::from_minor(minor).unwrap(), currency: Currency::USD };
            let rate: Rate = format!("{} USD", money.major()).parse().unwrap();
            prop_assert_eq!(rate.exact().unwrap(), money.amount);
        }
    }
}
