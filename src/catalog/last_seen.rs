//! What a client remembers of each provider's catalog, so that it notices when one goes back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::published::Version;

/// The newest revision that was believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastSeen {
    /// Its number.
    pub version: Version,
    /// The digest of its bytes.
    pub digest: String,
}

/// Why the memory could not be read or written. It is never passed over: without it, an old catalog would be believed.
#[derive(Debug, thiserror::Error)]
pub enum LastSeenError {
    /// The file system failed.
    #[error("`{0}` cannot be read or written")]
    File(String, #[source] io::Error),
    /// The file is not what this program wrote.
    #[error("`{0}` is not a memory of catalogs; remove it to start anew")]
    Content(String, #[source] serde_json::Error),
}

type Memory = BTreeMap<String, LastSeen>;

impl LastSeen {
    /// What `file` remembers of the provider at `issuer`; `None` when it was never seen, or there is no file yet.
    ///
    /// # Errors
    /// See [`LastSeenError`].
    pub fn recall(file: &Path, issuer: &str) -> Result<Option<Self>, LastSeenError> {
        Ok(read(file)?.remove(issuer))
    }

    /// Remembers this of the provider at `issuer`. The file is replaced whole or not at all.
    ///
    /// # Errors
    /// See [`LastSeenError`].
    pub fn remember(&self, file: &Path, issuer: &str) -> Result<(), LastSeenError> {
        let mut memory = read(file)?;
        memory.insert(issuer.to_owned(), self.clone());
        let shown = || file.display().to_string();
        let text = serde_json::to_vec_pretty(&memory).map_err(|error| LastSeenError::Content(shown(), error))?;
        let failed = |error| LastSeenError::File(shown(), error);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let beside = file.with_extension("new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, file)).map_err(failed)
    }
}

fn read(file: &Path) -> Result<Memory, LastSeenError> {
    let shown = || file.display().to_string();
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| LastSeenError::Content(shown(), error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory::new()),
        Err(error) => Err(LastSeenError::File(shown(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_remembered_per_provider() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/seen.json");
        assert_eq!(LastSeen::recall(&file, "https://a").unwrap(), None);
        let seen = LastSeen { version: Version::FIRST, digest: "sha256:00".to_owned() };
        seen.remember(&file, "https://a").unwrap();
        assert_eq!(LastSeen::recall(&file, "https://a").unwrap(), Some(seen));
        assert_eq!(LastSeen::recall(&file, "https://b").unwrap(), None);
        fs::write(&file, "{}}").unwrap();
        assert!(LastSeen::recall(&file, "https://a").is_err());
    }
}
