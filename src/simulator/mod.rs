//! The other side: a complete orchestrator on its own listener (users, OIDC issuer, payment tokens and their settlement, an
//! aggregated catalog, the provisioning wire), the platform of the example provider, and an agent that walks the provider's
//! real HTTP surface.
//!
//! Promises: it verifies what it is told with its own code, keeps books that a test can compare with the provider's
//! ledger, and can be told to fail in the ways that money systems fail. With a file it forgets nothing over a restart.
//! Refuses: to listen beyond this machine, and to share a line of the provider's verification.

mod agent;
mod agent_api;
mod app_wire;
mod books;
mod catalog_check;
mod client;
pub mod conformance;
mod connection;
mod discovery_check;
mod env_file;
mod faults;
mod issuer;
mod mischief;
mod notifications;
mod operator;
mod platform;
mod preflight;
mod print;
mod refusal;
mod registry;
mod resources;
mod settlement;
mod shelf;
mod state;
mod store;
mod tokens;
mod v2_keys;
mod walk;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use serde_json::Value;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::signing::SigningError;

pub use agent::{Party, Step};
pub use app_wire::{
    ParentOption, Price, Pricing, ProviderFailure, Scope, Service, Update, stripe_signature, stripe_signature_v2,
};
pub use books::{Authorization, AuthorizationStatus, BookEntry, BooksSnapshot, Totals};
pub use catalog_check::{CatalogRefused, CheckedCatalog, check_catalog};
pub use env_file::{Variable, env_text};
pub use faults::{Fault, FaultOrder, JwksState, NextFault, SettlementVerb};
pub use mischief::{CallOrder, CallSeen, Verb, Wrong};
pub use platform::{Platform, PlatformSettings, api_key};
pub use print::{Printer, Style};
pub use registry::{BadProvider, Cap, Kept, NewProvider};
pub use store::StoreError;
pub use tokens::{IdTokenSpec, PaymentTokenSpec, User};
pub use v2_keys::V2Order;
pub use walk::{Links, WalkOptions, WalkReport, WireOptions, walk};

use registry::Provider;
use state::{Beginning, State};
use store::Store;

