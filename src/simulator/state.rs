//! What the orchestrator knows. Everything that changes stands behind one lock, never held over a wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::StartError;
use super::books::Books;
use super::client::ClientSeen;
use super::connection::Connection;
use super::faults::Faults;
use super::issuer::IssuerKeys;
use super::mischief::{CallSeen, Mischief};
use super::notifications::Notice;
use super::registry::{Kept, Member, Provider};
use super::resources::Resource;
use super::store::{Record, Store, StoreError};
use super::v2_keys::{V2Keys, V2Order};
use crate::clock::{Clock, Timestamp};
use crate::fetch::{Fetch, FetchSettings};
use crate::secret::Secret;
use crate::signing::{SigningError, SigningKey};

/// The most calls that are remembered for [`World::calls`].
const CALLS: usize = 1_000;

pub(super) struct State {
    /// Without a trailing slash.
    pub(super) issuer: String,
    /// How the orchestrator calls itself.
    pub(super) name: String,
    /// The audience of a token of which nothing else is said.
    pub(super) client_id: String,
    /// Whether what an operator or a test does needs the operator's token.
    pub(super) guarded: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// One refresh at a time: a refresh token is good once.
    pub(super) refreshing: tokio::sync::Mutex<()>,
    /// Each answer of a provider; a held call waits for it.
    pub(super) answered: tokio::sync::Notify,
    world: Mutex<World>,
}

/// What changes.
pub(super) struct World {
    pub(super) issuer_keys: IssuerKeys,
    pub(super) v2: V2Keys,
    pub(super) books: Books,
    pub(super) faults: Faults,
    pub(super) mischief: Mischief,
    pub(super) providers: BTreeMap<String, Provider>,
    /// By client id.
    pub(super) clients: HashMap<String, ClientSeen>,
    /// By subject.
    pub(super) members: BTreeMap<String, Member>,
    /// By [`Connection::key`].
    pub(super) connections: BTreeMap<String, Connection>,
    /// By the orchestrator's own id.
    pub(super) resources: BTreeMap<String, Resource>,
    /// By `webhook-id`.
    pub(super) notices: BTreeMap<String, Notice>,
    /// The latest last.
    pub(super) calls: VecDeque<CallSeen>,
    pub(super) operator: Kept,
    fetches: HashMap<String, Fetch>,
    store: Store,
}

/// What a state is made of.
pub(super) struct Beginning {
    pub(super) issuer: String,
    pub(super) name: String,
    pub(super) client_id: String,
    pub(super) guarded: bool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
}

impl State {
    /// Everything that the store knows, and new keys where it knows none.
    pub(super) fn new(beginning: Beginning) -> Result<Self, StartError> {
        let Beginning { issuer, name, client_id, guarded, clock, mut store } = beginning;
        let now = clock.now();
        let mut books = Books::restore(&mut store)?;
        let providers: BTreeMap<String, Provider> = store.all("provider")?.into_iter().collect();
        for provider in providers.values() {
            books.cap(&provider.client_id, provider.caps.clone());
        }
        let world = World {
            issuer_keys: issuer_keys(&mut store)?,
            v2: v2_keys(&mut store, now)?,
            books,
            faults: Faults::default(),
            mischief: Mischief::default(),
            providers,
            clients: HashMap::new(),
            members: store.all("member")?.into_iter().collect(),
            connections: store.all("connection")?.into_iter().collect(),
            resources: store.all("resource")?.into_iter().collect(),
            notices: store.all("notice")?.into_iter().collect(),
            calls: VecDeque::new(),
            operator: operator_token(&mut store)?,
            fetches: HashMap::new(),
            store,
        };
        Ok(Self {
            issuer,
            name,
            client_id,
            guarded,
            clock,
            refreshing: tokio::sync::Mutex::new(()),
            answered: tokio::sync::Notify::new(),
            world: Mutex::new(world),
        })
    }

    pub(super) fn settlement_url(&self) -> String {
        format!("{}/settlement", self.issuer)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that may reach the host of `url`.
    pub(super) fn fetch(&self, url: &Url) -> Result<Fetch, reqwest::Error> {
        let host = url.host_str().unwrap_or_default().to_owned();
        if let Some(known) = self.world().fetches.get(&host) {
            return Ok(known.clone());
        }
        let made = loopback_client(&[url])?;
        self.world().fetches.insert(host, made.clone());
        Ok(made)
    }

    /// The key that signs calls now; a new one when the one before has come to its end.
    pub(super) fn v2_key(&self) -> Result<SigningKey, StartError> {
        let now = self.clock.now();
        let mut world = self.world();
        if !world.v2.lasts(now) {
            world.order_v2(V2Order::Rotate, now)?;
        }
        Ok(world.v2.signing().ok_or(SigningError::Key)?.clone())
    }
}

impl World {
    pub(super) fn provider_of(&self, client_id: &str) -> Option<&Provider> {
        self.providers.values().find(|provider| provider.client_id == client_id)
    }

