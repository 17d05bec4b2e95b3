//! Stages 16 and 19: what is there is changed where the catalog allows it, gets new credentials, keeps them to itself, and
//! goes away.

use serde_json::{Value, json};

use super::super::super::agent::Stopped;
use super::super::{Ask, Walk, body, ensure, noted};
use super::order::{Ordered, Said, payment};
use super::{FREE, Held, MEDIUM, refused, text};

impl Walk<'_> {
    fn at_resource(&self, held: &Held, id: &str, verb: &str, key: &str, body: &Value) -> Ask {
        self.wire_call(held, &format!("/provisioning/resources/{id}/{verb}"), key, body)
    }

    pub(super) async fn change(&mut self, held: &Held, ordered: &Ordered) -> Result<(), Stopped> {
        self.update(held, ordered).await?;
        let rotation = self.at_resource(held, &ordered.id, "rotate_credentials", "wire-rotate", &json!({}));
        let before = ordered.access.clone();
        let fresh = self
            .agent
            .take(rotation, |answer| {
                let (_, access) = Said::usable(answer)?;
                ensure(access.iter().all(|(name, value)| before.get(name) != Some(value)), "nothing was replaced")?;
                Ok((access, "new credentials".to_owned()))
            })
            .await?;
        let look = self.wire_get(&format!("/provisioning/resources/{}", ordered.id)).bearer(&held.token);
        self.agent
            .take(look, |answer| {
                let (said, _) = Said::complete(answer)?;
                ensure(said.service_id.as_deref() == Some(MEDIUM.id), "it is not what it was changed to")?;
                let shown = String::from_utf8_lossy(&answer.body);
                let told = ordered.access.values().chain(fresh.values()).any(|secret| shown.contains(secret.as_str()));
                ensure(!told, "a look shows a secret")?;
                noted(format!("{}, and no secret in it", MEDIUM.id))
            })
            .await
    }

    async fn update(&mut self, held: &Held, ordered: &Ordered) -> Result<(), Stopped> {
        let to = json!({"service_id": FREE.id});
        let refusal = self.at_resource(held, &ordered.id, "update_service", "wire-sideways", &to).expecting(400);
        self.agent
            .take(refusal, |answer| {
                refused(answer, "destructive_update")?;
                noted(format!("to {}: the catalog knows no such way", FREE.id))
            })
            .await?;
        let to = json!({"service_id": MEDIUM.id, "payment_credentials": payment(&ordered.payment_token)});
        let update = self.at_resource(held, &ordered.id, "update_service", "wire-up", &to);
        let price = self.signed_price(&MEDIUM);
        self.agent
            .take(update, |answer| {
                let (said, _) = Said::complete(answer)?;
                ensure(said.service_id.as_deref() == Some(MEDIUM.id), "it is not what it was changed to")?;
                noted(format!("up to {}, {} charged", MEDIUM.id, price?))
            })
            .await
    }

    pub(super) async fn remove(&mut self, held: &Held, ordered: &Ordered) -> Result<(), Stopped> {
        for note in ["removed", "again: still removed"] {
            let ask = self.at_resource(held, &ordered.id, "remove", "wire-remove", &json!({}));
            self.agent
                .take(ask, |answer| {
                    let said: Value = body(answer)?;
                    ensure(text(&said, "/status")? == "removed", "it is still there")?;
                    noted(note)
                })
                .await?;
        }
        Ok(())
    }
}