/// What the simulator is started with.
#[derive(Clone)]
pub struct SimulatorSettings {
    /// Where the provider answers, e.g. `http://127.0.0.1:8080/`. Its keys are fetched from there.
    pub provider_base: Url,
    /// The provider's client id at this orchestrator: the `aud` of every token.
    pub client_id: String,
    /// Where to listen; must be loopback. Port 0 takes any free port.
    pub bind: SocketAddr,
    /// What time it is at the orchestrator.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for SimulatorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatorSettings")
            .field("provider_base", &self.provider_base.as_str())
            .field("client_id", &self.client_id)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

/// What an orchestrator that anybody runs is started with.
#[derive(Clone)]
pub struct OrchestratorSettings {
    /// How it calls itself.
    pub name: String,
    /// Where to listen; must be loopback. Port 0 takes any free port.
    pub bind: SocketAddr,
    /// The address that the outside uses, without a trailing slash, when a proxy stands in front. It is the issuer.
    pub issuer: Option<String>,
    /// The SQLite file; nothing is kept without one.
    pub data: Option<PathBuf>,
    /// What time it is at the orchestrator.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for OrchestratorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrchestratorSettings")
            .field("name", &self.name)
            .field("bind", &self.bind)
            .field("issuer", &self.issuer)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// Why a listener of the simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It was told to listen beyond this machine.
    #[error("the simulator listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("could not listen on {0}")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// The outgoing client could not be built.
    #[error("the outgoing client could not be built")]
    Client(#[from] reqwest::Error),
    /// A key could not be made.
    #[error("a key could not be made")]
    Key(#[from] SigningError),
    /// The file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider cannot be registered.
    #[error(transparent)]
    Provider(#[from] BadProvider),
}

/// A running orchestrator. Dropping it does not stop it: see [`Simulator::stop`].
pub struct Simulator {
    /// The OIDC issuer, without a trailing slash.
    pub issuer_url: String,
    /// Where payment tokens are settled, without a trailing slash.
    pub settlement_url: String,
    handle: ServerHandle,
    state: Arc<State>,
    told: Value,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("issuer_url", &self.issuer_url).finish_non_exhaustive()
    }
}

impl Simulator {
    /// Starts an orchestrator in memory that knows one provider, for the demo and for tests: nothing of it is guarded, and
    /// no cap but that of its payment tokens is kept. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: SimulatorSettings) -> Result<Self, StartError> {
        let SimulatorSettings { provider_base, client_id, bind, clock } = settings;
        let (listener, address) = listen(bind)?;
        let mut new = NewProvider::new("provider", provider_base);
        new.client_id = Some(client_id.clone());
        let (issuer, name) = (format!("http://{address}"), "Harbour".to_owned());
        let store = Store::nowhere();
        let state = State::new(Beginning { issuer, name, client_id, guarded: false, clock, store })?;
        let (told, _is_new) = operator::introduce(&state, new)?;
        let known = state.world().providers.values().next().cloned();
        if let Some(provider) = known {
            state.world().keep_provider(Provider { caps: None, ..provider })?;
        }
        Self::serve(Arc::new(state), told, listener, address)
    }

    /// Starts an orchestrator that keeps what it knows in a file, asks for the operator's token, and lets each provider
    /// take 100 USD per user and month unless it is told otherwise. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open(settings: OrchestratorSettings) -> Result<Self, StartError> {
        let OrchestratorSettings { name, bind, issuer, data, clock } = settings;
        let (listener, address) = listen(bind)?;
        let store = data.map_or_else(|| Ok(Store::nowhere()), |file| Store::open(&file))?;
        let issuer = issuer.unwrap_or_else(|| format!("http://{address}"));
        let client_id = String::new();
        let state = State::new(Beginning { issuer, name, client_id, guarded: true, clock, store })?;
        Self::serve(Arc::new(state), Value::Null, listener, address)
    }

    fn serve(state: Arc<State>, told: Value, listener: TcpListener, address: SocketAddr) -> Result<Self, StartError> {
        let data = web::Data::from(state.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(settlement::MAX_BODY))
                .app_data(
                    web::JsonConfig::default().limit(settlement::MAX_BODY).error_handler(|error, _| malformed(error)),
                )
                .app_data(web::QueryConfig::default().error_handler(|error, _| malformed(error)))
                .configure(issuer::routes)
                .configure(settlement::routes)
                .configure(faults::routes)
                .configure(v2_keys::routes)
                .configure(operator::routes)
                .configure(shelf::routes)
                .configure(connection::routes)
                .configure(notifications::routes)
                .configure(agent_api::routes)
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(1).listen(listener);
        let handle = run(server.map_err(|error| StartError::Bind(address, error))?.run());
        Ok(Self { issuer_url: state.issuer.clone(), settlement_url: state.settlement_url(), handle, state, told })
    }

    /// Stops listening; open requests get a second to finish.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }

    /// What the provider of [`Simulator::start`] must be told, secrets included, as `POST /providers` answers; `null` after
    /// [`Simulator::open`].
    #[must_use]
    pub fn introduction(&self) -> &Value {
        &self.told
    }

    /// Enrols `user` under her own subject, so that ID tokens about her and calls for her mean the same person; gives the
    /// token of her agent.
    ///
    /// # Errors
    /// Says why not.
    pub fn enrol(&self, user: &User) -> Result<Kept, String> {
        let new = operator::NewUser {
            email: user.email.clone(),
            subject: Some(user.subject.clone()),
            email_verified: user.email_verified,
            name: None,
            phone: None,
            country: None,
            tenant: user.tenant.clone(),
        };
        operator::begin_user(&self.state, new).map(|(_member, token)| token.into())
    }

    /// The token of the operator's API.
    #[must_use]
    pub fn operator_token(&self) -> Kept {
        self.state.world().operator.clone()
    }

