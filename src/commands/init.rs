//! `portreeve init`: everything that `serve` needs, in this folder, without overwriting anything.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portreeve::catalog::{self, InitError};
use portreeve::secret::Secret;
use portreeve::signing::MasterKey;
use serde_json::json;

use super::{Failure, say};

const CONFIG: &str = "\
# Portreeve. Every setting with its default: `portreeve config show --origin`.

[server]
listen = \"127.0.0.1:8080\"
# The address that the outside uses; it is also the issuer. Needed when a TLS proxy stands in front. To try it out on this
# machine: \"http://localhost:8080\", since people claim accounts with passkeys, which need a name.
base_url = \"\"

[database]
url = \"sqlite:portreeve.db\"

[catalog]
folder = \"catalog\"

# People log in by links in mails. For development, mails are files in a folder; for real ones set
# smtp_url = \"smtps://USER:PASSWORD@HOST\" and from = \"desk@acme.example\".
[mail]
folder = \"mail\"

# What `{platform_url}` stands for in the example catalog's credentials.
[static_driver]
platform_url = \"https://api.example.com\"
";

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder; the present one when absent.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(crate) fn run(args: &InitArgs, json: bool) -> Result<(), Failure> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).map_err(|error| Failure::at(folder, &error))?;
    let taken = ["portreeve.toml", "portreeve.key", "meter.key"];
    if let Some(there) = taken.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        return Err(Failure::conflict(format!("{} is already there; nothing was written", there.display())));
    }
    let catalog = folder.join("catalog");
    let (mut written, kept) = match catalog::init(&catalog) {
        Ok(files) => (files, false),
        Err(InitError::Exists(..)) => (Vec::new(), true),
        Err(error) => return Err(error.into()),
    };
    for (name, text, mode) in [
        ("portreeve.toml", CONFIG.to_owned(), 0o644),
        ("portreeve.key", MasterKey::generate()?.to_text().to_string(), 0o600),
        ("meter.key", Secret::generate("meter")?.expose().to_owned(), 0o600),
    ] {
        let path = folder.join(name);
        write_new(&path, &text, mode)?;
        written.push(path);
    }
    if json {
        return say(&json!({"written": written}).to_string());
    }
    for path in &written {
        say(&format!("wrote {}", path.display()))?;
    }
    if kept {
        say(&format!("kept  {}, which was there already", catalog.display()))?;
    }
    let there = if folder.as_path() == Path::new(".") { String::new() } else { format!("  cd {}\n", folder.display()) };
    say(&format!(
        "\nNext:\n{there}  portreeve serve\n  portreeve orchestrator add NAME --issuer URL --client-id ID --settlement-url URL\n\
         Keep portreeve.key: without it the database cannot be read. meter.key is what your platform reports usage with.",
    ))
}

/// Writes a file that is not there yet.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| Failure::at(path, &error))
}
