//! The aggregated catalog: what each known provider sells, believed only when its signed catalog may be believed.

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::app_wire::{Service, Wire, WireError};
use super::catalog_check::{CatalogRefused, check_catalog};
use super::registry::{Provider, Seen};
use super::state::State;
use super::store::StoreError;
use crate::clock::Timestamp;
use crate::fetch::{FetchError, Outgoing};
use crate::secret::sha256_name;

/// What one provider sells.
#[derive(Debug, Serialize)]
pub(super) struct Shelf {
    pub(super) provider: String,
    /// Of the signed revision; nothing for a provider that does not sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    pub(super) signed: bool,
    pub(super) services: Vec<Service>,
    /// The signed document, for exact prices.
    #[serde(skip)]
    document: Value,
}

/// Why a provider's shelf is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failing {
    #[error("its signed catalog cannot be fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("`{0}` answers {1}")]
    Status(String, u16),
    #[error("its signed catalog is not believed: {0}")]
    Refused(#[from] CatalogRefused),
    #[error("its catalog went back from version {seen} to {now}")]
    WentBack { seen: u64, now: u64 },
    #[error("version {0} of its catalog was shown with other content before")]
    Rewritten(u64),
    #[error("its services come from another revision than the signed one")]
    OtherRevision,
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the call could not be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl Shelf {
    pub(super) fn find(&self, id: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.id == id)
    }

    /// The signed price of a service, where the signed catalog has it: `service`, or `service:plan`.
    pub(super) fn signed_price(&self, id: &str) -> Option<String> {
        let (service, plan) = id.split_once(':').map_or((id, None), |(service, plan)| (service, Some(plan)));
        let services = self.document.get("services")?.as_array()?;
        let named = |value: &&Value, name: &str| value.get("id").and_then(Value::as_str) == Some(name);
        let plans = services.iter().find(|one| named(one, service))?.get("plans")?.as_array()?;
        let plan = match plan {
            Some(plan) => plans.iter().find(|one| named(one, plan))?,
            None => plans.first()?,
        };
        price_text(plan)
    }
}

/// A published plan's price for people.
fn price_text(plan: &Value) -> Option<String> {
    let price = plan.get("price")?;
    let word = |name: &str| price.get(name).and_then(Value::as_str);
    let money = || Some(format!("{} {}", word("amount")?, word("currency")?));
    let text = match word("kind")? {
        "free" => "free".to_owned(),
        "monthly" => format!("{} per month", money()?),
        "one_off" => format!("{} once", money()?),
        "metered" => {
            let meters = price.get("meters").and_then(Value::as_array).into_iter().flatten().filter_map(|meter| {
                let word = |name: &str| meter.get(name).and_then(Value::as_str);
                let per = meter.get("per").map(|per| per.as_str().map_or_else(|| per.to_string(), str::to_owned))?;
                Some(format!("{} {} per {per} {}", word("amount")?, price.get("currency")?.as_str()?, word("unit")?))
            });
            let base = money().map(|money| format!("{money} per month"));
            base.into_iter().chain(meters).collect::<Vec<_>>().join(", then ")
        }
        _ => return None,
    };
    let most = plan.get("max_exposure").and_then(|most| {
        let word = |name: &str| most.get(name).and_then(Value::as_str);
        Some(format!(" (at most {} {} per {})", word("amount")?, word("currency")?, word("per")?))
    });
    Some(super::app_wire::clean(&format!("{text}{}", most.unwrap_or_default())))
}

/// Fetches what a provider sells, and remembers the version.
pub(super) async fn shelf(state: &State, provider: &Provider) -> Result<Shelf, Failing> {
    if !provider.signed_catalog {
        let (services, _digest) = Wire::to(state, provider).services().await?;
        let provider = provider.name.clone();
        let document = Value::Null;
        return Ok(Shelf { provider, version: None, title: None, expires_at: None, signed: false, services, document });
    }
    // Between two fetches the provider may publish: once more, and then it is a contradiction.
    match signed(state, provider).await {
        Err(Failing::OtherRevision | Failing::Refused(CatalogRefused::OtherBytes)) => signed(state, provider).await,
        outcome => outcome,
    }
}