    /// Writes one record.
    pub(super) fn keep(&mut self, kind: &'static str, id: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let record = Record::of(kind, id, value)?;
        self.store.put(&[record])
    }

    pub(super) fn keep_books(&mut self) -> Result<(), StoreError> {
        self.books.keep(&mut self.store)
    }

    pub(super) fn keep_issuer_keys(&mut self) -> Result<(), StoreError> {
        let kept = self.issuer_keys.kept();
        self.keep("key", "issuer", &kept)
    }

    pub(super) fn order_v2(&mut self, order: V2Order, now: Timestamp) -> Result<(), StartError> {
        self.v2.carry_out(order, now)?;
        let kept = self.v2.kept()?;
        Ok(self.keep("key", "v2", &kept)?)
    }

    pub(super) fn keep_provider(&mut self, provider: Provider) -> Result<(), StoreError> {
        self.keep("provider", &provider.name, &provider)?;
        self.books.cap(&provider.client_id, provider.caps.clone());
        self.providers.insert(provider.name.clone(), provider);
        Ok(())
    }

    pub(super) fn keep_member(&mut self, member: Member) -> Result<(), StoreError> {
        self.keep("member", &member.subject, &member)?;
        self.members.insert(member.subject.clone(), member);
        Ok(())
    }

    pub(super) fn keep_connection(&mut self, connection: Connection) -> Result<(), StoreError> {
        let key = connection.key();
        self.keep("connection", &key, &connection)?;
        self.connections.insert(key, connection);
        Ok(())
    }

    pub(super) fn forget_connection(&mut self, key: &str) -> Result<(), StoreError> {
        self.store.forget("connection", key)?;
        self.connections.remove(key);
        Ok(())
    }

    pub(super) fn keep_resource(&mut self, resource: Resource) -> Result<(), StoreError> {
        self.keep("resource", &resource.id, &resource)?;
        self.resources.insert(resource.id.clone(), resource);
        Ok(())
    }

    pub(super) fn forget_resource(&mut self, id: &str) -> Result<(), StoreError> {
        self.store.forget("resource", id)?;
        self.resources.remove(id);
        Ok(())
    }

    pub(super) fn keep_notice(&mut self, notice: Notice) -> Result<(), StoreError> {
        self.keep("notice", &notice.id, &notice)?;
        self.notices.insert(notice.id.clone(), notice);
        Ok(())
    }

    /// Takes a payment token back.
    pub(super) fn revoke(&mut self, jti: &str) -> Result<(), StoreError> {
        self.books.revoke(jti);
        self.keep_books()
    }

    pub(super) fn remember(&mut self, call: CallSeen) {
        if self.calls.len() >= CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}

fn issuer_keys(store: &mut Store) -> Result<IssuerKeys, StartError> {
    let kept = store.all::<serde_json::Value>("key")?.into_iter().find(|(id, _)| id == "issuer");
    if let Some((_, kept)) = kept {
        return Ok(IssuerKeys::restore(serde_json::from_value(kept).map_err(StoreError::from)?)?);
    }
    let keys = IssuerKeys::generate()?;
    store.put(&[Record::of("key", "issuer", &keys.kept())?])?;
    Ok(keys)
}

fn v2_keys(store: &mut Store, now: Timestamp) -> Result<V2Keys, StartError> {
    let kept = store.all::<serde_json::Value>("key")?.into_iter().find(|(id, _)| id == "v2");
    if let Some((_, kept)) = kept {
        return Ok(V2Keys::restore(&kept)?);
    }
    let mut keys = V2Keys::default();
    keys.carry_out(V2Order::Rotate, now)?;
    store.put(&[Record::of("key", "v2", &keys.kept()?)?])?;
    Ok(keys)
}

fn operator_token(store: &mut Store) -> Result<Kept, StartError> {
    if let Some((_, kept)) = store.all("operator")?.into_iter().next() {
        return Ok(kept);
    }
    let made = Kept::from(Secret::generate("op").map_err(|_no_randomness| SigningError::Key)?);
    store.put(&[Record::of("operator", "token", &made)?])?;
    Ok(made)
}

/// A client that may reach this machine and the hosts of `urls` by plain HTTP: the simulator knows no others.
pub(super) fn loopback_client(urls: &[&Url]) -> Result<Fetch, reqwest::Error> {
    let named = urls.iter().filter_map(|url| url.host_str());
    let special_hosts = ["127.0.0.1", "localhost", "[::1]"].into_iter().chain(named).map(str::to_owned).collect();
    Fetch::new(&FetchSettings { special_hosts, timeout: Duration::from_secs(30), max_body: 4 * 1024 * 1024 })
}
