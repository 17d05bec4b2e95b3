//! `portreeve orchestrator wire …` and `portreeve wire manifest`: how orchestrators speak the provisioning wire.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portreeve::app::{self, HOUSE};
use portreeve::attestation::request_signature::PublicKeySource;
use portreeve::audit::{self, Fact};
use portreeve::authorization::Scope;
use portreeve::clock::{Clock as _, SystemClock, Timestamp};
use portreeve::config::Config;
use portreeve::db::{Db, DbError};
use portreeve::ids::{OrchestratorId, WireSecretId};
use portreeve::orchestrator::{
    self, AccountAnswer, NotificationSecret, Profile, SignatureMode, WireSecret, WireSettings,
};
use portreeve::secret::Secret;
use portreeve::signing::Sealer;
use serde_json::{Value, json};
use url::Url;

use super::orchestrator::find;
use super::{Failure, open_db, say};

#[derive(Debug, Subcommand)]
pub(crate) enum WireCommand {
    /// Set how it speaks. What is not named stays as it was.
    Set(Box<SetArgs>),
    /// How it speaks.
    Show {
        /// Its name or id.
        which: String,
    },
    /// The secrets with which it signs.
    #[command(subcommand)]
    Secret(SecretCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Accept another secret, beside those there are.
    Add {
        /// The orchestrator's name or id.
        which: String,
        /// Where the secret stands that the orchestrator gave you (`whsec_…`); made and printed once when absent.
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// All of them, without the secrets themselves.
    List {
        /// The orchestrator's name or id.
        which: String,
    },
    /// Accept a secret no longer.
    Retire {
        /// The orchestrator's name or id.
        which: String,
        /// The secret's id, as `list` shows it.
        secret: WireSecretId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Its name or id.
    which: String,
    /// What it calls itself in `orchestrator.type`: `stripe`.
    #[arg(long, value_name = "WORD")]
    kind: Option<String>,
    /// The shapes that it is sent: 2026-03-30, 2026-04-01, 2026-06-25, generic.
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// The signatures that it must send: hmac, v2_advisory, v2_required, unsigned.
    #[arg(long, value_name = "MODE")]
    signatures: Option<SignatureMode>,
    /// How a new account is answered: oauth (a code) or credentials (tokens at once).
    #[arg(long, value_name = "HOW")]
    account_answer: Option<AccountAnswer>,
    /// What must be known of a person, parted by commas: name, phone, country. Empty: nothing.
    #[arg(long, value_name = "LIST")]
    require: Option<String>,
    /// Where the browser goes with a code after consent. Empty: nowhere.
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// Where its keys for the second signature are. Empty: nowhere.
    #[arg(long, value_name = "URL")]
    public_keys_url: Option<String>,
    /// The token that it gave you for them.
    #[arg(long, value_name = "FILE")]
    public_keys_token_file: Option<PathBuf>,
    /// Its client id at our token endpoint. Empty: none.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Its client secret.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// Where it hears of events. Empty: nowhere.
    #[arg(long, value_name = "URL")]
    notification_url: Option<String>,
    /// The secret (`whsec_…`) that signs notifications, when the orchestrator gave you one.
    #[arg(long, value_name = "FILE", conflicts_with = "new_notification_secret")]
    notification_secret_file: Option<PathBuf>,
    /// Make a new secret that signs notifications, and print it once.
    #[arg(long)]
    new_notification_secret: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WireTopCommand {
    /// Print what a provider registers with an orchestrator.
    Manifest {
        /// For which orchestrator: its client id at our token endpoint is filled in.
        #[arg(long, value_name = "NAME")]
        orchestrator: Option<String>,
        /// Under which of the configured prefixes the orchestrator will call; `/` when absent.
        #[arg(long, value_name = "PREFIX")]
        prefix: Option<String>,
    },
}

pub(crate) async fn run(command: WireCommand, db: &Db, config: &Config, json: bool) -> Result<(), Failure> {
    let now = SystemClock.now();
    match command {
        WireCommand::Set(args) => set(*args, db, config, now, json).await,
        WireCommand::Show { which } => {
            let one = find(db, which).await?;
            show(&present(db, &one.id).await?, json)
        }
        WireCommand::Secret(SecretCommand::Add { which, from_file }) => {
            let id = find(db, which).await?.id;
            add_secret(db, &sealer(config)?, id, from_file.as_deref(), now, json).await
        }
        WireCommand::Secret(SecretCommand::List { which }) => {
            let id = find(db, which).await?.id;
            list_secrets(db, id, json).await
        }
        WireCommand::Secret(SecretCommand::Retire { which, secret }) => {
            let id = find(db, which).await?.id;
            retire(db, id, secret, now, json).await
        }
    }
}

/// `portreeve wire …`
pub(crate) async fn top(command: WireTopCommand, config: &Config) -> Result<(), Failure> {
    let WireTopCommand::Manifest { orchestrator, prefix } = command;
    let known = |prefix: &String| config.wire.prefixes.iter().any(|one| one.as_str() == prefix);
    if let Some(unknown) = prefix.as_ref().filter(|prefix| !known(prefix)) {
        return Err(Failure::not_found(format!("`wire.prefixes` does not have `{unknown}`")));
    }
    let client_id = match orchestrator {
        Some(which) => {
            let db = open_db(config)?;
            let one = find(&db, which).await?;
            present(&db, &one.id).await?.client_id
        }
        None => None,
    };
    let base = super::serve::base_url(config)?;
    let manifest = manifest(&base, prefix.as_deref().unwrap_or(""), client_id.as_deref());
    say(&serde_json::to_string_pretty(&manifest)?)
}

/// The `provisioning` block of the app that a provider registers, and the permission that goes with it. The schema is a
/// JSON Schema written as text.
fn manifest(base: &str, prefix: &str, client_id: Option<&str>) -> Value {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": true}).to_string();
    json!({
        "permissions": [{
            "permission": "provisioning_account_request_write",
            "purpose": "Confirm account requests after the user's consent.",
        }],
        "provisioning": {
            "base_url": format!("{base}{prefix}/"),
            "oauth_scopes": Scope::ALL.map(Scope::as_str),
            "oauth_token_endpoint": format!("{base}{prefix}/oauth/token"),
            "oauth_client_id": client_id.unwrap_or("set --client-id with `portreeve orchestrator wire set`"),
            "oauth_client_secret_secret_store_key": "oauth_client_secret",
            "account_configuration_schema": schema,
            "capabilities": ["resources:update_service", "resources:deprovision"],
            "deep_link_purposes": ["dashboard"],
            "llm_context": format!("{base}/llms.txt"),
        },
    })
}

fn sealer(config: &Config) -> Result<Sealer, Failure> {
    Ok(app::wire_sealer(&app::master_key(config)?)?)
}

async fn present(db: &Db, id: &OrchestratorId) -> Result<WireSettings, Failure> {
    let id = id.clone();
    let found = db.read(move |conn| orchestrator::wire_of(conn, &id)).await?;
    found.ok_or_else(|| Failure::not_found("it does not speak the wire yet: see `portreeve orchestrator wire set`"))
}

/// How one speaks of whom nothing was set: HMAC, the newest shapes, codes.
pub(super) fn unset(id: OrchestratorId, now: Timestamp) -> WireSettings {
    let [.., newest, _generic] = Profile::ALL;
    WireSettings {
        orchestrator_id: id,
        kind: "stripe".to_owned(),
        profile: newest,
        signature_mode: SignatureMode::Hmac,
        account_answer: AccountAnswer::Code,
        required_information: Vec::new(),
        callback_url: None,
        public_keys_url: None,
        sealed_public_keys_token: None,
        client_id: None,
        client_secret_hash: None,
        notification_url: None,
        sealed_notification_secret: None,
        changed_at: now,
    }
}

/// The text of a file that holds one secret.
fn secret_text(path: &Path) -> Result<zeroize::Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new).map_err(|error| Failure::at(path, &error))?;
    let trimmed = text.trim();
    if !(16..=512).contains(&trimmed.len()) || !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::invalid(format!("{} is not one secret of 16 to 512 visible characters", path.display())));
    }
    Ok(zeroize::Zeroizing::new(trimmed.to_owned()))
}

