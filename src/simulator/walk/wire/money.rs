//! Stages 17 and 18: the orchestrator's own agent API does by itself what was done by hand before; and the money of both
//! stands in the issuer's books, at the signed prices, and on the human's page.

use serde_json::{Value, json};

use super::super::super::agent::Stopped;
use super::super::super::{AuthorizationStatus, BooksSnapshot};
use super::super::money::Budget;
use super::super::{Walk, body, ensure, noted};
use super::{CACHE, Guest, Held, MEDIUM, SMALL, text};
use crate::money::Amount;
use crate::secret::Secret;

/// The provider's name at the orchestrator.
const PROVIDER: &str = "provider";

impl Walk<'_> {
    pub(super) async fn let_the_orchestrator_do_it(&mut self, guest: &Guest<'_>, held: &Held) -> Result<(), Stopped> {
        let who = json!({"subject": guest.user.subject, "email": guest.user.email});
        let enrol = self.at_orchestrator("POST", "/users", 201).json(&who).keep("GUEST_AGENT", ".agent_token");
        let email = guest.user.email.clone();
        let agent = self
            .agent
            .take(enrol, |answer| {
                let said: Value = body(answer)?;
                Ok((
                    Secret::presented(text(&said, "/agent_token")?),
                    format!("{email} has an agent, and Harbour does the calling"),
                ))
            })
            .await?;
        self.agent.learn("GUEST_AGENT", &agent);
        let link = self.at_orchestrator("POST", "/agent/links", 200).json(&json!({"provider": PROVIDER}));
        self.agent
            .take(link.bearer(&agent), |answer| {
                let said: Value = body(answer)?;
                ensure(text(&said, "/data/account")? == held.account, "it is another account")?;
                noted("the same account as before")
            })
            .await?;
        let configuration = json!({"region": "eu-central", "memory_mb": "256"});
        let wanted = json!({"provider": PROVIDER, "service": CACHE.id, "configuration": configuration});
        let add = self.at_orchestrator("POST", "/agent/resources", 200).json(&wanted).bearer(&agent);
        let price = self.signed_price(&CACHE);
        self.agent
            .take(add, |answer| {
                let said: Value = body(answer)?;
                let state = text(&said, "/data/state")?;
                ensure(state == "complete", format!("it is `{state}`, not complete"))?;
                noted(format!("{}, {} charged, {state}", CACHE.id, price?))
            })
            .await?;
        self.count_the_calls().await
    }

    /// What the orchestrator called by itself.
    async fn count_the_calls(&mut self) -> Result<(), Stopped> {
        let ask = self.at_orchestrator("GET", "/test/calls", 200);
        self.agent
            .take(ask, |answer| {
                let said: Value = body(answer)?;
                let calls = said.get("data").and_then(Value::as_array).ok_or("`data` is no list")?;
                let good = |call: &&Value| call.get("status").and_then(Value::as_u64) == Some(200);
                let verbs: Vec<&str> =
                    calls.iter().filter(good).filter_map(|call| call.get("verb")?.as_str()).collect();
                let missing =
                    ["account_request", "token", "services", "create"].into_iter().find(|verb| !verbs.contains(verb));
                ensure(missing.is_none(), format!("it made no good call `{}`", missing.unwrap_or_default()))?;
                noted(format!("it made {} signed calls for that", verbs.len()))
            })
            .await
    }

    pub(super) async fn find_the_money(&mut self, guest: &Guest<'_>, held: &Held, cap: &Budget) -> Result<(), Stopped> {
        let spent = self.compare_the_issuers_books(guest, cap).await?;
        let ask = self.wire_call(held, "/provisioning/deep_links", "wire-link", &json!({"purpose": "dashboard"}));
        let ask = ask.keep("GUEST_LINK", ".url | split(\"/\") | last");
        let link = self.deep_link(ask, "GUEST_LINK", "a one-use link to the human's page").await?;
        let cookie = self.use_the_link(&link, "GUEST_SESSION").await?;
        self.read_the_page(cookie, spent, cap).await
    }

    /// All that was captured from the guest is the sum of the signed prices.
    async fn compare_the_issuers_books(&mut self, guest: &Guest<'_>, cap: &Budget) -> Result<Amount, Stopped> {
        let (subject, due) = (guest.user.subject.clone(), self.signed_prices(&[&SMALL, &MEDIUM, &CACHE]));
        let ask = self.at_orchestrator("GET", "/books", 200);
        self.agent
            .take(ask, |answer| {
                let (books, due): (BooksSnapshot, Amount) = (body(answer)?, due?);
                let mine = books.authorizations.iter().filter(|entry| entry.subject == subject);
                let mut captured = 0_i64;
                for entry in mine {
                    let open = entry.authorization.status == AuthorizationStatus::Authorized;
                    ensure(!open, "the issuer still holds something")?;
                    captured += entry.authorization.captured.minor();
                }
                ensure(captured == due.minor(), format!("{captured} minor units are captured, not {}", due.minor()))?;
                Ok((due, format!("the issuer's books agree: {} captured, the signed prices", cap.money(due))))
            })
            .await
    }
}
