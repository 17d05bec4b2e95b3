//! What can be set, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// The `static` driver.
    pub static_driver: StaticDriverConfig,
    /// The provisioning wire of orchestrators.
    pub wire: WireConfig,
    /// Our authorization server.
    pub oauth: OAuthConfig,
    /// How often anybody may do what.
    pub limits: LimitsConfig,
    /// Outgoing mail.
    pub mail: MailConfig,
    /// How people log in.
    pub login: LoginConfig,
    /// Accounts that nobody has claimed, and how they are claimed.
    pub claim: ClaimConfig,
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
    /// Open connections of each worker, at least 1; more wait until one closes.
    pub connections: usize,
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

/// The `static` driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticDriverConfig {
    /// 43 characters of base64url: the HMAC key behind `{mac}`. Empty: derived from the master key.
    pub key: SecretString,
    /// What `{platform_url}` stands for in credential templates.
    pub platform_url: Option<Url>,
}

/// The provisioning wire of orchestrators (APP 0.1d). Every rate is also the burst; zero: no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireConfig {
    /// Under which paths the wire hangs besides `/`: `/api/agentic`.
    pub prefixes: Vec<WirePrefix>,
    /// Whether registered public clients that sign nothing, and prove themselves with PKCE, may ask for accounts.
    pub generic_clients: bool,
    /// Whether such a client may also name itself by the URL of its metadata.
    pub generic_cimd: bool,
    /// For development: such documents may be on this machine's loopback addresses, by plain HTTP.
    pub generic_cimd_loopback: bool,
    /// Requests for an account of one person at one orchestrator.
    pub account_requests_per_hour: u32,
    /// Tokens for one account.
    pub token_exchanges_per_hour: u32,
    /// Resources made for one account.
    pub resource_creates_per_hour: u32,
    /// Account requests, tokens and new resources of one orchestrator together.
    pub orchestrator_requests_per_hour: u32,
}

/// A path prefix: `/` and segments of plain characters, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WirePrefix(String);

/// Not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a prefix of paths: write `/api/agentic`, and nothing that is served already")]
pub struct InvalidWirePrefix(String);

impl WirePrefix {
    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WirePrefix {
    type Err = InvalidWirePrefix;

    fn from_str(text: &str) -> Result<Self, InvalidWirePrefix> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        let segment = |part: &str| !part.is_empty() && part.chars().all(plain) && part != "." && part != "..";
        let taken = [
            "v1",
            "catalog",
            "oauth",
            "provisioning",
            "docs",
            ".well-known",
            "dashboard",
            "assets",
            "login",
            "claim",
            "device",
        ];
        let segments: Vec<&str> = text.strip_prefix('/').unwrap_or("").split('/').collect();
        let free = segments.first().is_some_and(|first| !taken.contains(first));
        if text.len() <= 128 && free && segments.iter().all(|part| segment(part)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidWirePrefix(text.to_owned()))
        }
    }
}

impl TryFrom<String> for WirePrefix {
    type Error = InvalidWirePrefix;

    fn try_from(text: String) -> Result<Self, InvalidWirePrefix> {
        text.parse()
    }
}

/// Our authorization server: whom it lets in besides the clients that the operator registered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own that an operator turns")]
pub struct OAuthConfig {
    /// Whether a client may name itself by the URL of its metadata.
    pub client_documents: bool,
    /// Whether a client may register itself (RFC 7591). Nobody checks what it says.
    pub dynamic_registration: bool,
    /// Whether writing to an account, which can spend, needs a token that is bound to a key (DPoP, RFC 9449).
    pub bound_tokens_to_write: bool,
    /// Whether a program without a browser may wait for a human who types its code elsewhere (RFC 8628).
    pub device_flow: bool,
    /// What such a program can be given at most: scopes that look, and no others.
    pub device_scopes: Vec<String>,
    /// How many questions one client may put before the human of one account on one day (UTC). Zero: any number.
    pub prompts_per_day: u32,
    /// How many hours a client waits after three denials in a row.
    pub denied_wait_hours: u32,
}

