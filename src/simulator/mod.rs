//! The other side: a complete orchestrator on its own listener (OIDC issuer, payment-token issuer, settlement), the
//! platform of the example provider, and an agent that walks the provider's real HTTP surface.
//!
//! Promises: it verifies what it is told with its own code, keeps books that a test can compare with the provider's
//! ledger, and can be told to fail in the ways that money systems fail. Loopback only, in memory only.
//! Refuses: to listen anywhere else, and to share a line of the provider's verification.

mod agent;
mod books;
mod catalog_check;
mod client;
pub mod conformance;
mod discovery_check;
mod faults;
mod issuer;
mod platform;
mod print;
mod settlement;
mod state;
mod tokens;
mod walk;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::signing::SigningError;

pub use agent::{Party, Step};
pub use books::{Authorization, AuthorizationStatus, BookEntry, BooksSnapshot, Totals};
pub use catalog_check::{CatalogRefused, CheckedCatalog, check_catalog};
pub use faults::{Fault, FaultOrder, JwksState, NextFault, SettlementVerb};
pub use platform::{Platform, PlatformSettings, api_key};
pub use print::{Printer, Style};
pub use tokens::{IdTokenSpec, PaymentTokenSpec, User};
pub use walk::{Links, WalkOptions, WalkReport, walk};

use state::State;

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
}

/// A running orchestrator. Dropping it does not stop it: see [`Simulator::stop`].
pub struct Simulator {
    /// The OIDC issuer, without a trailing slash.
    pub issuer_url: String,
    /// Where payment tokens are settled, without a trailing slash.
    pub settlement_url: String,
    handle: ServerHandle,
    state: Arc<State>,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("issuer_url", &self.issuer_url).finish_non_exhaustive()
    }
}

impl Simulator {
    /// Starts the orchestrator on its own listener with one worker. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: SimulatorSettings) -> Result<Self, StartError> {
        let (listener, address) = listen(settings.bind)?;
        let state = Arc::new(State::new(settings, format!("http://{address}"))?);
        let data = web::Data::from(state.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .app_data(web::PayloadConfig::new(settlement::MAX_BODY))
                .configure(issuer::routes)
                .configure(settlement::routes)
                .configure(faults::routes)
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(1).listen(listener);
        let handle = run(server.map_err(|error| StartError::Bind(address, error))?.run());
        Ok(Self { issuer_url: state.issuer.clone(), settlement_url: state.settlement_url(), handle, state })
    }

    /// Stops listening; open requests get a second to finish.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
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
    /// When no key can be made.
    pub fn rotate_keys(&self) -> Result<(), SigningError> {
        self.state.world().issuer_keys.rotate()
    }

    /// Publishes only the keys that sign now. Tokens of older keys are no longer ours.
    pub fn forget_old_keys(&self) {
        self.state.world().issuer_keys.forget_old();
    }

    /// Refuses every further authorization on the payment token with this `jti`.
    pub fn revoke_payment_token(&self, jti: &str) {
        self.state.world().books.revoke(jti);
    }

    /// Carries out an order to fail; the same as `POST /faults`.
    ///
    /// # Errors
    /// When keys are to be rotated and none can be made.
    pub fn order(&self, order: FaultOrder) -> Result<(), SigningError> {
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
