//! What the orchestrator knows. Everything that changes stands behind one lock, never held over a wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::books::Books;
use super::client::ClientSeen;
use super::faults::Faults;
use super::issuer::IssuerKeys;
use super::{SimulatorSettings, StartError};
use crate::clock::Clock;
use crate::fetch::{Fetch, FetchSettings};

pub(super) struct State {
    /// Without a trailing slash.
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) provider_base: Url,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fetch: Fetch,
    world: Mutex<World>,
}

/// What changes.
pub(super) struct World {
    pub(super) issuer_keys: IssuerKeys,
    pub(super) books: Books,
    pub(super) faults: Faults,
    pub(super) client: ClientSeen,
}

impl State {
    pub(super) fn new(settings: SimulatorSettings, issuer: String) -> Result<Self, StartError> {
        let fetch = loopback_client(&[&settings.provider_base])?;
        let world = World {
            issuer_keys: IssuerKeys::generate()?,
            books: Books::default(),
            faults: Faults::default(),
            client: ClientSeen::default(),
        };
        let SimulatorSettings { provider_base, client_id, clock, .. } = settings;
        Ok(Self { issuer, client_id, provider_base, clock, fetch, world: Mutex::new(world) })
    }

    pub(super) fn settlement_url(&self) -> String {
        format!("{}/settlement", self.issuer)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that may reach this machine and the hosts of `urls` by plain HTTP: the simulator knows no others.
pub(super) fn loopback_client(urls: &[&Url]) -> Result<Fetch, reqwest::Error> {
    let named = urls.iter().filter_map(|url| url.host_str());
    let special_hosts = ["127.0.0.1", "localhost", "[::1]"].into_iter().chain(named).map(str::to_owned).collect();
    Fetch::new(&FetchSettings { special_hosts, ..FetchSettings::default() })
}
