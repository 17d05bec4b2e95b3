//! `portreeve catalog …`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use portreeve::app::{self, HOUSE};
use portreeve::catalog::{self, InitError, LastSeen, Published, VerifyUrlError};
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::config::Config;
use portreeve::fetch::Fetch;
use portreeve::signing::{self, KeyOrigin};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Failure, load, open_db, say};

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Write an example catalog.
    Init {
        /// The folder; `catalog` when absent.
        #[arg(default_value = "catalog")]
        folder: PathBuf,
    },
    /// Check the files: every mistake with its place and what to do.
    Validate {
        /// The folder; the configured one when absent.
        folder: Option<PathBuf>,
    },
    /// Publish the files as a new signed revision.
    Publish {
        /// The address that the outside uses; the configured one when absent.
        #[arg(long, value_name = "URL")]
        base_url: Option<String>,
        /// Say what would be published, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check a published catalog as a client would: signatures, age, and that it never goes back.
    Verify {
        /// The provider's address.
        url: url::Url,
        /// Trust only the keys in this file (a JWK set), not those that the provider serves.
        #[arg(long, value_name = "FILE")]
        jwks: Option<PathBuf>,
        /// Where the newest version seen is remembered.
        #[arg(long, value_name = "FILE", default_value = "catalog-seen.json")]
        state: PathBuf,
    },
}

pub(crate) async fn run(command: CatalogCommand, config: Option<&PathBuf>, json: bool) -> Result<(), Failure> {
    match command {
        CatalogCommand::Init { folder } => init(&folder, json),
        CatalogCommand::Validate { folder } => {
            let folder = match folder {
                Some(folder) => folder,
                None => load(config)?.catalog.folder,
            };
            validate(&folder, json)
        }
        CatalogCommand::Publish { base_url, dry_run } => publish(config, base_url, dry_run, json).await,
        CatalogCommand::Verify { url, jwks, state } => verify(&url, jwks, &state, json).await,
    }
}

fn init(folder: &Path, json: bool) -> Result<(), Failure> {
    let written = catalog::init(folder).map_err(|error| match error {
        error @ InitError::Exists(..) => Failure::conflict(error.to_string()),
        error => error.into(),
    })?;
    if json {
        return say(&json!({"written": written}).to_string());
    }
    for path in &written {
        say(&format!("wrote {}", path.display()))?;
    }
    say(&format!("\nNext: change the files, then portreeve catalog validate {}", folder.display()))
}

/// The catalog in this folder; its mistakes are told with paths that can be opened.
pub(super) fn read(folder: &Path) -> Result<catalog::Catalog, Failure> {
    if !folder.is_dir() {
        return Err(Failure::invalid(nothing_in(folder)));
    }
    catalog::validate(folder).map_err(|mistakes| {
        let each: Vec<String> = mistakes.iter().map(|one| format!("{}/{one}", folder.display())).collect();
        let count = if each.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", each.len()) };
        Failure::invalid(format!("the catalog has {count}\n{}", each.join("\n")))
    })
}

fn nothing_in(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "there is no catalog in `{folder}`: write one with `portreeve catalog init {folder}`, or set `catalog.folder`"
    )
}

fn validate(folder: &Path, json: bool) -> Result<(), Failure> {
    if json {
        let mistake = |one: &catalog::Mistake| json!({"file": one.file, "line": one.line, "column": one.column, "message": one.message});
        let told = match catalog::validate(folder) {
            Ok(catalog) => {
                json!({"valid": true, "services": catalog.content().services.len(), "notes": catalog.notes()})
            }
            Err(mistakes) => json!({"valid": false, "mistakes": mistakes.iter().map(mistake).collect::<Vec<_>>()}),
        };
        say(&told.to_string())?;
        return read(folder).map(drop);
    }
    let catalog = read(folder)?;
    let services = catalog.content().services.len();
    catalog.notes().iter().try_for_each(|note| say(&format!("note: {note}")))?;
    say(&format!("{}: {services} services, no mistakes\nNext: portreeve catalog publish", folder.display()))
}

