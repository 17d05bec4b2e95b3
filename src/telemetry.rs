//! Logs: one canonical line per request, and facts worth knowing beside it. Secrets cannot print: their types do not.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("`log.level` is not a filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody set up logging before.
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// Whether the filter is understood.
///
/// # Errors
/// When it is not.
pub fn check(config: &LogConfig) -> Result<(), TelemetryError> {
    filter(config).map(drop)
}

/// What the server's library says of its own start and workers is for those who ask for it.
fn filter(config: &LogConfig) -> Result<EnvFilter, TelemetryError> {
    let level = &config.level;
    let level = if level.contains("actix") { level.clone() } else { format!("{level},actix_server=warn") };
    Ok(EnvFilter::builder().parse(level)?)
}

/// Sends logs to standard error, in the configured form.
///
/// # Errors
/// When the filter is not understood, or logging was set up before.
pub fn start(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = filter(config)?;
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()?;
    } else {
        registry.with(fmt::layer().compact().with_ansi(terminal).with_writer(std::io::stderr)).try_init()?;
    }
    Ok(())
}