    /// Whether anybody is enrolled.
    #[must_use]
    pub fn has_users(&self) -> bool {
        !self.state.world().members.is_empty()
    }

    /// Enrols a user with a verified e-mail address; gives her subject and the token of her agent.
    ///
    /// # Errors
    /// Says why not.
    pub fn add_user(&self, email: &str, name: Option<&str>) -> Result<(String, Kept), String> {
        let new = operator::NewUser {
            email: email.to_owned(),
            subject: None,
            email_verified: true,
            name: name.map(str::to_owned),
            phone: None,
            country: None,
            tenant: None,
        };
        operator::begin_user(&self.state, new).map(|(member, token)| (member.subject, token.into()))
    }

    /// Registers a provider; gives what the provider must be told, as `POST /providers` does.
    ///
    /// # Errors
    /// See [`BadProvider`].
    pub fn add_provider(&self, new: NewProvider) -> Result<Value, BadProvider> {
        operator::introduce(&self.state, new).map(|(told, _is_new)| told)
    }

    /// Whether a provider of this name is registered.
    #[must_use]
    pub fn knows_provider(&self, name: &str) -> bool {
        self.state.world().providers.contains_key(name)
    }

    /// The latest calls to providers, oldest first; the same as `GET /test/calls`.
    #[must_use]
    pub fn calls(&self) -> Vec<CallSeen> {
        self.state.world().calls.iter().cloned().collect()
    }

    /// An ID token as `spec` says, right or wrong.
    ///
    /// # Errors
    /// When signing fails.
    pub fn mint_id_token(&self, spec: &IdTokenSpec) -> Result<String, SigningError> {
        tokens::mint_id_token(&self.state, spec)
    }

    /// A payment token as `spec` says, right or wrong.
    ///
    /// # Errors
    /// When signing fails.
    pub fn mint_payment_token(&self, spec: &PaymentTokenSpec) -> Result<String, SigningError> {
        tokens::mint_payment_token(&self.state, spec)
    }

    /// Signs with new keys from now on. The old ones stay published until [`Simulator::forget_old_keys`].
    ///
    /// # Errors
    /// When no key can be made or kept.
    pub fn rotate_keys(&self) -> Result<(), StartError> {
        self.order(FaultOrder { rotate_keys: true, ..FaultOrder::default() })
    }

    /// Publishes only the keys that sign now. Tokens of older keys are no longer ours.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub fn forget_old_keys(&self) -> Result<(), StartError> {
        self.order(FaultOrder { forget_old_keys: true, ..FaultOrder::default() })
    }

    /// Refuses every further authorization on the payment token with this `jti`.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub fn revoke_payment_token(&self, jti: &str) -> Result<(), StoreError> {
        self.state.world().revoke(jti)
    }

    /// Carries out an order to fail; the same as `POST /test/faults`.
    ///
    /// # Errors
    /// When keys are to be rotated and none can be made or kept.
    pub fn order(&self, order: FaultOrder) -> Result<(), StartError> {
        faults::carry_out(&self.state, order)
    }

    /// The issuer's side of the money; the same as `GET /books`.
    #[must_use]
    pub fn books(&self) -> BooksSnapshot {
        self.state.world().books.snapshot(self.now())
    }

    /// What time it is at the orchestrator.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state.clock.now()
    }
}

/// What cannot be read is refused in the agent's envelope, which says what a problem document says too.
fn malformed(error: impl fmt::Display) -> actix_web::Error {
    let refusal = refusal::Refusal::new(400, "invalid_request", error.to_string());
    actix_web::error::InternalError::from_response("malformed", refusal.answer()).into()
}

/// Takes the address, and only on loopback.
fn listen(bind: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    if !bind.ip().is_loopback() {
        return Err(StartError::NotLoopback(bind));
    }
    let failed = |error| StartError::Bind(bind, error);
    let listener = TcpListener::bind(bind).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Lets a bound server run on the present runtime.
fn run(server: actix_web::dev::Server) -> ServerHandle {
    let handle = server.handle();
    tokio::spawn(server);
    handle
}
