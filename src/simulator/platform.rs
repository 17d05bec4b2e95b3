//! The platform of the example provider "Acme Cloud": a metered weather API that really checks its keys.
//!
//! `GET /weather/{city}` answers small, always equal weather. `?requests=N` counts as N requests in one call, so that a
//! demo comes to a cap quickly. Each call is reported to the provider's `/v1/usage` **before** it is answered: what
//! the cap does not allow is not delivered.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::settlement::problem;
use super::state::loopback_client;
use super::{StartError, listen, run};
use crate::clock::Clock;
use crate::fetch::{Fetch, FetchError, Incoming, Outgoing};
use crate::secret::Secret;

/// The most requests that one call may count as.
const MAX_REQUESTS: u64 = 1_000_000;
/// The longest name of a city, in bytes.
const MAX_CITY: usize = 64;
/// The longest body, in bytes; the API takes none.
const MAX_BODY: usize = 1024;

/// What the platform is started with.
pub struct PlatformSettings {
    /// Where usage is reported: the provider's base URL.
    pub provider_base: Url,
    /// What API keys are made with; the static driver has the same.
    pub platform_key: Zeroizing<[u8; 32]>,
    /// The bearer secret of `/v1/usage`.
    pub meter_key: Secret,
    /// Where to listen; must be loopback. Port 0 takes any free port.
    pub bind: SocketAddr,
    /// When a call happened.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for PlatformSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformSettings").field("bind", &self.bind).finish_non_exhaustive()
    }
}

/// The running platform. Dropping it does not stop it: see [`Platform::stop`].
pub struct Platform {
    /// Where it answers, without a trailing slash.
    pub url: String,
    handle: ServerHandle,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("url", &self.url).finish_non_exhaustive()
    }
}

struct Weather {
    url: String,
    usage: Url,
    key: hmac::Key,
    meter_key: Secret,
    clock: Arc<dyn Clock>,
    fetch: Fetch,
}

