//! Everything that a handler may reach, built once at start.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::attestation::request_signature::{PublicKeyCache, SecretBook};
use crate::authorization::{
    ClientDocuments, Confirmation, DeviceFlow, FamiliarPeople, Nonces, Patience, RedirectWithCode, Revocations,
    RiskyScope, StepUp, Successors,
};
use crate::catalog::{self, Catalog, DriverKind, Edition, ServiceId, Version};
use crate::clock::{Clock, Timestamp};
use crate::config::{ClaimConfig, Config, LimitsConfig, OAuthConfig, PasskeyProof, WireConfig};
use crate::db::{Db, DbError, DbSettings};
use crate::fetch::{Fetch, FetchSettings};
use crate::idempotency;
use crate::login::{NotMine, PostOffice, RelyingParty, SafetyLinks, Upstream};
use crate::mail::{Mailer, MailerError};
use crate::orchestrator::{Courier, KeyCache};
use crate::payment::cashier::Cashier;
use crate::payment::settlement::Settlement;
use crate::resource::drivers::{Driver, StaticDriver, StaticDriverError};
use crate::resource::{Binding, Desk, Drivers, Unclaimed};
use crate::secret::{Secret, SecretHash};
use crate::signing::{self, KeyOrigin, KeyRing, LoadKeysError, MasterKey, SealError, Sealer};

/// The lane of work that belongs to no account.
pub const HOUSE: &str = "house";

/// How many revisions are kept at hand besides the one that is published now.
const OLDER_EDITIONS: usize = 64;