/// An empty text takes the address away.
fn address(text: &str) -> Result<Option<Url>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let url: Url = text.parse().map_err(|_not_a_url| Failure::invalid(format!("`{text}` is not a URL")))?;
    let plain = matches!(url.scheme(), "https" | "http") && url.host().is_some() && url.username().is_empty();
    if plain && url.password().is_none() && url.fragment().is_none() {
        Ok(Some(url))
    } else {
        Err(Failure::invalid(format!("`{text}` is not an https URL without credentials")))
    }
}

async fn set(args: SetArgs, db: &Db, config: &Config, now: Timestamp, json: bool) -> Result<(), Failure> {
    let one = find(db, args.which.clone()).await?;
    let id = one.id.clone();
    let before = db.read(move |conn| orchestrator::wire_of(conn, &id)).await?;
    let mut settings = before.unwrap_or_else(|| unset(one.id.clone(), now));
    settings.changed_at = now;
    let sealer = sealer(config)?;
    apply(&mut settings, &args, &sealer)?;
    let fresh = notification_secret(&mut settings, args.new_notification_secret, &sealer)?;
    check(&settings)?;
    let stored = settings.clone();
    db.write(HOUSE, move |conn| {
        orchestrator::set_wire(conn, &stored)?;
        let detail = json!({"profile": stored.profile.name, "signatures": stored.signature_mode.as_str()});
        let fact = fact("orchestrator.wire_set", stored.orchestrator_id.as_str(), detail);
        Ok::<_, DbError>(audit::append(conn, &fact, now)?)
    })
    .await?;
    show(&settings, json)?;
    if let Some(secret) = fresh {
        let line = if json {
            json!({"notification_secret": secret.as_str()}).to_string()
        } else {
            format!(
                "\nNotifications are signed with this secret (Standard Webhooks). It is shown once:\n{}",
                secret.as_str()
            )
        };
        say(&line)?;
    }
    Ok(())
}

