//! `portreeve catalog …`

use std::path::PathBuf;

use clap::Subcommand;
use portreeve::app::{self, HOUSE};
use portreeve::catalog::{self, InitError, LastSeen, Published, VerifyUrlError};
use portreeve::clock::{Clock as _, SystemClock};
use portreeve::fetch::Fetch;
use portreeve::signing::{self, KeyOrigin};
use serde_json::json;

use super::{Failure, load, say};

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
            validate(&folder, json).map(drop)
        }
        CatalogCommand::Publish { base_url, dry_run } => publish(config, base_url, dry_run, json).await,
        CatalogCommand::Verify { url, jwks, state } => verify(&url, jwks, &state, json).await,
    }
}

fn init(folder: &std::path::Path, json: bool) -> Result<(), Failure> {
    let written = catalog::init(folder).map_err(|error| match error {
        error @ InitError::Exists(..) => Failure::conflict(error.to_string()),
        error => error.into(),
    })?;
    if json { say(&json!({"written": written}).to_string()) } else { say(&format!("wrote {} files", written.len())) }
}

fn validate(folder: &std::path::Path, json: bool) -> Result<catalog::Catalog, Failure> {
    match catalog::validate(folder) {
        Ok(catalog) => {
            let (services, notes) = (catalog.content().services.len(), catalog.notes());
            if json {
                say(&json!({"valid": true, "services": services, "notes": notes}).to_string())?;
            } else {
                say(&format!("{}: {services} services, no mistakes", folder.display()))?;
                notes.iter().try_for_each(|note| say(&format!("note: {note}")))?;
            }
            Ok(catalog)
        }
        Err(mistakes) => {
            if json {
                let each: Vec<_> = mistakes
                    .iter()
                    .map(
                        |one| json!({"file": one.file, "line": one.line, "column": one.column, "message": one.message}),
                    )
                    .collect();
                say(&json!({"valid": false, "mistakes": each}).to_string())?;
            }
            let each: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            Err(Failure::invalid(mistakes_text(&each)))
        }
    }
}

async fn publish(config: Option<&PathBuf>, base_url: Option<String>, dry_run: bool, json: bool) -> Result<(), Failure> {
    let config = load(config)?;
    let catalog = catalog::validate(&config.catalog.folder).map_err(|mistakes| {
        let each: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Failure::invalid(mistakes_text(&each))
    })?;
    let base_url = match (base_url, config.server.base_url.as_str()) {
        (Some(given), _) => given,
        (None, "") => format!("http://{}", config.server.listen),
        (None, configured) => configured.to_owned(),
    };
    let master = app::master_key(&config)?;
    app::check_bindings(&catalog, &app::drivers(&config, &master)?)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    if dry_run {
        return say(&format!("would publish {} services as {base_url}", catalog.content().services.len()));
    }
    let db = app::open_db(&config)?;
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

async fn verify(url: &url::Url, jwks: Option<PathBuf>, state: &std::path::Path, json: bool) -> Result<(), Failure> {
    let pinned = match jwks {
        Some(file) => Some(catalog::read_keys(&std::fs::read(file)?)?),
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

fn mistakes_text(each: &[String]) -> String {
    let count = if each.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", each.len()) };
    format!("the catalog has {count}\n{}", each.join("\n"))
}
