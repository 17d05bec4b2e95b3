//! `portreeve demo`: the main job on embedded defaults. A real provider, a simulated orchestrator and the example's
//! platform, each on its own listener; an agent walks the real HTTP surface.

mod trust;

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use portreeve::app::{self, App, HOUSE};
use portreeve::catalog;
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::{Config, Layers};
use portreeve::fetch::{Fetch, FetchSettings, Outgoing};
use portreeve::ids::RequestId;
use portreeve::login::{self, Authentication, Method, NewSession};
use portreeve::money::{Amount, Currency, Money};
use portreeve::secret::{NoRandomness, Secret};
use portreeve::signing::{KeyOrigin, MasterKey};
use portreeve::simulator::{
    IdTokenSpec, PaymentTokenSpec, Platform, PlatformSettings, Printer, Simulator, SimulatorSettings, Style, User,
    WalkOptions, WalkReport, WireOptions,
};
use portreeve::{http, telemetry};
use serde_json::{Value, json};

use super::init::write_new;
use super::serve::{listen, wait_for_signal};
use super::{Failure, say};
use trust::trust;

/// Our client id at the simulated orchestrator.
const CLIENT_ID: &str = "acme-cloud";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The provider's listener: loopback only.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Stop after the walk: exit code 0 only when every step went as expected.
    #[arg(long)]
    once: bool,
    /// Call this machine `localhost` in every address, in place of a number: browsers make passkeys for names only.
    #[arg(long)]
    localhost: bool,
    /// Show how to repeat each step.
    #[arg(long)]
    curl: bool,
    /// Keep the data in this folder instead of throwing it away.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The demo's folder; thrown away when it ends, unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn open(keep: Option<&PathBuf>) -> Result<Self, Failure> {
        let path = match keep {
            Some(path) => path.clone(),
            None => std::env::temp_dir().join(format!("portreeve-{}", RequestId::new(SystemClock.now()))),
        };
        std::fs::create_dir_all(&path).map_err(|error| Failure::at(&path, &error))?;
        Ok(Self { path, keep: keep.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // The demo is over; what cannot be removed is left to the system's own cleaning.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

pub(crate) async fn run(args: &DemoArgs, json: bool) -> Result<(), Failure> {
    if !args.listen.ip().is_loopback() {
        return Err(Failure::invalid("the demo listens on loopback only: its keys and its orchestrator are not real"));
    }
    let folder = Folder::open(args.keep.as_ref())?;
    let public = listen(args.listen, "--listen, such as --listen 127.0.0.1:0")?;
    let base_url = match public.local_addr()? {
        address if args.localhost => format!("http://localhost:{}", address.port()),
        address => format!("http://{address}"),
    };
    let clock = Arc::new(SystemClock);
    let bind = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let provider_base: url::Url = base_url.parse()?;
    let simulator = Simulator::start(SimulatorSettings {
        provider_base: provider_base.clone(),
        client_id: CLIENT_ID.to_owned(),
        bind,
        clock: clock.clone(),
    })?;
    let (master, meter_key) = secrets(&folder.path)?;
    let platform = Platform::start(PlatformSettings {
        provider_base: provider_base.clone(),
        platform_key: app::platform_key(&master)?,
        meter_key,
        bind,
        clock: clock.clone(),
    })?;
    let config = config(&folder.path, &base_url, &platform.url)?;
    telemetry::start(&config.log)?;
    if !config.catalog.folder.exists() {
        catalog::init(&config.catalog.folder)?;
    }
    let app = App::start(&config, &base_url, KeyOrigin::Demo, clock.clone()).await?;
    match catalog::publish(&app.db, &app.ring, &app.catalog(), &base_url, clock.now()).await? {
        catalog::Published::New(edition) => app.take_up(edition),
        catalog::Published::Unchanged(_) => {}
    }
    let trusted = trust(&app, &simulator).await?;
    let user = person("ada", &folder);
    let wire = WireOptions {
        user: person("ben", &folder),
        secret_file: std::path::absolute(folder.path.join("harbour.key"))?,
    };
    keep_secret(&wire.secret_file, &simulator)?;
    let edition = app.edition();
    let head = [
        (
            "database",
            format!(
                "SQLite in {}{}",
                folder.path.display(),
                if folder.keep { "" } else { " (thrown away at the end; --keep DIR keeps it)" }
            ),
        ),
        (
            "catalog",
            format!(
                "revision {} · {} services · signed with ES256 and EdDSA",
                edition.version.number(),
                edition.document.services.len()
            ),
        ),
        ("orchestrator", format!("\"{}\" trusted (built in, keys generated now)", trusted.name)),
        ("log-in", format!("at /login, as {}; mails are files in {}", user.email, folder.path.join("mail").display())),
    ];
    let running = http::serve(app, &config.server, public, None)?;
    let options = WalkOptions { user: user.clone(), wire: Some(wire), ..WalkOptions::default() };
    let report = walk(args, json, &provider_base, &simulator, &platform, &options, &head, &base_url).await?;
    if json && !args.once {
        let mut line = ready((&base_url, &folder.path), &simulator, &platform, &user, &report).await?;
        log_in(&running.app, &mut line).await?;
        say(&line.to_string())?;
    }
    let ok = report.ok;
    if !args.once {
        wait_for_signal().await?;
    }
    running.stop(std::time::Duration::ZERO).await;
    platform.stop().await;
    simulator.stop().await;
    if ok { Ok(()) } else { Err(Failure::findings("a step of the walk did not go as expected")) }
}

/// Ada or Ben; in a kept folder somebody new each time, because the walk begins with people who have no account.
fn person(name: &str, folder: &Folder) -> User {
    let (subject, address) = (format!("user_{name}"), name.to_owned());
    let (subject, address) = if folder.keep {
        let run = RequestId::new(SystemClock.now()).to_string().to_lowercase();
        (format!("{subject}-{run}"), format!("{address}+{run}"))
    } else {
        (subject, address)
    };
    User { subject, email: format!("{address}@example.test"), ..User::ada() }
}

/// Writes down with what the orchestrator signs, for the commands that the demo prints. Readable by its owner alone.
fn keep_secret(path: &Path, simulator: &Simulator) -> Result<(), Failure> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    write_new(path, trust::told(simulator, "signing_secret")?, 0o600)
}

/// The demo's own secrets, made new, or those of the kept folder.
fn secrets(folder: &Path) -> Result<(MasterKey, Secret), Failure> {
    let (master, meter) = (folder.join("portreeve.key"), folder.join("meter.key"));
    if !master.exists() {
        write_new(&master, &MasterKey::generate()?.to_text(), 0o600)?;
    }
    if !meter.exists() {
        let key = Secret::generate("meter").map_err(|error: NoRandomness| Failure::failed(error))?;
        write_new(&meter, key.expose(), 0o600)?;
    }
    let master = MasterKey::from_text(&std::fs::read_to_string(master)?)?;
    Ok((master, Secret::presented(std::fs::read_to_string(meter)?.trim())))
}

fn config(folder: &Path, base_url: &str, platform_url: &str) -> Result<Config, Failure> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut layers = Layers::defaults()?;
    // The walk is refused on purpose, and says so itself.
    layers.add_flag("log.level", "warn,portreeve::http::wire::provisioning::envelope=error", "demo")?;
    layers.add_process_environment()?;
    for (key, value) in [
        ("server.base_url", base_url.to_owned()),
        ("database.url", format!("sqlite:{}", path("demo.db"))),
        ("keys.master_key", String::new()),
        ("keys.master_key_file", path("portreeve.key")),
        ("usage.meter_key", String::new()),
        ("usage.meter_key_file", path("meter.key")),
        ("catalog.folder", path("catalog")),
        ("outgoing.special_hosts", "127.0.0.1,[::1],localhost".to_owned()),
        // Whoever tries a client of their own needs no other command.
        ("oauth.dynamic_registration", "true".to_owned()),
        ("wire.generic_cimd_loopback", "true".to_owned()),
        ("mail.smtp_url", String::new()),
        ("mail.folder", path("mail")),
        ("static_driver.key", String::new()),
        ("static_driver.platform_url", platform_url.to_owned()),
    ] {
        layers.add_flag(key, &value, "demo")?;
    }
    Ok(layers.build()?)
}

