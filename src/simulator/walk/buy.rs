//! Stages 6 to 8: something free, something with a price, and a metered API with its key.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;

use super::super::agent::Stopped;
use super::money::{Budget, Cost};
use super::{Ask, Party, Walk, body, ensure, noted};
use crate::money::{Amount, Currency, Money};
use crate::secret::Secret;

/// What the agent holds after buying.
pub(super) struct Bought {
    pub(super) payment_token: Secret,
    /// The payment token's `jti`, under which the issuer's books list what was taken.
    pub(super) payment_token_id: String,
    pub(super) api_key: Secret,
    /// What all purchases cost, without usage.
    pub(super) cost: Amount,
}

/// The answer of `POST /v1/resources`.
#[derive(Deserialize)]
struct Provisioned {
    resource: Resource,
    #[serde(default)]
    credentials: HashMap<String, String>,
    cost: Cost,
}

#[derive(Deserialize)]
struct Resource {
    id: String,
    state: String,
}

/// A payment token and its `jti`.
#[derive(Deserialize)]
pub(super) struct Issued {
    pub(super) payment_token: String,
    id: String,
}

impl Walk<'_> {
    pub(super) async fn buy(&mut self, token: &Secret, cap: &Budget) -> Result<Bought, Stopped> {
        self.agent.stage();
        let free = self.provision(token, "sandbox", "free", None);
        self.agent
            .take(free, |answer| {
                let made: Provisioned = body(answer)?;
                ensure(made.cost.amount == Amount::ZERO, "the free plan costs something")?;
                noted(format!("sandbox/free, {}", made.resource.state))
            })
            .await?;

        self.agent.stage();
        let (payer, limit) = (self.options.user.subject.clone(), self.options.payment_limit);
        let issued = self.get_a_payment_token(&payer, "PAYMENT_TOKEN", cap.currency, limit).await?;
        let (payment_token, payment_token_id) = (Secret::presented(&issued.payment_token), issued.id);
        let cost = self.buy_once(token, &payment_token, cap).await?;

        self.agent.stage();
        let api_key = self.get_an_api_key(token, &payment_token).await?;
        self.try_the_key(&api_key).await?;
        Ok(Bought { payment_token, payment_token_id, api_key, cost })
    }

    /// A request for a resource; `payment` is a payment token.
    pub(super) fn provision(&self, token: &Secret, service: &str, plan: &str, payment: Option<&Secret>) -> Ask {
        let mut wanted = json!({"service": service, "plan": plan});
        if let (Some(payment), Some(members)) = (payment, wanted.as_object_mut()) {
            members.insert("payment_token".to_owned(), json!(payment.expose()));
        }
        if let ("domain", Some(members)) = (service, wanted.as_object_mut()) {
            members.insert("configuration".to_owned(), json!({"domain_name": "fieldnotes.dev"}));
        }
        let ask = self.at_provider("POST", "/v1/resources", 201);
        ask.bearer(token).key(&self.key(service)).json(&wanted)
    }

    /// A payment token of the user with this subject, known as `name` from now on.
    pub(super) async fn get_a_payment_token(
        &mut self,
        subject: &str,
        name: &'static str,
        currency: Currency,
        limit: Amount,
    ) -> Result<Issued, Stopped> {
        let wanted = json!({"sub": subject, "currency": currency, "max_amount": limit, "recurring": "month"});
        let ask = self.at_orchestrator("POST", "/agent/payment-tokens", 200).json(&wanted);
        let note = format!("a payment token for at most {} a month", Money { amount: limit, currency });
        let issued: Issued =
            self.agent.take(ask.keep(name, ".payment_token"), |answer| Ok((body(answer)?, note))).await?;
        self.agent.learn(name, &Secret::presented(&issued.payment_token));
        Ok(issued)
    }

    /// Buys, repeats the request, and sees that it was charged once.
    async fn buy_once(&mut self, token: &Secret, payment: &Secret, cap: &Budget) -> Result<Amount, Stopped> {
        let ask = self.provision(token, "postgres", "small", Some(payment));
        let (first, cost) = self
            .agent
            .take(ask.clone(), |answer| {
                let made: Provisioned = body(answer)?;
                ensure(made.cost.amount > Amount::ZERO, "the monthly plan costs nothing")?;
                let note = format!("postgres/small, {} charged, {}", made.cost.money(), made.resource.state);
                Ok(((made.resource.id, made.cost.amount), note))
            })
            .await?;
        self.agent
            .take(ask, |answer| {
                let made: Provisioned = body(answer)?;
                ensure(made.resource.id == first, "the same key made a second resource")?;
                noted("same key: the same answer")
            })
            .await?;
        let ask = self.at_provider("GET", "/v1/budget", 200).bearer(token);
        let expected = cap.spent.checked_add(cost);
        self.agent
            .take(ask, |answer| {
                let budget: Budget = body(answer)?;
                budget.check()?;
                ensure(Some(budget.spent) == expected, "it was not charged exactly once")?;
                Ok((cost, format!("charged once: {}", budget.sentence())))
            })
            .await
    }

    async fn get_an_api_key(&mut self, token: &Secret, payment: &Secret) -> Result<Secret, Stopped> {
        let ask = self.provision(token, "weather", "metered", Some(payment)).keep("API_KEY", ".credentials.API_KEY");
        let api_key = self
            .agent
            .take(ask, |answer| {
                let made: Provisioned = body(answer)?;
                ensure(made.cost.amount == Amount::ZERO, "the metered plan costs something before it is used")?;
                let key = made.credentials.get("API_KEY").ok_or("there is no API_KEY among the credentials")?;
                Ok((Secret::presented(key), format!("weather/metered, {}, with its key", made.resource.state)))
            })
            .await?;
        self.agent.learn("API_KEY", &api_key);
        Ok(api_key)
    }

    async fn try_the_key(&mut self, api_key: &Secret) -> Result<(), Stopped> {
        let weather = self.weather(1);
        self.agent.take(weather.clone().bearer(api_key), |answer| noted(forecast(answer)?)).await?;
        let url = super::at(&self.platform, "/weather/lisbon");
        let without = Ask::new(Party::Platform, "GET", url, 401);
        self.agent.take(without, |_| noted("and nothing without a key")).await
    }

    /// A call of the metered API that counts as `requests`.
    pub(super) fn weather(&self, requests: u64) -> Ask {
        let path =
            if requests == 1 { "/weather/lisbon".to_owned() } else { format!("/weather/lisbon?requests={requests}") };
        Ask::new(Party::Platform, "GET", super::at(&self.platform, &path), 200)
    }
}

/// "lisbon: 14 °C, rain"
fn forecast(answer: &crate::fetch::Incoming) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Forecast {
        city: String,
        sky: String,
        temperature_c: i64,
    }
    let forecast: Forecast = body(answer)?;
    Ok(format!("{}: {} °C, {}", forecast.city, forecast.temperature_c, forecast.sky))
}
