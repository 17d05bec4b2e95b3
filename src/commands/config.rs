//! `portreeve config …`

use clap::Subcommand;
use portreeve::config::{Config, Layers, Origin};
use portreeve::{app, db, telemetry};
use serde_json::json;

use super::serve::base_url;
use super::{Failure, misconfigured, say};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every setting; secrets are hidden.
    Show {
        /// Say where each value comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Check everything that `serve` checks before it opens the database, listens or calls anybody.
    Check,
}

pub(crate) fn run(command: &ConfigCommand, layers: &Layers, json: bool) -> Result<(), Failure> {
    let config = layers.build().map_err(misconfigured)?;
    match command {
        ConfigCommand::Check => {
            check(&config)?;
            if json {
                return say(r#"{"valid":true}"#);
            }
            say("The configuration is good.\nThe catalog's files are checked by `portreeve catalog validate`. \
                 Whether the database answers, nobody has tried.")
        }
        ConfigCommand::Show { origin } => {
            for (key, value, from) in layers.rows() {
                let line = match (json, origin) {
                    (true, _) => json!({"key": key, "value": value, "origin": from.map(Origin::to_string)}).to_string(),
                    (false, origin) => {
                        let value = value.map_or_else(|| "(not set)".to_owned(), |value| value.to_string());
                        let from = from.filter(|_| *origin).map(|from| format!(" # {from}")).unwrap_or_default();
                        if from.is_empty() {
                            format!("{key:<32} {value}")
                        } else {
                            format!("{key:<32} {value:<32}{from}")
                        }
                    }
                };
                say(&line)?;
            }
            Ok(())
        }
    }
}

/// What can be known about the configuration without files of the catalog, the database and the network. Answers our
/// address for the outside.
pub(super) fn check(config: &Config) -> Result<String, Failure> {
    let base_url = base_url(config)?;
    db::check_url(&config.database.url).map_err(|error| Failure::invalid(format!("`database.url`: {error}")))?;
    app::check_address(config, &base_url).map_err(|error| Failure::invalid(Failure::failed(error).message))?;
    app::check(config).map_err(|error| Failure::invalid(Failure::failed(error).message))?;
    telemetry::check(&config.log).map_err(|error| Failure::invalid(Failure::failed(error).message))?;
    Ok(base_url)
}