fn apply(settings: &mut WireSettings, args: &SetArgs, sealer: &Sealer) -> Result<(), Failure> {
    let id = settings.orchestrator_id.clone();
    if let Some(kind) = &args.kind {
        settings.kind.clone_from(kind);
    }
    settings.profile = args.profile.unwrap_or(settings.profile);
    settings.signature_mode = args.signatures.unwrap_or(settings.signature_mode);
    settings.account_answer = args.account_answer.unwrap_or(settings.account_answer);
    if let Some(list) = &args.require {
        settings.required_information =
            list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    }
    for (given, place) in [
        (&args.callback_url, &mut settings.callback_url),
        (&args.public_keys_url, &mut settings.public_keys_url),
        (&args.notification_url, &mut settings.notification_url),
    ] {
        if let Some(text) = given {
            *place = address(text)?;
        }
    }
    if let Some(path) = &args.public_keys_token_file {
        let hidden = sealer.seal(&PublicKeySource::place(&id), secret_text(path)?.as_bytes())?;
        settings.sealed_public_keys_token = Some(hidden);
    }
    if let Some(path) = &args.notification_secret_file {
        let text = secret_text(path)?;
        if !text.starts_with("whsec_") {
            return Err(Failure::invalid(format!("{} holds no secret that begins with `whsec_`", path.display())));
        }
        settings.sealed_notification_secret = Some(sealer.seal(&NotificationSecret::place(&id), text.as_bytes())?);
    }
    if let Some(client_id) = &args.client_id {
        settings.client_id = Some(client_id.clone()).filter(|id| !id.is_empty());
    }
    if let Some(path) = &args.client_secret_file {
        settings.client_secret_hash = Some(Secret::presented(&secret_text(path)?).hash());
    }
    Ok(())
}

