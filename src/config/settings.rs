//! What can be set, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Listeners and the public address.
    pub server: ServerConfig,
    /// Where the data lives.
    pub database: DatabaseConfig,
    /// The key under which secrets are sealed.
    pub keys: KeysConfig,
    /// The catalog as people write it.
    pub catalog: CatalogConfig,
    /// Outgoing calls.
    pub outgoing: OutgoingConfig,
    /// Log-ins before what cannot be taken back.
    pub step_up: StepUpConfig,
    /// Metering.
    pub usage: UsageConfig,
    /// The provisioning wire.
    pub wire: WireConfig,
    /// The `static` driver.
    pub static_driver: StaticDriverConfig,
    /// Logs.
    pub log: LogConfig,
}

/// Listeners and the public address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The public listener.
    pub listen: SocketAddr,
    /// The private listener: `/metrics`, `/healthz`, `/readyz`.
    pub private_listen: SocketAddr,
    /// The address that the outside uses, without a trailing slash; also our issuer. Empty: `http://LISTEN`.
    pub base_url: String,
    /// Allows plain HTTP on an address that is not loopback (a proxy in front speaks TLS).
    pub behind_tls_proxy: bool,
    /// Threads that serve requests.
    pub workers: usize,
    /// How long open requests may finish after SIGTERM, in seconds.
    pub drain_seconds: u64,
}

/// Where the data lives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: SecretString,
    /// Connections for reading.
    pub readers: u32,
    /// Write lanes on PostgreSQL (SQLite has one).
    pub lanes: usize,
    /// How many writes may wait in one lane before callers get 503.
    pub queue: usize,
}

/// The key under which secrets are sealed: given here, or in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// 43 characters of base64url. Empty: read `master_key_file`.
    pub master_key: SecretString,
    /// The file that holds it; mode 0600.
    pub master_key_file: PathBuf,
}

/// The catalog as people write it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    /// The folder with `provider.toml` and `services/`.
    pub folder: PathBuf,
}

/// Outgoing calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutgoingConfig {
    /// Hosts that may be loopback or private addresses, and may be called by plain HTTP.
    pub special_hosts: Vec<String>,
    /// The longest an outgoing call may take, in seconds.
    pub timeout_seconds: u64,
}

/// What removing a resource asks of the log-in behind the agent's token (RFC 9470).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepUpConfig {
    /// How many seconds ago the human may have logged in at the orchestrator. Zero: it does not matter.
    pub max_age_seconds: u32,
    /// Authentication context classes of which the log-in must have one (`acr`). Empty: it does not matter.
    pub acr_values: Vec<String>,
}

/// Metering.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageConfig {
    /// The bearer secret with which the provider's platform reports usage. Empty: read `meter_key_file`.
    pub meter_key: SecretString,
    /// The file that holds it; mode 0600.
    pub meter_key_file: PathBuf,
}

/// The provisioning wire of orchestrators.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireConfig {
    /// Lets public clients in that sign nothing and prove themselves with PKCE, through the orchestrators whose
    /// signature mode is `unsigned`.
    pub generic_clients: bool,
    /// Lets such a client name itself by the URL of its metadata document (CIMD).
    pub generic_metadata: bool,
}

/// The `static` driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticDriverConfig {
    /// 43 characters of base64url: the HMAC key behind `{mac}`. Empty: derived from the master key.
    pub key: SecretString,
    /// What `{platform_url}` stands for in credential templates.
    pub platform_url: Option<Url>,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A `tracing` filter: `info`, `portreeve=debug,info`.
    pub level: String,
    /// `auto` is `text` on a terminal and `json` elsewhere.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `text` on a terminal, `json` elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The defaults, as a document: also the list of keys that exist.
pub(super) const DEFAULTS: &str = r#"
[server]
listen = "127.0.0.1:8080"
private_listen = "127.0.0.1:9090"
base_url = ""
behind_tls_proxy = false
workers = 2
drain_seconds = 20

[database]
url = "sqlite:portreeve.db"
readers = 8
lanes = 4
queue = 1024

[keys]
master_key = ""
master_key_file = "portreeve.key"

[catalog]
folder = "catalog"

[outgoing]
special_hosts = []
timeout_seconds = 5

[step_up]
max_age_seconds = 0
acr_values = []

[usage]
meter_key = ""
meter_key_file = "meter.key"

[wire]
generic_clients = false
generic_metadata = false

[static_driver]
key = ""

[log]
level = "info"
format = "auto"
"#;

/// Keys that have no default but may be set.
pub(super) const OPTIONAL: [&str; 1] = ["static_driver.platform_url"];

/// Keys whose values never print.
pub(super) const SECRETS: [&str; 4] = ["database.url", "keys.master_key", "usage.meter_key", "static_driver.key"];
