//! Resources for the cases: made of the provider's own catalog.

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, RESOURCES, SERVICES, resource};
use super::case::{Stop, not_applicable};
use super::party::Party;
use super::services::{Service, Services, sample};
use super::session::Session;
use crate::fetch::Outgoing;

/// The most pages that a catalog may have.
const MOST_PAGES: usize = 50;
/// How many paid services are tried.
const MOST_CANDIDATES: usize = 5;
/// How often a pending resource is asked for.
const POLLS: u32 = 20;

/// A resource that was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) party: Party,
    pub(super) id: String,
    pub(super) service: String,
    /// The last answer: complete.
    pub(super) answer: Answer,
    /// What was sent.
    pub(super) body: Value,
}

impl Session {
    /// All pages of the catalog.
    pub(super) async fn services(&self) -> Result<&Services, Stop> {
        self.services.get_or_try_init(|| async { self.read_services().await.map_err(Stop::preparing) }).await
    }

    /// Reads them anew.
    pub(super) async fn read_services(&self) -> Result<Services, Stop> {
        self.reads_catalog()?;
        let mut data: Vec<Value> = Vec::new();
        let mut path = SERVICES.to_owned();
        for _ in 0..MOST_PAGES {
            let answer = self.send(Call::get(path)).await?;
            answer.is(200)?;
            let page = answer.json.get("data").and_then(Value::as_array);
            data.extend(page.ok_or_else(|| answer.wrong("an array in `data`"))?.iter().cloned());
            match answer.text("/next_cursor").filter(|cursor| !cursor.is_empty()) {
                Some(cursor) => path = format!("{SERVICES}?{}", form(&[("cursor", cursor)])),
                None => return Ok(Services::read(&data)),
            }
        }
        let last = self.send(Call::get(path)).await?;
        Err(last.otherwise("a last page, without `next_cursor`", format!("more than {MOST_PAGES} pages")))
    }

    /// A service that this run can have: free, or paid where the run has payment tokens.
    pub(super) async fn usable(&self) -> Result<&Service, Stop> {
        if let (Err(_), Some(named)) = (self.reads_catalog(), self.options.service.as_deref()) {
            return Ok(self.told.get_or_init(|| Service::told(named)));
        }
        let services = self.services().await?;
        if let Some(named) = self.options.service.as_deref() {
            return match services.find(named) {
                Some(service) => Ok(service),
                None => not_applicable(format!("--service {named} is not in the catalog")),
            };
        }
        let paid = || services.paid().into_iter().find(|_| self.options.payment_tokens.is_some());
        match services.free().or_else(paid) {
            Some(service) => Ok(service),
            None => not_applicable("the catalog has no free service (give --payment-tokens to use a paid one)"),
        }
    }

    /// The first service for which `wanted` holds.
    pub(super) async fn service_with(&self, wanted: fn(&Service) -> bool, what: &str) -> Result<&Service, Stop> {
        match self.services().await?.with(wanted) {
            Some(service) => Ok(service),
            None => not_applicable(format!("the catalog has no service {what}")),
        }
    }

    /// A service that must be paid, and lacks nothing else.
    pub(super) async fn paid(&self) -> Result<&Service, Stop> {
        if self.party().await?.payment.as_deref() == Some("provider") {
            return not_applicable("the provider collects payment itself (`payment_credentials` is `provider`)");
        }
        let candidates = self.services().await?.paid();
        let id = self.paid.get_or_try_init(|| self.choose_paid(&candidates)).await?;
        match candidates.into_iter().find(|service| service.id == *id) {
            Some(service) => Ok(service),
            None => not_applicable("the catalog has no paid service"),
        }
    }

    /// Older catalogs do not say that a service needs a plan: one that is refused for its state is passed over.
    async fn choose_paid(&self, candidates: &[&Service]) -> Result<String, Stop> {
        let Some(first) = candidates.first() else {
            return not_applicable("the catalog has no paid service");
        };
        for service in candidates.iter().take(MOST_CANDIDATES) {
            let party = self.open().await?;
            let answer = self.try_create(&self.create_body(service, &party), &party).await?;
            if answer.status != 409 {
                return Ok(service.id.clone());
            }
        }
        Ok(first.id.clone())
    }

    /// What is sent to make one, without payment.
    pub(super) fn create_body(&self, service: &Service, party: &Party) -> Value {
        let name = self.name();
        json!({
            "service_id": service.id,
            "project_id": format!("proj_{name}"),
            "orchestrator_resource_id": format!("fres_{name}"),
            "environment": "prod",
            "configuration": sample(service, &self.options.configurations, &name),
            "actor": {"email": party.email, "ip_address": "203.0.113.7"},
        })
    }

