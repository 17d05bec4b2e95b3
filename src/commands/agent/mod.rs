//! `portreeve agent`: a user's agent at an orchestrator, in the shape that people know from such tools.
//!
//! Exit codes beside the usual ones: 8 the price was not agreed to, 9 a person must act in a browser, 10 the provider
//! failed, 11 what became of it is not known: repeat the command.

mod desk;
mod show;

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portreeve::money::{Amount, Rate};
use portreeve::secret::Secret;
use portreeve::simulator::{Variable, env_text};
use serde_json::{Map, Value, json};

use super::{Failure, say};
use desk::Desk;

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The orchestrator, such as http://127.0.0.1:8090.
    #[arg(long, value_name = "URL", env = "PORTREEVE_AGENT_AT", default_value = "http://127.0.0.1:8090")]
    at: url::Url,
    /// The agent's token, which the orchestrator gave to the user.
    #[arg(long, value_name = "TOKEN", env = "PORTREEVE_AGENT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the token.
    #[arg(long, value_name = "FILE", env = "PORTREEVE_AGENT_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The project in which names count.
    #[arg(long, default_value = "default", value_name = "NAME")]
    project: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What the known providers sell, as far as their signed catalogs may be believed.
    Catalog {
        /// Only this one.
        provider: Option<String>,
    },
    /// Open or find your account at a provider.
    Link {
        provider: String,
        /// What the provider wants to know, NAME=VALUE.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configuration: Vec<String>,
    },
    /// Add a service; the final price is shown first.
    Add {
        /// PROVIDER/SERVICE, as `catalog` lists it.
        what: String,
        /// How you call it; made of the service's name when absent.
        #[arg(long)]
        name: Option<String>,
        /// Configuration, NAME=VALUE.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configuration: Vec<String>,
        /// Answers to what the provider asked for, NAME=VALUE.
        #[arg(long = "info", value_name = "NAME=VALUE")]
        information: Vec<String>,
        /// What the provider may take in a month, such as "25.00 USD"; your cap for the provider when absent.
        #[arg(long, value_name = "AMOUNT")]
        limit: Option<Rate>,
        /// Take over what you have at the provider already; `--info` says which.
        #[arg(long)]
        existing: bool,
        /// Agree to the price without being asked.
        #[arg(long)]
        yes: bool,
    },
    /// Change what you have to another service of the same provider (up or down).
    Upgrade {
        name: String,
        service: String,
        /// Configuration, NAME=VALUE.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configuration: Vec<String>,
        /// What the provider may take in a month.
        #[arg(long, value_name = "AMOUNT")]
        limit: Option<Rate>,
        /// Agree to the price without being asked.
        #[arg(long)]
        yes: bool,
    },
    /// New credentials; the old ones die.
    Rotate { name: String },
    /// The credentials as variables: names only, or written to a file with mode 0600.
    Env {
        /// Write or bring up to date; other lines of the file stay.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },
    /// A link that logs you in at the provider.
    Open { provider: String },
    /// Remove what you added.
    Remove { name: String },
    /// What each provider took this month, and how much it may take.
    Billing,
    /// Your connections and what you have.
    Status,
}

/// A price that is to be agreed to.
struct Offer<'o> {
    path: String,
    body: Value,
    yes: bool,
    json: bool,
    command: &'o str,
}

pub(crate) async fn run(args: &AgentArgs, json: bool) -> Result<(), Failure> {
    let desk = Desk::new(&args.at, &token(args)?)?;
    let project = [("project", args.project.as_str())];
    match &args.verb {
        Verb::Catalog { provider } => {
            let only = provider.as_deref().map(|name| ("provider", name));
            show::done("catalog", &desk.get(&["catalog"], only.as_slice()).await?, json)
        }
        Verb::Link { provider, configuration } => {
            let body = json!({"provider": provider, "configuration": pairs(configuration)?});
            show::done("link", &desk.post(&["links"], &[], &body).await?, json)
        }
        Verb::Add { what, name, configuration, information, limit, existing, yes } => {
            let (provider, service) = what
                .split_once('/')
                .ok_or_else(|| Failure::invalid("write PROVIDER/SERVICE, as `catalog` lists it"))?;
            let body = json!({"provider": provider, "service": service, "name": name, "project": args.project,
                "configuration": pairs(configuration)?, "information": pairs(information)?, "limit": cap(*limit)?,
                "existing": existing});
            let offer = Offer { path: "resources".to_owned(), body, yes: *yes, json, command: "add" };
            agree(&desk, offer).await
        }
        Verb::Upgrade { name, service, configuration, limit, yes } => {
            let body = json!({"service": service, "project": args.project, "configuration": pairs(configuration)?,
                "limit": cap(*limit)?});
            let path = format!("resources/{name}/upgrade");
            agree(&desk, Offer { path, body, yes: *yes, json, command: "upgrade" }).await
        }
        Verb::Rotate { name } => {
            show::done("rotate", &desk.post(&["resources", name, "rotate"], &project, &Value::Null).await?, json)
        }
        Verb::Env { write } => env(&desk, &project, write.as_deref(), json).await,
        Verb::Open { provider } => {
            let said = desk.post(&["deep-links"], &[], &json!({"provider": provider})).await?;
            show::done("open", &said, json)
        }
        Verb::Remove { name } => show::done("remove", &desk.delete(&["resources", name], &project).await?, json),
        Verb::Billing => show::done("billing", &desk.get(&["billing"], &[]).await?, json),
        Verb::Status => show::done("status", &desk.get(&["status"], &project).await?, json),
    }
}

