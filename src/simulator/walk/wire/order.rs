//! Stage 15: something free, something without the money for it, and the same with a payment token, once.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::agent::Stopped;
use super::super::money::Budget;
use super::super::{Ask, Walk, body, ensure, noted};
use super::{FREE, Guest, Held, SMALL, Ware, refused};
use crate::fetch::Incoming;
use crate::money::Amount;
use crate::secret::Secret;

const PATH: &str = "/provisioning/resources";

/// Minor units that the guest's payment token is good for in a month: as many as the budget, so that the budget binds.
const LIMIT: i64 = 10_000;

/// What was ordered and paid.
pub(super) struct Ordered {
    pub(super) payment_token: Secret,
    pub(super) id: String,
    pub(super) access: BTreeMap<String, String>,
}

/// A resource as the wire says it.
#[derive(Deserialize)]
pub(super) struct Said {
    status: String,
    id: String,
    #[serde(default)]
    pub(super) service_id: Option<String>,
    complete: Option<Complete>,
}

#[derive(Deserialize)]
struct Complete {
    #[serde(default)]
    access_configuration: BTreeMap<String, String>,
}

impl Said {
    /// A resource that is there.
    pub(super) fn complete(answer: &Incoming) -> Result<(Self, BTreeMap<String, String>), String> {
        let mut said: Self = body(answer)?;
        ensure(said.status == "complete", format!("it is `{}`, not complete", said.status))?;
        let complete = said.complete.take().ok_or("`complete` is missing")?;
        Ok((said, complete.access_configuration))
    }

    /// The same, which gives its credentials.
    pub(super) fn usable(answer: &Incoming) -> Result<(Self, BTreeMap<String, String>), String> {
        let (said, access) = Self::complete(answer)?;
        ensure(!access.is_empty(), "there are no credentials")?;
        Ok((said, access))
    }
}

/// The way to pay with this token.
pub(super) fn payment(token: &Secret) -> Value {
    json!({"type": "stripe_payment_token", "stripe_payment_token": token.expose()})
}

impl Walk<'_> {
    fn ordering(&self, held: &Held, ware: &Ware, key: &str, token: Option<&Secret>) -> Ask {
        let mut wanted = json!({"service_id": ware.id, "project_id": self.key("project"), "environment": "prod",
            "orchestrator_resource_id": self.key(key)});
        if let (Some(token), Some(members)) = (token, wanted.as_object_mut()) {
            members.insert("payment_credentials".to_owned(), payment(token));
        }
        self.wire_call(held, PATH, key, &wanted)
    }

    pub(super) async fn order(&mut self, guest: &Guest<'_>, held: &Held, cap: &Budget) -> Result<Ordered, Stopped> {
        let free = self.ordering(held, &FREE, "wire-free", None);
        self.agent
            .take(free, |answer| {
                Said::usable(answer)?;
                noted(format!("{}, complete", FREE.id))
            })
            .await?;
        let unpaid = self.ordering(held, &SMALL, "wire-unpaid", None).expecting(400);
        self.agent
            .take(unpaid, |answer| {
                refused(answer, "requires_payment_credentials")?;
                noted(format!("{} without payment: nothing is made", SMALL.id))
            })
            .await?;
        let limit = Amount::from_minor(LIMIT).unwrap_or_default();
        let subject = guest.user.subject.clone();
        let issued = self.get_a_payment_token(&subject, "GUEST_PAYS", cap.currency, limit).await?;
        let payment_token = Secret::presented(&issued.payment_token);
        let paid = self.ordering(held, &SMALL, "wire-paid", Some(&payment_token));
        let price = self.signed_price(&SMALL);
        let (id, access) = self
            .agent
            .take(paid.clone().keep("DB", ".id"), |answer| {
                let (said, access) = Said::usable(answer)?;
                Ok(((said.id, access), format!("{}, {} charged, complete", SMALL.id, price?)))
            })
            .await?;
        self.agent.learn("DB", &Secret::presented(&id));
        let once = access.clone();
        self.agent
            .take(paid, |answer| {
                let (said, access) = Said::usable(answer)?;
                ensure(said.id == id && access == once, "the same key made something else")?;
                noted("same key: the same answer")
            })
            .await?;
        Ok(Ordered { payment_token, id, access })
    }
}
