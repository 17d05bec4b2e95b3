//! `portreeve orchestrator …`

use clap::{Args, Subcommand};
use portreeve::app::{self, HOUSE};
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::db::Db;
use portreeve::money::{Money, Rate};
use portreeve::orchestrator::{self, AddError, NewOrchestrator, Orchestrator};
use serde_json::{Value, json};

use super::blast_radius::{self, BlastRadiusArgs};
use super::stream::{self, StreamCommand};
use super::takeover::{self, DistrustArgs, RestoreArgs};
use super::wire::{self, WireCommand};
use super::{Failure, open_db, say, warn};

#[derive(Debug, Subcommand)]
pub(crate) enum OrchestratorCommand {
    /// Trust an orchestrator.
    Add(Box<AddArgs>),
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its name or id.
        which: String,
    },
    /// How it speaks the provisioning wire.
    #[command(subcommand)]
    Wire(WireCommand),
    /// Change what happens when it attests an address that already has an account.
    Policy {
        /// Its name or id.
        which: String,
        /// `user_consent`: the owner is asked. `sidecar`: the agent gets a separate account with the ceiling of unclaimed
        /// ones, which its owner merges, moves or discards at /dashboard/sidecars; nobody learns who is a customer.
        /// `link_silently`: whoever controls the orchestrator is let into the account.
        #[arg(long, value_name = "POLICY")]
        existing_account: String,
    },
    /// Believe nothing of it from now on.
    Suspend {
        /// Its name or id.
        which: String,
    },
    /// Believe it again.
    Resume {
        /// Its name or id.
        which: String,
    },
    /// Believe nothing new of it, of one of its keys or of one person there; end tokens, stop spending, and hold back what
    /// was made since an instant. What was made before runs on, and nothing is deleted.
    Distrust(Box<DistrustArgs>),
    /// Every distrust of it.
    Distrusts {
        /// Its issuer, name or id.
        which: String,
    },
    /// Give back what a distrust holds back, one by one or all; or believe again. Without more: list it.
    Restore(Box<RestoreArgs>),
    /// The accounts, resources and money that it reaches, or one of its keys, clients or people.
    BlastRadius(Box<BlastRadiusArgs>),
    /// Security events, in and out.
    #[command(subcommand)]
    Stream(StreamCommand),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What people call it.
    name: String,
    /// Its issuer identifier, exactly.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Our client id there.
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// Where its payment tokens are settled.
    #[arg(long, value_name = "URL")]
    settlement_url: Option<url::Url>,
    /// A signature algorithm that it may use; may be repeated. ES256, EdDSA and RS256 when absent.
    #[arg(long = "algorithm", value_name = "ALG")]
    algorithms: Vec<String>,
    /// What happens when it attests an address that already has an account: `user_consent`, `sidecar` (a separate account,
    /// which its owner takes in or discards; best where customers must not be told apart from strangers), or
    /// `link_silently`, which lets whoever controls the orchestrator into the account without its owner being asked.
    #[arg(long, default_value = "user_consent")]
    existing_account: String,
    /// A mail domain over which it is an authority; may be repeated.
    #[arg(long = "email-domain", value_name = "DOMAIN")]
    email_domains: Vec<String>,
    /// The most that one account may spend through it in a calendar month.
    #[arg(long, value_name = "AMOUNT", default_value = "100.00 USD")]
    monthly_ceiling: String,
    /// The most while the account is unclaimed; the monthly ceiling when absent.
    #[arg(long, value_name = "AMOUNT")]
    provisional_ceiling: Option<String>,
    /// Its attestations may not open accounts.
    #[arg(long)]
    no_new_accounts: bool,
}

