//! `portreeve serve`: a real instance. Refuses demo keys, and plain HTTP where others could listen in.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use portreeve::app::{App, StartError, is_loopback};
use portreeve::clock::SystemClock;
use portreeve::config::{Config, Layers};
use portreeve::signing::KeyOrigin;
use portreeve::{http, orchestrator, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use super::config::check;
use super::{Failure, catalog, misconfigured};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The public listener.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The address that the outside uses, such as https://desk.example.com.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// A proxy in front speaks TLS: allow plain HTTP on an address that is not loopback.
    #[arg(long)]
    behind_tls_proxy: bool,
}

pub(crate) async fn run(args: &ServeArgs, mut layers: Layers) -> Result<(), Failure> {
    if let Some(listen) = args.listen {
        layers.add_flag("server.listen", &listen.to_string(), "--listen")?;
    }
    if let Some(base_url) = &args.base_url {
        layers.add_flag("server.base_url", base_url, "--base-url")?;
    }
    if args.behind_tls_proxy {
        layers.add_flag("server.behind_tls_proxy", "true", "--behind-tls-proxy")?;
    }
    let config = layers.build().map_err(misconfigured)?;
    let base_url = check(&config)?;
    catalog::read(&config.catalog.folder)?;
    telemetry::start(&config.log)?;
    let public = listen(config.server.listen, "`server.listen` or --listen")?;
    let private = listen(config.server.private_listen, "`server.private_listen`")?;
    let private_address = private.local_addr()?;
    let started = App::start(&config, &base_url, KeyOrigin::Instance, Arc::new(SystemClock)).await;
    let app = started.map_err(|error| match error {
        StartError::Binding(..) => Failure::invalid(error.to_string()),
        other => other.into(),
    })?;
    warn_of_silent_links(&app).await?;
    warn_of_missing_ways(&app);
    let running = http::serve(app, &config.server, public, Some(private))?;
    tracing::info!(address = %running.address, private = %private_address, base_url, "serving");
    let drain = wait_for_signal().await?;
    let pause = if drain { Duration::from_secs(config.server.drain_seconds.min(5)) } else { Duration::ZERO };
    tracing::info!(drain, "stopping");
    running.stop(pause).await;
    Ok(())
}

/// Says at every start which ways to log in there are not.
fn warn_of_missing_ways(app: &App) {
    if !app.post.mailer.is_on() {
        tracing::warn!(
            "neither `mail.smtp_url` nor `mail.folder` is set: no mail goes out, and nobody can log in by a link in a mail"
        );
    } else if let Some(folder) = app.post.mailer.folder() {
        tracing::warn!(folder = %folder.display(), "mails are written as files and not sent (`mail.folder`)");
    }
    if app.relying_party.is_none() {
        tracing::warn!("`server.base_url` has no host name: browsers make no passkeys for it");
    }
}

/// Says at every start what the operator let in.
async fn warn_of_silent_links(app: &App) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = app.db.read(move |conn| orchestrator::list(conn, after.as_ref(), 100)).await?;
        for warning in page.iter().filter_map(super::wire::warnings) {
            tracing::warn!("{warning}");
        }
        match page.last() {
            Some(last) if page.len() == 100 => after = Some(last.id.clone()),
            _ => return Ok(()),
        }
    }
}

/// Listens; `setting` says where another address can be written.
pub(super) fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).map_err(|error| Failure {
        code: 1,
        message: format!("cannot listen on {address}: {error}; set another address with {setting}"),
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Our address for the outside. Without TLS it must be loopback, or a proxy must stand in front.
pub(super) fn base_url(config: &Config) -> Result<String, Failure> {
    let listen = config.server.listen;
    let given = config.server.base_url.as_str();
    let base = if given.is_empty() { format!("http://{listen}") } else { given.to_owned() };
    let url: url::Url = base.parse().map_err(|_not_a_url| Failure::invalid("`server.base_url` is not a URL"))?;
    if base.ends_with('/') || url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err(Failure::invalid("`server.base_url` is scheme and host only, without a slash at the end"));
    }
    let loopback = listen.ip().is_loopback();
    if url.scheme() == "http" && !(loopback && is_loopback(&url)) {
        return Err(Failure::invalid("`server.base_url` must be https, except on loopback"));
    }
    if !loopback && !config.server.behind_tls_proxy {
        return Err(Failure::invalid(
            "refusing plain HTTP on an address that is not loopback: put a TLS proxy in front and say --behind-tls-proxy",
        ));
    }
    Ok(base)
}

/// SIGTERM drains; SIGINT (Ctrl-C) stops without the pause.
pub(super) async fn wait_for_signal() -> Result<bool, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(true),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(false)
        }
    }
}
