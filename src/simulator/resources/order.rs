//! What an agent asks for, and what that comes to: the price that is shown, agreed to, and paid with a token.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::app_wire::{Quoted, Service};
use super::super::mischief::{Verb, Wrong};
use super::super::refusal::Refusal;
use super::super::registry::{Cap, Member, Provider};
use super::super::shelf::Shelf;
use super::super::state::State;
use super::super::tokens::{PaymentTokenSpec, mint_payment_token, unique};
use crate::money::{Amount, Money};

/// What an agent asks for when it adds or upgrades.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::simulator) struct Order {
    #[serde(default)]
    pub(in crate::simulator) provider: String,
    pub(in crate::simulator) service: String,
    #[serde(default)]
    pub(in crate::simulator) name: Option<String>,
    #[serde(default = "usual_project")]
    pub(in crate::simulator) project: String,
    #[serde(default)]
    pub(in crate::simulator) configuration: Map<String, Value>,
    /// Answers to an earlier `NEEDS_INFORMATION`.
    #[serde(default)]
    pub(in crate::simulator) information: Map<String, Value>,
    /// Take over what the provider has already instead of making it anew.
    #[serde(default)]
    pub(in crate::simulator) existing: bool,
    /// Only look whether it may be done and what it costs.
    #[serde(default)]
    pub(in crate::simulator) preview: bool,
    /// The price that the user agreed to; another one is refused.
    #[serde(default)]
    pub(in crate::simulator) agreed: Option<String>,
    /// What the provider may take with the token; the monthly cap when absent.
    #[serde(default)]
    pub(in crate::simulator) limit: Option<Cap>,
}

/// What is about to be done.
pub(super) struct Plan {
    quoted: Quoted,
    pub(super) price: String,
    pub(super) configuration: Value,
    limit: Option<Cap>,
}

impl Plan {
    pub(super) fn of(
        quoted: Quoted,
        shelf: &Shelf,
        service: &Service,
        configuration: Value,
        order: &Order,
        provider: &Provider,
    ) -> Self {
        let signed = shelf.signed_price(&service.id).filter(|signed| *signed != quoted.text);
        let price = signed.map_or_else(|| quoted.text.clone(), |signed| format!("{} [{signed}]", quoted.text));
        let usual = || provider.caps.as_ref().map_or(Some(Cap::usual()), |caps| caps.first().copied());
        let limit = if quoted.paid { order.limit.or_else(usual) } else { None };
        Self { quoted, price, configuration, limit }
    }

    pub(super) fn shown(&self, provider: &str, service: &str, name: &str) -> Value {
        let limit = self.limit.map(|limit| Money { amount: limit.amount, currency: limit.currency }.to_string());
        json!({"preview": true, "provider": provider, "service": service, "name": name, "price": self.price,
            "paid": self.quoted.paid, "parent": self.quoted.parent, "monthly_limit": limit})
    }

    pub(super) fn agreed(&self, order: &Order) -> Result<(), Refusal> {
        match &order.agreed {
            Some(agreed) if *agreed != self.price => {
                let text = format!("it now costs {}; what you agreed to was {agreed}", self.price);
                Err(Refusal::new(409, "PRICE_CHANGED", text).next("look at the new price and agree again"))
            }
            _ => Ok(()),
        }
    }
}

pub(in crate::simulator) fn usual_project() -> String {
    "default".to_owned()
}

/// A token for what costs something, and its `jti`.
pub(super) fn payment(
    state: &State,
    user: &Member,
    provider: &Provider,
    plan: &Plan,
    verb: Verb,
) -> Result<(Option<Value>, Option<String>), Refusal> {
    let Some(limit) = plan.limit else { return Ok((None, None)) };
    let wrong = state.world().mischief.take_token(&provider.name, verb);
    let amount = if wrong == Some(Wrong::TinyToken) { Amount::from_minor(1).unwrap_or_default() } else { limit.amount };
    let jti = unique("ptok")?;
    let spec = PaymentTokenSpec::new(limit.currency, amount).monthly().of(&user.user()).audience(&provider.client_id);
    let token = mint_payment_token(state, &spec.claim("jti", json!(jti)))?;
    if wrong == Some(Wrong::RevokedToken) {
        state.world().revoke(&jti)?;
    }
    Ok((Some(json!({"type": "stripe_payment_token", "stripe_payment_token": token})), Some(jti)))
}

/// The given name, or one made of the service's id.
pub(super) fn name_of(order: &Order) -> Result<String, Refusal> {
    let made = || order.service.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let name = order.name.clone().unwrap_or_else(made);
    let good = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if good {
        Ok(name)
    } else {
        Err(Refusal::new(400, "invalid_fields", "a name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter"))
    }
}