/// Made when there is somebody to tell and no secret yet, or when a new one is asked for.
fn notification_secret(
    settings: &mut WireSettings,
    anew: bool,
    sealer: &Sealer,
) -> Result<Option<zeroize::Zeroizing<String>>, Failure> {
    if settings.notification_url.is_none() || (settings.sealed_notification_secret.is_some() && !anew) {
        return Ok(None);
    }
    let text = NotificationSecret::generate()?;
    let place = NotificationSecret::place(&settings.orchestrator_id);
    settings.sealed_notification_secret = Some(sealer.seal(&place, text.as_bytes())?);
    Ok(Some(text))
}

fn check(settings: &WireSettings) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if settings.kind.is_empty() || settings.kind.len() > 64 || !settings.kind.chars().all(plain) {
        return Err(Failure::invalid("--kind is one word of small letters, digits and `_`"));
    }
    if let Some(word) =
        settings.required_information.iter().find(|word| !matches!(word.as_str(), "name" | "phone" | "country"))
    {
        return Err(Failure::invalid(format!("--require knows name, phone and country, not `{word}`")));
    }
    let unsigned = settings.signature_mode == SignatureMode::Unsigned;
    if unsigned == settings.profile.signed {
        return Err(Failure::invalid("`--signatures unsigned` and `--profile generic` go together, and only together"));
    }
    let second = matches!(settings.signature_mode, SignatureMode::V2Advisory | SignatureMode::V2Required);
    if second && settings.public_keys_url.is_none() {
        return Err(Failure::invalid("the second signature needs --public-keys-url"));
    }
    if settings.client_secret_hash.is_some() && settings.client_id.is_none() {
        return Err(Failure::invalid("a client secret needs --client-id"));
    }
    Ok(())
}

fn fact(action: &'static str, subject: &str, detail: Value) -> Fact<'static> {
    Fact { actor: "operator".to_owned(), action, account_id: None, subject: subject.to_owned(), detail }
}

fn show(settings: &WireSettings, json: bool) -> Result<(), Failure> {
    let described = json!({
        "orchestrator_id": settings.orchestrator_id, "kind": settings.kind, "profile": settings.profile.name,
        "signatures": settings.signature_mode.as_str(), "account_answer": settings.account_answer.as_str(),
        "require": settings.required_information.join(","), "callback_url": settings.callback_url,
        "public_keys_url": settings.public_keys_url, "public_keys_token": settings.sealed_public_keys_token.is_some(),
        "client_id": settings.client_id, "client_secret": settings.client_secret_hash.is_some(),
        "notification_url": settings.notification_url,
        "notification_secret": settings.sealed_notification_secret.is_some(), "changed_at": settings.changed_at,
    });
    lines(&described, json)
}

fn lines(described: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return say(&described.to_string());
    }
    for (name, value) in described.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say(&format!("{name:<20} {text}"))?;
    }
    Ok(())
}

async fn add_secret(
    db: &Db,
    sealer: &Sealer,
    orchestrator: OrchestratorId,
    file: Option<&Path>,
    now: Timestamp,
    json: bool,
) -> Result<(), Failure> {
    present(db, &orchestrator).await?;
    let (text, made) = match file {
        Some(path) => (secret_text(path)?, false),
        None => (zeroize::Zeroizing::new(Secret::generate("whsec")?.expose().to_owned()), true),
    };
    let id = WireSecretId::new(now);
    let hidden = sealer.seal(&WireSecret::place(&orchestrator, &id), text.as_bytes())?;
    let secret =
        WireSecret { orchestrator_id: orchestrator, id: id.clone(), sealed: hidden, created_at: now, retired_at: None };
    db.write(HOUSE, move |conn| {
        orchestrator::add_secret(conn, &secret)?;
        let detail = json!({"orchestrator_id": secret.orchestrator_id});
        let fact = fact("wire_secret.added", secret.id.as_str(), detail);
        Ok::<_, DbError>(audit::append(conn, &fact, now)?)
    })
    .await?;
    if json {
        let mut told = json!({"id": id});
        if let (true, Some(members)) = (made, told.as_object_mut()) {
            members.insert("secret".to_owned(), json!(text.as_str()));
        }
        return say(&told.to_string());
    }
    say(&format!("{id}  counts within seconds, in every process"))?;
    if made {
        say(&format!("Give this secret to the orchestrator. It is shown once:\n{}", text.as_str()))
    } else {
        Ok(())
    }
}