impl Platform {
    /// Starts the platform on its own listener with one worker. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: PlatformSettings) -> Result<Self, StartError> {
        let (listener, address) = listen(settings.bind)?;
        let url = format!("http://{address}");
        let mut usage = settings.provider_base;
        usage.set_path("/v1/usage");
        let weather = web::Data::new(Weather {
            url: url.clone(),
            fetch: loopback_client(&[&usage])?,
            usage,
            key: hmac::Key::new(hmac::HMAC_SHA256, settings.platform_key.as_slice()),
            meter_key: settings.meter_key,
            clock: settings.clock,
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(weather.clone())
                .app_data(web::PayloadConfig::new(MAX_BODY))
                .route("/weather/{city}", web::get().to(call))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(1).listen(listener);
        let handle = run(server.map_err(|error| StartError::Bind(address, error))?.run());
        Ok(Self { url, handle })
    }

    /// Stops listening; open requests get a second to finish.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }
}

/// The API key of a resource: `wx_{resource}.{mac}`.
#[must_use]
pub fn api_key(platform_key: &[u8; 32], resource: &str) -> Secret {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, platform_key), said(resource).as_bytes());
    Secret::presented(&format!("wx_{resource}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

/// What the key's mac is about: this service and plan, and the resource.
fn said(resource: &str) -> String {
    format!("weather/metered/{resource}")
}

/// Whose key it is, when it is one, and which of that resource's keys. The first says no number; those that replaced it do:
/// `wx_{resource}.{number}.{mac}`. The comparison takes the same time for every mac of the right length.
fn resource_of(key: &hmac::Key, presented: &str) -> Option<(String, i64)> {
    let (resource, rest) = presented.strip_prefix("wx_")?.split_once('.')?;
    let (said, generation, mac) = match rest.split_once('.') {
        None => (said(resource), 0, rest),
        Some((number, mac)) => {
            let generation: i64 = number.parse().ok().filter(|generation| *generation > 0)?;
            // Written in one way only.
            let said = (generation.to_string() == number).then(|| format!("{}/{generation}", said(resource)))?;
            (said, generation, mac)
        }
    };
    let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
    hmac::verify(key, said.as_bytes(), &mac).ok()?;
    Some((resource.to_owned(), generation))
}

#[derive(Deserialize)]
struct Batch {
    #[serde(default = "one")]
    requests: u64,
}

fn one() -> u64 {
    1
}

async fn call(weather: web::Data<Weather>, city: web::Path<String>, request: HttpRequest) -> HttpResponse {
    let presented = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let presented = presented.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
    let Some((resource, generation)) = resource_of(&weather.key, presented) else {
        return unknown_key("Send the API key of your resource as a bearer token.");
    };
    let batch = web::Query::<Batch>::from_query(request.query_string()).map(|batch| batch.requests);
    let Some(requests) = batch.ok().filter(|requests| (1..=MAX_REQUESTS).contains(requests)) else {
        return problem(400, "requests_invalid", "`requests` is a number from 1 to 1000000.");
    };
    if city.len() > MAX_CITY {
        return problem(400, "city_invalid", "The name of a city has at most 64 bytes.");
    }
    match weather.report((&resource, generation), requests).await {
        Ok(answer) if answer.status == 403 => unknown_key("This API key was replaced by another one."),
        Ok(answer) if answer.status == 200 => HttpResponse::Ok().json(forecast(&city, requests)),
        Ok(answer) if answer.status == 402 => pass_on(&answer),
        Ok(_) | Err(_) => {
            let mut refusal =
                problem(503, "metering_unavailable", "The call could not be metered and was not answered.");
            let later = actix_web::http::header::HeaderValue::from_static("1");
            refusal.headers_mut().insert(actix_web::http::header::RETRY_AFTER, later);
            refusal
        }
    }
}

fn unknown_key(why: &str) -> HttpResponse {
    let mut refusal = problem(401, "key_invalid", why);
    let challenge = actix_web::http::header::HeaderValue::from_static("Bearer realm=\"weather\"");
    refusal.headers_mut().insert(actix_web::http::header::WWW_AUTHENTICATE, challenge);
    refusal
}

impl Weather {
    /// Tells the provider of one call. A lost answer is asked for once more under the same event id.
    async fn report(&self, (resource, generation): (&str, i64), requests: u64) -> Result<Incoming, FetchError> {
        let id = Secret::generate("call").map(|made| made.expose().to_owned()).unwrap_or_default();
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("{}/weather", self.url),
            "type": "portreeve.usage",
            "subject": resource,
            "time": self.clock.now(),
            "data": {"meter": "requests", "quantity": requests.to_string(), "generation": generation},
        });
        let outgoing =
            Outgoing::post(self.usage.clone(), "application/cloudevents+json", event.to_string().into_bytes())
                .bearer(self.meter_key.expose());
        match self.fetch.send(outgoing.clone()).await {
            Err(FetchError::AnswerLost(..)) => self.fetch.send(outgoing).await,
            other => other,
        }
    }
}

/// The provider's refusal, word for word: the agent can act on it.
fn pass_on(answer: &Incoming) -> HttpResponse {
    let content_type = answer.header("content-type").unwrap_or("application/problem+json").to_owned();
    HttpResponse::PaymentRequired().content_type(content_type).body(answer.body.clone())
}

/// The same for the same city, for ever.
fn forecast(city: &str, requests: u64) -> serde_json::Value {
    let hash = digest::digest(&digest::SHA256, city.to_lowercase().as_bytes());
    let byte = |at: usize| hash.as_ref().get(at).copied().unwrap_or(0);
    let sky = match byte(0) % 4 {
        0 => "clear",
        1 => "cloudy",
        2 => "rain",
        _ => "fog",
    };
    let temperature = i16::from(byte(1) % 40) - 8;
    json!({"city": city, "sky": sky, "temperature_c": temperature, "requests": requests})
}

#[cfg(test)]
mod tests;