pub(crate) async fn run(command: OrchestratorCommand, config: &Config, json: bool) -> Result<(), Failure> {
    let db = open_db(config)?;
    db.migrate().await?;
    let now = SystemClock.now();
    match command {
        OrchestratorCommand::Add(args) => {
            let new = read(&args)?;
            reachable(&new, config)?;
            let added = db.write(HOUSE, move |conn| orchestrator::add(conn, &new, now)).await;
            let added = added.map_err(|error| match error {
                error @ (AddError::NameTaken(_) | AddError::IssuerTaken(_)) => {
                    Failure::conflict(format!("{error}: see `portreeve orchestrator list`"))
                }
                error @ AddError::ClientId => bad("--client-id", error),
                error @ AddError::NoAlgorithm => bad("--algorithm", error),
                error => error.into(),
            })?;
            if let Some(warning) = wire::warnings(&added) {
                warn(&warning)?;
            }
            show(&added, json)
        }
        OrchestratorCommand::List => list(&db, json).await,
        OrchestratorCommand::Show { which } => show(&find(&db, which).await?, json),
        OrchestratorCommand::Wire(command) => wire::run(command, &db, config, json).await,
        OrchestratorCommand::Distrust(args) => takeover::distrust(*args, &db, json).await,
        OrchestratorCommand::Distrusts { which } => takeover::distrusts(&which, &db, json).await,
        OrchestratorCommand::Restore(args) => takeover::restore(*args, &db, json).await,
        OrchestratorCommand::BlastRadius(args) => blast_radius::blast_radius(*args, &db, json).await,
        OrchestratorCommand::Stream(command) => stream::run(command, &db, config, json).await,
        OrchestratorCommand::Policy { which, existing_account } => {
            let policy = parsed("--existing-account", &existing_account)?;
            let id = find(&db, which).await?.id;
            let set = db.write(HOUSE, move |conn| orchestrator::set_existing_account(conn, &id, policy, now)).await?;
            if let Some(warning) = wire::warnings(&set) {
                warn(&warning)?;
            }
            show(&set, json)
        }
        OrchestratorCommand::Suspend { which } => {
            let id = find(&db, which).await?.id;
            show(&db.write(HOUSE, move |conn| orchestrator::suspend(conn, &id, now)).await?, json)
        }
        OrchestratorCommand::Resume { which } => {
            let id = find(&db, which).await?.id;
            show(&db.write(HOUSE, move |conn| orchestrator::resume(conn, &id, now)).await?, json)
        }
    }
}

/// What is wrong, and where it was written.
fn bad(place: &str, error: impl std::fmt::Display) -> Failure {
    Failure::invalid(format!("{place}: {error}"))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(place: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| bad(place, error))
}

fn money(place: &str, text: &str) -> Result<Money, Failure> {
    let rate: Rate = parsed(place, text)?;
    Ok(Money { amount: rate.exact().map_err(|error| bad(place, error))?, currency: rate.currency() })
}

fn read(args: &AddArgs) -> Result<NewOrchestrator, Failure> {
    let monthly = money("--monthly-ceiling", &args.monthly_ceiling)?;
    let provisional = match &args.provisional_ceiling {
        Some(text) => money("--provisional-ceiling", text)?,
        None => monthly,
    };
    if provisional.currency != monthly.currency {
        let (one, other) = (provisional.currency, monthly.currency);
        return Err(bad(
            "--provisional-ceiling",
            format!("it is in {one} and --monthly-ceiling in {other}: use one currency"),
        ));
    }
    let name = parsed("NAME", &args.name)?;
    let issuer = parsed("--issuer", &args.issuer)?;
    let mut new = NewOrchestrator::new(name, issuer, args.client_id.as_str());
    if !args.algorithms.is_empty() {
        new.algorithms = args.algorithms.iter().map(|text| parsed("--algorithm", text)).collect::<Result<_, _>>()?;
    }
    new.existing_account = parsed("--existing-account", &args.existing_account)?;
    new.may_open_accounts = !args.no_new_accounts;
    new.email_domains =
        args.email_domains.iter().map(|text| parsed("--email-domain", text)).collect::<Result<_, _>>()?;
    new.settlement_url.clone_from(&args.settlement_url);
    new.currency = monthly.currency;
    new.monthly_ceiling = monthly.amount;
    new.provisional_ceiling = provisional.amount;
    Ok(new)
}

