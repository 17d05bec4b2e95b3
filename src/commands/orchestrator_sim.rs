//! `portreeve orchestrator-sim`: an orchestrator that anyone can run against their own provider.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use portreeve::clock::SystemClock;
use portreeve::simulator::{FaultOrder, Kept, NewProvider, OrchestratorSettings, Simulator};
use serde_json::{Value, json};

use super::serve::wait_for_signal;
use super::{Failure, say};

#[derive(Debug, Args)]
pub(crate) struct OrchestratorSimArgs {
    /// The listener: loopback only. Put a TLS proxy in front for others, and say --issuer.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The SQLite file of users, providers, tokens and books.
    #[arg(long, value_name = "FILE", default_value = "orchestrator-sim.db")]
    data: PathBuf,
    /// How the orchestrator calls itself.
    #[arg(long, default_value = "Harbour")]
    name: String,
    /// The address that the outside uses, such as https://sim.example.com.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// A provider to know from the start; once it is known, this says nothing new.
    #[arg(long = "provider", value_name = "NAME=URL")]
    providers: Vec<String>,
    /// A user to enrol when there is none yet.
    #[arg(long, value_name = "EMAIL", default_value = "ada@example.test")]
    user: String,
    /// Misbehave as this JSON file says (see docs/simulator.md).
    #[arg(long, value_name = "FILE")]
    misbehave: Option<PathBuf>,
}

pub(crate) async fn run(args: &OrchestratorSimArgs, json: bool) -> Result<(), Failure> {
    let simulator = Simulator::open(OrchestratorSettings {
        name: args.name.clone(),
        bind: args.listen,
        issuer: args.issuer.as_deref().map(issuer).transpose()?,
        data: Some(args.data.clone()),
        clock: Arc::new(SystemClock),
    })?;
    if let Some(file) = &args.misbehave {
        let order: FaultOrder =
            serde_json::from_slice(&std::fs::read(file).map_err(|error| Failure::at(file, &error))?)
                .map_err(|error| Failure::invalid(format!("{} is no list of orders: {error}", file.display())))?;
        simulator.order(order)?;
    }
    let (operator_file, agent_file) = (beside(&args.data, "operator-token"), beside(&args.data, "agent-token"));
    write_secret(&operator_file, &simulator.operator_token())?;
    if !simulator.has_users() {
        let (_subject, token) = simulator.add_user(&args.user, None).map_err(Failure::invalid)?;
        write_secret(&agent_file, &token)?;
    }
    let mut introduced = Vec::new();
    for text in &args.providers {
        introduced.extend(introduce(&simulator, text)?);
    }
    let ready = json!({
        "event": "ready", "name": args.name, "issuer": simulator.issuer_url,
        "settlement_url": simulator.settlement_url,
        "public_keys_url": format!("{}/v2/provisioning/public_keys", simulator.issuer_url),
        "callback_url": format!("{}/callback", simulator.issuer_url),
        "notification_url": format!("{}/notifications", simulator.issuer_url),
        "data": args.data, "operator_token_file": operator_file, "agent_token_file": agent_file,
        "introduced": introduced,
    });
    tell(&ready, json)?;
    wait_for_signal().await?;
    simulator.stop().await;
    Ok(())
}

fn issuer(text: &str) -> Result<String, Failure> {
    let bad = || Failure::invalid("`--issuer` is an http or https URL without query");
    let url: url::Url = text.parse().map_err(|_not_a_url| bad())?;
    let good = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if good { Ok(text.trim_end_matches('/').to_owned()) } else { Err(bad()) }
}

/// What a provider that is new must be told; nothing for a known one.
fn introduce(simulator: &Simulator, text: &str) -> Result<Option<Value>, Failure> {
    let (name, base_url) = text.split_once('=').ok_or_else(|| Failure::invalid("`--provider` is written NAME=URL"))?;
    if simulator.knows_provider(name) {
        return Ok(None);
    }
    let base_url = base_url.parse().map_err(|_bad| Failure::invalid(format!("`{base_url}` is not a URL")))?;
    let told = simulator.add_provider(NewProvider::new(name, base_url));
    told.map(Some).map_err(|error| Failure::invalid(error.to_string()))
}

fn beside(data: &Path, what: &str) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

/// Mode 0600, also where a file with another mode stood.
fn write_secret(path: &Path, secret: &Kept) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", secret.expose())?;
    Ok(())
}

fn tell(ready: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return say(&ready.to_string());
    }
    say(&format!(
        "portreeve {} · orchestrator simulator \"{}\" · nothing here is real money\n",
        env!("CARGO_PKG_VERSION"),
        ready.get("name").and_then(Value::as_str).unwrap_or_default()
    ))?;
    let shown = ["issuer", "settlement_url", "public_keys_url", "callback_url", "notification_url", "data"];
    for name in shown.into_iter().chain(["operator_token_file", "agent_token_file"]) {
        say(&format!(" {name:<20} {}", ready.get(name).and_then(Value::as_str).unwrap_or_default()))?;
    }
    for told in ready.get("introduced").and_then(Value::as_array).into_iter().flatten() {
        say("\n Tell this provider, now: the secrets are not shown again.")?;
        for (name, value) in told.as_object().into_iter().flatten() {
            if let Some(text) = value.as_str() {
                say(&format!(" {name:<20} {text}"))?;
            }
        }
    }
    let text = |name: &str| ready.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    say(&format!("\n portreeve agent --at {} --token-file {} catalog", text("issuer"), text("agent_token_file")))
}
