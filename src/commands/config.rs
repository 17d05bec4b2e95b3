//! `portreeve config …`

use clap::Subcommand;
use portreeve::config::Layers;
use serde_json::json;

use super::{Failure, say};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every setting; secrets are hidden.
    Show {
        /// Say where each value comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Check the configuration without starting.
    Check,
}

pub(crate) fn run(command: &ConfigCommand, layers: &Layers, json: bool) -> Result<(), Failure> {
    layers.build().map_err(|error| Failure::invalid(error.to_string()))?;
    match command {
        ConfigCommand::Check => {
            if json {
                say(r#"{"valid":true}"#)
            } else {
                say("The configuration is good.")
            }
        }
        ConfigCommand::Show { origin } => {
            for (key, value, from) in layers.rows() {
                let line = match (json, origin) {
                    (true, _) => json!({"key": key, "value": value, "origin": from.to_string()}).to_string(),
                    (false, true) => format!("{key:<32} {value:<32} # {from}"),
                    (false, false) => format!("{key:<32} {value}"),
                };
                say(&line)?;
            }
            Ok(())
        }
    }
}