fn token(args: &AgentArgs) -> Result<Secret, Failure> {
    let text = match (&args.token, &args.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| Failure::at(file, &error))?,
        (None, None) => {
            return Err(Failure::invalid("say --token-file FILE, or set PORTREEVE_AGENT_TOKEN_FILE"));
        }
    };
    Ok(Secret::presented(text.trim()))
}

/// `NAME=VALUE` as members; what kind of value it is, the service's schema says.
fn pairs(texts: &[String]) -> Result<Map<String, Value>, Failure> {
    let pair = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| Failure::invalid(format!("`{text}` is not NAME=VALUE")))?;
        Ok((name.to_owned(), Value::from(value)))
    };
    texts.iter().map(pair).collect()
}

fn cap(limit: Option<Rate>) -> Result<Value, Failure> {
    let Some(rate) = limit else { return Ok(Value::Null) };
    let amount: Amount = rate.exact().map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(json!({"currency": rate.currency(), "amount": amount}))
}

/// Shows the final price, asks, and does it for that price only.
async fn agree(desk: &Desk, offer: Offer<'_>) -> Result<(), Failure> {
    let Offer { path, mut body, yes, json, command } = offer;
    let path: Vec<&str> = path.split('/').collect();
    put(&mut body, "preview", json!(true));
    let seen = desk.post(&path, &[], &body).await?;
    if seen.refused() {
        return show::done(command, &seen, json);
    }
    if !yes && !confirmed(&seen, json)? {
        return Err(show::not_agreed(command, &seen, json));
    }
    put(&mut body, "agreed", json!(seen.text("/data/price")));
    put(&mut body, "preview", json!(false));
    show::done(command, &desk.post(&path, &[], &body).await?, json)
}

fn put(body: &mut Value, name: &str, value: Value) {
    if let Some(members) = body.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// Asks on the terminal. Without one nobody can agree; with `--json` nobody is asked.
fn confirmed(seen: &desk::Said, json: bool) -> Result<bool, Failure> {
    if json || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    say(&show::price(seen))?;
    write!(std::io::stdout(), "Go on? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn env(desk: &Desk, project: &[(&str, &str)], write: Option<&Path>, json: bool) -> Result<(), Failure> {
    let mut said = desk.get(&["env"], project).await?;
    if said.refused() {
        return show::done("env", &said, json);
    }
    let variables: Vec<Variable> = serde_json::from_value(said.at("/data/variables"))?;
    // Values go to the file only: a terminal is remembered and shared.
    let names: Vec<&str> = variables.iter().map(|variable| variable.name.as_str()).collect();
    let mut data = json!({"variables": names});
    if let Some(file) = write {
        write_env(file, &variables)?;
        put(&mut data, "written", json!(file));
    }
    said.replace_data(data);
    show::done("env", &said, json)
}

/// Writes beside the file and renames, so that nobody reads half of it.
fn write_env(file: &Path, variables: &[Variable]) -> Result<(), Failure> {
    let before = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::at(file, &error)),
    };
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(name);
    let written = (|| {
        let mut open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        open.write_all(env_text(&before, variables).as_bytes())?;
        open.sync_all()?;
        std::fs::rename(&beside, file)
    })();
    if written.is_err() {
        // What was begun is of no use; that it cannot be removed changes nothing about the failure.
        let _ = std::fs::remove_file(&beside);
    }
    Ok(written?)
}