    pub(super) fn create(body: &Value, party: &Party, key: &str) -> Call {
        Call::post(RESOURCES, body).bearer(&party.access).key(key)
    }

    /// Sends a creation under a key of its own.
    pub(super) async fn try_create(&self, body: &Value, party: &Party) -> Result<Answer, Stop> {
        self.send(Self::create(body, party, &self.name())).await
    }

    /// A token that pays up to `most` minor units for `subject`.
    pub(super) async fn payment_token(&self, most: u64, subject: &str) -> Result<String, Stop> {
        let Some(url) = &self.options.payment_tokens else {
            return not_applicable("there are no payment tokens to try it with (--payment-tokens)");
        };
        let body = json!({"currency": self.options.currency, "max_amount": most, "subject": subject});
        let mut outgoing = Outgoing::post_json(url.clone(), &body);
        if let Some(bearer) = &self.options.payment_tokens_bearer {
            outgoing = outgoing.bearer(bearer.expose());
        }
        let answer = self.mint(outgoing).await;
        match answer.as_ref().and_then(|json| json.get("payment_token")?.as_str()) {
            Some(token) => Ok(token.to_owned()),
            None => not_applicable("--payment-tokens gave no `payment_token`"),
        }
    }

    /// `payment_credentials` that pay generously for `party`.
    pub(super) async fn payment(&self, party: &Party) -> Result<Value, Stop> {
        Ok(payment_credentials(&self.payment_token(self.options.payment_limit, &party.subject).await?))
    }

    /// Makes one of `service` for `party`, with parent and payment as it needs, and waits until it is complete.
    pub(super) async fn make(&self, party: &Party, service: &Service) -> Result<Made, Stop> {
        let made = async {
            self.make_parent(party, service).await?;
            let mut body = self.create_body(service, party);
            if !service.can_be_free() {
                body["payment_credentials"] = self.payment(party).await?;
            }
            let answer = self.try_create(&body, party).await?;
            self.settled(answer, party, service, body).await
        };
        made.await.map_err(Stop::preparing)
    }

    /// Makes the parent that `service` needs, if it needs one.
    pub(super) async fn make_parent(&self, party: &Party, service: &Service) -> Result<(), Stop> {
        let needed = service.needs_parent();
        if needed.is_empty() {
            return Ok(());
        }
        let services = self.services().await?;
        let known = || needed.iter().filter_map(|id| services.find(id));
        let Some(parent) = known().find(|parent| parent.can_be_free()).or_else(|| known().next()) else {
            return not_applicable(format!("no parent of `{}` is in the catalog", service.id));
        };
        let mut body = self.create_body(parent, party);
        if !parent.can_be_free() {
            body["payment_credentials"] = self.payment(party).await?;
        }
        let answer = self.try_create(&body, party).await?;
        answer.kind_is(&["complete", "pending"])
    }

    async fn settled(&self, mut answer: Answer, party: &Party, service: &Service, body: Value) -> Result<Made, Stop> {
        if answer.kind() == Some("needs_information") {
            return not_applicable(format!("`{}` asks for information first", service.id));
        }
        for _ in 0..POLLS {
            if !(answer.succeeded() && answer.kind() == Some("pending")) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            answer = self.send(Call::get(resource(&answer.need("/id")?)).bearer(&party.access)).await?;
        }
        if answer.succeeded() && answer.kind() == Some("pending") {
            return not_applicable(format!("`{}` is still pending after {POLLS} s", service.id));
        }
        answer.kind_is(&["complete"])?;
        let id = answer.need("/id")?;
        Ok(Made { party: party.clone(), id, service: service.id.clone(), answer, body })
    }

    /// A resource of its own, for a case that changes it.
    pub(super) async fn made(&self) -> Result<Made, Stop> {
        let service = self.usable().await?;
        // Where only so many may be, each gets an account of its own.
        let shareable = service.at_most().is_none() && service.needs_parent().is_empty();
        let party = if shareable { self.party().await?.clone() } else { self.open().await? };
        self.make(&party, service).await
    }

    /// The resource that cases share which leave it as it is.
    pub(super) async fn shared(&self) -> Result<&Made, Stop> {
        self.resource.get_or_try_init(|| self.made()).await
    }

    /// The same resource, read.
    pub(super) async fn read(&self, made: &Made) -> Result<Answer, Stop> {
        self.send(Call::get(resource(&made.id)).bearer(&made.party.access)).await
    }
}

/// The one known kind.
pub(super) fn payment_credentials(token: &str) -> Value {
    json!({"type": "stripe_payment_token", "stripe_payment_token": token})
}

pub(super) fn form(fields: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(fields).unwrap_or_default()
}