/// The running provider.
pub struct App {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The database.
    pub db: Db,
    /// Our signing keys.
    pub ring: Arc<KeyRing>,
    /// The keys of orchestrators.
    pub keys: KeyCache,
    /// The address that the outside uses, without a trailing slash; also our issuer.
    pub base_url: String,
    /// `{base_url}/v1`: what access tokens are for.
    pub audience: String,
    /// `{base_url}/provisioning`: what access tokens of the provisioning wire are for.
    pub wire_audience: String,
    /// How orchestrators hear that a human answered.
    pub confirmation: Arc<dyn Confirmation>,
    /// Outgoing calls.
    pub fetch: Fetch,
    /// What stands at addresses of clients.
    pub client_documents: ClientDocuments,
    /// What buying and keeping resources needs.
    pub desk: Desk,
    /// Seals answers that are kept for retries.
    pub answer_sealer: Arc<Sealer>,
    /// Seals what is known about persons.
    pub person_sealer: Arc<Sealer>,
    /// Seals the secrets of the provisioning wire.
    pub wire_sealer: Arc<Sealer>,
    /// The secrets with which orchestrators sign.
    pub wire_secrets: SecretBook,
    /// The keys of their second signature.
    pub wire_keys: PublicKeyCache,
    /// What tells orchestrators of events.
    pub courier: Courier,
    /// How the provisioning wire is set up.
    pub wire: WireConfig,
    /// How often anybody may do what.
    pub limits: LimitsConfig,
    /// Whether a proxy in front says who calls.
    pub behind_tls_proxy: bool,
    /// What our authorization server lets in.
    pub oauth: OAuthConfig,
    /// The device flow, where it is on.
    pub device: Option<DeviceFlow>,
    /// Whom this process exchanged assertions about.
    pub familiar: FamiliarPeople,
    /// Makes of refresh tokens their successors.
    pub successors: Successors,
    /// Which tokens ended before their time, as this process remembers it.
    pub revocations: Revocations,
    /// What DPoP proofs must carry.
    pub nonces: Nonces,
    /// How fresh and strong the log-in must be before what cannot be taken back.
    pub step_up: StepUp,
    /// What sends the mails of log-ins.
    pub post: PostOffice,
    /// Seals what steps of log-ins know.
    pub log_in_sealer: Arc<Sealer>,
    /// The provider's own OpenID provider, and what people call it.
    pub upstream: Option<(Upstream, String)>,
    /// When a new passkey is the second proof of a claim.
    pub passkey_proof: PasskeyProof,
    /// What passkeys are for; `None`: our address has no host name.
    pub relying_party: Option<RelyingParty>,
    /// Of the secret with which the provider's platform reports usage.
    pub meter_key: SecretHash,
    folder: PathBuf,
    files: Arc<RwLock<Arc<Catalog>>>,
    edition: RwLock<Arc<Edition>>,
    older: RwLock<VecDeque<Arc<Edition>>>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file with a secret.
    #[error("cannot read {}: run `portreeve init` first", .0.display())]
    SecretFile(std::path::PathBuf, #[source] std::io::Error),
    /// A key is not what it should be.
    #[error("`{0}` must be 43 characters of base64url (32 bytes)")]
    Key(&'static str),
    /// A secret is too short to be one.
    #[error("`usage.meter_key` must have at least 32 characters")]
    MeterKey,
    /// A class that no challenge could carry.
    #[error("each of `step_up.acr_values` is visible ASCII without `\"`, `\\` and spaces")]
    AcrValues,
    /// A scope that no device gets.
    #[error("`oauth.device_scopes`: {0}")]
    DeviceScopes(#[from] RiskyScope),
    /// What listens on a server's own loopback addresses is not for strangers to name.
    #[error(
        "`wire.generic_cimd_loopback` is for development on one machine, and `server.base_url` is a public address: with \
         both, strangers could have us call what listens on this machine. Set it to false"
    )]
    LoopbackDocuments,
    /// Outgoing mail.
    #[error(transparent)]
    Mailer(#[from] MailerError),
    /// The provider's own OpenID provider.
    #[error("`login.oidc.issuer` must be the issuer's https address, and `login.oidc.client_id` our id there")]
    Upstream,
    /// Passkeys.
    #[error("passkeys cannot be set up for this address: {0}")]
    Passkeys(String),
    /// Sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Signing keys.
    #[error(transparent)]
    Keys(#[from] LoadKeysError),
    /// The catalog's files have mistakes.
    #[error("the catalog has mistakes:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Catalog(Vec<catalog::Mistake>),
    /// The catalog cannot be published.
    #[error(transparent)]
    Publish(#[from] catalog::PublishError),
    /// The published catalog cannot be read.
    #[error(transparent)]
    Edition(#[from] catalog::LoadError),
    /// The `static` driver.
    #[error(transparent)]
    Driver(#[from] StaticDriverError),
    /// A driver cannot make a service as the catalog's files want it.
    #[error("the catalog's service `{0}` cannot be made: {1}")]
    Binding(ServiceId, String),
    /// The outgoing client.
    #[error("the outgoing client cannot be set up")]
    Fetch(#[from] reqwest::Error),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl App {
    /// Whether a new passkey is the second proof of a claim here.
    #[must_use]
    pub fn claims_by_passkey(&self) -> bool {
        let wanted = match self.passkey_proof {
            PasskeyProof::Fallback => self.upstream.is_none(),
            PasskeyProof::Always => true,
            PasskeyProof::Never => false,
        };
        wanted && self.relying_party.is_some()
    }

    /// Opens the database and brings it up to date, loads or makes the keys, reads the catalog, and publishes it when
    /// nothing was published before.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: &Config,
        base_url: &str,
        origin: KeyOrigin,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        // Whoever has not begun lacks the keys as well: that message says how to begin.
        check(config)?;
        check_address(config, base_url)?;
        let catalog = Arc::new(catalog::validate(&config.catalog.folder).map_err(StartError::Catalog)?);
        let master = master_key(config)?;
        let drivers = drivers(config, &master)?;
        let db = open_db(config)?;
        db.migrate().await?;
        let now = clock.now();
        let ring = Arc::new(ring(&db, &master, origin, now).await?);
        check_bindings(&catalog, &drivers)?;
        let edition = match db.read(catalog::latest).await? {
            // Another address is another issuer: what was published under the old one convinces nobody.
            Some(edition) if now < edition.expires_at && edition.document.iss == base_url => edition,
            _ => publish(&db, &ring, &catalog, base_url, now).await?,
        };
        let fetch = outgoing(config)?;
        let client_documents = ClientDocuments::new(&outgoing_settings(config), config.wire.generic_cimd_loopback)?;
        // The keys of the second signature may take ten seconds.
        let patient = Fetch::new(&FetchSettings {
            special_hosts: config.outgoing.special_hosts.clone(),
            timeout: Duration::from_secs(10),
            ..FetchSettings::default()
        })?;
        let wire_sealer = Arc::new(wire_sealer(&master)?);
        let files = Arc::new(RwLock::new(catalog));
        let mut desk = desk(&master, &db, &ring, &fetch, drivers, &files)?;
        desk.unclaimed = unclaimed(&config.claim);
        let courier = Courier {
            db: db.clone(),
            fetch: fetch.clone(),
            sealer: wire_sealer.clone(),
            ring: ring.clone(),
            issuer: base_url.to_owned(),
        };
        let log_in_sealer = Arc::new(Sealer::new(&master, "log-ins")?);
        let provider = edition.document.provider.name.to_string();
        let post = PostOffice {
            db: db.clone(),
            mailer: mailer(config, base_url, &provider)?,
            safety: Arc::new(SafetyLinks::new(&*master.derive("safety links")?)),
            sealer: log_in_sealer.clone(),
            base_url: base_url.to_owned(),
            provider: provider.clone(),
            not_mine: NotMine::new(&*master.derive("not mine")?),
        };
        Ok(Self {
            clock,
            db,
            keys: KeyCache::new(fetch.clone()),
            ring,
            base_url: base_url.to_owned(),
            audience: format!("{base_url}/v1"),
            wire_audience: format!("{base_url}/provisioning"),
            confirmation: Arc::new(RedirectWithCode),
            desk,
            answer_sealer: Arc::new(Sealer::new(&master, "answers")?),
            person_sealer: Arc::new(person_sealer(&master)?),
            wire_secrets: SecretBook::new(wire_sealer.clone()),
            wire_keys: PublicKeyCache::new(patient, wire_sealer.clone()),
            wire_sealer,
            courier,
            wire: config.wire.clone(),
            limits: config.limits.clone(),
            behind_tls_proxy: config.server.behind_tls_proxy,
            oauth: config.oauth.clone(),
            device: device(config, &master)?,
            client_documents,
            fetch,
            familiar: FamiliarPeople::default(),
            successors: Successors::new(&*master.derive("refresh tokens")?),
            revocations: Revocations::default(),
            nonces: Nonces::new(&*master.derive("dpop nonces")?),
            step_up: step_up(config)?,
            upstream: upstream(config, base_url, &provider)?,
            relying_party: RelyingParty::new(base_url, &provider)
                .map_err(|error| StartError::Passkeys(error.to_string()))?,
            passkey_proof: config.claim.passkey,
            post,
            log_in_sealer,
            meter_key: meter_key(config)?.hash(),
            folder: config.catalog.folder.clone(),
            files,
            edition: RwLock::new(Arc::new(edition)),
            older: RwLock::new(VecDeque::new()),
        })
    }

    /// The catalog that is published now.
    #[must_use]
    pub fn edition(&self) -> Arc<Edition> {
        self.edition.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A revision that was published, now or before. Revisions never change, so the last ones asked for are kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn edition_of(&self, version: Version) -> Result<Option<Arc<Edition>>, catalog::LoadError> {
        if let Some(known) = self.known(|edition| edition.version == version) {
            return Ok(Some(known));
        }
        let found = self.db.read(move |conn| catalog::revision(conn, version)).await?;
        Ok(found.map(|edition| self.remember(edition)))
    }

    /// The revision with this digest, if we published it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn edition_with(&self, digest: &str) -> Result<Option<Arc<Edition>>, catalog::LoadError> {
        if let Some(known) = self.known(|edition| edition.digest == digest) {
            return Ok(Some(known));
        }
        let digest = digest.to_owned();
        let found = self.db.read(move |conn| catalog::by_digest(conn, &digest)).await?;
        Ok(found.map(|edition| self.remember(edition)))
    }

    fn known(&self, wanted: impl Fn(&Edition) -> bool) -> Option<Arc<Edition>> {
        let current = self.edition();
        if wanted(&current) {
            return Some(current);
        }
        self.older.read().unwrap_or_else(PoisonError::into_inner).iter().find(|edition| wanted(edition)).cloned()
    }

    fn remember(&self, edition: Edition) -> Arc<Edition> {
        let edition = Arc::new(edition);
        let mut older = self.older.write().unwrap_or_else(PoisonError::into_inner);
        if older.len() >= OLDER_EDITIONS {
            older.pop_front();
        }
        older.push_back(edition.clone());
        edition
    }

    /// How often a client may ask a human.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience {
            prompts_per_day: self.oauth.prompts_per_day,
            wait: TimeDelta::hours(self.oauth.denied_wait_hours.into()),
        }
    }

    /// The provider's name, as it is published.
    #[must_use]
    pub fn provider_name(&self) -> String {
        self.edition().document.provider.name.to_string()
    }

    /// The catalog as its files say it.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up a newer edition, published here or by another process, and reads the files again: they say how what is
    /// sold is made. Files with mistakes are logged, and what was read before stays.
    pub fn take_up(&self, edition: Edition) {
        match catalog::validate(&self.folder) {
            Ok(read) => match check_bindings(&read, &self.desk.drivers) {
                Ok(()) => *self.files.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read),
                Err(error) => {
                    tracing::error!(error = %error, "the catalog's files were not taken up; kept the old ones");
                }
            },
            Err(mistakes) => {
                tracing::error!(mistakes = mistakes.len(), "the catalog's files have mistakes; kept the old ones");
            }
        }
        let mut current = self.edition.write().unwrap_or_else(PoisonError::into_inner);
        if current.version < edition.version {
            *current = Arc::new(edition);
        }
    }
}

/// Whether keys, secrets and rules are there and have their form.
///
/// # Errors
/// The first that has not.
pub fn check(config: &Config) -> Result<(), StartError> {
    let master = master_key(config)?;
    meter_key(config)?;
    step_up(config)?;
    device(config, &master)?;
    upstream(config, "https://localhost", "")?;
    // The folder of mails is made when there are some.
    Mailer::new(&config.mail.smtp_url, None, ("", &sender(config, "https://localhost")))?;
    drivers(config, &master).map(drop)
}

/// Whether the settings are right for our address for the outside.
///
/// # Errors
/// [`StartError::LoopbackDocuments`].
pub fn check_address(config: &Config, base_url: &str) -> Result<(), StartError> {
    let here = base_url.parse().is_ok_and(|url| is_loopback(&url));
    if config.wire.generic_cimd_loopback && !here { Err(StartError::LoopbackDocuments) } else { Ok(()) }
}

/// Whether an address is that of this machine alone.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Opens the configured database, without bringing it up to date.
///
/// # Errors
/// When it cannot be reached.
pub fn open_db(config: &Config) -> Result<Db, DbError> {
    Db::open(&DbSettings {
        url: config.database.url.clone(),
        readers: config.database.readers,
        lanes: config.database.lanes,
        queue: config.database.queue,
    })
}

/// The keys, made on the first start. Two processes that start at once make them once: the slower one loads them.
async fn ring(db: &Db, master: &MasterKey, origin: KeyOrigin, now: Timestamp) -> Result<KeyRing, StartError> {
    let mut tries = 3;
    loop {
        let master = master.clone();
        match db.write(HOUSE, move |conn| signing::load_or_create(conn, &master, origin, now)).await {
            Err(LoadKeysError::Db(error)) if idempotency::lost_race(&error) && tries > 0 => tries -= 1,
            other => return Ok(other?),
        }
    }
}

async fn publish(
    db: &Db,
    ring: &KeyRing,
    catalog: &Catalog,
    base_url: &str,
    now: Timestamp,
) -> Result<Edition, StartError> {
    Ok(match catalog::publish(db, ring, catalog, base_url, now).await? {
        catalog::Published::New(edition) | catalog::Published::Unchanged(edition) => edition,
    })
}

/// The provider's platforms, as they are configured.
///
/// # Errors
/// When a driver's configuration is wrong.
pub fn drivers(config: &Config, master: &MasterKey) -> Result<Drivers, StartError> {
    let driver: Arc<dyn Driver> = Arc::new(static_driver(config, master)?);
    Ok(Arc::new(HashMap::from([(word(DriverKind::Static).to_owned(), driver)])))
}

/// Whether the drivers can make everything that the catalog sells: whoever publishes hears it, not whoever buys.
///
/// # Errors
/// The first service that cannot be made, and the key that is wrong.
pub fn check_bindings(catalog: &Catalog, drivers: &Drivers) -> Result<(), StartError> {
    for (service, driver) in catalog.drivers() {
        let checked = match drivers.get(word(driver.kind)) {
            Some(known) => known.check(&driver.settings),
            None => Err(format!("there is no driver `{}`", word(driver.kind))),
        };
        checked.map_err(|why| StartError::Binding(service.clone(), why))?;
    }
    Ok(())
}

fn word(kind: DriverKind) -> &'static str {
    match kind {
        DriverKind::Static => "static",
    }
}

/// What sends mail, as configured.
fn mailer(config: &Config, base_url: &str, provider: &str) -> Result<Mailer, MailerError> {
    Mailer::new(&config.mail.smtp_url, config.mail.folder.as_deref(), (provider, &sender(config, base_url)))
}

/// The address that mails come from.
fn sender(config: &Config, base_url: &str) -> String {
    let host = Url::parse(base_url).ok().and_then(|url| url.domain().map(str::to_owned));
    match config.mail.from.as_str() {
        "" => format!("no-reply@{}", host.as_deref().unwrap_or("localhost")),
        from => from.to_owned(),
    }
}

/// The provider's own OpenID provider, as configured.
fn upstream(config: &Config, base_url: &str, provider: &str) -> Result<Option<(Upstream, String)>, StartError> {
    let oidc = &config.login.oidc;
    if oidc.issuer.is_empty() {
        return Ok(None);
    }
    let client = (oidc.client_id.as_str(), oidc.client_secret.clone());
    if oidc.client_id.is_empty() {
        return Err(StartError::Upstream);
    }
    let back = format!("{base_url}/login/upstream/back");
    let upstream = Upstream::new(Fetch::new(&outgoing_settings(config))?, &oidc.issuer, client, back);
    let name = if oidc.name.is_empty() { provider.to_owned() } else { oidc.name.clone() };
    Ok(Some((upstream.map_err(|_not_a_url| StartError::Upstream)?, name)))
}

fn outgoing_settings(config: &Config) -> FetchSettings {
    FetchSettings {
        special_hosts: config.outgoing.special_hosts.clone(),
        timeout: Duration::from_secs(config.outgoing.timeout_seconds),
        ..FetchSettings::default()
    }
}

fn outgoing(config: &Config) -> Result<Fetch, reqwest::Error> {
    Fetch::new(&outgoing_settings(config))
}

fn cashier(master: &MasterKey, db: &Db, ring: &Arc<KeyRing>, fetch: &Fetch) -> Result<Cashier, SealError> {
    Ok(Cashier {
        db: db.clone(),
        settlement: Settlement::new(fetch.clone(), ring.clone()),
        sealer: Arc::new(Sealer::new(master, "payment tokens")?),
    })
}

/// What reaches the issuers of payment tokens, for a command beside the running provider.
///
/// # Errors
/// When a key is missing, or the database cannot be reached.
pub async fn open_cashier(config: &Config, db: &Db, now: Timestamp) -> Result<Cashier, StartError> {
    let master = master_key(config)?;
    let ring = Arc::new(ring(db, &master, KeyOrigin::Instance, now).await?);
    Ok(cashier(&master, db, &ring, &outgoing(config)?)?)
}

fn desk(
    master: &MasterKey,
    db: &Db,
    ring: &Arc<KeyRing>,
    fetch: &Fetch,
    drivers: Drivers,
    files: &Arc<RwLock<Arc<Catalog>>>,
) -> Result<Desk, StartError> {
    let files = files.clone();
    Ok(Desk {
        cashier: cashier(master, db, ring, fetch)?,
        drivers,
        credential_sealer: Arc::new(Sealer::new(master, "credentials")?),
        bindings: Arc::new(move |service| {
            let catalog = files.read().unwrap_or_else(PoisonError::into_inner).clone();
            let driver = catalog.driver(service)?;
            Some(Binding { driver: word(driver.kind).to_owned(), settings: driver.settings.clone() })
        }),
        unclaimed: Unclaimed::default(),
    })
}

/// The ceilings of accounts that nobody has claimed, as configured; zero is none.
fn unclaimed(config: &ClaimConfig) -> Unclaimed {
    let buys_for = TimeDelta::days(i64::from(config.buys_for_days));
    Unclaimed {
        max_resources: (config.max_resources > 0).then_some(config.max_resources),
        buys_for: (config.buys_for_days > 0).then_some(buys_for),
    }
}

/// The `static` driver with its configured key, or one derived from the master key.
fn static_driver(config: &Config, master: &MasterKey) -> Result<StaticDriver, StartError> {
    let given = config.static_driver.key.expose_secret();
    let key = if given.is_empty() {
        platform_key(master)?
    } else {
        let key = MasterKey::from_text(given).map_err(|_not_a_key| StartError::Key("static_driver.key"))?;
        key.into_bytes()
    };
    let url = config.static_driver.platform_url.as_ref().map(ToString::to_string);
    Ok(StaticDriver::new(key.as_slice(), url)?)
}

/// The key that the `static` driver derives from the master key when none is configured.
///
/// # Errors
/// When it cannot be derived.
pub fn platform_key(master: &MasterKey) -> Result<zeroize::Zeroizing<[u8; 32]>, SealError> {
    master.derive("static driver")
}

/// What seals the secrets of the provisioning wire.
///
/// # Errors
/// When the key cannot be derived.
pub fn wire_sealer(master: &MasterKey) -> Result<Sealer, SealError> {
    Sealer::new(master, "provisioning wire")
}

/// What seals what is known about persons.
///
/// # Errors
/// When the key cannot be derived.
pub fn person_sealer(master: &MasterKey) -> Result<Sealer, SealError> {
    Sealer::new(master, "persons")
}

/// The configured master key, or the one in its file.
///
/// # Errors
/// When there is none, or it is not 32 bytes.
pub fn master_key(config: &Config) -> Result<MasterKey, StartError> {
    let given = config.keys.master_key.expose_secret();
    let text = if given.is_empty() { secret_file(&config.keys.master_key_file)? } else { given.to_owned().into() };
    MasterKey::from_text(&text).map_err(|_not_a_key| StartError::Key("keys.master_key"))
}

/// The operator's rule; zero seconds and no classes ask for nothing.
fn step_up(config: &Config) -> Result<StepUp, StartError> {
    let acr_values = config.step_up.acr_values.clone();
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    if acr_values.iter().any(|value| value.is_empty() || !value.chars().all(plain)) {
        return Err(StartError::AcrValues);
    }
    let max_age = config.step_up.max_age_seconds;
    Ok(StepUp { max_age: (max_age > 0).then(|| TimeDelta::seconds(i64::from(max_age))), acr_values })
}

/// The device flow, if it is on. What it may give is looked at also while it is off.
fn device(config: &Config, master: &MasterKey) -> Result<Option<DeviceFlow>, StartError> {
    let flow = DeviceFlow::new(&config.oauth.device_scopes, &*master.derive("device codes")?)?;
    Ok(config.oauth.device_flow.then_some(flow))
}

fn meter_key(config: &Config) -> Result<Secret, StartError> {
    let given = config.usage.meter_key.expose_secret();
    let text = if given.is_empty() { secret_file(&config.usage.meter_key_file)? } else { given.to_owned().into() };
    let text = text.trim();
    if text.len() < 32 { Err(StartError::MeterKey) } else { Ok(Secret::presented(text)) }
}

fn secret_file(path: &std::path::Path) -> Result<zeroize::Zeroizing<String>, StartError> {
    std::fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| StartError::SecretFile(path.to_owned(), error))
}