#[expect(clippy::too_many_arguments, reason = "everything that the printed page says")]
async fn walk(
    args: &DemoArgs,
    json: bool,
    provider_base: &url::Url,
    simulator: &Simulator,
    platform: &Platform,
    options: &WalkOptions,
    head: &[(&str, String)],
    base_url: &str,
) -> Result<WalkReport, Failure> {
    let mut out = std::io::stdout();
    let colour = out.is_terminal() && std::env::vars().all(|(name, value)| name != "NO_COLOR" || value.is_empty());
    let mut printer = Printer::new(&mut out, Style { colour, json, curl: args.curl });
    let title = format!("portreeve {} · demo · nothing here is real money · {base_url}", env!("CARGO_PKG_VERSION"));
    printer.head(&title, head).map_err(Failure::writing)?;
    let mut told = Ok(());
    let report = portreeve::simulator::walk(provider_base, simulator, platform, options, |step| {
        if told.is_ok() {
            told = printer.step(step);
        }
    })
    .await?;
    told.map_err(Failure::writing)?;
    let more = [("Next", "portreeve init && portreeve serve".to_owned()), ("Stop", "Ctrl-C".to_owned())];
    // Nothing stays up after one walk: there is nothing to look at.
    printer.end(&report, (!args.once).then_some(&more)).map_err(Failure::writing)?;
    Ok(report)
}