async fn signed(state: &State, provider: &Provider) -> Result<Shelf, Failing> {
    let fetch = state.fetch(&provider.base_url)?;
    let mut fetched = Vec::new();
    for path in ["catalog", "catalog.jws", "oauth/jwks"] {
        let url = provider.base_url.join(path).map_err(|_bad| Failing::Status(path.to_owned(), 0))?;
        let answer = fetch.send(Outgoing::get(url)).await?;
        if answer.status != 200 {
            return Err(Failing::Status(answer.url, answer.status));
        }
        fetched.push(answer);
    }
    let [catalog, jws, keys] = fetched.as_slice() else { return Err(Failing::OtherRevision) };
    let (jws, keys): (Value, Value) = (jws.json()?, keys.json()?);
    let checked = check_catalog(&catalog.body, &jws, &keys, provider.issuer(), state.clock.now())?;
    let digest = sha256_name(&catalog.body);
    remember(state, provider, checked.version, &digest)?;
    let (services, said) = Wire::to(state, provider).services().await?;
    if said.is_some_and(|said| said.trim_matches('"') != digest) {
        return Err(Failing::OtherRevision);
    }
    Ok(Shelf {
        provider: provider.name.clone(),
        version: Some(checked.version),
        title: checked.title.map(|title| super::app_wire::clean(&title)),
        expires_at: Some(checked.expires_at),
        signed: true,
        services,
        document: catalog.json()?,
    })
}

/// A version never goes back, and never says two things.
fn remember(state: &State, provider: &Provider, version: u64, digest: &str) -> Result<(), Failing> {
    let mut world = state.world();
    let Some(known) = world.providers.get(&provider.name) else { return Ok(()) };
    if let Some(seen) = &known.seen {
        if version < seen.version {
            return Err(Failing::WentBack { seen: seen.version, now: version });
        }
        if version == seen.version {
            return if digest == seen.digest { Ok(()) } else { Err(Failing::Rewritten(version)) };
        }
    }
    let seen = Some(Seen { version, digest: digest.to_owned() });
    let newer = Provider { seen, ..known.clone() };
    Ok(world.keep_provider(newer)?)
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/catalog", web::get().to(catalog));
}

async fn catalog(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"providers": shelves(&state, None).await}))
}

/// Every provider, or the named one, with its services or the reason why it has none now.
pub(super) async fn shelves(state: &State, only: Option<&str>) -> Vec<Value> {
    let known: Vec<Provider> = state.world().providers.values().cloned().collect();
    let asked = known.iter().filter(|provider| only.is_none_or(|name| provider.name == name));
    let found = join_all(asked.map(|provider| async move { (provider, shelf(state, provider).await) })).await;
    let shown = found.into_iter().map(|(provider, outcome)| match outcome {
        Ok(shelf) => {
            let mut shown = json!(shelf);
            let prices = shelf.services.iter().map(|service| shelf.signed_price(&service.id));
            let listed = shown.get_mut("services").and_then(Value::as_array_mut).into_iter().flatten();
            for (service, price) in listed.zip(prices) {
                if let (Some(members), Some(price)) = (service.as_object_mut(), price) {
                    members.insert("signed_price".to_owned(), json!(price));
                }
            }
            if let Some(members) = shown.as_object_mut() {
                members.insert("status".to_owned(), json!(if shelf.signed { "verified" } else { "unsigned" }));
            }
            shown
        }
        Err(failing) => json!({"provider": provider.name, "status": "failing", "reason": failing.to_string()}),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_price_is_found_by_service_and_plan_and_says_the_most() {
        let document = json!({"services": [{"id": "pg", "plans": [
            {"id": "s", "price": {"kind": "monthly", "amount": "9.00", "currency": "USD", "per": "month"},
             "max_exposure": {"amount": "9.00", "currency": "USD", "per": "month"}},
            {"id": "free", "price": {"kind": "free"}},
            {"id": "m", "price": {"kind": "metered", "currency": "USD", "meters":
                [{"id": "r", "unit": "request", "amount": "0.50", "per": "1000"}]}}]}]});
        let shelf = Shelf {
            provider: "acme".into(),
            version: Some(1),
            title: None,
            expires_at: None,
            signed: true,
            services: Vec::new(),
            document,
        };
        assert_eq!(shelf.signed_price("pg:s").unwrap(), "9.00 USD per month (at most 9.00 USD per month)");
        assert_eq!(shelf.signed_price("pg:m").unwrap(), "0.50 USD per 1000 request");
        assert_eq!(shelf.signed_price("pg:free").unwrap(), "free");
        assert_eq!(shelf.signed_price("other"), None);
    }
}
