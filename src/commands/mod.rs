//! What can be typed, and how a failure is told.

mod account;
mod agent;
mod audit;
mod blast_radius;
mod case;
mod catalog;
mod client;
mod config;
mod conform;
mod demo;
mod init;
mod orchestrator;
mod orchestrator_sim;
mod outbox;
mod serve;
mod stream;
mod takeover;
mod wire;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portreeve::app;
use portreeve::config::{Config, ConfigError, Layers};
use portreeve::db::{self, Db};
use secrecy::ExposeSecret as _;

/// What an instance has in its folder unless its configuration says otherwise.
const DEFAULT_DATABASE: &str = "portreeve.db";
const CONFIGURATION: &str = "portreeve.toml";

/// The provider's front desk for agents.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "First steps: `portreeve demo` shows one agent from discovery to the cap; \
    `portreeve init && portreeve serve` starts an instance."
)]
pub(crate) struct Cli {
    /// A configuration file, read after ./portreeve.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Machine-readable output on standard output; nothing changes for `serve` and `openapi`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch one agent, starting from nothing, buy under a cap; then open the dashboard.
    Demo(demo::DemoArgs),
    /// Run the provider.
    Serve(serve::ServeArgs),
    /// Write configuration, keys and an example catalog that `serve` accepts unchanged.
    Init(init::InitArgs),
    /// Bring the database up to date.
    Migrate,
    /// Write, check, publish and verify the catalog.
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// The registry of trusted orchestrators.
    #[command(subcommand)]
    Orchestrator(orchestrator::OrchestratorCommand),
    /// The OAuth clients that are registered.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// The provisioning wire that orchestrators speak.
    #[command(subcommand)]
    Wire(wire::WireTopCommand),
    /// What orchestrators were told of.
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Run a simulated orchestrator against any provider.
    OrchestratorSim(orchestrator_sim::OrchestratorSimArgs),
    /// Be the agent of an orchestrator's user: add, upgrade, rotate, remove.
    Agent(agent::AgentArgs),
    /// Help one account.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// What somebody says is wrong with an account: look, check the evidence, close.
    #[command(subcommand)]
    Case(case::CaseCommand),
    /// Check the books.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What is set, and where it comes from.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Play the orchestrator against any provider, and tell which rules of the provisioning wire hold.
    Conform(Box<conform::ConformArgs>),
    /// Print the OpenAPI document.
    Openapi,
}

/// How a command failed: the exit code and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It did not work.
    pub(crate) fn failed(error: impl std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        Self { code: 1, message }
    }

    /// What was typed makes no sense.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// There is no such thing.
    fn not_found(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    /// What was given is not good.
    fn invalid(message: impl Into<String>) -> Self {
        Self { code: 5, message: message.into() }
    }

    /// The command worked; the answer is "look".
    fn findings(message: impl Into<String>) -> Self {
        Self { code: 6, message: message.into() }
    }

    /// Somebody else was first, or it exists.
    fn conflict(message: impl Into<String>) -> Self {
        Self { code: 7, message: message.into() }
    }

    /// Nobody reads what is written: all was said that somebody wanted to hear.
    fn unheard() -> Self {
        Self { code: 0, message: String::new() }
    }

    /// Standard output could not be written.
    fn writing(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::unheard() } else { Self::failed(error) }
    }

    /// A file or folder that could not be read or written.
    fn at(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self { code: 1, message: format!("{}: {error}", path.display()) }
    }

    /// Another end that a program can act on.
    fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Tells it on standard error, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.code);
        }
        // Nothing can be told when standard error is gone.
        let _ = writeln!(std::io::stderr(), "portreeve: {}", self.message.trim_end());
        ExitCode::from(self.code)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// A line on standard output.
fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").map_err(Failure::writing)
}

fn misconfigured(error: ConfigError) -> Failure {
    Failure::invalid(Failure::failed(error).message)
}

/// The configured database, not brought up to date. In a folder that has neither the default database nor a configuration
/// none is made: an empty one has no differences, and no orchestrators.
fn open_db(config: &Config) -> Result<Db, Failure> {
    let default = PathBuf::from(DEFAULT_DATABASE);
    let url = config.database.url.expose_secret();
    if url.strip_prefix("sqlite:") == Some(DEFAULT_DATABASE)
        && !default.exists()
        && !PathBuf::from(CONFIGURATION).exists()
    {
        return Err(Failure::invalid(format!(
            "there is no `{DEFAULT_DATABASE}` and no `{CONFIGURATION}` in this folder: go to the folder of your instance, \
             name its configuration (`--config FILE`), or make one (`portreeve init FOLDER`)"
        )));
    }
    make_db(config)
}

/// The same, made where there is none.
fn make_db(config: &Config) -> Result<Db, Failure> {
    db::check_url(&config.database.url).map_err(|error| Failure::invalid(format!("`database.url`: {error}")))?;
    Ok(app::open_db(config)?)
}

/// A warning on standard error.
fn warn(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stderr(), "portreeve: warning: {line}").map_err(Failure::failed)
}

/// Every layer: defaults, ./portreeve.toml, `--config`, environment.
fn layers(cli_config: Option<&PathBuf>) -> Result<Layers, Failure> {
    let read = || {
        let mut layers = Layers::defaults()?;
        let here = PathBuf::from(CONFIGURATION);
        if here.exists() {
            layers.add_file(&here)?;
        }
        if let Some(file) = cli_config {
            layers.add_file(file)?;
        }
        layers.add_process_environment()?;
        Ok(layers)
    };
    read().map_err(misconfigured)
}

fn load(cli_config: Option<&PathBuf>) -> Result<Config, Failure> {
    layers(cli_config)?.build().map_err(misconfigured)
}

/// Runs what was typed.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let (file, json) = (cli.config.as_ref(), cli.json);
    match cli.command {
        Command::Demo(args) => demo::run(&args, json).await,
        Command::Serve(args) => serve::run(&args, layers(file)?).await,
        Command::Init(args) => init::run(&args, json),
        Command::Migrate => migrate(&load(file)?, json).await,
        Command::Catalog(command) => catalog::run(command, file, json).await,
        Command::Orchestrator(command) => orchestrator::run(command, &load(file)?, json).await,
        Command::Client(command) => client::run(command, &load(file)?, json).await,
        Command::Wire(command) => wire::top(command, &load(file)?).await,
        Command::Outbox(command) => outbox::run(command, &load(file)?, json).await,
        Command::OrchestratorSim(args) => orchestrator_sim::run(&args, json).await,
        Command::Agent(args) => agent::run(&args, json).await,
        Command::Account(command) => account::run(command, &load(file)?, json).await,
        Command::Case(command) => case::run(command, || load(file), json).await,
        Command::Audit(command) => audit::run(command, &load(file)?, json).await,
        Command::Config(command) => config::run(&command, &layers(file)?, json),
        Command::Conform(args) => conform::run(*args, json).await,
        Command::Openapi => say(portreeve::http::openapi::document("")?.trim_end()),
    }
}

async fn migrate(config: &Config, json: bool) -> Result<(), Failure> {
    let applied = make_db(config)?.migrate().await?;
    if json {
        return say(&serde_json::json!({"applied": applied}).to_string());
    }
    match applied.len() {
        0 => say("The database is up to date."),
        count => say(&format!("Applied {count}: {}", applied.join(", "))),
    }
}
