//! Configuration: the only reader of files and environment.
//!
//! Order, later wins: defaults, `./portreeve.toml`, `--config FILE`, `PORTREEVE__SECTION__KEY`, flags. An unknown key
//! is an error, with a suggestion when one is near. `PORTREEVE__SECTION__KEY__FILE` reads the value from a file (for mounted secrets).

mod layers;
mod settings;

pub use layers::{ConfigError, Layers, Origin};
pub use settings::{
    CatalogConfig, ClaimConfig, Config, DatabaseConfig, InvalidWirePrefix, KeysConfig, LimitsConfig, LogConfig,
    LogFormat, LoginConfig, MailConfig, OAuthConfig, OidcConfig, OutgoingConfig, PasskeyProof, ServerConfig,
    StaticDriverConfig, UsageConfig, WireConfig, WirePrefix,
};