async fn list_secrets(db: &Db, orchestrator: OrchestratorId, json: bool) -> Result<(), Failure> {
    let all = db.read(move |conn| orchestrator::secrets_of(conn, &orchestrator)).await?;
    for one in &all {
        if json {
            let described = json!({"id": one.id, "created_at": one.created_at, "retired_at": one.retired_at});
            say(&described.to_string())?;
        } else {
            let state = one.retired_at.map_or("accepted".to_owned(), |at| format!("retired {}", at.to_rfc3339()));
            say(&format!("{}  {}  {state}", one.id, one.created_at.to_rfc3339()))?;
        }
    }
    Ok(())
}

async fn retire(
    db: &Db,
    orchestrator: OrchestratorId,
    secret: WireSecretId,
    now: Timestamp,
    json: bool,
) -> Result<(), Failure> {
    let id = secret.clone();
    let done = db.write(HOUSE, move |conn| {
        let done = orchestrator::retire_secret(conn, &orchestrator, &id, now)?;
        if done {
            let fact = fact("wire_secret.retired", id.as_str(), json!({"orchestrator_id": orchestrator}));
            audit::append(conn, &fact, now)?;
        }
        Ok::<_, DbError>(done)
    });
    if !done.await? {
        return Err(Failure::not_found(format!("there is no accepted secret {secret} of this orchestrator")));
    }
    if json {
        say(&json!({"id": secret, "retired_at": now}).to_string())
    } else {
        say(&format!("{secret} is no longer accepted, within seconds in every process"))
    }
}

/// What an operator should hear at start.
pub(crate) fn warnings(one: &orchestrator::Orchestrator) -> Option<String> {
    (one.existing_account == orchestrator::ExistingAccount::LinkSilently).then(|| {
        format!(
            "orchestrator `{}` links existing accounts silently: whoever controls it, or one mailbox that it vouches \
             for, gets into the account with that address without its owner being asked",
            one.name.as_str()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_the_members_that_orchestrators_register() {
        let manifest = manifest("https://desk.example", "/api/agentic", Some("client_1"));
        let block = &manifest["provisioning"];
        assert_eq!(block["base_url"], "https://desk.example/api/agentic/");
        assert_eq!(block["oauth_token_endpoint"], "https://desk.example/api/agentic/oauth/token");
        assert_eq!(block["oauth_client_id"], "client_1");
        let schema: Value = serde_json::from_str(block["account_configuration_schema"].as_str().unwrap()).unwrap();
        assert_eq!(schema["type"], "object");
        assert_eq!(manifest["permissions"][0]["permission"], "provisioning_account_request_write");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let id = OrchestratorId::new(Timestamp::from_seconds(1));
        let good = unset(id, Timestamp::from_seconds(1));
        assert!(check(&good).is_ok());
        assert!(check(&WireSettings { signature_mode: SignatureMode::Unsigned, ..good.clone() }).is_err());
        assert!(check(&WireSettings { signature_mode: SignatureMode::V2Required, ..good.clone() }).is_err());
        assert!(check(&WireSettings { kind: "Stripe!".to_owned(), ..good.clone() }).is_err());
        assert!(check(&WireSettings { required_information: vec!["shoe_size".to_owned()], ..good }).is_err());
        assert!(address("ftp://x.example").is_err() && address("https://a:b@x.example").is_err());
        assert_eq!(address("").unwrap(), None);
    }
}