/// Adds a browser session of the human, as if they had logged in just now: for programs that drive the pages.
async fn log_in(app: &App, line: &mut Value) -> Result<(), Failure> {
    let account = line.get("account_id").and_then(Value::as_str).unwrap_or("").parse()?;
    let (session, now) = (Secret::generate("ses").map_err(Failure::failed)?, app.clock.now());
    let authentication = Authentication { method: Method::MailLink, at: now };
    let new = NewSession { hash: session.hash(), account, authentication, replaces: None };
    app.db.write(HOUSE, move |conn| login::begin(conn, &new, now)).await?;
    if let Value::Object(members) = line {
        members.insert("session".to_owned(), json!(session.expose()));
    }
    Ok(())
}

/// What a program that drives the demo needs: links, a token for the same account, and the numbers to expect.
async fn ready(
    (base_url, folder): (&str, &Path),
    simulator: &Simulator,
    platform: &Platform,
    user: &User,
    report: &WalkReport,
) -> Result<Value, Failure> {
    let fetch = Fetch::new(&FetchSettings {
        special_hosts: vec!["127.0.0.1".to_owned(), "[::1]".to_owned(), "localhost".to_owned()],
        ..FetchSettings::default()
    })?;
    let id_token = simulator.mint_id_token(&IdTokenSpec::of(user))?;
    let opened = Outgoing::post_json(format!("{base_url}/v1/accounts").parse()?, &json!({"id_token": id_token}));
    let account: Value = fetch.send(opened).await?.json()?;
    let token = account.get("access_token").and_then(Value::as_str).unwrap_or("").to_owned();
    let asked = Outgoing::get(format!("{base_url}/v1/budget").parse()?).bearer(&token);
    let budget: Value = fetch.send(asked).await?.json()?;
    let shown = |name: &str| {
        let amount = budget
            .get(name)
            .and_then(Value::as_i64)
            .and_then(|minor| Amount::from_minor(minor).ok())
            .unwrap_or_default();
        Money { amount, currency: Currency::USD }.to_string()
    };
    let limit = Amount::from_minor(20_000).map_err(Failure::failed)?;
    let payment = simulator.mint_payment_token(&PaymentTokenSpec::new(Currency::USD, limit).of(user))?;
    Ok(json!({
        "event": "ready",
        "ok": report.ok,
        "base_url": base_url,
        "folder": folder,
        "mail_folder": folder.join("mail"),
        "email": user.email,
        "issuer_url": simulator.issuer_url,
        "platform_url": platform.url,
        "dashboard_url": report.links.dashboard,
        "access_token": token,
        "account_id": account.pointer("/account/id"),
        "purchase": {"service": "domain", "plan": "dot-dev", "payment_token": payment, "configuration": {"domain_name": "fieldnotes.dev"}},
        "expected": {"spent": shown("spent"), "held": shown("held"), "cap": shown("ceiling"), "left": shown("remaining")},
    }))
}