/// Plain http is fetched from this machine, and from hosts that the configuration names, alone: of any other issuer no key
/// would ever be read.
fn reachable(new: &NewOrchestrator, config: &Config) -> Result<(), Failure> {
    let Ok(url) = new.issuer.as_str().parse::<url::Url>() else { return Ok(()) };
    let named = url.host_str().is_some_and(|host| config.outgoing.special_hosts.iter().any(|known| known == host));
    if url.scheme() == "https" || named || app::is_loopback(&url) {
        return Ok(());
    }
    let host = url.host_str().unwrap_or_default();
    Err(bad(
        "--issuer",
        format!("its keys would be fetched by plain http: use https, or name `{host}` in `outgoing.special_hosts`"),
    ))
}

pub(super) async fn find(db: &Db, which: String) -> Result<Orchestrator, Failure> {
    let named = which.clone();
    let found = db.read(move |conn| orchestrator::by_name_or_id(conn, &named)).await?;
    found.ok_or_else(|| {
        Failure::not_found(format!("there is no orchestrator `{which}`: see `portreeve orchestrator list`"))
    })
}

async fn list(db: &Db, json: bool) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let from = after.clone();
        let page = db.read(move |conn| orchestrator::list(conn, from.as_ref(), 100)).await?;
        for one in &page {
            if json {
                say(&describe(one).to_string())?;
            } else {
                let state = if one.suspended_at.is_some() { "suspended" } else { "active" };
                say(&format!("{}  {:<20}  {:<9}  {}", one.id, one.name.as_str(), state, one.issuer.as_str()))?;
            }
        }
        if page.is_empty() && after.is_none() && !json {
            say(
                "No orchestrator is trusted yet.\nNext: portreeve orchestrator add NAME --issuer URL --client-id ID --settlement-url URL",
            )?;
        }
        match page.last() {
            Some(last) if page.len() == 100 => after = Some(last.id.clone()),
            _ => return Ok(()),
        }
    }
}

fn describe(one: &Orchestrator) -> Value {
    json!({
        "id": one.id, "name": one.name.as_str(), "issuer": one.issuer.as_str(), "client_id": one.client_id,
        "algorithms": one.algorithms.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>(),
        "existing_account": one.existing_account.as_str(), "may_open_accounts": one.may_open_accounts,
        "email_domains": one.email_domains.iter().map(portreeve::orchestrator::EmailDomain::as_str).collect::<Vec<_>>(),
        "settlement_url": one.settlement_url, "currency": one.currency, "monthly_ceiling": one.monthly_ceiling,
        "provisional_ceiling": one.provisional_ceiling, "created_at": one.created_at, "suspended_at": one.suspended_at,
    })
}

fn show(one: &Orchestrator, json: bool) -> Result<(), Failure> {
    if json {
        return say(&describe(one).to_string());
    }
    let amount = |amount| format!("{} {}", Money { amount, currency: one.currency }.major(), one.currency);
    let list = |words: Vec<&str>| if words.is_empty() { "(none)".to_owned() } else { words.join(", ") };
    let state = one.suspended_at.map_or_else(|| "active".to_owned(), |since| format!("suspended since {since}"));
    let settlement = one.settlement_url.as_ref().map_or("(none: its payment tokens are not taken)", url::Url::as_str);
    for (name, text) in [
        ("id", one.id.to_string()),
        ("name", one.name.to_string()),
        ("state", state),
        ("issuer", one.issuer.as_str().to_owned()),
        ("client id", one.client_id.clone()),
        ("algorithms", list(one.algorithms.iter().map(|algorithm| algorithm.as_str()).collect())),
        ("existing account", one.existing_account.as_str().to_owned()),
        ("may open accounts", if one.may_open_accounts { "yes" } else { "no" }.to_owned()),
        ("e-mail domains", list(one.email_domains.iter().map(orchestrator::EmailDomain::as_str).collect())),
        ("settlement", settlement.to_owned()),
        ("monthly ceiling", amount(one.monthly_ceiling)),
        ("while unclaimed", amount(one.opening_ceiling())),
        ("registered", one.created_at.to_string()),
    ] {
        say(&format!("{name:<20} {text}"))?;
    }
    Ok(())
}
