//! `portreeve orchestrator stream …`: security events, in and out.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portreeve::app::{self, HOUSE};
use portreeve::audit::{self, Fact};
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::config::Config;
use portreeve::db::{Db, DbError};
use portreeve::ids::OrchestratorId;
use portreeve::orchestrator::{self, Orchestrator, StreamSettings, StreamToken};
use portreeve::secret::Secret;
use portreeve::signing::Sealer;
use serde_json::json;
use url::Url;

use super::orchestrator::find;
use super::{Failure, say};

#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Set how events are exchanged. What is not named stays as it was.
    Set(Box<SetArgs>),
    /// How they are exchanged.
    Show {
        /// The orchestrator's name or id.
        which: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The orchestrator's name or id.
    which: String,
    /// What its events name as their audience; our client id there when nothing was set.
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Whether it may push events to /security-events.
    #[arg(long, value_name = "BOOL")]
    push: Option<bool>,
    /// Make a token that its pushes must carry, and print it once.
    #[arg(long)]
    new_push_token: bool,
    /// Where we ask for events. Empty: nowhere.
    #[arg(long, value_name = "URL")]
    poll_url: Option<String>,
    /// The token that it gave you for that.
    #[arg(long, value_name = "FILE")]
    poll_token_file: Option<PathBuf>,
    /// Where it hears of frozen, claimed and disputed accounts. Empty: nowhere.
    #[arg(long, value_name = "URL")]
    send_url: Option<String>,
    /// The token that it gave you for that.
    #[arg(long, value_name = "FILE")]
    send_token_file: Option<PathBuf>,
}

pub(crate) async fn run(command: StreamCommand, db: &Db, config: &Config, json: bool) -> Result<(), Failure> {
    match command {
        StreamCommand::Set(args) => set(*args, db, config, SystemClock.now(), json).await,
        StreamCommand::Show { which } => {
            let id = find(db, which).await?.id;
            let found = db.read(move |conn| orchestrator::stream_of(conn, &id)).await?;
            show(
                &found
                    .ok_or_else(|| Failure::not_found("no stream is set: see `portreeve orchestrator stream set`"))?,
                json,
            )
        }
    }
}

fn address(name: &str, text: &str) -> Result<Option<Url>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Failure::invalid(format!("{name}: {error}")))
}

fn sealed(sealer: &Sealer, id: &OrchestratorId, which: StreamToken, file: &Path) -> Result<Option<String>, Failure> {
    let text = std::fs::read_to_string(file).map(zeroize::Zeroizing::new).map_err(|error| Failure::at(file, &error))?;
    Ok(Some(sealer.seal(&StreamSettings::place(id, which), text.trim().as_bytes())?))
}

/// Before anything was set.
fn unset(known: &Orchestrator, now: Timestamp) -> StreamSettings {
    StreamSettings {
        orchestrator_id: known.id.clone(),
        audience: known.client_id.clone(),
        accepts_push: false,
        push_token_hash: None,
        poll_url: None,
        sealed_poll_token: None,
        next_poll_at: None,
        send_url: None,
        sealed_send_token: None,
        verified_at: None,
        changed_at: now,
    }
}

/// What was named takes the place of what was set.
fn apply(settings: &mut StreamSettings, args: &SetArgs, sealer: &Sealer, now: Timestamp) -> Result<(), Failure> {
    settings.changed_at = now;
    if let Some(audience) = &args.audience {
        if audience.is_empty() || audience.len() > 255 || !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::invalid("--audience has 1 to 255 visible ASCII characters"));
        }
        settings.audience.clone_from(audience);
    }
    settings.accepts_push = args.push.unwrap_or(settings.accepts_push);
    if let Some(text) = &args.poll_url {
        settings.poll_url = address("--poll-url", text)?;
        settings.next_poll_at = settings.poll_url.as_ref().map(|_| now);
    }
    if let Some(text) = &args.send_url {
        settings.send_url = address("--send-url", text)?;
    }
    let id = settings.orchestrator_id.clone();
    if let Some(file) = &args.poll_token_file {
        settings.sealed_poll_token = sealed(sealer, &id, StreamToken::Poll, file)?;
    }
    if let Some(file) = &args.send_token_file {
        settings.sealed_send_token = sealed(sealer, &id, StreamToken::Send, file)?;
    }
    Ok(())
}

async fn set(args: SetArgs, db: &Db, config: &Config, now: Timestamp, json: bool) -> Result<(), Failure> {
    let known = find(db, args.which.clone()).await?;
    let sealer = app::wire_sealer(&app::master_key(config)?)?;
    let id = known.id.clone();
    let found = db.read(move |conn| orchestrator::stream_of(conn, &id)).await?;
    let mut settings = found.unwrap_or_else(|| unset(&known, now));
    apply(&mut settings, &args, &sealer, now)?;
    let made = if args.new_push_token { Some(Secret::generate("set")?) } else { None };
    if let Some(token) = &made {
        settings.push_token_hash = Some(token.hash());
    }
    let new = settings.clone();
    db.write(HOUSE, move |conn| {
        orchestrator::set_stream(conn, &new)?;
        let detail = json!({"push": new.accepts_push, "poll_url": new.poll_url, "send_url": new.send_url});
        let fact = Fact {
            actor: "operator".to_owned(),
            action: "security_stream.set",
            account_id: None,
            subject: new.orchestrator_id.to_string(),
            detail,
        };
        Ok::<_, DbError>(audit::append(conn, &fact, now)?)
    })
    .await?;
    show(&settings, json)?;
    match made {
        Some(token) if json => say(&json!({"push_token": token.expose()}).to_string()),
        Some(token) => say(&format!("Its pushes carry this token. It is shown once:\n{}", token.expose())),
        None => Ok(()),
    }
}

fn show(settings: &StreamSettings, json: bool) -> Result<(), Failure> {
    let described = json!({
        "orchestrator_id": settings.orchestrator_id, "audience": settings.audience, "push": settings.accepts_push,
        "push_token": settings.push_token_hash.is_some(), "poll_url": settings.poll_url,
        "poll_token": settings.sealed_poll_token.is_some(), "send_url": settings.send_url,
        "send_token": settings.sealed_send_token.is_some(), "verified_at": settings.verified_at,
        "changed_at": settings.changed_at,
    });
    if json {
        return say(&described.to_string());
    }
    for (name, value) in described.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say(&format!("{name:<16} {text}"))?;
    }
    Ok(())
}