/// How often one address may do what nobody has to sign for. Every rate is also the burst; zero: no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests for an account by one address (an IPv6 network of 64 bits counts as one).
    pub address_accounts_per_hour: u32,
    /// Accounts opened through one orchestrator, by all processes on one database together; 0 is any number.
    pub orchestrator_accounts_per_hour: u32,
    /// Requests for a token by one address.
    pub address_tokens_per_hour: u32,
    /// Authorization requests by one address.
    pub address_requests_per_hour: u32,
    /// Clients registered by one address.
    pub address_registrations_per_hour: u32,
    /// Log-ins begun by one address.
    pub address_log_ins_per_hour: u32,
    /// Mails with a log-in link to one address of mail.
    pub email_log_ins_per_hour: u32,
    /// Codes of devices typed by one address, or for one account.
    pub device_codes_per_hour: u32,
}

/// Outgoing mail. Without a server and a folder, nobody can log in by mail.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://USER:PASSWORD@HOST`, or `smtp://…:587?tls=required`. It goes before the folder. Empty: none.
    pub smtp_url: SecretString,
    /// The sender's address. Empty: `no-reply@` and the host of `server.base_url`.
    pub from: String,
    /// Where mails are written as `.eml` files instead of being sent: for development.
    pub folder: Option<PathBuf>,
}

/// How people log in, besides by mail and with passkeys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// The provider's own OpenID provider.
    pub oidc: OidcConfig,
}

/// The provider's own OpenID provider. What it says about an address is believed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// Its issuer identifier, exactly. Empty: there is none.
    pub issuer: String,
    /// Our client id there.
    pub client_id: String,
    /// Our secret there. Empty: a public client.
    pub client_secret: SecretString,
    /// What people call it. Empty: the provider's name.
    pub name: String,
}

/// Accounts that nobody has claimed, and how they are claimed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimConfig {
    /// How many resources an account has at most until it is claimed, not counting those that are gone. Zero: any number.
    pub max_resources: u32,
    /// For how many days an account may buy anything until it is claimed. Zero: always.
    pub buys_for_days: u32,
    /// When a new passkey is the second proof beside a mailbox.
    pub passkey: PasskeyProof,
}

/// When a passkey that is made for it is the second proof of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasskeyProof {
    /// Where the provider has no OpenID provider of its own.
    Fallback,
    /// Always.
    Always,
    /// Never.
    Never,
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
connections = 256
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

[static_driver]
key = ""

[wire]
prefixes = []
generic_clients = false
generic_cimd = false
generic_cimd_loopback = false
account_requests_per_hour = 10
token_exchanges_per_hour = 20
resource_creates_per_hour = 20
orchestrator_requests_per_hour = 36000

[oauth]
client_documents = true
dynamic_registration = false
bound_tokens_to_write = false
device_flow = false
device_scopes = ["resources:read", "budget:read"]
prompts_per_day = 10
denied_wait_hours = 24

[limits]
address_accounts_per_hour = 3600
orchestrator_accounts_per_hour = 36000
address_tokens_per_hour = 7200
address_requests_per_hour = 3600
address_registrations_per_hour = 20
address_log_ins_per_hour = 60
email_log_ins_per_hour = 6
device_codes_per_hour = 30

[mail]
smtp_url = ""
from = ""

[login.oidc]
issuer = ""
client_id = ""
client_secret = ""
name = ""

[claim]
max_resources = 100
buys_for_days = 30
passkey = "fallback"

[log]
level = "info"
format = "auto"
"#;

/// Keys that have no default but may be set.
pub(super) const OPTIONAL: [&str; 2] = ["mail.folder", "static_driver.platform_url"];

/// Keys whose values never print.
pub(super) const SECRETS: [&str; 6] = [
    "database.url",
    "keys.master_key",
    "login.oidc.client_secret",
    "mail.smtp_url",
    "static_driver.key",
    "usage.meter_key",
];