async fn publish(config: Option<&PathBuf>, base_url: Option<String>, dry_run: bool, json: bool) -> Result<(), Failure> {
    let config = load(config)?;
    let catalog = read(&config.catalog.folder)?;
    let base_url = match (base_url, config.server.base_url.as_str()) {
        (Some(given), _) => given,
        (None, "") => format!("http://{}", config.server.listen),
        (None, configured) => configured.to_owned(),
    };
    let master = app::master_key(&config).map_err(|error| Failure::invalid(Failure::failed(error).message))?;
    app::check_bindings(&catalog, &app::drivers(&config, &master)?)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    if dry_run {
        return rehearse(&config, &catalog, &base_url, json).await;
    }
    let db = open_db(&config)?;
    db.migrate().await?;
    let now = SystemClock.now();
    let ring = db.write(HOUSE, move |conn| signing::load_or_create(conn, &master, KeyOrigin::Instance, now)).await?;
    let (word, edition) = match catalog::publish(&db, &ring, &catalog, &base_url, now).await? {
        Published::New(edition) => ("published", edition),
        Published::Unchanged(edition) => ("unchanged", edition),
    };
    let version = edition.version.number();
    if json {
        return say(&json!({"outcome": word, "version": version, "digest": edition.digest}).to_string());
    }
    say(&format!("{word}: revision {version}, {}, until {}", edition.digest, edition.expires_at))
}

/// Says what publishing would do. A database that is not there yet is not made for it.
async fn rehearse(config: &Config, catalog: &catalog::Catalog, base_url: &str, json: bool) -> Result<(), Failure> {
    let services = catalog.content().services.len();
    let absent =
        config.database.url.expose_secret().strip_prefix("sqlite:").is_some_and(|path| !Path::new(path).exists());
    let mut same = None;
    if !absent {
        let db = open_db(config)?;
        if db.pending_migrations().await?.is_empty() {
            same = catalog::unchanged(&db, catalog, base_url, SystemClock.now()).await?;
        }
    }
    let version = same.as_ref().map(|edition| edition.version.number());
    if json {
        let outcome = if version.is_some() { "unchanged" } else { "would_publish" };
        return say(
            &json!({"outcome": outcome, "version": version, "services": services, "base_url": base_url}).to_string()
        );
    }
    match version {
        Some(version) => say(&format!("unchanged: revision {version} says the same, and nothing would be published")),
        None => say(&format!("would publish {services} services as {base_url}")),
    }
}

async fn verify(url: &url::Url, jwks: Option<PathBuf>, state: &Path, json: bool) -> Result<(), Failure> {
    let pinned = match jwks {
        Some(file) => {
            let text = std::fs::read(&file).map_err(|error| Failure::at(&file, &error))?;
            Some(catalog::read_keys(&text)?)
        }
        None => None,
    };
    let issuer = url.as_str().trim_end_matches('/').to_owned();
    let seen = LastSeen::recall(state, &issuer)?;
    let fetch = Fetch::new(&catalog::fetch_settings(url))?;
    let verified = catalog::verify_url(&fetch, url, pinned.as_ref(), seen.as_ref(), SystemClock.now()).await;
    match verified {
        Ok(verified) => {
            verified.seen().remember(state, &issuer)?;
            let version = verified.document.version.number();
            if json {
                return say(
                    &json!({"verified": true, "version": version, "digest": verified.digest, "kids": verified.kids})
                        .to_string(),
                );
            }
            say(&format!(
                "verified: revision {version}, {}, signed by {}",
                verified.digest,
                verified.kids.join(" and ")
            ))
        }
        Err(VerifyUrlError::Refused(refused)) => {
            if json {
                say(&json!({"verified": false, "reason": refused.to_string()}).to_string())?;
            }
            Err(Failure::findings(format!("do not trust this catalog: {refused}")))
        }
        Err(other) => Err(other.into()),
    }
}
